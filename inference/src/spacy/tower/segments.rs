//! Owns the features of a document that does not fit one run: computed segment by segment, kept for the last few.
//!
//! A decoder goes through a document from left to right, but may look back at any token: the first of an entity that
//! is still open, or one that lies deep in the parser's stack. What it looks back at and is no longer kept is computed
//! again, in the same window and so to the same bits. So memory does not grow with the document.

use super::{PADDING, SEGMENT, Tower, TowerError};
use crate::spacy::dense::{Feature, FeatureLookup, Rows};
use crate::spacy::lexicon::Lexicon;
use crate::spacy::tokenizer::Token;

/// How many segments are kept. A state of the parser looks at eight tokens, which may lie in eight segments; the rest
/// are there so that a stack that shrinks and grows does not ask for the same segments again and again.
const KEPT: usize = 12;

/// The features of a document of any length.
pub(in crate::spacy) struct Segments<'a> {
    tower: &'a mut Tower,
    lexicon: &'a Lexicon,
    document: &'a [Token],
    kept: Vec<Segment>,
    /// Where in `kept` each segment of the document is.
    slots: Vec<Option<usize>>,
    /// How often [`Segments::load`] was called.
    turn: usize,
}

#[derive(Default)]
struct Segment {
    number: usize,
    /// The turn in which it was last asked for.
    used: usize,
    values: Vec<f32>,
}

impl<'a> Segments<'a> {
    pub(super) fn new(tower: &'a mut Tower, lexicon: &'a Lexicon, document: &'a [Token]) -> Self {
        Self {
            tower,
            lexicon,
            document,
            kept: Vec::new(),
            slots: vec![None; document.len().div_ceil(SEGMENT)],
            turn: 0,
        }
    }

    /// Sees to it that there are features of `tokens`, of which those that are none count for nothing.
    pub(in crate::spacy) fn load(&mut self, tokens: &[usize]) -> Result<(), TowerError> {
        debug_assert!(tokens.len() <= KEPT);
        self.turn += 1;
        let numbers = tokens.iter().map(|token| token / SEGMENT);
        let numbers: Vec<usize> = numbers.filter(|&number| number < self.slots.len()).collect();
        // First of all, so that none of them gives way to another.
        for &number in &numbers {
            if let Some(slot) = self.slots[number] {
                self.kept[slot].used = self.turn;
            }
        }
        for number in numbers {
            if self.slots[number].is_none() {
                self.compute(number)?;
            }
        }
        Ok(())
    }

    fn compute(&mut self, number: usize) -> Result<(), TowerError> {
        let slot = self.free_slot();
        let start = number * SEGMENT;
        let end = (start + SEGMENT).min(self.document.len());
        let window = start.saturating_sub(PADDING)..(end + PADDING).min(self.document.len());
        let own = start - window.start..end - window.start;
        let values = &mut self.kept[slot].values;
        self.tower
            .encode(self.lexicon, &[&self.document[window]], |features| {
                values.extend_from_slice(features.of(0).tokens(own));
            })?;
        self.kept[slot].number = number;
        self.kept[slot].used = self.turn;
        self.slots[number] = Some(slot);
        Ok(())
    }

    /// An empty slot: a new one, or that of the segment that was not asked for the longest time.
    fn free_slot(&mut self) -> usize {
        let oldest = (0..self.kept.len()).min_by_key(|&slot| self.kept[slot].used);
        if let Some(slot) = oldest.filter(|_| self.kept.len() == KEPT) {
            self.slots[self.kept[slot].number] = None;
            self.kept[slot].values.clear();
            slot
        } else {
            self.kept.push(Segment::default());
            self.kept.len() - 1
        }
    }
}

impl FeatureLookup for Segments<'_> {
    #[inline(always)]
    fn holds(&self, token: usize) -> bool {
        self.slots.get(token / SEGMENT).is_some_and(Option::is_some)
    }

    #[inline(always)]
    #[expect(clippy::expect_used, reason = "a decoder asks for what is held")]
    fn feature(&self, token: usize, feature: usize) -> &Feature {
        let slot = self.slots[token / SEGMENT].expect("a segment that is held");
        Rows::new(&self.kept[slot].values, self.tower.features_per_token).get(token % SEGMENT, feature)
    }
}
