#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::source::cache::{self, Kept};
use crate::source::tests::{GZIP, answer, server};
use crate::source::{Cache, Cause, Fetched, Fetcher, FetcherConfig, Limits, Source, SourceError};

fn config() -> FetcherConfig {
    let limits = Limits { timeout: Duration::from_secs(10), ..Limits::default() };
    FetcherConfig { limits, ignore_system_proxy: true, ..FetcherConfig::default() }
}

async fn fetch(config: FetcherConfig, url: &str) -> Result<Fetched, SourceError> {
    Fetcher::new(config).fetch(&Source::new(url.parse().unwrap()), &|_| ()).await
}

/// Counts its calls: the n-th call is told n, from 1.
fn counted<T>(then: impl Fn(usize) -> T) -> (Arc<AtomicUsize>, impl Fn() -> T) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    (calls, move || then(counter.fetch_add(1, Ordering::Relaxed) + 1))
}

#[tokio::test]
async fn what_has_not_changed_is_read_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let addr = server(|head| {
        let head = head.to_ascii_lowercase();
        if head.contains("if-none-match: \"v1\"") && head.contains("if-modified-since: sun, 06 nov") {
            return b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec();
        }
        let fields = "ETag: \"v1\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/csv\r\n";
        answer(fields, b"1.1.1.1:80")
    })
    .await;
    let config = FetcherConfig { cache: Some(Cache::new(folder.path().to_owned())), ..config() };
    let url = format!("http://{addr}/a");
    let first = fetch(config.clone(), &url).await.unwrap();
    let second = fetch(config.clone(), &url).await.unwrap();
    assert!(!first.is_unchanged && second.is_unchanged);
    assert_eq!(
        (first.document.body, first.document.content_type),
        (second.document.body, second.document.content_type)
    );
    // A damaged entry asks for the whole again.
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::write(entry.unwrap().path(), "nonsense").unwrap();
    }
    assert!(!fetch(config, &url).await.unwrap().is_unchanged);
}

#[tokio::test]
async fn what_may_not_be_stored_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let addr = server(|_| answer("ETag: \"v1\"\r\nCache-Control: private, No-Store\r\n", b"x")).await;
    let config = FetcherConfig { cache: Some(Cache::new(folder.path().to_owned())), ..config() };
    fetch(config, &format!("http://{addr}/a")).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_can_pass_is_tried_again_and_nothing_else() {
    let busy =
        |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes();
    let (calls, reply) = counted(move |call| if call < 3 { busy("503 Busy") } else { answer("", b"done") });
    let addr = server(move |_| reply()).await;
    assert_eq!(&*fetch(config(), &format!("http://{addr}/a")).await.unwrap().document.body, b"done");
    assert_eq!(calls.load(Ordering::Relaxed), 3);

    for (status, expected) in [("404 Not Found", 1), ("500 Oops", 3), ("429 Slow\r\nRetry-After: 60", 1)] {
        let (calls, reply) = counted(move |_| busy(status));
        let addr = server(move |_| reply()).await;
        let error = fetch(config(), &format!("http://{addr}/a")).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Status(_)), "{error}");
        assert_eq!(calls.load(Ordering::Relaxed), expected, "{status}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_asked_again() {
    let (calls, reply) = counted(|call| {
        if call == 1 { b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec() } else { answer("", b"abcd") }
    });
    let addr = server(move |_| reply()).await;
    assert_eq!(&*fetch(config(), &format!("http://{addr}/a")).await.unwrap().document.body, b"abcd");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_file_in_gzip_that_comes_damaged_is_asked_for_again_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = FetcherConfig { cache: Some(Cache::new(folder.path().to_owned())), ..config() };
    let kept = || std::fs::read_dir(folder.path()).unwrap().count();
    let (calls, reply) = counted(|call| {
        // All three attempts of the first time, and one of the second.
        let end = if call == 5 { GZIP.len() } else { 100 };
        answer("ETag: \"v1\"\r\n", GZIP.get(..end).unwrap())
    });
    let addr = server(move |head| {
        let is_known = head.to_ascii_lowercase().contains("if-none-match: \"v1\"");
        if is_known { b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec() } else { reply() }
    })
    .await;
    let url = format!("http://{addr}/list.txt.gz");
    let error = fetch(config.clone(), &url).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Gzip(_)), "{error}");
    assert_eq!((calls.load(Ordering::Relaxed), kept()), (3, 0));
    for is_unchanged in [false, true] {
        let fetched = fetch(config.clone(), &url).await.unwrap();
        assert_eq!((fetched.bytes, fetched.is_unchanged, kept()), (100_000, is_unchanged, 1));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_file_in_gzip_is_kept_as_it_came_and_what_does_not_expand_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let lists = Cache::new(folder.path().to_owned());
    let addr = server(|head| {
        let is_known = head.to_ascii_lowercase().contains("if-none-match: \"v1\"");
        let unchanged = b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n";
        if is_known { unchanged.to_vec() } else { answer("ETag: \"v1\"\r\n", GZIP) }
    })
    .await;
    let url = format!("http://{addr}/list.txt.gz");
    let name = cache::name("page", &url.parse().unwrap(), &[]);
    let config = FetcherConfig { cache: Some(lists.clone()), ..config() };
    // What earlier versions have kept, whole and damaged.
    for (body, is_unchanged) in [(GZIP, true), (GZIP.get(..100).unwrap(), false)] {
        lists.store(&name, &Kept { etag: Some("\"v1\"".to_owned()), body: body.to_vec(), ..Kept::default() });
        let fetched = fetch(config.clone(), &url).await.unwrap();
        assert_eq!((fetched.bytes, fetched.is_unchanged), (100_000, is_unchanged));
        assert_eq!(lists.load(&name, 1_000).unwrap().body, GZIP);
    }
    // Where less is allowed now, what it expands to counts.
    let limits = Limits { bytes: 99_999, ..config.limits };
    let error = fetch(FetcherConfig { limits, ..config }, &url).await.unwrap_err();
    assert!(matches!(error.cause, Cause::TooLarge { cap: 99_999 }), "{error}");
}

#[tokio::test]
async fn a_file_in_gzip_that_something_else_follows_is_asked_for_once() {
    let (calls, reply) = counted(|_| answer("", &[GZIP, b"x"].concat()));
    let addr = server(move |_| reply()).await;
    let error = fetch(config(), &format!("http://{addr}/list.txt.gz")).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Trailing), "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_public_list_does_not_lead_into_the_private_network() {
    let (calls, reply) = counted(|_| answer("", b"secret"));
    let inside = server(move |_| reply()).await;
    let outside = server(move |head| match head.split(' ').nth(1) {
        Some("/list") => answer("", b"1.1.1.1:80"),
        _ => format!("HTTP/1.1 302 Found\r\nLocation: http://{inside}/\r\nContent-Length: 0\r\n\r\n").into(),
    })
    .await;
    let config = FetcherConfig { names: vec![("lists.example.org".to_owned(), outside)], ..config() };
    let url = |path: &str| format!("http://lists.example.org:{}{path}", outside.port());
    assert!(fetch(config.clone(), &url("/list")).await.is_ok());
    let error = fetch(config.clone(), &url("/leads-home")).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Private { class: "loopback", .. }), "{error}");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let trusted = Source { trust: true, ..Source::new(url("/leads-home").parse().unwrap()) };
    assert_eq!(&*Fetcher::new(config).fetch(&trusted, &|_| ()).await.unwrap().document.body, b"secret");
}

#[tokio::test]
async fn a_body_that_expands_without_end_stops_at_the_cap() {
    // `zstd` of 1,000,000 times `x`: frame header, one RLE block after the other, made by hand (RFC 8878 §3.1.1).
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 0..100_u32 {
        let size: u32 = 100_000;
        let header = u32::from(block == 99) | 1 << 1 | size << 3;
        bomb.extend_from_slice(&header.to_le_bytes()[..3]);
        bomb.push(b'x');
    }
    assert!(bomb.len() < 500);
    let addr = server(move |_| answer("Content-Encoding: zstd\r\n", &bomb)).await;
    let limits = Limits { bytes: 9_999_999, ..config().limits };
    let error = fetch(FetcherConfig { limits, ..config() }, &format!("http://{addr}/a")).await.unwrap_err();
    assert!(matches!(error.cause, Cause::TooLarge { .. }), "{error}");
    assert_eq!(fetch(config(), &format!("http://{addr}/a")).await.unwrap().bytes, 10_000_000);
}
