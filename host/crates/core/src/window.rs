//! The last outcomes of a member, one bit each: how often it went well lately.
//!
//! A ring of a hundred, because a rate of a few says nothing and a rate of all that ever were forgets nothing. What falls
//! out of it is still counted by whoever keeps totals.

/// Outcomes that are kept.
const CAPACITY: u32 = 100;

/// The bits of a full ring.
const FULL: u128 = (1 << CAPACITY) - 1;

/// The last outcomes, the newest in the lowest bit; a bit that is set went well. In 16 bytes, because a million members have
/// one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// The lower and the upper half: the outcomes, and above them how many there are. Two words and not one of 128 bits,
    /// which would have to lie at a multiple of 16.
    halves: [u64; 2],
}

impl Window {
    /// Takes an outcome; of more than a hundred the oldest is forgotten.
    pub const fn record(&mut self, success: bool) {
        let outcomes = (self.outcomes() << 1 | success as u128) & FULL;
        let len = if self.len() < CAPACITY { self.len() + 1 } else { CAPACITY };
        self.halves = halves(outcomes | (len as u128) << CAPACITY);
    }

    const fn bits(self) -> u128 {
        let [lower, upper] = self.halves;
        (upper as u128) << u64::BITS | lower as u128
    }

    const fn outcomes(self) -> u128 {
        self.bits() & FULL
    }

    /// How many outcomes there are, 100 at the most.
    #[must_use]
    pub const fn len(self) -> u32 {
        // Seven bits.
        (self.bits() >> CAPACITY) as u32
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// How many of them went well.
    #[must_use]
    pub const fn successes(self) -> u32 {
        self.outcomes().count_ones()
    }

    /// The share that went well, from 0 to 1; none without outcomes.
    #[must_use]
    pub fn success_rate(self) -> Option<f64> {
        (!self.is_empty()).then(|| f64::from(self.successes()) / f64::from(self.len()))
    }

    /// How many failures in a row are the newest.
    #[must_use]
    pub const fn run(self) -> u32 {
        let zeros = self.outcomes().trailing_zeros();
        if zeros < self.len() { zeros } else { self.len() }
    }
}

const fn halves(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> u64::BITS) as u64]
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_as_a_queue_of_a_hundred_would(outcomes in prop::collection::vec(any::<bool>(), 0..300)) {
            let (mut window, mut model) = (Window::default(), VecDeque::new());
            for success in outcomes {
                window.record(success);
                model.push_back(success);
                if model.len() > 100 {
                    model.pop_front();
                }
                prop_assert_eq!(window.len() as usize, model.len());
                prop_assert_eq!(window.successes() as usize, model.iter().filter(|success| **success).count());
                prop_assert_eq!(window.run() as usize, model.iter().rev().take_while(|success| !**success).count());
            }
        }
    }

    #[test]
    fn without_outcomes_there_is_no_rate() {
        let mut window = Window::default();
        assert_eq!((window.success_rate(), window.run()), (None, 0));
        window.record(true);
        assert_eq!(window.success_rate(), Some(1.0));
    }
}
