//! Owns how a chunk - a run of characters without white space, or of white space alone - becomes pieces.
//!
//! spaCy's `_tokenize_affixes` and `_attach_tokens`: strip prefixes and suffixes while the rest is not an exception,
//! then split the rest at infixes unless it is an address.

use std::collections::HashMap;

use super::patterns::Patterns;
use super::steps;
use super::{ExceptionToken, PatternError, TokenizerTables, TooComplex};

/// A piece of a chunk. The pieces of a chunk, in order, cover it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'t> {
    /// Its length in bytes.
    pub(crate) length: usize,
    /// The norm that an exception gives it.
    pub(crate) norm: Option<&'t str>,
}

impl Piece<'_> {
    fn plain(length: usize) -> Self {
        Self { length, norm: None }
    }
}

/// Splits chunks by a model's tables.
pub(super) struct ChunkSplitter {
    patterns: Patterns,
    exceptions: HashMap<String, Vec<ExceptionToken>>,
    /// The length of the longest exception: what is longer need not be looked up.
    longest_exception: usize,
}

/// Whether a chunk that is an exception gets the exception's tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exceptions {
    Use,
    Ignore,
}

impl ChunkSplitter {
    pub(super) fn new(tables: TokenizerTables) -> Result<Self, PatternError> {
        let patterns = Patterns::new(&tables)?;
        Ok(Self {
            patterns,
            longest_exception: tables.exceptions.keys().map(String::len).max().unwrap_or(0),
            exceptions: tables.exceptions.into_iter().collect(),
        })
    }

    /// The pieces of `chunk`.
    pub(super) fn split(&self, chunk: &str) -> Result<Vec<Piece<'_>>, TooComplex> {
        self.split_with(chunk, Exceptions::Use)
    }

    /// The pieces of `chunk` if no exception were known.
    pub(super) fn split_plainly(&self, chunk: &str) -> Result<Vec<Piece<'_>>, TooComplex> {
        self.split_with(chunk, Exceptions::Ignore)
    }

    /// The exceptions' texts.
    pub(super) fn exceptions(&self) -> impl Iterator<Item = &str> {
        self.exceptions.keys().map(String::as_str)
    }

    /// The pieces of the exception `text`, if it is one.
    pub(super) fn exception(&self, text: &str) -> Option<impl Iterator<Item = Piece<'_>>> {
        let tokens = self.tokens_of(text)?;
        Some(tokens.iter().map(|token| Piece {
            length: token.orth.len(),
            norm: token.norm.as_deref(),
        }))
    }

    fn tokens_of(&self, text: &str) -> Option<&[ExceptionToken]> {
        steps::count(1);
        if text.len() > self.longest_exception {
            return None;
        }
        steps::count(text.len());
        self.exceptions.get(text).map(Vec::as_slice)
    }

    /// Whether `text` would be split by an affix or an infix.
    pub(super) fn has_affix(&self, text: &str) -> Result<bool, TooComplex> {
        Ok(self.patterns.prefix(text)? > 0
            || self.patterns.infix(text, 0)?.is_some()
            || self.patterns.suffix(text)? > 0)
    }

    fn split_with(&self, chunk: &str, use_of: Exceptions) -> Result<Vec<Piece<'_>>, TooComplex> {
        let is_exception = |text: &str| use_of == Exceptions::Use && self.tokens_of(text).is_some();
        let mut pieces = Vec::new();
        let mut suffixes = Vec::new();
        let mut rest = chunk;
        if !is_exception(chunk) {
            rest = self.strip(chunk, is_exception, &mut pieces, &mut suffixes)?;
        }
        match self.exception(rest) {
            Some(exception) if use_of == Exceptions::Use => pieces.extend(exception),
            _ if rest.is_empty() => {}
            _ if self.patterns.is_url(rest)? => pieces.push(Piece::plain(rest.len())),
            _ => self.split_at_infixes(rest, &mut pieces)?,
        }
        pieces.extend(suffixes.into_iter().rev());
        Ok(pieces)
    }

    /// Takes prefixes and suffixes off `chunk` and gives what is left.
    fn strip<'c>(
        &self,
        chunk: &'c str,
        is_exception: impl Fn(&str) -> bool,
        prefixes: &mut Vec<Piece<'_>>,
        suffixes: &mut Vec<Piece<'_>>,
    ) -> Result<&'c str, TooComplex> {
        let mut rest = chunk;
        while !rest.is_empty() && !is_exception(rest) {
            let prefix = self.patterns.prefix(rest)?;
            if prefix > 0 && is_exception(&rest[prefix..]) {
                prefixes.push(Piece::plain(prefix));
                return Ok(&rest[prefix..]);
            }
            // The suffix is searched in what the prefix leaves, so a look-behind does not see the prefix.
            let suffix = self.patterns.suffix(&rest[prefix..])?;
            let end = rest.len() - suffix;
            if suffix > 0 && is_exception(&rest[..end]) {
                suffixes.push(Piece::plain(suffix));
                return Ok(&rest[..end]);
            }
            if prefix == 0 && suffix == 0 {
                break;
            }
            if prefix > 0 {
                prefixes.push(Piece::plain(prefix));
            }
            if suffix > 0 {
                suffixes.push(Piece::plain(suffix));
            }
            rest = &rest[prefix..end];
        }
        Ok(rest)
    }

    fn split_at_infixes(&self, text: &str, pieces: &mut Vec<Piece<'_>>) -> Result<(), TooComplex> {
        let (mut done, mut from) = (0, 0);
        while let Some((start, end)) = self.patterns.infix(text, from)? {
            // spaCy leaves an infix at the very start to the token that it begins.
            if start > 0 {
                pieces.extend(
                    [start - done, end - start]
                        .into_iter()
                        .filter(|&length| length > 0)
                        .map(Piece::plain),
                );
                done = end;
            }
            from = if end > start {
                end
            } else {
                text.ceil_char_boundary(end + 1)
            };
            if from >= text.len() {
                break;
            }
        }
        if done < text.len() {
            pieces.push(Piece::plain(text.len() - done));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::test_url;
    use super::*;

    fn splitter() -> ChunkSplitter {
        let token = |orth: &str, norm: Option<&str>| ExceptionToken {
            orth: orth.into(),
            norm: norm.map(Into::into),
        };
        ChunkSplitter::new(TokenizerTables {
            prefix: r"^\(|^\$|^'".into(),
            suffix: r"\)$|,$|\.$|'s$".into(),
            infix: "-".into(),
            url: test_url("[a-z]"),
            exceptions: [
                (
                    "don't".to_owned(),
                    vec![token("do", None), token("n't", Some("not"))],
                ),
                ("Inc.".to_owned(), vec![token("Inc.", None)]),
            ]
            .into(),
        })
        .unwrap()
    }

    fn split(chunk: &str) -> Vec<(String, Option<String>)> {
        let mut rest = chunk;
        let take = |piece: &Piece<'_>| {
            let (text, behind) = rest.split_at(piece.length);
            rest = behind;
            (text.to_owned(), piece.norm.map(str::to_owned))
        };
        splitter().split(chunk).unwrap().iter().map(take).collect()
    }

    fn texts(chunk: &str) -> Vec<String> {
        split(chunk).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn affixes_come_off_both_ends_until_an_exception_is_left() {
        assert_eq!(texts("(Inc.),"), ["(", "Inc.", ")", ","]);
        assert_eq!(texts("($x)."), ["(", "$", "x", ")", "."]);
        assert_eq!(texts("()"), ["(", ")"]);
    }

    #[test]
    fn an_exception_brings_its_norms() {
        assert_eq!(
            split("don't"),
            [("do".into(), None), ("n't".into(), Some("not".into()))]
        );
    }

    #[test]
    fn an_address_is_left_whole() {
        assert_eq!(texts("(http://a-b.de)"), ["(", "http://a-b.de", ")"]);
    }

    #[test]
    fn infixes_split_but_not_at_the_start() {
        assert_eq!(texts("a-b--c"), ["a", "-", "b", "-", "-", "c"]);
        assert_eq!(texts("-a"), ["-a"]);
        assert_eq!(texts("a-"), ["a", "-"]);
    }
}
