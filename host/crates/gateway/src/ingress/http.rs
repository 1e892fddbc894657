//! What an HTTP client wants: a tunnel, a request forwarded, or something that a proxy cannot give.

use std::sync::Arc;

use proxywhirl_core::endpoint::parse_port;
use proxywhirl_net::Target;
use proxywhirl_net::http1::{BodyLength, HeadError, RequestHead};

use super::{excerpt, target};
use crate::reply::ErrorReply;

/// What somebody wants who does not know that this is a proxy, or forgot to say so.
const HELP: &str = "this is a proxy, not a web server: use it as one, as in curl --proxy http://HOST:PORT \
                    http://example.com/ or HTTPS_PROXY=http://HOST:PORT; it takes HTTP, CONNECT, SOCKS4, SOCKS4a and SOCKS5";

/// What the gateway says to OPTIONS that may go no further: it passes any method on.
const OPTIONS: &[u8] = b"HTTP/1.1 200 OK\r\nAllow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE, CONNECT\r\n\
                         Content-Length: 0\r\nConnection: close\r\n\r\n";

/// A request that can be served.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Opaque bytes to and from the origin.
    Tunnel(Target),
    /// This request, answered.
    Forward(Request),
    /// An answer of the gateway itself, to a request that may go no further.
    Here(Target, &'static str, Vec<u8>),
}

impl Errand {
    /// Whether the client may send another request on its connection when this one is refused: it has no body, which the client may
    /// send all the same, and asks for no tunnel, whose first bytes it may send already.
    pub(crate) fn may_be_followed(&self) -> bool {
        match self {
            Self::Forward(Request { head, body, .. }) => {
                *body == BodyLength::None && head.minor_version > 0 && head.keeps_alive()
            }
            Self::Tunnel(_) | Self::Here(..) => false,
        }
    }
}

/// A request to be forwarded.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) target: Target,
    /// The target in words: host and port.
    pub(crate) name: Arc<str>,
    /// Path and query; `*` for OPTIONS about the whole server.
    pub(crate) path: String,
    pub(crate) body: BodyLength,
}

/// Host and port as a URL and the Host field write them: without the port when it is HTTP's own.
pub(crate) fn authority(name: &str) -> &str {
    name.strip_suffix(":80").unwrap_or(name)
}

/// Where the last request of a connection went, and its name: the next one nearly always goes there too.
pub(crate) type Last = Option<(Target, Arc<str>)>;

/// Reads what a request wants, on a connection whose last one went there.
pub(crate) fn read(mut head: RequestHead, last: &mut Last) -> Result<Errand, ErrorReply> {
    let body = head.body().map_err(|error| refuse(&error.to_string()))?;
    if head.method == "CONNECT" {
        if body != BodyLength::None {
            return Err(refuse("a CONNECT request has no body"));
        }
        return connect(&head.target).map(Errand::Tunnel);
    }
    let (target, name, path) = absolute(&head, last)?;
    if matches!(&*head.method, "TRACE" | "OPTIONS") && !goes_on(&mut head)? {
        if body != BodyLength::None {
            return Err(refuse("a request that may go no further has no body"));
        }
        return Ok(if head.method == "TRACE" {
            Errand::Here(target, "TRACE", traced(head))
        } else {
            Errand::Here(target, "OPTIONS", OPTIONS.to_vec())
        });
    }
    Ok(Errand::Forward(Request { head, target, name, path, body }))
}

/// Counts a step of a request that says how many it may go (RFC 9110 §7.6.2); false when it may go none.
fn goes_on(head: &mut RequestHead) -> Result<bool, ErrorReply> {
    let Some(said) = head.headers.get("max-forwards") else { return Ok(true) };
    let steps = std::str::from_utf8(said).ok().filter(|said| said.bytes().all(|byte| byte.is_ascii_digit()));
    let steps = steps.and_then(|said| said.parse::<u32>().ok()).ok_or_else(|| refuse("Max-Forwards is a number"))?;
    let Some(left) = steps.checked_sub(1) else { return Ok(false) };
    head.headers.set("Max-Forwards", left.to_string()).map_err(|error| refuse(&error.to_string()))?;
    Ok(true)
}

/// What a request looks like here, as the answer to TRACE (RFC 9110 §9.3.8): without what may be a secret.
fn traced(mut head: RequestHead) -> Vec<u8> {
    for secret in ["authorization", "cookie"] {
        head.headers.remove(secret);
    }
    let target = std::mem::take(&mut head.target);
    let mut seen = Vec::new();
    head.write_as(&[&target], None, &mut seen);
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        seen.len()
    )
    .into_bytes();
    answer.append(&mut seen);
    answer
}

/// Where a request wants to go, as far as that can be told: for who asks why it was refused. Without credentials.
pub(crate) fn named(head: &RequestHead) -> String {
    let (_, rest) = head.target.split_once("://").unwrap_or(("", &head.target));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = if has_port || authority.is_empty() { "" } else { ":80" };
    format!("{}{port}", excerpt(authority))
}

/// The answer to a head that could not be read; none when the client is gone.
pub(crate) fn refusal_of(error: &HeadError, read: &[u8]) -> Option<ErrorReply> {
    match error {
        HeadError::Closed | HeadError::Io(_) => None,
        HeadError::TooLarge if !read.contains(&b'\n') => {
            Some(ErrorReply::refusal(414, "the request line is longer than the gateway reads"))
        }
        HeadError::TooLarge => {
            Some(ErrorReply::refusal(431, "the head of the request is larger than the gateway reads"))
        }
        HeadError::Malformed(_) if is_of_another_version(read) => {
            let why = "the gateway speaks HTTP/1.1 and HTTP/1.0 with its clients, and no other version";
            Some(ErrorReply::refusal(505, why))
        }
        HeadError::Malformed(why) => Some(refuse(&format!("the request is malformed: {why}"))),
    }
}

/// Whether a first line is one of HTTP, in another version than 1.0 and 1.1; that of HTTP/2 says so too (RFC 9113 §3.4).
fn is_of_another_version(read: &[u8]) -> bool {
    let line = read.split(|byte| *byte == b'\n').next().and_then(|line| line.strip_suffix(b"\r"));
    let version = line.and_then(|line| line.last_chunk::<9>());
    version.is_some_and(|version| match version {
        b" HTTP/1.0" | b" HTTP/1.1" => false,
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    })
}

#[cold]
fn refuse(why: &str) -> ErrorReply {
    ErrorReply::refusal(400, why)
}

/// Reads the authority form (RFC 9112 §3.2.3): host and port, both there.
fn connect(authority: &str) -> Result<Target, ErrorReply> {
    if authority.contains("://") {
        return Err(refuse("CONNECT takes host:port, not a URL"));
    }
    if authority.contains('@') {
        return Err(refuse("CONNECT takes host:port alone: send credentials in the Proxy-Authorization field"));
    }
    let whole = || format!("CONNECT takes host:port, not {}", excerpt(authority));
    let (host, port) = authority.rsplit_once(':').ok_or_else(|| refuse(&whole()))?;
    destination(host, Some(port)).map_err(|why| refuse(&format!("{}: {why}", whole())))
}

/// Reads the absolute form (RFC 9112 §3.2.2): target and its name, and path with query.
fn absolute(head: &RequestHead, last: &mut Last) -> Result<(Target, Arc<str>, String), ErrorReply> {
    let uri = head.target.as_str();
    let split = uri.split_once(':').and_then(|(scheme, rest)| Some((scheme, rest.strip_prefix("//")?)));
    let Some((scheme, rest)) = split.filter(|_| !uri.starts_with('/')) else {
        // To forward it to what the Host field names would make loops, and an open door for web pages.
        return Err(refuse(HELP));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Err(refuse("the gateway does not open TLS for a client: use CONNECT for https URLs"));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        // Not the rest: it may hold a password, as may what is no scheme.
        let is_scheme = scheme.len() <= 16 && scheme.bytes().all(|byte| byte.is_ascii_alphabetic());
        let named =
            if is_scheme { format!("a URL of the scheme {scheme}") } else { "a URL of no known scheme".to_owned() };
        return Err(refuse(&format!("{named}: the gateway forwards http, and takes CONNECT for all else")));
    }
    let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (named, path) = rest.split_at(end);
    if named.contains('@') {
        return Err(refuse("the URL holds credentials: send them in the Authorization field"));
    }
    if path.contains('#') {
        return Err(refuse("the URL holds a fragment, which is for the client alone"));
    }
    let (target, name) = match last {
        Some((target, name)) if named == &**name || named == authority(name) => (target.clone(), Arc::clone(name)),
        _ => {
            let (host, port) = match named.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, Some(port).filter(|port| !port.is_empty())),
                _ => (named, None),
            };
            let target = destination(host, port).map_err(|why| refuse(&why))?;
            let name = target.text().into();
            last.insert((target, name)).clone()
        }
    };
    let path = match path {
        "" if head.method == "OPTIONS" => "*".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        query => format!("/{query}"),
    };
    Ok((target, name, path))
}

fn destination(host: &str, port: Option<&str>) -> Result<Target, String> {
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("the IPv6 address {} stands without brackets", excerpt(host)));
    }
    // Not what stands there: it may be a password.
    let wrong = |_| "behind the host stands a port, which is a number from 1 to 65535".to_owned();
    let port = port.map_or(Ok(80), parse_port).map_err(wrong)?;
    target(host, port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proxywhirl_net::http1::Headers;

    use super::*;

    fn wanted(method: &str, target: &str) -> Result<String, u16> {
        wanted_after(&mut None, method, target)
    }

    fn wanted_after(last: &mut Last, method: &str, target: &str) -> Result<String, u16> {
        let (method, target) = (method.to_owned(), target.to_owned());
        let head = RequestHead { method: method.into(), target, minor_version: 1, headers: Headers::new() };
        match read(head, last) {
            Ok(Errand::Here(..)) => Ok("here".to_owned()),
            Ok(Errand::Tunnel(target)) => Ok(format!("tunnel {target}")),
            Ok(Errand::Forward(request)) => Ok(format!("{} {}", authority(&request.name), request.path)),
            Err(reply) => Err(reply.status),
        }
    }

    #[test]
    fn connect_takes_a_host_and_a_port() {
        assert_eq!(wanted("CONNECT", "Example.com:443").unwrap(), "tunnel example.com:443");
        assert_eq!(wanted("CONNECT", "[::1]:8443").unwrap(), "tunnel [::1]:8443");
        for target in [
            "example.com",
            "example.com:",
            "example.com:0",
            "example.com:70000",
            "example.com:+1",
            ":443",
            "::1:443",
            "/",
            "*",
        ] {
            assert_eq!(wanted("CONNECT", target), Err(400), "{target}");
        }
    }

    #[test]
    fn an_absolute_url_is_split() {
        assert_eq!(wanted("GET", "http://Example.com").unwrap(), "example.com /");
        assert_eq!(wanted("GET", "HTTP://example.com:80/a?b").unwrap(), "example.com /a?b");
        assert_eq!(wanted("GET", "http://example.com:8080?b=/").unwrap(), "example.com:8080 /?b=/");
        assert_eq!(wanted("GET", "http://[::1]/x").unwrap(), "[::1] /x");
        assert_eq!(wanted("GET", "http://example.com:/x").unwrap(), "example.com /x");
        assert_eq!(wanted("OPTIONS", "http://example.com").unwrap(), "example.com *");
    }

    #[test]
    fn where_the_last_request_went_says_nothing_of_the_next_one_that_goes_elsewhere() {
        let mut last = None;
        for (target, expected) in [
            ("http://example.com/a", "example.com /a"),
            ("http://example.com:80/b", "example.com /b"),
            ("http://example.com:8080/", "example.com:8080 /"),
            ("http://EXAMPLE.com:8080/", "example.com:8080 /"),
            ("http://example.com?c", "example.com /?c"),
            ("http://example.com:/", "example.com /"),
            ("http://example.co/", "example.co /"),
            ("http://[::1]:80/", "[::1] /"),
            ("http://[::1]/", "[::1] /"),
            ("http://1.2.3.4:80/", "1.2.3.4 /"),
            ("http://1.2.3.4/", "1.2.3.4 /"),
        ] {
            assert_eq!(wanted_after(&mut last, "GET", target).unwrap(), expected, "{target}");
            assert_eq!(wanted_after(&mut last, "GET", target).unwrap(), expected, "{target}");
            assert_eq!(last.as_ref().unwrap().0.text(), *last.as_ref().unwrap().1);
            for wrong in ["http://example.com:0/", "http://::1/", "http://u@example.com/"] {
                assert_eq!(wanted_after(&mut last, "GET", wrong), Err(400), "{wrong}");
            }
        }
    }

    #[test]
    fn where_a_refused_request_wanted_to_go_is_told_without_credentials() {
        for (target, told) in [
            ("example.com:443", "example.com:443"),
            ("http://example.com/a?b", "example.com:80"),
            ("http://u:p@[::1]:81/", "[::1]:81"),
            ("/", ""),
            ("*", "*:80"),
        ] {
            let target = target.to_owned();
            let head = RequestHead { method: "GET".into(), target, minor_version: 1, headers: Headers::new() };
            assert_eq!(named(&head), told);
        }
    }

    #[test]
    fn what_a_proxy_cannot_forward_is_refused() {
        for target in [
            "/",
            "*",
            "example.com",
            "/http://example.com/",
            "https://example.com/",
            "ftp://example.com/",
            "http://user:pass@example.com/",
            "http://example.com/#top",
            "http:///x",
            "http://:80/",
            "http://example.com:0/",
            "http://[fe80::1%25eth0]/",
            "http://::1/",
        ] {
            assert_eq!(wanted("GET", target), Err(400), "{target}");
        }
    }

    #[test]
    fn no_password_in_a_target_is_told() {
        let why = |method: &'static str, target: &str| {
            let target = target.to_owned();
            let head = RequestHead { method: method.into(), target, minor_version: 1, headers: Headers::new() };
            read(head, &mut None).map(drop).unwrap_err().text().to_owned()
        };
        for (method, target) in [
            ("GET", "ftp://user:s3cr3t@example.com/"),
            ("GET", "s3cr3t:s3cr3t@http://example.com/"),
            ("GET", "http://user:s3cr3t@example.com/"),
            ("CONNECT", "user:s3cr3t@example.com:443"),
            ("CONNECT", "s3cr3t@example.com"),
            ("CONNECT", "s3cr3t@example.com:443"),
            ("CONNECT", "http://user:s3cr3t@example.com/"),
            ("CONNECT", "http://user:s3cr3t@example.com:443"),
        ] {
            assert!(!why(method, target).contains("s3cr3t"), "{method} {target}: {}", why(method, target));
        }
        assert!(why("GET", "ftp://user:s3cr3t@example.com/").contains("ftp"));
    }

    #[test]
    fn another_version_is_told_from_what_is_not_http() {
        let status = |read: &[u8]| refusal_of(&HeadError::Malformed(""), read).unwrap().status;
        for line in [&b"GET / HTTP/1.2\r\n"[..], b"GET / HTTP/0.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            assert_eq!(status(line), 505, "{line:?}");
        }
        for line in [
            &b"GET / HTTP/1.1\r\nA : b\r\n\r\n"[..],
            b"GET / HTTP/2\r\n",
            b"GET / HTTP/2.0\n",
            b"GET / HTTP/11.1\r\n",
            b"GET / HTTP/1.x\r\n",
            b"GET / http/1.2\r\n",
            b"GET /HTTP/1.2\r\n",
            b"GET / HTTP/1.2",
            b"",
        ] {
            assert_eq!(status(line), 400, "{line:?}");
        }
    }

    #[test]
    fn a_long_line_and_a_long_head_are_told_apart() {
        let status = |read: &[u8]| refusal_of(&HeadError::TooLarge, read).unwrap().status;
        assert_eq!((status(b"GET /aaaa"), status(b"GET / HTTP/1.1\r\nX: aaaa")), (414, 431));
        assert!(refusal_of(&HeadError::Closed, b"GET").is_none());
    }
}
