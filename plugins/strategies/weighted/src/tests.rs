#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::strategy::{Membership, Running};
use proxywhirl_plugin_sdk::testing::{Pool, member};

const MOMENT: Moment = Moment { now: 0, seed: 0 };
const ALL: View = View { id: 0, site: 0, members: None };

fn running(options: &str, rows: Vec<Member>) -> Running<Weighted> {
    let mut running = Running::new();
    running.configure(options).unwrap();
    running.apply(1, true, rows, vec![]);
    running
}

/// The shares of the members, of 1 in all, by slot.
fn shares(options: &str, rows: Vec<Member>) -> Vec<f32> {
    let plan = running(options, rows).plan(&ALL, MOMENT);
    assert_eq!(plan.tiers[0].mode, Mode::Draw);
    let Membership::These(members) = &plan.tiers[0].members else { panic!("expected a list") };
    let mut members = members.clone();
    members.sort_by_key(|member| member.slot);
    let sum: f32 = members.iter().map(|member| member.weight).sum();
    members.iter().map(|member| member.weight / sum).collect()
}

fn tried(slot: u32, successes: u64, failures: u64, latency: u32) -> Member {
    Member { successes, failures, latency, ..member(slot, u64::from(slot)) }
}

fn assert_close(found: &[f32], expected: &[f32]) {
    let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(found.len() == expected.len() && close, "{found:?} is not {expected:?}");
}

#[test]
fn without_rules_everyone_has_equal_chances() {
    let plan = running("{}", vec![member(0, 0)]).plan(&ALL, MOMENT);
    assert_eq!(plan, Plan::everyone(Mode::Draw));
}

#[test]
fn the_weight_is_the_product_of_the_rules_that_match() {
    let (user, fast) = (symbols::intern("source:user"), symbols::intern("fast"));
    let rows = vec![
        Member { tags: vec![user], ..member(0, 0) },
        Member { tags: vec![user, fast], id: 42, ..member(1, 1) },
        member(2, 2),
    ];
    let options = r#"{"by_tag":{"source:user":0.5,"fast":4},"by_member":{"42":3}}"#;
    assert_close(&shares(options, rows), &[0.5 / 7.5, 6.0 / 7.5, 1.0 / 7.5]);
}

#[test]
fn a_weight_of_zero_takes_a_member_out() {
    let rows = vec![Member { id: 7, ..member(0, 0) }, member(1, 1)];
    assert_close(&shares(r#"{"by_member":{"7":0}}"#, rows), &[0.0, 1.0]);
}

#[test]
fn success_weighs_by_the_smoothed_share_and_nobody_is_ruled_out() {
    let rows = vec![tried(0, 9, 0, 10), tried(1, 0, 9, 0)];
    assert_close(&shares(r#"{"by":"success"}"#, rows), &[10.0 / 11.0, 1.0 / 11.0]);
}

#[test]
fn speed_weighs_by_the_inverse_latency_and_who_only_failed_comes_after_the_slowest() {
    let rows = vec![tried(0, 5, 0, 100_000), tried(1, 5, 0, 400_000), tried(2, 0, 3, 0)];
    let sum = 4.0 + 1.0 + 0.25;
    assert_close(&shares(r#"{"by":"speed"}"#, rows), &[4.0 / sum, 1.0 / sum, 0.25 / sum]);
}

#[test]
fn a_never_tried_member_ranks_like_the_median() {
    let mut rows: Vec<_> = (0..99).map(|slot| tried(slot, 5, 0, 100_000)).collect();
    rows.push(member(99, 99));
    let shares = shares(r#"{"by":"speed"}"#, rows);
    assert_close(&shares[99..], &shares[..1]);
}

#[test]
fn a_large_batch_of_newcomers_gets_five_percent_and_the_proven_share_the_rest() {
    let mut rows = vec![tried(0, 5, 0, 100), tried(1, 5, 0, 100)];
    rows.extend((2..1002).map(|slot| member(slot, u64::from(slot))));
    let shares = shares(r#"{"by":"success"}"#, rows);
    let newcomers: f32 = shares[2..].iter().sum();
    assert!((newcomers - 0.05).abs() < 1e-3, "{newcomers}");
    assert_close(&shares[..2], &[0.475, 0.475]);
}

#[test]
fn when_nobody_is_proven_all_newcomers_are_equal() {
    assert_close(&shares(r#"{"by":"speed"}"#, vec![member(0, 0), member(1, 1)]), &[0.5, 0.5]);
}

#[test]
fn the_first_failure_of_a_fresh_pool_gives_nobody_an_advantage() {
    let rows = vec![tried(0, 0, 1, 0), member(1, 1), member(2, 2)];
    for by in ["success", "speed"] {
        assert_close(&shares(&format!(r#"{{"by":"{by}"}}"#), rows.clone()), &[0.2, 0.4, 0.4]);
    }
}

#[test]
fn a_latency_of_zero_is_unknown_and_not_fast() {
    let rows = vec![tried(0, 5, 0, 1_000), tried(1, 5, 0, 1_000), tried(2, 5, 0, 0)];
    let shares = shares(r#"{"by":"speed"}"#, rows);
    assert!(shares[2] < 0.051, "{shares:?}");
}

#[test]
fn a_plan_is_asked_for_after_enough_observations_and_only_when_they_matter() {
    let seen = |count| vec![Observation { slot: 0, site: 0, success: true, latency: 9 }; count];
    let mut by_speed = running(r#"{"by":"speed"}"#, vec![member(0, 0)]);
    let _ = by_speed.plan(&ALL, MOMENT);
    assert!(!by_speed.observe(&seen(15)));
    assert!(by_speed.observe(&seen(1)));
    let _ = by_speed.plan(&ALL, MOMENT);
    assert!(!by_speed.observe(&seen(1)));
    assert!(!running("{}", vec![member(0, 0)]).observe(&seen(1000)));
}

#[test]
fn requests_go_where_the_weights_say_while_members_come_and_go() {
    let mut pool = Pool::<Weighted>::new(r#"{"by":"speed"}"#).unwrap();
    (0..4).for_each(|slot| pool.join(tried(slot, 9, 0, 100_000 * (slot + 1))));
    assert!(pool.picks(50_000).fit(&[(0, 1.0), (1, 1.0 / 2.0), (2, 1.0 / 3.0), (3, 1.0 / 4.0)]));
    pool.leave(0);
    pool.join(tried(1, 9, 0, 50_000));
    pool.eject(3);
    assert!(pool.picks(50_000).fit(&[(1, 2.0), (2, 1.0 / 3.0)]));
}

#[test]
fn a_slot_that_is_used_again_has_the_weight_of_its_new_member() {
    let mut pool = Pool::<Weighted>::new(r#"{"by":"success"}"#).unwrap();
    (0..2).for_each(|slot| pool.join(tried(slot, 9, 0, 10)));
    assert!(pool.picks(1_000).fit(&[(0, 1.0), (1, 1.0)]));
    pool.leave(1);
    pool.join(Member { id: 77, ..tried(1, 0, 99, 0) });
    assert!(pool.picks(50_000).fit(&[(0, 1.0), (1, 0.01)]));
}

#[test]
fn bad_options_are_refused_by_name() {
    let refused = |options: &str| Running::<Weighted>::new().configure(options).unwrap_err();
    assert_eq!(refused(r#"{"by_member":{"x":1}}"#), "by_member: not an identity: x");
    assert_eq!(refused(r#"{"by_tag":{"a":-1}}"#), "by_tag: a: -1 is not a weight");
    assert!(refused(r#"{"by":"luck"}"#).contains("luck"));
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_code() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let defaults: serde_json::Map<_, _> = schema["properties"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, property)| (name.clone(), property["default"].clone()))
        .collect();
    let read: Options = serde_json::from_value(defaults.into()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Options::default()));
}

#[test]
fn the_examples_of_the_schema_are_accepted() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    for example in schema["examples"].as_array().unwrap() {
        Running::<Weighted>::new().configure(&example.to_string()).unwrap();
    }
}

proptest! {
    #[test]
    fn weights_are_finite_and_nobody_is_ruled_out_by_what_is_known(
        rows in prop::collection::vec((0_u64..1_000_000, 0_u64..1_000_000, any::<u32>()), 1..40),
        by in prop_oneof![Just("success"), Just("speed")],
        unproven in prop_oneof![Just("lowest"), Just("median"), Just("highest")],
    ) {
        let rows: Vec<_> = (0..).zip(rows).map(|(slot, (s, f, l))| tried(slot, s, f, l)).collect();
        let options = format!(r#"{{"by":"{by}","unproven":"{unproven}"}}"#);
        for share in shares(&options, rows) {
            prop_assert!(share.is_finite() && share > 0.0);
        }
    }

    /// Kept up to date change by change, the weights are those of an instance that is told everything at once.
    #[test]
    fn an_instance_that_followed_agrees_with_a_fresh_one(
        steps in prop::collection::vec((0_u32..10, 0_u64..4, 0_u64..4, 0_u32..1_000, 0_u8..3), 1..60),
        by in prop_oneof![Just("none"), Just("success"), Just("speed")],
    ) {
        let options = format!(r#"{{"by":"{by}","by_member":{{"1000003":2}}}}"#);
        let mut followed = running(&options, vec![]);
        let mut epoch = 1;
        for (slot, successes, failures, latency, kind) in steps {
            epoch += 1;
            match kind {
                0 => followed.apply(epoch, false, vec![tried(slot, successes, failures, latency)], vec![]),
                1 => followed.apply(epoch, false, vec![], vec![slot]),
                _ => {
                    followed.observe(&[Observation { slot, site: 0, success: failures == 0, latency }]);
                }
            }
        }
        let rows = followed.table().iter().cloned().collect();
        let mut fresh = running(&options, rows);
        let sorted = |running: &mut Running<Weighted>| {
            let plan = running.plan(&ALL, MOMENT);
            let Membership::These(mut members) = plan.tiers[0].members.clone() else { panic!("expected a list") };
            members.sort_by_key(|member| member.slot);
            members
        };
        for (a, b) in sorted(&mut followed).iter().zip(sorted(&mut fresh)) {
            prop_assert_eq!(a.slot, b.slot);
            prop_assert!((a.weight - b.weight).abs() <= 1e-5 * b.weight, "{:?} {:?}", a, b);
        }
    }
}
