//! Another upstream is tried when one fails, before the client is answered.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use proxywhirl_tests::{Served, curl, file, folder};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};

/// How long a silent upstream is waited for (`gateway.connect_timeout`, `gateway.first_byte_timeout`).
const PATIENCE: Duration = Duration::from_secs(5);

/// What one request may take beside that, on a machine that is busy with the other cells.
const SLACK: Duration = Duration::from_secs(5);

/// What a client does.
#[derive(Debug, Clone, Copy)]
enum Client {
    Get,
    Connect,
    Socks5,
}

/// Twelve requests of a kind over three upstreams, of which the second misbehaves: how many succeed, and how long the
/// longest takes.
async fn twelve(client: Client, behaviour: Behaviour) -> (usize, Duration) {
    let (protocol, scheme) = match client {
        Client::Get | Client::Connect => (Protocol::Http, "http"),
        Client::Socks5 => (Protocol::Socks5h, "socks5h"),
    };
    let healthy = || UpstreamOptions::new(protocol);
    let plan = WorldPlan::new(vec![healthy(), healthy().behaviour(behaviour), healthy()]);
    let world = World::start(plan).await.unwrap();
    let url = match client {
        Client::Get => world.origin().http_url("/"),
        Client::Connect | Client::Socks5 => world.origin().https_url("/").unwrap(),
    };
    let (proxies, authority) = (world.proxies().join("\n"), world.ca().ca_pem());
    let asking = tokio::task::spawn_blocking(move || {
        let folder = folder();
        let ca = file(&folder, "ca.pem", authority);
        let served = Served::start(["--proxies", &file(&folder, "list", proxies)]);
        let (mut succeeded, mut longest) = (0, Duration::ZERO);
        for _ in 0..12 {
            let start = Instant::now();
            let ran = curl(["--cacert", &ca, "--proxy", &served.proxy(scheme), "--fail", &url]);
            succeeded += usize::from(ran.code == Some(0));
            longest = longest.max(start.elapsed());
        }
        (succeeded, longest)
    });
    asking.await.unwrap()
}

/// Every row of the matrix for a kind of client, at default settings and at the same time.
async fn all_succeed(client: Client) {
    let rows = [
        Behaviour::Dead,
        Behaviour::RefuseConnect(503),
        Behaviour::AnswerStatus(503),
        Behaviour::CloseAfterHead,
        Behaviour::Silent,
        Behaviour::GarbageReply,
        Behaviour::CloseAfterConnect,
        Behaviour::StallAfterConnect,
        Behaviour::GarbageAfterConnect,
    ];
    let cells: Vec<_> = rows.map(|behaviour| (behaviour, tokio::spawn(twelve(client, behaviour)))).into();
    for (behaviour, cell) in cells {
        let (succeeded, longest) = cell.await.unwrap();
        assert_eq!(succeeded, 12, "{client:?} {behaviour}");
        assert!(longest < PATIENCE + SLACK, "{client:?} {behaviour} took {longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_get_is_lost_to_one_bad_upstream_of_three() {
    all_succeed(Client::Get).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connect_is_lost_to_one_bad_upstream_of_three() {
    all_succeed(Client::Connect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_socks_tunnel_is_lost_to_one_bad_upstream_of_three() {
    all_succeed(Client::Socks5).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_fails_each_post_is_passed_over_though_no_post_is_sent_twice() {
    for (large, behaviour) in [(false, Behaviour::CloseAfterHead), (true, Behaviour::CloseAfterHead)] {
        let good = || UpstreamOptions::new(Protocol::Http);
        let plan = WorldPlan::new(vec![good(), good().behaviour(behaviour), good()]);
        let world = World::start(plan).await.unwrap();
        let (folder, url) = (folder(), world.origin().http_url("/upload"));
        let body = file(&folder, "body", "x".repeat(if large { 1 << 20 } else { 4 }));
        let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
        let post = || curl(["--fail", "--proxy", &served.proxy("http"), "--data-binary", &format!("@{body}"), &url]);
        let outcomes: Vec<bool> = (0..40).map(|_| post().code == Some(0)).collect();
        let lost = outcomes.iter().filter(|is_served| !**is_served).count();
        assert!((1..=5).contains(&lost) && outcomes.ends_with(&[true; 15]), "large: {large}, {outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_bad_proxies_in_a_row_than_a_request_may_try_cost_no_more_than_the_first_requests() {
    for (behaviour, is_tunnel) in [
        (Behaviour::CloseAfterHead, false),
        (Behaviour::AnswerStatus(503), false),
        (Behaviour::CloseAfterConnect, true),
        (Behaviour::RefuseConnect(502), true),
    ] {
        let (bad, good) =
            (|| UpstreamOptions::new(Protocol::Http).behaviour(behaviour), || UpstreamOptions::new(Protocol::Http));
        // In the order of the list, a request that begins at the first of them meets no other.
        let plan = WorldPlan::new((0..7).map(|_| bad()).chain((0..2).map(|_| good())).collect());
        let world = World::start(plan).await.unwrap();
        let folder = folder();
        let ca = file(&folder, "ca.pem", world.ca().ca_pem());
        let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
        let url = if is_tunnel { world.origin().https_url("/").unwrap() } else { world.origin().http_url("/") };
        let ask = || curl(["--cacert", &ca, "--fail", "--proxy", &served.proxy("http"), &url]).code == Some(0);
        let outcomes: Vec<bool> = (0..40).map(|_| ask()).collect();
        let lost = outcomes.iter().filter(|is_served| !**is_served).count();
        assert!(lost <= 2 && outcomes.ends_with(&[true; 36]), "{behaviour:?}: {outcomes:?}\n{}", served.log());
    }
}

/// An HTTP proxy that says 503 to two requests of three, and answers the others by itself.
fn mostly_busy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().flatten().enumerate() {
            let mut client = client;
            let status = if number % 3 == 2 { "200 OK" } else { "503 Busy" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            // Whether the gateway is still there is its own affair.
            client.read(&mut [0; 4_096]).and_then(|_| client.write_all(answer.as_bytes())).ok();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_proxy_may_have_made_up_is_asked_of_one_that_does_well_there() {
    let world = World::start(WorldPlan::healthy(2)).await.unwrap();
    let folder = folder();
    let ca = file(&folder, "ca.pem", world.ca().ca_pem());
    let proxies: Vec<String> = (0..8).map(|_| mostly_busy()).chain(world.proxies()).collect();
    let list = file(&folder, "list", proxies.join("\n"));
    let served = Served::start(["--proxies", &list, "--proxy-cacert", &ca, "--strategy", "random"]);
    let url = world.origin().http_url("/");
    let ask = || curl(["--fail", "--proxy", &served.proxy("http"), &url]).code == Some(0);
    // Until somebody has served there.
    assert!((0..10).any(|_| ask()), "{}", served.log());
    let lost = (0..60).filter(|_| !ask()).count();
    assert!(lost <= 3, "{lost} of 60\n{}", served.log());
}
