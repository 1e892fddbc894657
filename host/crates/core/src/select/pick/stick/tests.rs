#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::breaker::BreakerConfig;
use crate::limit::Limit;
use crate::member::MemberId;
use crate::pool::Snapshot;
use crate::pool::tests::{candidate, join, pool_of};
use crate::select::pick::Picker;
use crate::select::pick::tests::{open_breaker, plan, weights, wish};
use crate::select::plan::{Membership, Plan, Stick, Tier, Weighted};
use crate::select::wish::{Refusals, Wish};
use crate::time::Timestamp;

const STICKY: Stickiness = Stickiness { idle: None, lifetime: None, strict: false, capacity: 10_000 };

fn sticky(snapshot: &Snapshot, members: Membership, stickiness: Stickiness, previous: Option<&Picker>) -> Picker {
    let plan = Plan { sessions: Some(stickiness), ..plan(Mode::Affinity, members) };
    Picker::compile(&plan, snapshot, previous).unwrap()
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn ask(picker: &Picker, snapshot: &Snapshot, sessions: &Sessions, session: u64, second: u64) -> Option<MemberId> {
    let wish = Wish { now: at(second), session: Some(session), ..wish(session, &[]) };
    snapshot.id(picker.pick(snapshot, &wish, sessions)?)
}

fn everywhere(picker: &Picker, snapshot: &Snapshot, sessions: &Sessions) -> HashMap<u64, MemberId> {
    (0..2_000).map(|session| (session, ask(picker, snapshot, sessions, session, 1).unwrap())).collect()
}

#[test]
fn neither_a_newcomer_nor_other_weights_move_anybody() {
    let sessions = Sessions::new(10_000);
    let mut pool = pool_of(100);
    let (before, _) = pool.publish();
    let first = sticky(&before, Membership::Everyone, STICKY, None);
    let old = everywhere(&first, &before, &sessions);
    for n in 100..150 {
        join(&mut pool, n);
    }
    let (after, _) = pool.publish();
    let uneven: Vec<f32> = (0..150u16).map(|n| f32::from(n % 7) + 0.1).collect();
    for (members, previous) in [(Membership::Everyone, Some(&first)), (weights(&uneven), None)] {
        let second = sticky(&after, members, STICKY, previous);
        assert_eq!(everywhere(&second, &after, &sessions), old);
    }
}

#[test]
fn when_one_of_a_hundred_leaves_only_its_sessions_move_and_stay_where_they_went() {
    let sessions = Sessions::new(10_000);
    let mut pool = pool_of(100);
    let (before, _) = pool.publish();
    let first = sticky(&before, Membership::Everyone, STICKY, None);
    let old = everywhere(&first, &before, &sessions);
    let key = candidate("http://10.0.0.50:80").endpoint.key();
    let gone = pool.remove(&key).unwrap().id;
    let (between, _) = pool.publish();
    let second = sticky(&between, Membership::Everyone, STICKY, Some(&first));
    let new = everywhere(&second, &between, &sessions);
    let moved: Vec<_> = new.iter().filter(|(session, id)| old[session] != **id).collect();
    assert!(!moved.is_empty() && moved.iter().all(|(session, _)| old[session] == gone));
    // It comes back: nobody moves again.
    join(&mut pool, 50);
    let (after, _) = pool.publish();
    let third = sticky(&after, Membership::Everyone, STICKY, Some(&second));
    assert_eq!(everywhere(&third, &after, &sessions), new);
}

#[test]
fn a_session_moves_with_its_member_to_another_slot() {
    let sessions = Sessions::new(10_000);
    let mut pool = pool_of(20);
    let (before, _) = pool.publish();
    let first = sticky(&before, Membership::Everyone, STICKY, None);
    let old = everywhere(&first, &before, &sessions);
    for n in 0..10 {
        pool.remove(&candidate(&format!("http://10.0.0.{n}:80")).endpoint.key()).unwrap();
    }
    for n in 0..10 {
        join(&mut pool, n);
    }
    let (after, _) = pool.publish();
    assert_ne!(before.get(0).unwrap().id, after.get(0).unwrap().id, "slots are handed out the other way round");
    let second = sticky(&after, Membership::Everyone, STICKY, Some(&first));
    assert_eq!(everywhere(&second, &after, &sessions), old);
}

#[test]
fn the_assignment_survives_a_restart() {
    let sessions = Sessions::new(10_000);
    let mut pool = pool_of(100);
    let (before, _) = pool.publish();
    let uneven: Vec<f32> = (0..100u16).map(|n| f32::from(n % 5) + 0.5).collect();
    let old = everywhere(&sticky(&before, weights(&uneven), STICKY, None), &before, &sessions);
    // What was stored is loaded, the pool is another one, in another order, with a newcomer, and the weights are others.
    let restored = Sessions::new(10_000);
    restored.load(sessions.changes().sessions);
    let mut again = pool_of(0);
    for n in (0..101).rev() {
        join(&mut again, n);
    }
    let (after, _) = again.publish();
    let new = everywhere(&sticky(&after, Membership::Everyone, STICKY, None), &after, &restored);
    assert_eq!(new, old);
    assert!(pool.remove(&candidate("http://10.0.0.1:80").endpoint.key()).is_some());
}

#[test]
fn a_strict_session_fails_and_another_one_moves() {
    for strict in [true, false] {
        let sessions = Sessions::new(10);
        let (snapshot, _) = pool_of(3).publish();
        let picker = sticky(&snapshot, Membership::Everyone, Stickiness { strict, ..STICKY }, None);
        let first = ask(&picker, &snapshot, &sessions, 7, 1).unwrap();
        let member = snapshot.iter().find(|member| member.id == first).unwrap();
        open_breaker(member);
        let wish = Wish { now: at(2), session: Some(7), ..wish(0, &[]) };
        let second = picker.pick(&snapshot, &wish, &sessions);
        if strict {
            assert!(second.is_none());
            let (refusals, _) = picker.refusals(&snapshot, &wish, &sessions);
            assert_eq!(refusals, Refusals { members: 3, breaker: 1, session: 2, ..Refusals::default() });
            let anybody = Wish { session: Some(8), ..wish };
            assert!(picker.pick(&snapshot, &anybody, &sessions).is_some(), "another session is not concerned");
            assert_eq!(ask(&picker, &snapshot, &sessions, 7, 1_000), Some(first), "the breaker lets it through again");
        } else {
            let second = snapshot.id(second.unwrap()).unwrap();
            assert_ne!(second, first);
            assert_eq!(ask(&picker, &snapshot, &sessions, 7, 1_000), Some(second), "it has moved for good");
        }
    }
}

#[test]
fn who_was_tried_is_not_kept() {
    let sessions = Sessions::new(10);
    let (snapshot, _) = pool_of(3).publish();
    let picker = sticky(&snapshot, Membership::Everyone, STICKY, None);
    let first = ask(&picker, &snapshot, &sessions, 7, 1).unwrap();
    let tried = [first];
    let again = Wish { now: at(1), session: Some(7), ..wish(0, &tried) };
    let second = snapshot.id(picker.pick(&snapshot, &again, &sessions).unwrap()).unwrap();
    assert_ne!(second, first);
    assert_eq!(ask(&picker, &snapshot, &sessions, 7, 1), Some(second));
}

#[test]
fn a_life_that_is_over_gives_a_new_assignment() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (stickiness, at, is_over) in [
        (Stickiness { idle: seconds(10), ..STICKY }, &[5, 15, 25][..], false),
        (Stickiness { idle: seconds(10), ..STICKY }, &[5, 16], true),
        (Stickiness { lifetime: seconds(20), ..STICKY }, &[5, 15, 20], false),
        (Stickiness { lifetime: seconds(20), ..STICKY }, &[5, 15, 21], true),
        (Stickiness { lifetime: seconds(20), idle: seconds(10), ..STICKY }, &[11], true),
        (STICKY, &[1_000_000], false),
    ] {
        let sessions = Sessions::new(1_000);
        let (snapshot, _) = pool_of(50).publish();
        let picker = sticky(&snapshot, Membership::Everyone, stickiness, None);
        let mut moved = 0;
        for session in 0..200 {
            let first = ask(&picker, &snapshot, &sessions, session, 0).unwrap();
            let later: Vec<_> = at.iter().map(|at| ask(&picker, &snapshot, &sessions, session, *at).unwrap()).collect();
            moved += usize::from(later.last() != Some(&first));
        }
        // One in fifty gets the same member again.
        assert_eq!(moved > 180, is_over, "{stickiness:?} {at:?}: {moved}");
        assert!(is_over || moved == 0);
    }
}

#[test]
fn a_session_stays_in_a_later_tier() {
    let sessions = Sessions::new(10);
    let (snapshot, _) = pool_of(4).publish();
    let tier = |slots: [u32; 2]| Tier {
        mode: Mode::Affinity,
        members: Membership::These(slots.map(|slot| Weighted { slot, weight: 1.0 }).into()),
    };
    let tiers = vec![tier([0, 1]), tier([2, 3])];
    let plan = Plan { tiers, sessions: Some(STICKY), ..Plan::default() };
    let picker = Picker::compile(&plan, &snapshot, None).unwrap();
    for slot in [0, 1] {
        open_breaker(snapshot.get(slot).unwrap());
    }
    let first = ask(&picker, &snapshot, &sessions, 7, 0).unwrap();
    assert!([2, 3].iter().any(|slot| snapshot.get(*slot).unwrap().id == first));
    // The first tier is back.
    assert_eq!(ask(&picker, &snapshot, &sessions, 7, 1_000), Some(first));
    assert!(
        [0, 1].iter().any(|slot| Some(snapshot.get(*slot).unwrap().id) == ask(&picker, &snapshot, &sessions, 8, 1_000))
    );
}

#[test]
fn who_is_not_in_the_plan_any_more_keeps_no_session() {
    let sessions = Sessions::new(10);
    let (snapshot, _) = pool_of(2).publish();
    let only = |first: f32, second: f32| sticky(&snapshot, weights(&[first, second]), STICKY, None);
    let first = ask(&only(1.0, 0.0), &snapshot, &sessions, 7, 0).unwrap();
    let second = ask(&only(0.0, 1.0), &snapshot, &sessions, 7, 0).unwrap();
    assert_ne!(first, second);
    assert_eq!(ask(&only(1.0, 1.0), &snapshot, &sessions, 7, 0), Some(second));
}

#[test]
fn requests_that_come_at_once_get_the_same_member() {
    let (snapshot, _) = pool_of(20).publish();
    let picker = sticky(&snapshot, Membership::Everyone, STICKY, None);
    let sessions = Sessions::new(1_000);
    for session in 0..50 {
        let barrier = std::sync::Barrier::new(2);
        let request = || {
            barrier.wait();
            ask(&picker, &snapshot, &sessions, session, 1).unwrap()
        };
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(request);
            (request(), other.join().unwrap())
        });
        assert_eq!(one, two);
        assert_eq!(sessions.member_of(session), Some(one));
    }
}

#[test]
fn where_the_plan_says_nothing_the_host_keeps_sessions_in_every_mode() {
    let (snapshot, _) = pool_of(20).publish();
    for mode in [Mode::Cycle, Mode::Draw, Mode::LeastLoaded, Mode::Affinity] {
        let picker = Picker::compile(&plan(mode, Membership::Everyone), &snapshot, None).unwrap();
        let sessions = Sessions::new(1_000);
        let first: Vec<_> = (0..50).map(|session| ask(&picker, &snapshot, &sessions, session, 1)).collect();
        let again: Vec<_> = (0..50).map(|session| ask(&picker, &snapshot, &sessions, session, 2)).collect();
        assert_eq!(first, again, "{mode:?}");
        assert!(first.iter().collect::<std::collections::HashSet<_>>().len() > 5, "{mode:?}");
    }
}

#[test]
fn a_session_that_the_host_keeps_moves_when_its_member_is_out_unless_it_says_that_it_must_not() {
    let (snapshot, _) = pool_of(5).publish();
    let picker = Picker::compile(&plan(Mode::Cycle, Membership::Everyone), &snapshot, None).unwrap();
    let sessions = Sessions::new(100);
    let first = ask(&picker, &snapshot, &sessions, 7, 1).unwrap();
    open_breaker(snapshot.iter().find(|member| member.id == first).unwrap());
    let strict = Stick { strict: Some(true), ..Stick::default() };
    let wish = Wish { now: at(1), session: Some(7), stick: strict, ..wish(7, &[]) };
    assert!(picker.is_strict(&wish) && picker.pick(&snapshot, &wish, &sessions).is_none());
    assert_eq!(picker.refusals(&snapshot, &wish, &sessions).0.session, 4);
    // Nor does it wait for any of the others.
    let mut others = snapshot.iter().filter(|member| member.id != first);
    open_breaker(others.next().unwrap());
    let live = &others.next().unwrap().live;
    live.set_limit(Limit { concurrency: Some(1), rate: None });
    assert!(live.admit(&BreakerConfig::default(), at(1)));
    let (refusals, _) = picker.refusals(&snapshot, &wish, &sessions);
    assert_eq!(refusals, Refusals { members: 5, breaker: 1, session: 4, ..Refusals::default() });
    let second = ask(&picker, &snapshot, &sessions, 7, 1).unwrap();
    assert_ne!(second, first);
    assert_eq!(ask(&picker, &snapshot, &sessions, 7, 1), Some(second));
}

#[test]
fn what_a_request_says_of_its_session_goes_before_what_the_plan_says() {
    let (snapshot, _) = pool_of(50).publish();
    let hour = Stickiness { idle: Some(Duration::from_secs(5)), ..STICKY };
    for picker in [
        sticky(&snapshot, Membership::Everyone, hour, None),
        Picker::compile(&plan(Mode::Cycle, Membership::Everyone), &snapshot, None).unwrap(),
    ] {
        let sessions = Sessions::new(1_000);
        let stick = Stick { lifetime: Some(Duration::from_secs(60)), ..Stick::default() };
        let at_second = |second| {
            let wish = Wish { now: at(second), session: Some(7), stick, ..wish(7, &[]) };
            snapshot.id(picker.pick(&snapshot, &wish, &sessions).unwrap())
        };
        let first = at_second(0);
        assert!([10, 30, 60].iter().all(|second| at_second(*second) == first));
        // A new life; one in fifty gets the same member again, which this session does not.
        assert_ne!(at_second(61), first);
    }
}

#[test]
fn a_session_that_is_renewed_gets_another_member_and_keeps_it() {
    let (snapshot, _) = pool_of(2).publish();
    for picker in [
        sticky(&snapshot, Membership::Everyone, STICKY, None),
        Picker::compile(&plan(Mode::Draw, Membership::Everyone), &snapshot, None).unwrap(),
        Picker::compile(&plan(Mode::Affinity, Membership::Everyone), &snapshot, None).unwrap(),
    ] {
        let sessions = Sessions::new(100);
        let renewed = |seed| {
            let stick = Stick { renew: true, ..Stick::default() };
            let wish = Wish { session: Some(7), stick, ..wish(seed, &[]) };
            snapshot.id(picker.pick(&snapshot, &wish, &sessions).unwrap())
        };
        let kept = Stick { strict: Some(false), ..Stick::default() };
        let mut current = renewed(0);
        let mut stayed = 0;
        for seed in 1..100 {
            let wish = Wish { session: Some(7), stick: kept, ..wish(seed, &[]) };
            assert_eq!(snapshot.id(picker.pick(&snapshot, &wish, &sessions).unwrap()), current);
            let next = renewed(seed);
            stayed += u32::from(next == current);
            current = next;
        }
        // Eight draws of two miss the other one once in 256 times.
        assert!(stayed < 5, "{stayed}");
    }
}

#[test]
fn who_is_drawn_beside_a_sessions_member_gets_the_session_when_it_has_served_it() {
    let (snapshot, _) = pool_of(5).publish();
    for picker in [
        sticky(&snapshot, Membership::Everyone, STICKY, None),
        Picker::compile(&plan(Mode::Cycle, Membership::Everyone), &snapshot, None).unwrap(),
    ] {
        let sessions = Sessions::new(10);
        let own = ask(&picker, &snapshot, &sessions, 7, 1).unwrap();
        let tried = [own];
        let beside = |stick: Stick| {
            let wish = Wish { now: at(1), session: Some(7), stick: Stick { beside: true, ..stick }, ..wish(0, &tried) };
            Some(Arc::clone(snapshot.get(picker.pick(&snapshot, &wish, &sessions)?).unwrap()))
        };
        let other = beside(Stick::default()).unwrap();
        assert_ne!(other.id, own);
        assert!(beside(Stick { strict: Some(true), ..Stick::default() }).is_none());
        assert_eq!(beside(Stick { renew: true, ..Stick::default() }).map(|member| member.id == own), Some(false));
        assert_eq!(ask(&picker, &snapshot, &sessions, 7, 2), Some(own), "it stays where it is");
        sessions.served(7, MemberId(0), &other, at(3));
        assert_eq!(ask(&picker, &snapshot, &sessions, 7, 3), Some(own), "it has moved since, or begun anew");
        sessions.served(7, own, &other, at(3));
        assert_eq!(ask(&picker, &snapshot, &sessions, 7, 4), Some(other.id));
        sessions.served(8, own, &other, at(3));
        assert_eq!(sessions.len(), 1, "one that is bound to nobody stays so");
    }
}

#[test]
fn a_session_waits_for_a_member_that_is_at_its_limit() {
    for mode in [Mode::Cycle, Mode::Affinity] {
        let sessions = Sessions::new(10);
        let (snapshot, _) = pool_of(3).publish();
        let picker = match mode {
            Mode::Affinity => sticky(&snapshot, Membership::Everyone, STICKY, None),
            Mode::Cycle | Mode::Draw | Mode::LeastLoaded => {
                Picker::compile(&plan(mode, Membership::Everyone), &snapshot, None).unwrap()
            }
        };
        let first = ask(&picker, &snapshot, &sessions, 7, 1).unwrap();
        let member = snapshot.iter().find(|member| member.id == first).unwrap();
        member.live.set_limit(Limit { concurrency: Some(1), rate: None });
        assert!(member.live.admit(&BreakerConfig::default(), at(1)));
        assert_eq!(ask(&picker, &snapshot, &sessions, 7, 1), None, "{mode:?}");
        let wish = Wish { now: at(1), session: Some(7), ..wish(0, &[]) };
        let (refusals, _) = picker.refusals(&snapshot, &wish, &sessions);
        assert_eq!((refusals.limited, refusals.unplanned), (1, 2), "{mode:?}");
        let tried = [first];
        let again = Wish { tried: &tried, ..wish };
        let other = picker.pick(&snapshot, &again, &sessions).and_then(|slot| snapshot.id(slot));
        assert!(other.is_some_and(|other| other != first), "one that has failed is left");
    }
}
