//! Requests as they went, as they are told.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::events::FaultPayload;

/// A request as it went. Times are milliseconds from its first pick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Its number.
    pub request: u64,
    /// When it began: microseconds since the Unix epoch.
    pub began: u64,
    /// `http`, `connect`, `socks4`, `socks4a` or `socks5`; empty while it goes on.
    pub protocol: String,
    /// The HTTP method, or `CONNECT`; empty while it goes on.
    pub method: String,
    /// Host and port of the origin.
    pub target: String,
    /// The name of the user whose it was; none while it goes on, when it was refused before that was known, and where nobody
    /// logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The client's address; none while it goes on, and when it came over a socket of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// Where the listener listens that it came in by; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// What it demanded of a member, in words.
    pub wants: Vec<String>,
    /// The strategy of its listener; none where that is the gateway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Whether it belonged to a session.
    pub session: bool,
    /// The attempts, in the order in which they began.
    pub attempts: Vec<AttemptRecord>,
    /// What rules about bans came to.
    #[serde(default)]
    pub bans: Vec<BanRecord>,
    /// Why it was not served at all: who asked, for what, or how often.
    #[serde(default)]
    pub refused: Option<String>,
    /// Why it got no member, or no further one.
    pub nobody: Option<String>,
    /// The status that the client got.
    pub status: Option<u16>,
    /// From the request's head to the end of the answer; none while it goes on.
    pub duration_ms: Option<f64>,
    /// Why it failed.
    pub fault: Option<FaultPayload<'static>>,
}

/// One attempt of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub number: u32,
    /// The member's URL, its password masked.
    pub proxy: String,
    /// Whether it was begun while another attempt was slow.
    #[serde(default)]
    pub hedge: bool,
    /// The tier that it was made in, where requests escalate.
    #[serde(default)]
    pub tier: Option<String>,
    /// How it was picked: `plan`, `site-plan`, `view-plan`, `select`, `in-turn`, `direct`, or `fallback-` and why.
    pub picked_by: String,
    /// When it was picked.
    pub picked_ms: f64,
    /// When the member had accepted the connection; none when one that had waited was used.
    #[serde(default)]
    pub dialled_ms: Option<f64>,
    /// When TLS and handshake with it were over.
    #[serde(default)]
    pub ready_ms: Option<f64>,
    /// When the request was sent.
    #[serde(default)]
    pub sent_ms: Option<f64>,
    /// When what is told in `answered` or `fault` happened.
    pub ended_ms: Option<f64>,
    /// From the start of the dial to the first byte of the answer, or to the tunnel's opening; also of an answer that broke off.
    pub latency_ms: Option<f64>,
    /// Why it failed.
    pub fault: Option<FaultPayload<'static>>,
    /// Whether the failure counts against the member.
    pub counted: bool,
}

/// What a rule about bans came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BanRecord {
    /// The rule's name.
    pub rule: String,
    /// The member's URL, its password masked.
    pub proxy: String,
    /// The site, or `*` for all.
    pub site: String,
    /// Whether it is banned. If not, the guard is against it: too many are already.
    pub banned: bool,
}

/// A request that was refused before anybody was picked.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// `http`, `connect`, `socks4`, `socks4a` or `socks5`.
    pub protocol: &'static str,
    /// The HTTP method, or `CONNECT`.
    pub method: &'a str,
    /// Host and port of the origin; empty when the client had not said it yet.
    pub target: &'a str,
    /// The name of the user whose it was; none when that was not known, and where nobody logs in.
    pub user: Option<&'a Arc<str>>,
    /// The client's address; none when it came over a socket of this machine.
    pub client: Option<SocketAddr>,
    /// Where the listener listens that it came in by, if that has been said.
    pub listener: Option<&'a Arc<str>>,
    /// The status that the client got; none in SOCKS.
    pub status: Option<u16>,
    /// Why, in words without secrets.
    pub reason: &'a str,
}

/// Which requests to tell of.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// So many at the most.
    pub limit: usize,
    /// Only those to this host.
    pub host: Option<String>,
    /// Only those that failed.
    pub failed: bool,
}
