#![allow(clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::select::random::Random;

const CONFIG: BreakerConfig = BreakerConfig {
    failures: 3,
    min_success: 0.3,
    samples: 30,
    cooldown: Duration::from_secs(5),
    cooldown_max: Duration::from_secs(15),
    successes: 2,
};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn opened() -> Breaker {
    let mut breaker = Breaker::default();
    for _ in 0..CONFIG.failures {
        breaker.record(Input::Failure, at(0), &CONFIG, at(0));
    }
    breaker
}

#[test]
fn what_was_admitted_before_a_breaker_was_closed_anew_is_no_news() {
    let mut breaker = Breaker::closed_since(at(5));
    for _ in 0..100 {
        breaker.record(Input::Failure, at(4), &CONFIG, at(6));
    }
    assert_eq!(breaker.state(), State::Closed { faults: 0 });
    breaker.record(Input::Failure, at(5), &CONFIG, at(6));
    assert_eq!(breaker.state(), State::Closed { faults: 1 });
}

#[test]
fn it_is_in_the_state_that_it_entered() {
    assert_eq!(size_of::<Breaker>(), 32);
    let (mut breaker, until, cooldown) = (Breaker::default(), at(7), Duration::from_millis(u32::MAX.into()));
    for state in [
        State::Closed { faults: COUNT_MAX },
        State::Open { until, cooldown },
        State::HalfOpen { probing: false, successes: 1, cooldown },
        State::HalfOpen { probing: true, successes: COUNT_MAX, cooldown },
        State::Closed { faults: 0 },
    ] {
        breaker.enter(state);
        assert_eq!(breaker.state(), state);
    }
    breaker.enter(State::Closed { faults: u32::MAX });
    assert_eq!(breaker.state(), State::Closed { faults: COUNT_MAX });
}

#[test]
fn one_error_kills_nobody() {
    let mut breaker = Breaker::default();
    for _ in 0..100 {
        breaker.record(Input::Failure, at(0), &CONFIG, at(0));
        breaker.record(Input::Success, at(0), &CONFIG, at(0));
        assert!(breaker.admit(&CONFIG, at(0)));
    }
}

#[test]
fn half_open_admits_exactly_one_probe() {
    let mut breaker = opened();
    assert!(!breaker.admit(&CONFIG, at(4)));
    assert!(breaker.admit(&CONFIG, at(5)));
    assert!(!breaker.admit(&CONFIG, at(5)));
}

#[test]
fn a_probe_that_says_nothing_gives_its_place_back() {
    let mut breaker = opened();
    assert!(breaker.admit(&CONFIG, at(5)));
    breaker.record(Input::Neutral, at(5), &CONFIG, at(6));
    assert!(breaker.admit(&CONFIG, at(6)));
}

#[test]
fn coming_back_needs_successes() {
    let mut breaker = opened();
    assert!(breaker.admit(&CONFIG, at(5)));
    breaker.record(Input::Success, at(5), &CONFIG, at(5));
    assert!(matches!(breaker.state(), State::HalfOpen { probing: false, successes: 1, .. }));
    assert!(breaker.admit(&CONFIG, at(5)));
    breaker.record(Input::Success, at(5), &CONFIG, at(5));
    assert_eq!(breaker.state(), State::Closed { faults: 0 });
}

#[test]
fn a_failed_probe_doubles_the_cooldown_up_to_its_limit() {
    let mut breaker = opened();
    let mut now = at(5);
    for expected in [10, 15, 15] {
        assert!(breaker.admit(&CONFIG, now));
        breaker.record(Input::Failure, now, &CONFIG, now);
        let State::Open { until, .. } = breaker.state() else { unreachable!() };
        assert_eq!(until.since(now), Duration::from_secs(expected));
        now = until;
    }
}

#[test]
fn one_in_quarantine_stays_there_until_its_time_or_until_it_is_released() {
    let mut breaker = Breaker::default();
    breaker.quarantine(at(100));
    for input in [Input::Success, Input::Failure, Input::Neutral] {
        breaker.record(input, at(0), &CONFIG, at(50));
    }
    assert!(!breaker.admit(&CONFIG, at(99)), "what was admitted before it says nothing");
    breaker.relent(at(99));
    assert!(breaker.is_quarantined() && !breaker.admit(&CONFIG, at(99)), "also where nobody else is left");
    let mut released = breaker;
    assert!(released.release(at(50)) && !released.release(at(50)));
    assert_eq!(released, Breaker::closed_since(at(50)));
    assert!(breaker.admit(&CONFIG, at(100)));
    assert!(!breaker.is_quarantined() && !breaker.release(at(100)), "the probe decides");
    breaker.record(Input::Failure, at(100), &CONFIG, at(100));
    assert_eq!(breaker.state(), State::Open { until: at(105), cooldown: CONFIG.cooldown });
}

#[test]
fn one_that_faults_have_opened_is_not_released_and_opens_no_sooner_in_quarantine() {
    let mut breaker = opened();
    assert!(!breaker.is_quarantined() && !breaker.release(at(1)));
    breaker.quarantine(at(2));
    assert_eq!(breaker.state(), State::Open { until: at(5), cooldown: CONFIG.cooldown });
    assert!(!breaker.admit(&CONFIG, at(4)));
    let mut released = breaker;
    assert!(released.release(at(4)) && released.admit(&CONFIG, at(4)));
    assert!(breaker.admit(&CONFIG, at(5)));
    breaker.record(Input::Failure, at(5), &CONFIG, at(5));
    assert_eq!(breaker.state(), State::Open { until: at(15), cooldown: CONFIG.cooldown * 2 });
}

#[test]
fn where_nobody_else_is_left_a_probe_goes_before_its_time_and_others_beside_it() {
    let mut breaker = opened();
    assert_eq!(breaker.readiness(), Some(Readiness::Due(at(5))));
    breaker.relent(at(1));
    assert!(!breaker.admit(&CONFIG, at(0)), "nobody would hear of it");
    assert!(breaker.admit(&CONFIG, at(1)) && !breaker.admit(&CONFIG, at(1)));
    assert_eq!(breaker.readiness(), Some(Readiness::Probing));
    breaker.relent(at(2));
    assert!(breaker.admit(&CONFIG, at(2)) && !breaker.admit(&CONFIG, at(2)));
    let mut failed = breaker;
    breaker.record(Input::Success, at(2), &CONFIG, at(3));
    assert_eq!(breaker.readiness(), Some(Readiness::Answered));
    breaker.record(Input::Success, at(1), &CONFIG, at(3));
    assert_eq!(breaker.state(), State::Closed { faults: 0 });
    failed.record(Input::Failure, at(1), &CONFIG, at(3));
    failed.record(Input::Success, at(2), &CONFIG, at(4));
    assert_eq!(failed.state(), State::Open { until: at(8), cooldown: CONFIG.cooldown }, "its pause does not grow");
    let order = [Readiness::Closed, Readiness::Answered, Readiness::Due(at(1)), Readiness::Due(at(2))];
    assert!(order.is_sorted() && order.iter().all(|readiness| *readiness < Readiness::Probing));
}

#[test]
fn what_was_admitted_before_it_opened_is_no_news() {
    for late in [Input::Success, Input::Failure, Input::Neutral] {
        let mut breaker = opened();
        assert!(breaker.admit(&CONFIG, at(5)));
        let probing = breaker;
        breaker.record(late, at(0), &CONFIG, at(6));
        assert_eq!(breaker, probing, "{late:?} decided in place of the probe");
        for _ in 0..CONFIG.successes {
            breaker.record(Input::Success, at(5), &CONFIG, at(6));
            assert!(breaker.admit(&CONFIG, at(6)));
        }
        for _ in 0..CONFIG.failures {
            breaker.record(late, at(0), &CONFIG, at(7));
        }
        assert_eq!(breaker.state(), State::Closed { faults: 0 });
    }
}

/// Outcomes of a member that fails with this chance, one a second; how often its breaker opened.
fn openings(chance: f64, requests: u64, seed: u64) -> u32 {
    let (mut breaker, mut random, mut openings) = (Breaker::default(), Random::new(seed), 0);
    let config = BreakerConfig::default();
    for second in 0..requests {
        if breaker.admit(&config, at(second)) {
            let input = if random.unit() < chance { Input::Failure } else { Input::Success };
            let was_open = matches!(breaker.state(), State::Open { .. });
            breaker.record(input, at(second), &config, at(second));
            openings += u32::from(!was_open && matches!(breaker.state(), State::Open { .. }));
        }
    }
    openings
}

#[test]
fn one_that_fails_every_fifth_time_does_not_flap() {
    // With five in a row it would open 25 times for each of these.
    let openings: Vec<_> = (0..20).map(|seed| openings(0.2, 100_000, seed)).collect();
    assert!(openings.iter().sum::<u32>() <= 2, "{openings:?}");
}

#[test]
fn one_that_dies_is_left_after_five_faults_and_after_twenty_whatever_it_was_before() {
    let config = BreakerConfig::default();
    for (good_of, most) in [(u64::MAX, 5), (5, 12), (2, 20)] {
        let mut breaker = Breaker::default();
        for n in 1..=100 {
            let input = if n % good_of == 0 { Input::Failure } else { Input::Success };
            breaker.record(input, at(n), &config, at(n));
        }
        // Ends on a success.
        breaker.record(Input::Success, at(100), &config, at(100));
        let faults = (1..100).find(|n| {
            breaker.record(Input::Failure, at(100 + n), &config, at(100 + n));
            matches!(breaker.state(), State::Open { .. })
        });
        assert!(faults.is_some_and(|faults| (5..=most).contains(&faults)), "{faults:?}");
    }
}

#[test]
fn a_low_rate_opens_it_without_a_run() {
    let (mut breaker, config) = (Breaker::default(), BreakerConfig::default());
    let opened = (1..100).find(|n| {
        let input = if n % 5 == 0 { Input::Success } else { Input::Failure };
        breaker.record(input, at(*n), &config, at(*n));
        matches!(breaker.state(), State::Open { .. })
    });
    assert_eq!(opened, Some(31));
    assert_eq!(openings(0.9, 1_000, 1).min(3), 3, "it goes on trying");
}

proptest! {
    /// Whoever relents, and whatever an older clock it is asked by: it always opens up again.
    #[test]
    fn it_is_never_shut_for_good(steps in prop::collection::vec((0..5usize, 0..20u64, any::<usize>()), 1..200)) {
        let (mut breaker, mut now, mut under_way) = (Breaker::default(), 0, Vec::new());
        for (input, pause, which) in steps {
            now += pause;
            let older = at(now.saturating_sub(which as u64 % 4));
            match input {
                0 if breaker.admit(&CONFIG, older) => under_way.push(older),
                1 => breaker.relent(at(now)),
                2.. if !under_way.is_empty() => {
                    let input = [Input::Success, Input::Failure, Input::Neutral][input - 2];
                    let admitted = under_way.swap_remove(which % under_way.len());
                    breaker.record(input, admitted, &CONFIG, at(now));
                }
                _ => {}
            }
        }
        for admitted in under_way {
            breaker.record(Input::Neutral, admitted, &CONFIG, at(now));
        }
        prop_assert!(breaker.admit(&CONFIG, at(now + 1_000)));
    }

    /// Whatever ends in whatever order, however late: never two probes at once, and it always opens up again.
    #[test]
    fn at_most_one_probe_is_under_way(steps in prop::collection::vec((0..4usize, 0..20u64, any::<usize>()), 1..200)) {
        let mut breaker = Breaker::default();
        let mut now = 0;
        // When each was admitted that has not ended, and whether it is a probe of the present half-open time.
        let mut under_way: Vec<(Timestamp, bool)> = Vec::new();
        for (input, pause, which) in steps {
            now += pause;
            if input == 0 {
                if breaker.admit(&CONFIG, at(now)) {
                    under_way.push((at(now), matches!(breaker.state(), State::HalfOpen { .. })));
                }
            } else if !under_way.is_empty() {
                let input = [Input::Success, Input::Failure, Input::Neutral][input - 1];
                let (admitted, _) = under_way.swap_remove(which % under_way.len());
                breaker.record(input, admitted, &CONFIG, at(now));
                if !matches!(breaker.state(), State::HalfOpen { .. }) {
                    under_way.iter_mut().for_each(|(_, is_probe)| *is_probe = false);
                }
            }
            prop_assert!(under_way.iter().filter(|(_, is_probe)| *is_probe).count() <= 1);
        }
        for (admitted, _) in under_way {
            breaker.record(Input::Neutral, admitted, &CONFIG, at(now));
        }
        prop_assert!(breaker.admit(&CONFIG, at(now + 1_000)));
    }
}
