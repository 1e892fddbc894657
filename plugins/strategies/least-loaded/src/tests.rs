#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::strategy::{Membership, Running};
use proxywhirl_plugin_sdk::testing::{Pool, member};

fn measured(slot: u32, latency: u32) -> Member {
    Member { latency, successes: 9, ..member(slot, u64::from(slot)) }
}

fn pool(options: &str, rows: impl IntoIterator<Item = Member>) -> Pool<LeastLoaded> {
    let mut pool = Pool::new(options).unwrap();
    rows.into_iter().for_each(|row| pool.join(row));
    pool
}

fn weights(pool: &mut Pool<LeastLoaded>) -> Vec<f32> {
    let plan = pool.plan(0);
    assert_eq!(plan.tiers[0].mode, Mode::LeastLoaded);
    let Membership::These(members) = &plan.tiers[0].members else { panic!("expected a list") };
    members.iter().map(|member| member.weight).collect()
}

#[test]
fn by_default_the_host_does_it_all_with_everybody() {
    let mut pool = pool("", [member(0, 0)]);
    assert_eq!(pool.plan(0), Plan::everyone(Mode::LeastLoaded));
    assert!(!pool.running().observe(&[Observation { slot: 0, site: 0, success: true, latency: 9 }; 1_000]));
    assert_eq!(Pool::<LeastLoaded>::new(r#"{"decay":"10s"}"#).unwrap().plan(0), Plan::everyone(Mode::LeastLoaded));
}

#[test]
fn a_tag_multiplies_the_weight() {
    let (fibre, mobile) = (symbols::intern("line:fibre"), symbols::intern("line:mobile"));
    let rows = [
        Member { tags: vec![fibre], ..member(0, 0) },
        Member { tags: vec![mobile, fibre], ..member(1, 1) },
        member(2, 2),
    ];
    let mut pool = pool(r#"{"by_tag":{"line:fibre":4,"line:mobile":0.5}}"#, rows);
    assert_eq!(weights(&mut pool), [4.0, 2.0, 1.0]);
}

#[test]
fn the_loaded_one_of_two_is_spared() {
    let mut pool = pool("", [measured(0, 100_000), measured(1, 100_000)]);
    pool.set_in_flight(0, 5);
    // Only when both draws hit it.
    assert!(pool.picks(20_000).fit(&[(0, 1.0), (1, 3.0)]));
}

#[test]
fn a_longer_decay_remembers_a_peak_that_the_host_has_forgotten() {
    let mut pool = pool(r#"{"decay":"10m"}"#, [measured(0, 100_000), measured(1, 100_000)]);
    pool.observe(0, true, 1_000_000);
    pool.pass(Duration::from_secs(60));
    pool.observe(0, true, 100_000);
    // The host is back near 100 ms, the wanted average near 0.9 of the peak: so it weighs a ninth.
    let weights = weights(&mut pool);
    assert!(weights[0] > 0.1 && weights[0] < 0.15, "{weights:?}");
    assert!((weights[1] - 1.0).abs() < 1e-6);
}

#[test]
fn a_shorter_decay_forgets_a_peak_that_the_host_remembers_within_bounds() {
    let mut pool = pool(r#"{"decay":"100ms"}"#, [measured(0, 1_000)]);
    pool.observe(0, true, 4_000_000_000);
    pool.pass(Duration::from_secs(1));
    pool.observe(0, true, 1_000);
    let weights = weights(&mut pool);
    assert!((weights[0] - 16.0).abs() < 1e-6, "{weights:?}");
}

#[test]
fn a_failure_and_an_unknown_latency_say_nothing_about_speed() {
    let mut pool = pool(r#"{"decay":"1m"}"#, [member(0, 0)]);
    pool.observe(0, false, 9_000_000);
    pool.observe(0, true, 0);
    assert_eq!(weights(&mut pool), [1.0]);
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_code_and_its_examples_are_accepted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(schema["properties"]["decay"]["pattern"], duration::PATTERN);
    let properties = schema["properties"].as_object().unwrap();
    let defaults = properties.iter().map(|(name, property)| (name.clone(), property["default"].clone()));
    let read: Options = serde_json::from_value(defaults.collect::<serde_json::Map<_, _>>().into()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Options::default()));
    for example in schema["examples"].as_array().unwrap() {
        Running::<LeastLoaded>::new().configure(&example.to_string()).unwrap();
    }
}

#[test]
fn bad_options_are_refused_by_name() {
    for (options, name) in
        [(r#"{"decay":"1us"}"#, "decay"), (r#"{"by_tag":{"a":-1}}"#, "by_tag: a"), (r#"{"x":1}"#, "x")]
    {
        let refused = Running::<LeastLoaded>::new().configure(options).unwrap_err();
        assert!(refused.contains(name), "{refused}");
    }
}

proptest! {
    #[test]
    fn weights_are_finite_and_within_bounds(
        seen in prop::collection::vec((0_u32..6, any::<bool>(), any::<u32>(), 0_u64..100), 0..60),
        decay in 1_u64..86_400,
    ) {
        let mut pool = pool(&format!(r#"{{"decay":"{decay}s"}}"#), (0..5).map(|slot| member(slot, u64::from(slot))));
        let _ = pool.plan(0);
        for (slot, success, latency, wait) in seen {
            pool.observe(slot, success, latency);
            pool.pass(Duration::from_secs(wait));
        }
        if decay != 10 {
            for weight in weights(&mut pool) {
                prop_assert!((1.0 / 16.0..=16.0).contains(&weight), "{weight}");
            }
        }
    }
}
