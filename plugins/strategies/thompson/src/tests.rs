#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::Slot;
use proxywhirl_plugin_sdk::strategy::Membership;
use proxywhirl_plugin_sdk::testing::{Pool, Wish, member};

fn pool(options: &str, members: u32) -> Pool<Thompson> {
    let mut pool = Pool::new(options).unwrap();
    (0..members).for_each(|slot| pool.join(member(slot, u64::from(slot))));
    pool
}

fn seen(slot: Slot, site: Symbol, success: bool) -> Observation {
    Observation { slot, site, success, latency: if success { 100_000 } else { 0 } }
}

/// Tells of uses of a member at a site.
fn tell(pool: &mut Pool<Thompson>, slot: Slot, site: Symbol, good: usize, bad: usize) {
    let all: Vec<_> =
        (0..good).map(|_| seen(slot, site, true)).chain((0..bad).map(|_| seen(slot, site, false))).collect();
    pool.observe_all(&all);
}

/// The shares of the members, of 1 in all, in the order of joining.
fn shares(pool: &mut Pool<Thompson>, site: Symbol) -> Vec<f32> {
    let plan = pool.plan(site);
    let Membership::These(members) = &plan.tiers[0].members else { panic!("expected a list") };
    let sum: f32 = members.iter().map(|member| member.weight).sum();
    members.iter().map(|member| member.weight / sum).collect()
}

/// Requests whose outcome depends on the member and the site; the share that succeeds.
fn run(pool: &mut Pool<Thompson>, requests: usize, site: Symbol, rate: impl Fn(Slot) -> f64) -> f64 {
    let mut successes = 0;
    for _ in 0..requests {
        let slot = pool.pick_for(&Wish { site, ..Wish::default() }).unwrap();
        let success = (proxywhirl_plugin_sdk::random::next() >> 11) as f64 / ((1_u64 << 53) as f64) < rate(slot);
        successes += usize::from(success);
        pool.observe_all(&[seen(slot, site, success)]);
        pool.pass(Duration::from_millis(20));
    }
    successes as f64 / requests as f64
}

#[test]
fn in_the_beginning_everybody_has_the_same_chance() {
    let shares = shares(&mut pool("{}", 4), 0);
    assert!(shares.iter().all(|share| (share - 0.25).abs() < 1e-4), "{shares:?}");
}

#[test]
fn requests_come_to_go_where_they_succeed() {
    let mut pool = pool("{}", 10);
    let rate = |slot: Slot| if slot == 3 { 0.95 } else { 0.4 };
    run(&mut pool, 1_500, 0, rate);
    let later = run(&mut pool, 1_000, 0, rate);
    assert!(later > 0.85, "{later}");
}

#[test]
fn sites_are_learned_apart() {
    let mut pool = pool("{}", 4);
    let (shop, news) = (1, 2);
    let rate = |best: Slot| move |slot: Slot| if slot == best { 0.95 } else { 0.3 };
    for _ in 0..20 {
        run(&mut pool, 50, shop, rate(0));
        run(&mut pool, 50, news, rate(1));
    }
    assert!(run(&mut pool, 500, shop, rate(0)) > 0.8);
    assert!(run(&mut pool, 500, news, rate(1)) > 0.8);
}

#[test]
fn at_an_unknown_site_what_is_known_elsewhere_counts_and_less() {
    let mut pool = pool("{}", 2);
    tell(&mut pool, 0, 1, 60, 0);
    tell(&mut pool, 1, 1, 30, 30);
    let (here, elsewhere) = (shares(&mut pool, 1)[0], shares(&mut pool, 2)[0]);
    assert!(here > 0.999 && elsewhere > 0.95 && elsewhere < here, "{here} {elsewhere}");
    tell(&mut pool, 0, 2, 0, 20);
    assert!(shares(&mut pool, 2)[0] < 0.3);
}

#[test]
fn without_sites_all_that_is_known_counts_everywhere() {
    let mut pool = pool(r#"{"per_site":false}"#, 2);
    tell(&mut pool, 0, 1, 60, 0);
    tell(&mut pool, 1, 1, 30, 30);
    assert_eq!(shares(&mut pool, 1), shares(&mut pool, 2));
    assert!(!pool.plan(0).per_site);
}

#[test]
fn a_member_that_was_bad_is_tried_again_when_that_is_long_ago() {
    let mut pool = pool(r#"{"half_life":"1m","explore":1.0}"#, 2);
    tell(&mut pool, 0, 0, 0, 50);
    tell(&mut pool, 1, 0, 50, 50);
    assert!(shares(&mut pool, 0)[0] < 0.001);
    pool.pass(Duration::from_secs(10 * 60));
    assert!(shares(&mut pool, 0)[0] > 0.4);
}

#[test]
fn who_only_ever_failed_keeps_a_chance() {
    let mut pool = pool("{}", 2);
    tell(&mut pool, 0, 0, 0, 1_000);
    tell(&mut pool, 1, 0, 1_000, 0);
    assert!(shares(&mut pool, 0)[0] > 0.0);
    pool.eject(1);
    assert_eq!(pool.pick(), Some(0));
}

#[test]
fn a_batch_of_newcomers_does_not_drown_the_proven() {
    for (options, bound) in [("{}", 0.05), (r#"{"explore":0.2}"#, 0.2)] {
        let mut pool = pool(options, 5);
        (0..5).for_each(|slot| tell(&mut pool, slot, 0, 45, 5));
        (5..1_000).for_each(|slot| pool.join(member(slot, u64::from(slot))));
        let new: f32 = shares(&mut pool, 0)[5..].iter().sum();
        assert!((new - bound).abs() < 1e-3, "{new}");
    }
}

#[test]
fn a_history_is_known_before_the_first_request() {
    let mut pool = pool("{}", 0);
    pool.join(Member { successes: 990, failures: 10, ..member(0, 0) });
    pool.join(Member { successes: 100, failures: 900, ..member(1, 1) });
    assert!(shares(&mut pool, 0)[0] > 0.99);
}

#[test]
fn plans_follow_observations_no_more_often_than_asked_and_decay_now_and_then() {
    let mut pool = pool("{}", 3);
    pool.pick();
    for _ in 0..100 {
        pool.observe(0, true, 1_000);
        pool.pick();
        pool.pass(Duration::from_millis(50));
    }
    assert_eq!(pool.plans(), 5);
    assert_eq!(pool.plan(0).refresh, 30 * 60 * 1_000_000 / 32);
}

#[test]
fn where_plans_cost_more_they_are_made_less_often() {
    let mut pool = pool("{}", 1_000);
    pool.pick();
    for site in 1..=100 {
        pool.observe_all(&[seen(0, site, true)]);
    }
    pool.pick();
    let plans = pool.plans();
    for _ in 0..14 {
        pool.pass(Duration::from_secs(1));
        pool.observe(0, true, 1_000);
        pool.pick();
    }
    assert_eq!(pool.plans(), plans);
    pool.pass(Duration::from_secs(1));
    pool.observe(0, true, 1_000);
    pool.pick();
    assert_eq!(pool.plans(), plans + 1);
}

#[test]
fn what_was_learned_is_handed_over() {
    let mut old = pool("{}", 3);
    // Sites are handed over by their names.
    let [site, other] = ["shop.example", "news.example"].map(proxywhirl_plugin_sdk::symbols::intern);
    tell(&mut old, 0, site, 40, 2);
    tell(&mut old, 1, site, 10, 30);
    let state = old.running().save();
    let mut new = Pool::<Thompson>::new("{}").unwrap();
    new.running().restore(&state).unwrap();
    (0..3).for_each(|slot| new.join(member(slot, u64::from(slot))));
    for site in [0, site, other] {
        assert_eq!(shares(&mut new, site), shares(&mut old, site));
    }
    assert!(new.running().restore(b"nonsense").is_err());
}

#[test]
fn somebody_else_in_a_slot_inherits_nothing() {
    let mut pool = pool("{}", 2);
    tell(&mut pool, 0, 0, 50, 0);
    tell(&mut pool, 1, 0, 20, 20);
    pool.leave(0);
    pool.join(member(0, 99));
    // In the order of joining, so the new one comes last.
    assert!(shares(&mut pool, 0)[1] < 0.06);
}

#[test]
fn the_same_run_has_the_same_picks() {
    let picks = || {
        let mut pool = pool("{}", 20).seeded(3);
        (0..500)
            .map(|_| {
                let slot = pool.pick().unwrap();
                pool.observe_all(&[seen(slot, 0, !slot.is_multiple_of(3))]);
                pool.pass(Duration::from_millis(20));
                slot
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(picks(), picks());
}

#[test]
fn options_that_mean_nothing_are_refused() {
    for (options, expected) in [
        (r#"{"half_life":0}"#, "half_life: 0ns is less than a second"),
        (r#"{"prior":[0,1]}"#, "prior: 0 is not from 0.5 to 1000"),
        (r#"{"explore":1.5}"#, "explore: 1.5 is not from 0 to 1"),
    ] {
        assert_eq!(Pool::<Thompson>::new(options).err().unwrap(), expected);
    }
}

#[test]
fn the_schema_says_the_defaults_and_its_examples_are_accepted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let defaults: serde_json::Map<_, _> =
        properties.iter().map(|(name, it)| (name.clone(), it["default"].clone())).collect();
    let defaults: Options = serde_json::from_value(defaults.into()).unwrap();
    assert_eq!(format!("{defaults:?}"), format!("{:?}", Options::default()));
    for example in schema["examples"].as_array().unwrap() {
        assert!(Pool::<Thompson>::new(&example.to_string()).is_ok(), "{example}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_member_of_a_plan_has_a_weight_above_zero_and_at_most_one(
        uses in prop::collection::vec((0_u32..12, 0_u32..4, any::<bool>(), 0_u64..4_000), 0..200),
    ) {
        let mut pool = pool("{}", 10);
        for (slot, site, success, seconds) in uses {
            pool.observe_all(&[seen(slot, site, success)]);
            pool.pass(Duration::from_secs(seconds));
        }
        for site in 0..5 {
            let plan = pool.plan(site);
            let Membership::These(members) = &plan.tiers[0].members else { panic!("expected a list") };
            prop_assert_eq!(members.len(), 10);
            prop_assert!(members.iter().all(|member| member.weight > 0.0 && member.weight.is_finite()));
        }
    }
}
