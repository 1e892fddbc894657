//! Limits: who waits, in which order they are served, and who is sent away. Nobody looks without news here, so a test in
//! which news is lost does not end.

use std::sync::atomic::{AtomicU64, Ordering};

use proxywhirl_core::limit::{Limit, MemberLimits, Rate};
use tokio::time::{Instant, sleep, timeout};

use super::actor::Actor;
use super::*;
use crate::bans::Scope;
use crate::limits::{Limited, NoWait, Shed, SiteLimits};

const LONG: Duration = Duration::from_secs(60);

fn concurrency(most: u32) -> Limit {
    Limit { concurrency: Some(most), rate: None }
}

fn rate(per_second: f64, burst: u32) -> Limit {
    Limit { concurrency: None, rate: Some(Rate::new(per_second, burst)) }
}

fn of_members(others: Limit) -> LimitsConfig {
    LimitsConfig { members: MemberLimits { others, ..MemberLimits::default() }, wait: LONG, ..LimitsConfig::default() }
}

fn of_sites(others: Limit) -> LimitsConfig {
    LimitsConfig { sites: SiteLimits { others, ..SiteLimits::default() }, wait: LONG, ..LimitsConfig::default() }
}

async fn limited(limits: LimitsConfig, members: u8) -> Arc<Engine> {
    started(Parts { limits, ..Parts::default() }, members).await
}

/// The same where a strategy makes the plan, and each member serves one at a time.
async fn planned(actor: &Actor, members: u8) -> Arc<Engine> {
    let limits = of_members(concurrency(1));
    started(Parts { strategy: Some(actor.factory()), limits, ..Parts::default() }, members).await
}

async fn started(parts: Parts, members: u8) -> Arc<Engine> {
    let engine = Engine::start(EngineConfig::default(), parts).unwrap();
    engine.admit((0..members).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    engine
}

fn numbered(request: u64) -> Attempt<'static> {
    Attempt { request, ..attempt(&[]) }
}

async fn ask(engine: &Engine, request: u64) -> Result<Lease, NoLease> {
    engine.acquire_in_turn(&numbered(request), Instant::now() + LONG).await
}

fn waiting(engine: &Engine) -> usize {
    engine.room.line().len()
}

async fn until(holds: impl Fn() -> bool) {
    let waits = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), waits).await.unwrap();
}

fn shed(result: Result<Lease, NoLease>) -> Shed {
    match result {
        Err(NoLease::Shed(shed)) => shed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let engine = limited(of_members(concurrency(1)), 1).await;
    let first = ask(&engine, 1).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    // They stand in the line in another order than they came to the gateway.
    for request in [5, 3, 4, 2] {
        let (engine, order, before) = (Arc::clone(&engine), Arc::clone(&order), tasks.len());
        let waits = Arc::clone(&engine);
        tasks.push(tokio::spawn(async move {
            let lease = ask(&engine, request).await.unwrap();
            order.lock().unwrap().push(request);
            drop(lease);
        }));
        until(|| waiting(&waits) == before + 1).await;
    }
    assert!(matches!(engine.acquire(&numbered(9)), Err(NoLease::Nobody(Refusals { members: 1, limited: 1, .. }))));
    drop(first);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [2, 3, 4, 5]);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn who_leaves_the_line_takes_nobody_s_turn() {
    let engine = limited(of_members(concurrency(1)), 1).await;
    let first = ask(&engine, 1).await.unwrap();
    let mut tasks: Vec<_> = (2..5)
        .map(|request| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { ask(&engine, request).await.map(drop) })
        })
        .collect();
    until(|| waiting(&engine) == 3).await;
    let gone = tasks.remove(0);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(waiting(&engine), 2);
    drop(first);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_line_and_a_turn_that_is_too_late_send_away_at_once() {
    let full = limited(LimitsConfig { queue: 1, ..of_members(concurrency(1)) }, 2).await;
    let held = [ask(&full, 1).await.unwrap(), ask(&full, 2).await.unwrap()];
    let waits = tokio::spawn({
        let full = Arc::clone(&full);
        async move { ask(&full, 3).await.map(drop) }
    });
    until(|| waiting(&full) == 1).await;
    let sent_away = shed(ask(&full, 4).await);
    assert_eq!((sent_away.why, sent_away.retry_after), (NoWait::Full(1), Duration::from_secs(1)));
    let told = NoLease::Shed(sent_away).to_string();
    assert!(told.contains("2 at their limit") && told.ends_with("; 1 request waits already"), "{told}");
    drop(held);
    waits.await.unwrap().unwrap();
    full.stop().await.unwrap();

    let slow = limited(LimitsConfig { wait: Duration::from_secs(5), ..of_members(rate(0.1, 1)) }, 1).await;
    drop(ask(&slow, 1).await.unwrap());
    let sent_away = shed(ask(&slow, 2).await);
    assert!(matches!(sent_away.why, NoWait::Late(turn) if turn == sent_away.retry_after), "{sent_away:?}");
    assert!(sent_away.retry_after > Duration::from_secs(9), "{sent_away:?}");
    slow.stop().await.unwrap();
}

#[tokio::test]
async fn who_waits_in_vain_is_told_how_long() {
    let engine = limited(LimitsConfig { wait: Duration::from_millis(50), ..of_members(concurrency(1)) }, 1).await;
    let held = ask(&engine, 1).await.unwrap();
    let sent_away = shed(ask(&engine, 2).await);
    assert!(matches!(sent_away.why, NoWait::Waited(wait) if wait >= Duration::from_millis(50)), "{sent_away:?}");
    assert_eq!(waiting(&engine), 0);
    assert!(engine.request(2).unwrap().nobody.unwrap().contains("in vain"));
    drop(held);
    assert!(ask(&engine, 3).await.is_ok());
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_limit_of_some_lets_the_others_serve() {
    let mut paid = candidate(7);
    paid.tags.insert("paid".parse().unwrap());
    let tagged = vec![(vec!["paid".parse().unwrap()], concurrency(1))];
    let limits = LimitsConfig { members: MemberLimits { tagged, others: Limit::NONE }, ..LimitsConfig::default() };
    let engine = limited(limits, 1).await;
    engine.admit(vec![Admission::Vouched(Box::new(paid))]).await;
    let held: Vec<_> = (1..=9).map(|request| engine.acquire(&numbered(request)).unwrap()).collect();
    assert_eq!(held.iter().filter(|lease| lease.member().slot == 1).count(), 1);
    let explained = engine.explain(&attempt(&[]));
    assert_eq!((explained.members, explained.limited, explained.eligible, explained.waiting), (2, 1, 1, 0));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn newcomers_and_new_limits_are_news_for_those_who_wait() {
    let engine = limited(of_members(concurrency(1)), 1).await;
    let held = ask(&engine, 1).await.unwrap();
    let ask_in_background = |request| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { ask(&engine, request).await.unwrap() })
    };
    let waits = ask_in_background(2);
    until(|| waiting(&engine) == 1).await;
    engine.admit(vec![Admission::Vouched(Box::new(candidate(9)))]).await;
    let second = waits.await.unwrap();
    let waits = ask_in_background(3);
    until(|| waiting(&engine) == 1).await;
    engine.limit(of_members(concurrency(2))).await;
    drop((waits.await.unwrap(), second, held));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_site_has_its_own_limit_and_holds_up_no_other() {
    let engine = limited(of_sites(concurrency(2)), 3).await;
    let at = |request, target: &'static str| Attempt { target, ..numbered(request) };
    let until_then = Instant::now() + LONG;
    let shop = async |request| engine.acquire_in_turn(&at(request, "www.shop.example:443"), until_then).await;
    let first = shop(1).await.unwrap();
    let _second = shop(2).await.unwrap();
    let waits = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move {
            let attempt = Attempt { target: "api.shop.example:80", ..numbered(3) };
            engine.acquire_in_turn(&attempt, until_then).await.map(drop)
        }
    });
    until(|| waiting(&engine) == 1).await;
    for request in 4..20 {
        let other = engine.acquire_in_turn(&at(request, "other.example:443"), until_then).await;
        assert!(other.is_ok(), "{request}");
    }
    let explained = engine.explain(&at(0, "shop.example:80"));
    assert!(explained.site_limited && explained.waiting == 1 && explained.eligible == 3, "{explained:?}");
    drop(first);
    waits.await.unwrap().unwrap();
    let strict = limited(LimitsConfig { wait: Duration::ZERO, ..of_sites(rate(0.5, 1)) }, 3).await;
    drop(ask(&strict, 1).await.unwrap());
    let sent_away = shed(ask(&strict, 2).await);
    assert_eq!(sent_away.limited, Limited::Site("origin.example".into()));
    assert!((1.5..=2.0).contains(&sent_away.retry_after.as_secs_f64()), "{sent_away:?}");
    strict.stop().await.unwrap();
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_rate_holds_over_all_who_wait() {
    for limits in [of_members(rate(100.0, 10)), of_sites(rate(200.0, 10))] {
        let (members, per_second) = (2, 200.0);
        let engine = limited(limits.clone(), members).await;
        let burst = if limits.sites.is_none() { 20.0 } else { 10.0 };
        let began = Instant::now();
        let tasks: Vec<_> = (1..=220)
            .map(|request| {
                let engine = Arc::clone(&engine);
                tokio::spawn(async move { ask(&engine, request).await.map(drop) })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let (took, expected) = (began.elapsed().as_secs_f64(), (220.0 - burst) / per_second);
        // Never sooner; later only as far as a busy machine is.
        assert!((expected * 0.999..expected * 1.5).contains(&took), "{took} s instead of {expected} s");
        engine.stop().await.unwrap();
    }
}

/// Many at once on several threads, of which some leave at any moment: whoever stays is served, nobody has more than there
/// may be, and nothing is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_news_is_lost_whoever_comes_and_goes() {
    let mut limits = of_members(concurrency(2));
    limits.sites = of_sites(concurrency(5)).sites;
    limits.queue = 10_000;
    let engine = limited(limits, 3).await;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tasks = Vec::new();
    for request in 1..=4_000 {
        let engine = Arc::clone(&engine);
        let target = *random.choice(&["a.example:80", "b.example:80", "c.example:443"]).unwrap();
        let (stays, holds) = (random.u8(..) > 50, random.u64(0..3));
        let uses = async move {
            let attempt = Attempt { target, ..numbered(request) };
            let lease = engine.acquire_in_turn(&attempt, Instant::now() + LONG).await.unwrap();
            assert!(lease.member().live.in_flight() <= 2);
            for _ in 0..holds {
                tokio::task::yield_now().await;
            }
            drop(lease);
        };
        let patience = Duration::from_micros(random.u64(0..3_000));
        let task = if stays {
            tokio::spawn(uses)
        } else {
            let in_time = async move {
                // Cut off wherever it is: in the line, with a member in its hand, or done.
                drop(timeout(patience, uses).await);
            };
            tokio::spawn(in_time)
        };
        tasks.push((stays, task));
        if random.u8(..) < 20 {
            sleep(Duration::from_micros(random.u64(0..500))).await;
        }
    }
    for (stays, task) in tasks {
        let ended = timeout(Duration::from_secs(30), task).await;
        assert!(ended.is_ok_and(|ended| ended.is_ok()), "seed {seed}: one that stays ({stays}) was not served");
    }
    assert_eq!(waiting(&engine), 0, "seed {seed}");
    let snapshot = engine.snapshot();
    assert!(snapshot.iter().all(|member| member.live.in_flight() == 0 && member.live.is_admissible(engine.now())));
    let idle = ["a.example:80", "b.example:80", "c.example:443"];
    assert!(idle.iter().all(|target| !engine.explain(&Attempt { target, ..attempt(&[]) }).site_limited), "seed {seed}");
    engine.stop().await.unwrap();
}

/// A request of a user that stands in the line until it has a lease, which it gives back at once.
async fn stands(engine: &Arc<Engine>, (whose, request): (u64, u64), order: &Arc<Mutex<Vec<u64>>>) -> Waits {
    let (before, order) = (waiting(engine), Arc::clone(order));
    let waits = Arc::clone(engine);
    let task = tokio::spawn(async move {
        let attempt = Attempt { whose, ..numbered(request) };
        let lease = waits.acquire_in_turn(&attempt, Instant::now() + LONG).await.map(drop);
        order.lock().unwrap().extend(lease.is_ok().then_some(request));
        lease
    });
    until(|| waiting(engine) != before || task.is_finished()).await;
    task
}

type Waits = tokio::task::JoinHandle<Result<(), NoLease>>;

#[tokio::test]
async fn users_are_served_in_turn_however_many_requests_one_of_them_has() {
    let engine = limited(of_members(concurrency(1)), 1).await;
    let (first, order) = (ask(&engine, 1).await.unwrap(), Arc::default());
    let mut tasks = Vec::new();
    for (whose, request) in (2..12).map(|request| (1, request)).chain([(2, 12), (2, 13)]) {
        tasks.push(stands(&engine, (whose, request), &order).await);
    }
    drop(first);
    for task in tasks {
        timeout(LONG, task).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [2, 12, 3, 13, 4, 5, 6, 7, 8, 9, 10, 11]);
}

#[tokio::test]
async fn a_line_that_one_user_has_filled_has_room_for_another_one() {
    let engine = limited(LimitsConfig { queue: 3, ..of_members(concurrency(1)) }, 1).await;
    let (first, order) = (ask(&engine, 1).await.unwrap(), Arc::default());
    let mut tasks = Vec::new();
    for request in 2..5 {
        tasks.push(stands(&engine, (1, request), &order).await);
    }
    let own = Attempt { whose: 1, ..numbered(5) };
    assert_eq!(shed(engine.acquire_in_turn(&own, Instant::now() + LONG).await).why, NoWait::Full(3));
    let other = {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { ask(&engine, 6).await.map(drop) })
    };
    // It costs the last one of those who have three.
    let gone = timeout(LONG, tasks.remove(2)).await.unwrap().unwrap();
    assert!(matches!(&gone, Err(NoLease::Shed(Shed { why: NoWait::Full(3), .. }))), "{gone:?}");
    assert_eq!(waiting(&engine), 3);
    drop(first);
    timeout(LONG, other).await.unwrap().unwrap().unwrap();
    for task in tasks {
        timeout(LONG, task).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn who_waits_is_sent_away_when_nobody_may_wait_any_more() {
    let engine = limited(of_members(concurrency(1)), 1).await;
    let first = ask(&engine, 1).await.unwrap();
    let ends = async {
        until(|| waiting(&engine) == 1).await;
        engine.end_waits();
    };
    let both = async { tokio::join!(ask(&engine, 2), ends) };
    let (second, ()) = timeout(LONG / 2, both).await.unwrap();
    assert!(matches!(shed(second).why, NoWait::Waited(_)));
    // Nor does anybody begin to, and nobody has a turn that was another one's.
    assert!(matches!(shed(timeout(LONG / 2, ask(&engine, 3)).await.unwrap()).why, NoWait::Waited(_)));
    drop(first);
    assert!(ask(&engine, 4).await.is_ok());
}

#[tokio::test]
async fn a_strict_session_does_not_wait_for_who_has_left_or_is_banned() {
    for leaves in [true, false] {
        let engine = planned(&Actor::new("1.0.0", 0).planning(|_| Plan::fallback()), 3).await;
        let stick = Stick { strict: Some(true), ..Stick::default() };
        let strict = |request| Attempt { session: Some(7), stick, ..numbered(request) };
        let until_then = Instant::now() + LONG;
        let (first, second) = (strict(1), strict(2));
        let own = engine.acquire_in_turn(&first, until_then).await.unwrap();
        // One of the others is in use as well.
        let _other = ask(&engine, 3).await.unwrap();
        let goes = async {
            until(|| waiting(&engine) == 1).await;
            let upstream: &Endpoint = &own.member().endpoint;
            if leaves {
                assert_eq!(engine.remove(vec![upstream.key()]).await, 1);
            } else {
                let (target, rule, scope, span) = (first.target, "rule", Scope::Site, LONG);
                assert!(engine.ban(&Ban { request: 1, target, upstream, rule, scope, span }));
            }
        };
        let both = async { tokio::join!(engine.acquire_in_turn(&second, until_then), goes) };
        let (waited, ()) = timeout(LONG / 2, both).await.unwrap();
        let banned = usize::from(!leaves);
        let refused = Refusals { members: 2 + banned, banned, session: 2, ..Refusals::default() };
        assert!(matches!(&waited, Err(NoLease::Nobody(refusals)) if *refusals == refused), "{leaves}: {waited:?}");
        assert_eq!(waiting(&engine), 0);
        engine.stop().await.unwrap();
    }
}

#[tokio::test]
async fn where_all_are_out_of_use_by_now_those_who_wait_probe_them() {
    // All but one are idle, and not in the plan.
    let engine = planned(&Actor::new("1.0.0", 1), 3).await;
    let held = ask(&engine, 1).await.unwrap();
    // Nobody's probe is due as long as this takes.
    let breaker = BreakerConfig { cooldown: LONG, cooldown_max: LONG, ..BreakerConfig::default() };
    let failed = Outcome::Failure(Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, ""));
    let fail = async {
        until(|| waiting(&engine) == 3).await;
        for _ in 0..breaker.failures {
            held.member().live.record(&failed, engine.now(), &breaker, engine.now());
        }
        drop(held);
    };
    // The probes of all but the last one fail.
    let served = AtomicU64::new(0);
    let probe = async |request| {
        let lease = ask(&engine, request).await.unwrap();
        if served.fetch_add(1, Ordering::Relaxed) < 2 {
            assert!(lease.member().live.record(&failed, lease.taken(), &breaker, engine.now()), "it was a probe");
        }
    };
    let all = async { tokio::join!(probe(3), probe(4), probe(5), fail) };
    timeout(LONG / 2, all).await.unwrap();
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_a_site_without_anybody_to_go_there_with() {
    let engine = limited(of_sites(concurrency(1)), 1).await;
    let held = ask(&engine, 1).await.unwrap();
    let leaves = async {
        until(|| waiting(&engine) == 1).await;
        assert_eq!(engine.remove(vec![held.member().endpoint.key()]).await, 1);
    };
    let both = async { tokio::join!(ask(&engine, 2), leaves) };
    let (waited, ()) = timeout(LONG / 2, both).await.unwrap();
    assert!(matches!(&waited, Err(NoLease::Nobody(refusals)) if *refusals == Refusals::default()), "{waited:?}");
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn the_way_straight_to_an_origin_has_the_limit_of_its_site() {
    let engine = limited(of_sites(concurrency(1)), 1).await;
    let straight = async |until| engine.acquire_direct(&numbered(1), until).await;
    let first = straight(None).await.unwrap().unwrap();
    assert!(straight(None).await.unwrap().is_none(), "a tier below the last one goes on");
    let refused = straight(Some(Instant::now() + Duration::from_millis(30))).await.unwrap_err();
    assert!(matches!(refused, NoLease::Shed(Shed { limited: Limited::Site(_), why: NoWait::Waited(_), .. })));
    let ends = async {
        sleep(Duration::from_millis(30)).await;
        drop(first);
    };
    let both = async { tokio::join!(straight(Some(Instant::now() + LONG)), ends) };
    let (second, ()) = timeout(LONG / 2, both).await.unwrap();
    assert!(second.unwrap().is_some());
}
