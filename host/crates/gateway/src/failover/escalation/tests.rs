//! Tiers under a paused clock: one direct way, two cheap members, two dear ones.

use std::sync::Mutex;
use std::time::Duration;

use proxywhirl_core::Endpoint;
use proxywhirl_core::candidate::Candidate;
use proxywhirl_core::event::Topic;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::select::Stick;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Outcome, Side};
use proxywhirl_engine::bans::Scope;
use proxywhirl_engine::{Ban, Engine, EngineConfig, Parts};
use tokio::time::advance;

use super::*;
use crate::alarms::Alarms;
use crate::config::{GatewayConfig, HedgeConfig};
use crate::failover::budget::RetryBudget;
use crate::failover::hedge::Hedging;
use crate::failover::{Leaving, Means, Repeat, Upstream, Won};
use crate::wanted::Limits;

struct Stairs {
    engine: Arc<Engine>,
    config: GatewayConfig,
    budget: RetryBudget,
    hedging: Hedging,
    escalation: Escalation,
}

fn words(words: &[(&str, &str)]) -> Wanted {
    Wanted::by_words(words.iter().copied(), Limits { attempts: 9, deadline: Duration::from_secs(9) }).unwrap()
}

fn tier(name: &str) -> Tier {
    let way = if name == "direct" { Way::Direct } else { Way::Pool(words(&[("tag", name)]).filter) };
    Tier { name: name.into(), way }
}

impl Stairs {
    /// Members with the ports 1 and 2 are cheap, 3 and 4 are dear.
    async fn new() -> Self {
        let engine = Engine::start(EngineConfig::default(), Parts::default()).unwrap();
        for (port, tag) in [(1, "cheap"), (2, "cheap"), (3, "dear"), (4, "dear")] {
            let endpoint: Endpoint = format!("http://127.0.0.1:{port}").parse().unwrap();
            let tags = std::iter::once(tag.parse().unwrap()).collect();
            let candidate = Candidate { tags, ..endpoint.into() };
            engine.admit(vec![Admission::Vouched(Box::new(candidate))]).await;
        }
        let config = GatewayConfig::default();
        let escalation = EscalationConfig {
            tiers: ["direct", "cheap", "dear"].map(tier).into(),
            attempts: 1,
            remember: Duration::from_mins(10),
            ..EscalationConfig::default()
        };
        Self {
            engine,
            budget: RetryBudget::new(config.retry),
            hedging: Hedging::new(HedgeConfig::default()),
            config,
            escalation: Escalation::new(escalation).unwrap(),
        }
    }

    /// The ports that a request asks, 0 for direct, when those below `refusing` refuse.
    async fn ask(&self, target: &str, wanted: &Wanted, refusing: u16) -> Vec<u16> {
        let Self { engine, config, budget, hedging, escalation } = self;
        let means = Means { engine, config, budget, hedging, escalation: Some(escalation) };
        let asked = Mutex::new(Vec::new());
        let mut failover = Failover::new(
            means,
            (engine.next_request(), Instant::now(), Leaving::never(), Alarms::of_tests()),
            target,
            wanted.clone(),
        );
        let result = failover
            .run(Repeat::Dial, |Upstream { endpoint, .. }| {
                let port = endpoint.port;
                asked.lock().unwrap().push(port);
                async move {
                    let fault = Fault::new(Side::Origin, Stage::Connect, Kind::Refused, "");
                    if port < refusing { Err(fault) } else { Ok(port) }
                }
            })
            .await;
        if let Ok(Won { trial, latency, .. }) = result {
            failover.settle(trial, &Outcome::Success { latency });
        }
        asked.into_inner().unwrap()
    }
}

const SHOP: &str = "www.shop.example:443";

#[tokio::test(start_paused = true)]
async fn a_request_goes_up_and_its_site_begins_there_until_its_time_is_over() {
    let stairs = Stairs::new().await;
    let anything = Wanted::default();
    assert_eq!(stairs.ask(SHOP, &anything, 0).await, [0]);
    let asked = stairs.ask(SHOP, &anything, 3).await;
    assert!(matches!(asked[..], [0, 1 | 2, 3 | 4]), "{asked:?}");
    for _ in 0..5 {
        advance(Duration::from_secs(100)).await;
        // Another host of the site.
        let asked = stairs.ask("api.shop.example:443", &anything, 3).await;
        assert!(matches!(asked[..], [3 | 4]), "{asked:?}");
    }
    let asked = stairs.ask("other.example:443", &anything, 1).await;
    assert!(matches!(asked[..], [0, 1 | 2]), "{asked:?}");
    advance(Duration::from_secs(101)).await;
    assert_eq!(stairs.ask(SHOP, &anything, 3).await.len(), 3, "it came down, although it was in use");
}

#[tokio::test(start_paused = true)]
async fn a_session_in_use_stays_up_and_a_strict_one_goes_up_no_more() {
    let stairs = Stairs::new().await;
    let session = Wanted { session: Some(7), ..Wanted::default() };
    assert_eq!(stairs.ask(SHOP, &session, 3).await.len(), 3);
    for _ in 0..30 {
        advance(Duration::from_secs(100)).await;
        assert_eq!(stairs.ask(SHOP, &session, 3).await.len(), 1);
    }
    let strict = Wanted { session: Some(8), stick: Stick { strict: Some(true), ..Stick::default() }, ..session };
    let asked = stairs.ask(SHOP, &strict, 1).await;
    assert!(matches!(asked[..], [0, 1 | 2]), "{asked:?}");
    // Whom it asks in its tier is the pool's business: a strategy binds it to one.
    let asked = stairs.ask(SHOP, &strict, 3).await;
    assert!(asked.iter().all(|port| matches!(port, 1 | 2)), "{asked:?}");
    let flexible = Wanted { session: Some(9), ..Wanted::default() };
    stairs.ask(SHOP, &flexible, 1).await;
    assert!(matches!(stairs.ask(SHOP, &flexible, 3).await[..], [1 | 2, 3 | 4]));
}

#[tokio::test(start_paused = true)]
async fn who_demands_something_of_a_proxy_gets_one_of_a_tier_that_has_it() {
    let stairs = Stairs::new().await;
    let dear = words(&[("tag", "dear")]);
    assert!(matches!(stairs.ask(SHOP, &dear, 0).await[..], [3 | 4]));
    let nobody = words(&[("tag", "none")]);
    assert!(stairs.ask(SHOP, &nobody, 0).await.is_empty());
    // That says nothing of the site.
    assert_eq!(stairs.ask(SHOP, &Wanted::default(), 0).await, [0]);
    // That those below have refused does.
    assert_eq!(stairs.ask(SHOP, &Wanted::default(), 3).await.len(), 3);
    assert!(matches!(stairs.ask(SHOP, &Wanted::default(), 3).await[..], [3 | 4]));
}

#[tokio::test(start_paused = true)]
async fn more_attempts_in_a_tier_than_it_has_members_lead_up() {
    let mut stairs = Stairs::new().await;
    stairs.escalation.config.attempts = 3;
    let asked = stairs.ask(SHOP, &Wanted::default(), 3).await;
    assert!(matches!(asked[..], [0, 1 | 2, 1 | 2, 3 | 4]), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn that_nobody_is_left_is_told_when_it_is_so_in_the_last_tier() {
    let mut stairs = Stairs::new().await;
    let tiers = ["direct", "gone", "cheap", "dear"].map(tier).into();
    stairs.escalation =
        Escalation::new(EscalationConfig { tiers, attempts: 2, ..EscalationConfig::default() }).unwrap();
    let mut told = stairs.engine.subscribe(&[Topic::PoolEmpty], 10);
    let asked = stairs.ask(SHOP, &Wanted::default(), 1).await;
    assert!(matches!(asked[..], [0, 1 | 2]), "{asked:?}");
    // All refuse.
    let patient = Wanted { attempts: Some(9), ..Wanted::default() };
    assert_eq!(stairs.ask("other.example:443", &patient, 9).await.len(), 5);
    stairs.engine.bus().close();
    let event = told.next().await.unwrap();
    assert!(event.payload.contains("other.example"), "{}", event.payload);
    assert!(told.next().await.is_none(), "a tier that had nobody was told, though the next one had");
}

fn attempt(site: Symbol, wanted: &Wanted) -> Attempt<'_> {
    Attempt {
        request: 0,
        number: 1,
        whose: 0,
        target: SHOP,
        site,
        session: wanted.session,
        stick: wanted.stick,
        filter: wanted.filter.as_ref(),
        tried: &[],
        is_late: false,
        is_once: false,
        is_unproven: false,
        hedge: false,
        tier: None,
        by: None,
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_told_how_many_each_tier_has_and_where_a_request_begins() {
    let stairs = Stairs::new().await;
    let site = stairs.engine.site(SHOP);
    let look = |wanted: &Wanted| {
        let words = stairs.escalation.look(&stairs.engine, &attempt(site, wanted), wanted);
        words.into_iter().map(|it| (it.eligible, it.begins, it.remembered_s)).collect::<Vec<_>>()
    };
    let anything = Wanted::default();
    let private = Attempt { target: "[::1]:80", ..attempt(site, &anything) };
    let barred = stairs.escalation.look(&stairs.engine, &private, &anything).remove(0).barred;
    assert_eq!(barred.as_deref(), Some("the gateway does not go straight to [::1]: loopback"));
    assert_eq!(look(&anything), [(1, true, None), (2, false, None), (2, false, None)]);
    stairs.ask(SHOP, &anything, 3).await;
    advance(Duration::from_secs(100)).await;
    assert_eq!(look(&anything), [(1, false, None), (2, false, None), (2, true, Some(500))]);
    assert_eq!(look(&words(&[("tag", "dear")]))[..2], [(0, false, None), (0, false, None)]);
    // Looking is no use: nobody waits for it, and it is forgotten as before.
    advance(Duration::from_secs(501)).await;
    assert_eq!(look(&anything), [(1, true, None), (2, false, None), (2, false, None)]);
    for upstream in [Endpoint::direct(), "http://127.0.0.1:1".parse().unwrap()] {
        let (target, scope, span) = (SHOP, Scope::Site, Duration::from_mins(1));
        stairs.engine.ban(&Ban { request: 1, target, upstream: &upstream, rule: "r", scope, span });
    }
    assert_eq!(look(&anything)[..2], [(0, true, None), (1, false, None)]);
}
