//! The ways in which an upstream fails once it has read what its client wants.

use tokio::io::AsyncBufReadExt;
use tokio_rustls::TlsAcceptor;

use crate::behaviour::{Answer, Tunnel};
use crate::ca::TestCa;
use crate::http::final_reply;
use crate::wire::{Stream, Wire};

/// No HTTP, no SOCKS version, no TLS record.
const GARBAGE: &[u8] = b"\xde\xad\xbe\xef 220 mail.example ESMTP ready\r\n\x00\xff\r\n\r\n";

const PAGE: &str = "<!doctype html><html><head><title>Welcome</title></head>\
<body><h1>Free Wi-Fi</h1><p>Buy our tariff to go on.</p></body></html>\n";

/// Instead of an answer to a request. `Serve` is no mischief, and closes.
pub(super) async fn answer<S: Stream>(mut wire: Wire<S>, answer: Answer) {
    match answer {
        Answer::Serve | Answer::Close => {}
        Answer::Status(status) => {
            if wire.send(&final_reply(status, "", "text/plain", "out of order\n")).await.is_ok() {
                wire.close_gently().await;
            }
        }
        Answer::Silence => wire.hold_open().await,
        Answer::Garbage => {
            if wire.send(GARBAGE).await.is_ok() {
                wire.close_gently().await;
            }
        }
        Answer::Page => {
            let page = final_reply(200, "", "text/html; charset=utf-8", PAGE);
            if wire.send(&page).await.is_ok() {
                wire.close_gently().await;
            }
        }
        Answer::HeaderBomb => header_bomb(wire).await,
    }
}

/// The same inside a tunnel that a SOCKS client believes to be open: it has to speak first.
pub(super) async fn answer_in_tunnel<S: Stream>(mut wire: Wire<S>, what: Answer) {
    if wire.reader.fill_buf().await.is_ok() {
        answer(wire, what).await;
    }
}

/// Instead of relaying a tunnel that was said to be open.
pub(super) async fn tunnel<S: Stream>(mut wire: Wire<S>, tunnel: Tunnel) {
    match tunnel {
        Tunnel::Relay | Tunnel::Refuse(_) | Tunnel::Close => wire.close_gently().await,
        Tunnel::Stall => wire.hold_open().await,
        Tunnel::Garbage => {
            if wire.send(&GARBAGE.repeat(16)).await.is_ok() {
                wire.hold_open().await;
            }
        }
        Tunnel::Resign => resign(wire).await,
    }
}

/// Answers in the place of the origin, with a certificate that nobody vouches for.
async fn resign<S: Stream>(wire: Wire<S>) {
    let Ok(config) = TestCa::new().and_then(|stranger| stranger.server_config(&[])) else { return };
    let stream = tokio::io::join(wire.reader, wire.writer);
    if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
        answer(Wire::new(stream), Answer::Page).await;
    }
}

/// Ends when the client does; the socket's buffer is all that is held.
async fn header_bomb<S: Stream>(mut wire: Wire<S>) {
    let line = format!("X-Filler: {}\r\n", "a".repeat(1_000)).repeat(8);
    if wire.send(b"HTTP/1.1 200 OK\r\n").await.is_err() {
        return;
    }
    while wire.send(line.as_bytes()).await.is_ok() {}
}
