//! Another upstream is tried when one fails, before the client is answered.

use std::time::{Duration, Instant};

use proxywhirl_tests::{Served, curl, file, folder};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Twelve requests of a kind over three upstreams, of which the second misbehaves: how many succeed, and how long the
/// longest takes.
async fn twelve(protocol: Protocol, behaviour: Behaviour, scheme: &str, tls: bool) -> (usize, Duration) {
    let healthy = || UpstreamOptions::new(protocol);
    let plan = WorldPlan::new(vec![healthy(), healthy().behaviour(behaviour), healthy()]);
    let world = World::start(plan).await.unwrap();
    let folder = folder();
    let ca = file(&folder, "ca.pem", world.ca().ca_pem());
    let list = file(&folder, "list", world.proxies().join("\n"));
    let served = Served::start(["--proxies", &list, "--connect-timeout", "2s", "--proxy-cacert", &ca]);
    let url = if tls { world.origin().https_url("/").unwrap() } else { world.origin().http_url("/") };
    let (mut succeeded, mut longest) = (0, Duration::ZERO);
    for _ in 0..12 {
        let start = Instant::now();
        let ran = curl(["--cacert", &ca, "--proxy", &served.proxy(scheme), "--fail", &url]);
        succeeded += usize::from(ran.code == Some(0));
        longest = longest.max(start.elapsed());
    }
    (succeeded, longest)
}

/// The matrix: a closed port, 503 to CONNECT, close after the head, silence.
const BEHAVIOURS: [Behaviour; 4] =
    [Behaviour::Dead, Behaviour::RefuseConnect(503), Behaviour::CloseAfterHead, Behaviour::Silent];

async fn all_succeed(protocol: Protocol, scheme: &str, tls: bool) {
    for behaviour in BEHAVIOURS {
        let (succeeded, longest) = twelve(protocol, behaviour, scheme, tls).await;
        assert_eq!(succeeded, 12, "{behaviour:?}");
        assert!(longest < CONNECT_TIMEOUT + Duration::from_secs(1), "{behaviour:?} took {longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_get_is_lost_to_one_bad_upstream_of_three() {
    all_succeed(Protocol::Http, "http", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connect_is_lost_to_one_bad_upstream_of_three() {
    all_succeed(Protocol::Http, "http", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_socks_tunnel_is_lost_to_one_bad_upstream_of_three() {
    all_succeed(Protocol::Socks5h, "socks5h", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nothing_helps_the_error_says_why() {
    let world = World::start(WorldPlan::new(vec![
        UpstreamOptions::new(Protocol::Http).behaviour(Behaviour::Dead),
        UpstreamOptions::new(Protocol::Http).credentials("user", "hunter2").behaviour(Behaviour::Dead),
    ]))
    .await
    .unwrap();
    let folder = folder();
    let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
    let ran = curl(["--include", "--proxy", &served.proxy("http"), &world.origin().http_url("/")]);
    assert!(ran.stdout.starts_with("HTTP/1.1 50"), "{}", ran.stdout);
    let head = ran.stdout.to_ascii_lowercase();
    assert!(head.contains("proxy-status: proxywhirl; error="), "{}", ran.stdout);
    assert!(!ran.stdout.contains("hunter2"), "{}", ran.stdout);
    let ran = curl(["--verbose", "--proxy", &served.proxy("http"), "https://127.0.0.1:1/"]);
    assert!(ran.stderr.to_ascii_lowercase().contains("proxy-status: proxywhirl; error="), "{}", ran.stderr);
    assert!(!served.log().contains("hunter2"), "{}", served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_the_origin_may_have_seen_is_not_sent_twice() {
    let bad = UpstreamOptions::new(Protocol::Http).behaviour(Behaviour::CloseAfterHead);
    let world = World::start(WorldPlan::new(vec![bad, UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let folder = folder();
    let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
    let post = || {
        let url = world.origin().http_url("/upload");
        curl([
            "--data",
            "once",
            "--write-out",
            "%{http_code}",
            "--output",
            "/dev/null",
            "--proxy",
            &served.proxy("http"),
            &url,
        ])
    };
    assert_eq!(post().stdout, "502");
    assert_eq!(post().stdout, "200");
    assert_eq!(world.origin().requests_for("/upload"), 1);
}
