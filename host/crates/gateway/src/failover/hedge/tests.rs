//! Hedging over a thousand requests under a paused clock, with latencies from a seed.

use std::sync::atomic::{AtomicU64, Ordering};

use proxywhirl_core::Outcome;
use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::member::mix;
use proxywhirl_core::pool::Admission;
use proxywhirl_engine::{Engine, EngineConfig, Parts};
use tokio::time::sleep;

use super::*;
use crate::alarms::Alarms;
use crate::config::{GatewayConfig, RetryConfig};
use crate::failover::{Evidence, Leaving, Means, Won};
use crate::wanted::Wanted;

const REQUESTS: u64 = 4_000;

/// What came of many requests.
struct Ran {
    /// Milliseconds, the shortest first.
    took: Vec<u64>,
    attempts: u64,
    failures: u64,
    successes: u64,
    in_flight: u32,
}

impl Ran {
    fn percentile(&self, of_thousand: usize) -> u64 {
        self.took[self.took.len() * of_thousand / 1_000]
    }
}

/// Milliseconds that a member takes for its nth use: 20 to 30, and one use of ten of the first member a second.
fn latency(port: u16, use_: u64, seed: u64) -> u64 {
    let chance = mix(seed ^ mix(use_ << 16 | u64::from(port)));
    if port == 1 && chance.is_multiple_of(10) { 1_000 } else { 20 + (chance >> 32) % 10 }
}

/// Runs requests one after the other over four members.
async fn run(seed: u64, config: HedgeConfig, wanted: Wanted, latency: impl Fn(u16, u64, u64) -> u64) -> Ran {
    let engine = Engine::start(EngineConfig { seed, ..EngineConfig::default() }, Parts::default()).unwrap();
    for port in 1..=4 {
        let endpoint: Endpoint = format!("http://127.0.0.1:{port}").parse().unwrap();
        engine.admit(vec![Admission::Vouched(Box::new(endpoint.into()))]).await;
    }
    let (gateway, hedging) = (GatewayConfig::default(), Hedging::new(config));
    let budget = RetryBudget::new(gateway.retry);
    let means = Means { engine: &engine, config: &gateway, budget: &budget, hedging: &hedging, escalation: None };
    let (uses, mut took, mut attempts) = (AtomicU64::new(0), Vec::new(), 0);
    for request in 1..=REQUESTS {
        let began = Instant::now();
        let mut failover = Failover::new(
            means,
            (request, Instant::now(), Leaving::never(), Alarms::of_tests()),
            "origin.test:443",
            wanted.clone(),
        );
        let won = failover
            .run(Repeat::Dial, |Upstream { endpoint, .. }| {
                let wait = latency(endpoint.port, uses.fetch_add(1, Ordering::Relaxed), seed);
                async move {
                    sleep(Duration::from_millis(wait)).await;
                    Ok(endpoint.port)
                }
            })
            .await;
        let Won { trial, latency, .. } = won.unwrap();
        failover.settle(trial, &Outcome::Success { latency });
        took.push(u64::try_from(began.elapsed().as_millis()).unwrap());
        attempts += u64::try_from(failover.attempts()).unwrap();
    }
    took.sort_unstable();
    let snapshot = engine.snapshot();
    let sum = |count: fn(&Member) -> u64| snapshot.iter().map(|member| count(member)).sum();
    let (failures, successes) = (sum(|it| it.live.statistics().failures), sum(|it| it.live.statistics().successes));
    let in_flight = snapshot.iter().map(|member| member.live.in_flight()).sum();
    engine.stop().await.unwrap();
    Ran { took, attempts, failures, successes, in_flight }
}

fn hedging(always: bool, share: f32) -> HedgeConfig {
    HedgeConfig { always, budget: RetryConfig { share, minimum: 10, window: Duration::from_secs(10) } }
}

#[tokio::test(start_paused = true)]
async fn the_slow_ones_of_one_member_are_not_felt_and_nobody_pays() {
    for seed in 1..=5 {
        let without = run(seed, hedging(false, 0.1), Wanted::default(), latency).await;
        assert_eq!((without.percentile(990), without.attempts), (1_000, REQUESTS), "{seed}");
        let with = run(seed, hedging(true, 0.1), Wanted::default(), latency).await;
        assert!(with.percentile(990) < 120, "{seed}: {}", with.percentile(990));
        assert!(with.percentile(500) <= without.percentile(500), "{seed}");
        let extra = with.attempts - REQUESTS;
        assert!((REQUESTS / 50..=REQUESTS / 10 + 10).contains(&extra), "{seed}: {extra} extra dials");
        assert_eq!((with.failures, with.successes, with.in_flight), (0, REQUESTS, 0), "{seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_becomes_slow_for_good_is_waited_for_no_longer_than_before() {
    let slow = |port, use_, _| if port == 1 && use_ > 400 { 1_500 } else { 20 + use_ % 10 };
    for seed in 1..=5 {
        let ran = run(seed, hedging(true, 1.0), Wanted::default(), slow).await;
        // Each fourth request is its own.
        assert!(ran.percentile(999) < 120, "{seed}: {} of {:?}", ran.percentile(999), &ran.took[ran.took.len() - 20..]);
        assert!(ran.attempts - REQUESTS > REQUESTS / 5, "{seed}: {} hedges", ran.attempts - REQUESTS);
    }
}

#[tokio::test(start_paused = true)]
async fn when_everybody_becomes_slow_the_budget_holds() {
    // From the two thousandth use on, everything takes a second.
    let slow = |port, use_, seed| if use_ > 2_000 { 1_000 } else { latency(port, use_, seed) };
    let ran = run(1, hedging(true, 0.05), Wanted::default(), slow).await;
    let extra = ran.attempts - REQUESTS;
    assert!(extra <= REQUESTS / 20 + 200, "{extra} extra dials");
    assert_eq!((ran.failures, ran.in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_says_itself_whether_it_is_hedged_and_one_of_a_session_never_is() {
    let wanted = |hedge| Wanted { hedge: Some(hedge), ..Wanted::default() };
    assert_eq!(run(1, hedging(true, 0.1), wanted(false), latency).await.attempts, REQUESTS);
    assert!(run(1, hedging(false, 0.1), wanted(true), latency).await.percentile(990) < 120);
    let session = Wanted { session: Some(7), ..wanted(true) };
    assert_eq!(run(1, hedging(true, 0.1), session, latency).await.attempts, REQUESTS);
}

/// An answer that was held back for so long.
struct Held(Duration);

impl Evidence for Held {
    fn held(&self) -> Duration {
        self.0
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_answered_is_slow_no_more_while_the_answer_is_held_back() {
    let engine = Engine::start(EngineConfig::default(), Parts::default()).unwrap();
    for port in 1..=2 {
        let endpoint: Endpoint = format!("http://127.0.0.1:{port}").parse().unwrap();
        engine.admit(vec![Admission::Vouched(Box::new(endpoint.into()))]).await;
    }
    let (gateway, hedging, alarms) = (GatewayConfig::default(), Hedging::new(hedging(true, 1.0)), Alarms::of_tests());
    let budget = RetryBudget::new(gateway.retry);
    let means = Means { engine: &engine, config: &gateway, budget: &budget, hedging: &hedging, escalation: None };
    for (request, held) in (1..=60).map(|request| (request, if request > 50 { 900 } else { 0 })) {
        let begins = (request, Instant::now(), Leaving::never(), alarms);
        let mut failover = Failover::new(means, begins, "origin.test:80", Wanted::default());
        let won = failover
            .run(Repeat::Overtake, |_: Upstream| async move {
                // Those that are held begin sooner than nearly all others.
                sleep(Duration::from_millis(if held > 0 { 10 } else { 40 })).await;
                let _holding = alarms.hold();
                sleep(Duration::from_millis(held)).await;
                Ok(Held(Duration::from_millis(held)))
            })
            .await;
        let Won { trial, latency, .. } = won.unwrap();
        failover.settle(trial, &Outcome::Success { latency });
        assert!(held == 0 || failover.attempts() == 1, "{request}");
        assert!(latency < Duration::from_millis(50), "{request}: {latency:?}");
    }
    let nearly_all = hedging.all(Until::Answer).get().unwrap();
    assert!(nearly_all < Duration::from_millis(60), "{nearly_all:?}");
    engine.stop().await.unwrap();
}
