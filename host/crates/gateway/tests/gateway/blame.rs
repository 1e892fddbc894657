//! Who pays for what failed: the upstream whose fault it was, and nobody where it was the origin's.

use std::net::SocketAddr;
use std::time::Duration;

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_engine::{SiteQuery, SitesConfig, Tuning};
use proxywhirl_world::{Behaviour, Protocol, Upstream};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::clients::{Client, body, exchange, hello, rest, status};
use crate::scene::{Scene, Scripted, Then, limits, origin, read_head, scripted, serving, upstream};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn who_refuses_its_login_with_401_pays_and_an_origin_that_wants_one_is_heard() {
    let origin = origin().await;
    let refuses = upstream(Protocol::Http, Behaviour::AnswerStatus(401)).await;
    let (refuses_tunnels, good) = (
        upstream(Protocol::Http, Behaviour::RefuseConnect(401)).await,
        upstream(Protocol::Http, Behaviour::Healthy).await,
    );
    let with_login = |url: String| url.replace("http://", "http://me:no@");
    for (bad, client) in [(&refuses, Client::Get), (&refuses_tunnels, Client::Connect)] {
        let scene = Scene::new(&[with_login(bad.url()), good.url()]).await;
        for number in 1..=12 {
            let reply = client.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
            assert_eq!(status(&reply), 200, "{client:?} {number}: {reply}");
        }
        assert!(scene.failures(&with_login(bad.url())) > 0, "{client:?}");
    }
    let both = [upstream(Protocol::Http, Behaviour::Healthy).await, upstream(Protocol::Http, Behaviour::Healthy).await];
    let both = both.each_ref().map(|upstream| with_login(upstream.url()));
    let scene = Scene::new(&both).await;
    let addr = origin.http_addr();
    for (login, asked) in [("", 2), ("Authorization: Basic bWU6bm8=\r\n", 1)] {
        let before = origin.requests();
        let get = format!("GET http://{addr}/status/401 HTTP/1.1\r\nHost: {addr}\r\n{login}Connection: close\r\n\r\n");
        let reply = exchange(&mut scene.client().await, &get).await;
        assert_eq!((status(&reply), origin.requests() - before), (401, asked), "{reply}");
    }
    assert_eq!(both.map(|url| scene.failures(&url)), [0; 2]);
}

#[tokio::test]
async fn those_who_say_503_to_everything_do_not_confirm_each_other() {
    let origin = origin().await;
    let mut upstreams = vec![upstream(Protocol::Http, Behaviour::Healthy).await];
    for status in [502, 503, 503, 504] {
        upstreams.push(upstream(Protocol::Http, Behaviour::AnswerStatus(status)).await);
    }
    let urls: Vec<_> = upstreams.iter().map(proxywhirl_world::Upstream::url).collect();
    let scene = Scene::new(&urls).await;
    for number in 1..=12 {
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
        assert_eq!(status(&reply), 200, "{number}: {reply}");
    }
    let served: Vec<_> = scene.engine.snapshot().iter().map(|member| member.live.statistics().successes).collect();
    assert_eq!(served, [12, 0, 0, 0, 0], "nobody is praised for a 503");
    assert!(urls[1..].iter().all(|url| scene.failures(url) > 0));
}

#[tokio::test]
async fn who_refuses_everything_proves_nothing_against_those_who_find_an_origin_down() {
    let origin = origin().await;
    let honest =
        [upstream(Protocol::Http, Behaviour::CloseAfterHead).await, upstream(Protocol::Http, Behaviour::Healthy).await];
    let refuses = upstream(Protocol::Http, Behaviour::AnswerStatus(403)).await;
    let urls = [honest[0].url(), honest[1].url(), refuses.url()];
    let scene = Scene::new(&urls).await;
    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    for number in 1..=12 {
        let reply = Client::Get.ask(scene.addr, closed, "/").await;
        assert_eq!(status(&reply), 403, "{number}: {reply}");
    }
    assert_eq!(urls.each_ref().map(|url| scene.failures(url)), [0; 3]);
    let sites = scene.engine.at_sites(&SiteQuery { limit: 10, ..SiteQuery::default() });
    assert!(sites.is_empty(), "nobody has served there: {sites:?}");
    // Where somebody serves, it is found out who does not, and only that one.
    for _ in 0..6 {
        assert!([200, 403].contains(&status(&Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await)));
    }
    let [closes, serves, refuses] = urls.each_ref().map(|url| scene.failures(url));
    assert!(closes > 0 && (serves, refuses) == (0, 0), "{closes}");
}

#[tokio::test]
async fn a_404_of_one_who_does_well_at_the_site_proves_that_others_do_not() {
    let origin = origin().await;
    let bad = [
        upstream(Protocol::Http, Behaviour::CloseAfterHead).await,
        upstream(Protocol::Http, Behaviour::CloseAfterHead).await,
    ];
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[bad[0].url(), bad[1].url(), good.url()]).await;
    let failures = || bad.each_ref().map(|bad| scene.failures(&bad.url())).iter().sum::<u64>();
    let ask = async |path, code| {
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), path).await;
        assert_eq!(status(&reply), code, "{reply}");
    };
    for _ in 0..3 {
        ask("/status/404", 404).await;
    }
    assert_eq!(failures(), 0, "it may refuse everything");
    ask("/bytes/1", 200).await;
    let before = failures();
    for _ in 0..4 {
        ask("/status/404", 404).await;
    }
    assert!(failures() > before, "{before}");
    assert_eq!(scene.failures(&good.url()), 0);
}

#[tokio::test]
async fn who_opens_tunnels_and_says_nothing_has_no_success_from_clients_that_are_impatient() {
    let silent = upstream(Protocol::Http, Behaviour::StallAfterConnect).await;
    let scene = Scene::new(&[silent.url()]).await;
    for _ in 0..3 {
        let mut client = scene.client().await;
        client.write_all(b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n").await.unwrap();
        read_head(&mut client).await;
        client.write_all(&hello(b"")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(client);
    }
    let live = || scene.engine.snapshot().iter().next().unwrap().live.clone();
    timeout(LIMIT, async {
        while live().in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("their places are free at once");
    assert_eq!(live().statistics().successes, 0);
}

#[tokio::test]
async fn who_refuses_does_not_pay_because_of_a_post_that_the_next_one_refuses_in_its_own_way() {
    let origin = origin().await;
    // The origin is down: so says the one in SOCKS, and the other one in HTTP.
    let socks = upstream(Protocol::Socks5, Behaviour::AnswerStatus(503)).await;
    let http = upstream(Protocol::Http, Behaviour::AnswerStatus(503)).await;
    let scene = Scene::new(&[socks.url(), http.url()]).await;
    let addr = origin.http_addr();
    for body in ["hi".to_owned(), "x".repeat(200_000)] {
        let head = format!("POST http://{addr}/ HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {}\r\n", body.len());
        for _ in 0..4 {
            let reply = exchange(&mut scene.client().await, &format!("{head}Connection: close\r\n\r\n{body}")).await;
            assert_eq!(status(&reply), 503, "{reply}");
        }
    }
    assert!(!socks.seen().is_empty());
    assert_eq!(scene.failures(&socks.url()), 0);
}

#[tokio::test]
async fn who_refuses_alone_is_told_to_the_client_and_does_not_pay() {
    let origin = origin().await;
    let upstreams = [
        upstream(Protocol::Http, Behaviour::RefuseConnect(503)).await,
        upstream(Protocol::Http, Behaviour::RefuseConnect(503)).await,
    ];
    let urls = [upstreams[0].url(), upstreams[1].url()];
    let scene = Scene::new(&urls).await;
    let reply = Client::Connect.ask(scene.addr, origin.http_addr(), "/").await;
    assert_eq!(status(&reply), 502, "{reply}");
    assert!(reply.contains("\r\nProxy-Status: proxywhirl; error="), "{reply}");
    assert!(reply.contains("; received-status=503; details=\""), "{reply}");
    // It may be the origin that is down: nobody else has reached it.
    assert_eq!(urls.map(|url| scene.failures(&url)), [0, 0]);
    assert_eq!(upstreams.map(|upstream| upstream.seen().len()), [1, 1]);
}

#[tokio::test]
async fn a_body_that_breaks_off_hurts_nobody_and_is_not_completed() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/close").await;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let promised: usize =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap();
    assert!(body.len() < promised, "{reply}");
    assert_eq!(scene.failures(&good.url()), 0);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_hurts_nobody() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let mut client = scene.client().await;
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url("/bytes/100000000"));
    client.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut client).await;
    drop(client);
    let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/").await;
    assert_eq!(status(&reply), 200, "{reply}");
    assert_eq!(scene.failures(&good.url()), 0);
}

#[tokio::test]
async fn upstreams_that_hang_up_when_the_origin_is_dead_serve_all_others() {
    let origin = origin().await;
    for client in [Client::Connect, Client::Socks5] {
        // They close behind a CONNECT that they cannot serve, as many do.
        let closers = [closer().await, closer().await, closer().await];
        let scene = Scene::with(&closers.each_ref().map(|closer| &closer.url), limits()).await;
        for number in 1..=8 {
            let mut stream = scene.client().await;
            let head = format!("CONNECT dead{number}.test:443 HTTP/1.1\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            assert_eq!(status(&rest(&mut stream).await), 502);
        }
        for _ in 0..4 {
            assert_eq!(status(&client.ask(scene.addr, origin.http_addr(), "/").await), 200, "{client:?}");
        }
        assert_eq!(closers.each_ref().map(|closer| scene.failures(&closer.url)), [0; 3]);
    }
}

/// A proxy that connects to addresses, and hangs up when it is asked for a name.
async fn closer() -> Scripted {
    serving(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let target = head.split(' ').nth(1).and_then(|target| target.parse::<SocketAddr>().ok());
        let Some(target) = target else { return };
        let mut origin = TcpStream::connect(target).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        _ = tokio::io::copy_bidirectional(&mut stream, &mut origin).await;
    })
    .await
}

#[tokio::test]
async fn nobody_pays_for_what_is_broken_at_a_site_that_does_well_otherwise() {
    let origin = origin().await;
    let all = [
        upstream(Protocol::Http, Behaviour::Healthy).await,
        upstream(Protocol::Http, Behaviour::Healthy).await,
        upstream(Protocol::Socks5h, Behaviour::Healthy).await,
    ];
    let scene = Scene::new(&all.each_ref().map(Upstream::url)).await;
    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    for _ in 0..20 {
        for path in ["/status/503", "/bytes/1"] {
            let reply = Client::Get.ask(scene.addr, origin.http_addr(), path).await;
            assert_eq!(status(&reply), if path == "/bytes/1" { 200 } else { 503 }, "{reply}");
        }
        let mut stream = scene.client().await;
        stream.write_all(format!("CONNECT {closed} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(status(&rest(&mut stream).await), 502);
        assert_eq!(status(&Client::Connect.ask(scene.addr, origin.http_addr(), "/bytes/1").await), 200);
    }
    assert_eq!(all.each_ref().map(|upstream| scene.failures(&upstream.url())), [0; 3]);
}

#[tokio::test]
async fn who_cuts_each_body_is_passed_over_and_who_serves_an_origin_that_does_is_not() {
    let origin = origin().await;
    let cuts = scripted(&[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"], Then::Close).await;
    let good = [upstream(Protocol::Http, Behaviour::Healthy).await, upstream(Protocol::Http, Behaviour::Healthy).await];
    let scene = Scene::new(&[cuts.url.clone(), good[0].url(), good[1].url()]).await;
    let mut whole = Vec::new();
    for _ in 0..40 {
        let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
        whole.push(body(&reply).len() == 10);
    }
    let cut = whole.iter().filter(|is_whole| !**is_whole).count();
    assert!((2..=7).contains(&cut) && whole.ends_with(&[true; 15]), "{whole:?}");
    assert_eq!(good.each_ref().map(|upstream| scene.failures(&upstream.url())), [0; 2]);
}

/// Asks sixty sites once, through two good upstreams and this one, whose breaker stays open for so long. Who was served.
async fn crawl(method: &str, bad: &Scripted, cooldown: Duration) -> (Scene, Vec<bool>) {
    let says: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n1234567890"];
    let good = [scripted(says, Then::Close).await, scripted(says, Then::Close).await];
    let scene = Scene::new(&[&bad.url, &good[0].url, &good[1].url]).await;
    let breaker = BreakerConfig { cooldown, ..BreakerConfig::default() };
    scene
        .engine
        .tune(&Tuning { breaker, capacity: 10, ban_share: 0.5, sites: SitesConfig::default(), history: 10 })
        .await;
    let mut served = Vec::new();
    for site in 0..60 {
        let host = format!("site{site}.test");
        let fields = format!("Host: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let request = format!("{method} http://{host}/ HTTP/1.1\r\n{fields}");
        served.push(body(&exchange(&mut scene.client().await, &request).await) == "1234567890");
    }
    assert_eq!(good.each_ref().map(|upstream| scene.failures(&upstream.url)), [0; 2]);
    (scene, served)
}

const BROKEN_OFF: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"];

const NOTHING: &[&[u8]] = &[];

#[tokio::test]
async fn who_fails_at_every_site_of_a_crawl_is_found_out_though_each_is_asked_once() {
    for (method, says) in [("GET", BROKEN_OFF), ("POST", BROKEN_OFF), ("POST", NOTHING)] {
        let bad = scripted(says, Then::Close).await;
        let (_scene, served) = crawl(method, &bad, Duration::from_secs(60)).await;
        let failed = served.iter().filter(|is_served| !**is_served).count();
        assert!((3..=10).contains(&failed) && served.ends_with(&[true; 20]), "{method}: {served:?}");
    }
}

#[tokio::test]
async fn who_is_on_probation_for_breaking_answers_off_is_let_back_in_by_a_whole_one_only() {
    let bad = scripted(BROKEN_OFF, Then::Close).await;
    let (scene, served) = crawl("GET", &bad, Duration::ZERO).await;
    let statistics = scene.member(&bad.url).statistics;
    assert!(statistics.failures > 8, "its probes count: {statistics:?}, {served:?}");
    assert_eq!(statistics.successes, 0, "{served:?}");
}
