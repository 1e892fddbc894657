use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proxywhirl_world::{Origin, OriginOptions, TestCa, fnv1a, pattern};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Client, header, talk};

async fn origin() -> Origin {
    Origin::start(&TestCa::new().unwrap()).await.unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n")
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn echo_shows_the_request_as_it_came() {
    let origin = origin().await;
    let request = "PUT /echo?q=1 HTTP/1.1\r\nHost: o\r\nX-B: 2\r\nx-a: \"1\"\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let answer = talk(origin.http_addr(), request).await;
    let json = body(&answer);
    assert!(json.contains(r#""scheme":"http","method":"PUT","target":"/echo?q=1""#), "{json}");
    assert!(json.contains(r#"[["Host","o"],["X-B","2"],["x-a","\"1\""],["Content-Length","5"],"#), "{json}");
    assert!(json.contains(r#""body_length":5,"peer":"127.0.0.1:"#), "{json}");
}

#[tokio::test]
async fn one_connection_carries_many_requests_pipelined_too() {
    let origin = origin().await;
    let mut client = Client::connect(origin.http_addr()).await;
    let one = "GET /ip HTTP/1.1\r\nHost: o\r\n\r\n";
    client.say(one.repeat(3)).await;
    for _ in 0..3 {
        let (head, body) = client.hear_response().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, "127.0.0.1\n");
    }
    assert_eq!(origin.requests(), 3);
    assert_eq!(origin.requests_for("/ip"), 3);
    assert_eq!(origin.requests_from(IpAddr::V4(Ipv4Addr::LOCALHOST)), 3);
}

#[tokio::test]
async fn a_client_of_1_0_gets_no_chunks_and_may_keep_its_connection() {
    let origin = origin().await;
    let mut client = Client::connect(origin.http_addr()).await;
    client.say("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let (head, _) = client.hear_response().await;
    assert_eq!(header(&head, "connection"), Some("keep-alive"));
    client.say("GET /chunked/300000 HTTP/1.0\r\n\r\n").await;
    let head = client.hear_head().await;
    assert_eq!(header(&head, "transfer-encoding"), None);
    assert_eq!(client.hear_all().await, pattern(0, 300_000));
}

#[tokio::test]
async fn bytes_are_the_pattern_with_a_length_and_in_chunks() {
    let origin = origin().await;
    let mut client = Client::connect(origin.http_addr()).await;
    client.say("GET /bytes/1000000 HTTP/1.1\r\nHost: o\r\n\r\n").await;
    let head = client.hear_head().await;
    assert_eq!(header(&head, "content-length"), Some("1000000"));
    assert_eq!(client.hear_exactly(1_000_000).await, pattern(0, 1_000_000));

    client.say("GET /chunked/70000 HTTP/1.1\r\nHost: o\r\n\r\n").await;
    let head = client.hear_head().await;
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    assert_eq!(client.hear_exactly(7).await, b"10000\r\n");
    assert_eq!(client.hear_exactly(65_536).await, pattern(0, 65_536));
    assert_eq!(client.hear_exactly(8).await, b"\r\n1170\r\n");
    assert_eq!(client.hear_exactly(4_464).await, pattern(65_536, 4_464));
    assert_eq!(client.hear_exactly(7).await, b"\r\n0\r\n\r\n");
}

#[tokio::test]
async fn head_answers_have_a_length_and_no_body() {
    let origin = origin().await;
    let mut client = Client::connect(origin.http_addr()).await;
    client.say("HEAD /bytes/10000000000 HTTP/1.1\r\nHost: o\r\n\r\n").await;
    let head = client.hear_head().await;
    assert_eq!(header(&head, "content-length"), Some("10000000000"));
    client.say("GET /status/418 HTTP/1.1\r\nHost: o\r\n\r\n").await;
    let (head, body) = client.hear_response().await;
    assert!(head.starts_with("HTTP/1.1 418 "), "{head}");
    assert_eq!(body, "status 418\n");
}

#[tokio::test]
async fn an_upload_is_counted_and_hashed_in_either_framing() {
    let origin = origin().await;
    let data = pattern(7, 200_000);
    let expected = format!(r#"{{"length":200000,"fnv1a":"{:016x}"}}"#, fnv1a(&data));
    let mut client = Client::connect(origin.http_addr()).await;
    client.say("POST /upload HTTP/1.1\r\nHost: o\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.hear_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.say(&data).await;
    assert_eq!(client.hear_response().await.1, expected);

    client.say("POST /upload HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for chunk in data.chunks(777) {
        client.say(format!("{:x}\r\n", chunk.len())).await;
        client.say(chunk).await;
        client.say("\r\n").await;
    }
    client.say("0\r\n\r\n").await;
    assert_eq!(client.hear_response().await.1, expected);
}

#[tokio::test]
async fn an_expectation_can_be_refused_before_the_body() {
    let origin = origin().await;
    let answer = talk(
        origin.http_addr(),
        "POST /status/413 HTTP/1.1\r\nHost: o\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_torn_answer_is_shorter_than_it_promised() {
    let answer = talk(origin().await.http_addr(), get("/close")).await;
    assert!(answer.contains("Content-Length: 1048576\r\n"));
    assert_eq!(body(&answer).chars().count(), 524_288);
}

#[tokio::test]
async fn slow_answers_and_wrong_paths_are_what_they_say() {
    let origin = origin().await;
    let answer = talk(origin.http_addr(), get("/drip/5/1")).await;
    assert_eq!(body(&answer), "\0\u{1}\u{2}\u{3}\u{4}");
    let answer = talk(origin.http_addr(), get("/delay/1")).await;
    assert_eq!(body(&answer), "delayed\n");
    for (path, status) in [("/nothing", "404"), ("/bytes/x", "400"), ("/upload", "405")] {
        let answer = talk(origin.http_addr(), get(path)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_published_list_is_served_with_its_type_until_it_is_replaced() {
    let origin = origin().await;
    origin.publish("a.csv", "text/csv", "one");
    origin.publish("a.csv", "text/csv", "two");
    let answer = talk(origin.http_addr(), get("/lists/a.csv")).await;
    assert!(answer.contains("Content-Type: text/csv\r\n"), "{answer}");
    assert_eq!(body(&answer), "two");
    assert!(talk(origin.http_addr(), get("/lists/b")).await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_connection_closed() {
    let origin = origin().await;
    for request in [
        "nonsense\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\nHost: o\n\n".to_owned(),
        "POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
    ] {
        let answer = talk(origin.http_addr(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
    }
    let bomb = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(70_000));
    let answer = talk(origin.http_addr(), bomb).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn https_is_trusted_by_those_who_trust_the_authority() {
    let ca = TestCa::new().unwrap();
    let origin = Origin::start(&ca).await.unwrap();
    let connector = TlsConnector::from(ca.client_config().unwrap());
    for name in ["127.0.0.1", "localhost", "origin.test", "www.origin.test"] {
        let tcp = TcpStream::connect(origin.https_addr().unwrap()).await.unwrap();
        let tls = connector.connect(name.try_into().unwrap(), tcp).await.unwrap();
        let mut client = Client::over(tls);
        client.say("GET /echo HTTP/1.1\r\nHost: o\r\n\r\n").await;
        let (_, body) = client.hear_response().await;
        assert!(body.starts_with(r#"{"scheme":"https","method":"GET""#), "{body}");
    }
    let stranger = TlsConnector::from(TestCa::new().unwrap().client_config().unwrap());
    let tcp = TcpStream::connect(origin.https_addr().unwrap()).await.unwrap();
    stranger.connect("localhost".try_into().unwrap(), tcp).await.unwrap_err();
}

#[tokio::test]
async fn an_origin_may_live_on_ipv6() {
    let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    // A machine without IPv6 has nothing to show here.
    let Ok(origin) = Origin::with(OriginOptions { http: any, https: None }).await else {
        return;
    };
    let answer = talk(origin.http_addr(), get("/ip")).await;
    assert_eq!(body(&answer), "::1\n");
}

#[tokio::test]
async fn a_dropped_origin_ends_its_connections() {
    let origin = origin().await;
    let mut client = Client::connect(origin.http_addr()).await;
    client.say("GET /delay/600000 HTTP/1.1\r\nHost: o\r\n\r\n").await;
    drop(origin);
    assert_eq!(client.hear_all().await, b"");
}
