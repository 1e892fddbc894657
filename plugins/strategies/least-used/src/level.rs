//! Water-filling: how much each member is due, so that all come to the same level.
//!
//! Invariant: the shares of all members sum to what is poured, to within the precision of the search,
//! and none is above the cap.

use proxywhirl_plugin_sdk::Slot;

/// How many equal shares one member gets at the most.
const CAP: f64 = 4.0;

/// Halvings of the interval in which the level is searched. Counts have 32 bits, so 48 leave less
/// than a ten-thousandth of a use.
const HALVINGS: usize = 48;

/// The level to which members are filled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level {
    level: f64,
    cap: f64,
}

impl Level {
    /// How much a member with so many uses is due; 0 at the level and above.
    pub(crate) fn share(self, uses: u32) -> f64 {
        (self.level - f64::from(uses)).clamp(0.0, self.cap)
    }

    /// How far a member with so many uses is above the level.
    pub(crate) fn excess(self, uses: u32) -> f64 {
        (f64::from(uses) - self.level).max(0.0)
    }
}

/// The level at which `poured` uses are spread over the members.
pub(crate) fn of(counts: &[(Slot, u32)], poured: usize) -> Level {
    let equal = poured as f64 / counts.len().max(1) as f64;
    let cap = CAP * equal;
    let uses = || counts.iter().map(|&(_, uses)| f64::from(uses));
    let mut low = uses().fold(f64::INFINITY, f64::min);
    // All of them with a cap's worth are more than enough.
    let mut high = uses().fold(0.0, f64::max) + cap;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        // Precise enough: what is missing is a thousandth of an equal share for each.
        if high - low < equal / 1_000.0 {
            break;
        }
        let level = Level { level: middle, cap };
        let sum: f64 = counts.iter().map(|&(_, uses)| level.share(uses)).sum();
        if sum < poured as f64 { low = middle } else { high = middle }
    }
    // The lower end, so that who is just at the level is not due.
    Level { level: low, cap }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(uses: &[u32], poured: usize) -> Vec<f64> {
        let counts: Vec<_> = (0..).zip(uses.iter().copied()).collect();
        let level = of(&counts, poured);
        uses.iter().map(|&uses| level.share(uses)).collect()
    }

    #[test]
    fn what_is_poured_brings_all_to_the_same_level() {
        let shares = shares(&[5, 3, 10, 5], 9);
        let close = shares.iter().zip([2.333, 4.333, 0.0, 2.333]).all(|(a, b)| (a - b).abs() < 0.01);
        assert!(close, "{shares:?}");
    }

    #[test]
    fn one_who_was_never_used_gets_four_equal_shares_at_the_most() {
        let shares = shares(&[0, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000], 80);
        assert!((shares.first().copied().unwrap_or_default() - 40.0).abs() < 0.1, "{shares:?}");
    }

    proptest! {
        #[test]
        fn shares_sum_to_what_is_poured_and_who_was_used_less_gets_no_less(
            uses in prop::collection::vec(prop_oneof![0_u32..20, any::<u32>()], 1..60),
            poured in 1_usize..10_000,
        ) {
            let shares = shares(&uses, poured);
            let sum: f64 = shares.iter().sum();
            prop_assert!((sum - poured as f64).abs() <= poured as f64 * 0.01 + 1e-3, "{sum} of {poured}");
            let cap = CAP * poured as f64 / uses.len() as f64;
            for (a, share) in uses.iter().zip(&shares) {
                prop_assert!(*share <= cap);
                prop_assert!(uses.iter().zip(&shares).all(|(b, other)| a > b || share >= other));
            }
        }
    }
}
