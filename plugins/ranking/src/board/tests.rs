#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The shares, of 1 in all, by slot.
fn normal(weights: &[Weighted]) -> BTreeMap<Slot, f64> {
    let sum = sum(weights);
    weights.iter().map(|member| (member.slot, f64::from(member.weight) / sum)).collect()
}

fn close(found: &BTreeMap<Slot, f64>, expected: &[f64]) -> bool {
    found.len() == expected.len() && found.values().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn an_unproven_member_ranks_like_the_median_neither_last_nor_first() {
    let proven = (0..99).map(|slot| (slot, 1.0, Standing::Proven(f64::from(slot) + 1.0)));
    let shares = normal(&weigh(proven.chain([(99, 1.0, Standing::Unproven)]), &Policy::default()));
    assert!((shares[&99] - shares[&49]).abs() < 1e-9, "{shares:?}");
}

#[test]
fn a_large_batch_of_newcomers_gets_five_percent_and_the_proven_share_the_rest() {
    let newcomers = (2..10_002).map(|slot| (slot, 1.0, Standing::Unproven));
    let proven = [(0, 1.0, Standing::Proven(3.0)), (1, 1.0, Standing::Proven(3.0))];
    let shares = normal(&weigh(proven.into_iter().chain(newcomers), &Policy::default()));
    assert!((shares[&0] - 0.475).abs() < 1e-6 && (shares[&1] - 0.475).abs() < 1e-6);
    assert!((shares.values().skip(2).sum::<f64>() - 0.05).abs() < 1e-6);
}

#[test]
fn the_first_failure_of_a_fresh_pool_gives_the_failed_one_no_advantage() {
    let fresh = (1..10).map(|slot| (slot, 1.0, Standing::Unproven));
    let shares = normal(&weigh(fresh.chain([(0, 1.0, Standing::Failed(1))]), &Policy::default()));
    assert!(shares[&0] < shares[&1], "{shares:?}");
}

#[test]
fn who_has_only_failed_comes_after_the_worst_and_is_still_drawn() {
    let members = [
        (0, 1.0, Standing::Proven(4.0)),
        (1, 1.0, Standing::Proven(1.0)),
        (2, 1.0, Standing::Failed(3)),
        (3, 1.0, Standing::Failed(1)),
    ];
    let shares = normal(&weigh(members, &Policy::default()));
    assert!(close(&shares, &[4.0 / 5.75, 1.0 / 5.75, 0.25 / 5.75, 0.5 / 5.75]), "{shares:?}");
}

#[test]
fn a_factor_of_zero_takes_a_member_out_whatever_its_standing() {
    for standing in [Standing::Proven(1.0), Standing::Failed(1), Standing::Unproven] {
        let shares = weigh([(0, 0.0, standing), (1, 1.0, Standing::Proven(1.0))], &Policy::default());
        assert!(shares.iter().any(|member| member.slot == 0 && member.weight == 0.0));
    }
}

#[test]
fn the_rank_of_newcomers_can_be_chosen() {
    let members = [(0, 1.0, Standing::Proven(1.0)), (1, 1.0, Standing::Proven(3.0)), (2, 1.0, Standing::Unproven)];
    for (rank, quality) in [(Rank::Lowest, 1.0), (Rank::Highest, 3.0)] {
        let shares = normal(&weigh(members, &Policy { rank, explore: 1.0 }));
        assert!((shares[&2] - quality / (4.0 + quality)).abs() < 1e-6, "{shares:?}");
    }
}

fn standing() -> impl proptest::strategy::Strategy<Value = Standing> {
    prop_oneof![
        (1e-9_f64..1e9).prop_map(Standing::Proven),
        any::<u64>().prop_map(Standing::Failed),
        Just(Standing::Unproven),
    ]
}

proptest! {
    /// Kept up to date member by member, a board says what one made on the spot says.
    #[test]
    fn a_board_follows_every_change(
        steps in prop::collection::vec((0_u32..12, prop::option::of((0.0_f64..9.0, standing()))), 0..80),
        view in prop::option::of(prop::sample::subsequence((0_u32..12).collect::<Vec<_>>(), 0..12)),
    ) {
        let (mut board, mut mirror) = (Board::new(), BTreeMap::new());
        for (slot, change) in steps {
            match change {
                Some((factor, standing)) => {
                    board.set(slot, factor, standing);
                    mirror.insert(slot, (factor, standing));
                }
                None => {
                    board.remove(slot);
                    mirror.remove(&slot);
                }
            }
        }
        let members = mirror.iter().filter(|(slot, _)| view.as_ref().is_none_or(|view| view.contains(slot)));
        let expected = weigh(members.map(|(&slot, &(factor, standing))| (slot, factor, standing)), &Policy::default());
        let mut found = board.shares(view.as_deref(), &Policy::default());
        found.sort_by_key(|member| member.slot);
        let mut expected = expected;
        expected.sort_by_key(|member| member.slot);
        prop_assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            prop_assert_eq!(a.slot, b.slot);
            prop_assert!((a.weight - b.weight).abs() <= 1e-5 * b.weight, "{:?} {:?}", a, b);
        }
    }

    #[test]
    fn weights_are_finite_nobody_is_ruled_out_and_the_unproven_keep_to_their_share(
        members in prop::collection::vec((1e-3_f64..1e3, standing()), 1..60),
    ) {
        let listed = (0..).zip(&members).map(|(slot, &(factor, standing))| (slot, factor, standing));
        let shares = weigh(listed, &Policy::default());
        prop_assert!(shares.iter().all(|member| member.weight.is_finite() && member.weight > 0.0));
        let share = |wanted: fn(&Standing) -> bool| -> f64 {
            let those = normal(&shares).into_iter().filter(|(slot, _)| wanted(&members[*slot as usize].1));
            those.map(|(_, share)| share).sum()
        };
        if share(|standing| matches!(standing, Standing::Proven(_))) > 0.0 {
            prop_assert!(share(|standing| *standing == Standing::Unproven) < 0.05 + 1e-6);
        }
    }
}
