//! On loopback, with the system's Chromium. One that is missing is a failure, with what installs it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant as Clock;

use chromiumoxide::cdp::browser_protocol::page::CrashParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::*;

const HTML: &str = "Content-Type: text/html\r\n";

/// Answers each request with what `answer` makes of its path and its head.
async fn server<F, R>(answer: F) -> SocketAddr
where
    F: Fn(String, String) -> R + Clone + Send + 'static,
    R: Future<Output = Vec<u8>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let head = head(&mut stream).await;
                if head.is_empty() {
                    // A spare connection that Chromium has opened ahead, and not used.
                    return;
                }
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let bytes = answer(path, head).await;
                drop(stream.write_all(&bytes).await);
            });
        }
    });
    addr
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0 {}
    String::from_utf8_lossy(&head).into_owned()
}

fn answer(fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}\r\n{body}").into_bytes()
}

async fn pages(body: &'static str) -> SocketAddr {
    server(move |path, _| async move { if path == "/" { answer(HTML, body) } else { answer("", "") } }).await
}

fn page(addr: SocketAddr, path: &str) -> Page {
    Page {
        url: Url::parse(&format!("http://{addr}{path}")).unwrap(),
        headers: Vec::new(),
        wait_for: None,
        allow_private: true,
        bytes: 8 * 1024 * 1024,
        timeout: Duration::from_secs(60),
    }
}

/// A browser whose end the test sees to.
fn chromium() -> Chromium {
    Chromium::new(ChromiumConfig::default())
}

/// The browser's processes and profiles that are there now, of this process.
async fn group(chromium: &Chromium) -> rustix::process::Pid {
    chromium.state.lock().await.running.as_ref().and_then(|running| running.group()).unwrap()
}

async fn ends_without_a_trace(chromium: Chromium) {
    let group = group(&chromium).await;
    let profile = profile_of(group);
    assert!(Path::new(&profile).is_dir());
    chromium.close().await;
    assert!(rustix::process::test_kill_process_group(group).is_err(), "processes are left");
    assert!(!Path::new(&profile).exists(), "{profile} is left");
}

fn profile_of(group: rustix::process::Pid) -> String {
    let line = std::fs::read(format!("/proc/{}/cmdline", group.as_raw_nonzero())).unwrap();
    let line = String::from_utf8_lossy(&line).into_owned();
    let argument = line.split('\0').find_map(|argument| argument.strip_prefix("--user-data-dir="));
    argument.unwrap().to_owned()
}

const SCRIPTED: &str = "<table id=t></table><script>setTimeout(() => { for (let n = 1; n <= 20; n++) \
    t.insertRow().innerHTML = `<td>192.0.2.${n}</td><td>8080</td>`; t.className = 'full'; }, 300)</script>";

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_script_makes_is_read_and_nothing_is_left_of_the_browser() {
    let addr = pages(SCRIPTED).await;
    let chromium = chromium();
    for wait_for in [Some("table.full tr:nth-child(20)".to_owned()), None] {
        let rendered = chromium.render(&Page { wait_for, ..page(addr, "/") }).await.unwrap();
        assert_eq!(rendered.html.matches("<tr><td>192.0.2.").count(), 20, "{}", rendered.html);
        assert_eq!(rendered.url.path(), "/");
    }
    ends_without_a_trace(chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_never_idle_is_taken_as_it_is_and_a_selector_that_never_comes_is_told() {
    let body = "<p>1.1.1.1:80</p><script>setInterval(() => fetch('/tick'), 50)</script>";
    let addr = pages(body).await;
    let folder = tempfile::tempdir().unwrap();
    let screenshots = Some(folder.path().to_owned());
    let chromium = Chromium::new(ChromiumConfig { screenshots, ..ChromiumConfig::default() });
    let timeout = Duration::from_secs(15);
    let rendered = chromium.render(&Page { timeout, ..page(addr, "/") }).await.unwrap();
    assert!(rendered.html.contains("1.1.1.1:80"));
    let started = Clock::now();
    let never = Page { wait_for: Some("#never".to_owned()), timeout: Duration::from_secs(5), ..page(addr, "/") };
    let error = chromium.render(&never).await.unwrap_err().to_string();
    assert!(error.starts_with("the page was not ready within 5s (screenshot: "), "{error}");
    assert!(started.elapsed() < Duration::from_secs(25), "not when its time is up");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let wrong = Page { wait_for: Some("<<".to_owned()), ..page(addr, "/") };
    let error = chromium.render(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("the selector \"<<\""), "{error}");
    ends_without_a_trace(chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_without_end_and_pages_that_are_not_there_are_told() {
    let addr = server(|path, _| async move {
        match path.as_str() {
            "/loop" => b"HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "/silent" => std::future::pending().await,
            _ => Vec::new(),
        }
    })
    .await;
    let chromium = chromium();
    let error = chromium.render(&page(addr, "/loop")).await.unwrap_err().to_string();
    assert_eq!(error, "the page cannot be loaded: net::ERR_TOO_MANY_REDIRECTS");
    let error = chromium.render(&page(addr, "/empty")).await.unwrap_err().to_string();
    assert_eq!(error, "the page cannot be loaded: net::ERR_EMPTY_RESPONSE");
    ends_without_a_trace(chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_gigabyte_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                head(&mut stream).await;
                let start = format!("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n{HTML}\r\n<pre>");
                drop(stream.write_all(start.as_bytes()).await);
                let chunk = [b'x'; 65_536];
                while stream.write_all(&chunk).await.is_ok() {}
            });
        }
    });
    let chromium = chromium();
    let error = chromium.render(&page(addr, "/")).await.unwrap_err().to_string();
    assert_eq!(error, "the page reads more than 8388608 bytes");
    let addr = pages("<script>document.write('x'.repeat(9e6))</script>").await;
    let error = chromium.render(&page(addr, "/")).await.unwrap_err().to_string();
    assert_eq!(error, "the rendered page is larger than 8388608 bytes");
    ends_without_a_trace(chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tab_that_crashes_costs_its_page_and_a_browser_that_ends_is_started_again() {
    let addr = pages("<p>1.1.1.1:80</p><script>setInterval(() => fetch('/tick'), 50)</script>").await;
    let chromium = Arc::new(chromium());
    chromium.render(&page(addr, "/")).await.unwrap();
    let waits = Page { wait_for: Some("#never".to_owned()), timeout: Duration::from_secs(60), ..page(addr, "/") };
    let (renderer, started) = (Arc::clone(&chromium), Clock::now());
    let rendering = tokio::spawn(async move { renderer.render(&waits).await });
    let running = chromium.state.lock().await.running.clone().unwrap();
    while !rendering.is_finished() {
        // The tab may not have got to its page yet.
        for target in running.browser.pages().await.unwrap() {
            if target.url().await.is_ok_and(|url| url.is_some_and(|url| url.starts_with("http"))) {
                drop(tokio::time::timeout(Duration::from_secs(1), target.execute(CrashParams::default())).await);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let error = rendering.await.unwrap().unwrap_err().to_string();
    assert_eq!(error, "the page crashed its tab");
    assert!(started.elapsed() < Duration::from_secs(45), "not when its time is up");
    drop(running);

    let before = group(&chromium).await;
    rustix::process::kill_process_group(before, rustix::process::Signal::KILL).unwrap();
    chromium.render(&page(addr, "/")).await.unwrap();
    assert_ne!(before, group(&chromium).await);
    ends_without_a_trace(Arc::into_inner(chromium).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_needed_is_not_asked_for_and_a_stranger_s_page_does_not_see_the_private_network() {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let addr = server(move |path, head| {
        log.lock().unwrap().push(format!("{path} {}", head.contains("X-Key: hunter2")));
        async move {
            match path.as_str() {
                "/" => answer(HTML, "<img src=/a.png><link rel=stylesheet href=/a.css><script src=/a.js></script>"),
                _ => answer("", ""),
            }
        }
    })
    .await;
    let chromium = chromium();
    let headers = vec![("X-Key".to_owned(), proxywhirl_core::Secret::new("hunter2"))];
    chromium.render(&Page { headers, ..page(addr, "/") }).await.unwrap();
    let mut seen = std::mem::take(&mut *asked.lock().unwrap());
    seen.sort();
    assert_eq!(seen, ["/ true", "/a.css true", "/a.js true"]);
    let error = chromium.render(&Page { allow_private: false, ..page(addr, "/") }).await.unwrap_err().to_string();
    assert_eq!(error, "the page leads to where nothing is fetched: 127.0.0.1 is not of the internet (loopback)");
    assert!(asked.lock().unwrap().is_empty());
    ends_without_a_trace(chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_through_a_proxy_that_wants_a_login() {
    let proxy = server(|path, head| async move {
        // `u:p`.
        if head.contains("Proxy-Authorization: Basic dTpw") {
            return answer(HTML, &format!("<p>by proxy to {path}</p>"));
        }
        b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n".to_vec()
    })
    .await;
    let config = ChromiumConfig { proxy: Some(format!("http://u:p@{proxy}")), ..ChromiumConfig::default() };
    let chromium = Chromium::new(config);
    let mut target = page(proxy, "/");
    target.url = Url::parse("http://lists.example.org/table").unwrap();
    target.allow_private = false;
    let rendered = chromium.render(&target).await.unwrap();
    assert!(rendered.html.contains("by proxy to http://lists.example.org/table"), "{}", rendered.html);
    ends_without_a_trace(chromium).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_at_once_are_no_more_than_allowed_and_a_browser_that_is_dropped_or_idle_goes() {
    let addr = pages(SCRIPTED).await;
    let chromium = Chromium::new(ChromiumConfig { linger: Duration::from_millis(500), ..ChromiumConfig::default() });
    let one = page(addr, "/");
    let all = futures_util::future::join_all((0..6).map(|_| chromium.render(&one))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let group_before = group(&chromium).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(rustix::process::test_kill_process_group(group_before).is_err(), "it has lingered");
    chromium.render(&one).await.unwrap();
    let group = group(&chromium).await;
    let profile = profile_of(group);
    drop(chromium);
    for _ in 0..60 {
        if !Path::new(&profile).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{profile} is left");
}
