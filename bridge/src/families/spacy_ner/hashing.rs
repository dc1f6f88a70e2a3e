//! The two hash functions of spaCy pipelines: one for strings, and one for integers, which selects the rows of a hashed
//! embedding table.

/// The seed of the hash function for strings.
const STRING_SEED: u64 = 1;

/// spaCy's 64-bit id of a string: MurmurHash64A of its UTF-8 bytes.
pub(crate) fn hash_string(text: &str) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let bytes = text.as_bytes();
    let mut hash = STRING_SEED ^ (bytes.len() as u64).wrapping_mul(MULTIPLIER);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let mut mixed = little_endian(word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = (hash ^ mixed.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !words.remainder().is_empty() {
        hash = (hash ^ little_endian(words.remainder())).wrapping_mul(MULTIPLIER);
    }
    hash = (hash ^ (hash >> SHIFT)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> SHIFT)
}

/// MurmurHash3 (x64, 128 bits) of the eight little-endian bytes of an integer, as four words of 32 bits from lowest to
/// highest.
pub(crate) fn hash_number(number: u64, seed: u32) -> [u32; 4] {
    const FIRST: u64 = 0x87c3_7b91_1142_53d5;
    const SECOND: u64 = 0x4cf5_ad43_2745_937f;
    const LENGTH: u64 = 8;
    let seed = u64::from(seed);
    let mixed = number.wrapping_mul(FIRST).rotate_left(31).wrapping_mul(SECOND);
    let (mut low, mut high) = (seed ^ mixed ^ LENGTH, seed ^ LENGTH);
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    (low, high) = (avalanche(low), avalanche(high));
    low = low.wrapping_add(high);
    high = high.wrapping_add(low);
    [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32]
}

/// The finalizer of MurmurHash3: flipping any bit of its input changes about half of the output's bits.
fn avalanche(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

/// Reads up to eight bytes as a little-endian integer.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected ids are from `spacy.strings.hash_string` of spaCy 3.8.18.
    #[test]
    fn strings_have_the_hashes_of_the_original() {
        let known = [
            ("a", 0xa52b_e5b3_f667_4b2a),
            ("the", 0x670e_66a6_3573_9a92),
            ("example", 0x0c7c_1663_c712_35d2),
            ("12345678", 0x8900_6016_6fad_afa0),
            ("123456789abcdef", 0x4dcd_d75e_cd35_dd13),
            ("é", 0xe19b_724b_3679_f39c),
            ("日本", 0x2041_a3ed_f9af_b3c2),
            ("a much longer string, of more than two words", 0x4c05_2cbe_5881_77f0),
        ];
        for (text, expected) in known {
            assert_eq!(hash_string(text), expected, "{text:?}");
        }
    }

    /// The expected hashes are from `NumpyOps().hash` of thinc 8.3. The hash of the integer 0 with the seed 8 is 0.
    #[test]
    fn numbers_have_the_hashes_of_the_original() {
        let known = [
            (0, 8, [0, 0, 0, 0]),
            (1, 0, [0xfb05_c44a, 0x0044_03b7, 0xd36d_9c06, 0x3d8a_cdb4]),
            (0xdead_beef, 11, [0xd5c6_61d5, 0xf6a4_11da, 0xd277_c55b, 0x2cd9_120b]),
            (u64::MAX, 1 << 31, [0xd7e9_3784, 0x5506_17d0, 0xe5a6_dad1, 0xd163_dd76]),
            (hash_string("the"), 9, [0x6770_4969, 0x6d6e_9f84, 0x095b_32e5, 0xb3a8_fc02]),
        ];
        for (number, seed, expected) in known {
            assert_eq!(hash_number(number, seed), expected, "{number:#x} {seed}");
        }
    }
}
