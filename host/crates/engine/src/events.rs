//! The payloads of events. Their fields are a contract: see `host/docs/events.md`.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use proxywhirl_core::plugin::PluginFault;
use proxywhirl_core::{Fault, Member};
use serde::{Deserialize, Serialize};

/// A duration as people and scripts read it: milliseconds, to the microsecond.
#[must_use]
pub fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// A fault in a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultPayload<'a> {
    /// Who is to blame.
    pub side: Cow<'a, str>,
    /// How far the request had come.
    pub stage: Cow<'a, str>,
    /// What went wrong.
    pub kind: Cow<'a, str>,
    /// A status of HTTP, or the code of a SOCKS reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// In words.
    pub detail: Cow<'a, str>,
}

impl<'a> From<&'a Fault> for FaultPayload<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self {
            side: fault.side.as_str().into(),
            stage: fault.stage.as_str().into(),
            kind: fault.kind.as_str().into(),
            code: fault.code,
            detail: (&*fault.detail).into(),
        }
    }
}

impl FaultPayload<'_> {
    /// The same, on its own.
    #[must_use]
    pub fn into_owned(self) -> FaultPayload<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        FaultPayload {
            side: own(self.side),
            stage: own(self.stage),
            kind: own(self.kind),
            code: self.code,
            detail: own(self.detail),
        }
    }
}

/// `proxy-selected`, `request-success` and `request-failure`.
#[derive(Debug, Serialize)]
pub struct AttemptPayload<'a> {
    /// The request's number.
    pub request: u64,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// Host and port of the origin.
    pub target: &'a str,
    /// The member's URL, its password masked.
    pub proxy: String,
    /// Milliseconds to the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultPayload<'a>>,
    /// Whether the failure counts against the member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<bool>,
}

/// `request-complete`.
#[derive(Debug, Serialize)]
pub struct CompletionPayload<'a> {
    /// The request's number.
    pub request: u64,
    /// `http`, `connect`, `socks4`, `socks4a` or `socks5`.
    pub protocol: &'a str,
    /// The HTTP method, or `CONNECT`.
    pub method: &'a str,
    /// Host and port of the origin.
    pub target: &'a str,
    /// The name of the user whose it was; none where nobody logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The client's address; none when it came over a socket of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// Where the listener listens that it came in by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<&'a str>,
    /// The status that the client got.
    pub status: Option<u16>,
    /// How many members were tried.
    pub attempts: u32,
    /// The member that served it, its password masked.
    pub proxy: Option<String>,
    /// Milliseconds from the request's head to the end of the answer.
    pub duration_ms: f64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultPayload<'a>>,
}

/// `proxy-added`, `proxy-removed`, `breaker-changed`.
#[derive(Debug, Serialize)]
pub struct MemberPayload {
    proxy: String,
    tags: Vec<String>,
    health: &'static str,
}

impl From<&Member> for MemberPayload {
    fn from(member: &Member) -> Self {
        Self {
            proxy: member.endpoint.to_string(),
            tags: member.tags().iter().map(ToString::to_string).collect(),
            health: member.live.health().as_str(),
        }
    }
}

/// `plugin-faulted`.
#[derive(Debug, Serialize)]
pub struct PluginFaultPayload<'a> {
    plugin: &'a str,
    version: &'a str,
    digest: &'a str,
    export: &'a str,
    cause: &'static str,
    detail: &'a str,
    /// The guest's functions, the innermost first.
    backtrace: &'a [Box<str>],
    /// The last lines that the instance logged.
    log: &'a [Box<str>],
    /// Bytes of linear memory.
    memory: u64,
    /// Milliseconds that the call had run.
    elapsed_ms: f64,
    /// How often the same fault came since it was told last.
    repeated: u64,
}

impl<'a> PluginFaultPayload<'a> {
    /// A fault, and how often it came since it was told last.
    #[must_use]
    pub fn new(fault: &'a PluginFault, repeated: u64) -> Self {
        Self {
            plugin: &fault.plugin.name,
            version: &fault.plugin.version,
            digest: &fault.plugin.digest,
            export: fault.export,
            cause: fault.cause.as_str(),
            detail: &fault.detail,
            backtrace: &fault.scene.backtrace,
            log: &fault.scene.log,
            memory: fault.scene.memory,
            elapsed_ms: milliseconds(fault.scene.elapsed),
            repeated,
        }
    }
}

/// `plugin-changed`.
#[derive(Debug, Serialize)]
pub struct PluginChangedPayload<'a> {
    /// The plugin's name.
    pub plugin: &'a str,
    /// The version that is in force now.
    pub version: &'a str,
    /// Its digest.
    pub digest: &'a str,
    /// `strategy`, `parser` or `hook`.
    pub kind: &'static str,
    /// `loaded`, `replaced`, `rolled-back`, `state` or `removed`.
    pub change: &'static str,
    /// How it did: `active`, `degraded`, `quarantined` or `disabled`; null when it was not there.
    pub from: Option<&'static str>,
    /// How it does; null when it was removed.
    pub to: Option<&'static str>,
    /// Why, in words for people.
    pub reason: &'a str,
    /// When that ends by itself, in microseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// `pool-empty`.
#[derive(Debug, Serialize)]
pub struct PoolEmptyPayload<'a> {
    /// The request's number.
    pub request: u64,
    /// Host and port of the origin.
    pub target: &'a str,
    /// Members in the pool.
    pub members: usize,
    /// Of those: tried already by this request.
    pub tried: usize,
    /// Of those: banned at the request's site.
    pub banned: usize,
    /// Of those: not what the request wants.
    pub filter: usize,
    /// Of those: breaker open.
    pub breaker: usize,
    /// Of those: used as much as they may be.
    pub limited: usize,
    /// Of those: not the one that the request's session has to stay with.
    pub session: usize,
    /// Of those: not in the strategy's plan.
    pub unplanned: usize,
}

/// `proxy-banned`.
#[derive(Debug, Serialize)]
pub struct BanPayload<'a> {
    /// The request's number.
    pub request: u64,
    /// Host and port of the origin.
    pub target: &'a str,
    /// The site at which the member is banned; `*` for all.
    pub site: &'a str,
    /// The member's URL, its password masked.
    pub proxy: String,
    /// The rule's name.
    pub rule: &'a str,
    /// Whether it is banned. If not, too many are already.
    pub banned: bool,
    /// When the ban ends, in microseconds since the Unix epoch.
    pub until: u64,
}

/// `store-changed`.
#[derive(Debug, Serialize)]
pub struct StorePayload<'a> {
    /// Why the pool cannot be saved; none when it can again.
    pub error: Option<&'a str>,
}

/// `fetch-complete`.
#[derive(Debug, Serialize)]
pub struct FetchPayload<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The parser that read it.
    pub parser: Option<&'a str>,
    /// Entries that were well formed.
    pub candidates: u64,
    /// Entries that were not.
    pub rejected: u64,
    /// How the list is not as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<&'a str>,
    /// Whether the last good list is in its place, then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,
    /// Why there is no document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `health-check`.
#[derive(Debug, Serialize)]
pub struct CheckPayload<'a> {
    /// The proxy's URL, its password masked.
    pub proxy: String,
    /// The level that was asked for.
    pub level: &'static str,
    /// The deepest level that it passed, or none.
    pub passed: Option<&'static str>,
    /// Whether it passed.
    pub alive: bool,
    /// Milliseconds to the first byte.
    pub latency_ms: Option<f64>,
    /// What a judge could tell about us: `unknown`, `transparent`, `anonymous` or `elite`.
    pub anonymity: &'static str,
    /// The address that a judge saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<std::net::IpAddr>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultPayload<'a>>,
}
