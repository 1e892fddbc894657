#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::strategy::{Member, Membership, Running};
use proxywhirl_plugin_sdk::testing::{Picks, Pool, member};

const SECOND: Duration = Duration::from_secs(1);

fn pool(options: &str, members: u32) -> Pool<LeastUsed> {
    let mut pool = Pool::new(options).unwrap();
    (0..members).for_each(|slot| pool.join(member(slot, u64::from(slot))));
    pool
}

/// Requests whose outcomes are told once a second, as the host does.
fn serve(pool: &mut Pool<LeastUsed>, seconds: usize, each: usize) -> Picks {
    let mut picks = Picks::default();
    for _ in 0..seconds {
        let slots: Vec<_> = (0..each).map(|_| pool.pick().unwrap()).collect();
        slots.iter().for_each(|&slot| picks.count(Some(slot)));
        let seen = slots.into_iter().map(|slot| Observation { slot, site: 0, success: true, latency: 9 });
        pool.observe_all(&seen.collect::<Vec<_>>());
        pool.pass(SECOND);
    }
    picks
}

fn spread(picks: &Picks, slots: std::ops::Range<u32>) -> u64 {
    let counts: Vec<u64> = slots.map(|slot| picks.of(slot)).collect();
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

#[test]
fn everybody_comes_to_the_same_count_far_closer_than_chance_would() {
    for options in ["{}", r#"{"mode":"cycle"}"#] {
        let mut pool = pool(options, 20);
        let picks = serve(&mut pool, 200, 50);
        // 500 each; equal chances alone would spread them over a hundred.
        assert!(spread(&picks, 0..20) < 25, "{options}: {}", spread(&picks, 0..20));
    }
}

#[test]
fn one_who_was_used_much_pauses_until_the_others_are_level() {
    let mut pool = pool("{}", 4);
    pool.observe_all(&[Observation { slot: 0, site: 0, success: true, latency: 9 }; 100]);
    let picks = serve(&mut pool, 1, 60);
    assert_eq!(picks.of(0), 0);
    assert!(picks.fit(&[(1, 1.0), (2, 1.0), (3, 1.0)]), "{picks:?}");
}

#[test]
fn a_member_that_joins_late_does_not_absorb_everything() {
    let mut pool = pool("{}", 10);
    serve(&mut pool, 100, 100);
    pool.join(member(10, 10));
    let share = serve(&mut pool, 10, 100).share(&[10]);
    assert!((share - 1.0 / 11.0).abs() < 0.03, "{share}");
}

#[test]
fn one_that_comes_back_catches_up_with_four_equal_shares_at_the_most() {
    let mut pool = pool("{}", 20);
    pool.eject(3);
    serve(&mut pool, 100, 100);
    pool.readmit(3);
    let share = serve(&mut pool, 5, 100).share(&[3]);
    assert!(share > 0.1 && share < 0.25, "{share}");
}

#[test]
fn what_lies_before_the_window_is_forgotten() {
    let mut pool = pool(r#"{"window":"80s"}"#, 2);
    pool.observe_all(&[Observation { slot: 0, site: 0, success: true, latency: 9 }; 1_000]);
    assert_eq!(pool.picks(100).of(0), 0);
    pool.pass(81 * SECOND);
    assert!(pool.picks(1_000).fit(&[(0, 1.0), (1, 1.0)]), "the plan is renewed although nothing was observed");
}

#[test]
fn when_those_who_are_due_cannot_be_used_the_others_serve() {
    for options in ["{}", r#"{"mode":"cycle"}"#] {
        let mut pool = pool(options, 3);
        pool.observe_all(&[Observation { slot: 0, site: 0, success: true, latency: 9 }; 100]);
        pool.eject(1);
        pool.eject(2);
        assert_eq!(pool.pick(), Some(0));
    }
}

#[test]
fn in_turn_means_the_least_used_first_and_among_equals_who_joined_first() {
    let mut pool = pool(r#"{"mode":"cycle"}"#, 4);
    for (slot, uses) in [(0, 3), (1, 1), (2, 1)] {
        pool.observe_all(&vec![Observation { slot, site: 0, success: true, latency: 9 }; uses]);
    }
    let plan = pool.plan(0);
    let Membership::These(members) = &plan.tiers[0].members else { panic!("expected a list") };
    assert_eq!(members.iter().map(|member| member.slot).collect::<Vec<_>>(), [3, 1, 2, 0]);
}

#[test]
fn failures_count_as_uses() {
    let mut pool = pool("{}", 2);
    pool.observe_all(&[Observation { slot: 0, site: 0, success: false, latency: 0 }; 50]);
    assert_eq!(pool.picks(20).of(0), 0);
}

#[test]
fn the_next_version_goes_on_with_the_counts_of_members_by_identity() {
    let mut old = pool("{}", 3);
    old.observe_all(&[Observation { slot: 1, site: 0, success: true, latency: 9 }; 40]);
    let state = old.running().save();
    let mut new = Running::<LeastUsed>::new();
    new.configure(r#"{"window":"1h"}"#).unwrap();
    new.restore(&state).unwrap();
    let rows = [(0, 1_000_001), (1, 1_000_000), (2, 5)];
    new.apply(1, true, rows.map(|(slot, id)| Member { id, ..member(slot, 7) }).to_vec(), vec![]);
    let strategy = new.strategy().unwrap();
    let counts = strategy.counts(new.table(), &View { id: 0, site: 0, members: None }, clock::now());
    assert_eq!(counts, [(0, 40), (1, 0), (2, 0)]);
    assert!(new.restore(&state[..9]).is_err());
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_code_and_its_examples_are_accepted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(schema["properties"]["window"]["pattern"], duration::PATTERN);
    let properties = schema["properties"].as_object().unwrap();
    let defaults = properties.iter().map(|(name, property)| (name.clone(), property["default"].clone()));
    let read: Options = serde_json::from_value(defaults.collect::<serde_json::Map<_, _>>().into()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Options::default()));
    for example in schema["examples"].as_array().unwrap() {
        Running::<LeastUsed>::new().configure(&example.to_string()).unwrap();
    }
}

#[test]
fn bad_options_are_refused_by_name() {
    for (options, name) in [(r#"{"window":"1ms"}"#, "window"), (r#"{"mode":"luck"}"#, "luck"), (r#"{"x":1}"#, "x")] {
        let refused = Running::<LeastUsed>::new().configure(options).unwrap_err();
        assert!(refused.contains(name), "{refused}");
    }
}

proptest! {
    #[test]
    fn each_member_is_in_one_tier_with_a_weight_above_zero(
        seen in prop::collection::vec((0_u32..20, 1_usize..50), 0..30),
        mode in prop_oneof![Just("draw"), Just("cycle")],
        wait in 0_u64..700,
    ) {
        let mut pool = pool(&format!(r#"{{"mode":"{mode}"}}"#), 15);
        for (slot, uses) in seen {
            pool.observe_all(&vec![Observation { slot, site: 0, success: true, latency: 1 }; uses]);
        }
        pool.pass(Duration::from_secs(wait));
        let plan = pool.plan(0);
        let members = plan.tiers.iter().flat_map(|tier| match &tier.members {
            Membership::These(members) => members.clone(),
            Membership::Everyone => vec![],
        });
        let mut slots = Vec::new();
        for member in members {
            prop_assert!(member.weight.is_finite() && member.weight > 0.0);
            slots.push(member.slot);
        }
        slots.sort_unstable();
        prop_assert_eq!(slots, (0..15).collect::<Vec<_>>());
    }
}
