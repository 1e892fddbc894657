//! A SOCKS upstream's session, of version 4 or 5: the handshake is read, then the tunnel is opened.

mod v4;
mod v5;

use std::io;

use tokio::io::AsyncBufReadExt;

use super::dial::Target;
use super::tunnel::{self, Said};
use super::{CLIENT_TIMEOUT, Protocol, Session, mischief};
use crate::behaviour::{Answer, Behaviour};
use crate::wire::{Stream, Wire};

/// The version that a server speaks.
#[derive(Debug, Clone, Copy)]
enum Version {
    V4,
    V5,
}

/// What a handshake came to.
enum Handshake {
    /// The client wants a tunnel there.
    Wants(Target),
    /// It was refused; these are the words for it.
    Refused(Vec<u8>),
}

pub(super) async fn serve<S: Stream>(mut wire: Wire<S>, session: &Session) {
    let behaviour = session.shared.behaviour();
    if behaviour == Behaviour::GarbageReply {
        if wire.reader.fill_buf().await.is_ok() {
            mischief::answer(wire, Answer::Garbage).await;
        }
        return;
    }
    let (version, read) = match session.shared.options.protocol {
        Protocol::Socks4 | Protocol::Socks4a => {
            let read = tokio::time::timeout(CLIENT_TIMEOUT, v4::read(&mut wire, session)).await;
            (Version::V4, read)
        }
        Protocol::Socks5 | Protocol::Socks5h | Protocol::Http | Protocol::Https => {
            let read = tokio::time::timeout(CLIENT_TIMEOUT, v5::read(&mut wire, session)).await;
            (Version::V5, read)
        }
    };
    match read {
        Ok(Ok(Handshake::Wants(target))) => answer(wire, session, version, &target).await,
        Ok(Ok(Handshake::Refused(words))) => {
            if wire.send(&words).await.is_ok() {
                wire.close_gently().await;
            }
        }
        Ok(Err(_)) | Err(_) => {}
    }
}

async fn answer<S: Stream>(mut wire: Wire<S>, session: &Session, version: Version, target: &Target) {
    let words = |said| match version {
        Version::V4 => v4::words(said),
        Version::V5 => v5::words(said),
    };
    session.shared.meter.saw("CONNECT", &target.to_string());
    let behaviour = session.shared.behaviour();
    match behaviour.answer(session.number) {
        Answer::Serve => tunnel::serve(wire, session, target, behaviour, words).await,
        portal @ (Answer::Page | Answer::HeaderBomb) => {
            if wire.send(&words(Said::Open(None))).await.is_ok() {
                mischief::answer_in_tunnel(wire, portal).await;
            }
        }
        Answer::Status(status) => {
            if wire.send(&words(Said::Refused(status))).await.is_ok() {
                wire.close_gently().await;
            }
        }
        other @ (Answer::Close | Answer::Silence | Answer::Garbage) => {
            mischief::answer(wire, other).await;
        }
    }
}

/// A byte that has one right value.
fn expect(byte: u8, wanted: u8, what: &'static str) -> io::Result<()> {
    if byte == wanted { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, what)) }
}
