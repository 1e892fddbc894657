//! What came of putting one plugin in another's place while traffic runs.

use std::time::{Duration, Instant};

use proxywhirl_core::plugin::PluginFault;
use serde::Serialize;

use crate::status::Build;

/// What became of the state that the one before had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Handover {
    /// The new one has taken it.
    Taken,
    /// There was none.
    Nothing,
    /// The new one made nothing of it, and has begun without.
    Declined,
    /// The old one has faulted when it was asked for it, and the new one has begun without.
    Failed,
}

/// A swap that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Swapped {
    /// What was in force; none when nothing was.
    pub before: Option<Build>,
    /// What is in force now.
    pub after: Build,
    /// What became of the state.
    pub handover: Handover,
    /// How long it took.
    pub timing: SwapTiming,
}

/// How long the steps of a swap took, in microseconds. Requests were served all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SwapTiming {
    /// Until the plugin's thread began with it.
    pub waited_us: u64,
    /// Making the new instance.
    pub instance_us: u64,
    /// Saving the old state and restoring it.
    pub handover_us: u64,
    /// Telling the new one of the pool.
    pub teach_us: u64,
    /// Its first plan, and making it ready.
    pub plan_us: u64,
    /// All together.
    pub total_us: u64,
}

/// Why a swap did not happen. What was in force is in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwapError {
    /// The new one has faulted on its way.
    #[error("the new version is not put in force")]
    Fault(#[source] PluginFault),
    /// There is no plugin of that name to be replaced.
    #[error("no hook is called {0}")]
    Unknown(String),
    /// Too many swaps wait already.
    #[error("too many swaps are waiting already")]
    Busy,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

impl From<PluginFault> for SwapError {
    fn from(fault: PluginFault) -> Self {
        Self::Fault(fault)
    }
}

/// Takes the times between the steps of a swap.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    asked: Instant,
    last: Instant,
}

impl Stopwatch {
    /// A swap that was asked for then and begins now; how long that took.
    pub(crate) fn start(asked: Instant) -> (Self, u64) {
        let mut watch = Self { asked, last: asked };
        let waited = watch.lap();
        (watch, waited)
    }

    /// Microseconds since the last step.
    pub(crate) fn lap(&mut self) -> u64 {
        let now = Instant::now();
        let lap = now.saturating_duration_since(self.last);
        self.last = now;
        whole(lap)
    }

    /// Microseconds since it was asked for.
    pub(crate) fn total(&self) -> u64 {
        whole(self.asked.elapsed())
    }
}

fn whole(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
