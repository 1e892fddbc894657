//! Accepting clients until told to stop, and then waiting for those that are there.

pub(crate) mod places;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::session::rest::Stay;
use crate::{Doorway, session};
use places::Place;

/// How long accepting rests when the system has no descriptor or memory left; sessions end meanwhile.
const REST: Duration = Duration::from_millis(100);
/// How often connections to upstreams that wait are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How the sessions of a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that ended by themselves after the stop.
    pub ended: usize,
    /// Sessions that were cut off when the time was up.
    pub cut: usize,
}

/// Where clients come from.
pub(crate) trait Listener: Sync {
    type Client: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static;

    /// The next client, and its address where it has one.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Client, Option<SocketAddr>)>> + Send;
}

impl Listener for TcpListener {
    type Client = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (client, peer) = self.accept().await?;
        // Without it, the last bytes of an answer would wait for the client's acknowledgement.
        if let Err(error) = client.set_nodelay(true) {
            tracing::debug!(client.addr = %peer, %error, "no TCP_NODELAY");
        }
        Ok((client, Some(peer)))
    }
}

impl Listener for UnixListener {
    type Client = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Option<SocketAddr>)> {
        self.accept().await.map(|(client, _)| (client, None))
    }
}

pub(crate) async fn serve<L: Listener>(
    doorway: &Doorway,
    listener: L,
    closed: &CancellationToken,
    stop: &CancellationToken,
) -> Drained {
    let mut sessions = JoinSet::new();
    accept(doorway, &listener, (closed, stop), &mut sessions).await;
    // Nobody is accepted any more: a new client finds the port closed instead of a queue that nobody serves.
    drop(listener);
    drain(sessions, doorway, stop).await
}

/// Accepts clients until the place is closed.
async fn accept<L: Listener>(
    doorway: &Doorway,
    listener: &L,
    (closed, stop): (&CancellationToken, &CancellationToken),
    sessions: &mut JoinSet<()>,
) {
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closing = pin!(closed.cancelled());
    // Kept from one turn to the next, so that a client that waits for its place stays where it is.
    let mut arriving = pin!(arrive(doorway, listener));
    loop {
        tokio::select! {
            biased;
            () = &mut closing => return,
            _ = sweep.tick() => {
                let gateway = doorway.gateway();
                let engine = gateway.engine();
                gateway.idle().sweep(&engine.snapshot(), |session| engine.session_in_life(session));
            }
            arrived = &mut arriving => {
                match arrived {
                    Ok((client, peer, place)) => {
                        let seat = Arc::clone(place.seat());
                        let stay = Stay { stop: stop.clone(), seat: Arc::clone(&seat) };
                        let session = session::run(doorway.clone(), client, peer, stay);
                        let session = sessions.spawn(async move {
                            session.await;
                            drop(place);
                        });
                        seat.belongs_to(session);
                    }
                    // The client gave up before it was accepted: nothing to rest for.
                    Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        tracing::warn!(%error, "accepting a client failed");
                        sleep(REST).await;
                    }
                }
                arriving.set(arrive(doorway, listener));
                // Clients may come for as long as there are some, and those who have left shall not pile up.
                reap(sessions);
            }
            Some(ended) = sessions.join_next() => {
                report(&ended);
                reap(sessions);
            }
        }
    }
}

/// Reports the sessions that have ended by now.
fn reap(sessions: &mut JoinSet<()>) {
    while let Some(ended) = sessions.try_join_next() {
        report(&ended);
    }
}

/// The next client, when there is a place for it. While one waits for that, others wait in the listener's backlog.
async fn arrive<L: Listener>(doorway: &Doorway, listener: &L) -> io::Result<(L::Client, Option<SocketAddr>, Place)> {
    let (client, peer) = listener.next().await?;
    Ok((client, peer, doorway.gateway().places().take().await))
}

/// Waits for those who are there: as long as they like, until the gateway stops.
async fn drain(mut sessions: JoinSet<()>, doorway: &Doorway, stop: &CancellationToken) -> Drained {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = all(&mut sessions) => {}
    }
    let before = sessions.len();
    let gateway = doorway.gateway();
    let in_time = tokio::select! {
        () = gateway.hurried().cancelled() => false,
        ended = timeout(gateway.config().drain, all(&mut sessions)) => ended.is_ok(),
    };
    let cut = if in_time { 0 } else { sessions.len() };
    sessions.shutdown().await;
    Drained { ended: before - cut, cut }
}

async fn all(sessions: &mut JoinSet<()>) {
    while let Some(ended) = sessions.join_next().await {
        report(&ended);
    }
}

fn report(ended: &Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a session has panicked");
    }
}
