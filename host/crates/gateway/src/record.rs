//! What is told of a request when it is over: one event, and one line in the log.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use proxywhirl_core::{Endpoint, Fault};
use proxywhirl_engine::{Completion, Engine};
use tokio::time::Instant;

use crate::Gateway;
use crate::access::User;

/// A request from its head on.
pub(crate) struct Record {
    pub(crate) request: u64,
    protocol: &'static str,
    method: Cow<'static, str>,
    /// Host and port of the origin.
    pub(crate) target: Arc<str>,
    peer: Option<SocketAddr>,
    /// Whose it is; nobody's where nobody logs in.
    user: Option<Arc<User>>,
    pub(crate) began: Instant,
}

/// How a request ended.
pub(crate) struct End<'a> {
    /// The status that the client got; none in SOCKS, and when it got nothing.
    pub(crate) status: Option<u16>,
    pub(crate) attempts: usize,
    pub(crate) upstream: Option<&'a Endpoint>,
    pub(crate) fault: Option<&'a Fault>,
}

impl Record {
    pub(crate) fn new(
        engine: &Engine,
        protocol: &'static str,
        method: Cow<'static, str>,
        target: Arc<str>,
        peer: Option<SocketAddr>,
    ) -> Self {
        let request = engine.next_request();
        Self { request, protocol, method, target, peer, user: None, began: Instant::now() }
    }

    /// The same, of this user.
    pub(crate) fn of(self, user: Option<Arc<User>>) -> Self {
        Self { user, ..self }
    }

    /// Tells of the end.
    pub(crate) fn close(&self, gateway: &Gateway, end: &End<'_>) {
        let attempts = u32::try_from(end.attempts).unwrap_or(u32::MAX);
        let duration = self.began.elapsed();
        tracing::debug!(
            request.id = self.request,
            request.protocol = self.protocol,
            request.method = &*self.method,
            client.addr = self.peer.map(tracing::field::display),
            user = self.user.as_deref().map(User::name),
            target = &*self.target,
            upstream = end.upstream.map(tracing::field::display),
            attempts,
            status = end.status,
            duration.ms = duration.as_secs_f64() * 1_000.0,
            fault = end.fault.map(tracing::field::display),
            "request over"
        );
        gateway.engine().complete(&Completion {
            request: self.request,
            protocol: self.protocol,
            method: &self.method,
            target: &self.target,
            user: self.user.as_deref().map(User::shared_name),
            client: self.peer,
            listener: gateway.door().listener.as_ref(),
            status: end.status,
            attempts,
            upstream: end.upstream,
            duration,
            fault: end.fault,
        });
    }
}
