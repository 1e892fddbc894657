//! Whose fault a failure was, and what follows from it.
//!
//! One table, [`Fault::consequence`], answers the three questions that a failure raises: does it hurt
//! the upstream's health, may the request be tried elsewhere, what does the client see. An origin's
//! 404 never hurts an upstream, and a client that hangs up never does.

use std::fmt;
use std::time::Duration;

/// Who is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who connects to us.
    Client,
    /// The proxy that we go through.
    Upstream,
    /// The final server.
    Origin,
    /// Ourselves: out of members, a limit, a bug.
    Ours,
}

/// How far a request had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Choosing a member.
    Select,
    /// Resolving a name.
    Resolve,
    /// Opening the transport to the upstream.
    Connect,
    /// TLS with the upstream.
    Tls,
    /// Proving our credentials to the upstream.
    Auth,
    /// CONNECT or SOCKS, up to the upstream's answer.
    Handshake,
    /// Sending the request.
    Request,
    /// Waiting for the first byte of the answer.
    FirstByte,
    /// Relaying what follows.
    Body,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A name that does not resolve.
    NotFound,
    /// The connection was refused.
    Refused,
    /// No route to the host or network.
    Unreachable,
    /// It took longer than it may.
    Timeout,
    /// The peer closed in an orderly way, too early.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// What the peer sent is not what its protocol says.
    Protocol,
    /// What the peer sent is larger than it may be.
    TooLarge,
    /// The peer answered that it will not; the code says why.
    Denied,
    /// The peer did not accept our credentials, or wants some.
    Unauthorized,
    /// The peer's certificate does not hold.
    Certificate,
    /// TLS failed for another reason.
    Tls,
    /// Nothing is left to try.
    Exhausted,
    /// As much is asked of it as may be.
    Limited,
    /// What the peer answered is well formed, and not what it should be.
    Unexpected,
    /// The protocol cannot express what was asked for, such as an IPv6 address in SOCKS 4.
    Unsupported,
    /// Anything else that the operating system reports.
    Io,
}

/// A failure: who, where, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Who is to blame.
    pub side: Side,
    /// How far the request had come.
    pub stage: Stage,
    /// What went wrong.
    pub kind: Kind,
    /// The code that the peer gave: an HTTP status or a SOCKS reply.
    pub code: Option<u16>,
    /// When it is worth to come again, if that is known.
    pub retry_after: Option<Duration>,
    /// The particulars, in words for people; no password.
    pub detail: Box<str>,
}

/// Whether a failure counts against the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hurt {
    /// It does not.
    No,
    /// It does when another upstream then served the same request, which proves the origin innocent.
    IfOthersSucceed,
    /// It does.
    Yes,
}

/// Whether a request may be tried through another upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may not.
    Never,
    /// It may when sending it twice does no harm (RFC 9110 §9.2.2).
    IfIdempotent,
    /// It may: the origin cannot have seen it.
    Always,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consequence {
    /// Whether it counts against the upstream.
    pub hurt: Hurt,
    /// Whether the request may be tried elsewhere.
    pub retry: Retry,
    /// The status that the client sees when nothing else helps.
    pub status: u16,
    /// The `error` parameter of `Proxy-Status` (RFC 9209 §2.3).
    pub proxy_status: &'static str,
}

impl Fault {
    /// A failure without a code.
    #[cold]
    pub fn new(side: Side, stage: Stage, kind: Kind, detail: impl Into<Box<str>>) -> Self {
        Self { side, stage, kind, code: None, retry_after: None, detail: detail.into() }
    }

    /// The same with the code that the peer gave.
    #[must_use]
    pub fn with_code(mut self, code: u16) -> Self {
        self.code = Some(code);
        self
    }

    /// The same with when it is worth to come again.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// What follows from it.
    #[must_use]
    pub const fn consequence(&self) -> Consequence {
        Consequence { hurt: self.hurt(), retry: self.retry(), status: self.status(), proxy_status: self.proxy_status() }
    }

    const fn hurt(&self) -> Hurt {
        match (self.side, self.stage, self.kind) {
            (Side::Client | Side::Ours, _, _) => Hurt::No,
            // Who is not welcome at one site may do well at all others.
            (Side::Origin, Stage::FirstByte, Kind::Denied) => Hurt::No,
            // What we look up ourselves says nothing of who was not even dialled.
            (Side::Origin, Stage::Resolve, _) => Hurt::No,
            // A refusal or a silence may be the origin's: a proxy says 503 for an origin that is down, or hangs up.
            (Side::Origin, _, _) => Hurt::IfOthersSucceed,
            (
                Side::Upstream,
                Stage::Handshake,
                Kind::Denied | Kind::Unauthorized | Kind::Timeout | Kind::Closed | Kind::Reset,
            ) => Hurt::IfOthersSucceed,
            (Side::Upstream, Stage::Request | Stage::FirstByte, _) => Hurt::IfOthersSucceed,
            // What was cut in the middle may have been cut by either.
            (Side::Upstream, Stage::Body, _) => Hurt::No,
            (Side::Upstream, _, Kind::Unsupported) => Hurt::No,
            (Side::Upstream, _, _) => Hurt::Yes,
        }
    }

    const fn retry(&self) -> Retry {
        match (self.side, self.stage) {
            // We have no port or no descriptor left towards this one; nothing was sent.
            (Side::Ours, Stage::Connect) => Retry::Always,
            (Side::Client | Side::Ours, _) | (_, Stage::Body) => Retry::Never,
            (_, Stage::Request | Stage::FirstByte) => Retry::IfIdempotent,
            (
                Side::Upstream | Side::Origin,
                Stage::Select | Stage::Resolve | Stage::Connect | Stage::Tls | Stage::Auth | Stage::Handshake,
            ) => Retry::Always,
        }
    }

    const fn status(&self) -> u16 {
        match (self.side, self.kind) {
            (Side::Client, Kind::Timeout) => 408,
            (Side::Client, Kind::TooLarge) => 431,
            (Side::Client, Kind::Denied) => 403,
            (Side::Client, _) => 400,
            (Side::Ours, Kind::Exhausted | Kind::Limited) => 503,
            (Side::Ours, Kind::Timeout) | (Side::Upstream | Side::Origin, Kind::Timeout) => 504,
            (Side::Ours, _) => 500,
            (Side::Upstream | Side::Origin, _) => 502,
        }
    }

    const fn proxy_status(&self) -> &'static str {
        match (self.side, self.stage, self.kind) {
            (Side::Client, _, Kind::Unauthorized | Kind::Denied) => "http_request_denied",
            (Side::Client, _, _) => "http_request_error",
            (Side::Ours, _, Kind::Exhausted) => "destination_unavailable",
            (_, _, Kind::Limited) => "connection_limit_reached",
            (Side::Ours, _, Kind::Timeout) => "connection_timeout",
            (Side::Ours, _, _) => "proxy_internal_error",
            (_, Stage::Resolve, Kind::Timeout) => "dns_timeout",
            (_, Stage::Resolve, _) | (_, _, Kind::NotFound) => "dns_error",
            (_, Stage::Request | Stage::FirstByte, Kind::Timeout) => "connection_read_timeout",
            (_, _, Kind::Timeout) => "connection_timeout",
            (_, Stage::Body, Kind::Closed | Kind::Reset) => "http_response_incomplete",
            (_, _, Kind::Refused) => "connection_refused",
            (_, _, Kind::Unreachable) => "destination_ip_unroutable",
            (_, _, Kind::Closed | Kind::Reset | Kind::Io) => "connection_terminated",
            (_, _, Kind::Certificate) => "tls_certificate_error",
            (_, _, Kind::Tls) => "tls_protocol_error",
            (_, _, Kind::TooLarge) => "http_response_header_section_size",
            (_, _, Kind::Protocol | Kind::Unexpected) => "http_protocol_error",
            (_, _, Kind::Denied | Kind::Unauthorized | Kind::Exhausted | Kind::Unsupported) => {
                "destination_unavailable"
            }
        }
    }
}

impl Side {
    /// The word for logs, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Origin => "origin",
            Self::Ours => "ours",
        }
    }
}

impl Stage {
    /// The word for logs, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::FirstByte => "first-byte",
            Self::Body => "body",
        }
    }
}

impl Kind {
    /// The word for logs, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::TooLarge => "too-large",
            Self::Denied => "denied",
            Self::Unauthorized => "unauthorized",
            Self::Certificate => "certificate",
            Self::Tls => "tls",
            Self::Exhausted => "exhausted",
            Self::Limited => "limited",
            Self::Unexpected => "unexpected",
            Self::Unsupported => "unsupported",
            Self::Io => "io",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.side.as_str(), self.kind.as_str(), self.stage.as_str())?;
        if let Some(code) = self.code {
            write!(f, " ({code})")?;
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn consequence(side: Side, stage: Stage, kind: Kind) -> Consequence {
        Fault::new(side, stage, kind, "").consequence()
    }

    #[test]
    fn a_dial_fault_hurts_the_upstream_and_is_always_retried() {
        let consequence = consequence(Side::Upstream, Stage::Connect, Kind::Refused);
        assert_eq!((consequence.hurt, consequence.retry, consequence.status), (Hurt::Yes, Retry::Always, 502));
    }

    #[test]
    fn what_the_origin_may_have_seen_is_retried_only_when_idempotent() {
        let consequence = consequence(Side::Upstream, Stage::FirstByte, Kind::Closed);
        assert_eq!((consequence.hurt, consequence.retry), (Hurt::IfOthersSucceed, Retry::IfIdempotent));
    }

    #[test]
    fn a_name_that_we_do_not_find_ourselves_hurts_nobody_whoever_finds_it() {
        let consequence = consequence(Side::Origin, Stage::Resolve, Kind::NotFound);
        assert_eq!((consequence.hurt, consequence.retry), (Hurt::No, Retry::Always));
    }

    #[test]
    fn a_client_that_hangs_up_hurts_nobody() {
        let consequence = consequence(Side::Client, Stage::Body, Kind::Closed);
        assert_eq!((consequence.hurt, consequence.retry), (Hurt::No, Retry::Never));
    }

    #[test]
    fn a_timeout_is_504_and_an_empty_pool_503() {
        assert_eq!(consequence(Side::Upstream, Stage::Handshake, Kind::Timeout).status, 504);
        assert_eq!(consequence(Side::Ours, Stage::Select, Kind::Exhausted).status, 503);
    }
}
