//! Members side by side, each with the chance that it takes what falls on it.
//!
//! Draws and sessions hit a place at random, so what counts is how many places fit into the nearest caches. A lot is four
//! bytes: the slot, and the first eight bits of a 32-bit threshold. They decide all but one time in 256; then the whole
//! threshold is looked at, which lies elsewhere.

use crate::pool::Pool;

/// Bits of a lot that hold the upper bits of its threshold.
const LEVEL_BITS: u32 = 8;

/// Bits of a threshold that are not in the lot.
const FINE_BITS: u32 = u32::BITS - LEVEL_BITS;

/// Members by place.
#[derive(Debug, Default)]
pub(super) struct Lots {
    packed: Vec<u32>,
    thresholds: Vec<u32>,
}

impl Lots {
    pub(super) fn with_capacity(lots: usize) -> Self {
        Self { packed: Vec::with_capacity(lots), thresholds: Vec::with_capacity(lots) }
    }

    /// Adds a member, which takes it when 32 random bits are not above the threshold. Slots are below
    /// [`Pool::MAX_CAPACITY`].
    pub(super) fn push(&mut self, slot: u32, threshold: u32) {
        debug_assert!((slot as usize) < Pool::MAX_CAPACITY);
        self.packed.push(slot << LEVEL_BITS | threshold >> FINE_BITS);
        self.thresholds.push(threshold);
    }

    /// The slot at a place.
    #[inline]
    pub(super) fn slot(&self, place: usize) -> Option<u32> {
        self.packed.get(place).map(|packed| packed >> LEVEL_BITS)
    }

    /// The slot at a place, if it takes it with these 32 random bits.
    #[inline]
    pub(super) fn take(&self, place: usize, chance: u32) -> Option<u32> {
        let packed = *self.packed.get(place)?;
        let (slot, level, upper) = (packed >> LEVEL_BITS, packed & ((1 << LEVEL_BITS) - 1), chance >> FINE_BITS);
        (upper < level || (upper == level && self.takes_narrowly(place, chance))).then_some(slot)
    }

    /// The share of what falls on a place that is taken, rounded up to the next of 256 steps.
    #[allow(clippy::cast_possible_truncation)] // Eight bits.
    #[inline]
    pub(super) fn share(&self, place: usize) -> f32 {
        let level = self.packed.get(place).map_or(0, |packed| *packed as u8);
        f32::from(u16::from(level) + 1) / 256.0
    }

    #[cold]
    fn takes_narrowly(&self, place: usize, chance: u32) -> bool {
        self.thresholds.get(place).is_some_and(|threshold| chance <= *threshold)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_lot_decides_as_its_threshold_does(
            slot in 0..1_u32 << 24,
            threshold in any::<u32>(),
            chance in any::<u32>(),
            near in -3..=3_i32,
        ) {
            let mut lots = Lots::default();
            lots.push(slot, threshold);
            for chance in [chance, threshold.wrapping_add_signed(near), 0, u32::MAX] {
                prop_assert_eq!(lots.take(0, chance), (chance <= threshold).then_some(slot));
            }
            prop_assert_eq!((lots.slot(0), lots.take(1, 0)), (Some(slot), None));
        }
    }
}
