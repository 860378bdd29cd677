//! Owns spaCy's tokenization: a text in, tokens out that cover it without gaps but for single spaces.
//!
//! A port of `spacy.tokenizer.Tokenizer` with the model's own tables. Chunks between white space are split by the
//! rules of [`chunk`], then [`special`] puts together what an exception wants whole. Offsets here are bytes.

mod address;
mod bounds;
mod chunk;
mod patterns;
mod special;
mod steps;
mod tables;

pub(super) use chunk::Piece;
pub(super) use patterns::{PatternError, TooComplex};
pub(super) use tables::{ExceptionToken, TokenizerTables};

use std::ops::Range;

use self::chunk::ChunkSplitter;
use self::special::SpecialCases;
use super::lexicon::{LexemeId, Lexicon};
use super::unicode::is_space;

/// A token of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// What the token is, apart from its place.
    pub(super) lexeme: LexemeId,
    /// Its first byte in the text.
    pub(super) start: usize,
    /// Its length in bytes.
    pub(super) length: usize,
    /// Whether one U+0020 follows that belongs to no token (spaCy's `token.whitespace_`).
    pub(super) space_after: bool,
}

impl Token {
    /// The bytes of the text that the token covers.
    pub(super) fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

/// spaCy's tokenizer for one model.
pub(super) struct Tokenizer {
    splitter: ChunkSplitter,
    special: SpecialCases,
}

impl Tokenizer {
    /// # Errors
    /// Where a pattern of the tables is not one that can be compiled.
    pub(super) fn new(tables: TokenizerTables) -> Result<Self, PatternError> {
        let splitter = ChunkSplitter::new(tables)?;
        let special = SpecialCases::new(&splitter);
        Ok(Self { splitter, special })
    }

    /// Whether a special case begins with a token of this text.
    pub(super) fn opens_special_case(&self, text: &str) -> bool {
        self.special.begins_with(text)
    }

    /// The tokens of `text`, known to `lexicon` when this returns.
    ///
    /// # Errors
    /// Where a pattern would take too long: only for hostile input, on which spaCy itself hangs.
    pub(super) fn tokenize(&self, text: &str, lexicon: &mut Lexicon) -> Result<Vec<Token>, TooComplex> {
        let mut tokens = Vec::with_capacity(text.len() / 4);
        for run in runs(text) {
            // Each character is looked at to find the run, and again to look for it among the known chunks.
            steps::count(2 * run.range.len());
            self.push_chunk(&text[run.range.clone()], run.range.start, lexicon, &mut tokens)?;
            if let Some(last) = tokens.last_mut() {
                last.space_after = run.space_after;
            }
        }
        Ok(self
            .special
            .apply(text, tokens, |text, norm| self.intern(text, norm, lexicon)))
    }

    fn push_chunk(
        &self,
        chunk: &str,
        mut start: usize,
        lexicon: &mut Lexicon,
        tokens: &mut Vec<Token>,
    ) -> Result<(), TooComplex> {
        let token = |(lexeme, length)| {
            let token = Token {
                lexeme,
                start,
                length,
                space_after: false,
            };
            start += length;
            token
        };
        if let Some(known) = lexicon.chunk(chunk) {
            tokens.extend(known.iter().copied().map(token));
            return Ok(());
        }
        let pieces = self.splitter.split(chunk)?;
        let mut offset = 0;
        let parts: Vec<_> = pieces
            .iter()
            .map(|piece| {
                let text = &chunk[offset..offset + piece.length];
                offset += piece.length;
                (self.intern(text, piece.norm, lexicon), piece.length)
            })
            .collect();
        tokens.extend(parts.iter().copied().map(token));
        lexicon.remember_chunk(chunk, parts);
        Ok(())
    }

    fn intern(&self, text: &str, norm: Option<&str>, lexicon: &mut Lexicon) -> LexemeId {
        steps::count(text.len());
        lexicon.intern(text, norm, |text| self.opens_special_case(text))
    }
}

/// A maximal run of characters that are all white space or all not.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    range: Range<usize>,
    /// Whether the run is followed by a U+0020 that is taken as the space after its last token.
    space_after: bool,
}

/// The runs of a text. One U+0020 behind a run that is not white space is part of neither it nor the next.
fn runs(text: &str) -> impl Iterator<Item = Run> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &text[start..];
        let in_space = is_space(rest.chars().next()?);
        let length = rest
            .find(|character| is_space(character) != in_space)
            .unwrap_or(rest.len());
        let space_after = !in_space && rest[length..].starts_with(' ');
        let range = start..start + length;
        start = range.end + usize::from(space_after);
        Some(Run { range, space_after })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs_of(text: &str) -> Vec<(&str, bool)> {
        runs(text)
            .map(|run| (&text[run.range], run.space_after))
            .collect()
    }

    #[test]
    fn one_space_behind_a_word_belongs_to_nobody() {
        assert_eq!(runs_of("a bc "), [("a", true), ("bc", true)]);
        assert_eq!(runs_of("a  b"), [("a", true), (" ", false), ("b", false)]);
        assert_eq!(
            runs_of(" a\n b"),
            [(" ", false), ("a", false), ("\n ", false), ("b", false)]
        );
        assert_eq!(runs_of(""), []);
        assert_eq!(
            runs_of("a \u{1c}b"),
            [("a", true), ("\u{1c}", false), ("b", false)]
        );
    }
}
