//! Clients that leave before they were answered.

use std::time::Duration;

use proxywhirl_gateway::access::UserLimits;
use proxywhirl_world::{Behaviour, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clients::{get, rest, status};
use crate::scene::{ANNA, Scene, Then, door_of_anna, origin, read_head, scripted, serving, upstream};

/// Long after a dial could have failed, and long before an answer is given up.
const SOON: Duration = Duration::from_secs(5);

/// What opens each kind of request to somewhere behind an HTTP upstream, as anna.
fn requests() -> [(&'static str, Vec<Vec<u8>>); 4] {
    let password = b"\x01\x04anna\x06secret".to_vec();
    let target = [&b"\x05\x01\0\x03\x09shop.test"[..], &80_u16.to_be_bytes()].concat();
    let chunked = format!("POST http://shop.test/ HTTP/1.1\r\n{ANNA}Transfer-Encoding: chunked\r\n\r\n");
    [
        ("GET", vec![format!("GET http://shop.test/ HTTP/1.1\r\n{ANNA}\r\n").into_bytes()]),
        ("POST", vec![format!("{chunked}5\r\nhello\r\n0\r\n\r\n").into_bytes()]),
        ("CONNECT", vec![format!("CONNECT shop.test:80 HTTP/1.1\r\n{ANNA}\r\n").into_bytes()]),
        ("SOCKS", vec![b"\x05\x01\x02".to_vec(), password, target]),
    ]
}

async fn ask(scene: &Scene, messages: &[Vec<u8>]) -> TcpStream {
    let mut client = scene.client().await;
    for message in messages {
        client.write_all(message).await.unwrap();
        if message != messages.last().unwrap() {
            client.read_exact(&mut [0; 2]).await.unwrap();
        }
    }
    client
}

/// An upstream that answers nobody but those after the first one; it tells when the first one has come, and has gone.
async fn silent_once() -> (String, oneshot::Receiver<()>, oneshot::Receiver<()>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ((has_come, come), (has_gone, gone)) = (oneshot::channel(), oneshot::channel());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        read_head(&mut first).await;
        has_come.send(()).ok();
        let others = async {
            while let Ok((mut other, _)) = listener.accept().await {
                read_head(&mut other).await;
                other.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
        };
        let first = async {
            drop(tokio::io::copy(&mut first, &mut tokio::io::sink()).await);
            has_gone.send(()).ok();
        };
        tokio::join!(first, others);
    });
    (url, come, gone, tasks)
}

#[tokio::test]
async fn who_has_left_keeps_no_place_and_soon_no_upstream() {
    let one = UserLimits { concurrency: Some(1), ..UserLimits::default() };
    for (kind, messages) in requests() {
        let (url, come, gone, _tasks) = silent_once().await;
        let scene = Scene::behind(&[url], door_of_anna(one)).await;
        let client = ask(&scene, &messages).await;
        timeout(SOON, come).await.unwrap().unwrap();
        let request = format!("GET http://shop.test/ HTTP/1.1\r\n{ANNA}Connection: close\r\n\r\n");
        let again = async || {
            let mut other = scene.client().await;
            other.write_all(request.as_bytes()).await.unwrap();
            status(&rest(&mut other).await)
        };
        assert_eq!(again().await, 429, "{kind}: one at a time");
        drop(client);
        let freed = async {
            while again().await != 200 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, freed).await.unwrap_or_else(|_| panic!("{kind}: it keeps its place"));
        timeout(SOON, gone).await.unwrap_or_else(|_| panic!("{kind}: it keeps its upstream")).unwrap();
    }
}

#[tokio::test]
async fn who_has_closed_a_tunnel_keeps_no_place_though_its_upstream_does_not_close_it() {
    let one = UserLimits { concurrency: Some(1), ..UserLimits::default() };
    let holds = serving(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-server\r\n").await.unwrap();
        std::future::pending().await
    })
    .await;
    let scene = Scene::behind(&[&holds.url], door_of_anna(one)).await;
    let request = format!("CONNECT shop.test:22 HTTP/1.1\r\n{ANNA}\r\n");
    let open = async || {
        let mut client = scene.client().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let status = status(&read_head(&mut client).await);
        (client, status)
    };
    let (mut client, granted) = open().await;
    client.write_all(b"SSH-2.0-client\r\n").await.unwrap();
    client.read_exact(&mut [0; 16]).await.unwrap();
    assert_eq!((granted, open().await.1), (200, 429), "one at a time");
    client.shutdown().await.unwrap();
    let freed = async {
        while open().await.1 != 200 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, freed).await.expect("the place");
}

#[tokio::test]
async fn who_breaks_off_an_answer_that_stalls_keeps_no_place() {
    let one = UserLimits { concurrency: Some(1), ..UserLimits::default() };
    let heads: [&'static [&'static [u8]]; 2] = [
        &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"hello"],
    ];
    for says in heads {
        let stalls = scripted(says, Then::Hold).await;
        let scene = Scene::behind(&[&stalls.url], door_of_anna(one)).await;
        let request = format!("GET http://shop.test/ HTTP/1.1\r\n{ANNA}\r\n");
        let mut client = scene.client().await;
        client.write_all(request.as_bytes()).await.unwrap();
        read_head(&mut client).await;
        sleep(Duration::from_millis(50)).await;
        // What it has not read makes a reset of its end.
        drop(client);
        let freed = async {
            loop {
                let mut other = scene.client().await;
                other.write_all(request.as_bytes()).await.unwrap();
                match status(&read_head(&mut other).await) {
                    200 => return,
                    _ => sleep(Duration::from_millis(10)).await,
                }
            }
        };
        timeout(SOON, freed).await.expect("the place");
    }
}

#[tokio::test]
async fn who_sends_no_more_and_waits_is_answered() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[good.url()]).await;
    for (version, hears) in [("1.1", "HTTP/1.1 100 Continue\r\n\r\n"), ("1.0", "")] {
        let mut client = scene.client().await;
        let request = get(origin.http_addr(), "/delay/1000").replace("HTTP/1.1", &format!("HTTP/{version}"));
        client.write_all(request.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let reply = rest(&mut client).await;
        let answer = reply.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(status(answer), 200, "{reply}");
        assert!(reply.starts_with(hears) && (answer.len() < reply.len()) != hears.is_empty(), "{version}: {reply}");
    }
}

#[tokio::test]
async fn what_a_client_sends_ahead_is_kept() {
    let origin = origin().await;
    let good = upstream(Protocol::Http, Behaviour::Slow(Duration::from_millis(300))).await;
    let scene = Scene::new(&[good.url()]).await;
    // A second request, while the first one is under way.
    let mut client = scene.client().await;
    let request = get(origin.http_addr(), "/bytes/3");
    client.write_all(request.replace("Connection: close\r\n", "").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(rest(&mut client).await.matches("HTTP/1.1 200 ").count(), 2);
    // What goes through a tunnel, before it is open, and an end behind it.
    let mut client = scene.client().await;
    let authority = origin.http_addr();
    client.write_all(format!("CONNECT {authority} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let inside = format!("GET /bytes/3 HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    client.write_all(inside.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let reply = rest(&mut client).await;
    assert!(
        reply.starts_with("HTTP/1.1 200 Connection established") && reply.contains("\r\nHTTP/1.1 200 OK"),
        "{reply}"
    );
}

#[tokio::test]
async fn a_proxy_that_is_dead_is_found_out_by_clients_that_do_not_wait() {
    let dead = scripted(&[], Then::Hold).await;
    let url = dead.url.replace("http://", "https://");
    let scene = Scene::new(&[&url]).await;
    for message in [&b"GET http://shop.test/ HTTP/1.1\r\n\r\n"[..], b"CONNECT shop.test:443 HTTP/1.1\r\n\r\n"] {
        let before = scene.failures(&url);
        let mut client = scene.client().await;
        client.write_all(message).await.unwrap();
        // Sooner than its handshake with the proxy is given up.
        sleep(Duration::from_millis(50)).await;
        drop(client);
        let blamed = async {
            while scene.failures(&url) == before {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, blamed).await.unwrap();
    }
}
