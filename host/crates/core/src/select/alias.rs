//! The alias method: draws by weight in constant time (Walker 1977, Vose 1991).

use super::random::Random;

/// A table to draw from.
#[derive(Debug, Clone, Default)]
pub struct Alias {
    /// For each index the chance that it stands for itself, and who else it stands for.
    rows: Vec<(f64, u32)>,
}

impl Alias {
    /// A table for weights that are finite and not negative. Empty when none is above zero.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // There are at most 2^32 weights.
    pub fn new(weights: &[f32]) -> Self {
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        if sum <= 0.0 || !sum.is_finite() {
            return Self::default();
        }
        let scale = weights.len() as f64 / sum;
        let mut rows: Vec<(f64, u32)> = weights.iter().map(|weight| (f64::from(*weight) * scale, 0)).collect();
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for (index, (chance, _)) in (0u32..).zip(&rows) {
            if *chance < 1.0 { small.push(index) } else { large.push(index) }
        }
        while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
            let Some(row) = rows.get_mut(less as usize) else { break };
            row.1 = more;
            let missing = 1.0 - row.0;
            let Some(giver) = rows.get_mut(more as usize) else { break };
            giver.0 -= missing;
            if giver.0 < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        // What is left differs from 1 by rounding only, but a weight of zero must stay out of reach.
        for index in small.into_iter().chain(large) {
            if let Some(row) = rows.get_mut(index as usize) {
                row.0 = 1.0;
            }
        }
        Self { rows }
    }

    /// An index by weight; none when the table is empty.
    pub fn draw(&self, random: &mut Random) -> Option<usize> {
        let index = random.below(self.rows.len());
        let (chance, other) = self.rows.get(index)?;
        Some(if random.unit() < *chance { index } else { *other as usize })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss, clippy::cast_possible_truncation)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Chi-squared over the drawn counts: 99.99 % of honest runs stay below this bound, and the seeds are fixed.
        #[test]
        fn draws_follow_the_weights(weights in prop::collection::vec(prop_oneof![Just(0.0f32), 0.1..10.0f32], 2..12)) {
            let sum: f32 = weights.iter().sum();
            prop_assume!(sum > 0.0);
            let alias = Alias::new(&weights);
            let mut random = Random::new(42);
            let draws = 20_000;
            let mut counts = vec![0u32; weights.len()];
            for _ in 0..draws {
                counts[alias.draw(&mut random).unwrap()] += 1;
            }
            let mut chi_squared = 0.0;
            for (count, weight) in counts.iter().zip(&weights) {
                if *weight == 0.0 {
                    prop_assert_eq!(*count, 0);
                } else {
                    let expected = f64::from(*weight / sum) * f64::from(draws);
                    chi_squared += (f64::from(*count) - expected).powi(2) / expected;
                }
            }
            prop_assert!(chi_squared < 45.0, "chi-squared {chi_squared} for {weights:?}: {counts:?}");
        }
    }

    #[test]
    fn without_weight_nothing_is_drawn() {
        assert_eq!(Alias::new(&[]).draw(&mut Random::new(1)), None);
        assert_eq!(Alias::new(&[0.0, 0.0]).draw(&mut Random::new(1)), None);
    }
}
