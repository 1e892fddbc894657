//! What the targets share: streams that never wait, and what must be true of every parser's answer.

/// The sections of the configuration file. They need the plugins' host, which takes a quarter of an hour to build here:
/// hence a feature.
#[cfg(feature = "config")]
#[path = "../../../host/src/config"]
pub mod config {
    mod control;
    mod events;
    mod file;
    mod plugins;
    mod size;

    pub use file::ConfigFile;
}

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use proxywhirl_plugin_sdk::Scheme;
use proxywhirl_plugin_sdk::parser::{Candidate, Document, Host, Parsed, Parser, parse};
use tokio::io::{AsyncRead, ReadBuf};

/// A stream that yields so many bytes at a time, and then ends.
pub struct Slow<'a>(pub &'a [u8], pub usize);

impl AsyncRead for Slow<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(self.1.min(self.0.len()).min(out.remaining()));
        out.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

/// Runs a future over streams that never wait.
///
/// # Panics
/// When it waits.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a stream of bytes does not wait"),
    }
}

/// Parses a list as the host does, and checks what is true of every answer.
///
/// # Panics
/// When it is not.
pub fn read_list<P: Parser>(body: &[u8]) -> Option<Parsed> {
    let document = Document::of(body);
    assert!(P::sniff(&document) <= 100);
    let parsed = parse::<P>(&document, "{}").ok()?;
    assert!(parsed.rejections.len() <= 100, "{} rejections are shown", parsed.rejections.len());
    assert!(parsed.rejected as usize >= parsed.rejections.len(), "more rejections are shown than counted");
    // Ranges of addresses bring so many in a document.
    assert!(parsed.candidates.len() <= body.len() + 65_536, "more candidates than bytes");
    for rejection in &parsed.rejections {
        assert!(rejection.excerpt.len() <= 120 && !rejection.reason.is_empty(), "{rejection:?}");
    }
    for candidate in &parsed.candidates {
        assert!(candidate.port != 0, "{candidate:?}");
        assert!(candidate.password.is_none() || candidate.username.is_some(), "{candidate:?}");
    }
    Some(parsed)
}

/// Reads a list, writes what was found in it anew, row by row, and reads that: the same must be found.
///
/// # Panics
/// When it is not.
pub fn survives<P: Parser>(body: &[u8], head: &str, row: impl Fn(&str, u16) -> String, foot: &str) {
    let Some(parsed) = read_list::<P>(body).filter(|parsed| !parsed.candidates.is_empty()) else { return };
    let rows: Vec<String> = parsed.candidates.iter().map(|one| row(&host(one), one.port)).collect();
    let text = format!("{head}{}{foot}", rows.join(if head == "[" { "," } else { "\n" }));
    let again = read_list::<P>(text.as_bytes()).unwrap_or_else(|| panic!("{text:?} is not in the format"));
    let places = |parsed: &Parsed| parsed.candidates.iter().map(|one| (host(one), one.port)).collect::<Vec<_>>();
    assert_eq!(places(&parsed), places(&again), "{text:?}: {:?}", again.rejections);
}

/// A candidate as a URL, which can say all that an entry does.
#[must_use]
pub fn url(candidate: &Candidate) -> String {
    let scheme = match candidate.scheme {
        Some(Scheme::Http | Scheme::Other) | None => "http",
        Some(Scheme::Https) => "https",
        Some(Scheme::Socks4) => "socks4",
        Some(Scheme::Socks4a) => "socks4a",
        Some(Scheme::Socks5) => "socks5",
        Some(Scheme::Socks5h) => "socks5h",
    };
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let credentials = match (&candidate.username, &candidate.password) {
        (Some(username), Some(password)) => format!("{}:{}@", percent(username), percent(password)),
        (Some(username), None) => format!("{}@", percent(username)),
        (None, _) => String::new(),
    };
    format!("{scheme}://{credentials}{}:{}", host(candidate), candidate.port)
}

/// Where a candidate is, as text.
#[must_use]
pub fn host(candidate: &Candidate) -> String {
    match &candidate.host {
        Host::Text(text) if text.contains(':') => format!("[{text}]"),
        Host::Text(text) => text.clone(),
        Host::Ipv4(address) => Ipv4Addr::from(*address).to_string(),
        Host::Ipv6((high, low)) => format!("[{}]", Ipv6Addr::from(u128::from(*high) << 64 | u128::from(*low))),
    }
}
