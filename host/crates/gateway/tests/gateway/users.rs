//! What users may use, as their clients see it.

use std::net::SocketAddr;
use std::time::Duration;

use proxywhirl_engine::history::Query;
use proxywhirl_gateway::access::UserLimits;
use proxywhirl_gateway::{Door, Rotation, Turns};
use proxywhirl_world::{Behaviour, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{answer, exchange, rest, status};
use crate::scene::{ANNA, Scene, door_of_anna, origin, upstream};

fn request(origin: SocketAddr, path: &str) -> String {
    format!("GET http://{origin}{path} HTTP/1.1\r\nHost: x\r\n{ANNA}Connection: close\r\n\r\n")
}

fn quota(quota: u64) -> UserLimits {
    UserLimits { quota: Some(quota), ..UserLimits::default() }
}

#[tokio::test]
async fn a_client_of_socks_whose_bytes_are_used_up_hears_so() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::behind(&[good.url()], door_of_anna(quota(10_000))).await;
    exchange(&mut scene.client().await, &request(origin.http_addr(), "/bytes/20000")).await;
    let mut client = scene.client().await;
    client.write_all(b"\x05\x01\x02").await.unwrap();
    assert_eq!(client.read_u16().await.unwrap(), 0x0502);
    client.write_all(b"\x01\x04anna\x06secret").await.unwrap();
    assert_eq!(client.read_u16().await.unwrap(), 0x0100);
    client.write_all(b"\x05\x01\0\x03\x09shop.test\0\x50").await.unwrap();
    let mut reply = [0; 10];
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply[..2], [5, 2], "not allowed");
    let told = scene.engine.requests(&Query { limit: 10, ..Query::default() });
    assert!(
        told.iter()
            .any(|told| format!("{told:?}").contains("used up its bytes") && format!("{told:?}").contains("socks5")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_body_that_is_more_than_is_left_is_too_much() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    for length in [30_000, 300_000] {
        let scene = Scene::behind(&[good.url()], door_of_anna(quota(20_000))).await;
        let mut client = scene.client().await;
        let url = origin.http_url("/upload");
        let head = format!("POST {url} HTTP/1.1\r\nHost: x\r\n{ANNA}Content-Length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        // As far as the gateway takes it.
        client.write_all(&vec![b'x'; length]).await.ok();
        let reply = rest(&mut client).await;
        assert_eq!(status(&reply), 429, "{length}: {reply}");
        assert!(reply.contains("\r\nRetry-After: 86") && reply.contains("used up its bytes"), "{length}: {reply}");
        // And so is all that follows.
        let reply = exchange(&mut scene.client().await, &request(origin.http_addr(), "/bytes/1")).await;
        assert_eq!(status(&reply), 429, "{length}: {reply}");
    }
}

#[tokio::test]
async fn a_request_whose_answer_ends_with_the_last_bytes_is_served_and_one_that_goes_on_is_cut() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::behind(&[good.url()], door_of_anna(quota(3_000))).await;
    for number in 1..=3 {
        // The head of the third one is within the quota, and its body is not.
        let reply = exchange(&mut scene.client().await, &request(origin.http_addr(), "/bytes/1000")).await;
        assert_eq!(status(&reply), 200, "{number}: {reply}");
    }
    let failed = Query { limit: 10, failed: true, ..Query::default() };
    assert_eq!(scene.engine.requests(&failed).len(), 0, "{:?}", scene.engine.requests(&failed));
    let reply = exchange(&mut scene.client().await, &request(origin.http_addr(), "/bytes/1")).await;
    assert_eq!(status(&reply), 429, "{reply}");
    let scene = Scene::behind(&[good.url()], door_of_anna(quota(50_000))).await;
    let reply = exchange(&mut scene.client().await, &request(origin.http_addr(), "/bytes/2000000")).await;
    assert!(reply.chars().count() < 50_000 + 2 * 64 * 1024, "{}", reply.len());
    assert_eq!(scene.engine.requests(&failed).len(), 1);
}

#[tokio::test]
async fn the_next_request_of_a_connection_that_has_used_up_its_bytes_hears_so() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::behind(&[good.url()], door_of_anna(quota(2_000))).await;
    let mut client = scene.client().await;
    let again = request(origin.http_addr(), "/bytes/1").replace("Connection: close\r\n", "");
    client.write_all(again.as_bytes()).await.unwrap();
    assert_eq!(status(&answer(&mut client).await.0), 200);
    exchange(&mut scene.client().await, &request(origin.http_addr(), "/bytes/5000")).await;
    client.write_all(again.as_bytes()).await.unwrap();
    let reply = rest(&mut client).await;
    assert!(reply.starts_with("HTTP/1.1 429 ") && reply.contains("\r\nRetry-After: "), "{reply}");
}

#[tokio::test]
async fn who_sends_too_much_keeps_its_connection_and_what_is_behind_is_answered() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let limits = UserLimits { rate: Some(0.001), burst: 2, ..UserLimits::default() };
    let scene = Scene::behind(&[good.url()], door_of_anna(limits)).await;
    let last = request(origin.http_addr(), "/bytes/1");
    let again = last.replace("Connection: close\r\n", "");
    let mut client = scene.client().await;
    client.write_all(again.repeat(4).as_bytes()).await.unwrap();
    for expected in [200, 200, 429, 429] {
        let (head, _) = answer(&mut client).await;
        assert_eq!(status(&head), expected, "{head}");
        assert!(!head.contains("\r\nConnection: close\r\n"), "{head}");
    }
    // A body is not read, and a tunnel may have begun.
    let posts = again.replace("GET ", "POST ").replace("Host: x\r\n", "Host: x\r\nContent-Length: 2\r\n") + "hi";
    let old = again.replace("HTTP/1.1", "HTTP/1.0");
    let tunnel = format!("CONNECT {} HTTP/1.1\r\nHost: x\r\n{ANNA}\r\n", origin.http_addr());
    for ends in [last, posts, old, tunnel] {
        let reply = exchange(&mut scene.client().await, &ends).await;
        assert!(status(&reply) == 429 && reply.contains("\r\nConnection: close\r\n"), "{ends}: {reply}");
    }
}

#[tokio::test]
async fn a_turn_that_falls_to_a_request_that_is_refused_is_that_of_the_next_one() {
    let origin = origin().await;
    let upstreams =
        [upstream(Protocol::Http, Behaviour::Healthy).await, upstream(Protocol::Http, Behaviour::Healthy).await];
    let turns = std::sync::Arc::new(Turns::new(Rotation::Failure, "a"));
    let door = door_of_anna(UserLimits { rate: Some(4.0), ..UserLimits::default() });
    let door = Door { turns: std::sync::Arc::clone(&turns), ..door };
    let scene = Scene::behind(&[upstreams[0].url(), upstreams[1].url()], door).await;
    let ask = async || status(&exchange(&mut scene.client().await, &request(origin.http_addr(), "/bytes/1")).await);
    assert_eq!(ask().await, 200);
    assert!(turns.turn());
    assert_eq!(ask().await, 429, "too soon");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ask().await, 200);
    let asked = upstreams.each_ref().map(|upstream| upstream.counters().requests());
    assert_eq!(asked, [1, 1], "another one");
}
