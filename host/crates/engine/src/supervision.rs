//! Supervision: whether a plugin that faults is started again, and when.
//!
//! Active → degraded → quarantined → disabled. A plugin that faults is started again after a pause that doubles with each
//! fault in a row, because what fails at once will mostly fail again at once. Restarts come out of a budget, as in the
//! supervisors of Erlang/OTP (<https://www.erlang.org/doc/system/sup_princ>): one that needs more is broken, not unlucky,
//! and is left alone in quarantine, each longer than the one before. One that comes out of quarantine again and again
//! without a good hour in between is disabled, until somebody puts another build in its place or enables it.
//!
//! A state machine without a clock: time is an argument. There are never more restarts within a window than the budget
//! says, and nothing but [`Input::Cleared`] leads out of [`State::Disabled`].

use std::collections::VecDeque;
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::plugin::OnFault;
use serde::{Deserialize, Serialize};

use crate::status::micros;

/// How patient the host is with plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupervisionConfig {
    /// Restarts within [`SupervisionConfig::window`]; a plugin that needs more is quarantined.
    pub restarts: u32,
    /// The time over which restarts are counted.
    pub window: Duration,
    /// The pause before the first restart; it doubles with each fault in a row.
    pub pause: Duration,
    /// The longest pause before a restart.
    pub pause_max: Duration,
    /// How long the first quarantine lasts; it doubles with each.
    pub quarantine: Duration,
    /// The longest quarantine.
    pub quarantine_max: Duration,
    /// Quarantines, without a good time in between, after which a plugin is disabled instead of quarantined again.
    pub quarantines: u32,
    /// How long a plugin has to go without a fault for its quarantines to be forgotten.
    pub good: Duration,
    /// How long after a swap a fault brings the version before back.
    pub probation: Duration,
}

impl Default for SupervisionConfig {
    fn default() -> Self {
        Self {
            restarts: 5,
            window: Duration::from_mins(1),
            pause: Duration::from_millis(100),
            pause_max: Duration::from_mins(1),
            quarantine: Duration::from_mins(1),
            quarantine_max: Duration::from_hours(1),
            quarantines: 5,
            good: Duration::from_hours(1),
            probation: Duration::from_secs(30),
        }
    }
}

/// How a plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// It does its part.
    Active,
    /// It has faulted, and is started again.
    Degraded {
        /// Not before.
        #[serde(with = "micros")]
        until: Timestamp,
    },
    /// It was started again too often, and is left alone.
    Quarantined {
        /// Then it gets another chance.
        #[serde(with = "micros")]
        until: Timestamp,
    },
    /// It is not started again by itself.
    Disabled,
}

impl State {
    /// The word for logs, events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Degraded { .. } => "degraded",
            Self::Quarantined { .. } => "quarantined",
            Self::Disabled => "disabled",
        }
    }

    /// When it ends by itself.
    #[must_use]
    pub const fn until(self) -> Option<Timestamp> {
        match self {
            Self::Degraded { until } | Self::Quarantined { until } => Some(until),
            Self::Active | Self::Disabled => None,
        }
    }
}

/// What happens to a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A call ended in a fault.
    Faulted,
    /// Somebody asks to start it again now. Nothing happens when it is not due.
    Restarted,
    /// All that it was asked for went well.
    Answered,
    /// Another build took its place, or somebody enabled it: all is forgotten.
    Cleared,
}

/// What is known of a plugin's conduct.
#[derive(Debug, Clone)]
pub struct Supervision {
    config: SupervisionConfig,
    on_fault: OnFault,
    state: State,
    /// Whether a restart is under way: degraded, and what it is asked for now decides.
    is_trying: bool,
    /// The restarts within the window, the oldest first; at most the budget.
    restarts: VecDeque<Timestamp>,
    /// Faults in a row: with less than a window between them.
    streak: u32,
    /// Quarantines in a row: without a good time between them.
    quarantines: u32,
    faulted: Option<Timestamp>,
}

impl Supervision {
    /// A plugin that has done nothing wrong yet.
    #[must_use]
    pub fn new(config: SupervisionConfig, on_fault: OnFault) -> Self {
        Self {
            config,
            on_fault,
            state: State::Active,
            is_trying: false,
            restarts: VecDeque::new(),
            streak: 0,
            quarantines: 0,
            faulted: None,
        }
    }

    /// How it does.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether it may be called.
    #[must_use]
    pub const fn may_be_called(&self) -> bool {
        matches!(self.state, State::Active) || self.is_trying
    }

    /// When it is to be started again; none while it may be called, and when it is disabled.
    #[must_use]
    pub const fn due(&self) -> Option<Timestamp> {
        if self.may_be_called() { None } else { self.state.until() }
    }

    /// Takes what happened. True when that changed what it is: see [`Supervision::state`].
    pub fn step(&mut self, input: Input, now: Timestamp) -> bool {
        let before = self.state;
        match (self.state, input) {
            (State::Active, Input::Faulted) => self.fault(now),
            (State::Degraded { .. }, Input::Faulted) if self.is_trying => self.fault(now),
            // What was called before it was stopped: counted by others, and nothing more follows.
            (State::Degraded { .. } | State::Quarantined { .. } | State::Disabled, Input::Faulted) => {}
            (State::Degraded { until }, Input::Restarted) if !self.is_trying && until <= now => self.restart(now),
            (State::Quarantined { until }, Input::Restarted) if until <= now => {
                self.restarts.clear();
                self.state = State::Degraded { until: now };
                self.restart(now);
            }
            (State::Degraded { .. }, Input::Answered) if self.is_trying => {
                self.is_trying = false;
                self.state = State::Active;
            }
            (_, Input::Restarted | Input::Answered) => {}
            (_, Input::Cleared) => *self = Self::new(self.config, self.on_fault),
        }
        self.state.as_str() != before.as_str()
    }

    fn restart(&mut self, now: Timestamp) {
        self.restarts.push_back(now);
        self.is_trying = true;
    }

    fn fault(&mut self, now: Timestamp) {
        let SupervisionConfig { window, good, .. } = self.config;
        let quiet = self.faulted.map(|last| now.since(last));
        if quiet.is_none_or(|quiet| quiet >= window) {
            self.streak = 0;
        }
        if quiet.is_none_or(|quiet| quiet >= good) {
            self.quarantines = 0;
        }
        self.faulted = Some(now);
        self.is_trying = false;
        while self.restarts.front().is_some_and(|at| now.since(*at) >= window) {
            self.restarts.pop_front();
        }
        let has_budget = self.restarts.len() < usize::try_from(self.config.restarts).unwrap_or(usize::MAX);
        self.state = if has_budget {
            let until = now + self.pause();
            self.streak = self.streak.saturating_add(1);
            State::Degraded { until }
        } else if self.quarantines >= self.config.quarantines {
            State::Disabled
        } else {
            let span = doubled(self.config.quarantine, self.quarantines).min(self.config.quarantine_max);
            self.quarantines += 1;
            // It begins anew after that, with short pauses.
            self.streak = 0;
            State::Quarantined { until: now + span }
        };
    }

    fn pause(&self) -> Duration {
        match self.on_fault {
            OnFault::Fallback | OnFault::Reject => doubled(self.config.pause, self.streak).min(self.config.pause_max),
            OnFault::Reload => Duration::ZERO,
        }
    }
}

/// A span after so many doublings.
fn doubled(span: Duration, times: u32) -> Duration {
    span.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
