//! One connection to the origin: requests are read, counted and answered in turn until one side has enough.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::Ledger;
use super::pattern::{FNV_START, continue_fnv1a};
use super::reply::{Next, Reply};
use super::route::{Route, path_of};
use crate::http::{Body, HeadError, Request, final_reply, read_request};
use crate::json::{Object, array, quote};
use crate::wire::{Stream, Wire};

/// How long a connection may be idle before a request, and a head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// By which port the connection came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// A request's body after it was read and forgotten.
struct Drained {
    length: u64,
    hash: u64,
}

pub(super) async fn run<S: Stream>(stream: S, peer: SocketAddr, scheme: Scheme, ledger: Arc<Ledger>) {
    let mut wire = Wire::new(stream);
    loop {
        let request = match tokio::time::timeout(HEAD_TIMEOUT, read_request(&mut wire.reader)).await {
            Ok(Ok(Some(request))) => request,
            Ok(Err(HeadError::Malformed(what))) => return refuse(wire, 400, what).await,
            Ok(Err(HeadError::TooLarge)) => return refuse(wire, 431, "head over 64 KiB").await,
            Ok(Ok(None) | Err(HeadError::Io(_))) | Err(_) => return,
        };
        ledger.record(path_of(&request.target), peer.ip());
        match answer(&mut wire, &request, peer, scheme, &ledger).await {
            Ok(Next::Keep) => {}
            Ok(Next::Close) => return wire.close_gently().await,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return refuse(wire, 400, "body is not as its head says").await;
            }
            Err(_) => return,
        }
    }
}

async fn answer<S: Stream>(
    wire: &mut Wire<S>,
    request: &Request,
    peer: SocketAddr,
    scheme: Scheme,
    ledger: &Ledger,
) -> io::Result<Next> {
    let route = Route::of(path_of(&request.target));
    if request.expects_continue() {
        if let Route::Status(status) = route {
            Reply::text(status, format!("status {status}\n")).write(wire, request).await?;
            return Ok(Next::Close);
        }
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let body = drain(wire, request, route == Route::Upload).await?;
    let reply = match route {
        Route::Home => Reply::text(200, "this is the loopback world's origin\n"),
        Route::Ip => Reply::text(200, format!("{}\n", peer.ip())),
        Route::Echo => Reply::json(echo(request, &body, peer, scheme)),
        Route::Bytes(n) => Reply::Bytes(n),
        Route::Chunked(n) => Reply::Chunked(n),
        Route::Status(status) => Reply::text(status, format!("status {status}\n")),
        Route::Delay(wait) => {
            tokio::time::sleep(wait).await;
            Reply::text(200, "delayed\n")
        }
        Route::Drip(n, gap) => Reply::Drip(n, gap),
        Route::Upload if matches!(request.method.as_str(), "POST" | "PUT") => {
            Reply::json(Object::new().number("length", body.length).text("fnv1a", &format!("{:016x}", body.hash)).end())
        }
        Route::Upload => Reply::text(405, "upload wants POST or PUT\n"),
        Route::Close => Reply::Torn,
        Route::List(name) => ledger.document(name).map_or_else(
            || Reply::text(404, "no such list\n"),
            |list| Reply::Whole(200, list.content_type.clone(), list.bytes.clone()),
        ),
        Route::BadNumber => Reply::text(400, "number in the path is none or too large\n"),
        Route::Unknown => Reply::text(404, "no such route\n"),
    };
    reply.write(wire, request).await
}

async fn drain<S: Stream>(wire: &mut Wire<S>, request: &Request, hashed: bool) -> io::Result<Drained> {
    let mut drained = Drained { length: 0, hash: FNV_START };
    let mut body = Body::new(request.framing);
    loop {
        let piece = body.next(&mut wire.reader).await?;
        if piece.is_empty() {
            return Ok(drained);
        }
        drained.length += piece.len() as u64;
        if hashed {
            drained.hash = continue_fnv1a(drained.hash, piece);
        }
    }
}

fn echo(request: &Request, body: &Drained, peer: SocketAddr, scheme: Scheme) -> String {
    let headers = array(
        request
            .head
            .fields()
            .map(|(name, value)| format!("[{},{}]", quote(name), quote(&String::from_utf8_lossy(value)))),
    );
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    Object::new()
        .text("scheme", scheme)
        .text("method", &request.method)
        .text("target", &request.target)
        .raw("headers", &headers)
        .number("body_length", body.length)
        .text("peer", &peer.to_string())
        .end()
}

async fn refuse<S: Stream>(mut wire: Wire<S>, status: u16, why: &str) {
    let reply = final_reply(status, "", "text/plain", &format!("{why}\n"));
    if wire.send(&reply).await.is_ok() {
        wire.close_gently().await;
    }
}
