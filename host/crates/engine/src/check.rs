//! Checks: whether a candidate works, how far, and how fast.
//!
//! A check goes from level to level and stops at the first failure: how far it came is the verdict. Up to [`Level::Http`] it
//! costs one connection, and each of [`Level::Tls`] and [`Level::Target`] one more. From [`Level::Http`] on it asks a judge
//! ([`judge`]) through the proxy and wants the judge's own answer, because a proxy that answers 200 to everything is common
//! and useless.
//!
//! Invariants: each connection of a check ends within the timeout (and a tenth of a second); a stream of checks holds at most
//! as many under way as it was told; a failure is a verdict, never an error; nobody is declared dead for a judge that does
//! not answer.

pub mod anonymity;
mod batch;
pub mod judge;
mod judges;
mod probe;
mod protocol;
pub mod schedule;
pub mod target;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::endpoint::template::Filling;
use proxywhirl_core::{Anonymity, Candidate, Endpoint, Fault, Kind, Level, Scheme, Side, Stage, Verdict, Verified};
use proxywhirl_net::{Dialer, Target};
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::Clock;
use crate::ingest::VOUCHED;
use crate::logins::Logins;
pub use batch::Checks;
use judge::{JudgeUrl, Sighting};
use judges::{Judges, Known, Seat};
use target::TargetCheck;

/// How often a check is made anew because its judge went down or was started anew meanwhile.
const RETRIALS: usize = 3;

/// What checks need, and what they may cost.
#[derive(Debug, Clone)]
pub struct CheckerConfig {
    /// Dials. Its connect timeout should not be longer than `timeout`: its faults say more.
    pub dialer: Dialer,
    /// Whether proxies for which the user has not vouched (by the tag `source:user`) may have private addresses.
    pub allow_private: bool,
    /// Whom to ask through a proxy; without one, no candidate passes [`Level::Http`].
    pub judges: Vec<JudgeUrl>,
    /// Addresses of ours besides those that judges see without a proxy.
    pub own_addresses: Vec<IpAddr>,
    /// The least anonymity that passes [`Level::Anonymity`].
    pub anonymity: Anonymity,
    /// The user's own URL, for [`Level::Target`].
    pub target: Option<TargetCheck>,
    /// Whom to believe in TLS with the target.
    pub tls: Arc<ClientConfig>,
    /// Whether a proxy whose protocol its source only guessed is tried in the others when it does not speak that one.
    pub detect: bool,
    /// The time for one connection of a check.
    pub timeout: Duration,
    /// How many checks run at the same time; at least 1.
    pub concurrency: usize,
    /// How many of them with one host; at least 1. Hosts of this machine are not counted.
    pub per_host: usize,
    /// Tells when a verdict was reached.
    pub clock: Clock,
    /// Logins in place of those that candidates come with.
    pub logins: Arc<Logins>,
}

impl CheckerConfig {
    /// 256: on a home line more of them only delay each other, and each takes one of the process's files.
    pub const CONCURRENCY: usize = 256;
    /// Eight: a vendor counts the connections of a user, and a small proxy has few.
    pub const PER_HOST: usize = 8;
    /// Five seconds: who takes longer is of no use to a gateway.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// The usual limits.
    #[must_use]
    pub fn new(dialer: Dialer, judges: Vec<JudgeUrl>, tls: Arc<ClientConfig>, clock: Clock) -> Self {
        Self {
            dialer,
            allow_private: false,
            judges,
            own_addresses: Vec::new(),
            anonymity: Anonymity::Unknown,
            target: None,
            tls,
            detect: true,
            timeout: Self::TIMEOUT,
            concurrency: Self::CONCURRENCY,
            per_host: Self::PER_HOST,
            clock,
            logins: Arc::default(),
        }
    }
}

/// Checks candidates. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Checker {
    config: Arc<CheckerConfig>,
    /// For strangers.
    strict: Dialer,
    judges: Arc<Judges>,
}

/// A proxy that is being checked, and who dials it.
#[derive(Clone, Copy)]
struct Subject<'a> {
    endpoint: &'a Endpoint,
    dialer: &'a Dialer,
}

/// A candidate that was checked.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The candidate; its protocol and anonymity are what was found out, if they were.
    pub candidate: Candidate,
    /// What the check came to.
    pub verdict: Verdict,
    is_intercepted: bool,
}

impl Checked {
    /// Whether it failed because somebody answers TLS in the place of the judge, which has the certificate that it is known by.
    #[must_use]
    pub const fn is_intercepted(&self) -> bool {
        self.is_intercepted
    }

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
#[derive(Debug, Default)]
struct Seen {
    passed: Option<Level>,
    latency: Option<Duration>,
    protocol: Option<Scheme>,
    anonymity: Anonymity,
    exit: Option<IpAddr>,
    is_intercepted: bool,
}

/// A failure, and whether a judge may be to blame for it.
struct Failed {
    fault: Fault,
    is_judged: bool,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, is_judged: false }
    }
}

impl Checker {
    /// A checker. It has asked no judge yet.
    #[must_use]
    pub fn new(config: CheckerConfig) -> Self {
        let judges = Arc::new(Judges::new(config.judges.clone(), config.timeout));
        Self { strict: config.dialer.public_only(), config: Arc::new(config), judges }
    }

    /// Asks the judges without any proxy: whether one of them is there at all, and which addresses of ours they see.
    ///
    /// # Errors
    /// Why none of them gave an answer of its own, or that there is none.
    pub async fn meet_judges(&self) -> Result<(), Fault> {
        self.judges.meet().await
    }

    /// The same, with another number of checks at the same time.
    #[must_use]
    pub fn with_concurrency(&self, concurrency: usize) -> Self {
        let config = CheckerConfig { concurrency, ..CheckerConfig::clone(&self.config) };
        Self { config: Arc::new(config), judges: Arc::clone(&self.judges), strict: self.strict.clone() }
    }

    /// The same, with logins in place of those that candidates come with.
    #[must_use]
    pub fn with_logins(&self, logins: Arc<Logins>) -> Self {
        let config = CheckerConfig { logins, ..CheckerConfig::clone(&self.config) };
        Self { config: Arc::new(config), judges: Arc::clone(&self.judges), strict: self.strict.clone() }
    }

    /// The protocols that a check may find a candidate to speak.
    pub(crate) fn may_find(&self, scheme: Scheme, is_guess: bool) -> impl Iterator<Item = Scheme> {
        let is_sought = is_guess && self.config.detect;
        std::iter::once(scheme).chain(protocol::others(scheme).filter(move |_| is_sought))
    }

    /// Checks one candidate. While no judge answers, it waits.
    pub async fn check(&self, mut candidate: Candidate, level: Level) -> Checked {
        let is_vouched = self.config.allow_private || candidate.tags.contains(VOUCHED);
        let dialer = if is_vouched { &self.config.dialer } else { &self.strict };
        let mut filled = self.dialled(&candidate);
        let endpoint = filled.as_ref().unwrap_or(&candidate.endpoint);
        let (mut seen, mut result) = self.walk(Subject { endpoint, dialer }, level).await;
        if candidate.is_guess
            && self.config.detect
            && let Err(fault) = &result
            && seen.passed == Some(Level::Tcp)
            && protocol::looks_foreign(fault)
            && let Some(scheme) = self.detect(Subject { endpoint, dialer }).await
        {
            candidate.endpoint.scheme = scheme;
            filled = filled.map(|endpoint| Endpoint { scheme, ..endpoint });
            let endpoint = filled.as_ref().unwrap_or(&candidate.endpoint);
            (seen, result) = self.walk(Subject { endpoint, dialer }, level).await;
        }
        if result.as_ref().is_err_and(|fault| fault.kind == Kind::Unauthorized) {
            self.config.logins.refused(&candidate.endpoint, &candidate.tags);
        }
        if seen.protocol.is_some() {
            candidate.is_guess = false;
        }
        if seen.anonymity != Anonymity::Unknown {
            candidate.anonymity = seen.anonymity;
        }
        let verdict = Verdict {
            level,
            passed: seen.passed,
            fault: result.err(),
            latency: seen.latency,
            protocol: seen.protocol,
            anonymity: seen.anonymity,
            exit: seen.exit,
            at: self.config.clock.now(),
        };
        Checked { candidate, verdict, is_intercepted: seen.is_intercepted }
    }

    /// What a check dials, where that is not the candidate's own endpoint: with another login, or, where requests fill in the
    /// login, with one of a session that nobody else has.
    fn dialled(&self, candidate: &Candidate) -> Option<Endpoint> {
        let replaced = self.config.logins.replaced(&candidate.endpoint, &candidate.tags);
        let replaced = replaced.map(|replaced| replaced.endpoint);
        let endpoint = replaced.as_ref().unwrap_or(&candidate.endpoint);
        if !endpoint.is_template() {
            return replaced;
        }
        let (session, seed) = (Some(fastrand::u64(..)), fastrand::u64(..));
        Some(endpoint.filled(&Filling { session, seed, ..Filling::default() }))
    }

    /// Checks many, some at a time; they come back as they are done. Dropping the stream ends all checks.
    pub fn check_all<I>(&self, candidates: I, level: Level) -> Checks<I::IntoIter>
    where
        I: IntoIterator<Item = Candidate>,
    {
        Checks::new(self.clone(), candidates.into_iter(), level)
    }

    /// Goes through the levels. When a judge went down on the way, or has another certificate by now, it begins again.
    async fn walk(&self, subject: Subject<'_>, level: Level) -> (Seen, Result<(), Fault>) {
        let mut last = (Seen::default(), Ok(()));
        for _ in 0..=RETRIALS {
            let began = Instant::now();
            let judge = if level >= Level::Http { self.judges.available().await } else { None };
            let mut seen = Seen { passed: Some(Level::Format), ..Seen::default() };
            let result = self.levels(subject, level, judge.as_ref(), &mut seen).await;
            let is_over = match (&result, &judge) {
                (Err(failed), Some((seat, known))) if has_another_certificate(seen.passed, &failed.fault) => {
                    seen.is_intercepted = self.judges.is_known_by(seat, known).await;
                    seen.is_intercepted
                }
                (Err(failed), Some((seat, _))) if failed.is_judged => self.judges.is_innocent(seat, began).await,
                _ => true,
            };
            last = (seen, result.map_err(|failed| failed.fault));
            if is_over {
                break;
            }
        }
        last
    }

    async fn levels(
        &self,
        subject: Subject<'_>,
        level: Level,
        judge: Option<&(&Seat, Arc<Known>)>,
        seen: &mut Seen,
    ) -> Result<(), Failed> {
        if level == Level::Format {
            // A candidate is well formed: that is what makes it one.
            return Ok(());
        }
        if level == Level::Dns {
            subject.dialer.resolve(subject.endpoint).await?;
            seen.passed = Some(Level::Dns);
            return Ok(());
        }
        if level == Level::Tcp {
            return Ok(self.connect(subject, seen).await?);
        }
        if level == Level::Protocol {
            let asked =
                protocol::speaks(subject.dialer, subject.endpoint, &self.question(subject.endpoint), self.deadline())
                    .await;
            let asked = asked.inspect_err(|fault| seen.passed = Some(reached(fault)));
            return Ok(asked.map(|()| seen.speaks(subject.endpoint.scheme))?);
        }
        let Some((seat, known)) = judge else {
            return Err(Fault::new(Side::Ours, Stage::Select, Kind::Unsupported, "there is no judge to ask").into());
        };
        self.ask_judge(subject, seat, seen).await?;
        if level >= Level::Tls {
            self.ask_in_tls(subject, seat, known, seen).await?;
        }
        if level >= Level::Anonymity {
            self.compare_anonymity(seen)?;
        }
        if level >= Level::Target {
            self.visit(subject, seen).await?;
        }
        Ok(())
    }

    async fn connect(&self, subject: Subject<'_>, seen: &mut Seen) -> Result<(), Fault> {
        let started = Instant::now();
        match probe::dialled(self.deadline(), subject.dialer.connect(subject.endpoint)).await {
            // Something accepted the connection. That it speaks no TLS is for the next level.
            Err(fault) if reached(&fault) >= Level::Tcp => {}
            Err(fault) => {
                seen.passed = Some(reached(&fault));
                return Err(fault);
            }
            Ok(_) => seen.latency = Some(started.elapsed()),
        }
        seen.passed = Some(Level::Tcp);
        Ok(())
    }

    async fn ask_judge(&self, subject: Subject<'_>, seat: &Seat, seen: &mut Seen) -> Result<(), Failed> {
        match probe::through(subject.dialer, subject.endpoint, &seat.url, self.deadline()).await {
            Ok(answer) => {
                self.judges.heard(seat);
                seen.speaks(subject.endpoint.scheme);
                seen.passed = Some(Level::Http);
                seen.latency = Some(answer.latency);
                self.look_at(&answer.sighting, seen);
                Ok(())
            }
            Err(fault) => {
                seen.passed = Some(reached(&fault));
                if seen.passed == Some(Level::Protocol) {
                    seen.protocol = Some(subject.endpoint.scheme);
                }
                let is_judged = may_be_the_origins(&fault);
                Err(Failed { fault, is_judged })
            }
        }
    }

    async fn ask_in_tls(
        &self,
        subject: Subject<'_>,
        seat: &Seat,
        known: &Known,
        seen: &mut Seen,
    ) -> Result<(), Failed> {
        let Some(tls) = &known.tls else {
            let words = format!("the judge {} serves no TLS", seat.url);
            return Err(Fault::new(Side::Ours, Stage::Select, Kind::Unsupported, words).into());
        };
        match probe::through_tls(subject.dialer, subject.endpoint, &seat.url, tls, self.deadline()).await {
            Ok(answer) => {
                self.judges.heard(seat);
                seen.passed = Some(Level::Tls);
                // In TLS a proxy adds nothing: what it shows, it showed in the open.
                seen.exit = seen.exit.or(Some(answer.sighting.peer));
                Ok(())
            }
            Err(fault) => {
                let is_judged = may_be_the_origins(&fault);
                Err(Failed { fault, is_judged })
            }
        }
    }

    fn compare_anonymity(&self, seen: &mut Seen) -> Result<(), Fault> {
        let wanted = self.config.anonymity;
        if seen.anonymity < wanted {
            let words = format!("it is {}, and {} was asked for", seen.anonymity.as_str(), wanted.as_str());
            return Err(Fault::new(Side::Upstream, Stage::Body, Kind::Unexpected, words));
        }
        seen.passed = Some(Level::Anonymity);
        Ok(())
    }

    async fn visit(&self, subject: Subject<'_>, seen: &mut Seen) -> Result<(), Fault> {
        let none = || Fault::new(Side::Ours, Stage::Select, Kind::Unsupported, "there is no target to visit");
        let target = self.config.target.as_ref().ok_or_else(none)?;
        let reply = target.run(subject.dialer, subject.endpoint, &self.config.tls, self.deadline()).await?;
        seen.passed = Some(Level::Target);
        seen.latency = Some(reply.latency);
        Ok(())
    }

    fn look_at(&self, sighting: &Sighting, seen: &mut Seen) {
        let mut own = self.judges.own_addresses();
        own.extend(&self.config.own_addresses);
        seen.anonymity = anonymity::of(sighting, &own);
        seen.exit = Some(sighting.peer);
    }

    /// The protocol that a proxy speaks which was taken for another one.
    async fn detect(&self, subject: Subject<'_>) -> Option<Scheme> {
        protocol::detect(subject.dialer, subject.endpoint, &self.question(subject.endpoint), self.deadline()).await
    }

    /// Where a proxy is asked to go when only its protocol counts: to the judge, or to itself, which it reaches if anything.
    fn question(&self, endpoint: &Endpoint) -> Target {
        let judge = self.config.judges.first().map(|judge| judge.target().clone());
        judge.unwrap_or_else(|| Target { host: endpoint.host.clone(), port: endpoint.port })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.timeout
    }
}

impl Seen {
    fn speaks(&mut self, scheme: Scheme) {
        self.protocol = Some(scheme);
        self.passed = Some(Level::Protocol);
    }
}

/// The deepest level that was passed before a fault on the way to a judge.
fn reached(fault: &Fault) -> Level {
    match (fault.side, fault.stage, fault.kind) {
        (_, Stage::Select | Stage::Resolve, _) => Level::Format,
        (_, Stage::Connect, _) => Level::Dns,
        // The protocol cannot name the judge: nothing was dialled.
        (Side::Upstream, _, Kind::Unsupported) => Level::Format,
        // It said no, in its protocol.
        (
            _,
            Stage::Auth | Stage::Handshake | Stage::FirstByte,
            Kind::Denied | Kind::Unauthorized | Kind::Unexpected,
        ) => Level::Protocol,
        (_, Stage::Body, _) => Level::Protocol,
        (_, Stage::Tls | Stage::Auth | Stage::Handshake | Stage::Request | Stage::FirstByte, _) => Level::Tcp,
    }
}

/// Whether the certificate was not the judge's: somebody answers TLS in its place, or it has another one by now.
fn has_another_certificate(passed: Option<Level>, fault: &Fault) -> bool {
    passed == Some(Level::Http) && fault.kind == Kind::Certificate
}

/// Whether a failure looks the same when it is the origin that does not answer.
const fn may_be_the_origins(fault: &Fault) -> bool {
    matches!(fault.stage, Stage::Handshake | Stage::Tls | Stage::Request | Stage::FirstByte | Stage::Body)
        && matches!(
            fault.kind,
            Kind::Denied | Kind::Timeout | Kind::Closed | Kind::Reset | Kind::Unexpected | Kind::Unreachable
        )
}

#[cfg(test)]
mod tests;
