//! A hasher for keys that are numbers, and that nobody chooses as they are: hashes of names, places in memory.

use std::hash::{BuildHasherDefault, Hasher};

use crate::member::mix;

/// Spreads a number over all bits, with two multiplications.
#[derive(Debug, Default)]
pub struct Spread(u64);

/// For maps whose keys are such numbers.
pub type Hashed = BuildHasherDefault<Spread>;

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0 ^ value);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}
