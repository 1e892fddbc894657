//! The 95th percentile of latencies, in four bytes.
//!
//! A stochastic approximation (Robbins, Monro 1951; "Frugal Streaming", Ma, Muthukrishnan, Sandler 2013): a sample above the
//! estimate raises it by nineteen steps, one below lowers it by one, so that it rests where one in twenty is above. Steps are
//! shares, because latencies are spread over orders of magnitude: a slow sample raises it by a third, a quick one lowers it by
//! a hundredth. All that counts of a sample is on which side it is, so one that was cut short when it was above
//! already counts in full. If it did not, who is replaced when it is slow would look quick.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::time::micros;

/// Parts of a doubling: the estimate is a logarithm of microseconds to the base 2, in 24 bits.
const DOUBLING: f32 = 524_288.0;
/// A step down: a 64th of a doubling.
const STEP: i64 = 8_192;
/// How many of them are a step up: the odds of being below.
const ODDS: i64 = 19;
/// Steps are so much longer until there are [`ENOUGH`] samples.
const HASTE: i64 = 4;
/// Samples before the estimate is one.
const ENOUGH: u32 = 20;
const ESTIMATE: u32 = 0x00ff_ffff;

/// A 95th percentile that many threads may write.
#[derive(Debug, Default)]
pub struct Tail {
    /// In the upper eight bits how many samples there were, [`ENOUGH`] at the most; below the estimate.
    state: AtomicU32,
}

impl Tail {
    /// The estimate; none until there were twenty samples.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        // Relaxed: an estimate that is a sample old is as good.
        let state = self.state.load(Ordering::Relaxed);
        (state >> 24 >= ENOUGH).then(|| latency_of(state))
    }

    /// What it is so far, however few samples there were; none without any.
    #[must_use]
    pub fn so_far(&self) -> Option<Duration> {
        let state = self.state.load(Ordering::Relaxed);
        (state >> 24 > 0).then(|| latency_of(state))
    }

    /// Takes a latency.
    pub fn record(&self, latency: Duration) {
        let sample = logarithm(latency);
        self.update(|estimate| Some(sample > estimate), sample);
    }

    /// Takes one of which is known only that it would have been longer: nothing, when it was not above the estimate yet.
    pub fn outlasted(&self, silent: Duration) {
        let sample = logarithm(silent);
        self.update(|estimate| (sample > estimate).then_some(true), sample);
    }

    fn update(&self, is_above: impl Fn(u32) -> Option<bool>, first: u32) {
        let step = |state: u32| {
            let (count, estimate) = (state >> 24, state & ESTIMATE);
            if count == 0 {
                return Some(1 << 24 | first);
            }
            let length = if count < ENOUGH { STEP * HASTE } else { STEP };
            let moved = i64::from(estimate) + if is_above(estimate)? { length * ODDS } else { -length };
            let moved = u32::try_from(moved.clamp(0, i64::from(ESTIMATE))).unwrap_or(ESTIMATE);
            Some((count + 1).min(ENOUGH) << 24 | moved)
        };
        let mut state = self.state.load(Ordering::Relaxed);
        while let Some(next) = step(state) {
            match self.state.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => state = other,
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
fn latency_of(state: u32) -> Duration {
    let micros = ((state & ESTIMATE) as f32 / DOUBLING).exp2();
    Duration::from_secs_f32(micros / 1e6)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a doubling that is lost does not matter, and the logarithm of 64 bits is below 2^25"
)]
fn logarithm(latency: Duration) -> u32 {
    (((micros(latency).max(1) as f32).log2() * DOUBLING) as u32).min(ESTIMATE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::member::mix;

    /// Milliseconds between 10 and 160, most of them small, from a seed.
    fn sample(n: u64) -> Duration {
        let share = (mix(n) >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(0.01 * 16_f64.powf(share * share))
    }

    #[test]
    fn one_in_twenty_is_above() {
        let tail = Tail::default();
        (0..2_000).for_each(|n| tail.record(sample(n)));
        let mut above = 0;
        for n in 2_000..12_000 {
            above += u32::from(sample(n) > tail.get().unwrap());
            tail.record(sample(n));
        }
        assert!((350..=650).contains(&above), "{above} of 10000");
    }

    #[test]
    fn it_says_nothing_before_it_knows() {
        let tail = Tail::default();
        assert_eq!(tail.so_far(), None);
        for n in 0..20 {
            assert_eq!(tail.get(), None, "{n}");
            tail.record(sample(n));
            assert!(tail.so_far().is_some(), "{n}");
        }
        assert!(tail.get().is_some());
    }

    #[test]
    fn it_follows_a_change_upwards_soon_and_downwards_with_patience() {
        let tail = Tail::default();
        let at = |milliseconds| (0..40).for_each(|_| tail.record(Duration::from_millis(milliseconds)));
        at(10);
        at(1_000);
        assert!(tail.get().unwrap() > Duration::from_millis(900), "{:?}", tail.get());
        at(10);
        assert!(tail.get().unwrap() > Duration::from_millis(600));
        (0..12).for_each(|_| at(10));
        assert!(tail.get().unwrap() < Duration::from_millis(20), "{:?}", tail.get());
    }

    #[test]
    fn who_is_cut_short_when_it_is_slow_does_not_look_quick() {
        let (whole, cut) = (Tail::default(), Tail::default());
        for n in 0..5_000 {
            whole.record(sample(n));
            match cut.get().filter(|estimate| sample(n) > *estimate) {
                Some(estimate) => cut.outlasted(estimate + Duration::from_millis(1)),
                None => cut.record(sample(n)),
            }
            cut.outlasted(Duration::from_micros(1));
        }
        let (whole, cut) = (whole.get().unwrap(), cut.get().unwrap());
        assert!(cut > whole / 2 && cut < whole * 2, "{cut:?} {whole:?}");
    }

    #[test]
    fn any_latency_has_a_place() {
        for latency in [Duration::ZERO, Duration::MAX, Duration::from_nanos(1)] {
            let tail = Tail::default();
            (0..30).for_each(|_| tail.record(latency));
            assert!(tail.get().is_some());
        }
    }
}
