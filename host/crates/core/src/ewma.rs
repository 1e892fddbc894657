//! Peak EWMA: an average of latencies that forgets with time and jumps up at once.
//!
//! An exponentially weighted moving average whose weight depends on the time since the last sample
//! (half of the old value is gone after `decay × ln 2`), not on the number of samples, so that busy
//! and idle members are comparable. A sample above the average replaces it, because a peak is news
//! and a decline has to be proven: see Finagle's "Beyond Round Robin: Load Balancing for Latency".

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::{Timestamp, micros};

/// A peak EWMA that many threads may write; microseconds inside.
///
/// Value and time are two words and not one, so a reader may see one sample's value with another's
/// time. That shifts an estimate by a fraction of a sample and saves a lock on each request.
#[derive(Debug, Default)]
pub struct Ewma {
    /// The average, in microseconds; 0 when there was no sample.
    value: AtomicU64,
    /// When the last sample was taken, in microseconds since the epoch.
    at: AtomicU64,
}

impl Ewma {
    /// How long a sample counts: after this span its weight is 1/e.
    pub const DECAY: Duration = Duration::from_secs(10);

    /// An average that begins with a value from an earlier run.
    #[must_use]
    pub fn restored(value: Option<Duration>, at: Timestamp) -> Self {
        Self { value: AtomicU64::new(value.map_or(0, micros)), at: AtomicU64::new(at.as_micros()) }
    }

    /// Takes a sample. A latency of zero counts as one microsecond: zero means "never measured".
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Latencies are far below 2^52 µs.
    pub fn record(&self, sample: Duration, now: Timestamp) {
        let sample = micros(sample).max(1);
        // Relaxed throughout: an estimate that is one sample old is as good.
        let last = self.at.swap(now.as_micros(), Ordering::Relaxed);
        let old = self.value.load(Ordering::Relaxed);
        let new = if old == 0 || sample >= old {
            sample
        } else {
            let age = now.since(Timestamp::from_micros(last)).as_secs_f64();
            // At least one part in eight, so that samples in quick succession count too.
            let keep = (-age / Self::DECAY.as_secs_f64()).exp().min(0.875);
            (old as f64 * keep + sample as f64 * (1.0 - keep)).round() as u64
        };
        self.value.store(new.max(1), Ordering::Relaxed);
    }

    /// The average; none when there was no sample.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        match self.value.load(Ordering::Relaxed) {
            0 => None,
            value => Some(Duration::from_micros(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_peak_counts_at_once_and_a_decline_takes_time() {
        let ewma = Ewma::default();
        let start = Timestamp::from_micros(1_000_000);
        ewma.record(100 * MS, start);
        ewma.record(500 * MS, start + MS);
        assert_eq!(ewma.get(), Some(500 * MS));
        ewma.record(100 * MS, start + 2 * MS);
        let soon = ewma.get();
        assert!(soon < Some(500 * MS) && soon > Some(400 * MS), "{soon:?}");
        ewma.record(100 * MS, start + 100 * Ewma::DECAY);
        assert!(ewma.get() < Some(101 * MS));
    }

    #[test]
    fn never_measured_is_not_zero_latency() {
        let ewma = Ewma::default();
        assert_eq!(ewma.get(), None);
        ewma.record(Duration::ZERO, Timestamp::default());
        assert_eq!(ewma.get(), Some(Duration::from_micros(1)));
    }
}
