//! Each bundled strategy, as the component that ships, picks a million times from a pool that changes meanwhile: whom it
//! picks is what its documentation says, by a chi-squared test from a fixed seed; nobody who left or whose breaker is
//! open is ever picked; and the same seed picks the same members in the same order.
//!
//! When `PROXYWHIRL_TEST_PLUGINS` names a directory of components that were just built, it is those that are tried.

mod chi;
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chi::{assert_fits, assert_level};
use rig::{Profile, Rig};

/// Picks, in phases between which the pool changes.
const PHASES: u32 = 20;
const PICKS: u32 = 50_000;

/// Members at the beginning.
const MEMBERS: u32 = 60;

/// Every bundled strategy, with options that make it do what it is for.
const STRATEGIES: [(&str, &str); 11] = [
    ("round-robin", "{}"),
    ("random", "{}"),
    ("weighted", r#"{"by":"speed","by_tag":{"even":2}}"#),
    ("least-used", r#"{"window":"30s"}"#),
    ("least-loaded", r#"{"by_tag":{"even":2}}"#),
    ("performance", "{}"),
    ("session", "{}"),
    ("geo", r#"{"prefer":["DE"],"within":"draw"}"#),
    ("cost-aware", r#"{"costs":{"even":0.01}}"#),
    ("composite", r#"{"steps":[{"tag":"even","rank":"performance"},{}]}"#),
    ("thompson", "{}"),
];

/// What the members of these tests are like, told apart by their number.
fn profile(number: u32) -> Profile {
    Profile {
        tags: if number.is_multiple_of(2) { &["even"] } else { &["odd"] },
        country: ["DE", "AT", "US", "JP"][number as usize % 4],
        successes: 50 + u64::from(number) * 7 % 100,
        failures: u64::from(number) * 13 % 50,
        latency: Duration::from_millis(u64::from(50 + number * 37 % 400)),
    }
}

/// A rig with members 0 to 59.
fn rig(name: &str, options: &str, seed: u64) -> Rig {
    let mut rig = Rig::new(name, options, seed);
    (0..MEMBERS).for_each(|number| rig.join(number, &profile(number)));
    rig.publish();
    rig
}

/// Changes the pool between two phases: two leave, two others join, one breaker opens and one closes.
fn change(rig: &mut Rig, phase: u32) {
    for leaver in [phase * 2, phase * 2 + 1] {
        rig.leave(leaver);
    }
    for joiner in [MEMBERS + phase * 2, MEMBERS + phase * 2 + 1] {
        rig.join(joiner, &profile(joiner));
    }
    rig.open(phase * 2 + 10);
    if phase > 0 {
        rig.close(phase * 2 + 8);
    }
    rig.publish();
}

/// A million picks; the counts are compared with the sums of what `expected` says of each phase for those eligible.
fn a_million(rig: &mut Rig, mut expected: impl FnMut(&mut Rig, &BTreeSet<u32>) -> BTreeMap<u32, f64>) {
    let (mut counts, mut sums) = (BTreeMap::new(), BTreeMap::<u32, f64>::new());
    for phase in 0..PHASES {
        let eligible = rig.eligible();
        let shares = expected(rig, &eligible);
        let sum: f64 = shares.values().sum();
        for (number, share) in shares {
            *sums.entry(number).or_default() += share / sum * f64::from(PICKS);
        }
        for _ in 0..PICKS {
            let picked = rig.pick(None).expect("somebody is eligible");
            *counts.entry(picked).or_insert(0_u64) += 1;
        }
        change(rig, phase);
    }
    assert_fits(&counts, &sums);
}

fn equal(eligible: &BTreeSet<u32>) -> BTreeMap<u32, f64> {
    eligible.iter().map(|&number| (number, 1.0)).collect()
}

#[test]
fn round_robin_gives_each_the_same_to_within_one() {
    let mut rig = rig("round-robin", "{}", 1);
    for phase in 0..PHASES {
        let counts = rig.picks(PICKS);
        assert_eq!(counts.keys().copied().collect::<BTreeSet<_>>(), rig.eligible());
        let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
        assert!(most - least <= 1, "phase {phase}: {counts:?}");
        change(&mut rig, phase);
    }
}

#[test]
fn random_gives_each_the_same_by_chance() {
    a_million(&mut rig("random", "{}", 2), |_, eligible| equal(eligible));
}

#[test]
fn weighted_multiplies_the_rules_by_what_is_known() {
    a_million(&mut rig("weighted", r#"{"by":"speed","by_tag":{"even":2}}"#, 3), |_, eligible| {
        let weight = |number: u32| {
            let factor = if number.is_multiple_of(2) { 2.0 } else { 1.0 };
            factor / profile(number).latency.as_secs_f64()
        };
        eligible.iter().map(|&number| (number, weight(number))).collect()
    });
}

#[test]
fn performance_follows_success_and_latency_as_they_are_observed() {
    let mut observed: BTreeMap<u32, (f64, f64, f64)> = BTreeMap::new();
    a_million(&mut rig("performance", "{}", 4), |rig, eligible| {
        let unlucky = *eligible.iter().next().unwrap();
        let seen: Vec<_> = (0..20).map(|_| rig.observation(unlucky, false, 0)).collect();
        rig.observe(&seen);
        let quick = *eligible.iter().nth(1).unwrap();
        let seen: Vec<_> = (0..20).map(|_| rig.observation(quick, true, 20_000)).collect();
        rig.observe(&seen);
        rig.plan();
        // Success, EWMA of the latency in microseconds, uses: as the documentation has them.
        let state = |number: u32| {
            let Profile { successes, failures, latency, .. } = profile(number);
            let (good, uses) = (successes as f64, (successes + failures) as f64);
            ((good + 1.0) / (uses + 2.0), latency.as_secs_f64() * 1e6, uses)
        };
        for _ in 0..20 {
            let (success, _, uses) = observed.entry(unlucky).or_insert_with(|| state(unlucky));
            *uses += 1.0;
            *success -= *success / (*uses + 1.0).min(50.0);
            let (success, latency, uses) = observed.entry(quick).or_insert_with(|| state(quick));
            *uses += 1.0;
            *success += (1.0 - *success) / (*uses + 1.0).min(50.0);
            *latency += (20_000.0 - *latency) / 8.0;
        }
        let weight = |number: u32| {
            let (success, latency, _) = observed.get(&number).copied().unwrap_or_else(|| state(number));
            (success / latency).powi(2)
        };
        eligible.iter().map(|&number| (number, weight(number))).collect()
    });
}

#[test]
fn performance_gives_a_batch_of_newcomers_five_percent() {
    let mut rig = rig("performance", "{}", 5);
    (1_000..1_200).for_each(|number| rig.join(number, &Profile::default()));
    rig.publish();
    let counts = rig.picks(4 * PICKS);
    let newcomers: u64 = counts.range(1_000..).map(|(_, count)| count).sum();
    let share = newcomers as f64 / f64::from(4 * PICKS);
    assert!((share - 0.05).abs() < 0.003, "{share}");
}

#[test]
fn least_used_keeps_everybody_level_through_all_changes() {
    let mut rig = rig("least-used", "{}", 6);
    let mut counts = BTreeMap::new();
    for phase in 0..PHASES {
        rig.serve(PICKS, |_| (true, 80_000), |number| *counts.entry(number).or_insert(0_u64) += 1);
        change(&mut rig, phase);
    }
    // 50 to 59 were there all the time and never out; 60 joined after the first phase.
    let steady: Vec<u64> = (50..60).map(|number| counts[&number]).collect();
    assert_level(&steady, 0.02);
    let joined = counts[&60] as f64 / steady[0] as f64 * f64::from(PHASES) / f64::from(PHASES - 1);
    assert!((joined - 1.0).abs() < 0.05, "{joined}");
}

/// A latency as a load keeps it: in units of 16 µs, to six binary digits. What is equal there counts as equally fast.
fn coarse(latency: Duration) -> u128 {
    let units = latency.as_micros() / 16;
    let exponent = (u128::BITS - units.leading_zeros()).saturating_sub(6);
    units >> exponent << exponent
}

/// Of two drawn with equal chances the faster one is picked: the one of rank r of n, from 0, is the faster of two in
/// (n − r)² − (n − r − 1)² of n² cases.
#[test]
fn least_loaded_picks_the_faster_of_two_when_nothing_is_in_flight() {
    a_million(&mut rig("least-loaded", "{}", 7), |_, eligible| {
        let mut ranked: Vec<u32> = eligible.iter().copied().collect();
        ranked.sort_by_key(|&number| (profile(number).latency, number));
        let n = ranked.len() as f64;
        let mut shares = BTreeMap::new();
        let mut start = 0;
        // Those who are equally fast share what their ranks have together.
        for group in ranked.chunk_by(|a, b| coarse(profile(*a).latency) == coarse(profile(*b).latency)) {
            let end = start + group.len();
            let share = ((n - start as f64).powi(2) - (n - end as f64).powi(2)) / group.len() as f64;
            shares.extend(group.iter().map(|&number| (number, share)));
            start = end;
        }
        shares
    });
}

#[test]
fn least_loaded_spreads_requests_in_flight_evenly() {
    let mut rig = Rig::new("least-loaded", "{}", 8);
    (0..MEMBERS)
        .for_each(|number| rig.join(number, &Profile { latency: Duration::from_millis(80), ..profile(number) }));
    rig.publish();
    let counts = rig.hold(20_000);
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    // The power of two choices: the gap is a logarithm of a logarithm, and a random draw's would be above 80.
    assert!(most - least <= 8, "{counts:?}");
}

#[test]
fn session_keeps_sessions_where_they_are_and_moves_only_those_of_who_left() {
    const SESSIONS: u32 = 5_000;
    let mut rig = rig("session", "{}", 9);
    let mut homes: BTreeMap<u32, u32> = BTreeMap::new();
    for phase in 0..PHASES {
        let eligible = rig.eligible();
        for number in 0..PICKS {
            let session = number % SESSIONS;
            let picked = rig.pick(Some(u64::from(session) + 1)).expect("somebody is eligible");
            let home = homes.entry(session).or_insert(picked);
            if *home != picked {
                assert!(!eligible.contains(home), "phase {phase}: session {session} moved from {home} to {picked}");
                *home = picked;
            }
        }
        if phase == 0 {
            let mut counts = BTreeMap::new();
            homes.values().for_each(|home| *counts.entry(*home).or_insert(0) += 1);
            assert_fits(&counts, &eligible.iter().map(|&number| (number, 5_000.0 / f64::from(MEMBERS))).collect());
        }
        change(&mut rig, phase);
    }
}

#[test]
fn geo_prefers_the_country_and_falls_back_to_its_region() {
    let mut rig = rig("geo", r#"{"prefer":["DE"],"within":"draw"}"#, 10);
    let of = |country: &'static str| move |number: &u32| profile(*number).country == country;
    a_million(&mut rig, |_, eligible| equal(&eligible.iter().copied().filter(of("DE")).collect()));
    rig.eligible().into_iter().filter(of("DE")).for_each(|number| rig.open(number));
    let counts = rig.picks(PICKS);
    assert!(counts.keys().all(of("AT")), "{counts:?}");
}

#[test]
fn cost_aware_stays_with_the_free_ones_and_leaves_them_a_probe_when_they_fail() {
    let mut rig = rig("cost-aware", r#"{"costs":{"even":0.01}}"#, 11);
    let success = |number: u32| {
        let Profile { successes, failures, .. } = profile(number);
        (successes as f64 + 1.0) / ((successes + failures) as f64 + 2.0)
    };
    let is_free = |number: &u32| number % 2 == 1;
    a_million(&mut rig, |_, eligible| {
        eligible.iter().filter(|number| is_free(number)).map(|&number| (number, success(number))).collect()
    });
    let free = rig.eligible().into_iter().find(is_free).unwrap();
    let seen: Vec<_> = (0..50).map(|_| rig.observation(free, false, 0)).collect();
    rig.observe(&seen);
    let counts = rig.picks(2 * PICKS);
    let probes: u64 = counts.iter().filter(|(number, _)| is_free(number)).map(|(_, count)| count).sum();
    let share = probes as f64 / f64::from(2 * PICKS);
    assert!((share - 0.05).abs() < 0.003, "{share}");
}

#[test]
fn composite_goes_line_by_line() {
    let steps = r#"{"steps":[{"tag":"even","country":"DE","rank":"speed"},{"tag":"odd"},{}]}"#;
    let mut rig = rig("composite", steps, 12);
    let first = |number: &u32| profile(*number).country == "DE";
    a_million(&mut rig, |_, eligible| {
        let weight = |number: u32| 1.0 / profile(number).latency.as_secs_f64();
        eligible.iter().filter(|number| first(number)).map(|&number| (number, weight(number))).collect()
    });
    rig.eligible().into_iter().filter(first).for_each(|number| rig.open(number));
    let odd = rig.eligible().into_iter().filter(|number| number % 2 == 1).collect();
    let expected = equal(&odd).into_iter().map(|(number, share)| (number, share * f64::from(PICKS) / odd.len() as f64));
    let expected = expected.collect();
    assert_fits(&rig.picks(PICKS), &expected);
}

/// The chance that the first of these Beta distributions is the largest, by the sum over a fine grid.
fn chance_to_be_best(of: (i32, i32), others: &[(i32, i32)]) -> f64 {
    const GRID: i32 = 20_000;
    let density = |(a, b): (i32, i32), x: f64| x.powi(a - 1) * (1.0 - x).powi(b - 1);
    let total = |beta| (0..GRID).map(|step| density(beta, (f64::from(step) + 0.5) / f64::from(GRID))).sum::<f64>();
    let totals: Vec<f64> = others.iter().map(|&other| total(other)).collect();
    let mut below = vec![0.0; others.len()];
    let mut chance = 0.0;
    for step in 0..GRID {
        let x = (f64::from(step) + 0.5) / f64::from(GRID);
        for ((below, &other), total) in below.iter_mut().zip(others).zip(&totals) {
            *below += density(other, x) / total;
        }
        chance += density(of, x) * below.iter().product::<f64>();
    }
    chance / total(of)
}

#[test]
fn thompson_draws_by_the_chance_to_be_the_best() {
    // Ten uses each: with the prior of one success and one failure, these Beta distributions.
    let beliefs = [(9, 3), (7, 5), (4, 8)];
    let mut rig = Rig::new("thompson", r#"{"half_life":"1d"}"#, 13);
    for (number, (successes, failures)) in (0..).zip([(8, 2), (6, 4), (3, 7)]) {
        rig.join(number, &Profile { successes, failures, ..Profile::default() });
    }
    rig.publish();
    let counts = rig.picks(PHASES * PICKS);
    for (number, belief) in (0..).zip(beliefs) {
        let others: Vec<_> = beliefs.into_iter().filter(|&other| other != belief).collect();
        let expected = chance_to_be_best(belief, &others);
        let found = counts[&number] as f64 / f64::from(PHASES * PICKS);
        assert!((found - expected).abs() < 0.01, "{belief:?}: {found} of the picks, and {expected} expected");
    }
}

#[test]
fn thompson_finds_the_best_by_trying_and_keeps_trying() {
    let mut rig = Rig::new("thompson", "{}", 14);
    (0..10).for_each(|number| rig.join(number, &Profile::default()));
    rig.publish();
    let mut counts = BTreeMap::new();
    let truth = |number: u32, chance: f64| (chance < if number == 7 { 0.95 } else { 0.3 }, 80_000);
    rig.serve_by_chance(PHASES * PICKS, truth, |number| *counts.entry(number).or_insert(0_u64) += 1);
    let best = counts[&7] as f64 / f64::from(PHASES * PICKS);
    assert!(best > 0.9, "the best has {best} of the picks: {counts:?}");
    assert_eq!(counts.len(), 10, "everybody is tried: {counts:?}");
}

#[test]
fn the_same_seed_picks_the_same_members_in_the_same_order() {
    let sequence = |name: &str, options: &str, seed: u64| {
        let mut rig = rig(name, options, seed);
        let mut picked = Vec::new();
        for phase in 0..3 {
            rig.serve(4_000, |number| (number % 3 > 0, 1_000 * (number + 1)), |number| picked.push(number));
            change(&mut rig, phase);
        }
        picked
    };
    for (name, options) in STRATEGIES {
        let first = sequence(name, options, 7);
        assert!(first == sequence(name, options, 7), "{name} does not repeat itself");
        if name != "round-robin" {
            assert!(first != sequence(name, options, 8), "{name} does not follow its seed");
        }
    }
}
