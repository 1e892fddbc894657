//! What strategies have learned, kept over restarts of the host.
//!
//! A strategy that hands over what it has learned to its successor is asked for the same once a minute, when another one
//! takes its place, and at the end; the first instance after a start begins with it. So a budget is not spent twice, and
//! what was learned about proxies is not learned again. A crash loses a minute of it at the most.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyValues, KvWrite};

/// How often it is saved.
const EVERY: Duration = Duration::from_mins(1);

/// Whose keys they are: no plugin can have this name.
const OWNER: &str = "host/strategies";

/// Where it is kept, and until when there is time.
pub(super) struct Memory {
    store: Arc<dyn KeyValues>,
    due: Timestamp,
}

impl Memory {
    pub(super) fn new(store: Arc<dyn KeyValues>, now: Timestamp) -> Self {
        Self { store, due: now + EVERY }
    }

    /// When it is to be saved next.
    pub(super) const fn due(&self) -> Timestamp {
        self.due
    }

    /// Says that it is being saved.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.due = now + EVERY;
    }

    /// What a strategy knew last.
    pub(super) fn recall(&self, strategy: &str, now: Timestamp) -> Option<Vec<u8>> {
        match self.store.get(OWNER, strategy, now) {
            Ok(entry) => entry.map(|entry| entry.value),
            Err(error) => {
                tracing::warn!(plugin.name = strategy, error = %error, "what the strategy has learned cannot be read");
                None
            }
        }
    }

    /// Keeps what a strategy knows.
    pub(super) fn keep(&self, strategy: &str, state: &[u8], now: Timestamp) {
        // The plugin host lets nobody hand over more than 4 MiB.
        let write = KvWrite { value: state, expires: None, quota: u64::MAX };
        if let Err(error) = self.store.set(OWNER, strategy, &write, now) {
            tracing::warn!(plugin.name = strategy, error = %error, "what the strategy has learned cannot be saved");
        }
    }
}
