//! Weights from what is known of members: what several strategies share.
//!
//! A member that was never tried ranks like the median of those that have served: at the bottom it
//! would never get a chance, at the top newcomers would take all requests until they level. With
//! [`bound_unproven`] the never-tried together get a bounded share, so that a large batch of them
//! cannot drown the proven. One that was tried and has only failed ranks below the lowest that has
//! served, by its failures: it proves nothing, so the first failure in a fresh pool changes nobody
//! else's chances. Nobody's weight is 0: who is never drawn can never get better.
//!
//! Reference: Laplace's rule of succession, <https://en.wikipedia.org/wiki/Rule_of_succession>.

use super::{Member, Weighted};
use serde::Deserialize;

/// The share of the requests that the never-tried get at the most, all together.
pub const EXPLORE: f64 = 0.05;

/// Weights below this share of the largest are raised to it, so that none becomes 0 as an `f32`.
const SMALLEST: f64 = 1e-30;

/// What a weight follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ranking {
    /// Nothing: all are equal.
    #[default]
    Equal,
    /// The share of uses that ended well, smoothed by the rule of succession.
    Success,
    /// The inverse of the latency.
    Speed,
    /// The share of uses that ended well, divided by the latency: (success ÷ latency)².
    Performance,
}

/// Whether a member has ever served.
#[must_use]
pub const fn is_proven(member: &Member) -> bool {
    member.successes > 0
}

/// Whether a member was never tried.
#[must_use]
pub const fn is_new(member: &Member) -> bool {
    member.successes == 0 && member.failures == 0
}

/// The share of a member's uses that ended well, smoothed: ½ for one that was never tried.
#[must_use]
pub fn success(member: &Member) -> f64 {
    let (successes, failures) = (member.successes as f64, member.failures as f64);
    (successes + 1.0) / (successes + failures + 2.0)
}

/// A weight above 0 for each of the members, in their order. O(n).
#[must_use]
pub fn weigh(members: &[&Member], by: Ranking) -> Vec<f64> {
    if by == Ranking::Equal {
        return vec![1.0; members.len()];
    }
    let slowest = members.iter().map(|member| member.latency).max().unwrap_or(0).max(1);
    let of = |member: &Member| quality(member, by, slowest);
    let proven: Vec<f64> = members.iter().filter(|member| is_proven(member)).map(|member| of(member)).collect();
    let lowest = proven.iter().copied().reduce(f64::min).unwrap_or(1.0);
    let newcomer = median(proven).unwrap_or(1.0);
    let weight = |member: &Member| match (is_proven(member), is_new(member)) {
        (true, _) => of(member),
        (false, true) => newcomer,
        (false, false) => lowest / (member.failures as f64 + 1.0),
    };
    members.iter().map(|member| weight(member)).collect()
}

/// Scales the weights of the never-tried down to a share of the whole, 0 to 1, if they have more and
/// anybody has served.
pub fn bound_unproven(members: &[&Member], weights: &mut [f64], share: f64) {
    let (mut tried, mut new) = (0.0, 0.0);
    for (member, weight) in members.iter().zip(weights.iter()) {
        *(if is_new(member) { &mut new } else { &mut tried }) += weight;
    }
    if new > share * (tried + new) && members.iter().any(|member| is_proven(member)) {
        let scale = share / (1.0 - share) * tried / new;
        for (member, weight) in members.iter().zip(weights) {
            if is_new(member) {
                *weight *= scale;
            }
        }
    }
}

/// Members with their weights, as a tier wants them. The largest weight becomes 1, so that none is
/// lost in an `f32`; a weight above 0 stays above 0.
#[must_use]
pub fn shares(members: &[&Member], weights: &[f64]) -> Vec<Weighted> {
    let largest = weights.iter().copied().filter(|weight| weight.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let share = |weight: f64| if weight > 0.0 { (weight / largest).clamp(SMALLEST, 1.0) as f32 } else { 0.0 };
    let pairs = members.iter().zip(weights);
    pairs.map(|(member, &weight)| Weighted { slot: member.slot, weight: share(weight) }).collect()
}

/// The one in the middle; the upper one of two.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

fn quality(member: &Member, by: Ranking, slowest: u32) -> f64 {
    match by {
        Ranking::Equal => 1.0,
        Ranking::Success => success(member),
        Ranking::Speed => speed(member, slowest),
        Ranking::Performance => (success(member) * speed(member, slowest)).powi(2),
    }
}

/// A member that has served without a measured time counts as the slowest.
fn speed(member: &Member, slowest: u32) -> f64 {
    1.0 / f64::from(if member.latency > 0 { member.latency } else { slowest })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::testing::member;
    use proptest::prelude::*;

    fn tried(successes: u64, failures: u64, latency: u32) -> Member {
        Member { successes, failures, latency, ..member(0, 0) }
    }

    fn weights(rows: &[Member], by: Ranking) -> Vec<f64> {
        weigh(&rows.iter().collect::<Vec<_>>(), by)
    }

    #[test]
    fn a_never_tried_member_ranks_like_the_median_of_the_proven() {
        let rows = [tried(9, 0, 10), tried(9, 0, 20), tried(9, 0, 400), tried(0, 0, 0)];
        for by in [Ranking::Speed, Ranking::Performance, Ranking::Success] {
            let weights = weights(&rows, by);
            assert!((weights[3] - weights[1]).abs() < 1e-12, "{by:?}");
        }
    }

    #[test]
    fn who_only_ever_failed_ranks_below_the_slowest_and_above_nothing() {
        let weights = weights(&[tried(9, 0, 10), tried(9, 0, 400), tried(0, 3, 0)], Ranking::Speed);
        assert!((weights[2] - 1.0 / 1600.0).abs() < 1e-12);
    }

    #[test]
    fn the_first_failure_in_a_fresh_pool_changes_nobody_elses_chances() {
        let rows: Vec<_> = (0..99).map(|_| tried(0, 0, 0)).chain([tried(0, 1, 0)]).collect();
        let members: Vec<_> = rows.iter().collect();
        let mut weights = weigh(&members, Ranking::Success);
        bound_unproven(&members, &mut weights, EXPLORE);
        assert!(weights[..99].iter().all(|&weight| weight == 1.0) && weights[99] == 0.5);
    }

    #[test]
    fn who_has_served_without_a_measured_time_is_not_the_fastest() {
        let weights = weights(&[tried(9, 0, 0), tried(9, 0, 10), tried(9, 0, 400)], Ranking::Speed);
        assert_eq!(weights[0], weights[2]);
    }

    #[test]
    fn a_batch_of_newcomers_gets_its_bounded_share() {
        let rows: Vec<_> = (0..10).map(|_| tried(5, 0, 10)).chain((0..1000).map(|_| tried(0, 0, 0))).collect();
        let members: Vec<_> = rows.iter().collect();
        let mut weights = weigh(&members, Ranking::Success);
        bound_unproven(&members, &mut weights, EXPLORE);
        let share = weights[10..].iter().sum::<f64>() / weights.iter().sum::<f64>();
        assert!((share - EXPLORE).abs() < 1e-9, "{share}");
    }

    #[test]
    fn without_anybody_proven_newcomers_are_equal_and_not_scaled() {
        let rows = [tried(0, 0, 0), tried(0, 0, 0)];
        let members: Vec<_> = rows.iter().collect();
        let mut weights = weigh(&members, Ranking::Performance);
        bound_unproven(&members, &mut weights, EXPLORE);
        assert_eq!(weights, [1.0, 1.0]);
    }

    fn rows() -> impl Strategy<Value = Vec<Member>> {
        let row = (0..u64::MAX, 0..u64::MAX, any::<u32>()).prop_map(|(good, bad, latency)| tried(good, bad, latency));
        prop::collection::vec(prop_oneof![row, Just(tried(0, 0, 0))], 0..50)
    }

    proptest! {
        #[test]
        fn weights_are_finite_and_above_zero_whatever_members_look_like(rows in rows()) {
            let members: Vec<_> = rows.iter().collect();
            for by in [Ranking::Equal, Ranking::Success, Ranking::Speed, Ranking::Performance] {
                let mut weights = weigh(&members, by);
                bound_unproven(&members, &mut weights, EXPLORE);
                for share in shares(&members, &weights) {
                    prop_assert!(share.weight > 0.0 && share.weight <= 1.0, "{by:?} {}", share.weight);
                }
            }
        }
    }
}
