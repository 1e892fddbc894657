//! Tunnels: bytes both ways until both sides are done, for CONNECT and SOCKS alike.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dial::{DialFault, Target, dial};
use super::{Session, mischief};
use crate::behaviour::{Behaviour, Tunnel};
use crate::wire::{BUFFER, Stream, Wire, send};

/// What to tell a client who asked for a tunnel; each protocol has its own words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said {
    /// It is open, from this local address (none when it is a lie).
    Open(Option<SocketAddr>),
    /// It is refused, with a status for those who speak HTTP.
    Refused(u16),
    /// The destination was not reached.
    Failed(DialFault),
}

/// Opens a tunnel to `target` and relays it to its end, as far as the behaviour lets it.
pub(super) async fn serve<S: Stream>(
    mut wire: Wire<S>,
    session: &Session,
    target: &Target,
    behaviour: Behaviour,
    words: impl Fn(Said) -> Vec<u8>,
) {
    behaviour.pause(session.number).await;
    let said = match behaviour.tunnel() {
        Tunnel::Relay => match dial(&session.shared, target).await {
            Ok(onward) => {
                session.shared.meter.tunnelled();
                let open = words(Said::Open(onward.local_addr().ok()));
                if wire.send(&open).await.is_ok() {
                    relay(wire, onward, session).await;
                }
                return;
            }
            Err(fault) => Said::Failed(fault),
        },
        Tunnel::Refuse(status) => Said::Refused(status),
        lie @ (Tunnel::Close | Tunnel::Stall | Tunnel::Garbage | Tunnel::Resign) => {
            if wire.send(&words(Said::Open(None))).await.is_ok() {
                mischief::tunnel(wire, lie).await;
            }
            return;
        }
    };
    if wire.send(&words(said)).await.is_ok() {
        wire.close_gently().await;
    }
}

/// Each direction ends on its own, so that a client may close its half and still read the answer. An error in one ends
/// both.
async fn relay<S: Stream>(mut wire: Wire<S>, mut onward: TcpStream, session: &Session) {
    let meter = &session.shared.meter;
    let (mut from_origin, mut to_origin) = onward.split();
    let up = pump(&mut wire.reader, &mut to_origin, &meter.up);
    let down = pump(&mut from_origin, &mut wire.writer, &meter.down);
    tokio::try_join!(up, down).ok();
}

async fn pump<R, W>(from: &mut R, to: &mut W, count: &AtomicU64) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        let read = from.read_buf(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        // Counted first: who has received the bytes may already look at the counter.
        count.fetch_add(read as u64, Relaxed);
        send(to, &buffer).await?;
    }
}
