//! Serves the control socket: few connections at once, each with its limits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::place::Claim;
use super::routes;

/// Connections at once: people and scripts of one user, some of them following events.
const CONNECTIONS: usize = 32;

/// Those that are told at once that there are too many.
const REFUSED: usize = 8;

/// For a head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a head, and of what is read ahead.
const BUFFER: usize = 64 * 1024;

/// How long to wait after an accept that failed: for want of file descriptors, all of them would at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers at the socket until the token is cancelled, and gives it back. What is under way then is cut off.
pub async fn serve(claim: Claim, router: Router, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let refused = Arc::new(Semaphore::new(REFUSED));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = claim.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if is_own(&stream) => {
                // One too many is told so: it would wait without an end behind those that follow events.
                let (place, router) = if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    (Ok(place), router.clone())
                } else {
                    tracing::warn!(connections = CONNECTIONS, "control connection refused, there are too many");
                    (Arc::clone(&refused).try_acquire_owned(), routes::crowded(CONNECTIONS))
                };
                // So many of them that not even that can be told are closed.
                if let Ok(place) = place {
                    connections.spawn(async move {
                        answer(stream, router).await;
                        drop(place);
                    });
                }
            }
            Ok(_) => tracing::warn!("control connection of another user refused"),
            Err(error) => {
                tracing::warn!(error = %error, "control connection not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    connections.shutdown().await;
}

/// Whether the process at the other end is of our user, or of the superuser.
fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn answer(stream: UnixStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = connection.await {
        tracing::debug!(error = %error, "control connection ended early");
    }
}
