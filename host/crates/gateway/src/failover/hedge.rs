//! Hedging: when a member takes longer than it nearly always does, another one is asked too, and whoever answers first wins
//! (Dean, Barroso, "The Tail at Scale", 2013).
//!
//! "Nearly always" is the 95th percentile of its own answers, tunnels and requests apart; twice that of all answers at the
//! most, whoever gave them, so that one that is slow in more than one use of twenty is hedged too, and that of all answers while
//! it has none. So one request in twenty is hedged, and a budget sees to it that when everybody becomes slow it is not
//! all of them.
//!
//! Who is given up is neither a success nor a failure, but its percentile hears that it was slow; that of all does not, since
//! nobody had to wait for it: one member that has become slow would have all others waited for as long. A request of a session
//! is not hedged: it wants its one member. Nor is one that has the head of an answer, whose body a rule waits for.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use proxywhirl_core::Member;
use proxywhirl_core::live::Until;
use proxywhirl_core::tail::Tail;
use tokio::time::Instant;

use super::budget::RetryBudget;
use super::race::Turn;
use super::running::Running;
use super::{Failover, Repeat, Trial, Upstream};
use crate::config::HedgeConfig;

/// No member is given less: the timers of the runtime are as coarse.
const LEAST: Duration = Duration::from_millis(2);

/// How long a stranger may be silent while nobody was answered yet, and how much longer than three times as long as nearly
/// all answers take otherwise.
const STRANGER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));

/// What the hedges of all requests share.
#[derive(Debug)]
pub(crate) struct Hedging {
    always: AtomicBool,
    budget: RetryBudget,
    tunnels: Tail,
    answers: Tail,
}

/// How far a request has come with its hedge: it has one at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hedge {
    /// It may have one.
    Open,
    /// It gets none: it is not wanted, was used up, or nobody was left.
    Never,
    /// It was begun.
    Begun,
}

impl Hedging {
    pub(crate) fn new(config: HedgeConfig) -> Self {
        let HedgeConfig { always, budget } = config;
        let (always, budget) = (AtomicBool::new(always), RetryBudget::new(budget));
        Self { always, budget, tunnels: Tail::default(), answers: Tail::default() }
    }

    /// Changes who is hedged, and how many there may be; what was learned and counted stays.
    pub(crate) fn configure(&self, config: HedgeConfig) {
        let HedgeConfig { always, budget } = config;
        self.always.store(always, Relaxed);
        self.budget.configure(budget);
    }

    /// How long a member may take until another one is asked too; none while that is not known.
    fn delay(&self, member: &Member, until: Until) -> Option<Duration> {
        let delay = match (member.live.tail(until).get(), self.all(until).get()) {
            (Some(own), Some(all)) => Some(own.min(2 * all)),
            (own, all) => own.or(all),
        };
        delay.map(|delay| delay.max(LEAST))
    }

    fn all(&self, until: Until) -> &Tail {
        match until {
            Until::Tunnel => &self.tunnels,
            Until::Answer => &self.answers,
        }
    }

    /// Learns how long a member took.
    pub(super) fn answered(&self, trial: &Trial, until: Until, latency: Duration) {
        trial.member().live.tail(until).record(latency);
        self.all(until).record(latency);
    }

    /// How long a member may be silent of which nobody knows how long it takes: that follows from all others. None for one that is
    /// known, nor for an attempt that [waits longer](Failover::claims_patience).
    pub(super) fn patience_with_stranger(&self, trial: &Trial, until: Until) -> Option<Duration> {
        let is_stranger = !trial.is_patient && trial.member().live.latency().is_none();
        let (unknown, more) = STRANGER;
        is_stranger.then(|| self.all(until).so_far().map_or(unknown, |all| 3 * all + more))
    }
}

impl Repeat {
    /// What a request that may be sent so waits for, if others can be asked meanwhile.
    pub(super) const fn waits(self) -> Option<Until> {
        match self {
            Self::Dial => Some(Until::Tunnel),
            Self::Overtake | Self::Head => Some(Until::Answer),
            Self::Unseen | Self::AfterFault => None,
        }
    }

    /// The same, if it is learned how long that takes, so that it can be hedged.
    pub(super) fn measures(self) -> Option<Until> {
        self.waits().filter(|_| self != Self::Head)
    }
}

impl Failover<'_> {
    /// Whether an attempt waits for a stranger as long as for one that is known: each fourth time that it has failed, as whoever is only
    /// slow shows it then. One attempt does at a time, and one of a request, so that who is dead costs one client that.
    pub(super) fn claims_patience(&mut self, member: &Member) -> bool {
        let is_patient = self.repeat.waits().is_some() && !self.was_patient && member.live.claim_patience();
        self.was_patient |= is_patient;
        is_patient
    }

    /// Whether a request may be hedged at all.
    pub(super) fn hedge_of(&self, repeat: Repeat) -> Hedge {
        let is_wanted = self.wanted.hedge.unwrap_or(self.hedging.always.load(Relaxed));
        let may_be = is_wanted && self.wanted.session.is_none() && repeat.measures().is_some();
        if may_be { Hedge::Open } else { Hedge::Never }
    }

    /// When another member is asked as well.
    pub(super) fn hedge_at<A>(&self, overtaken: Option<&Running<A>>, current: Option<&Running<A>>) -> Option<Instant> {
        let running =
            current.filter(|_| self.hedge == Hedge::Open && overtaken.is_none() && !self.alarms.is_holding())?;
        let trial = running.trial()?;
        let delay = self.hedging.delay(trial.member(), self.repeat.measures()?)?;
        Some(trial.began + delay)
    }

    /// Begins the hedge, within the budget.
    pub(super) async fn begin_hedge<F, A>(&mut self, attempt: &F) -> Option<Running<A>>
    where
        F: Fn(Upstream) -> A,
        A: Future,
    {
        // The answer has begun since it was said when.
        if self.alarms.is_holding() {
            return None;
        }
        self.hedge = Hedge::Never;
        let number = self.number()?;
        if !self.hedging.budget.withdraw(self.newest_request(), self.target, Instant::now()) {
            self.engine.hedge_denied();
            return None;
        }
        let Some(running) = self.begin(number, true, attempt, Turn::Now).await else {
            self.hedging.budget.give_back(self.target);
            return None;
        };
        self.hedge = Hedge::Begun;
        Some(running)
    }

    /// Counts a hedge once it is known what came of it.
    pub(super) fn count_hedge(&mut self, winner: Option<&Trial>) {
        if self.hedge == Hedge::Begun {
            self.hedge = Hedge::Never;
            self.engine.hedged(winner.is_some_and(|trial| trial.hedge));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
