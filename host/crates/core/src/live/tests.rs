use super::*;
use crate::fault::{Fault, Kind, Side, Stage};
use crate::limit::{Limit, Rate};

/// The allocator has classes of 64, 80, 96, 112, 128, 160, 192, … bytes, and an `Arc` counts in 16. Locks are of another
/// size on other systems.
#[test]
#[cfg(target_os = "linux")]
fn it_takes_128_bytes_of_a_million_members_each() {
    assert_eq!(size_of::<Live>() + 16, 128);
}

#[test]
fn the_gate_follows_the_breaker() {
    let (live, config) = (Live::default(), BreakerConfig { failures: 2, ..BreakerConfig::default() });
    let mut now = Timestamp::from_micros(1_000);
    let failure = Outcome::Failure(Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, ""));
    assert_eq!(live.health(), Health::Unknown);
    for health in [Health::Degraded, Health::Unhealthy] {
        assert!(live.admit(&config, now));
        live.record(&failure, now, &config, now);
        live.leave();
        assert_eq!(live.health(), health);
    }
    assert!(!live.is_admissible(now));
    assert!(!live.admit(&config, now));
    now = now + config.cooldown;
    assert!(live.is_admissible(now));
    assert!(live.admit(&config, now));
    assert!(!live.is_admissible(now), "one probe is enough");
    assert_eq!(live.in_flight(), 1);
    live.record(&Outcome::Success { latency: Duration::from_millis(3) }, now, &config, now);
    assert_eq!(live.in_flight(), 1, "what was reported may still be in flight");
    live.leave();
    assert!(live.is_admissible(now));
    assert_eq!(live.in_flight(), 0);
    assert_eq!(live.statistics().failures, 2);
}

#[test]
fn of_those_who_use_a_stranger_each_fourth_time_that_it_has_failed_one_may_wait_longer() {
    let (live, config, now) = (Live::default(), BreakerConfig::default(), Timestamp::from_micros(1_000));
    let failure = Outcome::Failure(Fault::new(Side::Upstream, Stage::FirstByte, Kind::Timeout, ""));
    for failures in 0..12 {
        let asked = [(); 3].map(|()| live.claim_patience());
        live.record(&Outcome::Neutral, now, &config, now);
        assert_eq!((asked, live.claim_patience()), ([failures % 4 == 3, false, false], false), "{failures}");
        live.record(&failure, now, &config, now);
    }
    for _ in 0..3 {
        live.record(&failure, now, &config, now);
    }
    live.record(&Outcome::Success { latency: Duration::from_millis(3) }, now, &config, now);
    assert!(!live.claim_patience(), "it is known how long it takes");
}

#[test]
fn what_others_find_moves_the_breaker_and_counts_as_no_use() {
    let (live, config) = (Live::default(), BreakerConfig { failures: 2, successes: 1, ..BreakerConfig::default() });
    let now = Timestamp::from_micros(1_000);
    assert!(!live.hear(Finding::Alive(Some(Duration::from_millis(3))), &config, now));
    assert_eq!(live.latency(), Some(Duration::from_millis(3)));
    assert!(!live.hear(Finding::Dead, &config, now) && live.hear(Finding::Dead, &config, now));
    assert_eq!(live.health(), Health::Unhealthy);
    assert!(!live.hear(Finding::Alive(None), &config, now), "nobody goes through yet");
    assert!(live.hear(Finding::Alive(None), &config, now + config.cooldown));
    assert!(live.is_admissible(now) && live.in_flight() == 0);
    let Statistics { successes, failures, last_used, .. } = live.statistics();
    assert_eq!((successes, failures, last_used), (0, 0, Timestamp::default()));
}

#[test]
fn who_is_in_quarantine_comes_back_when_it_is_released() {
    let (live, config) = (Live::default(), BreakerConfig::default());
    let (now, until) = (Timestamp::from_micros(1_000), Timestamp::from_micros(90_000_000));
    assert!(live.admit(&config, now));
    assert!(live.quarantine(until) && !live.quarantine(until), "the second time nothing has changed");
    assert_eq!((live.health(), live.opens_at()), (Health::Unhealthy, Some(until)));
    live.record(&Outcome::Success { latency: Duration::ZERO }, now, &config, now);
    live.leave();
    assert!(!live.is_admissible(now) && !live.hear(Finding::Alive(None), &config, now));
    assert!(!live.forgive(now) && !live.is_admissible(now), "another login is no proof");
    assert!(live.release(now) && !live.release(now));
    assert!(live.is_admissible(now));
    assert_eq!(live.health(), Health::Healthy);
}

#[test]
fn a_limit_lets_through_what_it_leaves() {
    let (live, config) = (Live::default(), BreakerConfig::default());
    live.set_limit(Limit { concurrency: Some(2), rate: Some(Rate::new(10.0, 3)) });
    let start = Timestamp::from_micros(1_700_000_000_000_000);
    let admit = |millis: u64| live.admit(&config, start + Duration::from_millis(millis));
    assert!(admit(0) && admit(0) && !admit(0));
    assert_eq!((live.room(), live.in_flight()), (Room::WhenLeft, 2));
    assert_eq!(live.obstacle(start), Some(Obstacle::Limit));
    live.leave();
    assert!(live.is_admissible(start) && admit(0));
    live.leave();
    assert_eq!(live.room(), Room::At(start + Duration::from_millis(100)));
    assert!(!admit(99) && admit(100));
    assert!(live.admit_uncounted(&config, start), "what is over already needs no token");
    live.leave();
    live.set_limit(Limit::NONE);
    assert!(live.is_admissible(start) && admit(0));
}

#[test]
fn neither_breaker_nor_limit_opens_what_the_other_one_keeps_shut() {
    let (live, config) = (Live::default(), BreakerConfig { failures: 1, ..BreakerConfig::default() });
    live.set_limit(Limit { concurrency: Some(1), rate: None });
    let now = Timestamp::from_micros(1_000);
    assert!(live.admit(&config, now));
    live.record(&Outcome::Failure(Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "")), now, &config, now);
    live.leave();
    assert_eq!(live.obstacle(now), Some(Obstacle::Breaker));
    let later = now + config.cooldown;
    assert!(live.admit(&config, later));
    live.record(&Outcome::Success { latency: Duration::ZERO }, later, &config, later);
    assert_eq!(live.obstacle(later), Some(Obstacle::Limit), "the breaker would let a second probe through");
    live.leave();
    assert!(live.is_admissible(later));
}

#[test]
fn many_threads_never_have_more_than_the_limit_and_leave_nothing_behind() {
    let (live, config, now) = (Live::default(), BreakerConfig::default(), Timestamp::from_micros(1));
    live.set_limit(Limit { concurrency: Some(3), rate: None });
    let most = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    if live.admit(&config, now) {
                        most.fetch_max(live.in_flight(), Ordering::Relaxed);
                        live.leave();
                    }
                }
            });
        }
    });
    assert!((1..=3).contains(&most.into_inner()));
    assert_eq!((live.in_flight(), live.room()), (0, Room::Now));
}
