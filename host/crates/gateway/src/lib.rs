//! The gateway: where clients come in.
//!
//! One port takes forwarded HTTP requests, CONNECT, SOCKS 4, 4a and 5, told apart by the first byte. Every request gets
//! an upstream from the [`Engine`], and another one when the first fails, as long as the client has not been answered.
//!
//! Everything that a client or an upstream sends is hostile: heads, waits, tries and sessions are bounded by
//! [`GatewayConfig`], bodies stream, and what is wrong is answered, not panicked over.

pub mod access;
mod bans;
mod config;
mod dechunk;
mod door;
mod failover;
mod forward;
mod idle;
mod ingress;
mod record;
mod reply;
pub mod rotation;
mod serve;
mod session;
mod stall;
mod tunnel;
pub mod wanted;

use std::net::SocketAddr;
use std::sync::Arc;

use proxywhirl_engine::Engine;
use proxywhirl_net::Dialer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

pub use bans::{AnswerTest, BanRule, HostPattern, Pattern, Trigger, TunnelEnd};
pub use config::{GatewayConfig, RetryConfig};
pub use door::Door;
use failover::Means;
use failover::budget::RetryBudget;
pub use idle::IdleConfig;
use idle::IdleConnections;
pub use rotation::{Rotation, Turns};
pub use serve::Drained;
use serve::places::Places;

/// Serves clients. Clones share everything.
#[derive(Clone)]
pub struct Gateway {
    parts: Arc<Parts>,
    door: Arc<Door>,
}

struct Parts {
    engine: Arc<Engine>,
    dialer: Dialer,
    idle: IdleConnections,
    config: GatewayConfig,
    budget: RetryBudget,
    places: Places,
}

impl Gateway {
    /// A gateway to the members of this engine's pool.
    #[must_use]
    pub fn new(engine: Arc<Engine>, dialer: Dialer, config: GatewayConfig) -> Self {
        let budget = RetryBudget::new(config.retry);
        let idle = IdleConnections::new(config.upstream_idle);
        let places = Places::new(config.max_connections);
        Self { parts: Arc::new(Parts { engine, dialer, idle, config, budget, places }), door: Arc::default() }
    }

    /// The same gateway, as it is for clients that come in by this door.
    #[must_use]
    pub fn behind(&self, door: Door) -> Self {
        Self { parts: Arc::clone(&self.parts), door: Arc::new(door) }
    }

    /// Accepts clients until `shutdown` is cancelled. Then idle clients are let go at once, the others may end their
    /// request or tunnel within [`GatewayConfig::drain`]. Returns when every session has ended. It may be called for
    /// several listeners.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Drained {
        serve::serve(self, listener, &shutdown).await
    }

    /// The same for clients of this machine, who come in by a Unix socket.
    pub async fn serve_unix(&self, listener: UnixListener, shutdown: CancellationToken) -> Drained {
        serve::unix::serve(self, listener, &shutdown).await
    }

    /// Serves one client over any stream, until it leaves. `peer` is its address, for the log.
    pub async fn session<S>(&self, client: S, peer: Option<SocketAddr>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        session::run(self, client, peer, &CancellationToken::new()).await;
    }

    /// The limits.
    #[must_use]
    pub fn config(&self) -> &GatewayConfig {
        &self.parts.config
    }

    /// What is particular about where its clients come in.
    #[must_use]
    pub fn door(&self) -> &Door {
        &self.door
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.parts.engine
    }

    pub(crate) fn means(&self) -> Means<'_> {
        Means { engine: &self.parts.engine, config: &self.parts.config, budget: &self.parts.budget }
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.parts.dialer
    }

    pub(crate) fn places(&self) -> &Places {
        &self.parts.places
    }

    pub(crate) fn idle(&self) -> &IdleConnections {
        &self.parts.idle
    }
}
