#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::member::Member;
use crate::pool::tests::{candidate, join, pool_of};
use crate::pool::{Pool, Snapshot};
use crate::select::pick::Picker;
use crate::select::pick::tests::{open_breaker, pick, plan, wish};
use crate::select::plan::{Membership, Mode, Weighted};
use crate::select::wish::Wish;

const SESSIONS: u64 = 3_000;

/// A plan over everybody in the pool, with weights that follow from identities.
fn listed(snapshot: &Snapshot, weights: &[f32]) -> Membership {
    let weight = |id: MemberId| weights[id.0 as usize % weights.len()];
    let weighted = |member: &Arc<Member>| Weighted { slot: member.slot, weight: weight(member.id) };
    Membership::These(snapshot.iter().map(weighted).collect())
}

fn compile(snapshot: &Snapshot, members: Membership, previous: Option<&Picker>) -> Picker {
    Picker::compile(&plan(Mode::Affinity, members), snapshot, previous).unwrap()
}

/// Where each session goes.
fn assignment(picker: &Picker, snapshot: &Snapshot) -> HashMap<u64, MemberId> {
    let session = |session| Wish { session: Some(session), ..wish(session, &[]) };
    (0..SESSIONS).filter_map(|n| Some((n, pick(picker, snapshot, &session(n))?.id))).collect()
}

fn moved(old: &HashMap<u64, MemberId>, new: &HashMap<u64, MemberId>) -> Vec<(MemberId, MemberId)> {
    old.iter().map(|(session, id)| (*id, new[session])).filter(|(from, to)| from != to).collect()
}

fn leave(pool: &mut Pool, n: u32) -> MemberId {
    let host = std::net::Ipv4Addr::from(0x0a00_0000 + n);
    pool.remove(&candidate(&format!("http://{host}:80")).endpoint.key()).unwrap().id
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn when_one_leaves_only_its_sessions_move(count in 2..150u32, which in any::<prop::sample::Index>(), skew in 0..3usize) {
        let weights: &[f32] = [&[1.0][..], &[0.5, 1.0, 1.5], &[0.01, 1.0, 40.0]][skew];
        let mut pool = pool_of(count);
        let (before, _) = pool.publish();
        let first = compile(&before, listed(&before, weights), None);
        let old = assignment(&first, &before);
        let gone = leave(&mut pool, which.index(count as usize) as u32);
        let (after, _) = pool.publish();
        // Before the strategy has heard of it, and after.
        let second = compile(&after, listed(&after, weights), Some(&first));
        for picker in [&first, &second] {
            let new = assignment(picker, &after);
            prop_assert_eq!(new.len(), old.len());
            prop_assert!(moved(&old, &new).iter().all(|(from, _)| *from == gone));
            prop_assert!(new.values().all(|id| *id != gone));
        }
    }

    #[test]
    fn when_one_joins_it_takes_its_share_and_nobody_else_moves(count in 1..150u32, skew in any::<bool>()) {
        let weights: &[f32] = if skew { &[0.5, 1.0, 1.5] } else { &[1.0] };
        let mut pool = pool_of(count);
        let (before, _) = pool.publish();
        let first = compile(&before, listed(&before, weights), None);
        let old = assignment(&first, &before);
        join(&mut pool, count);
        let (after, _) = pool.publish();
        let second = compile(&after, listed(&after, weights), Some(&first));
        let moved = moved(&old, &assignment(&second, &after));
        let newcomer = after.get(count).unwrap().id;
        prop_assert!(moved.iter().all(|(_, to)| *to == newcomer));
        let share = 1.0 / f64::from(count + 1) * if skew { 2.0 } else { 1.0 };
        let most = share * SESSIONS as f64;
        prop_assert!((moved.len() as f64) < most + 5.0 * most.sqrt() + 5.0, "{} moved of {most}", moved.len());
    }

    /// Chi-squared: 99.99 % of honest runs stay below the bound, and identities and sessions are fixed.
    #[test]
    fn sessions_follow_the_weights(count in 2..40u32, spread in 1..30u32) {
        let (snapshot, _) = pool_of(count).publish();
        let weights: Vec<f32> = (0..spread).map(|n| 0.1 + n as f32).collect();
        let members = listed(&snapshot, &weights);
        let Membership::These(list) = &members else { unreachable!() };
        let picker = compile(&snapshot, members.clone(), None);
        let new = assignment(&picker, &snapshot);
        let sum: f32 = list.iter().map(|member| member.weight).sum();
        let mut chi_squared = 0.0;
        for member in list {
            let id = snapshot.get(member.slot).unwrap().id;
            let count = new.values().filter(|other| **other == id).count() as f64;
            let expected = f64::from(member.weight / sum) * SESSIONS as f64;
            chi_squared += (count - expected).powi(2) / expected;
        }
        let freedom = f64::from(count - 1);
        let bound = freedom + 5.0 * (2.0 * freedom).sqrt() + 15.0;
        prop_assert!(chi_squared < bound, "chi-squared {chi_squared} of {freedom}");
    }
}

#[test]
fn a_session_comes_home_when_the_breaker_has_closed() {
    let (snapshot, _) = pool_of(50).publish();
    let picker = compile(&snapshot, Membership::Everyone, None);
    let old = assignment(&picker, &snapshot);
    let broken = snapshot.get(7).unwrap();
    open_breaker(broken);
    let new = assignment(&picker, &snapshot);
    let away = moved(&old, &new);
    assert!(!away.is_empty() && away.iter().all(|(from, _)| *from == broken.id));
    let later = crate::time::Timestamp::from_micros(u64::MAX - 1);
    for (session, id) in &old {
        let wish = Wish { now: later, session: Some(*session), ..wish(0, &[]) };
        assert_eq!(pick(&picker, &snapshot, &wish).unwrap().id, *id);
    }
}

#[test]
fn a_table_from_nothing_is_the_same_whatever_the_order_of_joining() {
    let mut backwards = pool_of(0);
    for n in (0..200).rev() {
        join(&mut backwards, n);
    }
    let [(one, _), (two, _)] = [pool_of(200).publish(), backwards.publish()];
    let everywhere = |snapshot| assignment(&compile(snapshot, Membership::Everyone, None), snapshot);
    assert_eq!(everywhere(&one), everywhere(&two));
}

#[test]
fn the_table_is_handed_on_through_many_changes() {
    let mut pool = pool_of(100);
    let (mut snapshot, _) = pool.publish();
    let mut picker = compile(&snapshot, Membership::Everyone, None);
    for n in 0..100 {
        let old = assignment(&picker, &snapshot);
        let gone = leave(&mut pool, n);
        join(&mut pool, 1_000 + n);
        (snapshot, _) = pool.publish();
        picker = compile(&snapshot, Membership::Everyone, Some(&picker));
        let came = snapshot.iter().max_by_key(|member| member.joined).unwrap().id;
        let moved = moved(&old, &assignment(&picker, &snapshot));
        assert!(moved.iter().all(|(from, to)| *from == gone || *to == came), "in round {n}");
    }
}

#[test]
fn everybody_is_found_by_identity() {
    let mut pool = pool_of(3_000);
    let (before, _) = pool.publish();
    let residents = |snapshot: &Snapshot| -> Vec<Resident> {
        let resident = |member: &Arc<Member>| Resident {
            id: member.id,
            slot: member.slot,
            generation: member.generation,
            weight: 1.0,
        };
        snapshot.iter().map(resident).collect()
    };
    let first = Cells::new(&residents(&before), Stamp::of(&before), None);
    let gone = leave(&mut pool, 5);
    join(&mut pool, 5_000);
    let (after, _) = pool.publish();
    let second = Cells::new(&residents(&after), Stamp::of(&after), Some(&first));
    let wish = wish(0, &[]);
    let sight = Sight { snapshot: &after, wish: &wish };
    for member in after.iter() {
        assert_eq!(second.find(member.id, &sight), Some(member.slot));
    }
    assert_eq!(second.find(gone, &sight), None);
}
