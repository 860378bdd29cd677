//! Owns the pass over a whole document that gives exceptions with affixes in them their own tokens after all.
//!
//! The chunk rules would split such an exception (`:)` in `hello:)`), so spaCy looks for the token sequence that they
//! make of it, and puts the exception's tokens in its place. Spaces between the tokens do not matter for the search,
//! but do for what is found: the text with its spaces must be an exception.

use std::collections::HashMap;

use super::chunk::ChunkSplitter;
use super::steps;
use super::{Piece, Token, TooComplex, runs};
use crate::spacy::lexicon::LexemeId;

/// The special cases of a tokenizer: token sequences by their first token, and what stands for them.
pub(super) struct SpecialCases {
    sequences: HashMap<String, Vec<Vec<String>>>,
    tokens: HashMap<String, Vec<OwnedPiece>>,
}

struct OwnedPiece {
    length: usize,
    norm: Option<String>,
}

/// A run of tokens by index, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

impl SpecialCases {
    pub(super) fn new(splitter: &ChunkSplitter) -> Self {
        let own = |piece: Piece<'_>| OwnedPiece {
            length: piece.length,
            norm: piece.norm.map(str::to_owned),
        };
        let mut cases = Self {
            sequences: HashMap::new(),
            tokens: HashMap::new(),
        };
        for text in splitter.exceptions() {
            // An exception is short; a pattern that gives up on it is left out like one that does not match.
            if let Some(sequence) = sequence(splitter, text).unwrap_or_default() {
                let known = cases.sequences.entry(sequence[0].clone()).or_default();
                if !known.contains(&sequence) {
                    known.push(sequence);
                }
            }
            if let Some(pieces) = splitter.exception(text) {
                cases.tokens.insert(text.to_owned(), pieces.map(own).collect());
            }
        }
        cases
    }

    /// Whether a sequence begins with a token of this text.
    pub(super) fn begins_with(&self, text: &str) -> bool {
        self.sequences.contains_key(text)
    }

    /// `tokens` with the special cases in them replaced; `intern` names a new token.
    pub(super) fn apply(
        &self,
        text: &str,
        tokens: Vec<Token>,
        mut intern: impl FnMut(&str, Option<&str>) -> LexemeId,
    ) -> Vec<Token> {
        let spans = chosen(self.found(text, &tokens));
        if spans.is_empty() {
            return tokens;
        }
        let mut replaced = Vec::with_capacity(tokens.len());
        let mut next = 0;
        for span in spans {
            let (first, last) = (tokens[span.start], tokens[span.end - 1]);
            let Some(pieces) = self.tokens.get(&text[first.start..last.range().end]) else {
                continue;
            };
            replaced.extend_from_slice(&tokens[next..span.start]);
            let mut start = first.start;
            for piece in pieces {
                let lexeme = intern(&text[start..start + piece.length], piece.norm.as_deref());
                replaced.push(Token {
                    lexeme,
                    start,
                    length: piece.length,
                    space_after: false,
                });
                start += piece.length;
            }
            if let Some(token) = replaced.last_mut() {
                token.space_after = last.space_after;
            }
            next = span.end;
        }
        replaced.extend_from_slice(&tokens[next..]);
        replaced
    }

    fn found(&self, text: &str, tokens: &[Token]) -> Vec<Span> {
        let mut spans = Vec::new();
        for (start, token) in tokens.iter().enumerate() {
            if !token.lexeme.opens_special_case() {
                continue;
            }
            for sequence in self.sequences.get(&text[token.range()]).into_iter().flatten() {
                let end = start + sequence.len();
                steps::count(sequence.len());
                let same = |(token, part): (&Token, &String)| &text[token.range()] == part;
                if end <= tokens.len() && tokens[start..end].iter().zip(sequence).all(same) {
                    spans.push(Span { start, end });
                }
            }
        }
        spans
    }
}

/// The token texts that the chunk rules make of an exception, if they split it or a space does.
fn sequence(splitter: &ChunkSplitter, text: &str) -> Result<Option<Vec<String>>, TooComplex> {
    if !splitter.has_affix(text)? && !text.contains(' ') {
        return Ok(None);
    }
    let mut sequence = Vec::new();
    for run in runs(text) {
        let mut rest = &text[run.range];
        for piece in splitter.split_plainly(rest)? {
            let (token, behind) = rest.split_at(piece.length);
            sequence.push(token.to_owned());
            rest = behind;
        }
    }
    Ok(Some(sequence).filter(|sequence| !sequence.is_empty()))
}

/// The spans to replace, in order: the longest first, then the earliest; one whose first or last token is taken is
/// dropped, but takes its tokens too.
fn chosen(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| (std::cmp::Reverse(span.end - span.start), span.start));
    let mut taken = std::collections::HashSet::new();
    spans.retain(|span| {
        let free = !taken.contains(&span.start) && !taken.contains(&(span.end - 1));
        taken.extend(span.start..span.end);
        free
    });
    spans.sort_by_key(|span| span.start);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    #[test]
    fn the_longest_span_wins_then_the_earliest() {
        assert_eq!(
            chosen(vec![span(0, 2), span(1, 4), span(4, 6)]),
            [span(1, 4), span(4, 6)]
        );
        assert_eq!(chosen(vec![span(1, 3), span(0, 2)]), [span(0, 2)]);
    }

    #[test]
    fn a_dropped_span_still_takes_its_tokens() {
        assert_eq!(chosen(vec![span(0, 4), span(3, 6), span(5, 7)]), [span(0, 4)]);
    }
}
