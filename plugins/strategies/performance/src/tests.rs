#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::strategy::{Membership, Running, Weighted};
use proxywhirl_plugin_sdk::testing::{Picks, Pool, member};

const MOMENT: Moment = Moment { now: 0, seed: 0 };
const ALL: View = View { id: 0, site: 0, members: None };

fn tried(slot: u32, successes: u64, failures: u64, latency: u32) -> Member {
    Member { successes, failures, latency, ..member(slot, u64::from(slot)) }
}

fn pool(options: &str, rows: impl IntoIterator<Item = Member>) -> Pool<Performance> {
    let mut pool = Pool::new(options).unwrap();
    rows.into_iter().for_each(|row| pool.join(row));
    pool
}

fn weights(running: &mut Running<Performance>) -> Vec<Weighted> {
    let plan = running.plan(&ALL, MOMENT);
    let Membership::These(mut members) = plan.tiers[0].members.clone() else { panic!("expected a list") };
    members.sort_by_key(|member| member.slot);
    members
}

#[test]
fn twice_as_fast_means_four_times_as_often_by_default() {
    let mut pool = pool("", [tried(0, 98, 0, 50_000), tried(1, 98, 0, 100_000)]);
    assert!(pool.picks(50_000).fit(&[(0, 4.0), (1, 1.0)]));
}

#[test]
fn sharpness_says_how_much_better_members_are_preferred() {
    for (sharpness, ratio) in [(0.0, 1.0), (1.0, 2.0), (3.0, 8.0)] {
        let rows = [tried(0, 98, 0, 50_000), tried(1, 98, 0, 100_000)];
        let mut pool = pool(&format!(r#"{{"sharpness":{sharpness}}}"#), rows);
        assert!(pool.picks(50_000).fit(&[(0, ratio), (1, 1.0)]), "{sharpness}");
    }
}

#[test]
fn success_counts_as_much_as_speed() {
    let mut pool = pool("", [tried(0, 98, 0, 100_000), tried(1, 49, 49, 50_000)]);
    assert!(pool.picks(50_000).fit(&[(0, 0.99_f64.powi(2)), (1, 1.0)]));
}

#[test]
fn a_never_tried_member_does_not_lose_ten_to_one_for_ever_and_does_not_take_all() {
    let rows = (0..20).map(|slot| tried(slot, 98, 0, 100_000)).chain([member(20, 20)]);
    let share = pool("", rows).picks(100_000).share(&[20]);
    assert!((share - 1.0 / 21.0).abs() < 0.005, "{share}");
}

#[test]
fn a_large_unproven_batch_gets_five_percent() {
    let rows = (0..2).map(|slot| tried(slot, 98, 0, 100_000)).chain((2..1_002).map(|slot| member(slot, slot.into())));
    let share = pool("", rows).picks(100_000).share(&[0, 1]);
    assert!((share - 0.95).abs() < 0.005, "{share}");
}

#[test]
fn explore_and_min_tries_say_who_is_unproven_and_what_they_get() {
    let rows = (0..2).map(|slot| tried(slot, 98, 0, 100_000)).chain((2..102).map(|slot| tried(slot, 9, 0, 1_000)));
    let share = pool(r#"{"explore":0.2,"explore_min_tries":10}"#, rows).picks(100_000).share(&[0, 1]);
    assert!((share - 0.8).abs() < 0.01, "{share}");
}

#[test]
fn who_has_only_failed_is_still_tried() {
    let picks = pool("", [tried(0, 98, 0, 100_000), tried(1, 0, 9, 0)]).picks(100_000);
    assert!(picks.of(1) > 5_000 && picks.of(1) < 12_000, "{}", picks.of(1));
}

#[test]
fn a_latency_of_zero_is_unknown_and_not_fast() {
    let rows = (0..9).map(|slot| tried(slot, 98, 0, 100_000)).chain([tried(9, 98, 0, 0)]);
    let share = pool("", rows).picks(100_000).share(&[9]);
    assert!(share < 0.055, "{share}");
}

#[test]
fn a_long_good_past_does_not_hide_a_bad_present() {
    let mut pool = pool("", [tried(0, 100_000, 0, 100_000), tried(1, 100_000, 0, 100_000)]);
    for _ in 0..100 {
        pool.observe(0, false, 0);
    }
    let share = pool.picks(10_000).share(&[0]);
    assert!(share < 0.05, "{share}");
    for _ in 0..200 {
        pool.observe(0, true, 100_000);
    }
    let share = pool.picks(10_000).share(&[0]);
    assert!(share > 0.4, "{share}");
}

#[test]
fn learning_by_itself_it_finds_the_good_ones_in_a_fresh_pool() {
    let mut pool = pool("", (0..10).map(|slot| member(slot, u64::from(slot))));
    let mut last = Picks::default();
    for round in 0..4_000 {
        let slot = pool.pick().unwrap();
        pool.observe(slot, true, if slot == 7 { 40_000 } else { 200_000 });
        if round >= 2_000 {
            last.count(Some(slot));
        }
    }
    // 25 to 9 of the others with 1 each.
    let share = last.share(&[7]);
    assert!(share > 0.6 && share < 0.85, "{share}");
}

#[test]
fn the_next_version_goes_on_with_what_was_learned() {
    let mut old = pool("", [tried(0, 1_000, 0, 100_000), tried(1, 1_000, 0, 100_000)]);
    (0..100).for_each(|_| old.observe(0, false, 0));
    let _ = old.pick();
    let state = old.running().save();
    let mut new = Running::<Performance>::new();
    new.configure("").unwrap();
    new.restore(&state).unwrap();
    new.apply(1, true, vec![tried(0, 1_000, 100, 100_000), tried(1, 1_000, 0, 100_000)], vec![]);
    let weights = weights(&mut new);
    assert!(weights[0].weight < weights[1].weight / 10.0, "{weights:?}");
    assert!(new.restore(&state[..7]).is_err());
    assert!(new.restore(b"nonsense").is_err());
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_code_and_its_examples_are_accepted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let defaults = properties.iter().map(|(name, property)| (name.clone(), property["default"].clone()));
    let read: Options = serde_json::from_value(defaults.collect::<serde_json::Map<_, _>>().into()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Options::default()));
    for example in schema["examples"].as_array().unwrap() {
        Running::<Performance>::new().configure(&example.to_string()).unwrap();
    }
}

#[test]
fn bad_options_are_refused_by_name() {
    for (options, name) in [(r#"{"sharpness":9}"#, "sharpness"), (r#"{"explore":2}"#, "explore"), (r#"{"x":1}"#, "x")] {
        let refused = Running::<Performance>::new().configure(options).unwrap_err();
        assert!(refused.contains(name), "{refused}");
    }
}

proptest! {
    #[test]
    fn weights_are_finite_and_nobody_is_ruled_out(
        rows in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u32>()), 1..40),
        seen in prop::collection::vec((0_u32..50, any::<bool>(), any::<u32>()), 0..60),
        sharpness in 0.0_f64..4.0,
    ) {
        let mut running = Running::<Performance>::new();
        running.configure(&format!(r#"{{"sharpness":{sharpness}}}"#)).unwrap();
        let rows = (0..).zip(rows).map(|(slot, (good, bad, latency))| tried(slot, good, bad, latency));
        running.apply(1, true, rows.collect(), vec![]);
        for (slot, success, latency) in seen {
            running.observe(&[Observation { slot, site: 0, success, latency }]);
        }
        for share in weights(&mut running) {
            prop_assert!(share.weight.is_finite() && share.weight > 0.0);
        }
    }
}
