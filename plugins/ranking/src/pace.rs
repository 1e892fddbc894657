//! When what was observed is worth a new plan.
//!
//! A plan costs a walk over the pool, and the host as much again to make it ready. One for so many
//! observations, or for so many that the walk is a few dozen steps for each, keeps that in
//! proportion; and a plan does not get older than five seconds while there is anything new.

/// Observations that are always worth a plan.
const FEW: usize = 16;

/// Members to be walked over for one observation.
const STEPS: usize = 32;

/// Microseconds that news waits at the longest.
const PATIENCE: u64 = 5_000_000;

/// Counts observations since the last plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    observed: usize,
    planned: u64,
}

impl Pace {
    /// Counts observations; true when it is time for a plan.
    pub fn observe(&mut self, observations: usize, members: usize, now: u64) -> bool {
        self.observed = self.observed.saturating_add(observations);
        self.observed >= FEW.max(members / STEPS) || (self.observed > 0 && now >= self.planned.saturating_add(PATIENCE))
    }

    /// A plan is made; how many observations there were since the one before.
    pub fn plan(&mut self, now: u64) -> usize {
        self.planned = now;
        std::mem::take(&mut self.observed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_due_after_enough_observations_for_the_size_of_the_pool() {
        let mut pace = Pace::default();
        pace.plan(100);
        assert!(!pace.observe(15, 10, 100));
        assert!(pace.observe(1, 10, 100));
        assert_eq!(pace.plan(100), 16);
        assert!(!pace.observe(31, 1_024, 100));
        assert!(pace.observe(1, 1_024, 100));
    }

    #[test]
    fn news_does_not_wait_for_ever_and_silence_makes_no_plan() {
        let mut pace = Pace::default();
        pace.plan(100);
        assert!(!pace.observe(0, 10, 100 + PATIENCE));
        assert!(!pace.observe(1, 10, 99 + PATIENCE));
        assert!(pace.observe(0, 10, 100 + PATIENCE));
    }
}
