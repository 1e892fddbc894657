//! A doorway: a place where clients come in, while the gateway behind it is configured anew.
//!
//! A connection asks for the gateway when it begins, and again before each further request: so a change holds for all that
//! begins after it, and what is under way, a tunnel above all, ends as it began.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::serve::{self, Drained};

/// A place where clients come in. Clones are the same place.
#[derive(Clone)]
pub struct Doorway {
    current: Arc<ArcSwap<Gateway>>,
}

impl Doorway {
    /// A place behind which this gateway is.
    #[must_use]
    pub fn new(gateway: Gateway) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(gateway)) }
    }

    /// Puts another gateway behind it: for new connections, and for the next request of each that is open.
    pub fn change(&self, gateway: Gateway) {
        self.current.store(Arc::new(gateway));
    }

    /// The gateway behind it.
    #[must_use]
    pub fn gateway(&self) -> Arc<Gateway> {
        self.current.load_full()
    }

    /// The gateway behind it, in place of the one that it may have been. One load when it is the same.
    pub(crate) fn renew(&self, known: &mut Arc<Gateway>) {
        let current = self.current.load();
        if !Arc::ptr_eq(&current, known) {
            *known = Arc::clone(&current);
        }
    }

    /// Accepts clients until `closed` is cancelled; those who are there stay until they leave. When `stop` is cancelled,
    /// and `closed` with it, idle clients are let go at once, and the others may end their request or tunnel within
    /// [`GatewayConfig::drain`](crate::GatewayConfig::drain). Returns when every session has ended.
    // Behind a pointer to what can be called: so the whole road of a request is compiled here, in one piece, and not in the crate that
    // waits for this future, in as many as that one has.
    pub fn serve<'a>(
        &'a self,
        listener: TcpListener,
        closed: &'a CancellationToken,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Drained> {
        Box::pin(serve::serve(self, listener, closed, stop))
    }

    /// The same for clients of this machine, who come in by a Unix socket.
    pub fn serve_unix<'a>(
        &'a self,
        listener: UnixListener,
        closed: &'a CancellationToken,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Drained> {
        Box::pin(serve::serve(self, listener, closed, stop))
    }
}
