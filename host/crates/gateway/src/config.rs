//! The limits of a gateway: every wait and every size has one.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::select::Filter;

use crate::bans::BanRule;
use crate::idle::IdleConfig;
use crate::wanted::Limits;

/// The limits of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// Through how many different members a request is tried at most; at least 1.
    pub attempts: u32,
    /// How long an idempotent request without a body may go unanswered at the most before a second upstream is asked as well:
    /// [sooner](proxywhirl_core::live::Live::patience) where an upstream is quick otherwise. The limit of dial, TLS and
    /// handshake is the dialer's own, and should be the same.
    pub connect_timeout: Duration,
    /// How long one upstream may take, from the dial (for a streamed body: from its end) to the head of its answer; in a tunnel,
    /// how long it may be silent when it has a ClientHello.
    pub response_timeout: Duration,
    /// How long a request may take until the head of the answer, over all attempts. A streamed body is not counted.
    pub request_deadline: Duration,
    /// How much of what a client begins a tunnel with is kept, so that another upstream can get it when the first one turns
    /// out to be none, in bytes; 0 keeps nothing, and no tunnel is opened again.
    pub first_flight: usize,
    /// How long an upstream may be silent when the client of a tunnel has begun with TLS, until another one is tried as
    /// well. One that is known to be quick gets less.
    pub first_byte_timeout: Duration,
    /// Answers to idempotent requests that a proxy may have made up, so that another one is asked once.
    pub retry_status: Vec<u16>,
    /// How many attempts there may be beyond the first ones.
    pub retry: RetryConfig,
    /// When another upstream is asked because the first one is slow.
    pub hedge: HedgeConfig,
    /// Through which tiers requests go, one after the other.
    pub escalation: EscalationConfig,
    /// When a site has refused an upstream.
    pub bans: Vec<BanRule>,
    /// How long a client may take to send a head or a SOCKS handshake.
    pub head_timeout: Duration,
    /// How long a client may take to go on with a body, from one byte to the next.
    pub body_timeout: Duration,
    /// How long a client's connection may be kept open between two requests.
    pub idle_timeout: Duration,
    /// How long a tunnel or a body may go without a byte before it is ended.
    pub stall_timeout: Duration,
    /// Connections to HTTP proxies that wait for their next request.
    pub upstream_idle: IdleConfig,
    /// The largest head, of a client or an upstream, in bytes.
    pub max_head: usize,
    /// How many clients may be connected, over all listeners; further ones wait until one leaves.
    pub max_connections: usize,
    /// How long sessions may take to end once the gateway is told to stop.
    pub drain: Duration,
    /// Whether answers say through whom they came, where the client says nothing of it.
    pub explain: bool,
    /// The name by which the gateway signs its errors (RFC 9209 §2): a token.
    pub pseudonym: &'static str,
}

impl GatewayConfig {
    /// The most that a client may ask for.
    pub(crate) const fn limits(&self) -> Limits {
        Limits { attempts: self.attempts, deadline: self.request_deadline }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            attempts: 5,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_mins(1),
            request_deadline: Duration::from_mins(2),
            first_flight: 16 * 1024,
            first_byte_timeout: Duration::from_secs(5),
            retry_status: vec![502, 503, 504, 511],
            retry: RetryConfig::default(),
            hedge: HedgeConfig::default(),
            escalation: EscalationConfig::default(),
            bans: Vec::new(),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_mins(5),
            upstream_idle: IdleConfig::default(),
            max_head: 64 * 1024,
            max_connections: 10_000,
            drain: Duration::from_secs(10),
            explain: false,
            pseudonym: "proxywhirl",
        }
    }
}

/// How many attempts there may be beyond the first of each request. One that is answered is not counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    /// So many of each request; not negative.
    pub share: f32,
    /// So many in a window in any case.
    pub minimum: u32,
    /// How long an attempt is counted.
    pub window: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { share: 0.2, minimum: 1_000, window: Duration::from_secs(10) }
    }
}

/// When another upstream is asked because the first one takes longer than it nearly always does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgeConfig {
    /// Whether requests that say nothing of it are hedged.
    pub always: bool,
    /// How many hedges there may be, answered or not.
    pub budget: RetryConfig,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self { always: false, budget: RetryConfig { share: 0.1, minimum: 10, ..RetryConfig::default() } }
    }
}

/// Through which tiers a request goes, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct EscalationConfig {
    /// The tiers, the first one first; without any, all members are one.
    pub tiers: Vec<Tier>,
    /// Attempts in a tier before the next one is asked; at least 1.
    pub attempts: u32,
    /// How long a site, or a session that goes unused, begins at the tier that it needed.
    pub remember: Duration,
    /// Whether the way without an upstream may lead to addresses that only this machine or its networks reach.
    pub allow_private: bool,
}

/// A tier.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// What it is called, for people.
    pub name: Arc<str>,
    /// How its attempts go.
    pub way: Way,
}

/// How attempts go.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// Straight to the origin.
    Direct,
    /// Through members: those that the filter admits, or all.
    Pool(Option<Arc<Filter>>),
}

impl Default for EscalationConfig {
    fn default() -> Self {
        Self { tiers: Vec::new(), attempts: 2, remember: Duration::from_mins(10), allow_private: false }
    }
}
