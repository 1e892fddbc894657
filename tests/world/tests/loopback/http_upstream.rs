use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proxywhirl_world::{
    Anonymity, Hosts, Origin, Protocol, TestCa, Upstream, UpstreamOptions, closed_port, fnv1a, pattern,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::client::{Client, bounded, header, talk};

async fn pair(options: UpstreamOptions) -> (Origin, Upstream) {
    let origin = Origin::start(&TestCa::new().unwrap()).await.unwrap();
    (origin, Upstream::start(options).await.unwrap())
}

fn http() -> UpstreamOptions {
    UpstreamOptions::new(Protocol::Http)
}

#[tokio::test]
async fn forwards_of_one_connection_are_counted_one_by_one() {
    let (origin, upstream) = pair(http()).await;
    let mut client = Client::connect(upstream.addr()).await;
    let url = origin.http_url("/bytes/1000");
    for _ in 0..5 {
        client.say(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        client.hear_head().await;
        assert_eq!(client.hear_exactly(1000).await, pattern(0, 1000));
    }
    let counters = upstream.counters();
    assert_eq!((counters.connections, counters.forwards), (1, 5));
    assert_eq!((counters.bytes_up, counters.bytes_down), (0, 5000));
    assert_eq!(upstream.seen(), vec![format!("GET {url}"); 5]);
    assert_eq!(origin.requests(), 5);
}

#[tokio::test]
async fn hop_by_hop_fields_stop_at_the_upstream_and_the_target_names_the_host() {
    let (origin, upstream) = pair(http()).await;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: wrong\r\nA: 1\r\nProxy-Connection: keep-alive\r\nConnection: close, X-Hop\r\n\
         X-Hop: 1\r\nTE: trailers\r\nProxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nb: 2\r\n\r\n",
        origin.http_url("/headers")
    );
    let answer = talk(upstream.addr(), request).await;
    let expected = format!(r#""headers":[["Host","{}"],["A","1"],["b","2"]]"#, origin.http_addr());
    assert!(answer.contains(&expected), "{answer}");
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn an_upstream_tells_the_origin_as_much_as_its_anonymity_says() {
    for (anonymity, via, address) in
        [(Anonymity::Elite, false, false), (Anonymity::Anonymous, true, false), (Anonymity::Transparent, true, true)]
    {
        let (origin, upstream) = pair(http().anonymity(anonymity)).await;
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", origin.http_url("/headers"));
        let answer = talk(upstream.addr(), request).await;
        assert_eq!(answer.contains(r#"["Via","1.1 proxywhirl-world"]"#), via, "{answer}");
        assert_eq!(answer.contains(r#"["X-Forwarded-For","127.0.0.1"]"#), address, "{answer}");
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_in_either_framing() {
    let (origin, upstream) = pair(http()).await;
    let mut client = Client::connect(upstream.addr()).await;
    let data = pattern(3, 100_000);
    let hash = format!("{:016x}", fnv1a(&data));
    let url = origin.http_url("/upload");
    client
        .say(format!("POST {url} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n"))
        .await;
    assert!(client.hear_head().await.starts_with("HTTP/1.1 100 "));
    client.say(&data).await;
    assert!(client.hear_response().await.1.contains(&hash));

    client.say(format!("POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    for chunk in data.chunks(9_999) {
        client.say(format!("{:x}\r\n", chunk.len())).await;
        client.say(chunk).await;
        client.say("\r\n").await;
    }
    client.say("0\r\n\r\n").await;
    assert!(client.hear_response().await.1.contains(&hash));

    let url = origin.http_url("/chunked/100000");
    client.say(format!("GET {url} HTTP/1.0\r\n\r\n")).await;
    assert_eq!(header(&client.hear_head().await, "transfer-encoding"), None);
    assert_eq!(client.hear_all().await, pattern(0, 100_000));
    assert_eq!(upstream.counters().bytes_up, 200_000);
}

#[tokio::test]
async fn a_dripping_answer_is_not_held_back() {
    let (origin, upstream) = pair(http()).await;
    let mut client = Client::connect(upstream.addr()).await;
    let url = origin.http_url("/drip/2/60000");
    client.say(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    assert!(client.hear_head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let (origin, upstream) = pair(http()).await;
    let mut client = Client::connect(upstream.addr()).await;
    let url = origin.http_url("/status/413");
    client
        .say(format!("POST {url} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"))
        .await;
    assert!(client.hear_head().await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_torn_answer_is_torn_for_the_client_too() {
    let (origin, upstream) = pair(http()).await;
    let mut client = Client::connect(upstream.addr()).await;
    client.say(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url("/close"))).await;
    let head = client.hear_head().await;
    assert_eq!(header(&head, "content-length"), Some("1048576"));
    assert_eq!(client.hear_all().await.len(), 524_288);
}

#[tokio::test]
async fn an_origin_that_is_not_there_is_a_502_and_one_outside_a_403() {
    let upstream = Upstream::start(http()).await.unwrap();
    let closed = closed_port().unwrap();
    for (target, status) in [
        (format!("http://{}/", closed.addr()), 502),
        ("http://no.such.invalid/".to_owned(), 502),
        ("http://192.0.2.1/".to_owned(), 403),
        ("/origin-form".to_owned(), 400),
        ("https://origin.test/".to_owned(), 400),
    ] {
        let answer = talk(upstream.addr(), format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        if !target.starts_with('/') && !target.starts_with("https") {
            let authority = target.trim_start_matches("http://").trim_end_matches('/');
            let authority = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
            let answer = talk(upstream.addr(), format!("CONNECT {authority} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{authority}: {answer}");
        }
    }
    assert_eq!(upstream.counters().requests(), 0);
}

#[tokio::test]
async fn a_kept_connection_that_the_origin_closed_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let upstream = Upstream::start(http()).await.unwrap();
    let mut client = Client::connect(upstream.addr()).await;
    for _ in 0..2 {
        client.say(format!("GET http://{addr}/ HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let (mut origin, _) = bounded(listener.accept()).await.unwrap();
        let mut buffer = [0; 1024];
        bounded(origin.read(&mut buffer)).await.unwrap();
        origin.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        drop(origin);
        assert_eq!(client.hear_response().await.1, "ok");
    }
}

#[tokio::test]
async fn a_name_leads_where_the_table_says() {
    let origin = Origin::start(&TestCa::new().unwrap()).await.unwrap();
    let hosts = Hosts::new().with_port("origin.test", 80, origin.http_addr());
    let upstream = Upstream::start(http().hosts(hosts)).await.unwrap();
    let answer =
        talk(upstream.addr(), "GET http://Origin.Test/headers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains(r#"["Host","Origin.Test"]"#), "{answer}");
}

#[tokio::test]
async fn credentials_are_wanted_before_anything_else() {
    let (origin, upstream) = pair(http().credentials("us er", "p:w")).await;
    let url = origin.http_url("/");
    let mut client = Client::connect(upstream.addr()).await;
    for authorization in ["", "Proxy-Authorization: Basic d3Jvbmc6eA==\r\n", "Proxy-Authorization: Bearer x\r\n"] {
        client.say(format!("GET {url} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n")).await;
        let (head, _) = client.hear_response().await;
        assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
        assert!(header(&head, "proxy-authenticate").unwrap().starts_with("Basic "));
    }
    let right = "Proxy-Authorization: basic dXMgZXI6cDp3\r\n";
    client.say(format!("GET {url} HTTP/1.1\r\nHost: x\r\n{right}\r\n")).await;
    assert!(client.hear_response().await.0.starts_with("HTTP/1.1 200 "));
    client.say(format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n{right}\r\n", origin.http_addr())).await;
    assert!(client.hear_head().await.starts_with("HTTP/1.1 200 "));
    let counters = upstream.counters();
    assert_eq!((counters.auth_failures, counters.forwards, counters.tunnels), (3, 1, 1));
    assert!(upstream.url().starts_with("http://us%20er:p%3Aw@127.0.0.1:"), "{}", upstream.url());
}

#[tokio::test]
async fn a_tunnel_carries_early_bytes_and_outlives_half_of_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let upstream = Upstream::start(http()).await.unwrap();
    let mut client = Client::connect(upstream.addr()).await;
    client.say(format!("CONNECT {addr} HTTP/1.1\r\nHost: {addr}\r\n\r\nearly")).await;
    let (mut origin, _) = bounded(listener.accept()).await.unwrap();
    assert!(client.hear_head().await.starts_with("HTTP/1.1 200 "));
    client.finish_saying().await;
    let mut heard = String::new();
    bounded(origin.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "early");
    origin.write_all(&pattern(0, 1_000_000)).await.unwrap();
    drop(origin);
    assert_eq!(client.hear_all().await, pattern(0, 1_000_000));
    let counters = upstream.counters();
    assert_eq!((counters.bytes_up, counters.bytes_down), (5, 1_000_000));
    assert_eq!(upstream.seen(), [format!("CONNECT {addr}")]);
}

#[tokio::test]
async fn an_https_upstream_is_an_http_upstream_inside_tls() {
    let ca = TestCa::new().unwrap();
    let origin = Origin::start(&ca).await.unwrap();
    let options = UpstreamOptions::new(Protocol::Https).tls(ca.server_config(&[]).unwrap());
    let upstream = Upstream::start(options).await.unwrap();
    let connector = TlsConnector::from(ca.client_config().unwrap());
    for request in [
        format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_url("/bytes/300000")),
        format!(
            "CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\nGET /bytes/300000 HTTP/1.1\r\nHost: o\r\n\r\n",
            origin.http_addr()
        ),
    ] {
        let tcp = TcpStream::connect(upstream.addr()).await.unwrap();
        let mut client = Client::over(connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap());
        client.say(&request).await;
        let mut head = client.hear_head().await;
        if request.starts_with("CONNECT") {
            head = client.hear_head().await;
        }
        assert_eq!(header(&head, "content-length"), Some("300000"));
        assert_eq!(client.hear_exactly(300_000).await, pattern(0, 300_000));
    }
    assert!(Upstream::start(UpstreamOptions::new(Protocol::Https)).await.is_err());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_origin_sees_the_address_that_the_upstream_leaves_from() {
    let exit = IpAddr::V4(Ipv4Addr::new(127, 1, 2, 3));
    let (origin, upstream) = pair(http().egress(exit)).await;
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", origin.http_url("/ip"));
    assert!(talk(upstream.addr(), request).await.ends_with("\r\n127.1.2.3\n"));
    assert_eq!(origin.requests_from(exit), 1);
}

#[tokio::test]
async fn a_dropped_upstream_ends_its_tunnels() {
    let (origin, upstream) = pair(http()).await;
    let mut client = Client::connect(upstream.addr()).await;
    client.say(format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.http_addr())).await;
    client.hear_head().await;
    assert!(client.hears_nothing_for(Duration::from_millis(50)).await);
    drop(upstream);
    assert_eq!(client.hear_all().await, b"");
}
