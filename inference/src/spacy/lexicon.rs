//! Owns what is known of the words seen so far: lexemes by text, and the tokens of whole chunks.
//!
//! A cache, bounded by bytes. It never changes an answer: what is forgotten is worked out again. Ids are valid until
//! [`Lexicon::clear`].

use std::collections::HashMap;

use super::attributes::{Attributes, LexemeNorms};

/// Chunks longer than this are seldom seen twice.
const LONGEST_CACHED_CHUNK: usize = 64;
/// What an entry costs beside its strings: hash table slots, headers of the allocations, the lexeme itself.
const ENTRY_OVERHEAD: usize = 112;
/// The bit of an id that says that a special case begins with this word.
const OPENS_SPECIAL_CASE: u32 = 1 << 31;

/// A word: a text and the norm that an exception gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LexemeId(u32);

impl LexemeId {
    /// The place of the lexeme in tables that run beside the lexicon.
    pub(super) fn index(self) -> usize {
        (self.0 & !OPENS_SPECIAL_CASE) as usize
    }

    /// Whether a special case of the tokenizer begins with this word.
    pub(super) fn opens_special_case(self) -> bool {
        self.0 & OPENS_SPECIAL_CASE != 0
    }
}

/// The words seen so far.
pub(super) struct Lexicon {
    norms: LexemeNorms,
    limit_bytes: usize,
    bytes: usize,
    attributes: Vec<Attributes>,
    plain: HashMap<Box<str>, LexemeId>,
    with_norm: HashMap<Box<str>, Vec<(Box<str>, LexemeId)>>,
    chunks: HashMap<Box<str>, Box<[(LexemeId, usize)]>>,
}

impl Lexicon {
    /// An empty lexicon that is full when it holds more than `limit_bytes`.
    pub(super) fn new(norms: LexemeNorms, limit_bytes: usize) -> Self {
        Self {
            norms,
            limit_bytes,
            bytes: 0,
            attributes: Vec::new(),
            plain: HashMap::new(),
            with_norm: HashMap::new(),
            chunks: HashMap::new(),
        }
    }

    /// The attributes of a word.
    pub(super) fn attributes(&self, id: LexemeId) -> &Attributes {
        &self.attributes[id.index()]
    }

    /// The id of a word, new or known.
    pub(super) fn intern(
        &mut self,
        text: &str,
        norm: Option<&str>,
        opens_special_case: impl Fn(&str) -> bool,
    ) -> LexemeId {
        if let Some(known) = self.find(text, norm) {
            return known;
        }
        let flag = if opens_special_case(text) {
            OPENS_SPECIAL_CASE
        } else {
            0
        };
        let id =
            LexemeId(u32::try_from(self.attributes.len()).unwrap_or(u32::MAX) & !OPENS_SPECIAL_CASE | flag);
        self.attributes.push(Attributes::of(text, norm, &self.norms));
        self.bytes += ENTRY_OVERHEAD + text.len() + norm.map_or(0, str::len);
        match norm {
            None => {
                self.plain.insert(text.into(), id);
            }
            Some(norm) => self
                .with_norm
                .entry(text.into())
                .or_default()
                .push((norm.into(), id)),
        }
        id
    }

    /// The words of a chunk, each with its length in bytes, if the chunk is known.
    pub(super) fn chunk(&self, chunk: &str) -> Option<&[(LexemeId, usize)]> {
        self.chunks.get(chunk).map(AsRef::as_ref)
    }

    /// Keeps the words of a chunk for the next time, if there is room. (A word must be kept where there is none: it is
    /// part of a document.)
    pub(super) fn remember_chunk(&mut self, chunk: &str, words: Vec<(LexemeId, usize)>) {
        if chunk.len() <= LONGEST_CACHED_CHUNK && !self.is_full() {
            self.bytes += ENTRY_OVERHEAD + chunk.len() + size_of_val(words.as_slice());
            self.chunks.insert(chunk.into(), words.into());
        }
    }

    /// Whether the limit is passed.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > self.limit_bytes
    }

    /// Forgets everything: all ids given so far are void.
    pub(super) fn clear(&mut self) {
        let norms = std::mem::take(&mut self.norms);
        *self = Self::new(norms, self.limit_bytes);
    }

    fn find(&self, text: &str, norm: Option<&str>) -> Option<LexemeId> {
        match norm {
            None => self.plain.get(text).copied(),
            Some(norm) => {
                let known = self.with_norm.get(text)?;
                known
                    .iter()
                    .find_map(|(its_norm, id)| (&**its_norm == norm).then_some(*id))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexicon(limit_bytes: usize) -> Lexicon {
        Lexicon::new(LexemeNorms::new(), limit_bytes)
    }

    #[test]
    fn a_word_with_another_norm_is_another_word() {
        let mut lexicon = lexicon(1 << 20);
        let plain = lexicon.intern("ca", None, |_| false);
        let can = lexicon.intern("ca", Some("can"), |_| false);
        assert_ne!(plain, can);
        assert_eq!(lexicon.intern("ca", Some("can"), |_| false), can);
        assert_ne!(lexicon.attributes(plain).norm, lexicon.attributes(can).norm);
    }

    #[test]
    fn an_id_says_whether_a_special_case_begins_with_it() {
        let mut lexicon = lexicon(1 << 20);
        let id = lexicon.intern(":", None, |text| text == ":");
        assert!(id.opens_special_case());
        assert_eq!(id.index(), 0);
    }

    #[test]
    fn a_lexicon_is_full_at_its_limit_and_empty_when_cleared() {
        let mut lexicon = lexicon(300);
        let id = lexicon.intern("a", None, |_| false);
        lexicon.remember_chunk("a", vec![(id, 1)]);
        assert!(!lexicon.is_full());
        lexicon.intern(&"b".repeat(300), None, |_| false);
        assert!(lexicon.is_full());
        lexicon.remember_chunk("b", vec![(id, 1)]);
        assert_eq!(lexicon.chunk("b"), None);
        lexicon.clear();
        assert_eq!((lexicon.is_full(), lexicon.chunk("a")), (false, None));
    }
}
