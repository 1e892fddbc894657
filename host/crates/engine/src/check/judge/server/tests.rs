#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::*;

async fn start(config: JudgeConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(Judge::new(config, Clock::default()).serve(listener, std::future::pending()));
    addr
}

/// What comes back for these bytes until the judge closes.
async fn talk(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("the judge closes").unwrap();
    String::from_utf8(answer).unwrap()
}

async fn status(addr: SocketAddr, request: &str) -> String {
    talk(addr, request).await.split(' ').nth(1).unwrap_or("none").to_owned()
}

fn json(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn a_request_comes_back_as_it_arrived() {
    let addr = start(JudgeConfig::default()).await;
    for target in ["/judge?a=b&nonce=n%2B1", &format!("http://{addr}/judge?nonce=n%2B1")] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: x\r\nX-b: 2\r\nx-A: 1\r\nX-b: 3\r\nConnection: close\r\n\r\n");
        let answer = json(&talk(addr, &request).await);
        assert_eq!(answer["nonce"], "n+1");
        assert_eq!(answer["proof"], proof("n+1", ""));
        assert_eq!(answer["peer"], "127.0.0.1");
        assert_eq!(answer["method"], "GET");
        let headers =
            serde_json::json!([["Host", "x"], ["X-b", "2"], ["x-A", "1"], ["X-b", "3"], ["Connection", "close"]]);
        assert_eq!(answer["headers"], headers);
    }
}

#[tokio::test]
async fn a_connection_brings_several_requests_up_to_its_limit() {
    let addr = start(JudgeConfig { requests: 3, ..JudgeConfig::default() }).await;
    let answers = talk(addr, &"GET /judge?nonce=n HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5)).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(answers.matches("Connection: close").count(), 1);
    assert_eq!(talk(addr, "GET / HTTP/1.0\r\n\r\n").await.matches("HTTP/1.1 200 OK").count(), 1);
}

#[tokio::test]
async fn what_is_no_question_is_refused_and_closed() {
    let addr = start(JudgeConfig::default()).await;
    for (request, expected) in [
        ("GET /else HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "404"),
        ("POST /judge HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_owned(), "413"),
        ("GET /judge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), "413"),
        ("DELETE /judge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "405"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n".to_owned(), "405"),
        ("GET gopher://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "400"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD)), "400"),
        (format!("GET /judge?nonce={} HTTP/1.0\r\n\r\n", "x".repeat(MAX_NONCE + 1)), "400"),
    ] {
        assert_eq!(status(addr, &request).await, expected, "{}", &request[..request.len().min(60)]);
    }
    let head = talk(addr, "HEAD / HTTP/1.0\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_sent_away_and_does_not_keep_others_out() {
    let config = JudgeConfig { connections: 2, timeout: Duration::from_millis(300), ..JudgeConfig::default() };
    let addr = start(config).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(addr).await.unwrap());
    }
    assert_eq!(status(addr, "GET / HTTP/1.0\r\n\r\n").await, "200");
    let closed = timeout(Duration::from_secs(20), idle[0].read(&mut [0; 1])).await.expect("it was sent away");
    assert_eq!(closed.unwrap(), 0);
}

#[tokio::test]
async fn the_shutdown_ends_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let judge = Judge::new(JudgeConfig::default(), Clock::default());
    let judge = tokio::spawn(judge.serve(listener, async { drop(stopped.await) }));
    let mut idle = TcpStream::connect(addr).await.unwrap();
    assert_eq!(status(addr, "GET / HTTP/1.0\r\n\r\n").await, "200");
    stop.send(()).unwrap();
    timeout(Duration::from_secs(20), judge).await.expect("it ends").unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(addr).await.is_err());
}
