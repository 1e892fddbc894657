//! The one clock of a process: the time of day at the start, moved on by a clock that never goes back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use proxywhirl_core::Timestamp;

/// Gives timestamps that never go backwards, whatever happens to the machine's time of day.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_at: Timestamp,
}

impl Default for Clock {
    fn default() -> Self {
        // A machine whose time is set before 1970 counts from there.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_at: Timestamp::default() + since_epoch }
    }
}

impl Clock {
    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.started_at + self.started.elapsed()
    }
}
