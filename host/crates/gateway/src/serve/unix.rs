//! Accepting clients of this machine, over a Unix socket.

use std::io;
use std::pin::pin;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::places::Place;
use super::{Drained, REST, drain, report};
use crate::{Doorway, session};

pub(crate) async fn serve(
    doorway: &Doorway,
    listener: UnixListener,
    closed: &CancellationToken,
    stop: &CancellationToken,
) -> Drained {
    let mut sessions = JoinSet::new();
    accept(doorway, &listener, (closed, stop), &mut sessions).await;
    drop(listener);
    drain(sessions, doorway, stop).await
}

async fn accept(
    doorway: &Doorway,
    listener: &UnixListener,
    (closed, stop): (&CancellationToken, &CancellationToken),
    sessions: &mut JoinSet<()>,
) {
    let mut arriving = pin!(arrive(doorway, listener));
    loop {
        tokio::select! {
            biased;
            () = closed.cancelled() => return,
            Some(ended) = sessions.join_next() => report(&ended),
            arrived = &mut arriving => {
                match arrived {
                    Ok((client, place)) => {
                        let session = session::run(doorway.clone(), client, None, stop.clone());
                        sessions.spawn(async move {
                            session.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a client failed");
                        sleep(REST).await;
                    }
                }
                arriving.set(arrive(doorway, listener));
            }
        }
    }
}

/// The next client, when there is a place for it.
async fn arrive(doorway: &Doorway, listener: &UnixListener) -> io::Result<(UnixStream, Place)> {
    let (client, _) = listener.accept().await?;
    Ok((client, doorway.gateway().places().take().await))
}
