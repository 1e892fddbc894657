//! Plans for sites, for views, with sessions, and for a time.

use proxywhirl_core::Anonymity;
use proxywhirl_core::select::Stickiness;

use super::actor::{Actor, impatient, join, playing, slot, until};
use super::*;

/// The member that a site's requests get.
fn of_site(engine: &Engine, target: &str) -> u32 {
    let attempt = Attempt { site: engine.site(target), target, ..attempt(&[]) };
    engine.acquire(&attempt).unwrap().member().slot
}

#[tokio::test]
async fn sites_get_plans_of_their_own_and_share_them_below_their_registrable_domain() {
    let symbols = Arc::new(Symbols::default());
    let shop = symbols.intern("shop.example");
    let actor = Actor::new("1.0.0", 0)
        .planning(move |view| Plan { per_site: true, ..only(if view.site == shop { 2 } else { 1 }) });
    let parts = Parts { strategy: Some(actor.factory()), symbols, ..Parts::default() };
    let engine = Engine::start(impatient(), parts).unwrap();
    join(&engine, 0..3).await;
    assert_eq!(of_site(&engine, "www.shop.example:443"), 1);
    until(|| of_site(&engine, "www.shop.example:443") == 2).await;
    assert_eq!(of_site(&engine, "api.shop.example:80"), 2);
    assert_eq!(of_site(&engine, "news.example:80"), 1);
    assert_eq!(slot(&engine), 1);
    let lease = engine.acquire(&attempt(&[])).unwrap();
    let attempt = Attempt { site: engine.site("shop.example:1"), ..attempt(&[]) };
    engine.settle(lease, &Outcome::Success { latency: Duration::from_millis(3) }, &attempt);
    until(|| actor.knobs.observed.lock().unwrap().iter().any(|it| it.site == shop && it.latency == 3_000)).await;
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn sites_cost_nothing_when_nobody_tells_them_apart() {
    let engine = playing(&Actor::new("1.0.0", 0), impatient(), 1).await;
    assert_eq!(engine.site("www.shop.example:443"), Symbol::NONE);
    engine.stop().await.unwrap();
}

fn in_country(n: u8, country: &str) -> Admission {
    Admission::Vouched(Box::new(Candidate { country: Some(country.parse().unwrap()), ..candidate(n) }))
}

fn filter(country: &str) -> Arc<Filter> {
    Arc::new(Filter::new([country.parse().unwrap()], [], [], Anonymity::Unknown))
}

#[tokio::test]
async fn a_filter_is_obeyed_at_once_and_gets_a_plan_of_its_own() {
    // In a view the last member, for everybody the first.
    let actor = Actor::new("1.0.0", 0).planning(|view| match view.members {
        Some(members) => only(*members.last().unwrap()),
        None => Plan::fallback(),
    });
    let engine = Engine::start(impatient(), Parts { strategy: Some(actor.factory()), ..Parts::default() }).unwrap();
    engine
        .admit(["de", "fr", "de", "de", "fr"].iter().zip(0..).map(|(country, n)| in_country(n, country)).collect())
        .await;
    let german = filter("de");
    let of = |filter: &Arc<Filter>| {
        engine.acquire(&Attempt { filter: Some(filter), ..attempt(&[]) }).map(|lease| lease.member().slot)
    };
    assert!([0, 2, 3].contains(&of(&german).unwrap()));
    until(|| (0..4).all(|_| of(&german).unwrap() == 3)).await;
    // The view follows the pool.
    engine.remove(vec![candidate(3).endpoint.key()]).await;
    until(|| (0..4).all(|_| of(&german).is_ok_and(|slot| slot == 2))).await;
    let Err(NoLease::Nobody(refusals)) = of(&filter("jp")) else { panic!("somebody in Japan") };
    assert_eq!((refusals.members, refusals.filter), (4, 4));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn more_filters_than_there_are_views_are_all_obeyed() {
    let engine = playing(&Actor::new("1.0.0", 0).planning(|_| Plan::fallback()), impatient(), 0).await;
    let countries: Vec<String> =
        (0..100_u8).map(|n| format!("{}{}", (b'a' + n / 26) as char, (b'a' + n % 26) as char)).collect();
    engine.admit(countries.iter().zip(0..).map(|(country, n)| in_country(n, country)).collect()).await;
    for _ in 0..3 {
        for (country, n) in countries.iter().zip(0_u32..) {
            let attempt = Attempt { filter: Some(&filter(country)), ..attempt(&[]) };
            assert_eq!(engine.acquire(&attempt).unwrap().member().slot, n);
        }
    }
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_plan_is_renewed_when_its_time_is_over_and_when_observe_asks() {
    let actor = Actor::new("1.0.0", 0);
    let engine = playing(&actor, impatient(), 3).await;
    *actor.knobs.plan.lock().unwrap() = Box::new(|_| Plan { refresh: Some(Duration::from_millis(10)), ..only(1) });
    actor.knobs.wants_plan.store(true, Ordering::Relaxed);
    let lease = engine.acquire(&attempt(&[])).unwrap();
    assert_eq!(lease.member().slot, 0);
    engine.settle(lease, &Outcome::Success { latency: Duration::from_millis(1) }, &attempt(&[]));
    until(|| slot(&engine) == 1).await;
    actor.knobs.wants_plan.store(false, Ordering::Relaxed);
    *actor.knobs.plan.lock().unwrap() = Box::new(|_| only(2));
    until(|| slot(&engine) == 2).await;
    engine.stop().await.unwrap();
}

fn sticky() -> Plan {
    let tiers = vec![Tier { mode: Mode::Affinity, members: Membership::Everyone }];
    let sessions = Some(Stickiness { idle: None, lifetime: None, strict: false, capacity: 1_000 });
    Plan { tiers, sessions, ..Plan::default() }
}

/// Where each of a hundred sessions goes.
fn assigned(engine: &Engine) -> Vec<MemberId> {
    let of = |session| engine.acquire(&Attempt { session: Some(session), ..attempt(&[]) }).unwrap().member().id;
    (1..=100_u64).map(|session| of(mix(session))).collect()
}

#[tokio::test]
async fn sessions_stay_when_members_join_and_after_a_restart() {
    let shelf = Shelf::default();
    let start = |sticky: fn() -> Plan| {
        let actor = Actor::new("1.0.0", 0).planning(move |_| sticky());
        let parts = Parts { strategy: Some(actor.factory()), store: Some(Box::new(shelf.clone())), ..Parts::default() };
        Engine::start(EngineConfig { save_interval: Duration::from_secs(3_600), ..impatient() }, parts).unwrap()
    };
    let engine = start(sticky);
    join(&engine, 0..10).await;
    let before = assigned(&engine);
    join(&engine, 10..20).await;
    assert_eq!(assigned(&engine), before);
    // A strategy in between that knows no sessions does not forget them.
    engine.swap_strategy(Actor::new("2.0.0", 0).factory()).await.unwrap();
    engine.swap_strategy(Actor::new("3.0.0", 0).planning(|_| sticky()).factory()).await.unwrap();
    assert_eq!(assigned(&engine), before);
    engine.stop().await.unwrap();

    let engine = start(sticky);
    join(&engine, 20..30).await;
    assert_eq!(assigned(&engine), before);
    let leaves = engine.snapshot().iter().find(|member| member.id == before[0]).cloned().unwrap();
    engine.remove(vec![leaves.endpoint.key()]).await;
    let moved = assigned(&engine).iter().zip(&before).filter(|(now, then)| now != then).count();
    assert_eq!(moved, before.iter().filter(|id| **id == leaves.id).count());
    engine.stop().await.unwrap();
}
