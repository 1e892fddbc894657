//! Where requests went.

use crate::Slot;
use std::collections::BTreeMap;

/// A deviation that chance alone exceeds in one of three million runs: five sigma.
const SIGMAS: f64 = 5.0;

/// How often each member was picked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picks {
    counts: BTreeMap<Slot, u64>,
    nobody: u64,
}

impl Picks {
    /// Counts a pick.
    pub fn count(&mut self, picked: Option<Slot>) {
        match picked {
            Some(slot) => *self.counts.entry(slot).or_default() += 1,
            None => self.nobody += 1,
        }
    }

    /// How often a member was picked.
    #[must_use]
    pub fn of(&self, slot: Slot) -> u64 {
        self.counts.get(&slot).copied().unwrap_or(0)
    }

    /// How often nobody was.
    #[must_use]
    pub const fn nobody(&self) -> u64 {
        self.nobody
    }

    /// How often somebody was.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The share of the picks that one of these members got, 0 to 1.
    #[must_use]
    pub fn share(&self, slots: &[Slot]) -> f64 {
        slots.iter().map(|&slot| self.of(slot)).sum::<u64>() as f64 / self.total().max(1) as f64
    }

    /// Who was picked at all, by slot.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.counts.keys().copied()
    }

    /// Whether the picks could come from these weights, and nobody else was picked: Pearson's
    /// chi-squared test, its statistic made normal by Wilson and Hilferty's cube root
    /// (<https://doi.org/10.1073/pnas.17.12.684>). Wants at least five expected picks a member.
    #[must_use]
    pub fn fit(&self, weights: &[(Slot, f64)]) -> bool {
        let expected: BTreeMap<Slot, f64> = weights.iter().copied().filter(|&(_, weight)| weight > 0.0).collect();
        let sum: f64 = expected.values().sum();
        if self.counts.keys().any(|slot| !expected.contains_key(slot)) || self.nobody > 0 {
            return false;
        }
        let total = self.total() as f64;
        let terms = expected.iter().map(|(&slot, weight)| {
            let wanted = weight / sum * total;
            (self.of(slot) as f64 - wanted).powi(2) / wanted
        });
        let statistic: f64 = terms.sum();
        let freedom = expected.len().saturating_sub(1) as f64;
        if freedom == 0.0 {
            return true;
        }
        let variance = 2.0 / (9.0 * freedom);
        ((statistic / freedom).cbrt() - (1.0 - variance)) / variance.sqrt() < SIGMAS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(counts: &[u64]) -> Picks {
        let mut picks = Picks::default();
        for (slot, &count) in (0..).zip(counts) {
            (0..count).for_each(|_| picks.count(Some(slot)));
        }
        picks
    }

    #[test]
    fn counts_fit_their_own_weights_and_no_others() {
        let picks = picks(&[1_020, 1_990, 2_990]);
        assert!(picks.fit(&[(0, 1.0), (1, 2.0), (2, 3.0)]));
        assert!(!picks.fit(&[(0, 1.0), (1, 1.0), (2, 1.0)]));
        assert!(!picks.fit(&[(0, 1.0), (1, 2.0)]));
        assert!((picks.share(&[0, 1]) - 3_010.0 / 6_000.0).abs() < 1e-12);
    }

    #[test]
    fn a_request_that_got_nobody_fits_nothing() {
        let mut picks = picks(&[100]);
        assert!(picks.fit(&[(0, 1.0)]));
        picks.count(None);
        assert!(!picks.fit(&[(0, 1.0)]));
        assert_eq!((picks.total(), picks.nobody()), (100, 1));
    }
}
