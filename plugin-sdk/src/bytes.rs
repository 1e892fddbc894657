//! Looking for bytes, eight at a time, and without a call for a text of a few bytes.
//!
//! `memchr` does better where there are vectors. WebAssembly without them leaves it words of four
//! bytes, and most cells and values are shorter than what it takes to begin.

/// A byte in each of the eight places of a word.
#[must_use]
pub const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Marks the bytes of a word that are 0, by their highest bit. The lowest mark is right; there may be
/// wrong ones above it.
#[must_use]
#[inline]
pub const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(all(1)) & !word & all(0x80)
}

/// The place of the first byte that is one of these, or the length of the text.
#[must_use]
#[inline]
pub fn find_any<const N: usize>(text: &[u8], wanted: [u8; N]) -> usize {
    let (words, rest) = text.as_chunks();
    for (place, &word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(word);
        let marks = wanted.iter().fold(0, |marks, &byte| marks | zeros(word ^ all(byte)));
        if marks != 0 {
            return place * 8 + (marks.trailing_zeros() / 8) as usize;
        }
    }
    let before = rest.iter().take_while(|byte| !wanted.contains(byte)).count();
    text.len() - rest.len() + before
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_of_the_wanted_is_found(text in prop::collection::vec(0_u8..6, 0..40), wanted in any::<[u8; 2]>()) {
            for wanted in [[1, 2], [0, 5], wanted] {
                let expected = text.iter().position(|byte| wanted.contains(byte)).unwrap_or(text.len());
                prop_assert_eq!(find_any(&text, wanted), expected);
            }
        }
    }
}
