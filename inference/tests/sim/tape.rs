//! Owns what decides: a string of bytes. A seed makes one; a shortened one can be given again.

/// How many bytes a seed makes, at least, and how many more at the most.
const SHORTEST: u64 = 40;
const SPREAD: u64 = 400;

/// Bytes that are read once. Low bytes choose what is harmless, so a tape of zeros is a quiet life.
pub(crate) struct Tape {
    bytes: Vec<u8>,
    at: usize,
}

impl Tape {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all was read. From then on it gives zeros.
    pub(crate) fn is_over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// True for so many bytes of 256.
    pub(crate) fn chance(&mut self, of_256: u8) -> bool {
        self.byte() > u8::MAX - of_256
    }
}

/// The bytes of a seed.
pub(crate) fn bytes_of(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        // SplitMix64, by Steele, Lea and Flood.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let length = SHORTEST + next() % SPREAD;
    let words = (0..length.div_ceil(8)).map(|_| next());
    words.flat_map(u64::to_le_bytes).collect()
}
