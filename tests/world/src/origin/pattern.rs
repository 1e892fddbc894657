//! The bytes that large answers are made of, and the hash of what was uploaded. Both are known to the client, so a
//! relay that loses, repeats or swaps a byte is caught.

use std::sync::LazyLock;

/// A prime, so that the pattern never lines up with a buffer's size.
const PERIOD: u64 = 251;
const PERIOD_LEN: usize = 251;

/// Bytes that one slice of the pattern may have.
pub(super) const SLICE: usize = 64 * 1024;

static CYCLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // Every value below 251 is a byte.
    (0..=250_u8).cycle().take(SLICE + PERIOD_LEN).collect()
});

/// At most `len` (up to 64 KiB) bytes of the pattern from `offset` on.
pub(super) fn slice(offset: u64, len: u64) -> &'static [u8] {
    let start = usize::try_from(offset % PERIOD).unwrap_or(0);
    let len = usize::try_from(len).map_or(SLICE, |len| len.min(SLICE));
    CYCLE.get(start..start + len).unwrap_or_default()
}

/// `len` bytes of the pattern that `/bytes/N` and `/chunked/N` answer with, from `offset` on: the byte at `i` is
/// `i mod 251`.
#[must_use]
pub fn pattern(offset: u64, len: usize) -> Vec<u8> {
    let start = usize::try_from(offset % PERIOD).unwrap_or(0);
    (0..=250_u8).cycle().skip(start).take(len).collect()
}

/// The 64-bit FNV-1a hash, which `/upload` answers with in sixteen hexadecimal digits.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    continue_fnv1a(FNV_START, bytes)
}

/// The hash of nothing.
pub(super) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of what was hashed before, followed by `bytes`.
pub(super) fn continue_fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_the_pattern_at_its_offset() {
        for offset in [0, 1, 250, 251, 65_536, 10_000_000_019] {
            assert_eq!(slice(offset, 1_000), pattern(offset, 1_000));
        }
        assert_eq!(slice(250, u64::MAX).len(), SLICE);
    }

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(continue_fnv1a(fnv1a(b"foo"), b"bar"), fnv1a(b"foobar"));
    }
}
