#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::Slot;
use proxywhirl_plugin_sdk::strategy::{Membership, Running};
use proxywhirl_plugin_sdk::testing::{Picks, Pool, member};

const TWO_VENDORS: &str = r#""costs":{"vendor:x":0.05,"vendor:y":0.2}"#;
const MINUTE: Duration = Duration::from_secs(60);

fn tagged(slot: u32, tag: &str) -> Member {
    Member { tags: vec![symbols::intern(tag)], successes: 10, ..member(slot, u64::from(slot)) }
}

/// 0 and 1 are free, 2 and 3 cost 0.05 a request, 4 costs 0.2.
fn pool(options: &str) -> Pool<CostAware> {
    let mut pool = Pool::new(&format!("{{{TWO_VENDORS}{options}}}")).unwrap();
    for (slot, tag) in [(0, "list"), (1, "list"), (2, "vendor:x"), (3, "vendor:x"), (4, "vendor:y")] {
        pool.join(tagged(slot, tag));
    }
    pool
}

fn observe(pool: &mut Pool<CostAware>, slot: Slot, count: usize, success: bool, latency: u32) {
    pool.observe_all(&vec![Observation { slot, site: 0, success, latency }; count]);
}

#[test]
fn free_ones_win_over_the_cheapest_that_cost_always_and_not_only_often() {
    let picks = pool("").picks(50_000);
    assert!(picks.fit(&[(0, 1.0), (1, 1.0)]), "{picks:?}");
}

#[test]
fn a_dearer_tier_serves_when_nobody_cheaper_can() {
    let mut pool = pool("");
    pool.eject(0);
    pool.eject(1);
    assert!(pool.picks(20_000).fit(&[(2, 1.0), (3, 1.0)]));
    pool.eject(2);
    pool.eject(3);
    assert_eq!(pool.pick(), Some(4));
}

#[test]
fn of_several_costs_of_a_member_the_dearest_counts() {
    let mut pool = pool("");
    let tags = ["list", "vendor:y", "vendor:x"].map(symbols::intern).to_vec();
    pool.join(Member { tags, ..tagged(5, "") });
    let plan = pool.plan(0);
    let Membership::These(members) = &plan.tiers[2].members else { panic!("expected a list") };
    assert_eq!(members.iter().map(|member| member.slot).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn a_tier_that_misses_the_bounds_makes_room_and_keeps_a_bounded_probe() {
    let mut pool = pool("");
    observe(&mut pool, 0, 20, false, 0);
    observe(&mut pool, 1, 20, false, 0);
    let share = pool.picks(50_000).share(&[0, 1]);
    assert!((share - 0.05).abs() < 0.005, "{share}");
    assert_eq!(pool.picks(1_000).of(4), 0);
}

#[test]
fn it_comes_back_when_its_probes_go_well() {
    let mut pool = pool("");
    observe(&mut pool, 0, 40, false, 0);
    assert!(pool.picks(1_000).of(2) > 0);
    pool.pass(3 * MINUTE);
    observe(&mut pool, 0, 40, true, 10);
    assert_eq!(pool.picks(1_000).share(&[0, 1]), 1.0);
}

#[test]
fn it_comes_back_by_itself_when_nothing_recent_is_known() {
    let mut pool = pool("");
    observe(&mut pool, 0, 10, false, 0);
    assert!(pool.picks(1_000).of(2) > 0);
    pool.pass(3 * MINUTE);
    assert_eq!(pool.picks(1_000).share(&[0, 1]), 1.0);
}

#[test]
fn a_latency_above_the_bound_makes_room_too() {
    let mut pool = pool(r#","max_latency":"1s""#);
    observe(&mut pool, 0, 20, true, 3_000_000);
    assert!(pool.picks(1_000).share(&[2, 3]) > 0.9);
}

#[test]
fn a_tier_near_the_bound_does_not_flap() {
    let mut pool = pool("");
    let mut changes = 0;
    let mut before = 0;
    for round in 0..600 {
        // Three of four: always below the bound of 0.8, never far from it.
        observe(&mut pool, 0, 3, true, 10);
        observe(&mut pool, 0, 1, false, 0);
        pool.pass(Duration::from_secs(1));
        let tiers = usize::from(pool.picks(50).of(2) > 0);
        changes += usize::from(round > 0 && tiers != before);
        before = tiers;
    }
    assert!(changes <= 1, "{changes}");
}

#[test]
fn when_all_tiers_miss_the_bounds_the_cheapest_serves() {
    let mut pool = pool("");
    for slot in 0..5 {
        observe(&mut pool, slot, 20, false, 0);
    }
    assert_eq!(pool.picks(1_000).share(&[0, 1]), 1.0);
}

#[test]
fn when_the_budget_is_spent_dear_tiers_close_until_the_hour_moves_on() {
    let mut pool = pool(r#","budget":{"per_hour":1,"currency":"EUR"}"#);
    pool.eject(0);
    pool.eject(1);
    drop(log::take());
    for _ in 0..19 {
        let slot = pool.pick().unwrap();
        pool.observe(slot, true, 10);
    }
    assert!(pool.pick().is_some(), "0.95 of 1 are spent");
    pool.observe(2, true, 10);
    assert_eq!(pool.pick(), None, "nobody is free and eligible");
    let lines = log::take();
    assert!(lines.iter().any(|(_, line)| line.contains("budget of 1 EUR an hour is spent")), "{lines:?}");
    pool.readmit(0);
    assert_eq!(pool.pick(), Some(0));
    pool.eject(0);
    pool.pass(59 * MINUTE);
    assert_eq!(pool.pick(), None);
    pool.pass(3 * MINUTE);
    assert!(pool.pick().is_some(), "the plan is renewed although nothing was observed");
}

#[test]
fn without_any_free_member_a_spent_budget_leaves_nobody_and_does_not_ask_per_request() {
    let mut pool = Pool::<CostAware>::new(r#"{"default_cost":1,"budget":{"per_hour":0}}"#).unwrap();
    pool.join(member(0, 0));
    let plan = pool.plan(0);
    assert_eq!(plan.tiers.len(), 1);
    assert_eq!(pool.pick(), None);
}

#[test]
fn a_swap_keeps_what_was_spent_and_what_is_known() {
    let mut old = pool(r#","budget":{"per_hour":1}"#);
    observe(&mut old, 2, 20, true, 10);
    observe(&mut old, 0, 20, false, 0);
    let state = old.running().save();
    let mut new = Running::<CostAware>::new();
    new.configure(&format!(r#"{{{TWO_VENDORS},"budget":{{"per_hour":1}},"min_success":0.9}}"#)).unwrap();
    new.restore(&state).unwrap();
    let strategy = new.strategy().unwrap();
    assert!(strategy.spending.as_ref().unwrap().is_spent());
    assert!(strategy.meters[&Cost::of(0.0)].misses());
    assert!(!strategy.meters[&Cost::of(0.05)].misses());
    assert!(new.restore(&state[..state.len() - 1]).is_err());
    assert!(new.restore(b"").is_err());
}

#[test]
fn a_large_batch_of_new_free_members_does_not_drown_the_proven_ones() {
    let mut pool = pool("");
    (10..1_010).for_each(|slot| pool.join(member(slot, u64::from(slot))));
    let share = pool.picks(50_000).share(&[0, 1]);
    assert!((share - 0.95).abs() < 0.01, "{share}");
}

#[test]
fn more_costs_than_tiers_are_cut_at_the_dear_end() {
    let costs: Vec<String> = (0..100).map(|cost| format!(r#""c{cost}":{cost}"#)).collect();
    let mut pool = Pool::<CostAware>::new(&format!(r#"{{"costs":{{{}}}}}"#, costs.join(","))).unwrap();
    for slot in 0..100 {
        pool.join(tagged(slot, &format!("c{slot}")));
    }
    let plan = pool.plan(0);
    assert_eq!(plan.tiers.len(), LEVELS);
    assert_eq!(pool.pick(), Some(0));
    (0..59).for_each(|slot| pool.eject(slot));
    let picks: Picks = pool.picks(2_000);
    assert!(picks.slots().eq(59..100), "{picks:?}");
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_code_and_its_examples_are_accepted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let defaults = properties.iter().map(|(name, property)| (name.clone(), property["default"].clone()));
    let read: Options = serde_json::from_value(defaults.collect::<serde_json::Map<_, _>>().into()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Options::default()));
    for example in schema["examples"].as_array().unwrap() {
        Running::<CostAware>::new().configure(&example.to_string()).unwrap();
    }
}

#[test]
fn bad_options_are_refused_by_name() {
    for (options, name) in [
        (r#"{"costs":{"a":-1}}"#, "costs: a"),
        (r#"{"default_cost":-1}"#, "default_cost"),
        (r#"{"min_success":2}"#, "min_success"),
        (r#"{"probe":0.9}"#, "probe"),
        (r#"{"decay":"1ms"}"#, "decay"),
        (r#"{"budget":{"per_hour":-1}}"#, "per_hour"),
        (r#"{"budget":{"currency":"EUR"}}"#, "per_hour"),
        (r#"{"x":1}"#, "x"),
    ] {
        let refused = Running::<CostAware>::new().configure(options).unwrap_err();
        assert!(refused.contains(name), "{refused}");
    }
}

proptest! {
    #[test]
    fn a_cheaper_tier_that_keeps_the_bounds_always_comes_first(
        seen in prop::collection::vec((0_u32..5, any::<bool>(), 0_u32..4_000_000, 0_u64..60), 0..200),
    ) {
        let mut pool = pool(r#","max_latency":"2s""#);
        for (slot, success, latency, wait) in seen {
            pool.observe(slot, success, latency);
            pool.pass(Duration::from_secs(wait));
        }
        let plan = pool.plan(0);
        let misses: Vec<bool> = pool.running().strategy().unwrap().meters.values().map(Meter::misses).collect();
        let first = misses.iter().position(|misses| !misses).unwrap_or(0);
        let Membership::These(members) = &plan.tiers[0].members else { panic!("expected a list") };
        let level = |slot: Slot| [0, 0, 1, 1, 2][slot as usize];
        let share = |wanted: usize| -> f32 {
            members.iter().filter(|member| level(member.slot) == wanted).map(|member| member.weight).sum()
        };
        let sum: f32 = members.iter().map(|member| member.weight).sum();
        prop_assert!(share(first) / sum > 0.949);
        prop_assert!((first + 1..3).all(|dearer| share(dearer) == 0.0));
        prop_assert!(members.iter().all(|member| member.weight.is_finite() && member.weight > 0.0));
    }
}
