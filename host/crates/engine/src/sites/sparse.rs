//! What is kept of few members, and most of the time of none: as long as there is nobody, a use reads one number and takes no lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::Timestamp;

/// How many are kept at the most.
pub(super) const MOST: usize = 16_384;

/// How often it is looked who need not be kept any more: when there are too many, and otherwise.
const SWEEP: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// What is kept, and of how many.
#[derive(Debug, Default)]
pub(super) struct Sparse<T> {
    /// Written by whoever holds the lock.
    count: AtomicUsize,
    /// Held for some instructions, and only while there are any.
    kept: Mutex<T>,
}

impl<T> Sparse<T> {
    /// How many there are. Relaxed: who comes in the instant of the first one does not see it, and the next one does.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how many there are now.
    pub(super) fn set_count(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
    }
}

/// When it was looked last who need not be kept any more: those who are asked no more would stay for ever.
#[derive(Debug, Default)]
pub(super) struct Swept(Timestamp);

impl Swept {
    /// Whether it is time to look again, of so many.
    pub(super) fn is_due(&mut self, count: usize, now: Timestamp) -> bool {
        let span = if count >= MOST { SWEEP.0 } else { SWEEP.1 };
        let is_due = now.since(self.0) >= span;
        if is_due {
            self.0 = now;
        }
        is_due
    }
}
