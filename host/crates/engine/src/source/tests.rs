#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers each connection with what `answer` makes of the request's head, and closes.
pub(crate) async fn server(answer: impl Fn(String) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0 {}
            let answer = answer(String::from_utf8_lossy(&head).into_owned());
            drop(stream.write_all(&answer).await);
        }
    });
    addr
}

pub(crate) fn answer(fields: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{fields}\r\n").as_bytes(), body].concat()
}

fn fetcher(limits: Limits) -> Fetcher {
    Fetcher::new(FetcherConfig { limits, ignore_system_proxy: true, ..FetcherConfig::default() })
}

async fn fetch(text: &str, limits: Limits) -> Result<Fetched, SourceError> {
    fetcher(limits).fetch(&Source::new(text.parse().unwrap()), &|_| ()).await
}

fn small(bytes: u64) -> Limits {
    Limits { bytes, timeout: Duration::from_secs(20), ..Limits::default() }
}

#[tokio::test]
async fn a_file_is_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    std::fs::write(&path, "\u{feff}1.2.3.4:80\r\n").unwrap();
    let seen = AtomicU64::new(0);
    let mut source = Source::new(Location::File(path.clone()));
    source.options = serde_json::json!({"columns": ["host"]});
    source.default_scheme = Some(Scheme::Socks5);
    let fetched =
        fetcher(Limits::default()).fetch(&source, &|bytes| seen.store(bytes, Ordering::Relaxed)).await.unwrap();
    assert_eq!(&*fetched.document.body, b"1.2.3.4:80\r\n");
    assert_eq!(fetched.document.url, path.display().to_string());
    assert_eq!(fetched.document.options, r#"{"columns":["host"]}"#);
    assert_eq!(fetched.document.default_scheme, Scheme::Socks5);
    assert_eq!((fetched.bytes, seen.into_inner()), (15, 15));
    assert_eq!(source.name, "list.txt");
}

#[tokio::test]
async fn what_cannot_be_read_names_the_source_and_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone.txt");
    let error = fetch(path.to_str().unwrap(), Limits::default()).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("source gone.txt ({}): cannot be read: No such file", path.display())),
        "{error}"
    );
    let error = fetch(folder.path().to_str().unwrap(), Limits::default()).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Folder));
}

#[tokio::test]
async fn reading_stops_at_the_cap_whatever_the_source_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    std::fs::write(&path, vec![b'x'; 101]).unwrap();
    let error = fetch(path.to_str().unwrap(), small(100)).await.unwrap_err().to_string();
    assert!(error.contains("list.txt") && error.contains("larger than 100 bytes"), "{error}");
    assert!(fetch("/dev/zero", small(1024 * 1024)).await.unwrap_err().to_string().contains("larger than 1 MiB"));

    let announced = server(|_| answer("Content-Length: 101\r\n", b"")).await;
    let until_close = server(|_| answer("", &[b'x'; 101])).await;
    for addr in [announced, until_close] {
        let error = fetch(&format!("http://{addr}/a"), small(100)).await.unwrap_err();
        assert!(matches!(error.cause, Cause::TooLarge { cap: 100 }), "{error}");
    }
    let exact = server(|_| answer("", &[b'x'; 100])).await;
    assert_eq!(fetch(&format!("http://{exact}/a"), small(100)).await.unwrap().bytes, 100);
}

#[tokio::test]
async fn a_compressed_answer_counts_as_what_it_expands_to() {
    // `gzip -9 | xxd` of 100,000 times `x`: 132 bytes.
    let bomb = server(|_| answer("Content-Encoding: gzip\r\n", GZIP)).await;
    let error = fetch(&format!("http://{bomb}/a"), small(99_999)).await.unwrap_err();
    assert!(matches!(error.cause, Cause::TooLarge { cap: 99_999 }), "{error}");
    assert_eq!(fetch(&format!("http://{bomb}/a"), small(100_000)).await.unwrap().bytes, 100_000);
    let garbage = server(|_| answer("Content-Encoding: br\r\n", b"no brotli at all")).await;
    let error = fetch(&format!("http://{garbage}/a"), small(100)).await.unwrap_err().to_string();
    assert!(error.contains("cannot be decompressed"), "{error}");
}

#[tokio::test]
async fn a_file_in_gzip_is_what_it_expands_to_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt.gz").display().to_string();
    std::fs::write(&path, GZIP).unwrap();
    let addr = server(|_| answer("Content-Type: application/gzip\r\n", GZIP)).await;
    for place in [path.clone(), format!("http://{addr}/list.txt.gz")] {
        let fetched = fetch(&place, small(100_000)).await.unwrap();
        assert!(fetched.bytes == 100_000 && fetched.document.body.iter().all(|byte| *byte == b'x'), "{place}");
        let error = fetch(&place, small(99_999)).await.unwrap_err();
        assert!(matches!(error.cause, Cause::TooLarge { cap: 99_999 }), "{error}");
    }
    std::fs::write(&path, &GZIP[..100]).unwrap();
    let error = fetch(&path, Limits::default()).await.unwrap_err().to_string();
    assert!(error.contains("cannot be decompressed"), "{error}");
}

#[tokio::test]
async fn a_file_in_utf_16_is_read_by_its_byte_order_mark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let bytes: Vec<u8> = "\u{feff}1.2.3.4:80\r\n".encode_utf16().flat_map(to_bytes).collect();
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(&*fetch(path.to_str().unwrap(), small(100)).await.unwrap().document.body, b"1.2.3.4:80\r\n");
    }
}

#[tokio::test]
async fn the_request_says_who_asks_and_the_charset_is_heard() {
    let addr = server(|head| {
        let head = head.to_ascii_lowercase();
        assert!(head.contains(concat!("user-agent: proxywhirl/", env!("CARGO_PKG_VERSION"))), "{head}");
        let encodings = head.lines().find_map(|line| line.strip_prefix("accept-encoding: ")).unwrap();
        for encoding in ["gzip", "br", "deflate", "zstd"] {
            assert!(encodings.split(',').any(|named| named.trim() == encoding), "{encodings}");
        }
        answer("Content-Type: Text/Plain; charset=windows-1251\r\n", b"\xcf")
    })
    .await;
    let fetched = fetch(&format!("http://{addr}/a"), Limits::default()).await.unwrap();
    assert_eq!(fetched.document.content_type, "text/plain");
    assert_eq!(&*fetched.document.body, "П".as_bytes());
}

#[tokio::test]
async fn a_status_that_is_no_success_is_an_error_without_credentials() {
    let addr = server(|head| {
        assert!(head.to_ascii_lowercase().contains("authorization: basic dtpodw50zxiy"), "{head}");
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()
    })
    .await;
    let error = fetch(&format!("http://u:hunter2@{addr}/a?token=abc"), Limits::default()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("the server answered 404 Not Found"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("abc"), "{text}");
}

#[tokio::test]
async fn redirects_are_followed_and_counted() {
    let addr = server(|head| {
        let path = head.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
        match path.parse::<u32>() {
            Ok(0) => answer("", b"done"),
            Ok(left) => format!("HTTP/1.1 302 Found\r\nLocation: /{}\r\nContent-Length: 0\r\n\r\n", left - 1).into(),
            Err(_) => b"HTTP/1.1 301 Moved\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n".to_vec(),
        }
    })
    .await;
    assert_eq!(&*fetch(&format!("http://{addr}/10"), Limits::default()).await.unwrap().document.body, b"done");
    let error = fetch(&format!("http://{addr}/11"), Limits::default()).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Redirects(10)), "{error}");
    let error = fetch(&format!("http://{addr}/x"), Limits::default()).await.unwrap_err().to_string();
    assert!(error.contains("redirects to file://"), "{error}");
}

#[tokio::test]
async fn another_origin_does_not_see_the_source_s_own_fields() {
    let elsewhere = server(|head| answer("", head.contains("hunter2").to_string().as_bytes())).await;
    let home = server(move |head| {
        let target = if head.starts_with("GET /home") { "/again".to_owned() } else { format!("http://{elsewhere}/") };
        if head.contains("hunter2") {
            format!("HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n").into()
        } else {
            answer("", b"the field is missing")
        }
    })
    .await;
    let mut source = Source::new(format!("http://{home}/home").parse().unwrap());
    source.headers.push(("X-Api-Key".to_owned(), Secret::new("hunter2")));
    let fetched = fetcher(Limits::default()).fetch(&source, &|_| ()).await.unwrap();
    assert_eq!(&*fetched.document.body, b"false");
    source.headers.push(("X-Bad".to_owned(), Secret::new("a\r\nb")));
    let error = fetcher(Limits::default()).fetch(&source, &|_| ()).await.unwrap_err().to_string();
    assert!(error.contains("header \"X-Bad\" cannot be sent"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_ends_runs_into_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let limits = Limits { timeout: Duration::from_millis(200), ..Limits::default() };
    let error = fetch(&format!("http://{addr}/a"), limits).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Timeout(_)), "{error}");
    drop(listener);
    let error = fetch(&format!("http://{addr}/a"), Limits::default()).await.unwrap_err().to_string();
    assert!(error.contains("cannot connect: Connection refused"), "{error}");
}

#[rustfmt::skip]
pub(crate) const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xed, 0xc1, 0x31, 0x01, 0x00, 0x00, 0x00, 0xc2, 0xa0, 0xda,
    0x8b, 0x6f, 0x0d, 0x0f, 0xa0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x80, 0x57, 0x03, 0x71, 0x11, 0x07, 0xfe, 0xa0, 0x86, 0x01, 0x00,
];
