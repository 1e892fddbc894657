//! Checks: whether a candidate works, how far, and how fast.
//!
//! Each level includes the ones before it and costs one connection in all: a candidate is dialled once,
//! and how far that came is the verdict. The deepest level asks a judge ([`judge`]) through the proxy
//! and wants the judge's own answer, because a proxy that answers 200 to everything is common and useless.
//!
//! Invariants: a check ends within the timeout (and a tenth of a second); a stream of checks holds at most as many connections
//! open as it was told; a failure is a verdict, never an error.

pub mod anonymity;
pub mod judge;
mod probe;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use proxywhirl_core::{Anonymity, Candidate, Endpoint, Fault, Kind, Level, Side, Stage, Verdict, Verified};
use proxywhirl_net::Dialer;
use tokio::time::Instant;

use crate::Clock;
use judge::{JudgeUrl, Sighting};

/// What checks need, and what they may cost.
#[derive(Debug, Clone)]
pub struct CheckerConfig {
    /// Dials. Its connect timeout should not be longer than `timeout`: its faults say more.
    pub dialer: Dialer,
    /// Whom to ask through a proxy; without one, no candidate passes [`Level::Http`].
    pub judge: Option<JudgeUrl>,
    /// Addresses of ours as the judge sees them, for the anonymity; empty when they are not known.
    pub own_addresses: Vec<IpAddr>,
    /// The time for one check, all its levels together.
    pub timeout: Duration,
    /// How many checks run at the same time; at least 1.
    pub concurrency: usize,
    /// Tells when a verdict was reached.
    pub clock: Clock,
}

impl CheckerConfig {
    /// 256: on a home line more of them only delay each other, and each takes one of the process's files.
    pub const CONCURRENCY: usize = 256;
    /// Five seconds: who takes longer is of no use to a gateway.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// The usual limits.
    #[must_use]
    pub fn new(dialer: Dialer, judge: Option<JudgeUrl>, clock: Clock) -> Self {
        let (timeout, concurrency) = (Self::TIMEOUT, Self::CONCURRENCY);
        Self { dialer, judge, own_addresses: Vec::new(), timeout, concurrency, clock }
    }
}

/// Checks candidates. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Checker {
    config: Arc<CheckerConfig>,
}

/// A candidate that was checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The candidate; its anonymity is what was seen, if it was.
    pub candidate: Candidate,
    /// What the check came to.
    pub verdict: Verdict,
}

impl Checked {
    /// What may join the pool.
    ///
    /// # Errors
    /// The candidate and its verdict, when it did not pass.
    #[allow(clippy::result_large_err)] // The error is the value itself, as in `Verified::new`.
    pub fn into_verified(self) -> Result<Verified, (Candidate, Verdict)> {
        Verified::new(self.candidate, self.verdict)
    }
}

/// How far a check came, and what it saw.
struct Probed {
    passed: Level,
    latency: Option<Duration>,
    anonymity: Anonymity,
    fault: Option<Fault>,
}

impl Probed {
    fn passed(level: Level) -> Self {
        Self { passed: level, latency: None, anonymity: Anonymity::Unknown, fault: None }
    }

    fn failed(passed: Level, fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::passed(passed) }
    }
}

impl Checker {
    /// A checker.
    #[must_use]
    pub fn new(config: CheckerConfig) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Checks one candidate.
    pub async fn check(&self, mut candidate: Candidate, level: Level) -> Checked {
        let endpoint = &candidate.endpoint;
        let probed = match level {
            // A candidate is well formed: that is what makes it one.
            Level::Format => Probed::passed(Level::Format),
            Level::Tcp => self.connect(endpoint).await,
            Level::Http => self.ask_judge(endpoint).await,
        };
        if probed.anonymity != Anonymity::Unknown {
            candidate.anonymity = probed.anonymity;
        }
        let verdict = Verdict {
            level,
            passed: Some(probed.passed),
            fault: probed.fault,
            latency: probed.latency,
            at: self.config.clock.now(),
        };
        Checked { candidate, verdict }
    }

    /// Checks many, some at a time; they come back as they are done. Dropping the stream ends all checks.
    pub fn check_all<I>(&self, candidates: I, level: Level) -> impl Stream<Item = Checked> + use<I>
    where
        I: IntoIterator<Item = Candidate>,
    {
        let checker = self.clone();
        let concurrency = self.config.concurrency.max(1);
        futures_util::stream::iter(candidates)
            .map(move |candidate| {
                let checker = checker.clone();
                async move { checker.check(candidate, level).await }
            })
            .buffer_unordered(concurrency)
    }

    /// Asks the judge without any proxy: whether it is there at all, and which address of ours it sees. When it is not
    /// there, every candidate fails [`Level::Http`], and none of them is to blame.
    ///
    /// # Errors
    /// Why the judge gave no answer of its own, or that there is none.
    pub async fn ask_judge_directly(&self) -> Result<Sighting, Fault> {
        let judge = self.judge()?;
        let deadline = Instant::now() + self.config.timeout;
        probe::direct(judge, deadline).await
    }

    fn judge(&self) -> Result<&JudgeUrl, Fault> {
        let none = || Fault::new(Side::Ours, Stage::Select, Kind::Unsupported, "there is no judge to ask");
        self.config.judge.as_ref().ok_or_else(none)
    }

    async fn connect(&self, endpoint: &Endpoint) -> Probed {
        let started = Instant::now();
        match probe::dialled(started + self.config.timeout, self.config.dialer.connect(endpoint)).await {
            // Something accepted the connection. That it speaks no TLS is for the next level.
            Err(fault) if reached(&fault) == Level::Tcp => Probed::passed(Level::Tcp),
            Err(fault) => Probed::failed(Level::Format, fault),
            Ok(_) => Probed { latency: Some(started.elapsed()), ..Probed::passed(Level::Tcp) },
        }
    }

    async fn ask_judge(&self, endpoint: &Endpoint) -> Probed {
        let judge = match self.judge() {
            Ok(judge) => judge,
            Err(fault) => return Probed::failed(Level::Format, fault),
        };
        let deadline = Instant::now() + self.config.timeout;
        match probe::through(&self.config.dialer, endpoint, judge, deadline).await {
            Ok(answer) => Probed {
                passed: Level::Http,
                latency: Some(answer.latency),
                anonymity: anonymity::of(&answer.sighting, &self.config.own_addresses),
                fault: None,
            },
            Err(fault) => Probed::failed(reached(&fault), fault),
        }
    }
}

/// The deepest level that was passed before a fault.
fn reached(fault: &Fault) -> Level {
    match (fault.side, fault.stage) {
        // The judge's own name, too, is looked up before anything is dialled.
        (_, Stage::Select | Stage::Resolve | Stage::Connect) => Level::Format,
        // What a protocol cannot express is seen before dialling.
        (Side::Upstream, _) if fault.kind == Kind::Unsupported => Level::Format,
        (_, Stage::Tls | Stage::Auth | Stage::Handshake | Stage::Request | Stage::FirstByte | Stage::Body) => {
            Level::Tcp
        }
    }
}

#[cfg(test)]
mod tests;
