//! Why the pool cannot be saved, for people and programs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// All was well before.
    Began,
    /// All is well again.
    Ended,
    /// It is as it was, well or not.
    Same,
}

/// The trouble there is. One task notes it, anybody asks for it. Invariant: `is_there` is whether there is any.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// For those who ask at every request.
    is_there: AtomicBool,
    what: Mutex<Option<StoreTrouble>>,
}

impl Trouble {
    pub(crate) fn get(&self) -> Option<StoreTrouble> {
        self.what().clone()
    }

    pub(crate) fn is_some(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// Notes what went wrong now, or that nothing did.
    pub(crate) fn note(&self, error: Option<String>, now: Timestamp) -> Change {
        let mut what = self.what();
        let since = what.as_ref().map_or(now.as_micros(), |trouble| trouble.since);
        let (was_there, is_there) = (what.is_some(), error.is_some());
        *what = error.map(|error| StoreTrouble { error, since });
        self.is_there.store(is_there, Ordering::Relaxed);
        match (was_there, is_there) {
            (false, true) => Change::Began,
            (true, false) => Change::Ended,
            (false, false) | (true, true) => Change::Same,
        }
    }

    fn what(&self) -> MutexGuard<'_, Option<StoreTrouble>> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
