//! The heads of forwarded messages: what is kept of the original, and what a proxy puts in its place.

use super::super::dial::Target;
use super::super::{Anonymity, Session};
use super::Next;
use crate::http::{Framing, Request, Response};

/// Fields that concern one connection only, besides those that `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
    "proxy-authenticate",
];

const VIA: &str = "Via: 1.1 proxywhirl-world\r\n";

/// Where a request in absolute form leads.
pub(super) struct Destination<'a> {
    pub(super) target: Target,
    /// As the client wrote it.
    pub(super) authority: &'a str,
    path: &'a str,
}

/// How a body is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is; a length says where it ends.
    Plain,
    Chunked,
    /// As it is; the end of the connection ends it.
    UntilClose,
}

impl<'a> Destination<'a> {
    /// Reads `http://authority/path`; anything else is none.
    pub(super) fn of(target: &'a str) -> Option<Self> {
        let scheme = target.get(..7)?;
        if !scheme.eq_ignore_ascii_case("http://") {
            return None;
        }
        let rest = target.get(7..)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        Some(Self {
            target: Target::parse(authority, Some(80))?,
            authority,
            path: path.split('#').next().unwrap_or_default(),
        })
    }
}

impl Encoding {
    /// The encoding of a message that is passed on with the framing that it has.
    pub(super) fn of(framing: Framing) -> Self {
        match framing {
            Framing::Length(_) => Self::Plain,
            Framing::Chunked => Self::Chunked,
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// The encoding towards a client of HTTP/1.`minor`.
    pub(super) fn towards(minor: u8, framing: Framing) -> Self {
        match (minor, Self::of(framing)) {
            (0, Self::Chunked) => Self::UntilClose,
            (_, encoding) => encoding,
        }
    }

    pub(super) fn write(self, piece: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain | Self::UntilClose => out.extend_from_slice(piece),
            Self::Chunked => {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if self == Self::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// The head that the origin gets: origin form, the target's own authority as `Host`, and as much about the client as
/// the upstream's anonymity tells.
pub(super) fn request(request: &Request, to: &Destination<'_>, session: &Session) -> Vec<u8> {
    let anonymity = session.shared.options.anonymity;
    let slash = if to.path.starts_with('/') { "" } else { "/" };
    let mut out = Vec::with_capacity(512);
    for part in [&request.method, " ", slash, to.path, " HTTP/1.1\r\nHost: "] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(to.authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut forwarded_for = session.peer.ip().to_string();
    let named = request.head.get("connection").is_some();
    for (name, value) in request.head.fields() {
        if name.eq_ignore_ascii_case("host")
            || is_hop_by_hop(name)
            || (named && request.head.has_token("connection", name))
        {
            continue;
        }
        if anonymity == Anonymity::Transparent && name.eq_ignore_ascii_case("x-forwarded-for") {
            forwarded_for = format!("{}, {forwarded_for}", String::from_utf8_lossy(value));
            continue;
        }
        push_field(&mut out, name, value);
    }
    if request.framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match anonymity {
        Anonymity::Elite => {}
        Anonymity::Marked => push_field(&mut out, "X-Served-Through", b"node-7"),
        Anonymity::Anonymous => out.extend_from_slice(VIA.as_bytes()),
        Anonymity::Transparent => {
            out.extend_from_slice(VIA.as_bytes());
            push_field(&mut out, "X-Forwarded-For", forwarded_for.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The head that the client gets.
pub(super) fn response(response: &Response, request: &Request, encoding: Encoding, client: Next) -> Vec<u8> {
    let mut out = status_line(response);
    push_end_to_end(&mut out, response);
    if encoding == Encoding::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    match client {
        Next::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Next::Keep if request.minor == 0 => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Next::Keep => {}
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// A 1xx head.
pub(super) fn interim(response: &Response) -> Vec<u8> {
    let mut out = status_line(response);
    push_end_to_end(&mut out, response);
    out.extend_from_slice(b"\r\n");
    out
}

fn status_line(response: &Response) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let line = format!("HTTP/1.1 {} {}\r\n", response.status, response.reason);
    out.extend_from_slice(line.as_bytes());
    out
}

fn push_end_to_end(out: &mut Vec<u8>, response: &Response) {
    let head = &response.head;
    let named = head.get("connection").is_some();
    for (name, value) in head.fields() {
        if is_hop_by_hop(name) || (named && head.has_token("connection", name)) {
            continue;
        }
        push_field(out, name, value);
    }
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|hop| hop.eq_ignore_ascii_case(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_target_has_a_destination_and_a_path() {
        let read = |target| Destination::of(target).map(|d| (d.target.to_string(), d.path.to_owned()));
        let some = |target: &str, path: &str| Some((target.to_owned(), path.to_owned()));
        assert_eq!(read("http://a.test/x?y#z"), some("a.test:80", "/x?y"));
        assert_eq!(read("HTTP://a.test:81?y"), some("a.test:81", "?y"));
        assert_eq!(read("http://[::1]:82"), some("[::1]:82", ""));
        for target in ["/x", "https://a/", "http://u@a/", "http:///x", "*", "http:é//"] {
            assert_eq!(read(target), None, "{target}");
        }
    }
}
