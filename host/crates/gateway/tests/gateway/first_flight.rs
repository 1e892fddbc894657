//! After the 200: a tunnel that turns out to be none is opened elsewhere, as long as the origin has not spoken, and only
//! for clients that begin with TLS or with a safe request.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proxywhirl_engine::history::Query;
use proxywhirl_gateway::GatewayConfig;
use proxywhirl_world::{Behaviour, Origin, OriginOptions, Protocol, TestCa};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::clients::{Client, SERVER_HELLO, hello, rest};
use crate::scene::{PATIENCE, Scene, Scripted, Then, limits, origin, read_head, scripted, serving, upstream};

const LIMIT: Duration = Duration::from_secs(20);

fn config() -> GatewayConfig {
    GatewayConfig { first_byte_timeout: PATIENCE, ..limits() }
}

async fn tls_origin(ca: &TestCa) -> Origin {
    let http = SocketAddr::from(([127, 0, 0, 1], 0));
    Origin::with(OriginOptions { http, https: Some((http, ca.server_config(&[]).unwrap())) }).await.unwrap()
}

/// A page over TLS through a tunnel that is open.
async fn page(ca: &TestCa, stream: TcpStream) -> std::io::Result<String> {
    let name = std::net::IpAddr::from(Ipv4Addr::LOCALHOST).into();
    let exchange = async {
        let mut stream = TlsConnector::from(ca.client_config()?).connect(name, stream).await?;
        stream.write_all(b"GET /bytes/10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok(page)
    };
    timeout(LIMIT, exchange).await.unwrap()
}

/// The same in clear text.
async fn clear_page(mut stream: TcpStream) -> std::io::Result<String> {
    stream.write_all(b"GET /bytes/10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    Ok(rest(&mut stream).await)
}

/// Twelve tunnels over two good upstreams and one that fails in this way after it has said yes.
async fn twelve(client: Client, protocol: Protocol, behaviour: Behaviour, is_tls: bool) {
    let ca = TestCa::new().unwrap();
    let origin = tls_origin(&ca).await;
    let bad = upstream(protocol, behaviour).await;
    let good = [upstream(protocol, Behaviour::Healthy).await, upstream(protocol, Behaviour::Healthy).await];
    let scene = Scene::with(&[good[0].url(), good[1].url(), bad.url()], config()).await;
    for number in 1..=12 {
        let place = format!("{client:?} {protocol} {behaviour} TLS {is_tls} {number}");
        let mut stream = scene.client().await;
        let page = if is_tls {
            client.open(&mut stream, origin.https_addr().unwrap()).await.unwrap();
            page(&ca, stream).await
        } else {
            client.open(&mut stream, origin.http_addr()).await.unwrap();
            clear_page(stream).await
        };
        let page = page.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert!(page.starts_with("HTTP/1.1 200 "), "{place}: {page}");
    }
    assert_eq!(origin.requests(), 12);
    assert!(scene.failures(&bad.url()) > 0, "{client:?} {protocol} {behaviour}: the bad one did not pay");
    for upstream in &good {
        assert_eq!(scene.failures(&upstream.url()), 0, "{client:?} {protocol} {behaviour}: the wrong one paid");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_tunnels_of_twelve_work_whatever_one_of_three_upstreams_does_after_the_200() {
    let mut cells = JoinSet::new();
    for client in [Client::Connect, Client::Socks4a, Client::Socks5] {
        for protocol in [Protocol::Http, Protocol::Socks5] {
            for behaviour in
                [Behaviour::CloseAfterConnect, Behaviour::StallAfterConnect, Behaviour::GarbageAfterConnect]
            {
                for is_tls in [true, false] {
                    cells.spawn(twelve(client, protocol, behaviour, is_tls));
                }
            }
        }
    }
    while let Some(cell) = cells.join_next().await {
        cell.unwrap();
    }
}

/// A proxy whose tunnels end when so many bytes have come from the origin.
async fn cutting(after: u64) -> Scripted {
    serving(move |mut client| async move {
        let head = read_head(&mut client).await;
        let mut origin = TcpStream::connect(head.split(' ').nth(1).unwrap()).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let ((mut from, mut to), (said, mut heard)) = (client.split(), origin.split());
        let mut said = said.take(after);
        tokio::select! {
            _ = tokio::io::copy(&mut from, &mut heard) => {}
            _ = tokio::io::copy(&mut said, &mut to) => {}
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_that_is_cut_in_the_first_words_of_its_origin_is_opened_elsewhere_and_paid() {
    let ca = TestCa::new().unwrap();
    let origin = tls_origin(&ca).await;
    for after in [1, 60, 200, 400] {
        let bad = cutting(after).await;
        let good =
            [upstream(Protocol::Http, Behaviour::Healthy).await, upstream(Protocol::Http, Behaviour::Healthy).await];
        let scene = Scene::with(&[&good[0].url(), &good[1].url(), &bad.url], config()).await;
        for number in 1..=12 {
            let mut stream = scene.client().await;
            Client::Connect.open(&mut stream, origin.https_addr().unwrap()).await.unwrap();
            let page = page(&ca, stream).await.unwrap_or_else(|error| panic!("{after} {number}: {error}"));
            assert!(page.starts_with("HTTP/1.1 200 "), "{after} {number}: {page}");
        }
        assert!(scene.failures(&bad.url) > 0, "{after}");
        assert_eq!(good.each_ref().map(|good| scene.failures(&good.url())), [0, 0], "{after}");
    }
}

#[tokio::test]
async fn a_hello_in_pieces_reaches_the_next_upstream_whole() {
    let bad = upstream(Protocol::Http, Behaviour::CloseAfterConnect).await;
    let echo = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n"], Then::Echo).await;
    let scene = Scene::with(&[bad.url(), echo.url.clone()], config()).await;
    let mut stream = scene.client().await;
    stream.write_all(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    let hello = hello(b"");
    for piece in hello.chunks(20) {
        stream.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = vec![0; hello.len()];
    timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, hello);
    stream.write_all(b"more").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "more");
}

#[tokio::test]
async fn who_waits_for_a_server_that_speaks_first_hears_it_though_one_of_two_closes_each_tunnel() {
    let greets = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-server\r\n"], Then::Hold).await;
    let bad = upstream(Protocol::Http, Behaviour::CloseAfterConnect).await;
    let scene = Scene::with(&[bad.url(), greets.url.clone()], config()).await;
    for number in 1..=6 {
        let mut stream = scene.client().await;
        stream.write_all(b"CONNECT shop.test:22 HTTP/1.1\r\n\r\n").await.unwrap();
        read_head(&mut stream).await;
        let mut greeting = [0; 7];
        timeout(LIMIT, stream.read_exact(&mut greeting)).await.unwrap().unwrap_or_else(|_| panic!("{number}"));
        assert_eq!(&greeting, b"SSH-2.0");
    }
    assert!(scene.failures(&bad.url()) > 0);
    assert_eq!(scene.failures(&greets.url), 0);
    // Where all do so, it may be the origin: the client is told at last, and nobody pays.
    let all = [upstream(Protocol::Http, Behaviour::CloseAfterConnect).await, bad];
    let urls = all.each_ref().map(proxywhirl_world::Upstream::url);
    let scene = Scene::with(&urls, config()).await;
    let mut stream = scene.client().await;
    stream.write_all(b"CONNECT shop.test:22 HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    assert_eq!(timeout(LIMIT, rest(&mut stream)).await.unwrap(), "");
    assert_eq!(urls.map(|url| scene.failures(&url)), [0; 2]);
}

#[tokio::test]
async fn what_an_origin_may_act_upon_is_never_sent_twice() {
    let flights = [
        hello(&[0x17, 3, 3, 0, 1, 9]),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /buy HTTP/1.1\r\n".to_vec(),
        b"SSH-2.0-client\r\n".to_vec(),
    ];
    for flight in flights {
        let bad = upstream(Protocol::Http, Behaviour::CloseAfterConnect).await;
        let good = upstream(Protocol::Http, Behaviour::Healthy).await;
        let scene = Scene::with(&[bad.url(), good.url()], config()).await;
        let mut stream = scene.client().await;
        let head = b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n";
        stream.write_all(&[&head[..], &flight].concat()).await.unwrap();
        assert_eq!(rest(&mut stream).await, "HTTP/1.1 200 Connection established\r\nProxy-Status: proxywhirl\r\n\r\n");
        assert!(good.seen().is_empty(), "{:?}", good.seen());
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_soon() {
    let eager = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-server\r\n"], Then::Echo).await;
    let scene = Scene::with(&[&eager.url], config()).await;
    let mut stream = scene.client().await;
    stream.write_all(b"CONNECT shell.test:22 HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    let began = Instant::now();
    let mut banner = [0; 16];
    timeout(LIMIT, stream.read_exact(&mut banner)).await.unwrap().unwrap();
    assert_eq!(&banner, b"SSH-2.0-server\r\n");
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_a_proxy_says_in_place_of_the_origin_is_not_taken_for_a_greeting() {
    let ca = TestCa::new().unwrap();
    let origin = tls_origin(&ca).await;
    let denials: [&[&[u8]]; 5] = [
        &[b"HTTP/1.1 200 OK\r\n\r\nAccess denied by policy\n"],
        &[b"HTTP/1.1 200 OK\r\n\r\n", b"{\"error\":\"blocked\"}"],
        &[b"HTTP/1.1 200 OK\r\n\r\n", b"\n<!doctype html>"],
        // As servers begin that speak first.
        &[b"HTTP/1.1 200 OK\r\n\r\n403 Forbidden by policy\n"],
        &[b"HTTP/1.1 200 OK\r\n\r\n", b":blocked\n"],
    ];
    for says in denials {
        let denying = scripted(says, Then::Hold).await;
        let good = upstream(Protocol::Http, Behaviour::Healthy).await;
        let scene = Scene::with(&[denying.url.clone(), good.url()], config()).await;
        for number in 1..=4 {
            for is_tls in [true, false] {
                let mut stream = scene.client().await;
                let page = if is_tls {
                    Client::Connect.open(&mut stream, origin.https_addr().unwrap()).await.unwrap();
                    page(&ca, stream).await
                } else {
                    Client::Connect.open(&mut stream, origin.http_addr()).await.unwrap();
                    clear_page(stream).await
                };
                assert!(page.unwrap().starts_with("HTTP/1.1 200 "), "{says:?} {number} {is_tls}");
            }
        }
        assert!(scene.failures(&denying.url) > 0, "{says:?}");
        assert_eq!(scene.failures(&good.url()), 0, "{says:?}");
    }
}

#[tokio::test]
async fn words_that_no_server_begins_with_reach_a_client_that_does_not_speak_tls() {
    let portal = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", b"<!doctype html>"], Then::Close).await;
    let scene = Scene::with(&[&portal.url], config()).await;
    let mut stream = scene.client().await;
    stream.write_all(b"CONNECT shell.test:22 HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.ends_with("\r\n\r\n<!doctype html>"));
}

#[tokio::test]
async fn an_origin_that_does_not_speak_tls_is_heard_and_nobody_pays() {
    let says: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"];
    let plain = [scripted(says, Then::Close).await, scripted(says, Then::Close).await];
    let urls = [&plain[0].url, &plain[1].url];
    let scene = Scene::with(&urls, config()).await;
    let mut stream = scene.client().await;
    stream.write_all(b"CONNECT shop.test:80 HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(&hello(b"")).await.unwrap();
    assert_eq!(rest(&mut stream).await, "HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(urls.map(|url| scene.failures(url)), [0, 0]);
}

/// A tunnel in which its client has begun with a hello.
async fn begun(scene: &Scene) -> TcpStream {
    let mut stream = scene.client().await;
    stream.write_all(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(&hello(b"")).await.unwrap();
    stream
}

/// Answers the hello in a tunnel, after a while, with a whole ServerHello and what follows it.
async fn answer_hello(stream: &mut TcpStream, wait: Duration, behind: &[u8]) {
    read_head(stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    stream.read_buf(&mut Vec::with_capacity(1024)).await.unwrap();
    sleep(wait).await;
    stream.write_all(&[SERVER_HELLO, behind].concat()).await.unwrap();
}

#[tokio::test]
async fn half_an_answer_is_for_nobody_and_takes_no_other_ones_place() {
    let cut = serving(|mut stream| async move {
        answer_hello(&mut stream, Duration::ZERO, b"\x17\x03\x03\x01\0cut").await;
    })
    .await;
    let portal = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", b"<!doctype html>"], Then::Close).await;
    for (urls, expected) in [(vec![&cut.url], ""), (vec![&cut.url, &portal.url], "<!doctype html>")] {
        let scene = Scene::with(&urls, config()).await;
        for turn in 0..2 {
            let mut stream = begun(&scene).await;
            assert_eq!(rest(&mut stream).await, expected, "{turn}");
        }
    }
}

/// A proxy that counts its tunnels, in which the answer to a hello is cut in a record: the rest comes byte by byte. There is such a pause
/// before each of them, and before the answer.
async fn dripping(cut: &'static [u8], rest: &'static [u8], pause: Duration, tunnels: &Arc<AtomicUsize>) -> Scripted {
    let tunnels = Arc::clone(tunnels);
    serving(move |mut stream| {
        tunnels.fetch_add(1, Ordering::Relaxed);
        async move {
            answer_hello(&mut stream, pause, cut).await;
            for byte in rest {
                sleep(pause).await;
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
            std::future::pending().await
        }
    })
    .await
}

#[tokio::test]
async fn the_rest_of_an_answer_in_tls_has_as_much_time_as_its_beginning_and_no_more() {
    let whole = [SERVER_HELLO, b"\x17\x03\x03\0\x01!"].concat();
    let patience = Duration::from_secs(2);
    let patient = || GatewayConfig { first_byte_timeout: patience, ..config() };
    let ask = async |scene: &Scene| {
        let (mut stream, mut answer) = (begun(scene).await, vec![0; whole.len()]);
        timeout(LIMIT, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
        answer
    };
    // It fits in there once and not twice, also where the machine is busy.
    let (late, tunnels) = (patience * 3 / 5, Arc::<AtomicUsize>::default());
    let slow = [
        dripping(b"\x17\x03\x03\0\x01", b"!", late, &tunnels).await,
        dripping(b"\x17\x03\x03\0\x01", b"!", late, &tunnels).await,
    ];
    let scene = Scene::with(&[&slow[0].url, &slow[1].url], patient()).await;
    assert_eq!(ask(&scene).await, whole);
    assert_eq!(tunnels.load(Ordering::Relaxed), 1, "it was not silent");
    assert_eq!(slow.each_ref().map(|slow| scene.failures(&slow.url)), [0, 0]);
    // It goes on, and never comes to an end.
    let endless = dripping(b"\x17\x03\x03\x40\0", &[7; 1 << 14], Duration::from_millis(100), &tunnels).await;
    let good = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", SERVER_HELLO, b"\x17\x03\x03\0\x01!"], Then::Hold).await;
    let scene = Scene::with(&[&endless.url, &good.url], patient()).await;
    for turn in 0..2 {
        assert_eq!(ask(&scene).await, whole, "{turn}");
    }
    assert!(scene.failures(&endless.url) > 0, "another one was answered at once");
    assert_eq!(scene.failures(&good.url), 0);
}

#[tokio::test]
async fn where_nothing_but_a_page_comes_the_client_gets_it_and_the_request_has_failed() {
    let says: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\n\r\n", b"<!doctype html>"];
    for (flight, speech) in [(hello(b""), "TLS"), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "HTTP")] {
        let portals = [scripted(says, Then::Hold).await, scripted(says, Then::Hold).await];
        let scene = Scene::with(&[&portals[0].url, &portals[1].url], config()).await;
        let mut stream = scene.client().await;
        stream.write_all(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(&flight).await.unwrap();
        let mut page = [0; 15];
        timeout(LIMIT, stream.read_exact(&mut page)).await.unwrap().unwrap();
        assert_eq!(&page, b"<!doctype html>", "{speech}");
        drop(stream);
        let failed = Query { limit: 1, failed: true, ..Query::default() };
        let until_told = async {
            while scene.engine.requests(&failed).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, until_told).await.unwrap_or_else(|_| panic!("{speech}: nothing is told as failed"));
        let told = format!("{:?}", scene.engine.requests(&failed));
        assert!(told.contains(&format!("what came through the tunnel is no answer in {speech}")), "{told}");
    }
}

#[tokio::test]
async fn who_only_says_that_a_tunnel_is_open_proves_nothing_of_those_who_said_it_is_not() {
    let refusing = [
        upstream(Protocol::Http, Behaviour::RefuseConnect(502)).await,
        upstream(Protocol::Http, Behaviour::RefuseConnect(502)).await,
    ];
    let liar = upstream(Protocol::Http, Behaviour::CloseAfterConnect).await;
    let urls = [refusing[0].url(), refusing[1].url(), liar.url()];
    let scene = Scene::with(&urls, config()).await;
    for flight in [hello(b""), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), b"SSH-2.0-client\r\n".to_vec()] {
        let mut stream = scene.client().await;
        stream.write_all(b"CONNECT dead.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(&flight).await.unwrap();
        rest(&mut stream).await;
    }
    assert_eq!(urls.map(|url| scene.failures(&url)), [0; 3]);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_origin_has_answered_frees_everything() {
    let silent = [
        upstream(Protocol::Http, Behaviour::StallAfterConnect).await,
        upstream(Protocol::Http, Behaviour::StallAfterConnect).await,
    ];
    let urls = [silent[0].url(), silent[1].url()];
    let scene = Scene::with(&urls, config()).await;
    let stream = begun(&scene).await;
    let in_flight = || scene.engine.snapshot().iter().map(|member| member.live.in_flight()).sum::<u32>();
    let until = async |wanted| {
        while in_flight() != wanted {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, until(2)).await.expect("a second upstream beside the silent one");
    drop(stream);
    timeout(LIMIT, until(0)).await.expect("both to be let go");
    assert_eq!(urls.map(|url| scene.failures(&url)), [0, 0]);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer_in_tls_has_not_found_its_proxy_silent() {
    let slow = serving(|mut stream| async move {
        answer_hello(&mut stream, Duration::ZERO, b"\x17\x03\x03\x01\0cut").await;
        rest(&mut stream).await;
    })
    .await;
    let scene = Scene::with(&[&slow.url], GatewayConfig { first_byte_timeout: LIMIT, ..config() }).await;
    let mut stream = begun(&scene).await;
    // After so long, who had said nothing would be in doubt.
    sleep(Duration::from_millis(1_500)).await;
    stream.shutdown().await.unwrap();
    rest(&mut stream).await;
    let told = format!("{:?}", scene.engine.requests(&Query { limit: 1, ..Query::default() }));
    assert!(!told.contains("silent") && !told.contains("no answer for"), "{told}");
    let statistics = scene.member(&slow.url).statistics;
    assert_eq!((statistics.successes, statistics.failures), (1, 0), "{told}");
}

#[tokio::test]
async fn a_tunnel_in_which_nobody_answers_a_hello_ends_and_has_failed() {
    let origin = origin().await;
    let time = Duration::from_secs(1);
    for client in [Client::Connect, Client::Socks5] {
        let silent = upstream(Protocol::Http, Behaviour::StallAfterConnect).await;
        let closes = upstream(Protocol::Http, Behaviour::CloseAfterConnect).await;
        let urls = [silent.url(), closes.url()];
        let scene = Scene::with(&urls, GatewayConfig { response_timeout: time, ..config() }).await;
        let mut stream = scene.client().await;
        client.open(&mut stream, origin.http_addr()).await.unwrap();
        let began = Instant::now();
        stream.write_all(&hello(b"")).await.unwrap();
        assert_eq!(timeout(LIMIT, rest(&mut stream)).await.expect("an end before its time is over"), "");
        assert!(began.elapsed() >= time, "{client:?}: {:?}", began.elapsed());
        let told = scene.engine.requests(&Query { limit: 1, failed: true, ..Query::default() });
        assert!(format!("{told:?}").contains("no answer for 1.0 s"), "{client:?}: {told:?}");
        // It may be the origin.
        assert_eq!(urls.each_ref().map(|url| scene.failures(url)), [0, 0], "{client:?}");
        // To a request in clear text, an origin may need longer.
        let mut stream = scene.client().await;
        client.open(&mut stream, origin.http_addr()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        timeout(time * 3, stream.read_u8()).await.expect_err("it is waited for");
    }
}

#[tokio::test]
async fn nothing_is_opened_twice_when_nothing_is_kept() {
    let bad = upstream(Protocol::Http, Behaviour::CloseAfterConnect).await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::with(&[bad.url(), good.url()], GatewayConfig { first_flight: 0, ..config() }).await;
    let mut stream = begun(&scene).await;
    assert_eq!(rest(&mut stream).await, "");
    assert!(good.seen().is_empty());
}
