//! An origin's answers as they are written: a head that fits the client's version, and a body of one of a few shapes.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::pattern;
use crate::http::{Request, reason};
use crate::wire::{Stream, Wire};

/// What to send.
#[derive(Debug)]
pub(super) enum Reply {
    /// A body that is at hand.
    Whole(u16, String, Vec<u8>),
    /// So many bytes of the pattern, with their length.
    Bytes(u64),
    /// So many bytes of the pattern, chunked.
    Chunked(u64),
    /// So many bytes, with a gap before each.
    Drip(u64, Duration),
    /// Half of the promised body, and the end.
    Torn,
}

/// What becomes of the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It takes another request.
    Keep,
    /// It is closed.
    Close,
}

/// What a torn answer promises.
const TORN_LENGTH: u64 = 1024 * 1024;

const BINARY: &str = "application/octet-stream";

impl Reply {
    pub(super) fn text(status: u16, body: impl Into<String>) -> Self {
        let text = "text/plain; charset=utf-8".to_owned();
        Self::Whole(status, text, body.into().into_bytes())
    }

    pub(super) fn json(body: String) -> Self {
        Self::Whole(200, "application/json".to_owned(), body.into_bytes())
    }

    /// Writes the answer to `request`.
    pub(super) async fn write<S: Stream>(self, wire: &mut Wire<S>, request: &Request) -> io::Result<Next> {
        let keep = request.keeps_alive();
        let bodiless = request.method == "HEAD";
        match self {
            Self::Whole(status, content_type, body) => {
                let empty = matches!(status, 204 | 304);
                let length = (!empty).then_some(body.len() as u64);
                let mut out = head(status, &content_type, length, request.minor, keep);
                if !empty && !bodiless {
                    out.extend_from_slice(&body);
                }
                wire.send(&out).await?;
            }
            Self::Chunked(n) if request.minor > 0 => {
                let mut out = chunked_head(keep);
                if bodiless {
                    wire.send(&out).await?;
                } else {
                    write_chunked(wire, &mut out, n).await?;
                }
            }
            // A client of 1.0 knows no chunks; the end of the connection is the end of the body.
            Self::Chunked(n) => {
                let out = head(200, BINARY, None, 0, false);
                write_pattern(wire, out, if bodiless { 0 } else { n }).await?;
                return Ok(Next::Close);
            }
            Self::Bytes(n) => {
                let out = head(200, BINARY, Some(n), request.minor, keep);
                write_pattern(wire, out, if bodiless { 0 } else { n }).await?;
            }
            Self::Drip(n, gap) => {
                wire.send(&head(200, BINARY, Some(n), request.minor, keep)).await?;
                for offset in 0..if bodiless { 0 } else { n } {
                    tokio::time::sleep(gap).await;
                    wire.send(pattern::slice(offset, 1)).await?;
                }
            }
            Self::Torn => {
                let out = head(200, BINARY, Some(TORN_LENGTH), request.minor, keep);
                write_pattern(wire, out, TORN_LENGTH / 2).await?;
                return Ok(Next::Close);
            }
        }
        Ok(if keep { Next::Keep } else { Next::Close })
    }
}

/// Without a length, the body is empty by its status or ends with the connection.
fn head(status: u16, content_type: &str, length: Option<u64>, minor: u8, keep: bool) -> Vec<u8> {
    let length = length.map_or_else(String::new, |length| format!("Content-Length: {length}\r\n"));
    let connection = match (minor, keep) {
        (0, true) => "Connection: keep-alive\r\n",
        (_, false) => "Connection: close\r\n",
        (_, true) => "",
    };
    format!(
        "HTTP/1.1 {status} {}\r\nServer: proxywhirl-world\r\nContent-Type: {content_type}\r\n{length}{connection}\r\n",
        reason(status)
    )
    .into_bytes()
}

fn chunked_head(keep: bool) -> Vec<u8> {
    let connection = if keep { "" } else { "Connection: close\r\n" };
    format!(
        "HTTP/1.1 200 OK\r\nServer: proxywhirl-world\r\nContent-Type: {BINARY}\r\nTransfer-Encoding: chunked\r\n{connection}\r\n"
    )
    .into_bytes()
}

async fn write_pattern<S: Stream>(wire: &mut Wire<S>, mut out: Vec<u8>, n: u64) -> io::Result<()> {
    let first = pattern::slice(0, n);
    out.extend_from_slice(first);
    wire.writer.write_all(&out).await?;
    let mut offset = first.len() as u64;
    while offset < n {
        let piece = pattern::slice(offset, n - offset);
        wire.writer.write_all(piece).await?;
        offset += piece.len() as u64;
    }
    wire.writer.flush().await
}

async fn write_chunked<S: Stream>(wire: &mut Wire<S>, out: &mut Vec<u8>, n: u64) -> io::Result<()> {
    let mut offset = 0;
    while offset < n {
        let piece = pattern::slice(offset, n - offset);
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        wire.writer.write_all(out).await?;
        out.clear();
        offset += piece.len() as u64;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    wire.send(out).await
}
