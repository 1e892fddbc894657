#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use proxywhirl_plugin_sdk::strategy::{Member, Membership, Mode, Tier};
use proxywhirl_plugin_sdk::testing::{Pool, member};
use proxywhirl_plugin_sdk::{Anonymity, Scheme, Slot, symbols};
use serde_json::json;

fn pool(steps: &Value, rows: Vec<Member>) -> Pool<Composite> {
    let mut pool = Pool::new(&json!({ "steps": steps }).to_string()).unwrap();
    rows.into_iter().for_each(|row| pool.join(row));
    pool
}

fn tagged(slot: Slot, tags: &[&str]) -> Member {
    Member { tags: tags.iter().map(|tag| symbols::intern(tag)).collect(), ..member(slot, u64::from(slot)) }
}

fn tried(slot: Slot, successes: u64, failures: u64, milliseconds: u32) -> Member {
    Member { successes, failures, latency: milliseconds * 1000, ..member(slot, u64::from(slot)) }
}

fn from(slot: Slot, country: &str) -> Member {
    Member { country: symbols::intern(country), ..member(slot, u64::from(slot)) }
}

/// The slots that each tier holds.
fn tiers(steps: &Value, rows: Vec<Member>) -> Vec<Vec<Slot>> {
    let plan = pool(steps, rows).plan(0);
    let slots = |tier: &Tier| match &tier.members {
        Membership::These(members) => members.iter().map(|member| member.slot).collect(),
        Membership::Everyone => vec![Slot::MAX],
    };
    plan.tiers.iter().map(slots).collect()
}

fn error(steps: &Value) -> String {
    Pool::<Composite>::new(&json!({ "steps": steps }).to_string()).err().unwrap()
}

#[test]
fn by_default_everybody_is_drawn() {
    assert_eq!(Pool::<Composite>::new("{}").unwrap().plan(0), Plan::everyone(Mode::Draw));
}

#[test]
fn the_next_line_serves_when_nobody_in_those_before_it_can() {
    let steps = json!([{ "tag": "own" }, { "tag": ["bought", "rented"] }, {}]);
    let mut pool = pool(&steps, vec![tagged(0, &[]), tagged(1, &["rented"]), tagged(2, &["own"])]);
    for expected in [2, 1, 0] {
        assert_eq!(pool.pick(), Some(expected));
        pool.eject(expected);
    }
    assert_eq!(pool.pick(), None);
}

#[test]
fn all_filters_of_a_line_must_hold() {
    let rows = || vec![tagged(0, &["a"]), tagged(1, &["a", "b"]), tagged(2, &["b"]), tagged(3, &[])];
    assert_eq!(tiers(&json!([{ "tag": "a", "not_tag": "b" }]), rows()), [[0]]);
    assert_eq!(tiers(&json!([{ "tag": ["a", "b"] }]), rows()), [[0, 1, 2]]);
    assert_eq!(tiers(&json!([{ "not_tag": ["a", "b"] }]), rows()), [[3]]);
}

#[test]
fn countries_and_schemes_filter_in_any_case() {
    let rows = || vec![from(0, "DE"), from(1, "FR"), Member { scheme: Scheme::Socks5, ..member(2, 2) }];
    assert_eq!(tiers(&json!([{ "country": ["de", "at"] }]), rows()), [[0]]);
    assert_eq!(tiers(&json!([{ "not_country": "DE" }]), rows()), [[1, 2]]);
    assert_eq!(tiers(&json!([{ "scheme": "SOCKS5" }]), rows()), [[2]]);
}

#[test]
fn anonymity_is_a_minimum_and_unknown_is_not_enough() {
    let kinds = [Anonymity::Unknown, Anonymity::Transparent, Anonymity::Anonymous, Anonymity::Elite];
    let rows =
        || (0..).zip(kinds).map(|(slot, anonymity)| Member { anonymity, ..member(slot, u64::from(slot)) }).collect();
    assert_eq!(tiers(&json!([{ "anonymity": "anonymous" }]), rows()), [[2, 3]]);
    assert_eq!(tiers(&json!([{ "anonymity": "transparent" }]), rows()), [[1, 2, 3]]);
}

#[test]
fn the_never_tried_pass_bounds_and_who_only_ever_failed_is_not_fast() {
    let rows = || vec![tried(0, 9, 1, 100), tried(1, 9, 1, 900), tried(2, 0, 3, 0), tried(3, 0, 0, 0)];
    assert_eq!(tiers(&json!([{ "max_latency": "500ms" }]), rows()), [[0, 3]]);
    assert_eq!(tiers(&json!([{ "min_success": 0.9 }]), rows()), [[0, 1, 3]]);
    assert_eq!(
        tiers(&json!([{ "max_latency": 0.5, "min_tries": 1 }, { "max_tries": 3 }]), rows()),
        [vec![0], vec![2, 3]]
    );
}

#[test]
fn a_member_that_misses_a_bound_serves_in_a_later_line_and_comes_back() {
    let mut pool = pool(&json!([{ "min_success": 0.5 }, {}]), vec![tried(0, 1, 9, 100)]);
    assert_eq!(pool.plan(0).tiers.len(), 2);
    assert_eq!(pool.pick(), Some(0));
    (0..20).for_each(|_| pool.observe(0, true, 1_000));
    let Membership::These(members) = &pool.plan(0).tiers[0].members else { panic!("expected a list") };
    assert_eq!(members.len(), 1);
}

#[test]
fn ranks_weigh_and_tags_multiply() {
    let rows = || vec![tried(0, 99, 0, 100), Member { tags: tagged(1, &["half"]).tags, ..tried(1, 99, 0, 100) }];
    let mut pool = pool(&json!([{ "rank": "speed", "by_tag": { "half": 0.5 } }]), rows());
    assert!(pool.picks(30_000).fit(&[(0, 2.0), (1, 1.0)]));
}

#[test]
fn a_batch_of_newcomers_gets_the_explored_share_only() {
    for (step, share) in [(json!({ "rank": "success" }), 0.05), (json!({ "rank": "success", "explore": 0.2 }), 0.2)] {
        let rows = (0..10).map(|slot| tried(slot, 50, 0, 100)).chain((10..200).map(|slot| tried(slot, 0, 0, 0)));
        let mut pool = pool(&json!([step]), rows.collect());
        let picks = pool.picks(20_000);
        let found = picks.share(&(10..200).collect::<Vec<_>>());
        assert!((found - share).abs() < 0.015, "{found}");
    }
}

#[test]
fn the_best_are_those_with_the_highest_weights_in_the_order_of_joining() {
    let rows = vec![tried(0, 9, 0, 300), tried(1, 9, 0, 100), tried(2, 9, 0, 200), tried(3, 9, 0, 100)];
    assert_eq!(tiers(&json!([{ "rank": "speed", "best": 2, "mode": "cycle" }]), rows), [[1, 3]]);
    assert_eq!(tiers(&json!([{ "best": 2 }]), (0..5).map(|slot| tried(slot, 0, 0, 0)).collect()), [[0, 1]]);
}

#[test]
fn free_members_always_come_before_cheap_ones() {
    let rows = vec![tagged(0, &["x"]), tagged(1, &["own"]), tagged(2, &[]), tagged(3, &["x", "y", "own"])];
    let mut pool = pool(&json!([{ "rank": "cost", "costs": { "x": 0.05, "y": 2, "own": 0 } }]), rows);
    assert!(pool.picks(10_000).fit(&[(1, 1.0), (2, 1.0)]));
    pool.eject(1);
    pool.eject(2);
    assert_eq!(pool.pick(), Some(0));
}

#[test]
fn more_costs_than_tiers_share_the_last_one() {
    let rows = (0..200).map(|slot| tagged(slot, &[&format!("vendor:{slot}")])).collect();
    let costs: Value =
        (0..200).map(|slot| (format!("vendor:{slot}"), json!(slot))).collect::<serde_json::Map<_, _>>().into();
    let line = json!({ "rank": "cost", "costs": costs });
    let found = tiers(&json!([line, line, {}]), rows);
    assert!(found.len() <= 64, "{}", found.len());
    assert_eq!(found[0], [0]);
    assert!(found[found.len() - 2].len() > 100);
}

#[test]
fn modes_are_the_hosts() {
    let mut cycling = pool(&json!([{ "mode": "cycle" }]), (0..3).map(|slot| member(slot, u64::from(slot))).collect());
    assert_eq!((0..4).map(|_| cycling.pick().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 0]);
    for (name, mode) in [("least-loaded", Mode::LeastLoaded), ("affinity", Mode::Affinity), ("draw", Mode::Draw)] {
        assert_eq!(pool(&json!([{ "mode": name }]), vec![]).plan(0), Plan::everyone(mode));
    }
}

#[test]
fn plans_are_made_anew_only_when_uses_matter() {
    for (steps, wanted) in
        [(json!([{ "tag": "a" }, { "rank": "cost", "costs": { "a": 1 } }]), 1), (json!([{}, { "min_tries": 3 }]), 5)]
    {
        let mut pool = pool(&steps, vec![member(0, 0)]);
        for _ in 0..64 {
            pool.pick();
            pool.observe(0, true, 1_000);
        }
        pool.pick();
        assert_eq!(pool.plans(), wanted, "{steps}");
    }
}

#[test]
fn an_error_names_the_line_and_the_key() {
    for (steps, expected) in [
        (json!([{}, { "tags": "a" }]), "steps[1]: unknown key \"tags\": a line has tag, not_tag"),
        (json!([{ "country": "Germany" }]), "steps[0]: country: \"Germany\" is not a country code"),
        (json!([{ "scheme": ["http", "ftp"] }]), "steps[0]: scheme: \"ftp\" is not a scheme"),
        (json!([{}, {}, { "max_latency": "soon" }]), "steps[2]: max_latency: not a duration"),
        (json!([{ "min_success": 2 }]), "steps[0]: min_success: 2 is not from 0 to 1"),
        (json!([{ "rank": "best" }]), "steps[0]: rank: unknown variant `best`"),
        (json!([{ "min_tries": 5, "max_tries": 2 }]), "steps[0]: min_tries: 5 is more than max_tries, 2"),
        (json!([{ "best": 0 }]), "steps[0]: best: 0"),
        (json!([{ "by_tag": { "a": -1 } }]), "steps[0]: by_tag: a: -1 is not a number from 0"),
        (json!([{ "rank": "cost" }]), "steps[0]: costs: what members"),
        (json!([{ "costs": { "a": 1 } }]), "steps[0]: costs: what members"),
        (json!([{ "tag": [] }]), "steps[0]: tag: none given"),
        (json!(["own"]), "steps[0]: not an object"),
        (json!([]), "steps: 0 lines, but 1 to 16 are needed"),
    ] {
        let error = error(&steps);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_schema_knows_the_same_keys_and_its_examples_are_accepted() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for example in schema["examples"].as_array().unwrap() {
        assert!(Pool::<Composite>::new(&example.to_string()).is_ok(), "{example}");
    }
    for key in schema["$defs"]["step"]["properties"].as_object().unwrap().keys() {
        let error = error(&json!([{ key: { "nonsense": [] } }]));
        assert!(error.starts_with(&format!("steps[0]: {key}")), "{error}");
    }
    assert_eq!(schema["properties"]["steps"]["maxItems"], MAX_STEPS);
    let default = Options { steps: schema["properties"]["steps"]["default"].as_array().unwrap().clone() };
    assert_eq!(default.steps, Options::default().steps);
}

fn row() -> impl proptest::strategy::Strategy<Value = Member> {
    let tags = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3);
    (0_u64..5, 0_u64..5, 0_u32..3, tags).prop_map(|(good, bad, milliseconds, tags)| {
        let milliseconds = if good > 0 { milliseconds } else { 0 };
        Member { tags: tagged(0, &tags).tags, ..tried(0, good, bad, milliseconds) }
    })
}

fn step() -> impl proptest::strategy::Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({ "tag": "a", "rank": "success" }),
        json!({ "not_tag": ["a", "b"], "best": 3 }),
        json!({ "max_latency": "1ms", "rank": "speed", "mode": "least-loaded" }),
        json!({ "rank": "cost", "costs": { "a": 1, "c": 0.1 }, "by_tag": { "b": 0.5 } }),
        json!({ "rank": "performance", "mode": "cycle", "explore": 0.0 }),
    ])
}

proptest! {
    #[test]
    fn with_a_last_line_for_everybody_somebody_always_serves(
        steps in prop::collection::vec(step(), 0..15),
        rows in prop::collection::vec(row(), 1..40),
        ejected in prop::collection::vec(0_u32..40, 0..30),
    ) {
        let mut steps = steps;
        steps.push(json!({}));
        let mut pool = pool(&Value::Array(steps), vec![]);
        let count = rows.len() as u32;
        for (slot, row) in (0..).zip(rows) {
            pool.join(Member { slot, joined: u64::from(slot), id: u64::from(slot) + 7, ..row });
        }
        ejected.iter().for_each(|&slot| pool.eject(slot));
        let out = |slot: Slot| ejected.contains(&slot);
        let all_out = (0..count).all(out);
        for _ in 0..20 {
            let picked = pool.pick();
            prop_assert_eq!(picked.is_none(), all_out);
            prop_assert!(picked.is_none_or(|slot| !out(slot)));
        }
    }
}
