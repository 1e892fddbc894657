#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::breaker::BreakerConfig;
use crate::candidate::Country;
use crate::fault::{Fault, Kind, Side, Stage};
use crate::limit::{Limit, Rate};
use crate::member::MemberId;
use crate::outcome::Outcome;
use crate::pool::tests::{candidate, join, pool_of};
use crate::select::filter::Filter;
use crate::select::plan::{Membership, Tier, Weighted};
use crate::time::Timestamp;
use crate::verdict::Anonymity;

pub(super) fn wish(seed: u64, tried: &[MemberId]) -> Wish<'_> {
    Wish { now: Timestamp::from_micros(1), tried, filter: None, session: None, stick: Stick::default(), seed }
}

pub(super) fn plan(mode: Mode, members: Membership) -> Plan {
    Plan { tiers: vec![Tier { mode, members }], ..Plan::default() }
}

/// A pick without a table of sessions.
pub(super) fn pick<'s>(picker: &Picker, snapshot: &'s Snapshot, wish: &Wish<'_>) -> Option<&'s Arc<Member>> {
    snapshot.get(picker.pick(snapshot, wish, &Sessions::default())?)
}

pub(super) fn weights(weights: &[f32]) -> Membership {
    Membership::These((0..).zip(weights).map(|(slot, weight)| Weighted { slot, weight: *weight }).collect())
}

pub(super) fn open_breaker(member: &Member) {
    let config = BreakerConfig { failures: 1, ..BreakerConfig::default() };
    assert!(member.live.admit(&config, Timestamp::from_micros(1)));
    let failure = Outcome::Failure(Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, ""));
    member.live.record(&failure, Timestamp::from_micros(1), &config, Timestamp::from_micros(1));
    member.live.leave();
}

#[test]
fn a_cycle_gives_each_the_same_share_exactly() {
    let (snapshot, _) = pool_of(10).publish();
    for members in [Membership::Everyone, weights(&[1.0; 10])] {
        let picker = Picker::compile(&plan(Mode::Cycle, members), &snapshot, None).unwrap();
        let mut counts = [0; 10];
        for seed in 0..1_000 {
            counts[pick(&picker, &snapshot, &wish(seed, &[])).unwrap().slot as usize] += 1;
        }
        assert_eq!(counts, [100; 10]);
    }
}

#[test]
fn a_cycle_by_many_threads_is_as_exact() {
    let (snapshot, _) = pool_of(10).publish();
    let picker = Picker::compile(&Plan::fallback(), &snapshot, None).unwrap();
    let counts = [const { AtomicU64::new(0) }; 10];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_500 {
                    let member = pick(&picker, &snapshot, &wish(0, &[])).unwrap();
                    counts[member.slot as usize].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1_000));
}

#[test]
fn a_cycle_neither_repeats_nor_skips_when_somebody_leaves() {
    let mut pool = pool_of(5);
    let (snapshot, _) = pool.publish();
    for members in [Membership::Everyone, weights(&[1.0; 5])] {
        let is_everyone = members == Membership::Everyone;
        let picker = Picker::compile(&plan(Mode::Cycle, members), &snapshot, None).unwrap();
        for expected in [0, 1, 2] {
            assert_eq!(pick(&picker, &snapshot, &wish(0, &[])).unwrap().slot, expected);
        }
        let mut smaller = pool_of(5);
        smaller.remove(&candidate("http://10.0.0.1:80").endpoint.key()).unwrap();
        let (after, _) = smaller.publish();
        let rest = if is_everyone {
            Membership::Everyone
        } else {
            Membership::These([0, 2, 3, 4].map(|slot| Weighted { slot, weight: 1.0 }).into())
        };
        let picker = Picker::compile(&plan(Mode::Cycle, rest), &after, Some(&picker)).unwrap();
        for expected in [3, 4, 0, 2, 3] {
            assert_eq!(pick(&picker, &after, &wish(0, &[])).unwrap().slot, expected);
        }
    }
}

#[test]
fn a_hole_does_not_double_the_share_of_its_neighbour() {
    let mut pool = pool_of(3);
    pool.remove(&candidate("http://10.0.0.1:80").endpoint.key()).unwrap();
    let (snapshot, _) = pool.publish();
    for mode in [Mode::Cycle, Mode::Draw] {
        let picker = Picker::compile(&plan(mode, Membership::Everyone), &snapshot, None).unwrap();
        let first = (0..1_000).filter(|seed| pick(&picker, &snapshot, &wish(*seed, &[])).unwrap().slot == 0).count();
        assert!((450..=550).contains(&first), "{mode:?}: {first}");
    }
}

#[test]
fn when_few_are_eligible_they_keep_their_shares() {
    let (snapshot, _) = pool_of(400).publish();
    for member in snapshot.iter().filter(|member| member.slot % 200 != 7) {
        open_breaker(member);
    }
    let shares: Vec<f32> = (0..400).map(|slot| if slot < 200 { 1.0 } else { 3.0 }).collect();
    for (members, expected) in [(Membership::Everyone, 900..1_100), (weights(&shares), 1_400..1_600)] {
        let picker = Picker::compile(&plan(Mode::Draw, members), &snapshot, None).unwrap();
        let picked = |seed| pick(&picker, &snapshot, &wish(seed, &[])).unwrap().slot;
        let second = (0..2_000).filter(|seed| picked(*seed) == 207).count();
        assert!(expected.contains(&second), "{second}");
    }
}

#[test]
fn nobody_is_picked_whose_breaker_is_open_or_who_was_tried() {
    let (snapshot, _) = pool_of(4).publish();
    open_breaker(snapshot.get(2).unwrap());
    let tried = [snapshot.get(0).unwrap().id];
    for mode in [Mode::Cycle, Mode::Draw, Mode::Affinity, Mode::LeastLoaded] {
        for members in [Membership::Everyone, weights(&[1.0, 2.0, 3.0, 0.0])] {
            let someone_else = matches!(members, Membership::Everyone);
            let picker = Picker::compile(&plan(mode, members), &snapshot, None).unwrap();
            for seed in 0..200 {
                let session = Some(seed).filter(|_| mode == Mode::Affinity);
                let picked = pick(&picker, &snapshot, &Wish { session, ..wish(seed, &tried) }).unwrap().slot;
                assert!(picked == 1 || (picked == 3 && someone_else), "{mode:?} picked {picked}");
            }
        }
    }
}

#[test]
fn when_nobody_is_left_the_reason_is_counted() {
    let (snapshot, _) = pool_of(3).publish();
    open_breaker(snapshot.get(2).unwrap());
    let tried = [snapshot.get(0).unwrap().id];
    let only = plan(Mode::Draw, Membership::These(vec![Weighted { slot: 0, weight: 1.0 }]));
    let picker = Picker::compile(&only, &snapshot, None).unwrap();
    assert!(pick(&picker, &snapshot, &wish(1, &tried)).is_none());
    let refusals = Refusals::count(&snapshot, &wish(1, &tried));
    assert_eq!(refusals, Refusals { members: 3, tried: 1, breaker: 1, unplanned: 1, ..Refusals::default() });
}

#[test]
fn a_later_tier_serves_when_nobody_in_the_first_is_eligible() {
    let (snapshot, _) = pool_of(2).publish();
    let tier = |slot| Tier { mode: Mode::Draw, members: Membership::These(vec![Weighted { slot, weight: 1.0 }]) };
    let picker = Picker::compile(&Plan { tiers: vec![tier(1), tier(0)], ..Plan::default() }, &snapshot, None).unwrap();
    assert_eq!(pick(&picker, &snapshot, &wish(0, &[])).unwrap().slot, 1);
    open_breaker(snapshot.get(1).unwrap());
    assert_eq!(pick(&picker, &snapshot, &wish(0, &[])).unwrap().slot, 0);
}

#[test]
fn nonsense_is_refused() {
    let (snapshot, _) = pool_of(2).publish();
    let compile = |plan: &Plan| Picker::compile(plan, &snapshot, None).unwrap_err();
    for weight in [f32::NAN, f32::INFINITY, -1.0] {
        assert!(matches!(compile(&plan(Mode::Draw, weights(&[weight]))), PlanError::Weight { slot: 0, .. }));
    }
    assert_eq!(compile(&plan(Mode::Draw, weights(&[1.0; 3]))), PlanError::Slot(2));
    let tier = Tier { mode: Mode::Draw, members: Membership::Everyone };
    assert_eq!(compile(&Plan { tiers: vec![tier; 65], ..Plan::default() }), PlanError::Tiers(65));
    let sessions = Stickiness { idle: None, lifetime: None, strict: false, capacity: 0 };
    let sticky = Plan { sessions: Some(sessions), ..Plan::default() };
    assert_eq!(compile(&sticky), PlanError::Sessions(0));
}

#[test]
fn a_place_that_another_has_taken_is_not_picked_by_an_old_plan() {
    let mut pool = pool_of(2);
    let (before, _) = pool.publish();
    let picker = Picker::compile(&plan(Mode::Draw, weights(&[1.0, 0.0])), &before, None).unwrap();
    pool.remove(&candidate("http://10.0.0.0:80").endpoint.key()).unwrap();
    join(&mut pool, 9);
    let (after, _) = pool.publish();
    assert!(after.get(0).is_some());
    assert!(pick(&picker, &after, &wish(0, &[])).is_none());
}

#[test]
fn the_faster_of_two_is_preferred_when_both_were_measured() {
    let (snapshot, _) = pool_of(3).publish();
    for (slot, latency) in [(0, 900), (1, 20)] {
        let live = &snapshot.get(slot).unwrap().live;
        let success = Outcome::Success { latency: std::time::Duration::from_millis(latency) };
        let now = Timestamp::from_micros(1);
        assert!(live.admit(&BreakerConfig::default(), now));
        live.record(&success, now, &BreakerConfig::default(), now);
        live.leave();
    }
    let two = weights(&[1.0, 1.0]);
    let picker = Picker::compile(&plan(Mode::LeastLoaded, two), &snapshot, None).unwrap();
    let fast = (0..1_000).filter(|seed| pick(&picker, &snapshot, &wish(*seed, &[])).unwrap().slot == 1).count();
    assert!((700..=800).contains(&fast), "{fast}");
    // The third was never measured, and so neither wins nor loses by its latency.
    let picker = Picker::compile(&plan(Mode::LeastLoaded, Membership::Everyone), &snapshot, None).unwrap();
    let unknown = (0..3_000).filter(|seed| pick(&picker, &snapshot, &wish(*seed, &[])).unwrap().slot == 2).count();
    assert!((900..=1_100).contains(&unknown), "{unknown}");
}

#[test]
fn everyone_in_a_view_is_who_is_in_it() {
    let (snapshot, _) = pool_of(10).publish();
    let view = [7, 2, 5, 99];
    for mode in [Mode::Cycle, Mode::Draw, Mode::Affinity, Mode::LeastLoaded] {
        let picker = Picker::compile_view(&plan(mode, Membership::Everyone), &snapshot, &view, None).unwrap();
        let mut seen: Vec<u32> = (0..200)
            .map(|seed| pick(&picker, &snapshot, &Wish { session: Some(seed), ..wish(seed, &[]) }).unwrap().slot)
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [2, 5, 7], "{mode:?}");
    }
    let empty = Picker::compile_view(&Plan::fallback(), &snapshot, &[], None).unwrap();
    assert!(pick(&empty, &snapshot, &wish(0, &[])).is_none());
}

#[test]
fn nobody_is_picked_whom_the_filter_does_not_admit() {
    let mut pool = pool_of(0);
    for n in 0..50u32 {
        let mut candidate = candidate(&format!("http://10.0.0.{n}:80"));
        candidate.country = ["DE", "US"][n as usize % 2].parse().ok();
        pool.admit(crate::pool::Admission::Vouched(Box::new(candidate)), Timestamp::default());
    }
    let (snapshot, _) = pool.publish();
    let german: Country = "DE".parse().unwrap();
    let filter = Filter::new([german], [], [], Anonymity::Unknown);
    for mode in [Mode::Cycle, Mode::Draw, Mode::Affinity, Mode::LeastLoaded] {
        for members in [Membership::Everyone, weights(&[1.0; 50])] {
            let picker = Picker::compile(&plan(mode, members), &snapshot, None).unwrap();
            for seed in 0..100 {
                let session = Some(seed).filter(|_| mode == Mode::Affinity);
                let filtered = Wish { filter: Some(&filter), session, ..wish(seed, &[]) };
                assert_eq!(pick(&picker, &snapshot, &filtered).unwrap().country, Some(german), "{mode:?}");
            }
        }
    }
    let nowhere = Filter::new(["FR".parse().unwrap()], [], [], Anonymity::Unknown);
    let filtered = Wish { filter: Some(&nowhere), ..wish(0, &[]) };
    let picker = Picker::compile(&Plan::fallback(), &snapshot, None).unwrap();
    assert!(pick(&picker, &snapshot, &filtered).is_none());
    let (refusals, _) = picker.refusals(&snapshot, &filtered, &Sessions::default());
    assert_eq!(refusals, Refusals { members: 50, filter: 50, ..Refusals::default() });
}

#[test]
fn one_in_ten_thousand_is_found_in_every_mode() {
    let (snapshot, _) = pool_of(10_000).publish();
    for member in snapshot.iter().filter(|member| member.slot != 7_777) {
        open_breaker(member);
    }
    for mode in [Mode::Cycle, Mode::Draw, Mode::Affinity, Mode::LeastLoaded] {
        for members in [Membership::Everyone, weights(&[0.3; 10_000])] {
            let picker = Picker::compile(&plan(mode, members), &snapshot, None).unwrap();
            for seed in 0..20 {
                let session = Some(seed).filter(|seed| seed % 2 == 0);
                let picked = pick(&picker, &snapshot, &Wish { session, ..wish(seed, &[]) });
                assert_eq!(picked.unwrap().slot, 7_777, "{mode:?}");
            }
        }
    }
}

#[test]
fn who_is_named_twice_has_both_weights() {
    let (snapshot, _) = pool_of(2).publish();
    let weighted = |slot, weight| Weighted { slot, weight };
    let twice = Membership::These(vec![weighted(1, 1.0), weighted(0, 1.0), weighted(1, 2.0)]);
    for mode in [Mode::Draw, Mode::Affinity] {
        let picker = Picker::compile(&plan(mode, twice.clone()), &snapshot, None).unwrap();
        let picked = |seed| pick(&picker, &snapshot, &Wish { session: Some(seed), ..wish(seed, &[]) }).unwrap().slot;
        let second = (0..4_000).filter(|seed| picked(*seed) == 1).count();
        assert!((2_880..=3_120).contains(&second), "{mode:?}: {second}");
    }
}

#[test]
fn the_busier_of_two_is_left_alone() {
    let (snapshot, _) = pool_of(2).publish();
    for _ in 0..5 {
        assert!(snapshot.get(0).unwrap().live.admit(&BreakerConfig::default(), Timestamp::from_micros(1)));
    }
    let picker = Picker::compile(&plan(Mode::LeastLoaded, Membership::Everyone), &snapshot, None).unwrap();
    let idle = (0..1_000).filter(|seed| pick(&picker, &snapshot, &wish(*seed, &[])).unwrap().slot == 1).count();
    // Both draws hit the busy one a quarter of the time.
    assert!((700..=800).contains(&idle), "{idle}");
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_pick(seed in any::<u64>(), count in 1..50u32) {
        let (snapshot, _) = pool_of(count).publish();
        for mode in [Mode::Draw, Mode::LeastLoaded] {
            let picker = Picker::compile(&plan(mode, Membership::Everyone), &snapshot, None).unwrap();
            let pick = || pick(&picker, &snapshot, &wish(seed, &[])).unwrap().id;
            prop_assert_eq!(pick(), pick());
        }
    }
}

#[test]
fn a_look_counts_each_tier_and_picks_nobody() {
    let (snapshot, _) = pool_of(10).publish();
    let tier = |mode, members| Tier { mode, members };
    for mode in [Mode::Cycle, Mode::Draw, Mode::Affinity, Mode::LeastLoaded] {
        let tiers = vec![tier(mode, weights(&[1.0, 0.0, 2.0])), tier(Mode::Cycle, Membership::Everyone)];
        let picker = Picker::compile(&Plan { tiers, ..Plan::default() }, &snapshot, None).unwrap();
        let tried = [snapshot.get(2).unwrap().id];
        let seen = picker.look(&snapshot, &wish(0, &tried));
        let expected =
            [TierSight { mode, members: 2, eligible: 1 }, TierSight { mode: Mode::Cycle, members: 10, eligible: 9 }];
        assert_eq!(seen, expected);
    }
    let picker = Picker::compile(&Plan::fallback(), &snapshot, None).unwrap();
    assert_eq!(picker.look(&snapshot, &wish(0, &[])).len(), 1);
    assert_eq!(picker.pick(&snapshot, &wish(0, &[]), &Sessions::default()), Some(0));
}

#[test]
fn who_is_at_a_limit_is_not_picked_until_there_is_room() {
    let members = |limited: usize| {
        let (snapshot, _) = pool_of(4).publish();
        for member in snapshot.iter().take(limited) {
            member.live.set_limit(Limit { concurrency: Some(1), rate: None });
        }
        snapshot
    };
    let config = BreakerConfig::default();
    for mode in [Mode::Cycle, Mode::Draw, Mode::LeastLoaded, Mode::Affinity] {
        for listed in [Membership::Everyone, weights(&[1.0; 4])] {
            let snapshot = members(4);
            let picker = Picker::compile(&plan(mode, listed), &snapshot, None).unwrap();
            for seed in 0..4 {
                let member = pick(&picker, &snapshot, &wish(seed, &[])).unwrap();
                assert!(member.live.admit(&config, Timestamp::from_micros(1)), "{mode:?}");
            }
            assert!(pick(&picker, &snapshot, &wish(9, &[])).is_none(), "{mode:?}");
            let (refusals, outlook) = picker.refusals(&snapshot, &wish(9, &[]), &Sessions::default());
            assert_eq!(refusals, Refusals { members: 4, limited: 4, ..Refusals::default() });
            assert_eq!(outlook.wait(0, Timestamp::from_micros(1)), None, "nobody knows when a use ends");
            snapshot.get(2).unwrap().live.leave();
            assert_eq!(pick(&picker, &snapshot, &wish(9, &[])).unwrap().slot, 2, "{mode:?}");
        }
    }
}

#[test]
fn who_waits_for_tokens_is_told_when_they_come() {
    let (snapshot, _) = pool_of(3).publish();
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let picker = Picker::compile(&Plan::fallback(), &snapshot, None).unwrap();
    for (slot, per_second) in [(0, 1.0), (1, 4.0)] {
        let live = &snapshot.get(slot).unwrap().live;
        live.set_limit(Limit { concurrency: None, rate: Some(Rate::new(per_second, 1)) });
        assert!(live.admit(&BreakerConfig::default(), now));
    }
    open_breaker(snapshot.get(2).unwrap());
    let shut = Wish { now, ..wish(1, &[]) };
    let (refusals, outlook) = picker.refusals(&snapshot, &shut, &Sessions::default());
    // The third may be probed by then, which is none of the limits' business.
    assert_eq!((refusals.limited, refusals.unplanned), (2, 1));
    assert_eq!(outlook.wait(0, now), Some(Duration::from_millis(250)));
    assert_eq!(outlook.wait(10, now), Some(Duration::from_millis(2_250)));
    let tried = [snapshot.id(1).unwrap()];
    let (_, outlook) = picker.refusals(&snapshot, &Wish { tried: &tried, ..shut }, &Sessions::default());
    assert_eq!(outlook.wait(0, now), Some(Duration::from_secs(1)));
}

#[test]
fn of_those_in_the_plan_the_readiest_with_room_is_probed_before_its_time() {
    let (snapshot, _) = pool_of(4).publish();
    let picker = Picker::compile(&plan(Mode::Cycle, weights(&[1.0; 3])), &snapshot, None).unwrap();
    let member = |slot: u32| snapshot.get(slot).unwrap();
    let (now, config) = (Timestamp::from_micros(1), BreakerConfig { failures: 1, ..BreakerConfig::default() });
    [0, 2, 3].iter().for_each(|slot| open_breaker(member(*slot)));
    // Its one use has failed, and has not ended.
    member(1).live.set_limit(Limit { concurrency: Some(1), rate: None });
    assert!(member(1).live.admit(&config, now));
    let failure = Outcome::Failure(Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, ""));
    member(1).live.record(&failure, now, &config, now);
    // It has answered a probe, another one is under way, and it is in no plan.
    member(3).live.relent(now);
    assert!(member(3).live.admit(&config, now));
    member(3).live.record(&Outcome::Success { latency: Duration::ZERO }, now, &config, now);
    assert!(member(3).live.admit(&config, now));
    assert_eq!(wish(0, &[]).readiest(&snapshot, |_| true).unwrap().slot, 3);
    let mut tried = Vec::new();
    for expected in [0, 2, 1] {
        let next = picker.readiest(&snapshot, &wish(0, &tried), &Sessions::default()).unwrap();
        assert_eq!(next.slot, expected);
        tried.push(next.id);
    }
    assert!(picker.readiest(&snapshot, &wish(0, &tried), &Sessions::default()).is_none());
}

#[test]
fn for_a_session_that_must_stay_its_own_member_alone_is_probed_before_its_time() {
    let (snapshot, _) = pool_of(4).publish();
    let picker = Picker::compile(&Plan::fallback(), &snapshot, None).unwrap();
    let sessions = Sessions::new(100);
    assert_eq!(picker.pick(&snapshot, &wish(0, &[]), &sessions), Some(0));
    let strict = Wish { session: Some(7), stick: Stick { strict: Some(true), ..Stick::default() }, ..wish(0, &[]) };
    assert_eq!(picker.pick(&snapshot, &strict, &sessions), Some(1));
    snapshot.iter().for_each(|member| open_breaker(member));
    assert_eq!(picker.readiest(&snapshot, &strict, &sessions).unwrap().slot, 1);
    assert_eq!(picker.readiest(&snapshot, &wish(0, &[]), &sessions).unwrap().slot, 0);
    snapshot.get(1).unwrap().live.quarantine(Timestamp::from_micros(9));
    assert!(picker.readiest(&snapshot, &strict, &sessions).is_none());
}
