//! The policy under a paused clock, with attempts that do as their port says.

mod probing;

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::limit::{Limit, MemberLimits};
use proxywhirl_core::pool::Admission;
use proxywhirl_core::select::Stick;
use proxywhirl_core::{Kind, Outcome, Side, Stage, Timestamp};
use proxywhirl_engine::{EngineConfig, LimitsConfig, Parts};
use tokio::time::sleep;

use super::race::Turn;
use super::running::Running;
use super::*;
use crate::config::RetryConfig;

impl Evidence for u16 {}

/// What an attempt does, and when.
#[derive(Debug, Clone, Copy)]
enum Act {
    Answer(u64),
    Fail(u64, Side, Stage, Kind),
    Never,
}

/// Does as it says, at the member with this port.
async fn act(act: Act, port: u16) -> Result<u16, Fault> {
    match act {
        Act::Answer(after) => {
            sleep(Duration::from_millis(after)).await;
            Ok(port)
        }
        Act::Fail(after, side, stage, kind) => {
            sleep(Duration::from_millis(after)).await;
            Err(Fault::new(side, stage, kind, ""))
        }
        Act::Never => pending().await,
    }
}

/// What came of a run over members that act in this order.
struct Ran {
    result: Result<(u16, Duration), Kind>,
    /// Which members were asked, and after how many milliseconds.
    asked: Vec<(u16, u64)>,
    /// Failures that were counted, by member.
    failures: Vec<u64>,
    in_flight: u32,
    took: u64,
}

const PATIENCE: u64 = 1_000;
const DEADLINE: u64 = 60_000;

/// A member with this port joins.
async fn join(engine: &Engine, port: usize) {
    let endpoint: Endpoint = format!("http://127.0.0.1:{port}").parse().unwrap();
    engine.admit(vec![Admission::Vouched(Box::new(endpoint.into()))]).await;
}

/// An engine whose members have the ports from 1.
async fn engine_of(members: usize, limits: LimitsConfig) -> Arc<Engine> {
    let engine = Engine::start(EngineConfig::default(), Parts { limits, ..Parts::default() }).unwrap();
    for port in 1..=members {
        join(&engine, port).await;
    }
    engine
}

/// Runs one request: the member with port 1 acts as the first says, and so on. Without a strategy, members are picked in
/// the order in which they joined.
async fn run(repeat: Repeat, acts: &[Act]) -> Ran {
    run_within(&RetryBudget::new(RetryConfig::default()), repeat, acts).await
}

async fn run_within(budget: &RetryBudget, repeat: Repeat, acts: &[Act]) -> Ran {
    let engine = engine_of(acts.len(), LimitsConfig::default()).await;
    let config = GatewayConfig {
        connect_timeout: Duration::from_millis(PATIENCE),
        request_deadline: Duration::from_millis(DEADLINE),
        ..GatewayConfig::default()
    };
    let began = Instant::now();
    let asked = Mutex::new(Vec::new());
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine: &engine, config: &config, budget, hedging: &hedging, escalation: None };
    let mut failover = Failover::new(means, begins(1, Leaving::never()), "origin.test:80", Wanted::default());
    let result = failover
        .run(repeat, |upstream| {
            let (asked, endpoint) = (&asked, upstream.endpoint);
            async move {
                asked.lock().unwrap().push((endpoint.port, millis(began.elapsed())));
                act(acts[usize::from(endpoint.port) - 1], endpoint.port).await
            }
        })
        .await;
    let took = millis(began.elapsed());
    let result = match result {
        Ok(Won { trial, latency, answer }) => {
            failover.settle(trial, &Outcome::Success { latency });
            Ok((answer, latency))
        }
        Err(fault) => Err(fault.kind),
    };
    let snapshot = engine.snapshot();
    let failures = snapshot.iter().map(|member| member.live.statistics().failures).collect();
    let in_flight = snapshot.iter().map(|member| member.live.in_flight()).sum();
    engine.stop().await.unwrap();
    Ran { result, asked: asked.into_inner().unwrap(), failures, in_flight, took }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}

const REFUSED: Act = Act::Fail(10, Side::Upstream, Stage::Connect, Kind::Refused);
const DENIED: Act = Act::Fail(10, Side::Upstream, Stage::Handshake, Kind::Denied);
const CLOSED: Act = Act::Fail(10, Side::Upstream, Stage::FirstByte, Kind::Closed);

fn ports(ran: &Ran) -> Vec<u16> {
    ran.asked.iter().map(|(port, _)| *port).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dial_fault_leads_to_the_next_at_once_and_is_paid() {
    let ran = run(Repeat::Unseen, &[REFUSED, REFUSED, Act::Answer(5)]).await;
    assert_eq!(ran.asked, [(1, 0), (2, 10), (3, 20)]);
    assert_eq!(ran.result.unwrap(), (3, Duration::from_millis(5)));
    assert_eq!((ran.failures, ran.in_flight), (vec![1, 1, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_origin_may_have_seen_is_sent_again_only_when_it_may_be() {
    let ran = run(Repeat::Unseen, &[CLOSED, Act::Answer(5)]).await;
    assert_eq!((ports(&ran), ran.result, ran.failures), (vec![1], Err(Kind::Closed), vec![0, 0]));
    for repeat in [Repeat::AfterFault, Repeat::Overtake] {
        let ran = run(repeat, &[CLOSED, Act::Answer(5)]).await;
        assert_eq!((ports(&ran), ran.failures), (vec![1, 2], vec![1, 0]), "{repeat:?}");
        assert!(ran.result.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_paid_only_when_another_one_did_not_refuse() {
    assert_eq!(run(Repeat::Unseen, &[DENIED, Act::Answer(5)]).await.failures, [1, 0]);
    let ran = run(Repeat::Unseen, &[DENIED, DENIED]).await;
    assert_eq!((ran.result, ran.failures, ran.in_flight), (Err(Kind::Denied), vec![0, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn the_fault_that_went_furthest_is_the_one_that_is_told() {
    assert_eq!(run(Repeat::Unseen, &[DENIED, REFUSED]).await.result, Err(Kind::Denied));
    assert_eq!(run(Repeat::Unseen, &[REFUSED, DENIED, REFUSED]).await.result, Err(Kind::Denied));
    assert_eq!(run(Repeat::Unseen, &[]).await.result, Err(Kind::Exhausted));
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_attempts_than_the_limit() {
    assert_eq!(ports(&run(Repeat::Unseen, &[REFUSED; 8]).await), [1, 2, 3, 4, 5]);
    assert_eq!(ports(&run(Repeat::Overtake, &[Act::Never; 8]).await), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn our_own_fault_ends_the_request_unless_it_is_on_the_way_to_one_of_them() {
    let ours = |stage| Act::Fail(10, Side::Ours, stage, Kind::Exhausted);
    assert_eq!(ports(&run(Repeat::Overtake, &[ours(Stage::Request), Act::Answer(5)]).await), [1]);
    // No port of ours is left towards the first one.
    let ran = run(Repeat::Unseen, &[ours(Stage::Connect), Act::Answer(5)]).await;
    assert_eq!((ports(&ran), ran.failures), (vec![1, 2], vec![0, 0]));
}

#[tokio::test(start_paused = true)]
async fn of_several_who_deny_a_site_those_pay_who_serve_nobody_else() {
    let engine = engine_of(3, LimitsConfig::default()).await;
    let config = GatewayConfig::default();
    let (budget, hedging) = (RetryBudget::new(RetryConfig::default()), Hedging::new(config.hedge));
    let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    // The members with the ports 1 and 2 deny what the third one serves.
    let ask = async |request, denies: &'static [u16]| {
        let mut failover = Failover::new(means, begins(request, Leaving::never()), "origin.test:80", Wanted::default());
        let attempt = |upstream: Upstream| async move {
            let port = upstream.endpoint.port;
            let denied = || Fault::new(Side::Upstream, Stage::Handshake, Kind::Denied, "");
            if denies.contains(&port) { Err(denied()) } else { Ok(port) }
        };
        let Won { trial, latency, .. } = failover.run(Repeat::Dial, attempt).await.unwrap();
        failover.settle(trial, &Outcome::Success { latency });
    };
    let failures = || engine.snapshot().iter().map(|member| member.live.statistics().failures).collect::<Vec<_>>();
    ask(1, &[]).await;
    // It begins with the second one, which is alone in what it says.
    ask(2, &[1, 2]).await;
    assert_eq!(failures(), [0, 1, 0]);
    // It begins with the first one, which has served another one before.
    ask(3, &[1, 2]).await;
    assert_eq!(failures(), [0, 2, 0]);
    engine.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_one_is_overtaken_and_pays_when_the_next_is_quick() {
    let ran = run(Repeat::Overtake, &[Act::Never, Act::Answer(5)]).await;
    assert_eq!(ran.asked, [(1, 0), (2, PATIENCE)]);
    assert_eq!((ran.took, ran.failures, ran.in_flight), (PATIENCE + 5, vec![1, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn the_one_that_was_overtaken_may_still_win_and_nobody_pays() {
    let ran = run(Repeat::Overtake, &[Act::Answer(PATIENCE + 500), Act::Answer(5_000)]).await;
    assert_eq!(ran.result.unwrap(), (1, Duration::from_millis(PATIENCE + 500)));
    assert_eq!((ran.failures, ran.in_flight), (vec![0, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_origin_is_the_fault_of_nobody() {
    // The second took more than half of the time that the first had: both wait for the same origin.
    let ran = run(Repeat::Overtake, &[Act::Never, Act::Answer(PATIENCE + 100)]).await;
    assert_eq!((ran.result.unwrap().0, ran.failures), (2, vec![0, 0]));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_stays_and_the_younger_gives_way() {
    // Three are silent for longer than the patience; the first answers at last, before the fourth.
    let slow = Act::Answer(PATIENCE * 3 + 100);
    let ran = run(Repeat::Overtake, &[slow, slow, slow, Act::Answer(5_000)]).await;
    assert_eq!(ran.asked, [(1, 0), (2, PATIENCE), (3, PATIENCE * 2), (4, PATIENCE * 3)]);
    assert_eq!(ran.result.unwrap().0, 1);
    assert_eq!((ran.failures, ran.in_flight), (vec![0; 4], 0));
}

#[tokio::test(start_paused = true)]
async fn a_fault_behind_an_overtaken_one_starts_the_next_at_once() {
    let ran = run(Repeat::Overtake, &[Act::Never, REFUSED, Act::Answer(5)]).await;
    assert_eq!(ran.asked, [(1, 0), (2, PATIENCE), (3, PATIENCE + 10)]);
    assert_eq!(ran.failures, [1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn the_overtaken_one_is_waited_for_when_the_others_failed() {
    let ran = run(Repeat::Overtake, &[Act::Answer(20_000), REFUSED, CLOSED]).await;
    assert_eq!((ran.took, ran.result.unwrap().0), (20_000, 1));
    assert_eq!(ran.failures, [0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn beside_one_that_is_silent_whoever_comes_back_is_asked() {
    const ACTS: [Act; 3] = [Act::Never, REFUSED, Act::Answer(5)];
    for is_open in [false, true] {
        let engine = engine_of(1, LimitsConfig::default()).await;
        let config = GatewayConfig { connect_timeout: Duration::from_millis(PATIENCE), ..GatewayConfig::default() };
        let (budget, hedging) = (RetryBudget::new(RetryConfig::default()), Hedging::new(config.hedge));
        let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
        let mut failover = Failover::new(means, begins(1, Leaving::never()), "origin.test:443", Wanted::default());
        let attempt = |upstream: Upstream| act(ACTS[usize::from(upstream.endpoint.port) - 1], upstream.endpoint.port);
        let answered = async {
            if !is_open {
                return failover.run(Repeat::Overtake, attempt).await;
            }
            // As a tunnel that is open and silent: when that is found out, there is nobody else.
            let trial = failover.begin(1, false, &attempt, Turn::Wait).await.and_then(Running::end).unwrap();
            let waiting = attempt(trial.upstream().clone());
            failover.go_on(Some((trial, waiting)), Duration::ZERO, attempt).await
        };
        let others = async {
            for port in [2, 3] {
                sleep(Duration::from_secs(10)).await;
                join(&engine, port).await;
            }
        };
        let (won, ()) = tokio::join!(answered, others);
        assert_eq!(won.map(|won| won.answer).unwrap(), 3, "{is_open}");
        engine.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_not_be_sent_twice_is_not_overtaken() {
    for repeat in [Repeat::Unseen, Repeat::AfterFault] {
        let ran = run(repeat, &[Act::Answer(20_000), Act::Answer(5)]).await;
        assert_eq!((ports(&ran), ran.took), (vec![1], 20_000), "{repeat:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_overtaken_goes_to_nobody_who_was_silent_elsewhere_a_moment_ago() {
    let engine = engine_of(3, LimitsConfig::default()).await;
    let (config, budget) = (GatewayConfig::default(), RetryBudget::new(RetryConfig::default()));
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    for request in 1..=15 {
        // The first ones find out who is dead.
        let is_first = request <= 3;
        let (repeat, target) =
            if is_first { (Repeat::Overtake, "known.test:80") } else { (Repeat::AfterFault, "new.test:80") };
        let mut failover = Failover::new(means, begins(request, Leaving::never()), target, Wanted::default());
        let run = failover.run(repeat, |Upstream { endpoint, .. }| async move {
            act(if endpoint.port == 2 { Act::Never } else { Act::Answer(50) }, endpoint.port).await
        });
        let Won { trial, latency, .. } = run.await.unwrap_or_else(|fault| panic!("{request}: {fault}"));
        failover.settle(trial, &Outcome::Success { latency });
    }
    assert_eq!(engine.snapshot().get(1).unwrap().live.statistics().failures, 1);
    engine.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_all_attempts_and_gives_their_leases_back() {
    let ran = run(Repeat::Overtake, &[Act::Never, Act::Never, DENIED]).await;
    assert_eq!((ran.result, ran.took), (Err(Kind::Timeout), DEADLINE));
    assert_eq!((ran.failures, ran.in_flight), (vec![0, 0, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn retries_that_are_not_answered_use_the_budget_up_and_first_attempts_do_not() {
    let budget = RetryBudget::new(RetryConfig { share: 0.0, minimum: 6, ..RetryConfig::default() });
    for _ in 0..20 {
        // The second is answered: it costs nothing.
        assert!(run_within(&budget, Repeat::Unseen, &[REFUSED, Act::Answer(5)]).await.result.is_ok());
    }
    for attempts in [5, 3, 1, 1] {
        let ran = run_within(&budget, Repeat::Unseen, &[REFUSED; 8]).await;
        assert_eq!((ran.asked.len(), ran.result), (attempts, Err(Kind::Refused)));
    }
    let ran = run_within(&budget, Repeat::Unseen, &[Act::Answer(5)]).await;
    assert!(ran.result.is_ok(), "a first attempt needs no budget");
}

#[tokio::test(start_paused = true)]
async fn a_retry_for_which_nobody_is_left_costs_nothing() {
    let budget = RetryBudget::new(RetryConfig { share: 0.0, minimum: 1, ..RetryConfig::default() });
    for _ in 0..3 {
        assert_eq!(ports(&run_within(&budget, Repeat::Unseen, &[REFUSED]).await), [1]);
    }
    assert!(run_within(&budget, Repeat::Unseen, &[REFUSED, Act::Answer(5)]).await.result.is_ok());
}

/// What is heard of a member that is asked whether a body may follow, which has this port.
struct Heard(u16, Verdict);

impl Evidence for Heard {
    fn verdict(&self) -> Verdict {
        self.1
    }
}

/// What came of a request whose body is held back.
struct Upload {
    /// Which members were asked, and after how many milliseconds.
    asked: Vec<(u16, u64)>,
    /// Who got the body, and after how many.
    got: Option<(u16, u64)>,
    failures: Vec<u64>,
    in_flight: u32,
}

/// Runs a request whose body is held back: its members act in this order, or are silent.
async fn upload(wanted: Wanted, acts: &[Option<Act>]) -> Upload {
    let engine = engine_of(acts.len(), LimitsConfig::default()).await;
    let (config, budget) = (GatewayConfig::default(), RetryBudget::new(RetryConfig::default()));
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    let began = Instant::now();
    let asked = Mutex::new(Vec::new());
    let mut failover = Failover::new(means, begins(1, Leaving::never()), "origin.test:80", wanted);
    let resort = failover.resort();
    let result = failover
        .run(Repeat::Head, |Upstream { endpoint, number, .. }| {
            let (asked, resort, port) = (&asked, &*resort, endpoint.port);
            async move {
                asked.lock().unwrap().push((port, millis(began.elapsed())));
                match acts[usize::from(port) - 1] {
                    Some(acts) => act(acts, port).await.map(|port| Heard(port, Verdict::Unheard)),
                    None => {
                        resort.comes_to(number).await;
                        Ok(Heard(port, Verdict::Silent))
                    }
                }
            }
        })
        .await;
    let got = result.ok().map(|Won { trial, latency, answer: Heard(port, _) }| {
        failover.judge(Some((&trial, latency)));
        (port, millis(began.elapsed()))
    });
    let snapshot = engine.snapshot();
    let failures = snapshot.iter().map(|member| member.live.statistics().failures).collect();
    let in_flight = snapshot.iter().map(|member| member.live.in_flight()).sum();
    engine.stop().await.unwrap();
    Upload { asked: asked.into_inner().unwrap(), got, failures, in_flight }
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_gets_no_body_as_long_as_there_are_others_to_ask() {
    let ran = upload(Wanted::default(), &[None, None, None, Some(Act::Answer(50)), None]).await;
    assert_eq!(ran.asked, [(1, 0), (2, 2_000), (3, 3_000), (4, 4_000)]);
    assert_eq!((ran.got, ran.in_flight), (Some((4, 4_050)), 0));
    assert_eq!(ran.failures, [1, 0, 0, 0, 0], "a second of silence says nothing");
    let ran = upload(Wanted::default(), &[None, Some(REFUSED), Some(Act::Answer(50))]).await;
    assert_eq!((ran.got, ran.asked.len()), (Some((3, 2_060)), 3));
}

#[tokio::test(start_paused = true)]
async fn where_all_are_silent_the_last_one_gets_the_body_and_nobody_pays() {
    let ran = upload(Wanted::default(), &[None; 6]).await;
    assert_eq!(ran.asked, [(1, 0), (2, 2_000), (3, 3_000), (4, 4_000), (5, 5_000)]);
    assert_eq!((ran.got, ran.failures, ran.in_flight), (Some((5, 6_000)), vec![0; 6], 0));
    // One that is not even reached leaves it to the other.
    let ran = upload(Wanted::default(), &[None, Some(Act::Never)]).await;
    assert_eq!((ran.got, ran.failures), (Some((1, 3_500)), vec![0, 0]));
    let ran = upload(Wanted::default(), &[None, Some(REFUSED)]).await;
    assert_eq!((ran.got, ran.failures), (Some((1, 2_010)), vec![0, 1]));
    // As soon as there are no attempts, or there is no time, for another one.
    let wanted = Wanted { attempts: Some(2), ..Wanted::default() };
    assert_eq!(upload(wanted, &[None; 3]).await.got, Some((2, 3_000)));
    let wanted = Wanted { deadline: Some(Duration::from_millis(1_500)), ..Wanted::default() };
    let ran = upload(wanted, &[None; 6]).await;
    assert_eq!((ran.asked.len(), ran.got), (2, Some((2, 1_000))));
}

/// A request that begins now.
fn begins(request: u64, leaving: &Leaving) -> (u64, Instant, &Leaving, &Alarms) {
    (request, Instant::now(), leaving, Alarms::of_tests())
}

#[tokio::test(start_paused = true)]
async fn where_there_are_limits_the_first_attempt_and_one_after_a_fault_wait_and_the_deadline_holds() {
    let others = Limit { concurrency: Some(1), rate: None };
    let members = MemberLimits { others, ..MemberLimits::default() };
    let wait = Duration::from_secs(10);
    let engine = engine_of(2, LimitsConfig { members, wait, ..LimitsConfig::default() }).await;
    let (config, budget) = (GatewayConfig::default(), RetryBudget::new(RetryConfig::default()));
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    let hold = |request| Failover::new(means, begins(request, Leaving::never()), "origin.test:80", Wanted::default());
    let (mut first, mut second) = (hold(1), hold(2));
    let answers = |upstream: Upstream| async move { Ok(upstream.endpoint.port) };
    let (one, two) = (first.run(Repeat::Unseen, answers).await, second.run(Repeat::Unseen, answers).await);
    let (one, two) = (one.unwrap_or_else(|_| panic!()), two.unwrap_or_else(|_| panic!()));
    assert_eq!((one.answer, two.answer), (1, 2));

    let mut waits = hold(3);
    let began = Instant::now();
    let release = async {
        sleep(Duration::from_secs(1)).await;
        drop(one.trial);
        sleep(Duration::from_secs(2)).await;
        drop(two.trial);
    };
    let fails_once = |Upstream { endpoint, .. }: Upstream| async move {
        if endpoint.port == 1 {
            Err(Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, ""))
        } else {
            Ok(endpoint.port)
        }
    };
    let (won, ()) = tokio::join!(waits.run(Repeat::Unseen, fails_once), release);
    let won = won.unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!((won.answer, waits.attempts(), began.elapsed().as_secs()), (2, 2, 3));

    let mut impatient = Failover::new(
        means,
        begins(4, Leaving::never()),
        "origin.test:80",
        Wanted { deadline: Some(wait / 2), ..Wanted::default() },
    );
    (impatient.attempts, impatient.tried) = (1, vec![engine.snapshot().get(0).unwrap().id]);
    let began = Instant::now();
    let fault = impatient.run(Repeat::Unseen, answers).await.map(|_| ()).unwrap_err();
    let told = (fault.kind, fault.consequence().status, fault.retry_after, began.elapsed());
    assert_eq!(told, (Kind::Limited, 503, Some(Duration::from_secs(1)), wait / 2));
    // One more whose client leaves while it waits.
    let leaving = Leaving::default();
    let mut left = Failover::new(means, begins(5, &leaving), "origin.test:80", Wanted::default());
    (left.attempts, left.tried) = (1, vec![engine.snapshot().get(0).unwrap().id]);
    let began = Instant::now();
    let leaves = async {
        sleep(Duration::from_secs(1)).await;
        leaving.leave();
    };
    let ((), result) = tokio::join!(biased; leaves, left.run(Repeat::Unseen, answers));
    let fault = result.map(|_| ()).unwrap_err();
    assert_eq!((fault.side, fault.kind, began.elapsed()), (Side::Client, Kind::Closed, Duration::from_secs(1)));
    drop(won.trial);
    // Nobody has had a turn that was its.
    let mut last = hold(6);
    assert!(last.run(Repeat::Unseen, answers).await.is_ok());
    engine.stop().await.unwrap();
}

/// Asks three members for 40 requests to so many sites; the second one acts as it is told, the others answer after 50 ms. How long
/// each took, and what the second one has come to: successes, and failures.
async fn strangers(repeat: Repeat, second: Act, sites: u64) -> (Vec<u64>, (u64, u64)) {
    let engine = engine_of(3, LimitsConfig::default()).await;
    let (config, budget) = (GatewayConfig::default(), RetryBudget::new(RetryConfig::default()));
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    let mut took = Vec::new();
    for request in 1..=40 {
        let began = Instant::now();
        let target = format!("origin{}.test:80", request % sites);
        let mut failover =
            Failover::new(means, (request, began, Leaving::never(), Alarms::of_tests()), &target, Wanted::default());
        let run = failover.run(repeat, |Upstream { endpoint, .. }| async move {
            act(if endpoint.port == 2 { second } else { Act::Answer(50) }, endpoint.port).await
        });
        let Won { trial, latency, .. } = run.await.unwrap_or_else(|fault| panic!("{fault}"));
        failover.settle(trial, &Outcome::Success { latency });
        took.push(millis(began.elapsed()));
    }
    let statistics = engine.snapshot().get(1).unwrap().live.statistics();
    engine.stop().await.unwrap();
    (took, (statistics.successes, statistics.failures))
}

#[tokio::test(start_paused = true)]
async fn a_silent_stranger_is_overtaken_as_soon_as_others_are_known_to_be_far_faster() {
    // A dial has a limit of its own.
    let dead = Act::Fail(5_000, Side::Upstream, Stage::Handshake, Kind::Timeout);
    for (repeat, silent) in [(Repeat::Dial, dead), (Repeat::Overtake, Act::Never)] {
        // One that is passed over at its one site from then on, and one that is asked until its own breaker opens.
        for (sites, long, failed) in [(1, 0, 3), (40, 1, 5)] {
            let (took, (successes, failures)) = strangers(repeat, silent, sites).await;
            assert_eq!(took.iter().filter(|took| **took > 1_500).count(), long, "{repeat:?}: {took:?}");
            assert_eq!((successes, failures), (0, failed), "{repeat:?}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_says_nothing_to_a_head_is_overtaken_and_gets_no_other_one_for_now() {
    for sites in [1, 40] {
        let (took, (successes, failures)) = strangers(Repeat::Head, Act::Never, sites).await;
        let long: Vec<u64> = took.iter().copied().filter(|took| *took != 50).collect();
        assert_eq!(long, [2_050], "{took:?}");
        assert_eq!((successes, failures), (0, 1), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_is_only_slow_shows_it_the_fourth_time_and_is_waited_for_from_then_on() {
    for repeat in [Repeat::Dial, Repeat::Overtake] {
        let (took, (successes, failures)) = strangers(repeat, Act::Answer(4_000), 40).await;
        assert!(successes > 5, "{repeat:?}: {took:?}");
        assert_eq!(failures, 3, "{repeat:?}: {took:?}");
    }
}

/// How long requests take over members that act so, and who was asked when, where they begin at once. Of the silent ones, each has failed
/// three times.
async fn at_once<const N: usize>(acts: &[Act], requests: [u64; N]) -> (Vec<u64>, Vec<(u16, u64)>) {
    let engine = engine_of(acts.len(), LimitsConfig::default()).await;
    let (config, budget) = (GatewayConfig::default(), RetryBudget::new(RetryConfig::default()));
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    let (failed, breaker) = (Outcome::Failure(silence(Duration::ZERO)), BreakerConfig::default());
    for (member, _) in engine.snapshot().iter().zip(acts).filter(|(_, acts)| matches!(acts, Act::Never)) {
        for _ in 0..3 {
            member.live.record(&failed, Timestamp::default(), &breaker, Timestamp::default());
        }
    }
    let (began, asked, took) = (Instant::now(), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let (asks, takes) = (&asked, &took);
    let ask = |request: u64| async move {
        let target = format!("origin{request}.test:80");
        let mut failover = Failover::new(means, begins(request, Leaving::never()), &target, Wanted::default());
        let run = failover.run(Repeat::Overtake, |Upstream { endpoint, .. }| {
            asks.lock().unwrap().push((endpoint.port, millis(began.elapsed())));
            act(acts[usize::from(endpoint.port) - 1], endpoint.port)
        });
        let Won { trial, latency, .. } = run.await.unwrap_or_else(|fault| panic!("{fault}"));
        failover.settle(trial, &Outcome::Success { latency });
        takes.lock().unwrap().push(millis(began.elapsed()));
    };
    let mut all = Vec::from(requests.map(|request| Box::pin(ask(request))));
    poll_fn(|context| {
        all.retain_mut(|asking| asking.as_mut().poll(context).is_pending());
        if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    drop(all);
    engine.stop().await.unwrap();
    (took.into_inner().unwrap(), asked.into_inner().unwrap())
}

#[tokio::test(start_paused = true)]
async fn one_request_at_a_time_waits_longer_for_a_stranger_and_for_one_stranger() {
    let (took, _) = at_once(&[Act::Answer(50), Act::Never], [1, 2, 3, 4, 5, 6]).await;
    assert_eq!(took, [50, 50, 50, 2_050, 2_050, 5_050]);
    let (took, asked) = at_once(&[Act::Never, Act::Never, Act::Answer(50)], [1]).await;
    assert_eq!((took, asked), (vec![7_050], vec![(1, 0), (2, 5_000), (3, 7_000)]));
}

#[tokio::test(start_paused = true)]
async fn a_session_leaves_who_fails_it_before_anybody_was_served_and_stays_with_who_served_it() {
    let engine = engine_of(3, LimitsConfig::default()).await;
    let (config, budget) = (GatewayConfig::default(), RetryBudget::new(RetryConfig::default()));
    let hedging = Hedging::new(config.hedge);
    let means = Means { engine: &engine, config: &config, budget: &budget, hedging: &hedging, escalation: None };
    for strict in [None, Some(true)] {
        let session = Some(7 + u64::from(strict.is_some()));
        let wanted = Wanted { session, stick: Stick { strict, ..Stick::default() }, ..Wanted::default() };
        let mut asked = Vec::new();
        // One after the other; in the third request, who has served it is silent.
        for acts in [Act::Never, Act::Answer(5), Act::Never, Act::Answer(5)] {
            let mut failover = Failover::new(means, begins(1, Leaving::never()), "origin.test:80", wanted.clone());
            let port = Mutex::new(0);
            let ran = failover
                .run(Repeat::AfterFault, |Upstream { endpoint, .. }| {
                    *port.lock().unwrap() = endpoint.port;
                    act(acts, endpoint.port)
                })
                .await;
            if let Ok(Won { trial, latency, .. }) = ran {
                failover.settle(trial, &Outcome::Success { latency });
            }
            asked.push(*port.lock().unwrap());
        }
        assert_ne!(asked[0], asked[1], "{strict:?}: {asked:?}");
        assert_eq!(asked[1..], [asked[1]; 3], "{strict:?}: {asked:?}");
    }
    engine.stop().await.unwrap();
}
