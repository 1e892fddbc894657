//! Accepting clients of this machine, over a Unix socket.

use std::io;
use std::pin::pin;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::places::Place;
use super::{Drained, REST, drain, report};
use crate::Gateway;

pub(crate) async fn serve(gateway: &Gateway, listener: UnixListener, stop: &CancellationToken) -> Drained {
    let mut sessions = JoinSet::new();
    accept(gateway, &listener, stop, &mut sessions).await;
    drop(listener);
    drain(sessions, gateway.config().drain).await
}

async fn accept(gateway: &Gateway, listener: &UnixListener, stop: &CancellationToken, sessions: &mut JoinSet<()>) {
    let mut arriving = pin!(arrive(gateway, listener));
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(ended) = sessions.join_next() => report(&ended),
            arrived = &mut arriving => {
                match arrived {
                    Ok((client, place)) => {
                        let (gateway, stop) = (gateway.clone(), stop.clone());
                        sessions.spawn(async move {
                            crate::session::run(&gateway, client, None, &stop).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a client failed");
                        sleep(REST).await;
                    }
                }
                arriving.set(arrive(gateway, listener));
            }
        }
    }
}

/// The next client, when there is a place for it.
async fn arrive(gateway: &Gateway, listener: &UnixListener) -> io::Result<(UnixStream, Place)> {
    let (client, _) = listener.accept().await?;
    Ok((client, gateway.places().take().await))
}
