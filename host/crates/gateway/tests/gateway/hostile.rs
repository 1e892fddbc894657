//! Clients that mean harm, or do not know better: a right answer, bounded memory, no panic.

use std::time::Duration;

use proxywhirl_gateway::GatewayConfig;
use proxywhirl_world::{Behaviour, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::clients::{Client, exchange, rest, status};
use crate::scene::{Scene, limits, origin, upstream};

async fn scene() -> Scene {
    Scene::with::<&str>(&[], GatewayConfig { head_timeout: Duration::from_millis(500), ..limits() }).await
}

#[tokio::test]
async fn what_is_no_request_gets_a_reason() {
    let scene = scene().await;
    for (request, word) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "this is a proxy"),
        ("GET https://example.test/ HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT"),
        ("CONNECT example.test HTTP/1.1\r\n\r\n", "host:port"),
        ("CONNECT example.test:0 HTTP/1.1\r\n\r\n", "port"),
        ("CONNECT example.test:70000 HTTP/1.1\r\n\r\n", "70000"),
        ("CONNECT a:1 HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "no body"),
        ("GET http://e.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "host"),
        ("POST http://e.test/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
        ("POST http://e.test/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "differ"),
        ("POST http://e.test/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "number"),
        ("POST http://e.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
        ("GET http://e.test/ HTTP/1.1\r\nA : b\r\n\r\n", "malformed"),
        ("GET http://e.test/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "malformed"),
        ("GET http://e.test/ HTTP/2\r\n\r\n", "malformed"),
        ("\0\0\0\0", "malformed"),
        ("hello\r\n\r\n", "malformed"),
    ] {
        let reply = exchange(&mut scene.client().await, request).await;
        assert_eq!(status(&reply), 400, "{request:?}: {reply}");
        assert!(reply.contains("\r\nProxy-Status: proxywhirl; error=http_request_error; details=\""), "{reply}");
        assert!(reply.contains("\r\nConnection: close\r\n"), "{reply}");
        assert!(reply.contains(word), "{request:?}: {reply}");
    }
}

#[tokio::test]
async fn another_version_of_http_is_not_supported() {
    let scene = scene().await;
    for request in [
        "GET http://e.test/ HTTP/1.2\r\nHost: e.test\r\n\r\n",
        "GET http://e.test/ HTTP/3.0\r\n\r\n",
        "CONNECT e.test:443 HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let reply = exchange(&mut scene.client().await, request).await;
        assert!(reply.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"), "{request:?}: {reply}");
        assert!(reply.contains("\r\nConnection: close\r\n"), "{request:?}: {reply}");
        assert!(reply.ends_with("speaks HTTP/1.1 and HTTP/1.0 with its clients, and no other version\n"), "{reply}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off_and_the_client_hears_why() {
    let scene = scene().await;
    for (beginning, expected) in [
        ("GET http://e.test/", 414),
        ("GET http://e.test/ HTTP/1.1\r\nA: ", 431),
        ("GET http://e.test/ HTTP/1.1\r\nA: b\r\n", 431),
    ] {
        let mut client = scene.client().await;
        client.write_all(beginning.as_bytes()).await.unwrap();
        // It reads only when it has sent everything: a gateway that closed after 64 kB would reset the connection, and its
        // reply would be lost.
        let junk = vec![b'a'; 100_000];
        for _ in 0..100 {
            client.write_all(&junk).await.unwrap();
        }
        client.shutdown().await.unwrap();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).await.unwrap();
        assert_eq!(status(&String::from_utf8(reply).unwrap()), expected, "{beginning:?}");
    }
    let fields = "a: b\r\n".repeat(1_000);
    let reply = exchange(&mut scene.client().await, &format!("GET http://e.test/ HTTP/1.1\r\n{fields}\r\n")).await;
    assert_eq!(status(&reply), 431, "{reply}");
}

#[tokio::test]
async fn a_head_that_drips_is_ended() {
    let scene = scene().await;
    let mut client = scene.client().await;
    let (mut reader, mut writer) = client.split();
    let drip = async {
        for byte in b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n".iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut reply = Vec::new();
    tokio::select! {
        () = drip => {}
        read = reader.read_to_end(&mut reply) => { read.ok(); }
    }
    assert_eq!(status(&String::from_utf8(reply).unwrap()), 408);
    // Who says nothing at all is let go without a word.
    assert_eq!(rest(&mut scene.client().await).await, "");
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_not_waited_for_for_long() {
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let config = GatewayConfig { body_timeout: Duration::from_millis(500), ..limits() };
    let scene = Scene::with(&[good.url()], config).await;
    let mut client = scene.client().await;
    let origin = origin().await;
    let addr = origin.http_addr();
    let request = format!("POST http://{addr}/ HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc");
    client.write_all(request.as_bytes()).await.unwrap();
    let reply = timeout(Duration::from_secs(10), rest(&mut client)).await.unwrap();
    assert_eq!(status(&reply), 408, "{reply}");
}

#[tokio::test]
async fn bad_chunks_are_the_clients_mistake() {
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let origin = origin().await;
    let scene = Scene::new(&[good.url()]).await;
    for chunks in ["zz\r\n", "-1\r\n", "5\r\nhello!!\r\n", "FFFFFFFFFFFFFFFFFF\r\n", "2;a=\x01\r\nok\r\n"] {
        let url = origin.http_url("/upload");
        let request = format!("POST {url} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let reply = exchange(&mut scene.client().await, &request).await;
        assert_eq!(status(&reply), 400, "{chunks:?}: {reply}");
    }
    assert_eq!(scene.failures(&good.url()), 0);
    let reply = Client::Get.ask(scene.addr, origin.http_addr(), "/").await;
    assert_eq!(status(&reply), 200, "{reply}");
}

#[tokio::test]
async fn a_tls_handshake_is_answered_in_clear_text() {
    let scene = scene().await;
    let mut client = scene.client().await;
    client.write_all(&[0x16, 3, 1, 0, 4, 1, 0, 0, 0]).await.unwrap();
    let reply = rest(&mut client).await;
    assert!(status(&reply) == 400 && reply.contains("this port speaks no TLS"), "{reply}");
}

#[tokio::test]
async fn a_message_cut_anywhere_ends_the_session() {
    let scene = scene().await;
    let socks5 = b"\x05\x01\x00\x05\x01\x00\x03\x0cexample.test\x00\x50";
    let socks4 = b"\x04\x01\x00\x50\x00\x00\x00\x01me\x00example.test\x00";
    let http = b"GET http://example.test/ HTTP/1.1\r\nHost: x\r\n\r\n";
    let connect = b"CONNECT example.test:443 HTTP/1.1\r\n\r\n";
    for message in [&socks5[..], socks4, http, connect] {
        for end in 0..=message.len() {
            let (mut client, server) = tokio::io::duplex(1_024);
            let session = scene.gateway.session(server, None);
            let talk = async {
                client.write_all(&message[..end]).await.unwrap();
                client.shutdown().await.unwrap();
                let mut reply = Vec::new();
                client.read_to_end(&mut reply).await.unwrap();
                reply
            };
            let (reply, ()) = tokio::join!(talk, session);
            // Whole messages get the answer of an empty pool.
            assert_eq!(reply.len() > 2, end == message.len(), "{end} of {message:?}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn noise_never_panics() {
    let scene = scene().await;
    let mut state = 42_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for first in [4, 5, 0x16, b'G', b'C', 0, 0xff] {
        for _ in 0..100 {
            let noise: Vec<u8> = std::iter::once(first).chain((0..random()).map(|_| random())).collect();
            let (mut client, server) = tokio::io::duplex(1_024);
            let session = scene.gateway.session(server, None);
            let talk = async {
                client.write_all(&noise).await.ok();
                client.shutdown().await.ok();
                client.read_to_end(&mut Vec::new()).await.ok();
            };
            tokio::join!(talk, session);
        }
    }
}

#[tokio::test]
async fn an_upstream_that_answers_without_end_is_cut_off() {
    let bomb = upstream(Protocol::Http, Behaviour::HeaderBomb).await;
    let origin = origin().await;
    let scene = Scene::new(&[bomb.url()]).await;
    for client in [Client::Get, Client::Connect] {
        let reply = client.ask(scene.addr, origin.http_addr(), "/").await;
        assert_eq!(status(&reply), 502, "{reply}");
        assert!(reply.len() < 2_000, "{}", reply.len());
    }
}
