//! Accepting clients of this machine, over a Unix socket.

use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Drained, REST, drain, report};
use crate::Gateway;

pub(crate) async fn serve(gateway: &Gateway, listener: UnixListener, stop: &CancellationToken) -> Drained {
    let mut sessions = JoinSet::new();
    let limit = gateway.config().max_connections;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = sessions.join_next() => report(&ended),
            accepted = listener.accept(), if sessions.len() < limit => match accepted {
                Ok((client, _)) => {
                    let (gateway, stop) = (gateway.clone(), stop.clone());
                    sessions.spawn(async move { crate::session::run(&gateway, client, None, &stop).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a client failed");
                    sleep(REST).await;
                }
            },
        }
    }
    drop(listener);
    drain(sessions, gateway.config().drain).await
}
