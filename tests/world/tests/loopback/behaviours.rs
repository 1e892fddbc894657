//! Each way to fail, as a client meets it.

use std::time::{Duration, Instant};

use proxywhirl_world::{Behaviour, Origin, Protocol, TestCa, Upstream, UpstreamOptions};
use tokio::net::TcpStream;

use crate::client::{Client, bounded, talk};
use crate::socks_upstream::{socks4, socks5, socks5_connect};

/// Long enough for an answer on this machine's loopback, if there were one.
const MOMENT: Duration = Duration::from_millis(150);

struct Scene {
    origin: Origin,
    http: Upstream,
    socks5: Upstream,
    socks4: Upstream,
}

impl Scene {
    async fn with(behaviour: Behaviour) -> Self {
        let start = async |protocol| {
            let options = UpstreamOptions::new(protocol).behaviour(behaviour);
            Upstream::start(options).await.unwrap()
        };
        Self {
            origin: Origin::start(&TestCa::new().unwrap()).await.unwrap(),
            http: start(Protocol::Http).await,
            socks5: start(Protocol::Socks5).await,
            socks4: start(Protocol::Socks4).await,
        }
    }

    fn get(&self) -> String {
        let url = self.origin.http_url("/");
        format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    }

    fn connect(&self) -> String {
        format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", self.origin.http_addr())
    }

    async fn socks5(&self) -> (Client, u8) {
        socks5(&self.socks5, &socks5_connect(self.origin.http_addr())).await
    }

    async fn forwards(&self) -> bool {
        let answer = talk(self.http.addr(), self.get()).await;
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("origin\n")
    }
}

#[tokio::test]
async fn a_slow_upstream_answers_after_its_wait() {
    let wait = Duration::from_millis(200);
    let scene = Scene::with(Behaviour::Slow(wait)).await;
    let start = Instant::now();
    assert!(scene.forwards().await);
    assert!(start.elapsed() >= wait);
    let start = Instant::now();
    assert_eq!(scene.socks5().await.1, 0);
    assert!(start.elapsed() >= wait);
}

#[tokio::test]
async fn a_flaky_upstream_drops_each_third_connection() {
    let scene = Scene::with(Behaviour::Flaky { every: 3 }).await;
    let mut served = Vec::new();
    for _ in 0..6 {
        served.push(scene.forwards().await);
    }
    assert_eq!(served, [true, true, false, true, true, false]);
    let counters = scene.http.counters();
    assert_eq!((counters.connections, counters.requests()), (6, 4));
}

#[tokio::test]
async fn a_refusing_upstream_serves_forwards_only() {
    let scene = Scene::with(Behaviour::RefuseConnect(503)).await;
    assert!(scene.forwards().await);
    let answer = talk(scene.http.addr(), scene.connect()).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(scene.socks5().await.1, 5);
    let mut client = Client::connect(scene.socks4.addr()).await;
    client.say(socks4(scene.origin.http_addr(), "")).await;
    assert_eq!(client.hear_all().await[..2], [0, 0x5b]);
    assert_eq!(scene.origin.requests(), 1);
}

#[tokio::test]
async fn one_that_closes_after_the_head_says_nothing_first() {
    let scene = Scene::with(Behaviour::CloseAfterHead).await;
    for request in [scene.get(), scene.connect()] {
        assert_eq!(talk(scene.http.addr(), request).await, "");
    }
    let mut client = Client::connect(scene.socks5.addr()).await;
    client.say([5, 1, 0]).await;
    client.say(socks5_connect(scene.origin.http_addr())).await;
    assert_eq!(client.hear_all().await, [5, 0]);
    assert_eq!(scene.http.seen().len(), 2);
    assert_eq!(scene.http.counters().requests(), 0);
}

#[tokio::test]
async fn a_silent_upstream_keeps_the_connection_and_its_words() {
    let scene = Scene::with(Behaviour::Silent).await;
    for (upstream, words) in [
        (&scene.http, scene.get().into_bytes()),
        (&scene.socks5, vec![5, 1, 0]),
        (&scene.socks4, socks4(scene.origin.http_addr(), "")),
    ] {
        let mut client = Client::connect(upstream.addr()).await;
        client.say(words).await;
        assert!(client.hears_nothing_for(MOMENT).await);
    }
}

#[tokio::test]
async fn a_tunnel_may_close_stall_or_turn_to_garbage_once_it_is_open() {
    let scene = Scene::with(Behaviour::CloseAfterConnect).await;
    let answer = talk(scene.http.addr(), scene.connect()).await;
    assert_eq!(answer, "HTTP/1.1 200 Connection established\r\n\r\n");
    let (mut client, code) = scene.socks5().await;
    assert_eq!((code, client.hear_all().await.len()), (0, 0));
    assert!(scene.forwards().await);

    let scene = Scene::with(Behaviour::StallAfterConnect).await;
    let mut client = Client::connect(scene.http.addr()).await;
    client.say(scene.connect()).await;
    assert!(client.hear_head().await.starts_with("HTTP/1.1 200 "));
    client.say("GET / HTTP/1.1\r\n\r\n").await;
    assert!(client.hears_nothing_for(MOMENT).await);
    let (mut client, code) = scene.socks5().await;
    assert_eq!(code, 0);
    assert!(client.hears_nothing_for(MOMENT).await);
    assert!(scene.forwards().await);

    let scene = Scene::with(Behaviour::GarbageAfterConnect).await;
    let mut client = Client::connect(scene.http.addr()).await;
    client.say(scene.connect()).await;
    assert!(client.hear_head().await.starts_with("HTTP/1.1 200 "));
    let first = client.hear_exactly(1).await[0];
    assert!(!(0x14..=0x17).contains(&first), "a TLS record");
    assert!(scene.forwards().await);
    assert_eq!(scene.http.counters().tunnels, 0);
}

#[tokio::test]
async fn garbage_is_neither_http_nor_socks() {
    let scene = Scene::with(Behaviour::GarbageReply).await;
    for (upstream, words) in [
        (&scene.http, scene.get().into_bytes()),
        (&scene.http, scene.connect().into_bytes()),
        (&scene.socks5, vec![5, 1, 0]),
        (&scene.socks4, socks4(scene.origin.http_addr(), "")),
    ] {
        let mut client = Client::connect(upstream.addr()).await;
        client.say(words).await;
        let answer = client.hear_all().await;
        assert!(!answer.starts_with(b"HTTP/") && ![0, 4, 5].contains(&answer[0]));
    }
}

#[tokio::test]
async fn a_captive_portal_answers_everything_with_its_page() {
    let scene = Scene::with(Behaviour::AlwaysOk).await;
    for request in [scene.get(), scene.connect()] {
        let answer = talk(scene.http.addr(), request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("Free Wi-Fi"), "{answer}");
    }
    let (mut client, code) = scene.socks5().await;
    assert_eq!(code, 0);
    client.say("GET /ip HTTP/1.1\r\n\r\n").await;
    assert!(client.hear_response().await.1.contains("Free Wi-Fi"));
    assert_eq!(scene.origin.requests(), 0);

    let options = UpstreamOptions::new(Protocol::Socks5).credentials("user", "password").behaviour(Behaviour::AlwaysOk);
    let locked = Upstream::start(options).await.unwrap();
    let (_, code) = socks5(&locked, &socks5_connect(scene.origin.http_addr())).await;
    assert_eq!(code, 0);
}

#[tokio::test]
async fn a_header_bomb_has_no_end() {
    let scene = Scene::with(Behaviour::HeaderBomb).await;
    let mut client = Client::connect(scene.http.addr()).await;
    client.say(scene.get()).await;
    let bomb = client.hear_exactly(10_000_000).await;
    assert!(bomb.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(!bomb.windows(4).any(|window| window == b"\r\n\r\n"));
    let (mut client, _) = scene.socks5().await;
    client.say("GET / HTTP/1.1\r\n\r\n").await;
    client.hear_exactly(1_000_000).await;
}

#[tokio::test]
async fn a_dead_upstream_refuses_connections_and_comes_back_on_its_port() {
    let scene = Scene::with(Behaviour::Dead).await;
    TcpStream::connect(scene.http.addr()).await.unwrap_err();
    for _ in 0..3 {
        scene.http.set_behaviour(Behaviour::Healthy).await.unwrap();
        assert!(scene.forwards().await);
        let mut open = Client::connect(scene.http.addr()).await;
        open.say(scene.connect()).await;
        assert!(open.hear_head().await.starts_with("HTTP/1.1 200 "));
        scene.http.set_behaviour(Behaviour::Dead).await.unwrap();
        assert_eq!(bounded(open.hear_all()).await, b"");
        let error = TcpStream::connect(scene.http.addr()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_change_of_behaviour_holds_from_the_next_request_on() {
    let scene = Scene::with(Behaviour::Healthy).await;
    let mut client = Client::connect(scene.http.addr()).await;
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", scene.origin.http_url("/"));
    client.say(&request).await;
    assert!(client.hear_response().await.0.starts_with("HTTP/1.1 200 "));
    scene.http.set_behaviour(Behaviour::CloseAfterHead).await.unwrap();
    assert_eq!(scene.http.behaviour(), Behaviour::CloseAfterHead);
    client.say(&request).await;
    assert_eq!(client.hear_all().await, b"");
}
