//! Peak EWMA: an average of latencies that forgets with time and jumps up at once.
//!
//! An exponentially weighted moving average whose weight depends on the time since the last sample
//! (half of the old value is gone after `decay × ln 2`), not on the number of samples, so that busy
//! and idle members are comparable. A sample above the average replaces it, because a peak is news
//! and a decline has to be proven: see Finagle's "Beyond Round Robin: Load Balancing for Latency".

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::{Timestamp, micros};

/// A peak EWMA that many threads may write. In eight bytes, because a million members have one each.
///
/// Of two samples at the same time one may be lost, which shifts an estimate by a fraction and saves a lock on each request.
#[derive(Debug, Default)]
pub struct Ewma {
    /// In the upper half the average in microseconds, 71 minutes at the most, and 0 when there was no sample; in the lower
    /// half when the last one was taken, in [ticks](tick).
    state: AtomicU64,
}

/// A time in units of 2^16 microseconds. It begins anew after nine years, so that an age is right up to half of that.
#[allow(clippy::cast_possible_truncation, reason = "what is cut off is the years")]
const fn tick(at: Timestamp) -> u32 {
    (at.as_micros() >> TICK_BITS) as u32
}

const TICK_BITS: u32 = 16;

/// How long before `now` the tick was; nothing when it was later.
#[allow(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "the sign says which one was first")]
fn age(last: u32, now: Timestamp) -> Duration {
    let ticks = (tick(now).wrapping_sub(last) as i32).max(0) as u64;
    Duration::from_micros(ticks << TICK_BITS)
}

impl Ewma {
    /// How long a sample counts: after this span its weight is 1/e.
    pub const DECAY: Duration = Duration::from_secs(10);

    /// An average that begins with a value from an earlier run.
    #[must_use]
    pub fn restored(value: Option<Duration>, at: Timestamp) -> Self {
        Self { state: AtomicU64::new(pack(value.map_or(0, narrow), at)) }
    }

    /// Takes a sample. A latency of zero counts as one microsecond: zero means "never measured".
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between two numbers of 32 bits.
    pub fn record(&self, sample: Duration, now: Timestamp) {
        let sample = narrow(sample);
        // Relaxed throughout: an estimate that is one sample old is as good.
        let (old, last) = unpack(self.state.load(Ordering::Relaxed));
        let new = if old == 0 || sample >= old {
            sample
        } else {
            let age = age(last, now).as_secs_f64();
            // At least one part in eight, so that samples in quick succession count too.
            let keep = (-age / Self::DECAY.as_secs_f64()).exp().min(0.875);
            (f64::from(old) * keep + f64::from(sample) * (1.0 - keep)).round() as u32
        };
        self.state.store(pack(new.max(1), now), Ordering::Relaxed);
    }

    /// The average; none when there was no sample.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        match unpack(self.state.load(Ordering::Relaxed)) {
            (0, _) => None,
            (value, _) => Some(Duration::from_micros(value.into())),
        }
    }
}

/// A latency in microseconds, at least 1.
fn narrow(latency: Duration) -> u32 {
    u32::try_from(micros(latency)).unwrap_or(u32::MAX).max(1)
}

const fn pack(value: u32, at: Timestamp) -> u64 {
    (value as u64) << u32::BITS | tick(at) as u64
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
const fn unpack(state: u64) -> (u32, u32) {
    ((state >> u32::BITS) as u32, state as u32)
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
    fn an_age_is_right_over_the_end_of_the_ticks_and_never_negative() {
        let last_tick = Timestamp::from_micros(u64::from(u32::MAX) << TICK_BITS);
        assert_eq!(age(tick(last_tick), last_tick + Duration::from_mins(1)).as_secs(), 59);
        assert_eq!(age(tick(last_tick + Duration::from_mins(1)), last_tick), Duration::ZERO);
        let ewma = Ewma::restored(Some(100 * MS), last_tick);
        ewma.record(10 * MS, last_tick + 100 * Ewma::DECAY);
        assert!(ewma.get() < Some(11 * MS), "{:?}", ewma.get());
    }

    #[test]
    fn a_latency_beyond_all_measure_is_the_longest() {
        let ewma = Ewma::restored(Some(Duration::MAX), Timestamp::default());
        assert_eq!(ewma.get(), Some(Duration::from_micros(u32::MAX.into())));
    }

    #[test]
    fn never_measured_is_not_zero_latency() {
        let ewma = Ewma::default();
        assert_eq!(ewma.get(), None);
        ewma.record(Duration::ZERO, Timestamp::default());
        assert_eq!(ewma.get(), Some(Duration::from_micros(1)));
    }
}
