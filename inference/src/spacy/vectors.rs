//! Owns the vectors of the words that a tower has met, bounded by bytes.
//!
//! A cache: when it is full the words that were met least are forgotten, and embedded again when they come. A word's
//! vector depends on the word alone, so what is kept is what would be computed.

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
    /// The lexeme and variant of each entry, and how often it was met of late.
    owners: Vec<(usize, u16)>,
    values: Vec<f32>,
}

impl Vectors {
    pub(super) fn new(bytes: usize, variants: usize) -> Self {
        let capacity = (bytes / (ENTRY * size_of::<f32>())).max(MIN_ENTRIES);
        Self {
            variants,
            capacity,
            entries: Vec::new(),
            owners: Vec::new(),
            values: Vec::new(),
        }
    }

    /// The words of `tokens` that have no vector, each once.
    pub(super) fn missing<'t>(&mut self, tokens: impl Iterator<Item = &'t Token>) -> Vec<Word> {
        self.forget_unfilled();
        let mut missing = Vec::new();
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
                self.entries[place] = u32::try_from(self.owners.len()).unwrap_or(UNKNOWN);
                self.owners.push((place, 1));
                missing.push(word);
            } else {
                let (_, met) = &mut self.owners[self.entries[place] as usize];
                *met = met.saturating_add(1);
            }
        }
        missing
    }

    /// Forgets the words that were listed as missing and got no vector, since the network failed.
    fn forget_unfilled(&mut self) {
        let filled = self.values.len() / ENTRY;
        for (place, _) in self.owners.drain(filled..) {
            self.entries[place] = UNKNOWN;
        }
    }

    /// Whether all that is named can be kept.
    pub(super) fn is_overfull(&self) -> bool {
        self.owners.len() > self.capacity
    }

    /// Forgets at least half of the words, those that were met least, and all that have no vector yet.
    pub(super) fn forget_rare(&mut self) {
        let mut met: Vec<u16> = self.owners.iter().map(|&(_, met)| met).collect();
        met.sort_unstable_by(|a, b| b.cmp(a));
        let too_rare = met.get(self.capacity / 2).copied().unwrap_or_default();
        self.forget_unfilled();
        let mut kept = 0;
        for entry in 0..self.owners.len() {
            let (place, met) = self.owners[entry];
            if met <= too_rare {
                self.entries[place] = UNKNOWN;
                continue;
            }
            self.entries[place] = u32::try_from(kept).unwrap_or(UNKNOWN);
            // What was met long ago counts less and less.
            self.owners[kept] = (place, met / 2);
            self.values
                .copy_within(entry * ENTRY..(entry + 1) * ENTRY, kept * ENTRY);
            kept += 1;
        }
        self.owners.truncate(kept);
        self.values.truncate(kept * ENTRY);
    }

    /// Keeps the vector of the next word of those that [`Self::missing`] listed, in their order.
    pub(super) fn insert(&mut self, word: Word, vector: &[f32], parts: &[f32]) {
        debug_assert_eq!(self.entries[self.place(word)] as usize, self.values.len() / ENTRY);
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
        self.owners.clear();
        self.values.clear();
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

#[cfg(test)]
mod tests {
    use super::super::attributes::LexemeNorms;
    use super::super::lexicon::Lexicon;
    use super::*;

    fn tokens(lexicon: &mut Lexicon, words: std::ops::Range<usize>) -> Vec<Token> {
        let token = |word: usize| Token {
            lexeme: lexicon.intern(&word.to_string(), None, |_| false),
            start: 0,
            length: 1,
            space_after: false,
        };
        words.map(token).collect()
    }

    fn value_of(lexeme: LexemeId) -> f32 {
        f32::from(u16::try_from(lexeme.index()).unwrap())
    }

    /// Gives every missing word a vector that says which it is.
    fn fill(vectors: &mut Vectors, tokens: &[Token]) {
        for word in vectors.missing(tokens.iter()) {
            let value = value_of(word.lexeme);
            vectors.insert(word, &[value; WIDTH], &[value; PARTS * CONVOLUTION]);
        }
    }

    #[test]
    fn words_that_got_no_vector_are_missing_again() {
        let mut lexicon = Lexicon::new(LexemeNorms::default(), usize::MAX);
        let mut vectors = Vectors::new(0, 1);
        let known = tokens(&mut lexicon, 0..3);
        fill(&mut vectors, &known);
        let more = tokens(&mut lexicon, 0..6);
        let missing = vectors.missing(more.iter());
        vectors.insert(missing[0], &[3.0; WIDTH], &[3.0; PARTS * CONVOLUTION]);
        assert_eq!(vectors.missing(more.iter()), missing[1..]);
    }

    #[test]
    fn the_words_that_are_met_most_are_kept() {
        let mut lexicon = Lexicon::new(LexemeNorms::default(), usize::MAX);
        let mut vectors = Vectors::new(0, 1);
        let (often, seldom) = (
            tokens(&mut lexicon, 0..100),
            tokens(&mut lexicon, 100..MIN_ENTRIES),
        );
        fill(&mut vectors, &often);
        fill(&mut vectors, &seldom);
        fill(&mut vectors, &often);
        assert!(!vectors.is_overfull());
        let new = tokens(&mut lexicon, MIN_ENTRIES..MIN_ENTRIES + 1);
        assert_eq!(vectors.missing(new.iter()).len(), 1);
        assert!(vectors.is_overfull());
        vectors.forget_rare();
        assert_eq!(vectors.missing(often.iter()), []);
        assert_eq!(vectors.missing(seldom.iter()).len(), seldom.len());
        for token in &often {
            let (vector, _) = vectors.get(token);
            assert!(vector.contains(&value_of(token.lexeme)));
        }
    }
}
