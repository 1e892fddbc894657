//! The gateway: where clients come in.
//!
//! One port takes forwarded HTTP requests, CONNECT, SOCKS 4, 4a and 5, told apart by the first byte. Every request gets
//! an upstream from the [`Engine`], and another one when the first fails, as long as the client has not been answered.
//!
//! Everything that a client or an upstream sends is hostile: heads, waits, tries and sessions are bounded by
//! [`GatewayConfig`], bodies stream, and what is wrong is answered, not panicked over.

pub mod access;
mod alarms;
mod bans;
mod config;
mod dechunk;
mod direct;
mod door;
mod doorway;
mod explained;
mod failover;
mod forward;
mod idle;
mod ingress;
mod record;
mod reply;
pub mod rotation;
mod serve;
mod session;
mod sparing;
mod stall;
mod tunnel;
pub mod wanted;

use std::net::SocketAddr;
use std::sync::Arc;

use proxywhirl_engine::{Attempt, Engine, EscalationWords};
use proxywhirl_net::Dialer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

pub use bans::{AnswerTest, BanRule, HostPattern, Pattern, Trigger, TunnelEnd};
pub use config::{EscalationConfig, GatewayConfig, HedgeConfig, RetryConfig, Tier, Way};
pub use door::Door;
pub use doorway::Doorway;
use failover::Means;
use failover::budget::RetryBudget;
use failover::escalation::Escalation;
use failover::hedge::Hedging;
pub use idle::IdleConfig;
use idle::IdleConnections;
pub use rotation::{Rotation, Turns};
pub use serve::Drained;
use serve::places::Places;
use session::rest::Stay;
use wanted::Wanted;

/// Serves clients, as it is configured at one time. Clones share everything.
#[derive(Clone)]
pub struct Gateway {
    parts: Arc<Parts>,
    door: Arc<Door>,
}

struct Parts {
    lasting: Arc<Lasting>,
    dialer: Dialer,
    config: GatewayConfig,
    escalation: Arc<Option<Escalation>>,
}

/// What stays whatever is configured anew.
struct Lasting {
    engine: Arc<Engine>,
    idle: IdleConnections,
    budget: RetryBudget,
    hedging: Hedging,
    places: Places,
    /// Cancelled when who is still there at the end is given no more time.
    hurry: CancellationToken,
}

impl Gateway {
    /// A gateway to the members of this engine's pool.
    #[must_use]
    pub fn new(engine: Arc<Engine>, dialer: Dialer, config: GatewayConfig) -> Self {
        let escalation = Arc::new(Escalation::new(config.escalation.clone()));
        let lasting = Lasting {
            engine,
            idle: IdleConnections::default(),
            budget: RetryBudget::new(config.retry),
            hedging: Hedging::new(config.hedge),
            places: Places::new(config.max_connections),
            hurry: CancellationToken::new(),
        };
        let parts = Parts { lasting: Arc::new(lasting), dialer, config, escalation };
        Self { parts: Arc::new(parts), door: Arc::default() }
    }

    /// The same gateway under another configuration: connections that wait, retries that were counted, and what is known
    /// of tiers that stay the same. From now on, the new one says how many retries and hedges there may be, for requests
    /// of the old one as well.
    #[must_use]
    pub fn configured(&self, dialer: Dialer, config: GatewayConfig) -> Self {
        let lasting = Arc::clone(&self.parts.lasting);
        lasting.budget.configure(config.retry);
        lasting.hedging.configure(config.hedge);
        lasting.places.configure(config.max_connections);
        let escalation = if config.escalation == self.parts.config.escalation {
            Arc::clone(&self.parts.escalation)
        } else {
            Arc::new(Escalation::new(config.escalation.clone()))
        };
        Self { parts: Arc::new(Parts { lasting, dialer, config, escalation }), door: Arc::clone(&self.door) }
    }

    /// Closes the connections to upstreams that wait: they were opened by rules that hold no more.
    pub fn close_idle(&self) {
        self.idle().clear();
    }

    /// The same gateway, as it is for clients that come in by this door.
    #[must_use]
    pub fn behind(&self, door: Door) -> Self {
        Self { parts: Arc::clone(&self.parts), door: Arc::new(door) }
    }

    /// How many clients are connected, at all listeners.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places().taken()
    }

    /// From now on, who is still there when the gateway stops is cut at once, and has no [`GatewayConfig::drain`] any more.
    pub fn hurry(&self) {
        self.parts.lasting.hurry.cancel();
    }

    /// Accepts clients until `shutdown` is cancelled. Then idle clients are let go at once, the others may end their
    /// request or tunnel within [`GatewayConfig::drain`]. Returns when every session has ended. It may be called for
    /// several listeners.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Drained {
        Doorway::new(self.clone()).serve(listener, &shutdown, &shutdown).await
    }

    /// The same for clients of this machine, who come in by a Unix socket.
    pub async fn serve_unix(&self, listener: UnixListener, shutdown: CancellationToken) -> Drained {
        Doorway::new(self.clone()).serve_unix(listener, &shutdown, &shutdown).await
    }

    /// Serves one client over any stream, until it leaves. `peer` is its address, for the log.
    pub async fn session<S>(&self, client: S, peer: Option<SocketAddr>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        session::run(Doorway::new(self.clone()), client, peer, Stay::own()).await;
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
        &self.parts.lasting.engine
    }

    pub(crate) fn means(&self) -> Means<'_> {
        let Parts { lasting, config, escalation, .. } = &*self.parts;
        let Lasting { engine, budget, hedging, .. } = &**lasting;
        Means { engine, config, budget, hedging, escalation: (**escalation).as_ref() }
    }

    /// How the tiers that attempts go through would be for a request now; none when there are none.
    #[must_use]
    pub fn tiers(&self, attempt: &Attempt<'_>, wanted: &Wanted) -> Vec<EscalationWords> {
        let escalation = (*self.parts.escalation).as_ref();
        escalation.map(|escalation| escalation.look(self.engine(), attempt, wanted)).unwrap_or_default()
    }

    /// What dials upstreams.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.parts.dialer
    }

    pub(crate) fn hurried(&self) -> &CancellationToken {
        &self.parts.lasting.hurry
    }

    pub(crate) fn places(&self) -> &Places {
        &self.parts.lasting.places
    }

    pub(crate) fn idle(&self) -> &IdleConnections {
        &self.parts.lasting.idle
    }
}
