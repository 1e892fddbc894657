//! Members whose login each request fills in: one gateway of a vendor, for many sessions and countries.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxywhirl_core::Anonymity;
use proxywhirl_core::limit::{Limit, MemberLimits};
use proxywhirl_core::select::Filter;
use proxywhirl_engine::{LimitsConfig, Parts};
use proxywhirl_gateway::{EscalationConfig, GatewayConfig, Tier, Way};
use proxywhirl_world::{Behaviour, Protocol, Upstream, UpstreamOptions};

use crate::clients::{Client, exchange, status};
use crate::scene::{Scene, candidate, limits, origin};
use crate::wishes::Native;

const LOGIN: &str = "me[-country-{country}][-session-{session=8}]:pass_{session=4}";

async fn vendor(protocol: Protocol) -> (Upstream, String) {
    let vendor = Upstream::start(UpstreamOptions::new(protocol).any_login()).await.unwrap();
    let url = format!("{}://{LOGIN}@{}", protocol.scheme(), vendor.addr());
    (vendor, url)
}

fn request(origin: SocketAddr, fields: &str) -> String {
    format!("GET http://{origin}/bytes/5 HTTP/1.1\r\nHost: {origin}\r\n{fields}Connection: close\r\n\r\n")
}

async fn ask(scene: &Scene, origin: SocketAddr, fields: &str) -> u16 {
    status(&exchange(&mut scene.client().await, &request(origin, fields)).await)
}

fn users(vendor: &Upstream) -> Vec<String> {
    vendor.logins().into_iter().map(|(user, _)| user).collect()
}

#[tokio::test]
async fn each_session_has_its_own_login_and_its_own_connection() {
    let origin = origin().await;
    let (vendor, url) = vendor(Protocol::Http).await;
    let scene = Scene::new(&[&url]).await;
    for session in ["a", "a", "b", "", "a", "", "b"] {
        let field = if session.is_empty() { String::new() } else { format!("ProxyWhirl-Session: {session}\r\n") };
        assert_eq!(ask(&scene, origin.http_addr(), &field).await, 200, "{session}");
    }
    let users = users(&vendor);
    let [a, a2, b, none, a3, none2, b2] = users.as_slice() else { panic!("{users:?}") };
    assert_eq!([a, a, b, none], [a2, a3, b2, none2]);
    assert!(a.starts_with("me-session-") && b.starts_with("me-session-") && a != b, "{users:?}");
    assert_eq!(none, "me", "what a request does not say is left out");
    // The password of a request without a session is another one for each, so that none of their connections is shared.
    assert_eq!(vendor.counters().connections, 4);
    let member = scene.member(&url);
    assert_eq!((member.statistics.successes, member.statistics.failures), (7, 0), "one member");
}

#[tokio::test]
async fn a_place_is_asked_for_and_a_place_without_a_blank_is_not_there() {
    let origin = origin().await;
    let (vendor, url) = vendor(Protocol::Http).await;
    let scene = Scene::new(&[&url]).await;
    assert_eq!(ask(&scene, origin.http_addr(), "ProxyWhirl-Country: DE\r\nProxyWhirl-Session: a\r\n").await, 200);
    let field = "ProxyWhirl-City: x-session-evil\r\n";
    assert!(ask(&scene, origin.http_addr(), field).await >= 500, "the login has no blank for a city");
    let users = users(&vendor);
    assert!(users.len() == 1 && users[0].starts_with("me-country-de-session-"), "{users:?}");
}

#[tokio::test]
async fn tunnels_and_socks_log_in_alike() {
    let origin = origin().await;
    for protocol in [Protocol::Http, Protocol::Socks5h] {
        let (vendor, url) = vendor(protocol).await;
        let scene = Scene::new(&[&url]).await;
        for client in Client::ALL {
            assert_eq!(status(&client.ask(scene.addr, origin.http_addr(), "/bytes/5").await), 200, "{client:?}");
        }
        let logins = vendor.logins();
        assert_eq!(logins.len(), Client::ALL.len());
        let passwords: HashSet<_> = logins.iter().map(|(_, password)| password).collect();
        assert_eq!(passwords.len(), logins.len(), "without a session, each attempt has its own: {logins:?}");
    }
}

#[tokio::test]
async fn a_session_that_begins_anew_has_another_login() {
    let origin = origin().await;
    let (vendor, url) = vendor(Protocol::Http).await;
    let scene = Scene::of(vec![candidate(&url)], Native::parts(false), limits()).await;
    for rotate in ["", "", "ProxyWhirl-Rotate: yes\r\n", ""] {
        assert_eq!(ask(&scene, origin.http_addr(), &format!("ProxyWhirl-Session: a\r\n{rotate}")).await, 200);
    }
    let users = users(&vendor);
    assert_eq!((&users[0], &users[2]), (&users[1], &users[3]));
    assert_ne!(users[0], users[2]);
}

#[tokio::test]
async fn an_exit_that_fails_is_replaced_by_another_one_of_the_same_vendor() {
    let origin = origin().await;
    for protocol in [Protocol::Http, Protocol::Socks5h] {
        let options = UpstreamOptions::new(protocol).any_login().behaviour(Behaviour::Flaky { every: 2 });
        let vendor = Upstream::start(options).await.unwrap();
        let scene = Scene::new(&[&format!("{}://{LOGIN}@{}", protocol.scheme(), vendor.addr())]).await;
        for _ in 0..6 {
            let asked = Client::Connect.ask(scene.addr, origin.http_addr(), "/bytes/5").await;
            assert_eq!(status(&asked), 200, "{protocol:?}");
        }
        let logins = vendor.logins();
        let passwords: HashSet<_> = logins.iter().map(|(_, password)| password).collect();
        assert_eq!(
            (vendor.counters().connections, passwords.len()),
            (11, logins.len()),
            "each attempt is another one's"
        );
    }
    // A session is at one exit, and a gateway that is not there has none at all.
    let (vendor, url) = vendor(Protocol::Http).await;
    vendor.set_behaviour(Behaviour::CloseAfterHead).await.unwrap();
    let scene = Scene::new(&[&url]).await;
    assert_eq!(ask(&scene, origin.http_addr(), "ProxyWhirl-Session: a\r\n").await, 502);
    assert_eq!(vendor.counters().connections, 1);
    vendor.set_behaviour(Behaviour::Dead).await.unwrap();
    let scene = Scene::new(&[&url]).await;
    assert_eq!(ask(&scene, origin.http_addr(), "ProxyWhirl-Explain: yes\r\n").await, 502);
    assert_eq!(scene.member(&url).statistics.failures, 1);
}

#[tokio::test]
async fn an_attempt_that_failed_gives_its_place_at_the_vendor_back() {
    let origin = origin().await;
    let (vendor, url) = vendor(Protocol::Http).await;
    vendor.set_behaviour(Behaviour::CloseAfterHead).await.unwrap();
    let others = Limit { concurrency: Some(1), rate: None };
    let members = MemberLimits { others, ..MemberLimits::default() };
    let parts = Parts { limits: LimitsConfig { members, ..LimitsConfig::default() }, ..Parts::default() };
    let scene = Scene::of(vec![candidate(&url)], parts, limits()).await;
    let began = Instant::now();
    assert_eq!(ask(&scene, origin.http_addr(), "").await, 502);
    assert!(began.elapsed() < Duration::from_secs(5), "it waits for nobody");
    assert_eq!(vendor.counters().connections, u64::from(GatewayConfig::default().attempts));
}

#[tokio::test]
async fn the_place_of_a_tier_is_asked_for() {
    let origin = origin().await;
    let (vendor, url) = vendor(Protocol::Http).await;
    let germany = Filter::new(["DE".parse().unwrap()], [], [], Anonymity::Unknown);
    let tiers = vec![Tier { name: "country:de".into(), way: Way::Pool(Some(Arc::new(germany))) }];
    let escalation = EscalationConfig { tiers, ..EscalationConfig::default() };
    let scene = Scene::with(&[&url], GatewayConfig { escalation, ..limits() }).await;
    assert_eq!(ask(&scene, origin.http_addr(), "").await, 200);
    assert_eq!(users(&vendor), ["me-country-de"]);
}

#[tokio::test]
async fn a_client_says_no_more_to_a_vendor_than_its_blank() {
    let origin = origin().await;
    let vendor = Upstream::start(UpstreamOptions::new(Protocol::Http).any_login()).await.unwrap();
    let scene = Scene::new(&[&format!("http://me[-country-{{country}}][-city-{{city}}]:p@{}", vendor.addr())]).await;
    assert_eq!(ask(&scene, origin.http_addr(), "ProxyWhirl-City: london-country-us\r\n").await, 200);
    assert_eq!(ask(&scene, origin.http_addr(), "ProxyWhirl-Tag: city:new-york\r\n").await, 200);
    assert_eq!(users(&vendor), ["me-city-london_country_us", "me-city-new_york"]);
}
