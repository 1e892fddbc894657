//! What clients want of their upstream: a session, a country, a tag, in each protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proxywhirl_core::plugin::{
    FaultCause, Observation, OnFault, PluginFault, PluginIdentity, Request, Strategy, StrategyFactory, View,
};
use proxywhirl_core::select::{Membership, Mode, Plan, Stickiness, Tier};
use proxywhirl_core::{Candidate, Member, Timestamp};
use proxywhirl_engine::Parts;
use proxywhirl_gateway::GatewayConfig;
use proxywhirl_world::{Behaviour, Origin, Protocol, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::clients::{body, exchange, rest, status};
use crate::scene::{Scene, candidate, limits, origin, read_head, upstream};

/// A strategy with sticky sessions, or one that traps and wants no fallback.
#[derive(Clone)]
pub(crate) struct Native {
    identity: PluginIdentity,
    traps: bool,
}

impl Native {
    pub(crate) fn parts(traps: bool) -> Parts {
        let native = Self { identity: PluginIdentity::named("native"), traps };
        Parts { strategy: Some(Arc::new(native)), ..Parts::default() }
    }
}

impl StrategyFactory for Native {
    fn identity(&self) -> &PluginIdentity {
        &self.identity
    }

    fn on_fault(&self) -> OnFault {
        OnFault::Reject
    }

    fn instance(&self) -> Result<Box<dyn Strategy>, PluginFault> {
        Ok(Box::new(self.clone()))
    }
}

impl Strategy for Native {
    fn identity(&self) -> &PluginIdentity {
        &self.identity
    }

    fn apply(&mut self, _: u64, _: bool, _: &[Arc<Member>], _: &[u32]) -> Result<(), PluginFault> {
        Ok(())
    }

    fn observe(&mut self, _: &[Observation]) -> Result<bool, PluginFault> {
        Ok(false)
    }

    fn plan(&mut self, _: &View<'_>, _: Timestamp, _: u64) -> Result<Plan, PluginFault> {
        if self.traps {
            return Err(PluginFault::new(self.identity.clone(), "make-plan", FaultCause::Trap, "unreachable"));
        }
        let tiers = vec![Tier { mode: Mode::Affinity, members: Membership::Everyone }];
        let sessions = Some(Stickiness { idle: None, lifetime: None, strict: false, capacity: 100 });
        Ok(Plan { tiers, sessions, ..Plan::default() })
    }

    fn select(&mut self, _: &Request) -> Result<Option<u32>, PluginFault> {
        Ok(None)
    }
}

/// Upstreams, one in each of these countries, which is also its tag.
async fn upstreams(countries: &[&str]) -> (Vec<Upstream>, Vec<Candidate>) {
    let mut all = Vec::new();
    let mut candidates = Vec::new();
    for country in countries {
        let one = upstream(Protocol::Http, Behaviour::Healthy).await;
        candidates.push(Candidate {
            country: Some(country.parse().unwrap()),
            tags: [country.parse().unwrap()].into_iter().collect(),
            ..candidate(&one.url())
        });
        all.push(one);
    }
    (all, candidates)
}

fn used(upstreams: &[Upstream]) -> Vec<usize> {
    let requests = |upstream: &Upstream| upstream.counters().requests();
    (0..upstreams.len()).filter(|index| requests(&upstreams[*index]) > 0).collect()
}

fn user(name: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:any password")))
}

fn request(origin: &Origin, fields: &str) -> String {
    format!("GET {} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n", origin.http_url("/headers"))
}

/// Opens a SOCKS 5 connection under a user name and says what came of it: the reply to the name, and that to the request.
async fn socks5(stream: &mut TcpStream, name: &str, origin: SocketAddr) -> (u8, Option<u8>) {
    stream.write_all(&[5, 2, 0, 2]).await.unwrap();
    assert_eq!(stream.read_u16().await.unwrap(), 0x0502);
    let length = u8::try_from(name.len()).unwrap();
    stream.write_all(&[&[1, length][..], name.as_bytes(), &[1, b'x']].concat()).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 1);
    let accepted = stream.read_u8().await.unwrap();
    if accepted != 0 {
        return (accepted, None);
    }
    let std::net::IpAddr::V4(ip) = origin.ip() else { panic!("not IPv4") };
    stream.write_all(&[&[5, 1, 0, 1][..], &ip.octets(), &origin.port().to_be_bytes()].concat()).await.unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await.unwrap();
    (accepted, Some(reply[1]))
}

#[tokio::test]
async fn a_session_stays_with_its_upstream_however_it_is_named() {
    let origin = origin().await;
    let (all, candidates) = upstreams(&["de", "de", "fr", "fr", "us", "us"]).await;
    let scene = Scene::of(candidates, Native::parts(false), limits()).await;
    for _ in 0..3 {
        for fields in ["ProxyWhirl-Session: checkout\r\n".to_owned(), user("anna-session-checkout")] {
            let reply = exchange(&mut scene.client().await, &request(&origin, &fields)).await;
            assert_eq!(status(&reply), 200, "{reply}");
            let seen = body(&reply).to_ascii_lowercase();
            assert!(!seen.contains("proxywhirl") && !seen.contains("proxy-auth"), "{seen}");
        }
        let mut client = scene.client().await;
        let connect = format!("CONNECT {} HTTP/1.1\r\nProxyWhirl-Session: checkout\r\n\r\n", origin.http_addr());
        client.write_all(connect.as_bytes()).await.unwrap();
        assert_eq!(status(&read_head(&mut client).await), 200);
        let mut client = scene.client().await;
        assert_eq!(socks5(&mut client, "anna-sid-checkout", origin.http_addr()).await, (0, Some(0)));
    }
    assert_eq!(used(&all).len(), 1);
    for n in 0..30 {
        let fields = format!("ProxyWhirl-Session: other{n}\r\n");
        exchange(&mut scene.client().await, &request(&origin, &fields)).await;
    }
    assert!(used(&all).len() > 1);
}

#[tokio::test]
async fn a_country_and_a_tag_are_obeyed_from_the_first_request_on() {
    let origin = origin().await;
    let (all, candidates) = upstreams(&["de", "fr", "fr"]).await;
    let scene = Scene::of(candidates, Native::parts(false), limits()).await;
    for fields in ["ProxyWhirl-Country: FR\r\n".to_owned(), user("anna-cc-fr"), user("anna-tag-fr-country-fr")] {
        for _ in 0..5 {
            let reply = exchange(&mut scene.client().await, &request(&origin, &fields)).await;
            assert_eq!(status(&reply), 200, "{reply}");
        }
    }
    let mut client = scene.client().await;
    assert_eq!(socks5(&mut client, "anna-tag-fr", origin.http_addr()).await, (0, Some(0)));
    assert!(!used(&all).contains(&0), "{:?}", used(&all));
    let reply = exchange(&mut scene.client().await, &request(&origin, "ProxyWhirl-Country: jp\r\n")).await;
    assert_eq!(status(&reply), 503, "{reply}");
    let told = "3 not what the request demands, 0 with an open breaker, 0 not in the plan (demanded: country JP)";
    assert!(reply.contains("\r\nRetry-After: 60\r\n") && reply.contains(told), "{reply}");
}

#[tokio::test]
async fn a_name_is_met_and_kept_out_however_it_is_written() {
    let origin = origin().await;
    let (all, mut candidates) = upstreams(&["us", "us"]).await;
    let tags = ["city:new_york", "isp:Verizon_Business", "zip:SW1A_1AA", "state:ny"];
    candidates[0].tags = tags.map(|tag| tag.parse().unwrap()).into_iter().collect();
    let scene = Scene::of(candidates, Native::parts(false), limits()).await;
    for fields in [
        "ProxyWhirl-City: !New York\r\n".to_owned(),
        "ProxyWhirl-City: !new_york\r\nProxyWhirl-Country: us\r\n".to_owned(),
        user("anna-!city-new_york"),
        user("anna-city-!newyork"),
        user("anna-country-us-!city-NewYork"),
        user("anna-!isp-verizonbusiness"),
        user("anna-!state-us_new_york"),
        "ProxyWhirl-Zip: !sw1a 1aa\r\n".to_owned(),
    ] {
        for _ in 0..4 {
            let reply = exchange(&mut scene.client().await, &request(&origin, &fields)).await;
            assert_eq!(status(&reply), 200, "{reply}");
        }
    }
    for _ in 0..4 {
        let mut client = scene.client().await;
        assert_eq!(socks5(&mut client, "anna-!city-new_york", origin.http_addr()).await, (0, Some(0)));
    }
    assert_eq!(used(&all), [1]);
    let before = all[1].counters().requests();
    for fields in [
        user("anna-city-newyork"),
        user("anna-isp-verizon business"),
        user("anna-state-us_ny-zip-SW1A1AA"),
        "ProxyWhirl-ISP: Verizon-Business\r\n".to_owned(),
    ] {
        let reply = exchange(&mut scene.client().await, &request(&origin, &fields)).await;
        assert_eq!(status(&reply), 200, "{reply}");
    }
    assert_eq!((all[0].counters().requests(), all[1].counters().requests()), (4, before));
}

#[tokio::test]
async fn what_nobody_knows_is_refused_and_named() {
    let origin = origin().await;
    let (all, candidates) = upstreams(&["de"]).await;
    let scene = Scene::of(candidates, Native::parts(false), limits()).await;
    let reply = exchange(&mut scene.client().await, &request(&origin, "ProxyWhirl-Counrty: de\r\n")).await;
    assert_eq!(status(&reply), 400, "{reply}");
    assert!(reply.contains("ProxyWhirl-Counrty"), "{reply}");
    let reply = exchange(&mut scene.client().await, &request(&origin, &user("anna-counrty-de"))).await;
    assert_eq!(status(&reply), 407, "{reply}");
    assert!(reply.contains("counrty") && reply.contains("\r\nProxy-Authenticate: Basic "), "{reply}");
    let twice = "ProxyWhirl-Attempts: 1\r\nProxyWhirl-Attempts: 2\r\n";
    let reply = exchange(&mut scene.client().await, &request(&origin, twice)).await;
    assert_eq!(status(&reply), 400, "{reply}");
    assert!(reply.contains("ProxyWhirl-Attempts: it was said before with another value"), "{reply}");
    let reply = exchange(&mut scene.client().await, &request(&origin, &(user("anna") + &user("berta")))).await;
    assert_eq!(status(&reply), 400, "{reply}");
    assert!(reply.contains("the field Proxy-Authorization is there more than once"), "{reply}");
    let reply = exchange(&mut scene.client().await, &request(&origin, &user("anna-hardsession-a-!strict"))).await;
    assert_eq!(status(&reply), 407, "{reply}");
    let mut client = scene.client().await;
    let connect = format!("CONNECT {} HTTP/1.1\r\n{}\r\n", origin.http_addr(), user("anna-session"));
    client.write_all(connect.as_bytes()).await.unwrap();
    assert_eq!(status(&rest(&mut client).await), 407);
    let mut client = scene.client().await;
    assert_eq!(socks5(&mut client, "anna-counrty-de", origin.http_addr()).await, (1, None));
    let mut client = scene.client().await;
    client.write_all(b"\x04\x01\x00\x50\x7f\x00\x00\x01anna-counrty-de\x00").await.unwrap();
    let mut reply = [0; 8];
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply[..2], [0, 91]);
    assert_eq!(used(&all), Vec::<usize>::new());
}

#[tokio::test]
async fn a_session_stays_when_its_origin_is_slow_and_another_upstream_is_asked_too() {
    let origin = origin().await;
    let (all, candidates) = upstreams(&["de", "de", "de"]).await;
    let patience = Duration::from_millis(300);
    let scene =
        Scene::of(candidates, Native::parts(false), GatewayConfig { connect_timeout: patience, ..limits() }).await;
    let get = async |path: &str| {
        let url = origin.http_url(path);
        let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\nProxyWhirl-Session: a\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&exchange(&mut scene.client().await, &request).await), 200);
    };
    get("/").await;
    let own = used(&all);
    get("/delay/500").await;
    assert_eq!(origin.requests_for("/delay/500"), 2, "the first one was silent, and another one was asked");
    let asked = |upstream: &Upstream| upstream.counters().requests();
    let before: Vec<u64> = all.iter().map(asked).collect();
    get("/").await;
    get("/").await;
    let after = all.iter().map(asked);
    let since: Vec<u64> = after.zip(&before).map(|(after, before)| after - before).collect();
    assert_eq!((own.len(), since[own[0]], since.iter().sum::<u64>()), (1, 2, 2), "{since:?}");
}

#[tokio::test]
async fn a_session_stays_when_an_origin_fails_and_moves_when_its_upstream_does() {
    let origin = origin().await;
    let (all, candidates) = upstreams(&["de", "de", "de", "de", "de", "de"]).await;
    let scene = Scene::of(candidates, Native::parts(false), limits()).await;
    let session = "ProxyWhirl-Session: a\r\nConnection: close\r\n";
    let get = async |path: &str| {
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n{session}\r\n", origin.http_url(path));
        exchange(&mut scene.client().await, &request).await
    };
    let by = async || {
        let before: Vec<u64> = all.iter().map(|upstream| upstream.counters().requests()).collect();
        assert_eq!(status(&get("/").await), 200);
        let has_served = |at: &usize| all[*at].counters().requests() > before[*at];
        (0..all.len()).find(has_served).unwrap()
    };
    let own = by().await;
    for _ in 0..5 {
        assert_eq!(status(&get("/status/503").await), 503);
        assert_eq!(by().await, own);
        let connect = format!("CONNECT 127.0.0.1:1 HTTP/1.1\r\n{session}\r\n");
        assert_eq!(status(&exchange(&mut scene.client().await, &connect).await), 502);
        assert_eq!(by().await, own);
    }
    all[own].set_behaviour(Behaviour::CloseAfterHead).await.unwrap();
    let other = by().await;
    assert_ne!(other, own);
    all[own].set_behaviour(Behaviour::Healthy).await.unwrap();
    assert_eq!((by().await, by().await), (other, other));
}

#[tokio::test]
async fn the_fault_of_a_strategy_that_rejects_is_named_to_the_client() {
    let origin = origin().await;
    let (all, candidates) = upstreams(&["de"]).await;
    let scene = Scene::of(candidates, Native::parts(true), limits()).await;
    let reply = exchange(&mut scene.client().await, &request(&origin, "")).await;
    assert_eq!(status(&reply), 503, "{reply}");
    let told = reply.lines().find(|line| line.starts_with("Proxy-Status: ")).unwrap();
    assert!(told.contains("plugin native") && told.contains("trap in make-plan"), "{told}");
    assert_eq!(used(&all), Vec::<usize>::new());
}

#[tokio::test]
async fn a_strict_session_that_nobody_has_served_yet_goes_elsewhere_and_stays_from_then_on() {
    let origin = origin().await;
    let (upstreams, candidates) = upstreams(&["de", "de", "de"]).await;
    upstreams[0].set_behaviour(Behaviour::CloseAfterHead).await.unwrap();
    let scene = Scene::of(candidates, Native::parts(false), limits()).await;
    let ask = async |session: usize| {
        let fields = format!("ProxyWhirl-Session: new{session}\r\nProxyWhirl-Strict: 1\r\n");
        status(&exchange(&mut scene.client().await, &request(&origin, &fields)).await)
    };
    for session in 0..16 {
        assert_eq!((ask(session).await, ask(session).await), (200, 200), "{session}");
    }
    assert!(upstreams[0].counters().connections > 0, "some have begun with it");
    // Now each of them has somebody to stay with.
    upstreams[1].set_behaviour(Behaviour::CloseAfterHead).await.unwrap();
    let mut statuses = Vec::new();
    for session in 0..16 {
        statuses.push(ask(session).await);
    }
    assert!(statuses.contains(&200) && statuses.contains(&502), "{statuses:?}");
}
