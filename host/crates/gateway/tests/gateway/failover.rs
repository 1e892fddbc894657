//! Another upstream is asked, and the client does not notice. Who pays for it is in `blame`.

use std::time::{Duration, Instant};

use proxywhirl_core::limit::{Limit, MemberLimits};
use proxywhirl_engine::{LimitsConfig, Parts, SiteLimits};
use proxywhirl_gateway::GatewayConfig;
use proxywhirl_world::{Behaviour, Credentials, Protocol, Upstream, UpstreamOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clients::{Client, SERVER_HELLO, answer, body, exchange, hello, status};
use crate::scene::{PATIENCE, Scene, Then, candidate, limits, origin, read_head, scripted, upstream};

const LIMIT: Duration = Duration::from_secs(20);

/// Twelve requests over two good upstreams and one that fails in this way.
async fn twelve(client: Client, protocol: Protocol, behaviour: Behaviour) {
    let origin = origin().await;
    let bad = upstream(protocol, behaviour).await;
    let good = [upstream(protocol, Behaviour::Healthy).await, upstream(protocol, Behaviour::Healthy).await];
    let scene = Scene::new(&[good[0].url(), good[1].url(), bad.url()]).await;
    for number in 1..=12 {
        let reply = client.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
        let place = format!("{client:?} {protocol} {behaviour} {number}: {reply}");
        assert_eq!(status(&reply), 200, "{place}");
        assert_eq!(body(&reply).len(), 10, "{place}");
    }
    for upstream in &good {
        assert!(upstream.counters().requests() >= 4, "{client:?} {protocol} {behaviour}: not rotated");
        assert_eq!(scene.failures(&upstream.url()), 0, "{client:?} {protocol} {behaviour}: the wrong one paid");
    }
    let is_served =
        client == Client::Get && protocol == Protocol::Http && matches!(behaviour, Behaviour::RefuseConnect(_));
    assert_eq!(
        scene.failures(&bad.url()) > 0,
        !is_served,
        "{client:?} {protocol} {behaviour}: the bad one did not pay"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_of_twelve_are_served_whatever_one_of_three_upstreams_does() {
    let behaviours = [
        Behaviour::Dead,
        Behaviour::RefuseConnect(503),
        Behaviour::AnswerStatus(503),
        Behaviour::AnswerStatus(511),
        Behaviour::CloseAfterHead,
        Behaviour::Silent,
        Behaviour::GarbageReply,
    ];
    let mut cells = JoinSet::new();
    for client in Client::ALL {
        for protocol in [Protocol::Http, Protocol::Socks5, Protocol::Socks4a] {
            for behaviour in behaviours {
                // A few at a time: on a busy machine, a healthy upstream would be late, and pay for it.
                if cells.len() >= 8 {
                    cells.join_next().await.unwrap().unwrap();
                }
                cells.spawn(twelve(client, protocol, behaviour));
            }
        }
    }
    while let Some(cell) = cells.join_next().await {
        cell.unwrap();
    }
}

#[tokio::test]
async fn a_post_is_not_sent_twice_once_an_upstream_has_it() {
    let origin = origin().await;
    let bad = upstream(Protocol::Http, Behaviour::CloseAfterHead).await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[bad.url(), good.url()]).await;
    let send = async |method: &str| {
        let addr = origin.http_addr();
        let request = format!(
            "{method} http://{addr}/echo HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
        );
        status(&exchange(&mut scene.client().await, &request).await)
    };
    let mut statuses = [send("POST").await, send("POST").await];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    assert_eq!(origin.requests(), 1);
    for _ in 0..4 {
        assert_eq!(send("PUT").await, 200);
    }
    assert_eq!(origin.requests(), 5);
}

#[tokio::test]
async fn a_post_is_tried_elsewhere_when_no_upstream_was_reached() {
    let origin = origin().await;
    let closed = proxywhirl_world::closed_port().unwrap();
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[format!("http://{}", closed.addr()), good.url()]).await;
    for body in ["hi".to_owned(), "x".repeat(200_000)] {
        for _ in 0..2 {
            let addr = origin.http_addr();
            let length = body.len();
            let head = format!("POST http://{addr}/upload HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {length}\r\n");
            let reply = exchange(&mut scene.client().await, &format!("{head}Connection: close\r\n\r\n{body}")).await;
            assert_eq!(status(&reply), 200, "{reply}");
            assert!(reply.contains(&length.to_string()), "{reply}");
        }
    }
    assert_eq!(origin.requests(), 4);
}

#[tokio::test]
async fn the_credentials_of_an_upstream_are_its_own_affair() {
    let origin = origin().await;
    let mut options = UpstreamOptions::new(Protocol::Http);
    options.credentials = Some(Credentials::new("user", "secret"));
    let strict = Upstream::start(options).await.unwrap();
    let wrong = strict.url().replace("secret", "wrong-password");
    let scene = Scene::new(&[&wrong]).await;
    for client in [Client::Get, Client::Connect] {
        let reply = client.ask(scene.addr, origin.http_addr(), "/").await;
        assert_eq!(status(&reply), 502, "{reply}");
        assert!(reply.contains("received-status=407"), "{reply}");
        assert!(!reply.contains("wrong-password"), "{reply}");
        assert!(!reply.to_ascii_lowercase().contains("proxy-authenticate"), "{reply}");
    }
    assert_eq!(scene.failures(&wrong), 2);

    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[wrong, good.url(), strict.url()]).await;
    let addr = origin.http_addr();
    let post =
        format!("POST http://{addr}/echo HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    for _ in 0..6 {
        // It was refused before the origin could see it, so even a POST goes on.
        assert_eq!(status(&exchange(&mut scene.client().await, &post).await), 200);
    }
}

#[tokio::test]
async fn a_slow_origin_is_waited_for_and_nobody_pays() {
    let origin = origin().await;
    let upstreams =
        [upstream(Protocol::Http, Behaviour::Healthy).await, upstream(Protocol::Http, Behaviour::Healthy).await];
    let urls = [upstreams[0].url(), upstreams[1].url()];
    let scene = Scene::new(&urls).await;
    let delay = PATIENCE * 3;
    let reply = Client::Get.ask(scene.addr, origin.http_addr(), &format!("/delay/{}", delay.as_millis())).await;
    assert_eq!(status(&reply), 200, "{reply}");
    assert_eq!(origin.requests(), 2, "the first was overtaken once, as there are two upstreams");
    assert_eq!(urls.map(|url| scene.failures(&url)), [0, 0]);
}

#[tokio::test]
async fn three_silent_upstreams_cost_three_patiences_and_pay() {
    let origin = origin().await;
    let silent = [
        upstream(Protocol::Http, Behaviour::Silent).await,
        upstream(Protocol::Http, Behaviour::Silent).await,
        upstream(Protocol::Http, Behaviour::Silent).await,
    ];
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[silent[0].url(), silent[1].url(), silent[2].url(), good.url()]).await;
    for _ in 0..4 {
        let began = tokio::time::Instant::now();
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/").await;
        assert_eq!(status(&reply), 200, "{reply}");
        assert!(began.elapsed() < PATIENCE * 3 + Duration::from_secs(5), "{:?}", began.elapsed());
    }
    for upstream in &silent {
        assert!(scene.failures(&upstream.url()) > 0);
    }
}

#[tokio::test]
async fn a_post_goes_to_nobody_who_was_silent_a_moment_ago_while_another_one_was_answered() {
    let origin = origin().await;
    let silent = [upstream(Protocol::Http, Behaviour::Silent).await, upstream(Protocol::Http, Behaviour::Silent).await];
    let good = [upstream(Protocol::Http, Behaviour::Healthy).await, upstream(Protocol::Http, Behaviour::Healthy).await];
    let scene = Scene::new(&[silent[0].url(), good[0].url(), silent[1].url(), good[1].url()]).await;
    for _ in 0..4 {
        assert_eq!(status(&Client::Get.ask(scene.addr, origin.http_addr(), "/").await), 200);
    }
    assert!(silent.iter().all(|upstream| scene.failures(&upstream.url()) > 0));
    let addr = origin.http_addr();
    let post =
        format!("POST http://{addr}/echo HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    for _ in 0..8 {
        assert_eq!(status(&exchange(&mut scene.client().await, &post).await), 200);
    }
}

#[tokio::test]
async fn an_origin_that_is_out_of_order_is_asked_twice_and_nobody_pays() {
    let origin = origin().await;
    let upstreams = [
        upstream(Protocol::Http, Behaviour::Healthy).await,
        upstream(Protocol::Http, Behaviour::Healthy).await,
        upstream(Protocol::Http, Behaviour::Healthy).await,
    ];
    let urls = upstreams.each_ref().map(proxywhirl_world::Upstream::url);
    let scene = Scene::new(&urls).await;
    // Each of them has served there.
    for _ in 0..3 {
        assert_eq!(status(&Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/1").await), 200);
    }
    for asked in [5, 7] {
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/status/503").await;
        assert_eq!((status(&reply), origin.requests()), (503, asked), "{reply}");
    }
    let addr = origin.http_addr();
    let post = format!(
        "POST http://{addr}/status/503 HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(status(&exchange(&mut scene.client().await, &post).await), 503);
    assert_eq!(origin.requests(), 8, "a POST is not sent twice");
    assert_eq!(urls.map(|url| scene.failures(&url)), [0; 3]);
}

#[tokio::test]
async fn a_511_is_asked_about_through_whatever_it_came_as_no_origin_says_it() {
    let origin = origin().await;
    for (protocol, code, asked) in
        [(Protocol::Http, 511, 2), (Protocol::Socks5, 511, 2), (Protocol::Http, 503, 2), (Protocol::Socks5, 503, 1)]
    {
        let upstreams = [upstream(protocol, Behaviour::Healthy).await, upstream(protocol, Behaviour::Healthy).await];
        let urls = upstreams.each_ref().map(Upstream::url);
        let scene = Scene::new(&urls).await;
        let before = origin.requests();
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), &format!("/status/{code}")).await;
        assert_eq!((status(&reply), origin.requests() - before), (code, asked), "{protocol}: {reply}");
        assert_eq!(urls.map(|url| scene.failures(&url)), [0; 2], "{protocol} {code}");
    }
}

#[tokio::test]
async fn what_only_looks_like_an_answer_in_tls_leads_elsewhere() {
    const GRANTED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
    let good = scripted(&[GRANTED, SERVER_HELLO], Then::Hold).await;
    for (said, then) in [
        (&hello(b"")[..], Then::Hold),
        (b"\x16\x03\x03\0\x7a\xa5\xa5\xa5", Then::Hold),
        (b"\x16\x03\x03\xff\xff\x02\0\0\x26", Then::Hold),
        (b"\x16", Then::Close),
        (b"\x16\x03\x03\0\x7a", Then::Close),
        (&SERVER_HELLO[..12], Then::Close),
        (b"\x16", Then::Hold),
        (&SERVER_HELLO[..12], Then::Hold),
    ] {
        let said: &'static [u8] = said.to_vec().leak();
        let bad = scripted(vec![GRANTED, said].leak(), then).await;
        let scene = Scene::new(&[&bad.url, &good.url]).await;
        for _ in 0..2 {
            let mut client = scene.client().await;
            client.write_all(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
            read_head(&mut client).await;
            client.write_all(&hello(b"")).await.unwrap();
            let mut answer = vec![0; SERVER_HELLO.len()];
            timeout(LIMIT, client.read_exact(&mut answer)).await.expect("an answer").unwrap();
            assert_eq!(answer, SERVER_HELLO, "{said:?}");
        }
        let live = |url: &str| {
            scene.engine.snapshot().iter().find(|m| m.endpoint.to_string() == url).unwrap().live.statistics()
        };
        assert_eq!(live(&bad.url).successes, 0, "{said:?}");
    }
}

#[tokio::test]
async fn who_is_silent_for_longer_than_a_request_has_time_is_overtaken_within_it_and_pays() {
    let origin = origin().await;
    let silent = upstream(Protocol::Http, Behaviour::Silent).await;
    let stalls = upstream(Protocol::Http, Behaviour::StallAfterConnect).await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    for (client, silent) in [(Client::Get, &silent), (Client::Connect, &silent), (Client::Connect, &stalls)] {
        let config = GatewayConfig { request_deadline: Duration::from_secs(2), ..limits() };
        let scene = Scene::with(&[silent.url(), good.url()], config).await;
        for number in 1..=6 {
            let reply = client.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
            assert_eq!(status(&reply), 200, "{number}: {reply}");
        }
        assert!(scene.failures(&silent.url()) > 0);
    }
}

#[tokio::test]
async fn a_503_that_nobody_can_be_asked_about_is_passed_on_as_it_came() {
    let origin = origin().await;
    let alone = upstream(Protocol::Http, Behaviour::AnswerStatus(503)).await;
    let dead = upstream(Protocol::Http, Behaviour::Dead).await;
    let scene = Scene::new(&[alone.url(), dead.url()]).await;
    let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/").await;
    assert_eq!((status(&reply), body(&reply)), (503, "out of order\n"), "{reply}");
    assert_eq!((scene.failures(&alone.url()), scene.failures(&dead.url())), (0, 1));
}

#[tokio::test]
async fn no_more_upstreams_are_tried_than_the_limit() {
    let origin = origin().await;
    let closed: Vec<_> = (0..8).map(|_| proxywhirl_world::closed_port().unwrap()).collect();
    let urls: Vec<_> = closed.iter().map(|port| format!("http://{}", port.addr())).collect();
    let scene = Scene::new(&urls).await;
    let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/").await;
    assert_eq!(status(&reply), 502, "{reply}");
    assert!(reply.contains("error=connection_refused") && reply.contains("through 5 proxies"), "{reply}");
    assert_eq!(urls.iter().map(|url| scene.failures(url)).sum::<u64>(), 5);
}

#[tokio::test]
async fn an_empty_pool_is_said_in_every_protocol() {
    let origin = origin().await;
    let scene = Scene::new::<&str>(&[]).await;
    for client in [Client::Get, Client::Connect] {
        let reply = client.ask(scene.addr, origin.http_addr(), "/").await;
        assert_eq!(status(&reply), 503, "{reply}");
        assert!(reply.contains("\r\nRetry-After: 1\r\n"), "{reply}");
    }
    assert_eq!(Client::Socks5.ask(scene.addr, origin.http_addr(), "/").await, "[5, 1, 0, 1, 0, 0, 0, 0, 0, 0]");
    assert_eq!(Client::Socks4a.ask(scene.addr, origin.http_addr(), "/").await, "[0, 91, 0, 0, 0, 0, 0, 0]");
}

#[tokio::test]
async fn what_a_socks_upstream_says_of_the_origin_is_passed_on() {
    let closed = proxywhirl_world::closed_port().unwrap();
    let socks = upstream(Protocol::Socks5, Behaviour::Healthy).await;
    let scene = Scene::new(&[socks.url()]).await;
    assert_eq!(Client::Socks5.ask(scene.addr, closed.addr(), "/").await, "[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]");
    let reply = Client::Connect.ask(scene.addr, closed.addr(), "/").await;
    assert!(reply.contains("error=connection_refused"), "{reply}");
    assert_eq!(scene.failures(&socks.url()), 0);
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_no_answer() {
    let origin = origin().await;
    let liar = scripted(
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        Then::Close,
    )
    .await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[liar.url.clone(), good.url()]).await;
    let mut client = scene.client().await;
    for _ in 0..4 {
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url("/bytes/7"));
        client.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = answer(&mut client).await;
        assert_eq!((status(&head), body.len()), (200, 7), "{head}");
    }
    assert!(scene.failures(&liar.url) > 0);
}

#[tokio::test]
async fn a_member_whose_protocol_cannot_say_the_target_costs_no_attempt() {
    let dead = "socks4://127.0.0.1:1";
    let http = scripted(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], Then::Close).await;
    let urls: Vec<String> =
        (1..=7).map(|port| dead.replace(":1", &format!(":{port}"))).chain([http.url.clone()]).collect();
    let scene = Scene::with(&urls, limits()).await;
    for _ in 0..8 {
        let mut client = scene.client().await;
        let request = "GET http://[::1]:9/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert_eq!(status(&exchange(&mut client, request).await), 200);
    }
}

#[tokio::test]
async fn an_outage_of_all_ends_with_the_first_request_after_it() {
    let origin = origin().await;
    let all = [upstream(Protocol::Http, Behaviour::Dead).await, upstream(Protocol::Http, Behaviour::Dead).await];
    let scene = Scene::new(&all.each_ref().map(Upstream::url)).await;
    for _ in 0..20 {
        assert_ne!(status(&Client::Get.ask(scene.addr, origin.http_addr(), "/").await), 200);
    }
    for upstream in &all {
        upstream.set_behaviour(Behaviour::Healthy).await.unwrap();
    }
    for number in 1..=10 {
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/").await;
        assert_eq!(status(&reply), 200, "{number}: {reply}");
    }
}

#[tokio::test]
async fn no_request_waits_for_a_place_that_it_holds_itself() {
    let origin = origin().await;
    let all = [upstream(Protocol::Http, Behaviour::Healthy).await, upstream(Protocol::Http, Behaviour::Healthy).await];
    let one = Limit { concurrency: Some(1), rate: None };
    for (sites, members) in [
        (SiteLimits { others: one, ..SiteLimits::default() }, MemberLimits::default()),
        (SiteLimits::default(), MemberLimits { others: one, ..MemberLimits::default() }),
    ] {
        let (config, limits) = (limits(), LimitsConfig { sites, members, ..LimitsConfig::default() });
        let candidates = all.iter().map(|upstream| candidate(&upstream.url())).collect();
        let scene = Scene::of(candidates, Parts { limits, ..Parts::default() }, config).await;
        let began = Instant::now();
        let ask = || Client::Get.ask(scene.addr, origin.http_addr(), "/status/503");
        let (one, other) = tokio::join!(ask(), ask());
        assert_eq!((status(&one), status(&other)), (503, 503));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_head_without_the_body_that_it_promises_is_no_answer() {
    let origin = origin().await;
    for then in [Then::Hold, Then::Close] {
        let bad = scripted(&[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"], then).await;
        let good = upstream(Protocol::Http, Behaviour::Healthy).await;
        let scene = Scene::new(&[bad.url.clone(), good.url()]).await;
        for number in 1..=12 {
            let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
            assert_eq!((status(&reply), body(&reply).len()), (200, 10), "{number}: {reply}");
        }
        assert!(scene.failures(&bad.url) > 0);
    }
}
