//! Circuit breaker: keeps requests away from a member that fails again and again.
//!
//! It opens after a number of faults in a row, because a member that has died is to be left at once; and at a low rate of
//! success among the last outcomes, because a run misses a partial outage. One that is known to fail now and then needs a
//! longer run, one that would come about by chance once in a million requests: a member that fails every fifth time is slow
//! to be given up, and does not flap.
//!
//! It lets one probe through when its cooldown is over (before it, and several, where nobody else is left:
//! [`Breaker::relent`]), and closes when enough probes in a row succeeded; a failed probe opens it for twice as long, up to
//! a limit. What it knew of the rate it then forgets: whoever comes back is new. See Nygard, "Release It!", and the circuit
//! breaker of linkerd.
//!
//! What no fault of a request shows, such as a member that reads along, has it [quarantined](Breaker::quarantine) from outside.
//!
//! Only the member that was chosen is asked to [`Breaker::admit`]: asking all of them would use up
//! the probe of those that are then not chosen, and they would never recover.

use std::time::Duration;

use crate::time::Timestamp;
use crate::window::Window;

/// Chances that a run of faults comes about without anything having changed: one in so many requests.
const SURPRISE: f64 = 1e6;

/// Outcomes before the run from which a rate of faults is told; below that, every member is taken for a good one.
const KNOWN: u32 = 20;

/// A run is never longer than so many times the least.
const PATIENCE: u32 = 4;

/// When a breaker opens and closes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerConfig {
    /// Faults in a row that open it; at least 1. Up to four times as many for a member that fails now and then.
    pub failures: u32,
    /// The share of the last outcomes that must have gone well, from 0 to 1: it opens below that, once there are
    /// [`BreakerConfig::samples`] of them. 0 for never.
    pub min_success: f32,
    /// Outcomes from which that share is told, 1 to 100.
    pub samples: u32,
    /// How long it stays open the first time.
    pub cooldown: Duration,
    /// How long it stays open at the most: each failed probe doubles the cooldown.
    pub cooldown_max: Duration,
    /// Successes in a row that close it again; at least 1.
    pub successes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            min_success: 0.3,
            samples: 30,
            cooldown: Duration::from_secs(5),
            cooldown_max: Duration::from_secs(60),
            successes: 2,
        }
    }
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything; this many faults came in a row.
    Closed {
        /// Faults since the last success.
        faults: u32,
    },
    /// Nothing until the time is over.
    Open {
        /// When the first probe may go.
        until: Timestamp,
        /// How long it is open this time; where it is in [quarantine](Breaker::quarantine), how long it was open last.
        cooldown: Duration,
    },
    /// One probe at a time, unless it [relents](Breaker::relent).
    HalfOpen {
        /// Whether a probe is under way that nobody else may go beside.
        probing: bool,
        /// Probes that succeeded in a row.
        successes: u32,
        /// How long it was open before.
        cooldown: Duration,
    },
}

/// How ready a breaker is to let a probe through before its time, the readiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// It lets everything through.
    Closed,
    /// Its last probe went well.
    Answered,
    /// Its next probe is due then.
    Due(Timestamp),
    /// A probe is under way, and none has gone well.
    Probing,
}

/// What happens to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Its member was chosen for a request.
    Admit,
    /// A request that was admitted went well.
    Success,
    /// A request that was admitted failed by the member's fault.
    Failure,
    /// A request that was admitted ended, and says nothing about the member.
    Neutral,
}

/// The breaker of one member. In 32 bytes, because a million members have one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breaker {
    /// When the first probe may go, or might have gone, after it opened last. What was admitted before that says
    /// nothing about the member as it is now, however late it ends.
    since: Timestamp,
    /// The last outcomes since it closed last.
    window: Window,
    /// In the upper two bits the [`Phase`]; below the faults in a row while it is closed, the successes while it is
    /// half-open, and 1 while it is open in quarantine.
    standing: u32,
    /// How long it is open, or was, in milliseconds.
    cooldown: u32,
}

/// The state, without its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open,
    HalfOpen,
    Probing,
}

/// Bits for what is counted in a row: more than a billion are not told apart.
const COUNT_BITS: u32 = 30;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;

/// How it stands in quarantine: open, with 1 in place of a count.
const QUARANTINED: u32 = (Phase::Open as u32) << COUNT_BITS | 1;

impl Breaker {
    /// A closed one, to which nothing that was admitted before is news.
    #[must_use]
    pub fn closed_since(now: Timestamp) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// What it lets through.
    #[must_use]
    pub const fn state(&self) -> State {
        let cooldown = Duration::from_millis(self.cooldown as u64);
        let count = self.standing & COUNT_MAX;
        match self.phase() {
            Phase::Closed => State::Closed { faults: count },
            Phase::Open => State::Open { until: self.since, cooldown },
            Phase::HalfOpen => State::HalfOpen { probing: false, successes: count, cooldown },
            Phase::Probing => State::HalfOpen { probing: true, successes: count, cooldown },
        }
    }

    const fn phase(&self) -> Phase {
        match self.standing >> COUNT_BITS {
            0 => Phase::Closed,
            1 => Phase::Open,
            2 => Phase::HalfOpen,
            _ => Phase::Probing,
        }
    }

    fn enter(&mut self, state: State) {
        let (phase, count, cooldown) = match state {
            State::Closed { faults } => (Phase::Closed, faults, Duration::ZERO),
            State::Open { until, cooldown } => {
                self.since = until;
                (Phase::Open, 0, cooldown)
            }
            State::HalfOpen { probing: false, successes, cooldown } => (Phase::HalfOpen, successes, cooldown),
            State::HalfOpen { probing: true, successes, cooldown } => (Phase::Probing, successes, cooldown),
        };
        self.standing = (phase as u32) << COUNT_BITS | count.min(COUNT_MAX);
        self.cooldown = millis(cooldown);
    }

    /// The last outcomes since it closed last.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Asks to let a request through, for the member that was chosen. True admits it, and then
    /// [`Breaker::record`] must follow, once.
    pub fn admit(&mut self, config: &BreakerConfig, now: Timestamp) -> bool {
        // Of one that was admitted before it was let through, nobody would hear: see `record`.
        if self.phase() == Phase::HalfOpen && now < self.since {
            return false;
        }
        let before = self.state();
        let (state, admitted) = step(before, Input::Admit, self.window, config, now);
        if state != before {
            self.enter(state);
        }
        admitted
    }

    /// Has a probe before its time, since nobody else is left: it is half-open now, if it was open. Its pause does not grow when that
    /// one fails as well. If a probe is under way, another one may go beside it. Nothing happens in [quarantine](Breaker::quarantine).
    pub fn relent(&mut self, now: Timestamp) {
        match self.state() {
            State::Open { cooldown, .. } if !self.is_quarantined() => {
                self.enter(State::HalfOpen { probing: false, successes: 0, cooldown: cooldown / 2 });
                self.since = now;
            }
            State::HalfOpen { successes, cooldown, .. } => {
                self.enter(State::HalfOpen { probing: false, successes, cooldown });
            }
            State::Open { .. } | State::Closed { .. } => {}
        }
    }

    /// How ready it is to [relent](Breaker::relent); none in [quarantine](Breaker::quarantine).
    #[must_use]
    pub fn readiness(&self) -> Option<Readiness> {
        match self.state() {
            State::Closed { .. } => Some(Readiness::Closed),
            State::HalfOpen { successes: 1.., .. } => Some(Readiness::Answered),
            State::Open { until, .. } => (!self.is_quarantined()).then_some(Readiness::Due(until)),
            State::HalfOpen { successes: 0, .. } => Some(Readiness::Probing),
        }
    }

    /// Keeps everything out until then, and no shorter than it would by itself, whatever becomes of what was admitted before, and also
    /// where nobody else is left.
    pub fn quarantine(&mut self, until: Timestamp) {
        self.since = until.max(self.since);
        self.standing = QUARANTINED;
    }

    /// Whether it is in [quarantine](Breaker::quarantine).
    #[must_use]
    pub const fn is_quarantined(&self) -> bool {
        self.standing == QUARANTINED
    }

    /// Closes it, if it is in [quarantine](Breaker::quarantine); true when it was. What had opened it before is forgotten.
    pub fn release(&mut self, now: Timestamp) -> bool {
        let is_quarantined = self.is_quarantined();
        if is_quarantined {
            *self = Self::closed_since(now);
        }
        is_quarantined
    }

    /// Takes what became of a request that was admitted, and when that was. A request that was admitted before the
    /// breaker opened is no news: it must neither decide in place of the probe nor make room for a second one.
    pub fn record(&mut self, input: Input, admitted: Timestamp, config: &BreakerConfig, now: Timestamp) {
        if admitted < self.since {
            return;
        }
        match input {
            Input::Success => self.window.record(true),
            Input::Failure => self.window.record(false),
            Input::Admit | Input::Neutral => {}
        }
        let was_closed = self.phase() == Phase::Closed;
        self.enter(step(self.state(), input, self.window, config, now).0);
        if self.phase() == Phase::Closed && !was_closed {
            self.window = Window::default();
        }
    }
}

/// The whole machine. The second part of the answer says whether a request is let through.
fn step(state: State, input: Input, window: Window, config: &BreakerConfig, now: Timestamp) -> (State, bool) {
    match (state, input) {
        (State::Closed { .. }, Input::Admit) => (state, true),
        (State::Closed { .. }, Input::Success) => (State::Closed { faults: 0 }, false),
        (State::Closed { .. }, Input::Neutral) => (state, false),
        (State::Closed { faults }, Input::Failure) => {
            let faults = faults.saturating_add(1);
            if faults < run_of_surprise(window, config) && !is_failing(window, config) {
                (State::Closed { faults }, false)
            } else {
                (open(config.cooldown, now), false)
            }
        }
        (State::Open { until, cooldown }, Input::Admit) if now >= until => {
            (State::HalfOpen { probing: true, successes: 0, cooldown }, true)
        }
        // Whatever ends now was admitted before it opened.
        (State::Open { .. }, _) => (state, false),
        (State::HalfOpen { probing: true, .. }, Input::Admit) => (state, false),
        (State::HalfOpen { probing: false, successes, cooldown }, Input::Admit) => {
            (State::HalfOpen { probing: true, successes, cooldown }, true)
        }
        (State::HalfOpen { successes, cooldown, .. }, Input::Success) => {
            let successes = successes.saturating_add(1);
            if successes < config.successes {
                (State::HalfOpen { probing: false, successes, cooldown }, false)
            } else {
                (State::Closed { faults: 0 }, false)
            }
        }
        (State::HalfOpen { cooldown, .. }, Input::Failure) => {
            let most = config.cooldown_max.max(config.cooldown);
            let cooldown = cooldown.saturating_mul(2).clamp(config.cooldown, most);
            (open(cooldown, now), false)
        }
        (State::HalfOpen { successes, cooldown, .. }, Input::Neutral) => {
            (State::HalfOpen { probing: false, successes, cooldown }, false)
        }
    }
}

/// Open for so long, in whole milliseconds, and seven weeks at the most.
fn open(cooldown: Duration, now: Timestamp) -> State {
    let cooldown = Duration::from_millis(u64::from(millis(cooldown)));
    State::Open { until: now + cooldown, cooldown }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// How many faults in a row are more than chance.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped, and the cast does that too.
fn run_of_surprise(window: Window, config: &BreakerConfig) -> u32 {
    // The run itself is what is to be explained.
    let before = window.len() - window.run();
    if before < KNOWN {
        return config.failures;
    }
    let fault_rate = 1.0 - f64::from(window.successes()) / f64::from(before);
    let run = SURPRISE.ln() / -fault_rate.ln();
    (run.ceil() as u32).clamp(config.failures, config.failures.saturating_mul(PATIENCE))
}

/// Whether too few of the last outcomes went well.
fn is_failing(window: Window, config: &BreakerConfig) -> bool {
    window.len() >= config.samples.max(1)
        && window.success_rate().is_some_and(|rate| rate < f64::from(config.min_success))
}

#[cfg(test)]
mod tests;
