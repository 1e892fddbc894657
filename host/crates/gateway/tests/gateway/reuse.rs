//! Connections to upstreams are used again where that is safe, and nowhere else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxywhirl_core::pool::Admission;
use proxywhirl_gateway::{GatewayConfig, IdleConfig};
use proxywhirl_world::{Behaviour, Protocol, TestCa, Upstream, UpstreamOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clients::{Client, answer, exchange, get, status};
use crate::scene::{Scene, candidate, limits, origin, read_head, upstream};

const LIMIT: Duration = Duration::from_secs(20);
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// What a proxy does with a request of a connection.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// It says this, and waits for the next one.
    Says(&'static str),
    /// It says this, and closes.
    SaysAndCloses(&'static str),
}

/// Something that happened to a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// The request line, with the number of its connection.
    Request(usize, String),
    /// The gateway closed this connection.
    Closed(usize),
}

/// A proxy that does the same with the requests of each connection, the last deed again and again.
struct Proxy {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn new(deeds: &'static [Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let seen = Arc::clone(&seen);
            async move {
                let mut sessions = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let number = sessions.len() + 1;
                    sessions.spawn(serve(stream, number, deeds, Arc::clone(&seen)));
                }
            }
        });
        Self { url, seen, _tasks: tasks }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The connections of the requests so far, in their order.
    fn used(&self) -> Vec<usize> {
        let number = |seen: Seen| if let Seen::Request(number, _) = seen { Some(number) } else { None };
        self.seen().into_iter().filter_map(number).collect()
    }

    /// Waits until the gateway has closed so many connections.
    async fn closed(&self, count: usize) {
        let all = async {
            while self.seen().iter().filter(|seen| matches!(seen, Seen::Closed(_))).count() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, all).await.expect("closed within the limit");
    }
}

async fn serve(mut stream: TcpStream, number: usize, deeds: &'static [Does], seen: Arc<Mutex<Vec<Seen>>>) {
    let mut deeds = deeds.iter().peekable();
    while let Some(deed) = deeds.next() {
        let last = deeds.peek().is_none();
        loop {
            let head = read_head(&mut stream).await;
            let Some(line) = head.lines().next() else {
                seen.lock().unwrap().push(Seen::Closed(number));
                return;
            };
            seen.lock().unwrap().push(Seen::Request(number, line.to_owned()));
            match deed {
                Does::Says(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                Does::SaysAndCloses(text) => return stream.write_all(text.as_bytes()).await.unwrap(),
            }
            if !last {
                break;
            }
        }
    }
}

fn request(method: &str) -> String {
    format!("{method} http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
}

async fn ask(scene: &Scene, text: &str) -> String {
    exchange(&mut scene.client().await, text).await
}

fn waiting(change: impl FnOnce(&mut IdleConfig)) -> GatewayConfig {
    let mut config = limits();
    change(&mut config.upstream_idle);
    config
}

#[tokio::test]
async fn requests_of_all_clients_share_a_connection() {
    let origin = origin().await;
    let tls = TestCa::new().unwrap().server_config(&["127.0.0.1"]).unwrap();
    for protocol in [Protocol::Http, Protocol::Https] {
        let proxy = Upstream::start(UpstreamOptions::new(protocol).tls(Arc::clone(&tls))).await.unwrap();
        let scene = Scene::new(&[proxy.url()]).await;
        for length in [0, 5, 100_000].repeat(4) {
            let reply = ask(&scene, &get(origin.http_addr(), &format!("/bytes/{length}"))).await;
            assert_eq!((status(&reply), reply.ends_with("\r\n\r\n")), (200, length == 0));
        }
        let counters = proxy.counters();
        assert_eq!((counters.forwards, counters.connections), (12, 1), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_tunnel_and_what_goes_through_one_have_connections_of_their_own() {
    let origin = origin().await;
    let proxy = upstream(Protocol::Http, Behaviour::Healthy).await;
    let scene = Scene::new(&[proxy.url()]).await;
    for client in [Client::Get, Client::Connect, Client::Get, Client::Socks5, Client::Get] {
        assert_eq!(status(&client.ask(scene.addr, origin.http_addr(), "/bytes/5").await), 200);
    }
    assert_eq!(proxy.counters().connections, 3);
    let proxy = upstream(Protocol::Socks5, Behaviour::Healthy).await;
    let scene = Scene::new(&[proxy.url()]).await;
    for _ in 0..3 {
        assert_eq!(status(&ask(&scene, &get(origin.http_addr(), "/bytes/5")).await), 200);
    }
    assert_eq!(proxy.counters().connections, 3);
}

#[tokio::test]
async fn the_answer_decides_whether_its_connection_is_used_again() {
    const AGAIN: [&str; 4] = [
        OK,
        "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=30, max=9\r\nContent-Length: 0\r\n\r\n",
    ];
    const NEVER: [&str; 8] = [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nProxy-Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        // What follows the answer would be the answer to somebody else's request.
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ];
    for (says, used) in AGAIN.iter().map(|says| (says, [1, 1])).chain(NEVER.iter().map(|says| (says, [1, 2]))) {
        let deeds: &'static [Does] = vec![Does::Says(says), Does::Says(OK)].leak();
        let proxy = Proxy::new(deeds).await;
        let scene = Scene::new(&[&proxy.url]).await;
        for _ in 0..2 {
            assert!(!ask(&scene, &request("GET")).await.contains("evil"));
        }
        assert_eq!(proxy.used(), used, "{says}");
    }
}

#[tokio::test]
async fn what_follows_a_large_body_is_no_answer() {
    for length in [20_000, 64 * 1024, 1_000_000] {
        let body = "x".repeat(length);
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let says = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}{evil}").leak();
        let proxy = Proxy::new(vec![Does::Says(says)].leak()).await;
        let scene = Scene::new(&[&proxy.url]).await;
        for number in 1..=3 {
            let reply = ask(&scene, &request("GET")).await;
            assert!(reply.ends_with(&body), "{number} of {length}");
        }
        assert_eq!(proxy.used(), [1, 2, 3], "{length}");
    }
}

#[tokio::test]
async fn an_answer_to_head_may_be_followed_by_a_body_that_nobody_takes_for_an_answer() {
    let proxy = Proxy::new(&[Does::Says(
        "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    )])
    .await;
    let scene = Scene::new(&[&proxy.url]).await;
    for _ in 0..3 {
        assert!(!ask(&scene, &request("HEAD")).await.contains("evil"));
    }
    assert_eq!(proxy.used(), [1, 2, 3]);
}

#[tokio::test]
async fn a_connection_that_ends_when_it_is_used_again_is_nobodys_fault() {
    let proxy = Proxy::new(&[Does::Says(OK), Does::SaysAndCloses("")]).await;
    let scene = Scene::new(&[&proxy.url]).await;
    for _ in 0..4 {
        assert_eq!(status(&ask(&scene, &request("GET")).await), 200);
    }
    // The second request of each connection was sent again on a new one.
    assert_eq!(proxy.used(), [1, 1, 2, 2, 3, 3, 4]);
    assert_eq!(scene.member(&proxy.url).statistics.failures, 0);
    assert_eq!(scene.member(&proxy.url).statistics.successes, 4);
}

#[tokio::test]
async fn a_new_connection_that_ends_is_not_tried_again() {
    let proxy = Proxy::new(&[Does::SaysAndCloses("")]).await;
    let scene = Scene::new(&[&proxy.url]).await;
    assert_eq!(status(&ask(&scene, &request("GET")).await), 502);
    assert_eq!(proxy.used(), [1]);
}

#[tokio::test]
async fn what_may_not_be_sent_twice_gets_a_new_connection() {
    let proxy = Proxy::new(&[Does::Says(OK), Does::SaysAndCloses("")]).await;
    let scene = Scene::new(&[&proxy.url]).await;
    for method in ["GET", "POST", "PATCH"] {
        assert_eq!(status(&ask(&scene, &request(method)).await), 200, "{method}");
    }
    assert_eq!(proxy.used(), [1, 2, 3]);
}

#[tokio::test]
async fn a_client_that_proves_itself_to_a_connection_has_it_alone() {
    let proxy = Proxy::new(&[Does::Says(OK)]).await;
    let scene = Scene::new(&[&proxy.url]).await;
    let proving = request("GET").replace("\r\n\r\n", "\r\nAuthorization: Negotiate YII=\r\n\r\n");
    for text in [&request("GET"), &proving, &proving, &request("GET")] {
        assert_eq!(status(&ask(&scene, text).await), 200);
    }
    assert_eq!(proxy.used(), [1, 2, 3, 1]);
}

#[tokio::test]
async fn nothing_is_kept_when_nothing_may_wait() {
    let proxy = Proxy::new(&[Does::Says(OK)]).await;
    let scene = Scene::with(&[&proxy.url], waiting(|idle| idle.per_member = 0)).await;
    for _ in 0..2 {
        assert_eq!(status(&ask(&scene, &request("GET")).await), 200);
    }
    assert_eq!(proxy.used(), [1, 2]);
    proxy.closed(2).await;
}

#[tokio::test]
async fn more_than_may_wait_are_closed() {
    let origin = origin().await;
    for change in [|idle: &mut IdleConfig| idle.per_member = 2, |idle: &mut IdleConfig| idle.total = 2] {
        let proxy = upstream(Protocol::Http, Behaviour::Healthy).await;
        let scene = Scene::with(&[proxy.url()], waiting(change)).await;
        // Five at once need five connections, of which two are left for the next five.
        for connections in [5, 8] {
            let mut slow = JoinSet::new();
            for _ in 0..5 {
                let (addr, origin) = (scene.addr, origin.http_addr());
                slow.spawn(async move { Client::Get.ask(addr, origin, "/delay/300").await });
            }
            assert!(slow.join_all().await.iter().all(|reply| status(reply) == 200));
            assert_eq!(proxy.counters().connections, connections);
        }
    }
}

#[tokio::test]
async fn a_connection_that_waits_is_closed_in_time() {
    let proxy = Proxy::new(&[Does::Says(OK)]).await;
    let config = waiting(|idle| idle.timeout = Duration::from_millis(50));
    let scene = Scene::with(&[&proxy.url], config).await;
    assert_eq!(status(&ask(&scene, &request("GET")).await), 200);
    proxy.closed(1).await;
}

#[tokio::test]
async fn a_connection_that_waits_is_closed_in_time_where_all_clients_come_in_by_a_unix_socket() {
    let proxy = Proxy::new(&[Does::Says(OK)]).await;
    let config = waiting(|idle| idle.timeout = Duration::from_millis(50));
    let scene = Scene::with(&[&proxy.url], config).await;
    let gateway = scene.gateway.clone();
    // Nobody listens for TCP any more.
    scene.drained().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let (listener, stop) = (UnixListener::bind(&path).unwrap(), CancellationToken::new());
    let served = tokio::spawn({
        let stop = stop.clone();
        async move { gateway.serve_unix(listener, stop).await }
    });
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(request("GET").as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    timeout(LIMIT, client.read_to_end(&mut reply)).await.expect("an end within the limit").unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&reply));
    proxy.closed(1).await;
    stop.cancel();
    served.await.unwrap();
}

#[tokio::test]
async fn a_connection_on_which_somebody_speaks_unasked_is_closed() {
    // The second answer comes by itself.
    let late = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scene = Scene::new(&[format!("http://{}", listener.local_addr().unwrap())]).await;
    let mut client = scene.client().await;
    client.write_all(request("GET").as_bytes()).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    stream.write_all(OK.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut client).await.1, b"hi");
    stream.write_all(late.as_bytes()).await.unwrap();
    // An end, or a reset because what was said is not read.
    let end = timeout(LIMIT, stream.read(&mut [0; 16])).await.expect("closed within the limit");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn the_connections_of_who_leaves_the_pool_are_closed() {
    let proxy = Proxy::new(&[Does::Says(OK)]).await;
    let scene = Scene::new(&[&proxy.url]).await;
    assert_eq!(status(&ask(&scene, &request("GET")).await), 200);
    scene.engine.remove(vec![candidate(&proxy.url).endpoint.key()]).await;
    proxy.closed(1).await;
}

#[tokio::test]
async fn other_credentials_have_other_connections() {
    let proxy = Proxy::new(&[Does::Says(OK)]).await;
    let with = |password: &str| proxy.url.replace("//", &format!("//me:{password}@"));
    let scene = Scene::new(&[with("old")]).await;
    assert_eq!(status(&ask(&scene, &request("GET")).await), 200);
    scene.engine.admit(vec![Admission::Vouched(Box::new(candidate(&with("new"))))]).await;
    assert_eq!(status(&ask(&scene, &request("GET")).await), 200);
    assert_eq!(proxy.used(), [1, 2]);
    proxy.closed(1).await;
}
