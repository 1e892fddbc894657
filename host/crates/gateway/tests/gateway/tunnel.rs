//! Tunnels: opened when they are open, and opaque.

use proxywhirl_world::{Behaviour, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{Client, rest, status};
use crate::scene::{Scene, Then, origin, read_head, scripted, upstream};

#[tokio::test]
async fn every_client_gets_through_every_upstream() {
    let origin = origin().await;
    for protocol in Protocol::ALL.into_iter().filter(|protocol| *protocol != Protocol::Https) {
        let good = upstream(protocol, Behaviour::Healthy).await;
        let scene = Scene::new(&[good.url()]).await;
        for client in Client::ALL {
            let reply = client.ask(scene.addr, origin.http_addr(), "/bytes/10").await;
            assert_eq!(status(&reply), 200, "{client:?} {protocol} {reply}");
        }
    }
}

#[tokio::test]
async fn a_large_body_comes_through_a_tunnel_whole() {
    let origin = origin().await;
    let good = upstream(Protocol::Socks5, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    for client in [Client::Connect, Client::Socks5] {
        let mut stream = scene.client().await;
        client.open(&mut stream, origin.http_addr()).await.unwrap();
        stream.write_all(b"GET /bytes/3000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let head = read_head(&mut stream).await;
        assert_eq!(status(&head), 200);
        let mut body = Vec::new();
        stream.read_to_end(&mut body).await.unwrap();
        assert_eq!(body.len(), 3_000_000);
    }
}

#[tokio::test]
async fn what_a_client_sends_before_the_answer_is_not_lost() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    let mut stream = scene.client().await;
    let request = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.http_addr());
    let early = "GET /bytes/5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all((request + early).as_bytes()).await.unwrap();
    let reply = rest(&mut stream).await;
    assert!(
        reply.starts_with("HTTP/1.1 200 Connection established\r\nProxy-Status: proxywhirl\r\n\r\nHTTP/1.1 200 "),
        "{reply}"
    );
}

#[tokio::test]
async fn what_the_origin_sends_with_the_upstreams_answer_is_not_lost() {
    let eager = scripted(&[b"HTTP/1.1 200 OK\r\n\r\n220 ready\r\n"], Then::Echo).await;
    let scene = Scene::new(&[&eager.url]).await;
    let mut stream = scene.client().await;
    stream.write_all(b"CONNECT mail.test:25 HTTP/1.1\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(b"quit").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, "220 ready\r\nquit");
}

#[tokio::test]
async fn commands_other_than_connect_are_refused() {
    let scene = Scene::new::<&str>(&[]).await;
    for command in [2, 3] {
        let mut stream = scene.client().await;
        stream.write_all(&[5, 1, 0]).await.unwrap();
        stream.read_u16().await.unwrap();
        stream.write_all(&[5, command, 0, 1, 127, 0, 0, 1, 0, 80]).await.unwrap();
        let mut reply = [0; 10];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..2], [5, 7]);
    }
    let mut stream = scene.client().await;
    stream.write_all(&[4, 2, 0, 80, 127, 0, 0, 1, 0]).await.unwrap();
    let mut reply = [0; 8];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply[..2], [0, 91]);
    let mut stream = scene.client().await;
    stream.write_all(&[5, 1, 1]).await.unwrap();
    assert_eq!(stream.read_u16().await.unwrap(), 0x05ff);
}
