//! The probability that a Beta-distributed rate is the highest of all.
//!
//! P(i is best) = ∫ fᵢ(x) Πⱼ≠ᵢ Fⱼ(x) dx, by the trapezoidal rule over the log-odds of x, where each
//! density is a smooth bell of about the same width wherever it stands, and where the largest of very
//! many is not squeezed against 1. Members that are known equally well and equally good are one class,
//! so the cost is a walk over the members and an integral for each class.
//!
//! Reference: G. Casella and R. L. Berger, "Statistical Inference", section 5.4, on order statistics.

use std::collections::BTreeMap;

/// From where to where the log-odds are looked at: rates from 2·10⁻⁹ to 1 − 2·10⁻⁹.
const REACH: f64 = 20.0;

/// Steps for each unit of the log-odds. The sharpest distribution that is given has a width of 1/16.
const STEPS_A_UNIT: usize = 16;

/// Points at which densities are known.
const POINTS: usize = 2 * 20 * STEPS_A_UNIT + 1;

/// Classes at the most; with more, they are made coarser.
const MAX_CLASSES: usize = 256;

/// Classes in a factor of e of either count, at first: counts that differ by 6 % are one.
const FINEST: f64 = 16.0;

/// Stands for the logarithm of 0.
const NEVER: f64 = -690.0;

/// A distribution of a rate from 0 to 1, by counts of successes and failures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Beta {
    pub(crate) a: f64,
    pub(crate) b: f64,
}

/// Members whose distributions are nearly the same.
#[derive(Debug, Default)]
struct Class {
    members: Vec<usize>,
    a: f64,
    b: f64,
}

/// For each distribution, the probability that its rate is the highest. They sum up to 1.
pub(crate) fn chances(all: &[Beta]) -> Vec<f64> {
    let classes = classify(all);
    let densities: Vec<Vec<f64>> = classes.iter().map(density).collect();
    let mut everybody_below = vec![0.0; POINTS];
    for (class, density) in classes.iter().zip(&densities) {
        let count = class.members.len() as f64;
        for (below, ln) in everybody_below.iter_mut().zip(ln_cumulated(density)) {
            *below += count * ln;
        }
    }
    let mut chances = vec![0.0; all.len()];
    for (class, density) in classes.iter().zip(&densities) {
        let others_below = everybody_below.iter().zip(ln_cumulated(density)).map(|(all, own)| (all - own).exp());
        let chance: f64 = density.iter().zip(others_below).map(|(density, below)| density * below).sum();
        for &member in &class.members {
            if let Some(entry) = chances.get_mut(member) {
                *entry = chance;
            }
        }
    }
    let sum: f64 = chances.iter().sum();
    if sum > 0.0 {
        chances.iter_mut().for_each(|chance| *chance /= sum);
    }
    chances
}

/// The classes, in an order that depends on the distributions only.
fn classify(all: &[Beta]) -> Vec<Class> {
    let mut fineness = FINEST;
    loop {
        let mut classes: BTreeMap<(i32, i32), Class> = BTreeMap::new();
        let key = |count: f64| (count.ln() * fineness).round() as i32;
        for (index, beta) in all.iter().enumerate() {
            let class = classes.entry((key(beta.a), key(beta.b))).or_default();
            class.members.push(index);
            class.a += beta.a;
            class.b += beta.b;
            if classes.len() > MAX_CLASSES && fineness > 1.0 {
                break;
            }
        }
        if classes.len() <= MAX_CLASSES || fineness <= 1.0 {
            return classes.into_values().collect();
        }
        fineness /= 2.0;
    }
}

/// The density at each point, times the distance of points.
fn density(class: &Class) -> Vec<f64> {
    let count = class.members.len() as f64;
    let (a, b) = (class.a / count, class.b / count);
    let ln = |point: usize| {
        let odds = point as f64 / STEPS_A_UNIT as f64 - REACH;
        // x^a (1−x)^b: the step from x to its log-odds takes the −1 from both exponents.
        a * -(-odds).exp().ln_1p() + b * -odds.exp().ln_1p()
    };
    let logs: Vec<f64> = (0..POINTS).map(ln).collect();
    let peak = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut density: Vec<f64> = logs.iter().map(|ln| (ln - peak).exp()).collect();
    let sum: f64 = density.iter().sum();
    density.iter_mut().for_each(|value| *value /= sum);
    density
}

/// The logarithm of the probability of being below each point.
fn ln_cumulated(density: &[f64]) -> impl Iterator<Item = f64> + '_ {
    density.iter().scan(0.0, |below, &here| {
        let middle = *below + here / 2.0;
        *below += here;
        Some(if middle > 0.0 { middle.min(1.0).ln() } else { NEVER })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxywhirl_plugin_sdk::random;

    fn beta(a: f64, b: f64) -> Beta {
        Beta { a, b }
    }

    fn unit() -> f64 {
        (random::next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Marsaglia and Tsang, 2000, <https://doi.org/10.1145/358407.358414>; for shapes from 1.
    fn gamma(shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        loop {
            let normal = (-2.0 * (1.0 - unit()).ln()).sqrt() * (std::f64::consts::TAU * unit()).cos();
            let v = (1.0 + normal / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && (1.0 - unit()).ln() < normal * normal / 2.0 + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Who wins how often, when a sample is drawn from each: Thompson sampling as others do it.
    fn sampled(all: &[Beta], rounds: u32) -> Vec<f64> {
        let mut wins = vec![0.0; all.len()];
        for _ in 0..rounds {
            let sample = |beta: &Beta| {
                let (x, y) = (gamma(beta.a), gamma(beta.b));
                x / (x + y)
            };
            let samples: Vec<f64> = all.iter().map(sample).collect();
            let best = (0..all.len()).max_by(|&a, &b| samples[a].total_cmp(&samples[b])).unwrap();
            wins[best] += 1.0 / f64::from(rounds);
        }
        wins
    }

    #[test]
    fn chances_are_those_of_thompson_sampling() {
        random::seed(7);
        for all in [
            vec![beta(1.0, 1.0), beta(1.0, 1.0)],
            vec![beta(1.0, 1.0), beta(9.0, 2.0), beta(40.0, 12.0), beta(3.0, 3.0)],
            vec![beta(900.0, 100.0), beta(880.0, 120.0), beta(91.0, 11.0)],
            vec![beta(500.0, 1.0), beta(90.0, 1.0), beta(1.0, 1.0)],
            (0..30).map(|index| beta(f64::from(index % 5) + 1.0, 2.0)).collect(),
        ] {
            for (exact, sampled) in chances(&all).into_iter().zip(sampled(&all, 40_000)) {
                assert!((exact - sampled).abs() < 0.012, "{all:?}: {exact} is not {sampled}");
            }
        }
    }

    #[test]
    fn two_uniform_rates_and_one_that_succeeded_once_have_the_exact_chances() {
        // P(Beta(2,1) beats Beta(1,1)) = ∫ 2x·x dx = 2/3.
        let found = chances(&[beta(2.0, 1.0), beta(1.0, 1.0)]);
        assert!((found[0] - 2.0 / 3.0).abs() < 1e-3, "{found:?}");
        assert!(chances(&[]).is_empty());
        assert_eq!(chances(&[beta(3.0, 4.0)]), [1.0]);
    }

    #[test]
    fn among_very_many_equals_all_have_the_same_chance() {
        let found = chances(&vec![beta(1.0, 1.0); 100_000]);
        assert!(found.iter().all(|chance| (chance - 1e-5).abs() < 1e-9));
    }

    #[test]
    fn more_kinds_than_classes_are_made_coarser_not_slower() {
        let all: Vec<_> =
            (0..20_000).map(|index| beta(1.0 + f64::from(index % 141), 1.0 + f64::from(index / 141))).collect();
        assert!(classify(&all).len() <= MAX_CLASSES);
        let found = chances(&all);
        assert!(found[140] > found[0]);
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn chances_are_finite_sum_up_to_one_and_do_not_depend_on_the_order(
            counts in prop::collection::vec((0.5_f64..1000.0, 0.5_f64..1000.0), 1..40),
        ) {
            let all: Vec<Beta> = counts.iter().map(|&(a, b)| beta(a, b)).collect();
            let found = chances(&all);
            prop_assert!(found.iter().all(|chance| (0.0..=1.0 + 1e-9).contains(chance)));
            prop_assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let turned: Vec<Beta> = all.iter().rev().copied().collect();
            for (a, b) in found.iter().zip(chances(&turned).iter().rev()) {
                prop_assert!((a - b).abs() < 1e-9);
            }
        }
    }
}
