//! Requests for which all that is left is out of use: whom they probe, and when.

use proxywhirl_core::event::Topic;

use super::*;

/// An engine whose members have the ports from 1, all of them out of use for now.
async fn out_of_use(members: usize) -> Arc<Engine> {
    let engine = engine_of(members, LimitsConfig::default()).await;
    let (failed, breaker) = (Outcome::Failure(silence(Duration::ZERO)), BreakerConfig::default());
    for member in engine.snapshot().iter() {
        for _ in 0..breaker.failures {
            member.live.record(&failed, engine.now(), &breaker, engine.now());
        }
        assert!(!member.live.is_admissible(engine.now()));
    }
    engine
}

/// Who is asked, and after how many milliseconds, where all refuse but those from this port on. Another one joins after a while.
async fn probed(engine: &Engine, good: u16, joins: Option<(usize, u64)>) -> Vec<(u16, u64)> {
    let (config, budget) = (GatewayConfig::default(), RetryBudget::new(RetryConfig::default()));
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    let mut failover = Failover::new(means, begins(1, Leaving::never()), "origin.test:80", Wanted::default());
    let (began, asked) = (Instant::now(), Mutex::new(Vec::new()));
    let answered = failover.run(Repeat::Overtake, |Upstream { endpoint, .. }| {
        asked.lock().unwrap().push((endpoint.port, millis(began.elapsed())));
        act(if endpoint.port >= good { Act::Answer(5) } else { REFUSED }, endpoint.port)
    });
    let joins = async {
        if let Some((port, after)) = joins {
            sleep(Duration::from_millis(after)).await;
            join(engine, port).await;
        }
    };
    let (ran, ()) = tokio::join!(answered, joins);
    if let Ok(Won { trial, latency, .. }) = ran {
        failover.settle(trial, &Outcome::Success { latency });
    }
    asked.into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn where_all_that_is_left_is_out_of_use_a_request_probes_at_intervals() {
    let engine = out_of_use(6).await;
    assert_eq!(probed(&engine, 9, None).await, [(1, 0), (2, 110), (3, 320), (4, 730), (5, 1_540)]);
    engine.stop().await.unwrap();
    let engine = out_of_use(6).await;
    assert_eq!(probed(&engine, 7, Some((7, 50))).await, [(1, 0), (7, 110)], "who is in use comes before them");
    engine.stop().await.unwrap();
    // Where there is nobody left to probe, nothing is waited for, and that nobody is left is told once.
    let engine = out_of_use(1).await;
    let mut told = engine.subscribe(&[Topic::PoolEmpty], 10);
    let began = Instant::now();
    assert_eq!(probed(&engine, 9, None).await, [(1, 0)]);
    assert_eq!(millis(began.elapsed()), 10);
    engine.bus().close();
    assert!(told.next().await.is_some() && told.next().await.is_none());
    engine.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_while_all_are_probed_are_probes_as_well() {
    let engine = out_of_use(2).await;
    let (config, budget) = (GatewayConfig::default(), RetryBudget::new(RetryConfig::default()));
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    let failover = Failover::new(means, begins(1, Leaving::never()), "origin.test:80", Wanted::default());
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(engine.acquire_in_turn(&failover.describe(1), failover.deadline()).await.unwrap());
    }
    assert_eq!(engine.snapshot().iter().map(|member| member.live.in_flight()).collect::<Vec<_>>(), [3, 3]);
    assert!(engine.acquire_in_use(&failover.describe(1), failover.deadline()).await.unwrap().is_none());
    drop(leases);
    engine.stop().await.unwrap();
}
