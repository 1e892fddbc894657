#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::strategy::{Mode, Stickiness, Table, Tier, Weighted};
use crate::testing::member;
use crate::{Description, NoOptions};
use std::cell::RefCell;

thread_local! {
    static PLAN: RefCell<Plan> = const { RefCell::new(Plan::ask()) };
}

/// Answers with the plan that the test has set.
struct Puppet;

impl Strategy for Puppet {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new("puppet", "0.1.0", "Does as it is told.")
    }

    fn new(_: NoOptions) -> Result<Self, String> {
        Ok(Self)
    }

    fn observe(&mut self, _: &Table, _: &[Observation]) -> bool {
        true
    }

    fn plan(&mut self, _: &Table, _: &View, _: Moment) -> Plan {
        PLAN.with_borrow(Clone::clone)
    }

    fn select(&mut self, _: &Table, request: &Request) -> Option<Slot> {
        Some(request.attempt)
    }
}

fn pool(members: u32, plan: Plan) -> Pool<Puppet> {
    PLAN.set(plan);
    let mut pool = Pool::new("{}").unwrap();
    (0..members).for_each(|slot| pool.join(member(slot, u64::from(slot))));
    pool
}

fn weighted(weights: &[f32]) -> Vec<Weighted> {
    (0..).zip(weights).map(|(slot, &weight)| Weighted { slot, weight }).collect()
}

fn next(pool: &mut Pool<Puppet>, count: usize) -> Vec<Slot> {
    (0..count).map(|_| pool.pick().unwrap()).collect()
}

#[test]
fn a_cycle_goes_on_where_it_was_when_members_leave_and_join() {
    let mut pool = pool(4, Plan::everyone(Mode::Cycle));
    assert_eq!(next(&mut pool, 2), [0, 1]);
    pool.leave(1);
    pool.leave(2);
    assert_eq!(next(&mut pool, 1), [3]);
    pool.join(member(1, 9));
    assert_eq!(next(&mut pool, 4), [1, 0, 3, 1]);
}

#[test]
fn a_cycle_over_a_list_goes_on_at_the_first_that_is_still_due() {
    let list = |slots: &[Slot]| slots.iter().map(|&slot| Weighted { slot, weight: 1.0 }).collect();
    let mut pool = pool(5, Plan::these(Mode::Cycle, list(&[4, 2, 0, 1])));
    assert_eq!(next(&mut pool, 2), [4, 2]);
    PLAN.set(Plan::these(Mode::Cycle, list(&[1, 2, 3])));
    pool.observe(0, true, 1);
    assert_eq!(next(&mut pool, 4), [1, 2, 3, 1]);
}

#[test]
fn draws_follow_the_weights_and_skip_who_is_out() {
    let mut pool = pool(4, Plan::these(Mode::Draw, weighted(&[1.0, 2.0, 0.0, 7.0])));
    assert!(pool.picks(50_000).fit(&[(0, 1.0), (1, 2.0), (3, 7.0)]));
    pool.eject(3);
    assert!(pool.picks(50_000).fit(&[(0, 1.0), (1, 2.0)]));
    pool.readmit(3);
    let tried = Wish { tried: vec![0, 1], ..Wish::default() };
    assert_eq!(pool.pick_for(&tried), Some(3));
}

#[test]
fn affinity_gives_a_session_one_member_and_moves_only_those_whose_member_left() {
    let mut pool = pool(100, Plan::everyone(Mode::Affinity));
    let before: Vec<_> = (1..=5_000).map(|session| pool.pick_session(session).unwrap()).collect();
    let mut picks = Picks::default();
    before.iter().for_each(|&slot| picks.count(Some(slot)));
    assert!(picks.fit(&(0..100).map(|slot| (slot, 1.0)).collect::<Vec<_>>()));
    pool.leave(17);
    for (session, before) in (1..).zip(before) {
        let after = pool.pick_session(session).unwrap();
        assert_eq!(after == before, before != 17, "session {session}");
    }
}

#[test]
fn the_next_tier_serves_when_nobody_in_the_first_can() {
    let tiers = vec![Tier::these(Mode::Draw, weighted(&[1.0])), Tier::everyone(Mode::Cycle)];
    let mut pool = pool(3, Plan::tiers(tiers));
    assert_eq!(next(&mut pool, 2), [0, 0]);
    pool.eject(0);
    assert_eq!(next(&mut pool, 2), [1, 2]);
    (0..3).for_each(|slot| pool.eject(slot));
    assert_eq!(pool.pick(), None);
}

#[test]
fn of_two_drawn_the_less_loaded_serves() {
    let mut pool = pool(2, Plan::everyone(Mode::LeastLoaded));
    pool.set_in_flight(0, 9);
    let share = pool.picks(20_000).share(&[0]);
    assert!((share - 0.25).abs() < 0.02, "{share}");
}

#[test]
fn a_sticky_session_stays_when_somebody_joins_and_when_weights_change() {
    let sticky = Stickiness::new().ending_after_idle(Duration::from_secs(10));
    let mut pool = pool(2, Plan::everyone(Mode::Affinity).sticky(sticky));
    let before: Vec<_> = (1..=200).map(|session| pool.pick_session(session)).collect();
    (2..50).for_each(|slot| pool.join(member(slot, u64::from(slot))));
    let after: Vec<_> = (1..=200).map(|session| pool.pick_session(session)).collect();
    assert_eq!(before, after);
    pool.pass(Duration::from_secs(10));
    let later: Vec<_> = (1..=200).map(|session| pool.pick_session(session)).collect();
    assert!(before.iter().zip(&later).filter(|(before, after)| before == after).count() < 50);
}

#[test]
fn idle_slides_and_lifetime_does_not() {
    let ends = |sticky: Stickiness| {
        let mut pool = pool(1000, Plan::everyone(Mode::Affinity).sticky(sticky));
        let first = pool.pick_session(1);
        (1..=20).find(|_| {
            pool.pass(Duration::from_secs(1));
            pool.pick_session(1) != first
        })
    };
    let (idle, lifetime) = (Duration::from_secs(5), Duration::from_secs(8));
    assert_eq!(ends(Stickiness::new().ending_after_idle(idle)), None);
    assert_eq!(ends(Stickiness::new().ending_after(lifetime)), Some(8));
}

#[test]
fn a_strict_session_gets_nobody_else_and_another_moves() {
    let sticky = Stickiness::new();
    for (rules, moves) in [(sticky.strictly(), false), (sticky, true)] {
        let mut pool = pool(5, Plan::everyone(Mode::Affinity).sticky(rules));
        let first = pool.pick_session(7).unwrap();
        pool.eject(first);
        let second = pool.pick_session(7);
        assert_eq!(second.is_some_and(|slot| slot != first), moves);
        pool.readmit(first);
        assert_eq!(pool.pick_session(7), if moves { second } else { Some(first) });
    }
}

#[test]
fn beyond_the_capacity_the_session_longest_unused_is_forgotten() {
    let mut pool = pool(1, Plan::everyone(Mode::Affinity).sticky(Stickiness::new().remembering(10)));
    (1..=100).for_each(|session| assert_eq!(pool.pick_session(session), Some(0)));
    assert_eq!(pool.pickers[&0].pins_len(), 10);
}

#[test]
fn a_plan_that_is_to_be_refreshed_is_made_anew_when_it_is_due() {
    let mut pool = pool(1, Plan::everyone(Mode::Draw).refresh_every(Duration::from_secs(1)));
    for _ in 0..10 {
        pool.pick();
        pool.pass(Duration::from_millis(500));
    }
    assert_eq!(pool.plans(), 5);
}

#[test]
fn sites_have_plans_of_their_own_only_when_the_plan_says_so() {
    for (plan, plans) in [(Plan::everyone(Mode::Draw), 1), (Plan::everyone(Mode::Draw).per_site(), 4)] {
        let mut pool = pool(1, plan);
        for site in [0, 1, 2, 3, 1, 2, 3] {
            pool.pick_for(&Wish { site, ..Wish::default() });
        }
        assert_eq!(pool.plans(), plans);
    }
}

#[test]
fn a_plan_without_tiers_asks_for_each_request() {
    let mut pool = pool(3, Plan::ask());
    assert_eq!(pool.pick(), Some(1));
    assert_eq!(pool.pick_for(&Wish { tried: vec![1], ..Wish::default() }), Some(2));
    assert_eq!(pool.pick_for(&Wish { tried: vec![1, 2], ..Wish::default() }), None);
}

#[test]
fn the_same_seed_picks_the_same() {
    let draw = || {
        let mut pool = pool(10, Plan::everyone(Mode::Draw)).seeded(42);
        next(&mut pool, 1000)
    };
    assert_eq!(draw(), draw());
}

#[test]
#[should_panic(expected = "weight NaN of slot 0")]
fn a_plan_that_the_host_would_refuse_fails_the_test() {
    pool(1, Plan::these(Mode::Draw, weighted(&[f32::NAN]))).pick();
}
