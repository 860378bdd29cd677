//! Owns the vectors of the words that a tower has met, bounded by bytes.
//!
//! A cache: when it is full it is emptied, and words are embedded again as they come. A word's vector depends on the
//! word alone, so what is kept is what would be computed.

use super::lexicon::LexemeId;
use super::tokenizer::Token;

/// Width of a tower.
pub(super) const WIDTH: usize = 96;
/// Width of a convolution before its maxout over three pieces.
pub(super) const CONVOLUTION: usize = 3 * WIDTH;
/// What a word gives to the first convolution: as left neighbour, as itself, as right neighbour.
pub(super) const PARTS: usize = 3;
/// Values kept per word.
const ENTRY: usize = WIDTH + PARTS * CONVOLUTION;
/// Even the smallest cache holds the words of a few slices.
const MIN_ENTRIES: usize = 2 * super::pipeline::SLICE_ROWS;
const UNKNOWN: u32 = u32::MAX;

/// A word as a tower sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) lexeme: LexemeId,
    pub(super) space_after: bool,
}

/// The vectors of words.
pub(super) struct Vectors {
    /// How many vectors a lexeme has: one, or one without and one with a space behind it.
    variants: usize,
    capacity: usize,
    /// The entry of each lexeme and variant.
    entries: Vec<u32>,
    values: Vec<f32>,
}

impl Vectors {
    pub(super) fn new(bytes: usize, variants: usize) -> Self {
        let capacity = (bytes / (ENTRY * size_of::<f32>())).max(MIN_ENTRIES);
        Self {
            variants,
            capacity,
            entries: Vec::new(),
            values: Vec::new(),
        }
    }

    /// The words of `tokens` that have no vector, each once.
    pub(super) fn missing<'t>(&mut self, tokens: impl Iterator<Item = &'t Token>) -> Vec<Word> {
        let mut missing = Vec::new();
        let mut next = self.len();
        for token in tokens {
            let word = Word {
                lexeme: token.lexeme,
                space_after: token.space_after,
            };
            let place = self.place(word);
            if self.entries.len() <= place {
                self.entries.resize(place + 1, UNKNOWN);
            }
            if self.entries[place] == UNKNOWN {
                // Its entry is named now, so that the word is not listed twice; `insert` fills it.
                self.entries[place] = u32::try_from(next).unwrap_or(UNKNOWN);
                next += 1;
                missing.push(word);
            }
        }
        missing
    }

    /// Whether so many more vectors can be kept.
    pub(super) fn has_room_for(&self, more: usize) -> bool {
        self.len() + more <= self.capacity
    }

    /// Keeps the vector of the next word of those that [`Self::missing`] listed, in their order.
    pub(super) fn insert(&mut self, word: Word, vector: &[f32], parts: &[f32]) {
        debug_assert_eq!(self.entries[self.place(word)] as usize, self.len());
        self.values.extend_from_slice(vector);
        self.values.extend_from_slice(parts);
    }

    /// The vector of a token's word, and its parts in the first convolution.
    pub(super) fn get(&self, token: &Token) -> (&[f32], &[f32]) {
        let word = Word {
            lexeme: token.lexeme,
            space_after: token.space_after,
        };
        let start = self.entries[self.place(word)] as usize * ENTRY;
        self.values[start..start + ENTRY].split_at(WIDTH)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.values.clear();
    }

    fn len(&self) -> usize {
        self.values.len() / ENTRY
    }

    fn place(&self, word: Word) -> usize {
        word.lexeme.index() * self.variants
            + if self.variants > 1 {
                usize::from(word.space_after)
            } else {
                0
            }
    }
}
