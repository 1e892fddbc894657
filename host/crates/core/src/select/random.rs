//! A sequence of random numbers that follows from a seed: SplitMix64 (Steele, Lea, Flood 2014).

use crate::member::mix;

/// The sequence. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, each equally likely to within `bound` ÷ 2⁶⁴ (Lemire's multiplication); 0 for a bound of 0.
    #[allow(clippy::cast_possible_truncation)] // The product's upper half is below the bound.
    pub const fn below(&mut self, bound: usize) -> usize {
        ((self.bits() as u128 * bound as u128) >> 64) as usize
    }

    /// A number from 0 (inclusive) to 1 (exclusive).
    #[allow(clippy::cast_precision_loss)] // 53 bits are what the type holds.
    pub const fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
