//! A robust range: the median, give or take a few median absolute deviations.

/// What makes a median absolute deviation of normal values their standard deviation.
const CONSISTENT: f64 = 1.4826;
/// Deviations that are still usual: one fetch in two million falls out of five by chance.
const DEVIATIONS: f64 = 5.0;

/// What is usual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
}

impl Range {
    /// The range of some values, no narrower than `floor` on either side.
    pub(super) fn of(values: &[f64], floor: f64) -> Self {
        let middle = median(values);
        let deviations: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
        let spread = (DEVIATIONS * CONSISTENT * median(&deviations)).max(floor);
        Self { low: middle - spread, middle, high: middle + spread }
    }

    pub(super) fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The median; zero of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.saturating_sub(1)), at(half)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_median_of_some_values() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn a_minority_of_outliers_moves_the_range_by_no_more_than_the_rest_spreads(
            good in proptest::collection::vec(90.0..110.0_f64, 11..20),
            wild in proptest::collection::vec(-1e9..1e9_f64, 0..5),
        ) {
            let all: Vec<f64> = good.iter().chain(&wild).copied().collect();
            let range = Range::of(&all, 1.0);
            prop_assert!((90.0..=110.0).contains(&range.middle));
            prop_assert!(range.high - range.low <= 2.0 * DEVIATIONS * CONSISTENT * 20.0 + 1e-6);
        }
    }
}
