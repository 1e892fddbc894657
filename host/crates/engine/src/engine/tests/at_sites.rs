//! Members that keep failing at one site.

use proxywhirl_core::select::Stick;

use super::actor::{Actor, playing};
use super::*;
use crate::bans::Scope;
use crate::limits::LimitsConfig;
use proxywhirl_core::limit::{Limit, MemberLimits, Rate};

fn to(target: &str) -> Attempt<'_> {
    Attempt { target, ..attempt(&[]) }
}

fn denied() -> Outcome {
    Outcome::Failure(Fault::new(Side::Upstream, Stage::Handshake, Kind::Denied, ""))
}

/// Uses the member in a slot, whoever else there is.
fn with_member(engine: &Engine, slot: u32, target: &str, outcome: &Outcome) {
    let others = others_than(engine, slot);
    let attempt = Attempt { tried: &others, ..to(target) };
    engine.settle(engine.acquire(&attempt).unwrap(), outcome, &attempt);
}

fn others_than(engine: &Engine, slot: u32) -> Vec<MemberId> {
    engine.snapshot().iter().filter(|member| member.slot != slot).map(|member| member.id).collect()
}

fn serves(engine: &Engine, slot: u32, target: &str) {
    with_member(engine, slot, target, &Outcome::Success { latency: Duration::from_millis(5) });
}

/// Has the member in a slot break off an answer, of which nobody else could be asked. Whether its breaker is closed after that.
fn cuts(engine: &Engine, slot: u32, target: &str) -> bool {
    let others = others_than(engine, slot);
    let attempt = Attempt { tried: &others, ..to(target) };
    let lease = engine.acquire(&attempt).unwrap();
    let (member, fault) = (Arc::clone(lease.member()), Fault::new(Side::Upstream, Stage::Body, Kind::Closed, ""));
    engine.excuse(&lease, &fault, &attempt);
    engine.doubt_across(lease, fault, &attempt);
    member.live.is_admissible(engine.now())
}

/// Has the member in slot 0 fail at one site and work at another, until it is passed over.
fn fail_at_one(engine: &Engine) {
    let good = Outcome::Success { latency: Duration::from_millis(5) };
    with_member(engine, 0, "other.example:443", &good);
    with_member(engine, 0, "www.refuses.example:443", &denied());
    with_member(engine, 0, "www.refuses.example:443", &denied());
    assert!(!engine.sites.passes_over_anybody());
    with_member(engine, 0, "refuses.example:443", &denied());
    assert!(engine.sites.passes_over_anybody());
}

fn slots(engine: &Engine, target: &str) -> Vec<u32> {
    let slot = |_| engine.acquire(&to(target)).unwrap().member().slot;
    let mut slots: Vec<u32> = (0..12).map(slot).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

#[tokio::test]
async fn who_keeps_failing_at_a_site_serves_all_others_and_that_one_when_nobody_else_is_left() {
    // The host keeps sessions for strategies only.
    let actor = Actor::new("1.0.0", 0).planning(|_| Plan::fallback());
    let engine = playing(&actor, EngineConfig::default(), 3).await;
    fail_at_one(&engine);
    assert_eq!(slots(&engine, "api.refuses.example:443"), [1, 2]);
    assert_eq!(slots(&engine, "other.example:443"), [0, 1, 2]);
    let others: Vec<MemberId> = engine.snapshot().iter().filter(|it| it.slot > 0).map(|it| it.id).collect();
    let last = Attempt { tried: &others, ..to("refuses.example:443") };
    assert_eq!(engine.acquire(&last).unwrap().member().slot, 0, "it is the last chance");
    // A strict session of it goes on, for it may go nowhere else.
    let session =
        Attempt { session: Some(7), stick: Stick { strict: Some(true), ..Stick::default() }, ..to("a.example:1") };
    let bound = (0..100).map(|session| Attempt { session: Some(session), ..to("a.example:1") });
    let bound = bound.map(|attempt| (attempt.session, engine.acquire(&attempt).unwrap().member().slot));
    let (mine, _) = bound.into_iter().find(|(_, slot)| *slot == 0).unwrap();
    let strict = Attempt { session: mine, target: "refuses.example:443", ..session };
    assert_eq!(engine.acquire(&strict).unwrap().member().slot, 0);
}

#[tokio::test]
async fn who_is_passed_over_is_explained_listed_and_forgotten_when_that_is_not_wanted() {
    let engine = engine(None, 2).await;
    fail_at_one(&engine);
    let explained = engine.explain(&to("refuses.example:443"));
    assert_eq!((explained.eligible, explained.passed_over, explained.candidates.len()), (2, 1, 2));
    let [first, second] = explained.candidates.as_slice() else { panic!("{explained:?}") };
    assert_eq!((first.standing.as_str(), second.standing.as_str()), ("passed-over", "eligible"));
    let here = first.here.as_ref().unwrap();
    assert_eq!((here.uses, here.success, here.site.as_str()), (3, Some(0.0), "refuses.example"));
    assert!(first.success.is_some_and(|success| success > 0.2) && second.here.is_none());
    assert_eq!(engine.explain(&to("other.example:443")).passed_over, 0);

    let all = SiteQuery { limit: 10, ..SiteQuery::default() };
    let sites = |query: &SiteQuery| engine.at_sites(query).into_iter().map(|row| row.site).collect::<Vec<_>>();
    assert_eq!(sites(&all), ["other.example", "refuses.example"]);
    assert_eq!(sites(&SiteQuery { passed_over: true, ..all.clone() }), ["refuses.example"]);
    assert_eq!(sites(&SiteQuery { site: Some("api.refuses.example".to_owned()), ..all.clone() }), ["refuses.example"]);
    assert_eq!(sites(&SiteQuery { limit: 1, ..all.clone() }), ["other.example"]);
    let of = |member| SiteQuery { proxy: Some(candidate(member).endpoint.key()), ..all.clone() };
    assert_eq!((sites(&of(0)).len(), sites(&of(1)).len()), (2, 0));

    let sites = SitesConfig { pass_over: false, ..SitesConfig::default() };
    let breaker = BreakerConfig::default();
    engine.tune(&Tuning { breaker, capacity: 10, ban_share: 0.5, sites, history: 10 }).await;
    assert_eq!(slots(&engine, "refuses.example:443"), [0, 1]);
    assert_eq!(engine.remove(vec![candidate(0).endpoint.key()]).await, 1);
    assert!(engine.at_sites(&all).is_empty(), "who has left is not listed");
}

#[tokio::test]
async fn an_origin_that_fails_through_everybody_has_nobody_passed_over() {
    let engine = engine(None, 2).await;
    let fault = Fault::new(Side::Upstream, Stage::Handshake, Kind::Denied, "");
    for turn in 0..20 {
        let good = to("other.example:443");
        engine.settle(engine.acquire(&good).unwrap(), &Outcome::Success { latency: Duration::from_millis(5) }, &good);
        // As failover tells of what nobody was better at.
        let attempt = to("down.example:443");
        let lease = engine.acquire(&attempt).unwrap();
        engine.excuse(&lease, &fault, &attempt);
        engine.settle(lease, &Outcome::Neutral, &attempt);
        assert!(!engine.sites.passes_over_anybody(), "{turn}");
    }
}

#[tokio::test]
async fn who_may_wait_for_one_that_does_well_waits() {
    let members = MemberLimits { others: Limit { concurrency: Some(1), rate: None }, ..MemberLimits::default() };
    let limits = LimitsConfig { members, wait: Duration::from_secs(60), ..LimitsConfig::default() };
    let engine = Engine::start(EngineConfig::default(), Parts { limits, ..Parts::default() }).unwrap();
    engine.admit((0..2).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    fail_at_one(&engine);
    let target = "refuses.example:443";
    let busy = engine.acquire(&to(target)).unwrap();
    assert_eq!(busy.member().slot, 1);
    let waits = {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            let until = tokio::time::Instant::now() + Duration::from_secs(60);
            engine.acquire_in_turn(&Attempt { request: 2, ..to(target) }, until).await.unwrap().member().slot
        })
    };
    let stands = async {
        while engine.room.line().len() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stands).await.unwrap();
    drop(busy);
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_late_attempt_goes_to_who_has_just_served_the_site() {
    let engine = engine(None, 5).await;
    let served = Outcome::Success { latency: Duration::from_millis(5) };
    let late = Attempt { number: 3, is_late: true, ..to("shop.example:443") };
    with_member(&engine, 2, "other.example:443", &served);
    assert_eq!(engine.acquire(&late).unwrap().member().slot, 2, "better than who has served nothing");
    with_member(&engine, 3, "shop.example:443", &served);
    for _ in 0..5 {
        assert_eq!(engine.acquire(&late).unwrap().member().slot, 3);
    }
    assert_eq!(slots(&engine, "shop.example:443"), [0, 1, 2, 3, 4], "others go to whose turn it is");
    // Who does well goes before who has served once.
    (0..4).for_each(|_| with_member(&engine, 4, "shop.example:80", &served));
    assert_eq!(engine.acquire(&late).unwrap().member().slot, 3, "who serves http:// may do nothing for https://");
    let by = |target| engine.acquire(&Attempt { target, ..late }).unwrap().member().slot;
    assert_eq!((by("img.shop.example:443"), by("img.shop.example:80")), (3, 4), "the same site");
    assert_eq!(by("shop.example:8080"), 4, "better than nobody");
    // Not to who has failed this request already, nor where a session says who it is.
    let tried = [engine.snapshot().get(3).unwrap().id];
    assert_ne!(engine.acquire(&Attempt { tried: &tried, ..late }).unwrap().member().slot, 3);
    let bound = |session| engine.acquire(&Attempt { session: Some(session), ..late }).unwrap().member().slot;
    assert!((0..50).any(|session| bound(session) != 3));
}

#[tokio::test]
async fn a_late_attempt_goes_to_another_one_that_has_served_when_the_last_one_has_died_or_was_tried() {
    let engine = engine(None, 12).await;
    let served = Outcome::Success { latency: Duration::from_millis(5) };
    let late = Attempt { number: 3, is_late: true, ..to("b.shop.example:443") };
    let by = |attempt: &Attempt<'_>| engine.acquire(attempt).unwrap().member().slot;
    with_member(&engine, 0, "elsewhere.example:80", &served);
    with_member(&engine, 1, "a.shop.example:443", &served);
    with_member(&engine, 2, "b.shop.example:443", &served);
    let ids = [2, 1, 0].map(|slot| engine.snapshot().get(slot).unwrap().id);
    let in_turn = |late: &Attempt<'_>| [0, 1, 2].map(|tried| by(&Attempt { tried: &ids[..tried], ..*late }));
    for _ in 0..5 {
        assert_eq!(in_turn(&late), [2, 1, 0], "there, else at the site, else anywhere");
    }
    // It has died, and goes behind the others, but before those who never served.
    with_member(&engine, 2, "b.shop.example:443", &denied());
    let ids = [1, 0, 2].map(|slot| engine.snapshot().get(slot).unwrap().id);
    let in_turn = |late: &Attempt<'_>| [0, 1, 2].map(|tried| by(&Attempt { tried: &ids[..tried], ..*late }));
    for _ in 0..5 {
        assert_eq!(in_turn(&late), [1, 0, 2]);
    }
    // Nor to who is passed over there.
    (0..2).for_each(|_| with_member(&engine, 1, "b.shop.example:443", &served));
    assert_eq!(by(&late), 1);
    with_member(&engine, 1, "elsewhere.example:80", &served);
    (0..3).for_each(|_| with_member(&engine, 1, "b.shop.example:443", &denied()));
    assert!(engine.sites.passes_over_anybody());
    let tried = [0, 2].map(|slot| engine.snapshot().get(slot).unwrap().id);
    for _ in 0..20 {
        assert_eq!(by(&late), 0);
        assert_ne!(by(&Attempt { tried: &tried, ..late }), 1);
    }
}

#[tokio::test]
async fn an_answer_that_may_be_made_up_is_a_success_that_shows_nothing_at_its_site() {
    let (engine, target) = (engine(None, 3).await, "shop.example:80");
    let served = Outcome::Success { latency: Duration::from_millis(5) };
    let answers = Attempt { is_unproven: true, ..to(target) };
    let all_answer = || (0..3).for_each(|_| engine.settle(engine.acquire(&answers).unwrap(), &served, &answers));
    all_answer();
    let snapshot = engine.snapshot();
    assert!(snapshot.iter().all(|member| member.live.statistics().successes == 1));
    assert!(snapshot.iter().all(|member| !engine.does_well(target, member)));
    assert!(engine.at_sites(&SiteQuery { limit: 10, ..SiteQuery::default() }).is_empty());
    with_member(&engine, 2, target, &served);
    all_answer();
    let late = Attempt { number: 3, is_late: true, ..to(target) };
    assert!((0..3).all(|_| engine.acquire(&late).unwrap().member().slot == 2));
    assert!(engine.does_well(target, snapshot.get(2).unwrap()));
}

#[tokio::test]
async fn a_request_tries_one_of_those_again_whose_time_has_come() {
    let sites = SitesConfig {
        breaker: BreakerConfig { cooldown: Duration::from_millis(1), ..SitesConfig::default().breaker },
        ..SitesConfig::default()
    };
    let config = EngineConfig { sites, ..EngineConfig::default() };
    let engine = Engine::start(config, Parts::default()).unwrap();
    engine.admit((0..4).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    for slot in 0..3 {
        with_member(&engine, slot, "other.example:443", &Outcome::Success { latency: Duration::from_millis(5) });
        (0..3).for_each(|_| with_member(&engine, slot, "shop.example:443", &denied()));
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    for _ in 0..20 {
        let first = engine.acquire(&to("shop.example:443")).unwrap();
        let tried = [first.member().id];
        if first.member().slot == 3 {
            continue;
        }
        let second = Attempt { number: 2, tried: &tried, ..to("shop.example:443") };
        assert_eq!(engine.acquire(&second).unwrap().member().slot, 3);
    }
}

#[tokio::test]
async fn those_who_are_dead_anyway_are_no_reason_to_ban_the_others() {
    let engine = engine(None, 8).await;
    let refused = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "");
    for slot in 4..8 {
        for _ in 0..BreakerConfig::default().failures {
            with_member(&engine, slot, "shop.example:443", &Outcome::Failure(refused.clone()));
        }
    }
    let ban = |member| {
        engine.ban(&Ban {
            request: 1,
            target: "shop.example:443",
            upstream: &candidate(member).endpoint,
            rule: "rule",
            scope: Scope::Site,
            span: Duration::from_secs(60),
        })
    };
    assert_eq!([0, 1, 2, 3].map(ban), [true, true, false, false], "half of the four that live");
}

#[tokio::test]
async fn what_is_sent_once_tries_nobody_again_nor_whom_another_one_has_failed_with() {
    let engine = engine(None, 4).await;
    let closed = || Fault::new(Side::Upstream, Stage::FirstByte, Kind::Closed, "");
    fail_at_one(&engine);
    let post = Attempt { is_once: true, ..to("refuses.example:443") };
    let snapshot = engine.snapshot();
    let others: Vec<MemberId> = snapshot.iter().filter(|member| member.slot != 2).map(|member| member.id).collect();
    let only = Attempt { tried: &others, ..post };
    engine.doubt(engine.acquire(&only).unwrap(), closed(), &only);
    for _ in 0..20 {
        assert!([1, 3].contains(&engine.acquire(&post).unwrap().member().slot));
    }
    // Rather than nobody.
    let rest = [1, 3].map(|slot| snapshot.get(slot).unwrap().id);
    assert!([0, 2].contains(&engine.acquire(&Attempt { tried: &rest, ..post }).unwrap().member().slot));
    // Others try it.
    assert!((0..20).any(|_| engine.acquire(&to("refuses.example:443")).unwrap().member().slot == 2));
}

/// The slots that requests get which are sent once.
fn slots_once(engine: &Engine, target: &str) -> Vec<u32> {
    let post = Attempt { is_once: true, ..to(target) };
    let mut slots: Vec<u32> = (0..20).map(|_| engine.acquire(&post).unwrap().member().slot).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

#[tokio::test]
async fn what_is_sent_once_goes_to_nobody_who_has_just_failed_at_the_site_or_wherever_it_was_used_last() {
    let engine = engine(None, 4).await;
    let served = Outcome::Success { latency: Duration::from_millis(5) };
    // Another one was served in the same request: it counts, and nobody is in doubt.
    with_member(&engine, 0, "www.shop.example:80", &denied());
    with_member(&engine, 1, "www.shop.example:80", &denied());
    for target in ["www.shop.example:80", "shop.example:80", "other.example:80"] {
        assert_eq!(slots_once(&engine, target), [2, 3], "{target}");
        assert_eq!(slots(&engine, target), [0, 1, 2, 3], "others try them");
    }
    with_member(&engine, 0, "other.example:80", &served);
    assert_eq!(slots_once(&engine, "other.example:80"), [0, 2, 3], "it has served since");
    assert_eq!(slots_once(&engine, "shop.example:443"), [0, 2, 3]);
    assert_eq!(slots_once(&engine, "shop.example:80"), [2, 3], "but not there");
    with_member(&engine, 0, "shop.example:80", &served);
    assert_eq!(slots_once(&engine, "www.shop.example:80"), [0, 2, 3]);
    // Rather than nobody.
    let tried = [0, 2, 3].map(|slot| engine.snapshot().get(slot).unwrap().id);
    let post = Attempt { is_once: true, tried: &tried, ..to("shop.example:80") };
    assert_eq!(engine.acquire(&post).unwrap().member().slot, 1);
}

#[tokio::test]
async fn what_is_sent_once_is_no_probe_as_long_as_there_is_anybody_else() {
    let breaker = BreakerConfig { failures: 1, cooldown: Duration::from_millis(1), ..BreakerConfig::default() };
    let engine = Engine::start(EngineConfig { breaker, ..EngineConfig::default() }, Parts::default()).unwrap();
    engine.admit((0..3).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    let refused = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "");
    with_member(&engine, 0, "other.example:80", &Outcome::Failure(refused));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(slots_once(&engine, "shop.example:80"), [1, 2]);
    assert_eq!(slots(&engine, "shop.example:80"), [0, 1, 2], "its probe is left for others");
    let tried = [1, 2].map(|slot| engine.snapshot().get(slot).unwrap().id);
    let post = Attempt { is_once: true, tried: &tried, ..to("shop.example:80") };
    assert_eq!(engine.acquire(&post).unwrap().member().slot, 0);
}

#[tokio::test]
async fn of_those_whom_what_is_sent_once_avoids_nobodys_limit_is_used_up() {
    let once_an_hour = Limit { rate: Some(Rate::new(1.0 / 3_600.0, 2)), concurrency: None };
    let members = MemberLimits { others: once_an_hour, ..MemberLimits::default() };
    let limits = LimitsConfig { members, ..LimitsConfig::default() };
    let engine = Engine::start(EngineConfig::default(), Parts { limits, ..Parts::default() }).unwrap();
    engine.admit((0..3).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    (0..3).for_each(|slot| with_member(&engine, slot, "shop.example:80", &denied()));
    let post = Attempt { is_once: true, ..to("shop.example:80") };
    let mut slots = [(); 3].map(|()| engine.acquire(&post).unwrap().member().slot);
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2], "each has one use left");
    assert!(engine.acquire(&post).is_err());
}

/// An engine with two members, of which each serves one at a time.
async fn one_at_a_time() -> Arc<Engine> {
    let members = MemberLimits { others: Limit { rate: None, concurrency: Some(1) }, ..MemberLimits::default() };
    let limits = LimitsConfig { members, wait: Duration::from_secs(60), ..LimitsConfig::default() };
    let engine = Engine::start(EngineConfig::default(), Parts { limits, ..Parts::default() }).unwrap();
    engine.admit((0..2).map(|n| Admission::Vouched(Box::new(candidate(n)))).collect()).await;
    engine
}

async fn until_so_many_wait(engine: &Engine, waiting: usize) {
    while engine.room.line().len() < waiting {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_sent_once_and_waits_at_one_site_holds_nobody_up_at_another() {
    let engine = one_at_a_time().await;
    with_member(&engine, 0, "shop.example:80", &denied());
    serves(&engine, 0, "other.example:80");
    let tried = [0, 1].map(|slot| others_than(&engine, slot));
    let busy = tried.each_ref().map(|tried| engine.acquire(&Attempt { tried, ..to("other.example:80") }).unwrap());
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let post = |request, target| Attempt { request, is_once: true, ..to(target) };
    let (first, second) = (post(1, "shop.example:80"), post(2, "other.example:80"));
    let served = async {
        tokio::select! {
            served = engine.acquire_in_turn(&first, until) => ("shop", served),
            served = engine.acquire_in_turn(&second, until) => ("other", served),
        }
    };
    let ends = async {
        until_so_many_wait(&engine, 2).await;
        let [one, other] = busy;
        drop(one);
        other
    };
    let both = async { tokio::join!(served, ends) };
    let ((site, served), _) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert_eq!((site, served.unwrap().member().slot), ("other", 0));
}

#[tokio::test]
async fn what_is_sent_once_and_waits_is_not_given_whom_it_avoids() {
    let engine = one_at_a_time().await;
    with_member(&engine, 0, "shop.example:80", &denied());
    let others = others_than(&engine, 1);
    let held = engine.acquire(&Attempt { tried: &others, ..to("shop.example:80") }).unwrap();
    let post = Attempt { is_once: true, ..to("shop.example:80") };
    let ends = async {
        until_so_many_wait(&engine, 1).await;
        drop(held);
    };
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let both = async { tokio::join!(engine.acquire_in_turn(&post, until), ends) };
    let (served, ()) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert_eq!(served.unwrap().member().slot, 1);
}

#[tokio::test]
async fn what_is_sent_once_finds_those_who_have_served_among_many_who_have_just_failed() {
    let engine = engine(None, 100).await;
    let served = Outcome::Success { latency: Duration::from_millis(5) };
    (0..98).for_each(|slot| with_member(&engine, slot, "shop.example:80", &denied()));
    (98..100).for_each(|slot| with_member(&engine, slot, "shop.example:80", &served));
    assert!(slots_once(&engine, "shop.example:80").iter().all(|slot| [98, 99].contains(slot)));
}

#[tokio::test]
async fn a_crawl_shows_who_breaks_off_every_answer() {
    let engine = engine(None, 2).await;
    let sites = (0..30).map(|site| format!("www.site{site}.example:443"));
    let is_closed_after = |site: &String| {
        serves(&engine, 1, "other.example:443");
        cuts(&engine, 0, site)
    };
    assert_eq!(sites.take_while(is_closed_after).count(), 7, "three are doubts, and the fifth that counts opens it");
    let member = Arc::clone(engine.snapshot().get(0).unwrap());
    assert!(engine.suspects(&member));
    serves(&engine, 1, "a.example:443");
    assert!(engine.suspects(&member), "that was another one");
    let good = Arc::clone(engine.snapshot().get(1).unwrap());
    assert_eq!((member.live.statistics().failures, good.live.statistics().failures), (5, 0));
}

#[tokio::test]
async fn who_breaks_off_answers_at_a_site_is_passed_over_there_before_its_own_breaker_opens() {
    let engine = engine(None, 2).await;
    for turn in 0..4 {
        assert!(!engine.sites.passes_over_anybody(), "{turn}: one is a doubt, and three count");
        assert!(cuts(&engine, 0, "shop.example:80"), "{turn}");
        serves(&engine, 1, "shop.example:80");
    }
    assert_eq!(slots(&engine, "www.shop.example:80"), [1]);
    assert_eq!(slots(&engine, "other.example:80"), [0, 1]);
}

#[tokio::test]
async fn one_broken_site_opens_no_breaker_however_many_hosts_it_has() {
    let engine = engine(None, 2).await;
    for host in 0..50 {
        serves(&engine, 1, "other.example:443");
        assert!(cuts(&engine, 0, &format!("host{host}.broken.example:443")), "{host}");
    }
    assert_eq!(engine.snapshot().get(0).unwrap().live.statistics().failures, 0);
}

#[tokio::test]
async fn where_everything_is_cut_off_nobody_pays() {
    let engine = engine(None, 3).await;
    for slot in 0..3 {
        serves(&engine, slot, "other.example:443");
    }
    for site in 0..60 {
        assert!(cuts(&engine, site % 3, &format!("site{site}.example:443")), "{site}");
    }
    assert!(engine.snapshot().iter().all(|member| member.live.statistics().failures == 0));
}

#[tokio::test]
async fn who_serves_now_and_then_pays_for_none_of_its_doubts() {
    let engine = engine(None, 2).await;
    for site in 0..60 {
        serves(&engine, 1, "other.example:443");
        assert!(cuts(&engine, 0, &format!("site{site}.example:443")), "{site}");
        if site % 3 == 2 {
            serves(&engine, 0, "other.example:443");
        }
    }
    assert_eq!(engine.snapshot().get(0).unwrap().live.statistics().failures, 0);
}
