//! What came of uses of members, and of requests: it is told, remembered and counted, and changes what is known of the members.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use proxywhirl_core::event::Topic;
use proxywhirl_core::fault::{Fault, Hurt};
use proxywhirl_core::lease::Lease;
use proxywhirl_core::plugin::Observation;
use proxywhirl_core::shared::{Finding, Found};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Level, Member, MemberId, Outcome, Timestamp, Verdict};
use tokio_util::sync::CancellationToken;

use super::{Attempt, Completion, Engine, direct};
use crate::check::Checked;
use crate::events::{CheckPayload, CompletionPayload, FaultPayload, MemberPayload, milliseconds};
use crate::measures::Denial;
use crate::strategy;
use crate::work::Crew;

impl Engine {
    /// Counts an attempt that was not begun, because too many before it were in vain.
    pub fn retry_denied(&self) {
        self.measures.retry_denied();
    }

    /// Counts a hedge that was begun: whether it was answered before the attempt that it was begun for.
    pub fn hedged(&self, won: bool) {
        self.measures.hedged(won);
    }

    /// Counts a hedge that was not begun, because there were too many.
    pub fn hedge_denied(&self) {
        self.measures.hedge_denied();
    }

    /// Counts a client or a request that was refused before any member was asked.
    pub fn denied(&self, why: Denial) {
        self.measures.turned_away(why);
    }

    /// Gives a lease back with what came of it.
    pub fn settle(&self, mut lease: Lease, outcome: &Outcome, attempt: &Attempt<'_>) {
        self.report(&mut lease, outcome, attempt);
    }

    /// Gives the lease back of an attempt that came to nothing, and says nothing of its member.
    pub fn let_go(&self, lease: Lease, attempt: &Attempt<'_>) {
        self.measures.attempt_ended();
        self.settle(lease, &Outcome::Neutral, attempt);
    }

    /// Says what came of a lease that is still in use.
    pub fn report(&self, lease: &mut Lease, outcome: &Outcome, attempt: &Attempt<'_>) {
        let now = self.clock.now();
        match outcome {
            Outcome::Success { latency } => {
                self.measures.attempt_succeeded(*latency);
                self.answered(*latency, attempt);
                self.tell_success(lease, *latency, attempt);
            }
            Outcome::Failure(fault) => {
                self.measures.attempt_failed();
                self.history.failed(attempt, fault, true, now);
                self.tell_failure(lease, fault, attempt, true);
            }
            Outcome::Neutral => self.history.ended(attempt, now),
        }
        self.record(lease, outcome, Some(attempt), now);
    }

    /// Remembers that an attempt was answered. What comes of it is [concluded](Engine::conclude), and told, when its body is through.
    pub fn answered(&self, latency: Duration, attempt: &Attempt<'_>) {
        self.history.answered(attempt, latency, self.clock.now());
    }

    fn tell_success(&self, lease: &Lease, latency: Duration, attempt: &Attempt<'_>) {
        self.tell(Topic::RequestSuccess, lease, attempt, |payload| {
            payload.latency_ms = Some(milliseconds(latency));
        });
    }

    fn tell_failure(&self, lease: &Lease, fault: &Fault, attempt: &Attempt<'_>, counted: bool) {
        self.tell(Topic::RequestFailure, lease, attempt, |payload| {
            payload.fault = Some(FaultPayload::from(fault));
            payload.counted = Some(counted);
        });
    }

    /// Whether an answer that proxies make up, and that comes a second time, now from this member, is the origin's.
    pub fn confirms(&self, target: &str, member: &Member) -> bool {
        self.sites.confirms(target, member, self.clock.now())
    }

    /// Whether a member has served most of what it was asked for at the site of a target.
    pub fn does_well(&self, target: &str, member: &Member) -> bool {
        self.sites.does_well(target, member.id)
    }

    /// Whether a member is passed over at the site of a target, for as long as it has not shown that it does well there again.
    pub fn is_passed_over(&self, target: &str, member: &Member) -> bool {
        self.sites.passed_over(target).is_some_and(|passed| passed.has(member.id))
    }

    /// Tells of an attempt whose answer the client got, although the member may have made it up, with what is the member's fault if it
    /// has. It does not count against the member, or not [yet](Engine::doubt).
    pub fn excuse_answer(&self, lease: &Lease, latency: Duration, fault: &Fault, attempt: &Attempt<'_>) {
        self.measures.attempt_excused();
        self.answered(latency, attempt);
        self.tell_failure(lease, fault, attempt, false);
    }

    /// Gives the lease back of an attempt that was [answered](Engine::answered), and went well to its end.
    pub fn conclude(&self, mut lease: Lease, latency: Duration, attempt: &Attempt<'_>) {
        if !lease.is_reported() {
            self.measures.attempt_succeeded(latency);
            self.tell_success(&lease, latency, attempt);
        }
        self.record(&mut lease, &Outcome::Success { latency }, Some(attempt), self.clock.now());
    }

    /// Counts a failure against the member that was [excused](Engine::excuse) at first, and gives the lease back.
    pub fn convict(&self, mut lease: Lease, fault: Fault, attempt: &Attempt<'_>) {
        self.measures.attempt_convicted();
        self.history.convicted(attempt);
        self.record(&mut lease, &Outcome::Failure(fault), Some(attempt), self.clock.now());
    }

    /// Gives the lease back of a use that failed, by the fault of the member or of the origin, when nobody else was asked. It was
    /// [excused](Engine::excuse); it counts when the member has failed at this origin before, and others have served it since.
    pub fn doubt(&self, lease: Lease, fault: Fault, attempt: &Attempt<'_>) {
        if self.sites.doubt(attempt.target, lease.member().id, self.clock.now()) {
            self.convict(lease, fault, attempt);
        } else {
            self.settle(lease, &Outcome::Neutral, attempt);
        }
    }

    /// The same when nobody else could be asked: it counts also when the member has failed so at several sites, has served nothing
    /// since, and others have in between, wherever it was.
    pub fn doubt_across(&self, lease: Lease, fault: Fault, attempt: &Attempt<'_>) {
        let (member, now) = (lease.member().id, self.clock.now());
        let fails_here = self.sites.doubt(attempt.target, member, now);
        if self.sites.doubt_across(attempt.target, member, now) || fails_here {
            self.convict(lease, fault, attempt);
        } else {
            self.settle(lease, &Outcome::Neutral, attempt);
        }
    }

    /// Whether a member has failed at several sites, with what could be asked of nobody else, and has served nothing since.
    pub fn suspects(&self, member: &Member) -> bool {
        self.sites.suspects(member.id, self.clock.now())
    }

    /// Tells of a failure that does not count against the member, or not yet: see [`Hurt`].
    pub fn excuse(&self, lease: &Lease, fault: &Fault, attempt: &Attempt<'_>) {
        debug_assert!(fault.consequence().hurt != Hurt::Yes);
        self.measures.attempt_excused();
        self.history.failed(attempt, fault, false, self.clock.now());
        self.tell_failure(lease, fault, attempt, false);
    }

    /// Tells that a request is over.
    pub fn complete(&self, completion: &Completion<'_>) {
        self.measures.request_over(completion.protocol, completion.fault.is_none(), completion.duration);
        self.history.over(completion, || self.clock.now());
        if !self.bus.hears(Topic::RequestComplete) {
            return;
        }
        self.bus.publish(Topic::RequestComplete, self.clock.now(), || CompletionPayload {
            request: completion.request,
            protocol: completion.protocol,
            method: completion.method,
            target: completion.target,
            user: completion.user.map(|user| &**user),
            client: completion.client,
            listener: completion.listener.map(|listener| &**listener),
            status: completion.status,
            attempts: completion.attempts,
            proxy: completion.upstream.map(ToString::to_string),
            duration_ms: milliseconds(completion.duration),
            fault: completion.fault.map(FaultPayload::from),
        });
    }

    /// Lets a verdict about a member count as one use of it. Nothing happens while its breaker lets nobody through, unless it is in
    /// [quarantine](Engine::quarantine) and the verdict is good.
    pub fn probed(&self, member: &Arc<Member>, verdict: &Verdict) {
        let now = self.clock.now();
        if verdict.is_alive() {
            self.release(member, now);
        }
        let Some(mut lease) = Lease::take_uncounted(Arc::clone(member), &self.breaker.load(), now) else {
            return;
        };
        let outcome = match (&verdict.fault, verdict.latency) {
            (Some(fault), _) => Outcome::Failure(fault.clone()),
            (None, Some(latency)) => Outcome::Success { latency },
            (None, None) => Outcome::Neutral,
        };
        self.record(&mut lease, &outcome, None, now);
    }

    /// Keeps requests away from a member until then, or until a check of it passes, here or in another gateway.
    pub fn quarantine(&self, member: &Member, until: Timestamp) {
        if member.live.quarantine(until) {
            self.breaker_changed(member, self.clock.now());
        }
    }

    fn release(&self, member: &Member, now: Timestamp) {
        if member.live.release(now) {
            self.breaker_changed(member, now);
        }
    }

    /// Lets what other gateways have found count for the members here: for breaker and latency, and as no use.
    pub(super) fn heard(&self, found: &[Found]) {
        let findings: HashMap<MemberId, Vec<Finding>> = found.iter().fold(HashMap::new(), |mut all, found| {
            all.entry(found.member).or_default().push(found.finding);
            all
        });
        let (snapshot, now, breaker) = (self.snapshot.load(), self.clock.now(), self.breaker.load());
        for member in snapshot.iter() {
            for finding in findings.get(&member.id).into_iter().flatten() {
                match finding {
                    Finding::Alive(_) => self.release(member, now),
                    Finding::Intercepts(quarantine) => self.quarantine(member, now + *quarantine),
                    Finding::Dead => {}
                }
                if member.live.hear(*finding, &breaker, now) {
                    self.breaker_changed(member, now);
                }
            }
        }
    }

    fn breaker_changed(&self, member: &Member, now: Timestamp) {
        self.measures.breaker_changed();
        self.room.stir();
        self.bus.publish(Topic::BreakerChanged, now, || MemberPayload::from(member));
    }

    /// Tells of a check.
    pub fn tell_checked(&self, checked: &Checked) {
        let verdict = &checked.verdict;
        self.measures.checked(verdict.is_alive());
        self.bus.publish(Topic::HealthCheck, verdict.at, || CheckPayload {
            proxy: checked.candidate.endpoint.to_string(),
            level: verdict.level.as_str(),
            passed: verdict.passed.map(Level::as_str),
            alive: verdict.is_alive(),
            latency_ms: verdict.latency.map(milliseconds),
            anonymity: verdict.anonymity.as_str(),
            exit: verdict.exit,
            fault: verdict.fault.as_ref().map(FaultPayload::from),
        });
    }

    /// Takes what came of a use: of a check, when it was for no attempt. What was taken first counts.
    fn record(&self, lease: &mut Lease, outcome: &Outcome, attempt: Option<&Attempt<'_>>, now: Timestamp) {
        if lease.is_reported() {
            return;
        }
        if lease.member().endpoint.is_direct() {
            return direct::record(lease, outcome, now);
        }
        self.observe(lease, outcome, attempt.map_or(Symbol::NONE, |attempt| attempt.site));
        if lease.report(outcome, now) {
            self.breaker_changed(lease.member(), now);
        }
        if let Some(attempt) = attempt {
            let shows_nothing = attempt.is_unproven && matches!(outcome, Outcome::Success { .. });
            let there = if shows_nothing { &Outcome::Neutral } else { outcome };
            if self.sites.record(attempt.target, lease.member(), there, (lease.taken(), now)) {
                self.room.stir();
            }
        }
    }

    fn observe(&self, lease: &Lease, outcome: &Outcome, site: Symbol) {
        let (success, latency) = match outcome {
            Outcome::Success { latency } => (true, strategy::short_micros(*latency)),
            Outcome::Failure(_) => (false, 0),
            Outcome::Neutral => return,
        };
        self.selector.observed(Observation { slot: lease.member().slot, site, success, latency });
    }
}

/// Lets what other gateways find count, until it is told to stop.
pub(super) async fn hear(crew: Arc<Crew>, engine: Weak<Engine>, stop: CancellationToken) {
    loop {
        let found = tokio::select! {
            () = stop.cancelled() => return,
            found = crew.heard() => found,
        };
        let Some(engine) = engine.upgrade() else { return };
        engine.heard(&found);
    }
}
