//! How a gateway begins and ends.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::breaker::{BreakerConfig, State};
use proxywhirl_core::select::Stick;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Fault, Kind, Lease, Member, Outcome, Side, Stage};
use proxywhirl_engine::history::Query;
use proxywhirl_engine::{Attempt, SitesConfig, Tuning};
use proxywhirl_gateway::{Drained, GatewayConfig};
use proxywhirl_world::{Behaviour, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clients::{Client, LIMIT, SERVER_HELLO, answer, get, hello, rest, status};
use crate::scene::{Scene, Then, limits, origin, read_head, scripted, upstream};

#[tokio::test]
async fn a_stop_lets_requests_end_and_idle_clients_go() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let mut idle = scene.client().await;
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url("/bytes/3"));
    idle.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut idle).await.1.len(), 3);

    let mut busy = scene.client().await;
    busy.write_all(get(origin.http_addr(), "/delay/600").as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    scene.stop();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(status(&rest(&mut busy).await), 200);
    let addr = scene.addr;
    assert_eq!(scene.drained().await, Drained { ended: 2, cut: 0 });
    TcpStream::connect(addr).await.unwrap_err();
}

#[tokio::test]
async fn who_has_rested_longest_between_two_requests_makes_room_for_who_comes() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let idle_timeout = Duration::from_hours(1);
    let config = GatewayConfig { max_connections: 3, idle_timeout, ..limits() };
    let scene = Scene::with(&[good.url()], config).await;
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url("/bytes/3"));
    let mut tunnel = scene.client().await;
    Client::Connect.open(&mut tunnel, origin.http_addr()).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = scene.client().await;
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(timeout(LIMIT, answer(&mut client)).await.expect("a place").1.len(), 3);
        clients.push(client);
    }
    for client in &mut clients[..2] {
        assert_eq!(rest(client).await, "");
    }
    for client in &mut clients[2..] {
        client.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(answer(client).await.1.len(), 3);
    }
    let inside = format!("GET /bytes/3 HTTP/1.1\r\nHost: {}\r\n\r\n", origin.http_addr());
    tunnel.write_all(inside.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut tunnel).await.1.len(), 3);
}

#[tokio::test]
async fn a_tunnel_that_does_not_end_is_cut_when_the_time_is_up() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::with(&[good.url()], GatewayConfig { drain: Duration::from_millis(300), ..limits() }).await;
    let mut tunnel = scene.client().await;
    Client::Connect.open(&mut tunnel, origin.http_addr()).await.unwrap();
    assert_eq!(scene.drained().await, Drained { ended: 0, cut: 1 });
    let mut end = Vec::new();
    tunnel.read_to_end(&mut end).await.ok();
    assert_eq!(end, b"");
}

#[tokio::test]
async fn who_is_still_there_is_cut_at_once_when_it_has_to_be_quick() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::with(&[good.url()], GatewayConfig { drain: Duration::from_hours(1), ..limits() }).await;
    let mut tunnel = scene.client().await;
    Client::Connect.open(&mut tunnel, origin.http_addr()).await.unwrap();
    scene.stop();
    tokio::time::timeout(Duration::from_millis(300), tunnel.read_u8()).await.expect_err("it has its time");
    scene.gateway.hurry();
    assert_eq!(scene.drained().await, Drained { ended: 0, cut: 1 });
}

#[tokio::test]
async fn a_tunnel_that_its_client_resets_has_been_served() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::with(&[good.url()], limits()).await;
    let mut tunnel = scene.client().await;
    Client::Connect.open(&mut tunnel, origin.http_addr()).await.unwrap();
    tunnel.write_all(b"GET /bytes/3 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut tunnel).await.1.len(), 3);
    tunnel.set_zero_linger().unwrap();
    drop(tunnel);
    let told = || scene.engine.requests(&Query { limit: 1, ..Query::default() });
    while told()[0].duration_ms.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(told()[0].fault.is_none(), "{:?}", told()[0].fault);
}

#[tokio::test]
async fn clients_over_the_limit_wait_for_their_turn() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::with(&[good.url()], GatewayConfig { max_connections: 1, ..limits() }).await;
    let mut first = scene.client().await;
    Client::Connect.open(&mut first, origin.http_addr()).await.unwrap();
    let mut second = scene.client().await;
    second.write_all(get(origin.http_addr(), "/bytes/3").as_bytes()).await.unwrap();
    let mut byte = [0; 1];
    tokio::time::timeout(Duration::from_millis(300), second.peek(&mut byte)).await.unwrap_err();
    drop(first);
    assert_eq!(answer(&mut second).await.1.len(), 3);
}

#[tokio::test]
async fn a_session_needs_no_socket() {
    let origin = origin().await;
    let good = upstream(Protocol::Socks5h, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let (mut client, server) = tokio::io::duplex(4_096);
    let talk = async {
        client.write_all(get(origin.http_addr(), "/bytes/10").as_bytes()).await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let (reply, ()) = tokio::join!(talk, scene.gateway.session(server, None));
    assert_eq!(status(&reply), 200, "{reply}");
}

#[tokio::test]
async fn a_tunnel_without_traffic_ends() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene =
        Scene::with(&[good.url()], GatewayConfig { stall_timeout: Duration::from_millis(300), ..limits() }).await;
    let mut tunnel = scene.client().await;
    Client::Socks5.open(&mut tunnel, origin.http_addr()).await.unwrap();
    assert_eq!(rest(&mut tunnel).await, "");
}

#[tokio::test]
async fn a_client_that_opens_a_tunnel_and_says_nothing_does_not_keep_its_upstream_on_probation() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let member = open_breaker(&scene).await;
    let mut silent = scene.client().await;
    Client::Connect.open(&mut silent, origin.http_addr()).await.unwrap();
    let mut second = scene.client().await;
    second.write_all(get(origin.http_addr(), "/bytes/3").as_bytes()).await.unwrap();
    assert_eq!(status(&rest(&mut second).await), 200, "nobody else is left: a probe beside the other one");
    is_soon("closed", &member, |state| matches!(state, State::Closed { .. })).await;
    let mut third = scene.client().await;
    third.write_all(get(origin.http_addr(), "/bytes/3").as_bytes()).await.unwrap();
    assert_eq!(answer(&mut third).await.1.len(), 3);
}

#[tokio::test]
async fn an_upstream_on_probation_that_opens_tunnels_and_stalls_is_not_let_back_in() {
    let stalls = upstream(Protocol::Http, Behaviour::StallAfterConnect).await;
    let good = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", SERVER_HELLO], Then::Echo).await;
    // Longer than a client may be silent until that its tunnel is open is all that is asked of a probe.
    let patience = Duration::from_millis(2_500);
    let config = GatewayConfig { first_byte_timeout: patience, ..limits() };
    let scene = Scene::with(&[stalls.url(), good.url.clone()], config).await;
    let member = open_breaker(&scene).await;
    // One of them is the probe.
    for _ in 0..2 {
        let mut client = scene.client().await;
        client.write_all(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
        read_head(&mut client).await;
        client.write_all(&hello(b"")).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), SERVER_HELLO[0], "what comes back from the other one");
    }
    is_soon("open again", &member, |state| matches!(state, State::Open { .. })).await;
    assert!(stalls.counters().connections > 0);
}

/// Waits until a member's breaker is in a state, without having been closed meanwhile.
async fn is_soon(what: &str, member: &Member, is_there: impl Fn(State) -> bool) {
    let wait = async {
        while !is_there(member.live.breaker().state()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap_or_else(|_| panic!("it is not {what}"));
}

/// Opens the breaker of the one member, which lets a probe through at once, and closes when that went well.
async fn open_breaker(scene: &Scene) -> Arc<Member> {
    let breaker = BreakerConfig { cooldown: Duration::ZERO, successes: 1, ..BreakerConfig::default() };
    scene
        .engine
        .tune(&Tuning { breaker, capacity: 10, ban_share: 0.5, sites: SitesConfig::default(), history: 10 })
        .await;
    let member = Arc::clone(scene.engine.snapshot().iter().next().unwrap());
    for _ in 0..breaker.failures {
        let lease = Lease::take(Arc::clone(&member), &breaker, scene.engine.now()).unwrap();
        let fault = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "no");
        let attempt = Attempt {
            is_late: false,
            is_once: false,
            is_unproven: false,
            hedge: false,
            tier: None,
            by: None,
            request: 0,
            whose: 0,
            number: 1,
            target: "a:1",
            site: Symbol::NONE,
            session: None,
            stick: Stick::default(),
            filter: None,
            tried: &[],
        };
        scene.engine.settle(lease, &Outcome::Failure(fault), &attempt);
    }
    assert!(matches!(member.live.breaker().state(), State::Open { .. }));
    member
}

#[tokio::test]
async fn the_limit_of_clients_is_one_over_all_listeners() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::with(&[good.url()], GatewayConfig { max_connections: 1, ..limits() }).await;
    let (listener, stop) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), CancellationToken::new());
    let other = listener.local_addr().unwrap();
    let served = tokio::spawn({
        let (gateway, stop) = (scene.gateway.clone(), stop.clone());
        async move { gateway.serve(listener, stop).await }
    });
    let mut first = scene.client().await;
    Client::Connect.open(&mut first, origin.http_addr()).await.unwrap();
    let mut second = TcpStream::connect(other).await.unwrap();
    second.write_all(get(origin.http_addr(), "/bytes/3").as_bytes()).await.unwrap();
    let mut byte = [0; 1];
    tokio::time::timeout(Duration::from_millis(300), second.peek(&mut byte)).await.unwrap_err();
    drop(first);
    assert_eq!(answer(&mut second).await.1.len(), 3);
    drop(second);
    stop.cancel();
    assert_eq!(served.await.unwrap().cut, 0);
}
