//! A sequence of random numbers that follows from a seed: SplitMix64 (Steele, Lea, Flood 2014).

use crate::member::mix;

/// The sequence. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    #[inline]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[inline]
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, each equally likely to within `bound` ÷ 2⁶⁴ (Lemire's multiplication); 0 for a bound of 0.
    #[allow(clippy::cast_possible_truncation)] // The product's upper half is below the bound.
    #[inline]
    pub const fn below(&mut self, bound: usize) -> usize {
        ((self.bits() as u128 * bound as u128) >> 64) as usize
    }

    /// A number below `bound`, and 32 bits that do not depend on it as long as `bound` is below 2³².
    #[allow(clippy::cast_possible_truncation)] // The product's upper half is below the bound; of the lower one, 32 bits are meant.
    #[inline]
    pub const fn split(&mut self, bound: usize) -> (usize, u32) {
        let product = self.bits() as u128 * bound as u128;
        ((product >> 64) as usize, (product >> 32) as u32)
    }

    /// A number from 0 (inclusive) to 1 (exclusive).
    #[allow(clippy::cast_precision_loss)] // 53 bits are what the type holds.
    #[inline]
    pub const fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
