//! The engine's own numbers, told through the `metrics` facade: whoever runs the engine decides whether anybody listens.
//!
//! Handles are taken once, when the engine starts. A pick counts nothing but what it counts anyway: how often somebody
//! was picked is read from there once in each interval in which the pool is saved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

/// The protocols of clients, as [`Completion::protocol`](crate::Completion::protocol) names them.
const PROTOCOLS: [&str; 5] = ["http", "connect", "socks4", "socks4a", "socks5"];

/// Why a client or a request is refused before any member is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// No client with this address is served.
    Client,
    /// It has not said who it is, or is not who it says.
    Login,
    /// Credentials from its address were wrong too often, or too many are being checked.
    Locked,
    /// Its user sends more requests in a second than it may.
    Rate,
    /// Its user has as many requests open as it may.
    Concurrency,
    /// Its user has used up its bytes.
    Quota,
    /// A rule forbids the destination.
    Rule,
    /// What it wants of proxies cannot be understood, or cannot be.
    Words,
    /// It is no request that can be read, or was not whole in time.
    Malformed,
    /// Its client speaks TLS where none is spoken, or another protocol, or TLS that fails, where it is.
    Tls,
}

impl Denial {
    const ALL: [Self; 10] = [
        Self::Client,
        Self::Login,
        Self::Locked,
        Self::Rate,
        Self::Concurrency,
        Self::Quota,
        Self::Rule,
        Self::Words,
        Self::Malformed,
        Self::Tls,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Login => "login",
            Self::Locked => "locked",
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Quota => "quota",
            Self::Rule => "rule",
            Self::Words => "words",
            Self::Malformed => "malformed",
            Self::Tls => "tls",
        }
    }
}

/// The numbers of an engine.
#[derive(Debug)]
pub(crate) struct Measures {
    /// Draws, counted from the seed on: each has a number, from which its chance follows.
    draws: AtomicU64,
    seed: u64,
    picks: Counter,
    nobody: Counter,
    rejected: Counter,
    budget: Counter,
    hedges_won: Counter,
    hedges_lost: Counter,
    hedges_denied: Counter,
    banned: Counter,
    guarded: Counter,
    succeeded: Counter,
    failed: Counter,
    excused: Counter,
    ended: Counter,
    convicted: Counter,
    latency: Histogram,
    members: Gauge,
    sessions: Gauge,
    unsaved: Gauge,
    breakers: Counter,
    alive: Counter,
    dead: Counter,
    requests: [Requests; PROTOCOLS.len()],
    denials: [Counter; Denial::ALL.len()],
}

/// The requests of a protocol.
#[derive(Debug)]
struct Requests {
    served: Counter,
    failed: Counter,
    duration: Histogram,
}

impl Measures {
    pub(crate) fn new(seed: u64) -> Self {
        let attempts = |outcome: &'static str| metrics::counter!("proxywhirl_attempts_total", "outcome" => outcome);
        let hedges = |result: &'static str| metrics::counter!("proxywhirl_hedges_total", "result" => result);
        let refused = |reason: &'static str| metrics::counter!("proxywhirl_refusals_total", "reason" => reason);
        let denied = |why: Denial| metrics::counter!("proxywhirl_requests_refused_total", "reason" => why.as_str());
        Self {
            draws: AtomicU64::new(seed),
            seed,
            picks: metrics::counter!("proxywhirl_picks_total"),
            nobody: refused("nobody"),
            rejected: refused("plugin"),
            budget: refused("retry-budget"),
            hedges_won: hedges("won"),
            hedges_lost: hedges("lost"),
            hedges_denied: hedges("denied"),
            banned: metrics::counter!("proxywhirl_bans_total", "result" => "set"),
            guarded: metrics::counter!("proxywhirl_bans_total", "result" => "guarded"),
            succeeded: attempts("success"),
            failed: attempts("failure"),
            excused: attempts("excused"),
            ended: attempts("ended"),
            convicted: metrics::counter!("proxywhirl_convictions_total"),
            latency: metrics::histogram!("proxywhirl_attempt_latency_seconds"),
            members: metrics::gauge!("proxywhirl_pool_members"),
            sessions: metrics::gauge!("proxywhirl_sessions"),
            unsaved: metrics::gauge!("proxywhirl_store_failing"),
            breakers: metrics::counter!("proxywhirl_breaker_changes_total"),
            alive: metrics::counter!("proxywhirl_checks_total", "verdict" => "alive"),
            dead: metrics::counter!("proxywhirl_checks_total", "verdict" => "dead"),
            requests: PROTOCOLS.map(Requests::new),
            denials: Denial::ALL.map(denied),
        }
    }

    /// The number of a draw.
    pub(crate) fn draw(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn nobody_left(&self) {
        self.nobody.increment(1);
    }

    pub(crate) fn rejected(&self) {
        self.rejected.increment(1);
    }

    pub(crate) fn banned(&self, is_set: bool) {
        if is_set { &self.banned } else { &self.guarded }.increment(1);
    }

    pub(crate) fn retry_denied(&self) {
        self.budget.increment(1);
    }

    pub(crate) fn hedged(&self, won: bool) {
        if won { &self.hedges_won } else { &self.hedges_lost }.increment(1);
    }

    pub(crate) fn hedge_denied(&self) {
        self.hedges_denied.increment(1);
    }

    pub(crate) fn attempt_succeeded(&self, latency: Duration) {
        self.succeeded.increment(1);
        self.latency.record(latency);
    }

    pub(crate) fn attempt_failed(&self) {
        self.failed.increment(1);
    }

    pub(crate) fn attempt_ended(&self) {
        self.ended.increment(1);
    }

    pub(crate) fn attempt_convicted(&self) {
        self.convicted.increment(1);
    }

    pub(crate) fn attempt_excused(&self) {
        self.excused.increment(1);
    }

    pub(crate) fn breaker_changed(&self) {
        self.breakers.increment(1);
    }

    pub(crate) fn checked(&self, is_alive: bool) {
        if is_alive { &self.alive } else { &self.dead }.increment(1);
    }

    pub(crate) fn request_over(&self, protocol: &str, is_served: bool, duration: Duration) {
        let known = PROTOCOLS.iter().zip(&self.requests).find(|(name, _)| **name == protocol);
        if let Some((_, requests)) = known {
            if is_served { &requests.served } else { &requests.failed }.increment(1);
            requests.duration.record(duration);
        }
    }

    pub(crate) fn turned_away(&self, why: Denial) {
        let known = Denial::ALL.iter().zip(&self.denials).find(|(each, _)| **each == why);
        if let Some((_, denials)) = known {
            denials.increment(1);
        }
    }

    /// Tells what is told at intervals.
    #[allow(clippy::cast_precision_loss, reason = "a pool and its sessions are some millions at the most")]
    pub(crate) fn saved(&self, is_saved: bool) {
        self.unsaved.set(if is_saved { 0.0 } else { 1.0 });
    }

    pub(crate) fn pulse(&self, members: usize, sessions: usize) {
        self.members.set(members as f64);
        self.sessions.set(sessions as f64);
        self.picks.absolute(self.draws.load(Ordering::Relaxed).wrapping_sub(self.seed));
    }
}

impl Requests {
    fn new(protocol: &'static str) -> Self {
        let requests = |outcome: &'static str| metrics::counter!("proxywhirl_requests_total", "protocol" => protocol, "outcome" => outcome);
        let duration = metrics::histogram!("proxywhirl_request_duration_seconds", "protocol" => protocol);
        Self { served: requests("served"), failed: requests("failed"), duration }
    }
}
