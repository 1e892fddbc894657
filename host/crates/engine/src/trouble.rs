//! Why the pool cannot be saved, for people and programs.

use std::sync::{Mutex, PoisonError};

use proxywhirl_core::Timestamp;
use serde::{Deserialize, Serialize};

/// Why the pool cannot be saved, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreTrouble {
    /// What went wrong last.
    pub error: String,
    /// Since when nothing is saved: microseconds since the Unix epoch.
    pub since: u64,
}

/// The trouble there is. The writer writes it, anybody reads it; held for a copy.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<StoreTrouble>>);

impl Trouble {
    pub(crate) fn get(&self) -> Option<StoreTrouble> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_some(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Notes what went wrong now, or that nothing did.
    pub(crate) fn note(&self, error: Option<String>, now: Timestamp) {
        let mut trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble.as_ref().map_or(now.as_micros(), |trouble| trouble.since);
        *trouble = error.map(|error| StoreTrouble { error, since });
    }
}
