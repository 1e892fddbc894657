//! Limits that several gateways share: two engines over buckets that both take from.

use std::collections::HashMap;

use proxywhirl_core::limit::{Bucket, Limit, MemberLimits, Rate};
use proxywhirl_core::shared::{BucketOf, Buckets, Granted, Token};
use proxywhirl_store::StoreUrl;
use proxywhirl_tests::RedisServer;
use tokio::time::Instant;

use super::*;
use crate::limits::SiteLimits;

/// Buckets as a server keeps them, that can be away.
#[derive(Default, Clone)]
struct Shelf(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    buckets: HashMap<BucketOf, Bucket>,
    is_away: bool,
    is_broken: bool,
    asked: usize,
    /// Whether it keeps everybody waiting.
    is_held: bool,
    /// How many it refuses, whatever is left.
    refusals: usize,
}

impl Buckets for Shelf {
    fn take(&mut self, uses: &[Vec<Token>]) -> Result<Vec<Granted>, StoreError> {
        while self.0.lock().unwrap().is_held {
            std::thread::yield_now();
        }
        let is_broken = self.0.lock().unwrap().is_broken;
        assert!(!is_broken, "it is broken");
        let mut state = self.0.lock().unwrap();
        if state.is_away {
            return Err(StoreError { place: "the shelf".to_owned(), reason: "is away".to_owned() });
        }
        state.asked += uses.len();
        let now = crate::Clock::default().now();
        Ok(uses.iter().map(|tokens| state.take(tokens, now)).collect())
    }
}

impl State {
    fn take(&mut self, tokens: &[Token], now: Timestamp) -> Granted {
        if self.refusals > 0 {
            self.refusals -= 1;
            return Granted { is_granted: false, full: vec![Duration::from_millis(50); tokens.len()] };
        }
        let mut each: Vec<&Token> = tokens.iter().collect();
        let due = |state: &mut Self, token: &Token| state.buckets.entry(token.of.clone()).or_default().due(&token.rate);
        let is_granted = each.iter().all(|token| due(self, token) <= now);
        let full = each.iter_mut().map(|token| {
            if is_granted {
                self.buckets.entry(token.of.clone()).or_default().take(&token.rate, now);
            }
            let bucket = self.buckets.entry(token.of.clone()).or_default();
            // A rate without anything saved up has its next token when it is full.
            bucket.due(&Rate::new(token.rate.per_second(), 1)).since(now)
        });
        let full = full.collect();
        Granted { is_granted, full }
    }
}

const SPAN: Duration = Duration::from_secs(60);

fn rate(per_second: f64, burst: u32) -> Limit {
    Limit { concurrency: None, rate: Some(Rate::new(per_second, burst)) }
}

fn of_members(others: Limit) -> LimitsConfig {
    LimitsConfig { members: MemberLimits { others, ..MemberLimits::default() }, wait: SPAN, ..LimitsConfig::default() }
}

/// An engine with so many members, over a shelf of which it knows whether somebody is there.
async fn over(shelf: &Shelf, limits: &LimitsConfig, members: u8) -> Arc<Engine> {
    let buckets: Option<Box<dyn Buckets>> = Some(Box::new(shelf.clone()));
    let parts = Parts { limits: limits.clone(), buckets, ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    engine.admit((0..members).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    engine
}

async fn ask(engine: &Engine, request: u64) -> Result<Lease, NoLease> {
    engine.acquire_in_turn(&Attempt { request, ..attempt(&[]) }, Instant::now() + SPAN).await
}

#[tokio::test]
async fn a_rate_holds_over_all_who_share_it_wherever_the_demand_is() {
    let shelf = Shelf::default();
    let site = LimitsConfig {
        sites: SiteLimits { others: rate(50.0, 5), ..SiteLimits::default() },
        wait: SPAN,
        ..LimitsConfig::default()
    };
    for limits in [of_members(rate(50.0, 5)), site] {
        shelf.0.lock().unwrap().buckets.clear();
        let engines = [over(&shelf, &limits, 1).await, over(&shelf, &limits, 1).await];
        let began = Instant::now();
        // First both, then one of them alone: fifty, of which five are there at the beginning.
        let waits = (0..50).map(|request| {
            let engine = Arc::clone(&engines[if request < 20 { request as usize % 2 } else { 1 }]);
            tokio::spawn(async move { drop(ask(&engine, request).await.unwrap()) })
        });
        for waits in waits.collect::<Vec<_>>() {
            waits.await.unwrap();
        }
        let took = began.elapsed().as_secs_f64();
        assert!((0.89..1.5).contains(&took), "{took} s");
    }
}

#[tokio::test]
async fn whom_others_have_used_up_is_passed_over() {
    let (shelf, limits) = (Shelf::default(), of_members(rate(0.01, 1)));
    let (one, other) = (over(&shelf, &limits, 3).await, over(&shelf, &limits, 3).await);
    let first = ask(&one, 1).await.unwrap();
    let second = ask(&one, 2).await.unwrap();
    let third = ask(&other, 1).await.unwrap();
    let mut members: Vec<MemberId> = [&first, &second, &third].iter().map(|lease| lease.member().id).collect();
    members.sort_unstable();
    members.dedup();
    assert_eq!(members.len(), 3, "each is used once");
    assert!(other.acquire_granted_or_go_on(&attempt(&[])).await.is_err());
    let in_flight: u32 = other.snapshot().iter().map(|member| member.live.in_flight()).sum();
    assert_eq!(in_flight, 1, "who was refused holds nothing");
}

#[tokio::test]
async fn what_is_saved_up_is_there_for_several_at_once_after_an_answer_too() {
    let shelf = Shelf::default();
    let one = over(&shelf, &of_members(rate(0.01, 4)), 1).await;
    drop(ask(&one, 1).await.unwrap());
    shelf.0.lock().unwrap().is_held = true;
    let leases = (2..5).map(|request| {
        let one = Arc::clone(&one);
        tokio::spawn(async move { ask(&one, request).await })
    });
    let leases: Vec<_> = leases.collect();
    // Nobody stands in a line for a token of the far future.
    until(|| one.snapshot().iter().any(|member| member.live.in_flight() == 3)).await;
    shelf.0.lock().unwrap().is_held = false;
    for lease in leases {
        drop(lease.await.unwrap().unwrap());
    }
    assert!(one.acquire_granted_or_go_on(&attempt(&[])).await.is_err());
}

#[tokio::test]
async fn while_nobody_answers_each_has_its_own_and_says_so() {
    let (shelf, limits) = (Shelf::default(), of_members(rate(0.01, 2)));
    let (one, other) = (over(&shelf, &limits, 1).await, over(&shelf, &limits, 1).await);
    drop(ask(&one, 1).await.unwrap());
    shelf.0.lock().unwrap().is_away = true;
    // Asked, and not answered: what is here decides.
    drop(ask(&one, 2).await.unwrap());
    drop((ask(&other, 1).await.unwrap(), ask(&other, 2).await.unwrap()));
    assert!(one.acquire_granted_or_go_on(&attempt(&[])).await.is_err());
    assert_eq!(one.limits_trouble().map(|trouble| trouble.error), Some("the shelf: is away".to_owned()));
    shelf.0.lock().unwrap().is_away = false;
    until(|| one.limits_trouble().is_none()).await;
    assert!(one.shares_limits());
    one.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_stands_still_keeps_a_request_waiting_for_a_moment_alone() {
    let server = RedisServer::start([""; 0]);
    let buckets = server.url().parse::<StoreUrl>().unwrap().buckets();
    let parts = Parts { limits: of_members(rate(0.01, 9)), buckets, ..Parts::default() };
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    engine.admit(vec![Admission::Vouched(Box::new(candidate(0)))]).await;
    drop(ask(&engine, 1).await.unwrap());
    server.stand_still(true);
    let began = Instant::now();
    let lease = ask(&engine, 2).await;
    let took = began.elapsed();
    server.stand_still(false);
    assert!(lease.is_ok() && took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn nobody_is_asked_for_what_has_no_rate() {
    let shelf = Shelf::default();
    for limits in [of_members(Limit { concurrency: Some(5), rate: None }), LimitsConfig::default()] {
        let engine = over(&shelf, &limits, 1).await;
        drop((ask(&engine, 1).await.unwrap(), engine.acquire_granted_or_go_on(&attempt(&[])).await.unwrap()));
    }
    assert_eq!(shelf.0.lock().unwrap().asked, 0);
}

#[tokio::test]
async fn who_is_refused_by_others_stands_in_a_line_that_is_full_by_then() {
    let shelf = Shelf::default();
    let one = over(&shelf, &LimitsConfig { queue: 1, ..of_members(rate(0.5, 1)) }, 1).await;
    let asks = |request| {
        let one = Arc::clone(&one);
        tokio::spawn(async move { ask(&one, request).await.map(drop) })
    };
    {
        let mut state = shelf.0.lock().unwrap();
        (state.is_held, state.refusals) = (true, 1);
    }
    let first = asks(1);
    until(|| one.snapshot().iter().any(|member| member.live.in_flight() == 1)).await;
    let second = asks(2);
    until(|| one.room.line().len() == 1).await;
    shelf.0.lock().unwrap().is_held = false;
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

async fn until(holds: impl Fn() -> bool) {
    let waits = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap();
}

#[tokio::test]
async fn a_user_has_one_bucket_everywhere() {
    let shelf = Shelf::default();
    let none = LimitsConfig::default();
    let engines = [over(&shelf, &none, 1).await, over(&shelf, &none, 1).await];
    let (anna, rate): (Arc<str>, _) = ("anna".into(), Rate::new(0.5, 3));
    let mut granted = Vec::new();
    for request in 0..6 {
        granted.push(engines[request % 2].user_token(&anna, rate).await.unwrap());
    }
    assert!(granted[..3].iter().all(Result::is_ok), "{granted:?}");
    let waits = |said: &Result<(), Duration>| said.is_err_and(|wait| wait <= Duration::from_secs(2));
    assert!(granted[3..].iter().all(waits), "{granted:?}");
    assert_eq!(engines[0].user_token(&"bert".into(), rate).await, Some(Ok(())));
    shelf.0.lock().unwrap().is_away = true;
    assert_eq!(engines[0].user_token(&anna, rate).await, None, "nobody says so");
}

#[tokio::test]
async fn that_nobody_answers_is_known_though_nobody_asks() {
    let shelf = Shelf::default();
    let engine = over(&shelf, &of_members(rate(1.0, 1)), 1).await;
    drop(ask(&engine, 1).await.unwrap());
    shelf.0.lock().unwrap().is_away = true;
    until(|| engine.limits_trouble().is_some()).await;
    shelf.0.lock().unwrap().is_away = false;
    until(|| engine.limits_trouble().is_none()).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn when_asking_has_ended_for_good_each_has_its_own_and_says_so() {
    let shelf = Shelf::default();
    let engine = over(&shelf, &of_members(rate(0.01, 2)), 1).await;
    drop(ask(&engine, 1).await.unwrap());
    shelf.0.lock().unwrap().is_broken = true;
    // Asked, and not answered: what is here decides.
    drop(ask(&engine, 2).await.unwrap());
    until(|| engine.limits_trouble().is_some()).await;
    let told = engine.limits_trouble().unwrap().error;
    assert!(told.contains("has panicked"), "{told}");
    let began = Instant::now();
    assert!(engine.acquire_granted_or_go_on(&attempt(&[])).await.is_err());
    assert_eq!(engine.user_token(&"anna".into(), Rate::new(1.0, 1)).await, None);
    assert!(began.elapsed() < Duration::from_millis(200), "nobody waits for it");
    engine.stop().await.unwrap();
}
