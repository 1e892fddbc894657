//! Rules about bans: what a site refuses is asked for elsewhere, and who was refused is kept away from it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proxywhirl_core::event::Topic;
use proxywhirl_gateway::{AnswerTest, BanRule, GatewayConfig, HedgeConfig, Pattern, Trigger, TunnelEnd};
use proxywhirl_world::{Behaviour, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::clients::{Client, SERVER_HELLO, body, hello, status};
use crate::scene::{Scene, Then, limits, origin, read_head, scripted, upstream};

const LIMIT: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);

fn rule(trigger: Trigger) -> BanRule {
    BanRule {
        name: "refused".to_owned(),
        hosts: Vec::new(),
        trigger,
        retry: true,
        ban: Some(MINUTE),
        eject: None,
        rotate: false,
        mark: None,
    }
}

fn by_status(statuses: &str) -> Trigger {
    Trigger::Answer(Box::new(AnswerTest { status: Some(statuses.parse().unwrap()), ..AnswerTest::default() }))
}

fn by_body(pattern: &str) -> Trigger {
    let body = Some(Pattern(pattern.parse().unwrap()));
    Trigger::Answer(Box::new(AnswerTest { body, ..AnswerTest::default() }))
}

fn obeying(rule: BanRule) -> GatewayConfig {
    GatewayConfig { bans: vec![rule], ..limits() }
}

#[tokio::test]
async fn who_is_refused_by_status_or_by_its_page_is_asked_once_and_keeps_its_health() {
    let origin = origin().await;
    for (behaviour, trigger) in
        [(Behaviour::AnswerStatus(403), by_status("403,429")), (Behaviour::AlwaysOk, by_body("(?i)free wi-fi"))]
    {
        let bad = upstream(Protocol::Http, behaviour).await;
        let good =
            [upstream(Protocol::Http, Behaviour::Healthy).await, upstream(Protocol::Http, Behaviour::Healthy).await];
        let scene = Scene::with(&[bad.url(), good[0].url(), good[1].url()], obeying(rule(trigger))).await;
        let mut told = scene.engine.subscribe(&[Topic::ProxyBanned], 10);
        for number in 1..=9 {
            let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
            assert_eq!((status(&reply), body(&reply).len()), (200, 10), "{behaviour} {number}: {reply}");
        }
        assert_eq!(bad.seen().len(), 1, "{behaviour}");
        assert_eq!(scene.failures(&bad.url()), 0, "{behaviour}: a ban is no fault");
        let event = timeout(LIMIT, told.next()).await.unwrap().unwrap();
        assert!(
            event.payload.contains("\"site\":\"127.0.0.1\"") && event.payload.contains("\"banned\":true"),
            "{event:?}"
        );
    }
}

#[tokio::test]
async fn a_page_is_seen_through_chunks_and_compression_and_one_that_breaks_off_is_asked_for_elsewhere() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"please solve this captcha").unwrap();
    let gzip = gzip.finish().unwrap();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", gzip.len());
    let gzip: &'static [u8] = [head.as_bytes(), &gzip].concat().leak();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ncapt\r\n3\r\ncha\r\n0\r\n\r\n";
    let origin = origin().await;
    for (says, then, pays) in [
        // The site refuses it, which is no fault.
        (&chunked[..], Then::Hold, false),
        (gzip, Then::Hold, false),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nwel", Then::Close, true),
    ] {
        let bad = scripted(vec![says].leak(), then).await;
        let good = upstream(Protocol::Http, Behaviour::Healthy).await;
        let scene = Scene::with(&[bad.url.clone(), good.url()], obeying(rule(by_body("captcha")))).await;
        for number in 1..=3 {
            let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
            assert_eq!((status(&reply), body(&reply).len()), (200, 10), "{number}: {reply}");
        }
        assert_eq!(scene.failures(&bad.url) > 0, pays, "{}", says.escape_ascii());
    }
}

#[tokio::test]
async fn a_refusal_confirms_no_doubt_about_the_next_answer() {
    let origin = origin().await;
    let refusing = upstream(Protocol::Http, Behaviour::AnswerStatus(403)).await;
    let broken = upstream(Protocol::Http, Behaviour::AnswerStatus(503)).await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let again = BanRule { ban: None, ..rule(by_status("403")) };
    let scene = Scene::with(&[refusing.url(), broken.url(), good.url()], obeying(again)).await;
    for number in 1..=9 {
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
        assert_eq!(status(&reply), 200, "{number}: {reply}");
    }
    assert!(scene.failures(&broken.url()) > 0, "who has made it up pays");
}

#[tokio::test]
async fn a_body_is_waited_for_once_however_many_rules_are_about_it() {
    let slow = scripted(&[b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"], Then::Hold).await;
    let rules = ["one", "two", "three", "four"].map(|pattern| BanRule { ban: None, ..rule(by_body(pattern)) });
    let scene = Scene::with(&[&slow.url], GatewayConfig { bans: rules.to_vec(), ..limits() }).await;
    let mut client = scene.client().await;
    client.write_all(b"GET http://shop.test/ HTTP/1.1\r\n\r\n").await.unwrap();
    // Two seconds are documented; four times that is far off.
    timeout(Duration::from_secs(4), read_head(&mut client)).await.expect("the answer, after two seconds");
}

#[tokio::test]
async fn a_page_that_no_rule_is_about_comes_through_whole() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::with(&[good.url()], obeying(rule(by_body("captcha")))).await;
    for (path, length) in [("/bytes/300000", 300_000), ("/chunked/10", 0), ("/status/204", 0)] {
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), path).await;
        assert!((200..300).contains(&status(&reply)), "{path}: {reply}");
        assert!(body(&reply).len() >= length, "{path}: {}", body(&reply).len());
    }
}

#[tokio::test]
async fn a_rule_that_is_wrong_does_not_empty_the_pool() {
    let origin = origin().await;
    let mut urls = Vec::new();
    let mut upstreams = Vec::new();
    for _ in 0..4 {
        let one = upstream(Protocol::Http, Behaviour::Healthy).await;
        urls.push(one.url());
        upstreams.push(one);
    }
    let scene = Scene::with(&urls, obeying(rule(by_status("200")))).await;
    let mut told = scene.engine.subscribe(&[Topic::ProxyBanned], 100);
    for _ in 0..6 {
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
        assert_eq!((status(&reply), body(&reply).len()), (200, 10), "{reply}");
    }
    let mut banned = Vec::new();
    for _ in 0..4 {
        banned.push(timeout(LIMIT, told.next()).await.unwrap().unwrap().payload.contains("\"banned\":true"));
    }
    assert_eq!(banned, [true, true, false, false], "half of the pool stays");
    assert!(upstreams.iter().filter(|upstream| upstream.seen().len() > 2).count() == 2);
}

/// What a client that begins with TLS gets back.
async fn greeted(scene: &Scene) -> Vec<u8> {
    let mut stream = scene.client().await;
    stream.write_all(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(&hello(b"")).await.unwrap();
    let mut answer = vec![0; 7];
    timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn an_alert_leads_elsewhere_and_bans() {
    let refusing = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", b"\x15\x03\x03\0\x02\x02\x28"], Then::Echo).await;
    let good = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", SERVER_HELLO], Then::Echo).await;
    let scene = Scene::with(&[&refusing.url, &good.url], obeying(rule(Trigger::Tunnel(vec![TunnelEnd::Alert])))).await;
    let mut told = scene.engine.subscribe(&[Topic::ProxyBanned], 10);
    for _ in 0..4 {
        assert_eq!(greeted(&scene).await, SERVER_HELLO[..7]);
    }
    let event = timeout(LIMIT, told.next()).await.unwrap().unwrap();
    assert!(event.payload.contains(&refusing.url), "{event:?}");
    assert_eq!(scene.failures(&refusing.url), 0);
}

#[tokio::test]
async fn an_alert_that_everybody_gets_reaches_the_client() {
    let alert = b"\x15\x03\x03\0\x02\x02\x28";
    let refusing = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n", b"\x15\x03\x03\0\x02\x02\x28"], Then::Echo).await;
    for retry in [true, false] {
        let rule = BanRule { retry, ..rule(Trigger::Tunnel(vec![TunnelEnd::Alert])) };
        let scene = Scene::with(&[&refusing.url], obeying(rule)).await;
        assert_eq!(greeted(&scene).await, alert);
    }
}

#[tokio::test]
async fn who_is_ejected_is_asked_for_no_site_and_the_last_one_stays() {
    let bad = [
        upstream(Protocol::Http, Behaviour::AnswerStatus(403)).await,
        upstream(Protocol::Http, Behaviour::AnswerStatus(403)).await,
    ];
    let eject = BanRule { ban: None, eject: Some(MINUTE), ..rule(by_status("403")) };
    let scene = Scene::with(&[bad[0].url(), bad[1].url()], obeying(eject)).await;
    for site in [1, 2, 3] {
        let origin = SocketAddr::from(([127, 0, 0, site], 80));
        assert_eq!(status(&Client::Get.ask(scene.addr, origin, "/").await), 403);
    }
    let attempts = scene.engine.request(1).unwrap().attempts;
    let code = |number: usize| attempts[number].fault.as_ref().and_then(|fault| fault.code);
    assert_eq!([0, 1].map(code), [Some(403); 2], "how requests tell whose answer it was");
    let mut asked = bad.map(|upstream| upstream.seen().len());
    asked.sort_unstable();
    assert_eq!(asked, [1, 3], "the guard leaves one of two, and its answer is better than none");
}

/// Says `POST` with this body, which streams, through the gateway, and reads the whole answer.
async fn upload(scene: &Scene, origin: SocketAddr, path: &str) -> String {
    let mut client = scene.client().await;
    let chunks = "5\r\nhello\r\n".repeat(20_000);
    let head = format!("POST http://{origin}{path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.write_all(format!("{head}{chunks}0\r\n\r\n").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut reply = String::new();
    timeout(LIMIT, client.read_to_string(&mut reply)).await.unwrap().unwrap();
    reply
}

#[tokio::test]
async fn the_answer_to_a_body_that_streams_is_judged_as_it_passes() {
    let origin = origin().await;
    for (behaviour, trigger) in
        [(Behaviour::AnswerStatus(403), by_status("403")), (Behaviour::AlwaysOk, by_body("(?i)free wi-fi"))]
    {
        let bad = upstream(Protocol::Http, behaviour).await;
        let good = upstream(Protocol::Http, Behaviour::Healthy).await;
        let scene = Scene::with(&[bad.url(), good.url()], obeying(rule(trigger))).await;
        for _ in 0..6 {
            let reply = upload(&scene, origin.http_addr(), "/bytes/10").await;
            assert!(reply.starts_with("HTTP/1.1 "), "{behaviour}: {reply}");
        }
        assert_eq!(bad.seen().len(), 1, "{behaviour}: it was banned, and the client had its answer");
        assert_eq!(scene.engine.bans().len(), 1, "{behaviour}");
    }
}

#[tokio::test]
async fn a_body_is_not_held_up_where_nothing_could_be_asked_again() {
    let origin = origin().await;
    // A page whose second half comes only when the client has read the first one.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nplease ").await.unwrap();
        wait.await.unwrap();
        stream.write_all(b"captcha").await.unwrap();
        stream
    });
    let other = scripted(&[], Then::Close).await;
    let no_retry = BanRule { retry: false, ..rule(by_body("please captcha")) };
    let scene = Scene::with(&[url.as_str(), other.url.as_str()], obeying(no_retry)).await;
    let mut client = scene.client().await;
    client.write_all(crate::clients::get(origin.http_addr(), "/").as_bytes()).await.unwrap();
    let mut begun = vec![0; 4096];
    let mut length = 0;
    let reading = async {
        while !begun[..length].ends_with(b"please ") {
            length += client.read(&mut begun[length..]).await.unwrap();
        }
    };
    timeout(Duration::from_millis(1_500), reading).await.expect("the first half, before rules would stop waiting");
    assert!(scene.engine.bans().is_empty());
    go_on.send(()).unwrap();
    let mut rest = [0; 7];
    client.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"captcha");
    let banned = async {
        while scene.engine.bans().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, banned).await.unwrap();
    drop(upstream.await.unwrap());
}

/// How many answers it takes until it is known how long they nearly always take.
const KNOWN: usize = 20;
const PAUSE: Duration = Duration::from_millis(200);

/// A proxy that answers by itself: at first after a while, and later with a head at once, and with the rest of the page after a while.
/// `asked` counts.
async fn pausing(asked: &Arc<AtomicUsize>) -> String {
    let (listener, asked) = (tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::clone(asked));
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let is_known = asked.fetch_add(1, Ordering::SeqCst) >= KNOWN;
            tokio::spawn(async move {
                read_head(&mut stream).await;
                let (before, within) = if is_known { (Duration::ZERO, 3 * PAUSE) } else { (PAUSE, Duration::ZERO) };
                tokio::time::sleep(before).await;
                let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nwel";
                stream.write_all(begun).await.unwrap();
                tokio::time::sleep(within).await;
                stream.write_all(b"come").await.unwrap();
            });
        }
    });
    url
}

#[tokio::test]
async fn who_has_answered_is_not_hedged_while_a_rule_waits_for_the_body() {
    let asked = Arc::new(AtomicUsize::new(0));
    let upstreams = [pausing(&asked).await, pausing(&asked).await];
    let hedge = HedgeConfig { always: true, ..HedgeConfig::default() };
    // Nobody is silent for too long.
    let patient = GatewayConfig { connect_timeout: LIMIT, ..obeying(rule(by_body("captcha"))) };
    let scene = Scene::with(&upstreams, GatewayConfig { hedge, ..patient }).await;
    let page = async || {
        let reply = Client::Get.ask(scene.addr, SocketAddr::from(([127, 0, 0, 1], 80)), "/").await;
        assert_eq!((status(&reply), body(&reply)), (200, "welcome"), "{reply}");
    };
    while asked.load(Ordering::SeqCst) < KNOWN {
        page().await;
    }
    for number in asked.load(Ordering::SeqCst) + 1..=KNOWN + 4 {
        page().await;
        assert_eq!(asked.load(Ordering::SeqCst), number);
    }
}
