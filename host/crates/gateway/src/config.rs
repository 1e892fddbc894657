//! The limits of a gateway: every wait and every size has one.

use std::time::Duration;

use crate::wanted::Limits;

/// The limits of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Through how many different members a request is tried at most; at least 1.
    pub attempts: u32,
    /// How long an idempotent request without a body may go unanswered before a second upstream is asked as well. The
    /// limit of dial, TLS and handshake is the dialer's own, and should be the same.
    pub connect_timeout: Duration,
    /// How long one upstream may take, from the dial (for a streamed body: from its end) to the head of its answer.
    pub response_timeout: Duration,
    /// How long a request may take until the head of the answer, over all attempts. A streamed body is not counted.
    pub request_deadline: Duration,
    /// How long a client may take to send a head or a SOCKS handshake.
    pub head_timeout: Duration,
    /// How long a client's connection may be kept open between two requests.
    pub idle_timeout: Duration,
    /// How long a tunnel or a body may go without a byte before it is ended.
    pub stall_timeout: Duration,
    /// The largest head, of a client or an upstream, in bytes.
    pub max_head: usize,
    /// How many clients may be connected to one listener; further ones wait in its backlog.
    pub max_connections: usize,
    /// How long sessions may take to end once the gateway is told to stop.
    pub drain: Duration,
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
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_mins(5),
            max_head: 64 * 1024,
            max_connections: 10_000,
            drain: Duration::from_secs(10),
            pseudonym: "proxywhirl",
        }
    }
}
