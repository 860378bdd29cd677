//! Owns the two hashes that spaCy's models are built on: a string's 64-bit id, and the four table rows of an id.
//!
//! Both must agree with spaCy and thinc to the bit; neither is the textbook function that its name suggests.

const SEED: u64 = 1;
const M: u64 = 0xc6a4_a793_5bd1_e995;
const R: u32 = 47;

/// The id that spaCy's `StringStore` gives to a string: `MurmurHash64A` of its UTF-8 bytes, seed 1.
///
/// Symbols have other ids: see [`super::attributes::string_id`].
pub(super) fn murmur64a(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let (blocks, tail) = bytes.as_chunks::<8>();
    for block in blocks {
        let mut key = u64::from_le_bytes(*block).wrapping_mul(M);
        key ^= key >> R;
        hash = (hash ^ key.wrapping_mul(M)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> R)
}

/// The four keys of `id` under `seed`, as thinc's `Ops.hash` makes them; a table of `n` rows uses each modulo `n`.
///
/// Close to `MurmurHash3_x86_128`, but not it: the length is always taken as 8 and only one half is mixed.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half of a 64-bit word is what is wanted"
)]
pub(super) fn embedding_keys(id: u64, seed: u32) -> [u32; 4] {
    let seed = u64::from(seed);
    let mut first = id
        .wrapping_mul(0x87c3_7b91_1142_53d5)
        .rotate_left(31)
        .wrapping_mul(0x4cf5_ad43_2745_937f);
    first ^= seed ^ 8;
    let mut second = seed ^ 8;
    first = first.wrapping_add(second);
    second = second.wrapping_add(first);
    first = mix(first);
    second = mix(second);
    first = first.wrapping_add(second);
    second = second.wrapping_add(first);
    [
        first as u32,
        (first >> 32) as u32,
        second as u32,
        (second >> 32) as u32,
    ]
}

fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_has_spacys_id() {
        assert_eq!(murmur64a(b"apple"), 8_566_208_034_543_834_098);
    }

    #[test]
    fn an_id_has_thincs_rows() {
        let rows = embedding_keys(murmur64a(b"apple"), 8).map(|key| key % 5000);
        assert_eq!(rows, [3934, 1080, 901, 472]);
        assert_eq!(
            embedding_keys(1, 12).map(|key| key % 50),
            [6, 13, 20, 22],
            "SPACY = 1"
        );
        assert_eq!(
            embedding_keys(0, 13).map(|key| key % 50),
            [14, 41, 15, 38],
            "IS_SPACE = 0"
        );
    }
}
