#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::event::Topic;
use proxywhirl_core::{Endpoint, EndpointKey, Lease, Outcome, Scheme, Tags};
use proxywhirl_net::{Dialer, DialerConfig, TlsConfig, tls};
use proxywhirl_world::{Behaviour, Protocol, Upstream, UpstreamOptions};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::check::CheckerConfig;
use crate::check::judge::{Judge, JudgeConfig, JudgeTls, JudgeUrl};
use crate::kept_out::MOST;
use crate::{Clock, EngineConfig, Parts};

/// Checks every some milliseconds, and gives up after three failures.
fn hasty() -> KeeperConfig {
    let (short, long) = (Duration::from_millis(20), Duration::from_millis(80));
    let schedule = ScheduleConfig { fresh: short, fresh_max: long, retry: short, retry_max: long };
    KeeperConfig { schedule, give_up: 3, ..KeeperConfig::new(Level::Tcp) }
}

fn keeper(config: KeeperConfig) -> Arc<Keeper> {
    keeper_with(config, Vec::new())
}

fn keeper_with(config: KeeperConfig, judges: Vec<JudgeUrl>) -> Arc<Keeper> {
    let dialer = Dialer::new(DialerConfig::default()).unwrap();
    let trusted = tls::client_config(&TlsConfig::default()).unwrap();
    let usual = CheckerConfig::new(dialer, judges, trusted, Clock::default());
    let checker = Checker::new(CheckerConfig { allow_private: true, ..usual });
    Keeper::new(Engine::start(EngineConfig::default(), Parts::default()).unwrap(), checker, config, None)
}

fn candidate(upstream: &Upstream) -> Candidate {
    upstream.url().parse::<Endpoint>().unwrap().into()
}

async fn upstream(behaviour: Behaviour) -> Upstream {
    Upstream::start(UpstreamOptions::new(Protocol::Http).behaviour(behaviour)).await.unwrap()
}

async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not come to that");
}

/// A keeper at work.
async fn kept(config: KeeperConfig) -> (Arc<Keeper>, CancellationToken, JoinHandle<()>) {
    kept_with(config, Vec::new())
}

fn kept_with(config: KeeperConfig, judges: Vec<JudgeUrl>) -> (Arc<Keeper>, CancellationToken, JoinHandle<()>) {
    let (keeper, stop) = (keeper_with(config, judges), CancellationToken::new());
    let task = tokio::spawn(Arc::clone(&keeper).run(stop.clone()));
    (keeper, stop, task)
}

#[tokio::test]
async fn who_passes_gets_in_and_what_is_fresh_is_not_asked_again() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let (good, dead) = (upstream(Behaviour::Healthy).await, upstream(Behaviour::Dead).await);
    let candidates = || vec![candidate(&good), candidate(&dead)];
    let proven = keeper.prove(candidates(), &|_| ()).await;
    assert_eq!((proven.alive, proven.dead, proven.admissions.new, proven.fresh), (1, 1, 1, 0));
    assert_eq!((proven.passed[&Level::Tcp], proven.passed[&Level::Dns]), (1, 1));
    assert_eq!(proven.faults["connect refused"], 1);
    let checks = AtomicUsize::new(0);
    let again = keeper.prove(candidates(), &|_| _ = checks.fetch_add(1, Ordering::Relaxed)).await;
    assert_eq!((again.fresh, again.alive, again.dead, checks.into_inner()), (2, 0, 0, 0));
    assert_eq!(keeper.strangers(), 1);
}

#[tokio::test]
async fn one_more_source_of_who_is_known_is_remembered_and_proves_nothing() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let (good, dead) = (upstream(Behaviour::Healthy).await, upstream(Behaviour::Dead).await);
    let of = |upstream: &Upstream, source: &str| {
        let tags = [source.parse().unwrap()].into_iter().collect();
        Candidate { tags, ..candidate(upstream) }
    };
    for source in ["one", "two"] {
        keeper.prove(vec![of(&good, source), of(&dead, source)], &|_| ()).await;
    }
    let tags = |tags: &Tags| tags.iter().map(|tag| tag.as_str().to_owned()).collect::<Vec<_>>();
    let snapshot = keeper.engine.snapshot();
    assert_eq!(snapshot.iter().map(|member| tags(member.tags())).collect::<Vec<_>>(), [["one", "two"]]);
    assert_eq!(keeper.book().strangers.values().map(|one| tags(&one.tags)).collect::<Vec<_>>(), [["one", "two"]]);
    // Who has left meanwhile does not come back by that.
    keeper.engine.remove(vec![candidate(&good).endpoint.key()]).await;
    let admitted = keeper.engine.admit(vec![Admission::Named(Box::new(of(&good, "three")))]).await;
    assert_eq!((admitted.new, keeper.engine.snapshot().len()), (0, 0));
}

#[tokio::test]
async fn whom_a_user_has_taken_out_no_source_brings_back_until_a_user_does() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let good = upstream(Behaviour::Healthy).await;
    keeper.prove(vec![candidate(&good)], &|_| ()).await;
    assert_eq!(keeper.engine.keep_out(vec![candidate(&good).endpoint.key()]).await, (1, 1));
    let checks = AtomicUsize::new(0);
    let again = keeper.prove(vec![candidate(&good)], &|_| _ = checks.fetch_add(1, Ordering::Relaxed)).await;
    assert_eq!((again.admissions.kept_out, again.admissions.new, checks.into_inner()), (1, 0, 0));
    let vouched = || vec![Admission::Vouched(Box::new(candidate(&good)))];
    let admitted = keeper.engine.admit(vouched()).await;
    assert_eq!((admitted.kept_out, admitted.new, keeper.engine.snapshot().len()), (1, 0, 0));
    assert_eq!(keeper.engine.let_in(vouched()).await.new, 1);
    assert_eq!(keeper.engine.admit(vouched()).await.known, 1, "it is kept out no more");
}

#[tokio::test]
async fn whom_a_user_takes_out_while_it_is_checked_does_not_come_in() {
    let (keeper, stop, task) = kept(KeeperConfig { give_up: 1_000, ..hasty() }).await;
    let (good, dead) = (upstream(Behaviour::Healthy).await, upstream(Behaviour::Dead).await);
    let keys = |upstream: &Upstream| {
        let own = candidate(upstream).endpoint.key();
        keeper.seeking(|key, _| *key == own).into_values().flatten().collect::<Vec<_>>()
    };
    let take_out = async {
        // Before anybody has an answer.
        let both = [keys(&good), keys(&dead)].concat();
        assert_eq!(both.len(), 2);
        assert_eq!(keeper.engine.keep_out(both).await, (0, 2));
    };
    let candidates = vec![candidate(&good), candidate(&dead)];
    let (proven, ()) = tokio::join!(keeper.prove(candidates, &|_| ()), take_out);
    assert_eq!((proven.admissions.new, proven.admissions.kept_out), (0, 1));
    assert_eq!((keeper.engine.snapshot().len(), keeper.strangers(), keys(&good).len()), (0, 0, 0));
    // One that was turned away is asked no more.
    let late = upstream(Behaviour::Dead).await;
    keeper.prove(vec![candidate(&late)], &|_| ()).await;
    assert_eq!(keeper.engine.keep_out(keys(&late)).await, (0, 1));
    until(|| keeper.strangers() == 0).await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn whom_a_user_takes_out_before_its_check_begins_does_not_come_in() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let (known, late) = (upstream(Behaviour::Healthy).await, upstream(Behaviour::Healthy).await);
    keeper.prove(vec![candidate(&known)], &|_| ()).await;
    let take_out = async {
        // While the pool hears of the one that is known.
        let own = candidate(&late).endpoint.key();
        let keys = keeper.seeking(|key, _| *key == own).into_values().flatten().collect();
        keeper.engine.keep_out(keys).await
    };
    let candidates = vec![candidate(&known), candidate(&late)];
    let (proven, taken_out) = tokio::join!(keeper.prove(candidates, &|_| ()), take_out);
    assert_eq!(taken_out, (0, 1));
    assert_eq!((proven.fresh, proven.admissions.new, proven.admissions.kept_out), (1, 0, 1));
}

#[tokio::test]
async fn a_guess_is_meant_by_whatever_its_check_may_find_it_to_be() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let dead = upstream(Behaviour::Dead).await;
    let guess = Candidate { is_guess: true, ..candidate(&dead) };
    keeper.prove(vec![guess], &|_| ()).await;
    let schemes = |wanted: Scheme| -> Vec<Scheme> {
        let found = keeper.seeking(|key, _| key.scheme == wanted);
        found.into_values().flatten().map(|key| key.scheme).collect()
    };
    assert_eq!(schemes(Scheme::Socks5), [Scheme::Socks5]);
    assert_eq!(schemes(Scheme::Http), [Scheme::Http]);
    assert!(schemes(Scheme::Socks5h).is_empty(), "no check finds that");
}

#[tokio::test]
async fn a_guess_stays_one_while_the_same_proxy_is_known_as_none() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let dead = upstream(Behaviour::Dead).await;
    let with = |password: &str| {
        let url = dead.url().replace("://", &format!("://anna:{password}@"));
        Candidate { endpoint: url.parse().unwrap(), ..candidate(&dead) }
    };
    keeper.prove(vec![with("old")], &|_| ()).await;
    let guess = Candidate { is_guess: true, ..with("new") };
    let look = async { keeper.seeking(|_, _| true).into_values().map(|keys| keys.len()).collect::<Vec<_>>() };
    let (_, found) = tokio::join!(keeper.prove(vec![guess], &|_| ()), look);
    assert_eq!(found, [4]);
}

#[tokio::test]
async fn a_guess_of_which_one_protocol_is_a_member_is_kept_out_whole() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let dead = upstream(Behaviour::Dead).await;
    let guess = Candidate { is_guess: true, ..candidate(&dead) };
    keeper.prove(vec![guess], &|_| ()).await;
    let key = |scheme: Scheme| EndpointKey { scheme, ..candidate(&dead).endpoint.key() };
    let member = Endpoint { scheme: Scheme::Socks5, ..candidate(&dead).endpoint };
    keeper.engine.admit(vec![Admission::Vouched(Box::new(member.into()))]).await;
    let taken_out = keeper.take_out(keeper.meant(|own, _| own.port == key(Scheme::Http).port)).await;
    assert_eq!(taken_out, TakenOut { removed: 1, kept_out: 1, unproven: 0 });
    let is_kept_out = |scheme: &Scheme| keeper.engine.keeps_out(MemberId::of(&key(*scheme)));
    let kept_out: Vec<_> = Scheme::ALL.into_iter().filter(is_kept_out).collect();
    assert_eq!(kept_out, [Scheme::Http, Scheme::Https, Scheme::Socks4, Scheme::Socks5]);
}

#[tokio::test]
async fn nobody_is_told_as_kept_out_for_whom_there_is_no_room() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let (good, dead) = (upstream(Behaviour::Healthy).await, upstream(Behaviour::Dead).await);
    let key = |number: usize| format!("http://{number}.h.test:80").parse::<Endpoint>().unwrap().key();
    // There is room for one more.
    assert_eq!(keeper.engine.keep_out((1..MOST).map(key).collect()).await, (0, MOST - 1));
    let guess = Candidate { is_guess: true, ..candidate(&dead) };
    keeper.prove(vec![guess], &|_| ()).await;
    let taken_out = keeper.take_out(keeper.meant(|_, _| true)).await;
    assert_eq!(taken_out, TakenOut::default(), "its check may bring it by another protocol");
    keeper.prove(vec![candidate(&good)], &|_| ()).await;
    let taken_out = keeper.take_out(keeper.meant(|_, _| true)).await;
    assert_eq!(taken_out, TakenOut { removed: 1, ..TakenOut::default() });
}

#[tokio::test]
async fn who_wants_in_is_counted_once_by_whatever_it_may_come_in() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let (good, dead) = (upstream(Behaviour::Healthy).await, upstream(Behaviour::Dead).await);
    let guess = Candidate { is_guess: true, ..candidate(&dead) };
    keeper.prove(vec![candidate(&good), guess], &|_| ()).await;
    let taken_out = keeper.take_out(keeper.meant(|_, _| true)).await;
    assert_eq!(taken_out, TakenOut { removed: 1, kept_out: 1, unproven: 1 });
}

#[tokio::test]
async fn other_credentials_are_proven_anew() {
    let keeper = keeper(KeeperConfig::new(Level::Tcp));
    let good = upstream(Behaviour::Healthy).await;
    let with = |password: &str| {
        let url = good.url().replace("://", &format!("://anna:{password}@"));
        Candidate { endpoint: url.parse().unwrap(), ..candidate(&good) }
    };
    for (password, fresh) in [("old", 0), ("old", 1), ("new", 0), ("new", 1)] {
        let proven = keeper.prove(vec![with(password)], &|_| ()).await;
        assert_eq!((proven.fresh, proven.alive), (fresh, 1 - fresh), "{password}");
    }
    assert_eq!(*keeper.engine.snapshot().iter().next().unwrap().endpoint, with("new").endpoint);
}

#[tokio::test]
async fn a_member_that_was_named_with_other_credentials_while_it_was_down_keeps_its_own() {
    let schedule = ScheduleConfig { fresh: Duration::from_secs(60), ..hasty().schedule };
    let (keeper, stop, task) = kept(KeeperConfig { schedule, ..hasty() }).await;
    let proxy = upstream(Behaviour::Healthy).await;
    let with = |password: &str| {
        let url = proxy.url().replace("://", &format!("://anna:{password}@"));
        Candidate { endpoint: url.parse().unwrap(), ..candidate(&proxy) }
    };
    keeper.prove(vec![with("own")], &|_| ()).await;
    proxy.set_behaviour(Behaviour::Dead).await.unwrap();
    keeper.prove(vec![with("other")], &|_| ()).await;
    assert_eq!(keeper.strangers(), 0);
    proxy.set_behaviour(Behaviour::Healthy).await.unwrap();
    // Who is asked again is, as long as this takes.
    let late = upstream(Behaviour::Dead).await;
    keeper.prove(vec![candidate(&late)], &|_| ()).await;
    until(|| keeper.strangers() == 0).await;
    assert_eq!(*keeper.engine.snapshot().iter().next().unwrap().endpoint, with("own").endpoint);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_stranger_that_comes_to_life_gets_in_and_one_that_stays_dead_is_forgotten() {
    let (keeper, stop, task) = kept(hasty()).await;
    let late = upstream(Behaviour::Dead).await;
    keeper.prove(vec![candidate(&late), candidate(&upstream(Behaviour::Dead).await)], &|_| ()).await;
    assert_eq!((keeper.engine.snapshot().len(), keeper.strangers()), (0, 2));
    late.set_behaviour(Behaviour::Healthy).await.unwrap();
    until(|| keeper.engine.snapshot().len() == 1 && keeper.strangers() == 0).await;
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_member_that_dies_is_kept_from_requests_and_leaves_only_if_that_is_wanted() {
    for remove_dead in [false, true] {
        let (keeper, stop, task) = kept(KeeperConfig { remove_dead, give_up: 8, ..hasty() }).await;
        let member = upstream(Behaviour::Healthy).await;
        keeper.engine.admit(vec![Admission::Vouched(Box::new(candidate(&member)))]).await;
        let health = || keeper.engine.snapshot().iter().next().map(|member| member.live.health());
        until(|| health() == Some(Health::Healthy)).await;
        member.set_behaviour(Behaviour::Dead).await.unwrap();
        if remove_dead {
            until(|| keeper.engine.snapshot().is_empty()).await;
        } else {
            until(|| health() == Some(Health::Unhealthy)).await;
            assert_eq!(keeper.engine.snapshot().len(), 1);
        }
        stop.cancel();
        task.await.unwrap();
    }
}

/// A judge, and a keeper at work that checks how TLS goes: soon after a good verdict, and so seldom after a failure that one is seen.
async fn kept_with_judge() -> (Arc<Keeper>, [JoinHandle<()>; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = JudgeUrl::from(listener.local_addr().unwrap());
    let judge = Judge::new(JudgeConfig::default(), Clock::default()).with_tls(JudgeTls::self_signed().unwrap());
    let judge = tokio::spawn(judge.serve(listener, std::future::pending()));
    let (fresh, retry) = (Duration::from_millis(200), Duration::from_secs(1));
    let schedule = ScheduleConfig { fresh, fresh_max: fresh, retry, retry_max: retry };
    let (keeper, _, task) = kept_with(KeeperConfig { schedule, ..KeeperConfig::new(Level::Tls) }, vec![url]);
    (keeper, [judge, task])
}

/// Uses a member with success, if that is let through; whether it is.
fn succeed(keeper: &Keeper, member: &Arc<Member>) -> bool {
    let now = keeper.engine.now();
    let Some(mut lease) = Lease::take(Arc::clone(member), &BreakerConfig::default(), now) else { return false };
    lease.report(&Outcome::Success { latency: Duration::from_millis(1) }, now);
    true
}

#[tokio::test]
async fn a_member_that_breaks_tls_is_kept_from_requests_whatever_its_tunnels_say_until_a_check_passes() {
    let (keeper, tasks) = kept_with_judge().await;
    let mut told = keeper.engine.subscribe(&[Topic::BreakerChanged], 10);
    let proxy = upstream(Behaviour::ResignTls).await;
    keeper.engine.admit(vec![Admission::Vouched(Box::new(candidate(&proxy)))]).await;
    let member = Arc::clone(keeper.engine.snapshot().iter().next().unwrap());
    // Its tunnels go well up to that moment.
    until(|| !succeed(&keeper, &member)).await;
    assert_eq!(member.live.statistics().failures, 1, "one check is enough");
    let opens_in = member.live.opens_at().unwrap().since(keeper.engine.now());
    assert!(opens_in > Duration::from_hours(1), "{opens_in:?}");
    member.live.relent(keeper.engine.now());
    assert!(!succeed(&keeper, &member), "also where nobody else is left");
    proxy.set_behaviour(Behaviour::Healthy).await.unwrap();
    let healed = Instant::now();
    until(|| succeed(&keeper, &member)).await;
    assert!(healed.elapsed() < BreakerConfig::default().cooldown, "{:?}", healed.elapsed());
    for health in ["\"unhealthy\"", "\"healthy\""] {
        let change = told.next().await.unwrap();
        assert!(change.payload.contains(health), "{}", change.payload);
    }
    tasks.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn who_was_removed_by_hand_is_forgotten() {
    let keeper = keeper(hasty());
    let member = upstream(Behaviour::Healthy).await;
    keeper.prove(vec![candidate(&member)], &|_| ()).await;
    keeper.engine.remove(vec![candidate(&member).endpoint.key()]).await;
    let proven = keeper.prove(vec![candidate(&member)], &|_| ()).await;
    assert_eq!((proven.fresh, proven.alive), (0, 1));
}
