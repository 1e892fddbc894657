#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::Slot;
use proxywhirl_plugin_sdk::strategy::Member;
use proxywhirl_plugin_sdk::testing::{Picks, Pool, Wish, member};

fn pool(options: &str, members: u32) -> Pool<Session> {
    let mut pool = Pool::new(options).unwrap();
    (0..members).for_each(|slot| pool.join(member(slot, u64::from(slot))));
    pool
}

fn assigned(pool: &mut Pool<Session>, sessions: u64) -> Vec<Slot> {
    (1..=sessions).map(|session| pool.pick_session(session).unwrap()).collect()
}

#[test]
fn a_session_keeps_its_member_and_sessions_spread_evenly() {
    let mut pool = pool("{}", 10);
    let first = assigned(&mut pool, 20_000);
    assert_eq!(assigned(&mut pool, 20_000), first);
    let mut picks = Picks::default();
    first.iter().for_each(|&slot| picks.count(Some(slot)));
    assert!(picks.fit(&(0..10).map(|slot| (slot, 1.0)).collect::<Vec<_>>()));
}

#[test]
fn when_one_of_a_hundred_leaves_only_its_sessions_move() {
    let mut pool = pool("{}", 100);
    let before = assigned(&mut pool, 5_000);
    pool.leave(42);
    for (before, after) in before.into_iter().zip(assigned(&mut pool, 5_000)) {
        assert_eq!(before == after, before != 42);
    }
}

#[test]
fn when_somebody_joins_nobody_moves_not_even_into_a_slot_that_was_free() {
    let mut pool = pool("{}", 100);
    pool.leave(0);
    let before = assigned(&mut pool, 1_000);
    pool.join(member(0, 1_000));
    (100..200).for_each(|slot| pool.join(member(slot, u64::from(slot) + 1_000)));
    assert_eq!(assigned(&mut pool, 1_000), before);
}

#[test]
fn the_ttl_slides_with_each_request() {
    let mut pool = pool(r#"{"ttl":"10m"}"#, 500);
    let first = assigned(&mut pool, 50);
    for _ in 0..20 {
        pool.pass(Duration::from_secs(9 * 60));
        assert_eq!(assigned(&mut pool, 50), first);
    }
    pool.pass(Duration::from_secs(10 * 60));
    assert_ne!(assigned(&mut pool, 50), first);
}

#[test]
fn with_idle_the_ttl_is_the_whole_life_of_a_session() {
    let mut pool = pool(r#"{"ttl":"10m","idle":"6m"}"#, 500);
    let first = assigned(&mut pool, 50);
    pool.pass(Duration::from_secs(5 * 60));
    assert_eq!(assigned(&mut pool, 50), first);
    pool.pass(Duration::from_secs(5 * 60));
    let second = assigned(&mut pool, 50);
    assert_ne!(second, first);
    pool.pass(Duration::from_secs(6 * 60));
    assert_ne!(assigned(&mut pool, 50), second);
}

#[test]
fn a_ttl_of_zero_lasts_for_ever() {
    let mut pool = pool(r#"{"ttl":0}"#, 500);
    let first = assigned(&mut pool, 50);
    pool.pass(Duration::from_secs(400 * 86_400));
    assert_eq!(assigned(&mut pool, 50), first);
}

#[test]
fn strict_fails_where_the_default_moves() {
    for (options, moves) in [(r#"{"strict":true}"#, false), ("{}", true)] {
        let mut pool = pool(options, 10);
        let first = pool.pick_session(1).unwrap();
        pool.eject(first);
        assert_eq!(pool.pick_session(1).is_some(), moves, "{options}");
    }
}

#[test]
fn a_retry_goes_to_somebody_else_unless_the_session_is_strict() {
    for (options, retried) in [("{}", true), (r#"{"strict":true}"#, false)] {
        let mut pool = pool(options, 10);
        let first = pool.pick_session(1).unwrap();
        let second = pool.pick_for(&Wish { session: 1, tried: vec![first], ..Wish::default() });
        assert_eq!(second.is_some_and(|slot| slot != first), retried, "{options}");
    }
}

#[test]
fn requests_without_a_session_are_drawn() {
    let mut pool = pool("{}", 5);
    assert!(pool.picks(20_000).fit(&(0..5).map(|slot| (slot, 1.0)).collect::<Vec<_>>()));
}

#[test]
fn new_sessions_follow_the_inner_ranking_and_old_ones_do_not_move_with_it() {
    let mut pool = pool(r#"{"inner":"speed"}"#, 0);
    for (slot, latency) in [(0, 100_000), (1, 300_000)] {
        pool.join(Member { latency, successes: 10, ..member(slot, u64::from(slot)) });
    }
    let before = assigned(&mut pool, 10_000);
    let mut picks = Picks::default();
    before.iter().for_each(|&slot| picks.count(Some(slot)));
    assert!(picks.fit(&[(0, 3.0), (1, 1.0)]));
    pool.join(Member { latency: 1_000, successes: 10, ..member(1, 1) });
    assert_eq!(assigned(&mut pool, 10_000), before);
    let mut picks = Picks::default();
    (20_001..=30_000).for_each(|session| picks.count(pool.pick_session(session)));
    assert!(picks.share(&[1]) > 0.95);
}

#[test]
fn equal_sessions_never_ask_for_a_plan_and_ranked_ones_not_at_every_use() {
    for (options, wanted) in [("{}", 1), (r#"{"inner":"success"}"#, 5)] {
        let mut pool = pool(options, 10);
        for _ in 0..64 {
            pool.pick();
            pool.observe(0, true, 1_000);
        }
        pool.pick();
        assert_eq!(pool.plans(), wanted, "{options}");
    }
}

#[test]
fn an_idle_time_that_would_never_end_a_session_is_refused() {
    let error = Pool::<Session>::new(r#"{"ttl":"1h","idle":"2h"}"#).err().unwrap();
    assert_eq!(error, "idle: 7200s is not shorter than the ttl of 3600s");
    assert!(Pool::<Session>::new(r#"{"ttl":0,"idle":"2h"}"#).is_ok());
}

#[test]
fn the_schema_says_the_defaults_and_its_examples_are_accepted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let defaults: serde_json::Map<_, _> =
        properties.iter().filter_map(|(name, it)| Some((name.clone(), it.get("default")?.clone()))).collect();
    let defaults: Options = serde_json::from_value(defaults.into()).unwrap();
    assert_eq!(format!("{defaults:?}"), format!("{:?}", Options::default()));
    for example in schema["examples"].as_array().unwrap() {
        assert!(Pool::<Session>::new(&example.to_string()).is_ok(), "{example}");
    }
    for property in ["ttl", "idle"] {
        assert_eq!(properties[property]["$ref"], "#/$defs/duration");
    }
    assert_eq!(schema["$defs"]["duration"]["pattern"], duration::PATTERN);
}

proptest! {
    #[test]
    fn a_session_moves_only_when_its_member_leaves(
        changes in prop::collection::vec((0_u32..30, prop::bool::ANY), 1..60),
    ) {
        let mut pool = pool("{}", 15);
        let mut present: std::collections::BTreeSet<Slot> = (0..15).collect();
        let mut last: Vec<Option<Slot>> = (1..=100).map(|session| pool.pick_session(session)).collect();
        for (joined, (slot, joins)) in (1_000..).zip(changes) {
            if joins && present.insert(slot) {
                pool.join(member(slot, joined));
            } else if !joins && present.remove(&slot) {
                pool.leave(slot);
                for (session, last) in (1..).zip(&mut last) {
                    if *last == Some(slot) {
                        *last = pool.pick_session(session);
                    }
                }
            }
            for (session, last) in (1..).zip(&mut last) {
                let now = pool.pick_session(session);
                prop_assert!(last.is_none() || now == *last);
                prop_assert!(now.is_none_or(|slot| present.contains(&slot)));
                *last = now;
            }
        }
    }
}
