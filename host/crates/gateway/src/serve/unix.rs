//! Accepting clients of this machine, over a Unix socket.

use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Drained, REST, drain, report};
use crate::Doorway;

pub(crate) async fn serve(
    doorway: &Doorway,
    listener: UnixListener,
    closed: &CancellationToken,
    stop: &CancellationToken,
) -> Drained {
    let mut sessions = JoinSet::new();
    loop {
        let limit = doorway.gateway().config().max_connections;
        tokio::select! {
            biased;
            () = closed.cancelled() => break,
            Some(ended) = sessions.join_next() => report(&ended),
            accepted = listener.accept(), if sessions.len() < limit => match accepted {
                Ok((client, _)) => {
                    let (doorway, stop) = (doorway.clone(), stop.clone());
                    sessions.spawn(async move { doorway.session(client, None, &stop).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a client failed");
                    sleep(REST).await;
                }
            },
        }
    }
    drop(listener);
    drain(sessions, doorway, stop).await
}
