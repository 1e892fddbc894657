//! Uploads that are passed on as they come: what becomes of an upstream that does badly at them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use proxywhirl_tests::{curl, file, folder, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};

use crate::control::Commanded;

/// More than is kept.
const LENGTH: usize = 100_000;

/// More than fits between a client and an upstream that takes nothing.
const MUCH: usize = 24_000_000;

/// An upstream that takes connections, and nothing that comes on them. It ends with the process of the test.
fn taking_nothing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().map_while(Result::ok).collect::<Vec<_>>());
    addr
}

/// An upstream that takes what it gets, and says this to a request; nothing, when that is empty. It ends with the process of the test.
fn saying(says: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = move |mut client: TcpStream| {
        let (mut have, mut buffer) = (0, vec![0; 65_536]);
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            have += count;
            if have > LENGTH && !says.is_empty() {
                return drop(client.write_all(says.as_bytes()));
            }
        }
    };
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(client));
        }
    });
    addr
}

/// A gateway over two good upstreams and this one, and a body of so many bytes.
async fn over(bad: SocketAddr, length: usize, more: &str) -> Commanded {
    let http = || UpstreamOptions::new(Protocol::Http);
    let world = World::start(WorldPlan::new(vec![http(), http()])).await.unwrap();
    let folder = folder();
    file(&folder, "bad.txt", format!("http://{bad}"));
    file(&folder, "body", "x".repeat(length));
    let source = "[[sources]]\nname = \"bad\"\nlocation = \"bad.txt\"\ntrust = true\n";
    let config = file(&folder, "proxywhirl.toml", format!("[gateway]\nconnect_timeout = \"300ms\"\n{more}{source}"));
    let gateway = Commanded::start_with(world, folder, &["--config", &config]);
    wait_until("all of them", || gateway.get("/v1/status")["members"] == 3);
    gateway
}

/// Sends a body, and waits so long for the answer; whether that was good, and the status.
fn upload(gateway: &Commanded, seconds: &str, more: &[&str]) -> (bool, String) {
    let (body, url) = (format!("@{}", gateway.path("body").display()), gateway.world.origin().http_url("/upload"));
    let proxy = gateway.served.proxy("http");
    let request = ["--max-time", seconds, "--fail", "--output", "/dev/null", "--write-out", "%{http_code}", "--header"];
    let ran = curl([&request[..], &["Expect:", "--data-binary", &body, "--proxy", &proxy, &url], more].concat());
    (ran.code == Some(0), ran.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_badly_at_uploads_gets_none_any_more() {
    for (bad, length, seconds) in [
        (saying(""), LENGTH, "0.5"),
        (saying("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), LENGTH, "0.5"),
        (saying("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"), LENGTH, "0.5"),
        // It is asked after 0.3 s and 1.8 s.
        (taking_nothing(), MUCH, "1.5"),
    ] {
        let gateway = over(bad, length, "").await;
        // Each third one goes to it at first, in turn.
        let mut is_good = Vec::new();
        wait_until("it is not asked any more", || {
            is_good.push(upload(&gateway, seconds, &[]).0);
            is_good.len() > 8 && is_good.iter().rev().take(8).all(|is_good| *is_good)
        });
        // As soon as it is in doubt others serve, while there are others.
        let lost = is_good.iter().filter(|is_good| !**is_good).count();
        assert!((1..=5).contains(&lost), "{bad}: {is_good:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_has_its_answer_in_the_time_of_the_request() {
    for (more, least) in [(&[][..], 2.0), (&["--header", "ProxyWhirl-Timeout: 1"], 1.0)] {
        let gateway = over(saying(""), LENGTH, "request_deadline = \"2s\"\n").await;
        let mut late = None;
        wait_until("one that is not answered", || {
            let began = Instant::now();
            let (_, status) = upload(&gateway, "20", more);
            late = (status == "504").then(|| began.elapsed());
            late.is_some()
        });
        let late = late.unwrap_or_default();
        assert!(late.as_secs_f64() >= least && late < Duration::from_secs(15), "{late:?}");
    }
}
