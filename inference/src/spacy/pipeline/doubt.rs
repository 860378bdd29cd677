//! Owns the question whether a sentence starts inside an entity: which documents raise it, and how far they are parsed.

use super::Document;
use crate::spacy::dense::Rows;
use crate::spacy::lexicon::Lexicon;
use crate::spacy::ner::EntitySpan;
use crate::spacy::parser::{self, Parse, Parser};
use crate::spacy::tokenizer::Token;
use crate::spacy::tower::{PADDING, Tower, TowerError};

/// How many tokens behind a sentence's end the parse looks at, until it has left the sentence.
const BEHIND_SENTENCE: usize = 4;
/// Fewer tokens than this at a document's end are not worth a run of their own.
const WORTHWHILE: usize = 12;
/// A document in which a sentence may start inside an entity.
pub(super) struct Doubt {
    /// Its place among the documents of the slice.
    pub(super) place: usize,
    /// The last token of which it matters whether it starts a sentence.
    until: usize,
    /// The token up to which, exclusive, there are features.
    available: usize,
    pub(super) parse: Parse,
    /// The features so far, of a parse that needs more.
    kept: Vec<f32>,
}

impl Doubt {
    pub(super) fn new(place: usize, document: &Document<'_>, entities: &[EntitySpan]) -> Option<Self> {
        let until = entities
            .iter()
            .filter(|entity| may_cross(entity))
            .map(|entity| entity.end - 1)
            .max()?;
        let tokens = &document.tokens;
        // A guess: with the end of the sentence the parse is likely to be settled. If it is not, the rest follows.
        let ends_sentence = |token: &Token| matches!(&document.text[token.range()], "." | "?" | "!");
        let end = tokens[until..].iter().position(ends_sentence);
        let available = end.map_or(tokens.len(), |end| until + end + BEHIND_SENTENCE);
        let is_nearly_all = available + WORTHWHILE > tokens.len();
        Some(Self {
            place,
            until,
            available: if is_nearly_all { tokens.len() } else { available },
            parse: Parse::new(tokens.len()),
            kept: Vec::new(),
        })
    }

    fn is_settled(&self, documents: &[Document<'_>]) -> bool {
        self.available == documents[self.place].tokens.len() || self.parse.is_settled(self.until)
    }
}

/// Parses documents as far as it matters where sentences start.
pub(super) fn settle(
    tower: &mut Tower,
    parser: &Parser,
    lexicon: &Lexicon,
    documents: &[Document<'_>],
    doubts: &mut [Doubt],
) -> Result<(), TowerError> {
    if doubts.is_empty() {
        return Ok(());
    }
    let begun: Vec<&[Token]> = doubts
        .iter()
        .map(|doubt| {
            let tokens = &documents[doubt.place].tokens;
            &tokens[..(doubt.available + PADDING).min(tokens.len())]
        })
        .collect();
    tower.encode(lexicon, &begun, |features| {
        for (row, doubt) in doubts.iter_mut().enumerate() {
            let rows = features.of(row);
            parser.advance(&mut doubt.parse, &rows.until(doubt.available), doubt.until);
            if !doubt.is_settled(documents) {
                doubt.kept.extend_from_slice(rows.tokens(0..doubt.available));
            }
        }
    })?;
    let mut unsettled: Vec<_> = doubts
        .iter_mut()
        .filter(|doubt| !doubt.is_settled(documents))
        .collect();
    if unsettled.is_empty() {
        return Ok(());
    }
    let rest: Vec<&[Token]> = unsettled
        .iter()
        .map(|doubt| &documents[doubt.place].tokens[doubt.available.saturating_sub(PADDING)..])
        .collect();
    tower.encode(lexicon, &rest, |features| {
        for (row, doubt) in unsettled.iter_mut().enumerate() {
            let before = doubt.available.min(PADDING);
            doubt
                .kept
                .extend_from_slice(features.of(row).tokens(before..rest[row].len()));
            doubt.available = documents[doubt.place].tokens.len();
            let rows = Rows::new(&doubt.kept, parser::FEATURES);
            parser.advance(&mut doubt.parse, &rows, doubt.until);
        }
    })
}

/// Where sentences start in a document that fits a slice.
pub(super) fn sentence_starts(
    tower: &mut Tower,
    parser: &Parser,
    lexicon: &Lexicon,
    document: &[Token],
) -> Result<Vec<bool>, TowerError> {
    tower.encode(lexicon, &[document], |features| {
        let mut parse = Parse::new(document.len());
        parser.advance(&mut parse, &features.of(0), document.len());
        parse.sentence_starts()
    })
}

/// Whether a sentence could start inside an entity.
pub(super) fn may_cross(entity: &EntitySpan) -> bool {
    entity.end - entity.start > 1
}

pub(super) fn crosses(entities: &[EntitySpan], starts: &[bool]) -> bool {
    entities
        .iter()
        .any(|entity| starts[entity.start + 1..entity.end].contains(&true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_start_inside_an_entity_crosses_it() {
        let entity = [EntitySpan {
            start: 1,
            end: 3,
            label: 0,
        }];
        assert!(may_cross(&entity[0]));
        assert!(!crosses(&entity, &[true, true, false, true]), "at its edges");
        assert!(crosses(&entity, &[true, false, true, false]));
    }
}
