//! How the members of one cost do, all together: recent success and latency against the bounds.
//!
//! Uses fade with time. A tier that keeps the bounds misses them when at least [`ENOUGH`] recent uses
//! say so. It keeps them again when it is better than the bounds by a margin, or when so little is left
//! of what is known ([`LITTLE`]) that it deserves another try: else a tier that gets no requests would
//! be out for ever. Between the two it stays what it is, so that it does not flap.

use proxywhirl_plugin_ranking::decay;
use proxywhirl_plugin_ranking::wire::{Reader, Writer};
use proxywhirl_plugin_sdk::strategy::Observation;
use std::fmt;

/// Recent uses without which nothing is said against a tier.
const ENOUGH: f64 = 5.0;

/// With fewer recent uses than this, what was said against a tier is forgotten.
const LITTLE: f64 = 2.5;

/// The part of the way from the bound to perfection that a tier must go to come back.
const MARGIN: f64 = 0.25;

/// The part of the bound on latency that a tier must be below to come back.
const FASTER: f64 = 0.9;

/// What a tier must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    /// The share of uses that end well, at the least.
    pub(crate) min_success: f64,
    /// Microseconds, at the most.
    pub(crate) max_latency: Option<f64>,
    /// After so many microseconds a use counts 1/e.
    pub(crate) decay: u64,
}

/// What is known of a tier.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Meter {
    /// Recent uses.
    uses: f64,
    /// Those of them that ended well.
    successes: f64,
    /// Those of them whose latency was measured, and the sum of their latencies.
    measured: f64,
    latency: f64,
    /// Until when all of these have faded.
    at: u64,
    misses: bool,
}

/// Why a tier is judged otherwise than before; for the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// Too few uses end well: this share.
    Fails(f64),
    /// It is too slow: so many microseconds.
    Slow(f64),
    /// It keeps the bounds again.
    Keeps,
    /// Too little is known of it now.
    Unknown,
}

impl Meter {
    /// Whether the tier misses the bounds, by the last verdict.
    pub(crate) const fn misses(&self) -> bool {
        self.misses
    }

    /// Takes note of a use.
    pub(crate) fn record(&mut self, seen: &Observation, decay: u64, now: u64) {
        self.fade(decay, now);
        self.uses += 1.0;
        if seen.success {
            self.successes += 1.0;
            if seen.latency > 0 {
                self.measured += 1.0;
                self.latency += f64::from(seen.latency);
            }
        }
    }

    /// Decides anew; what the verdict is if it has changed.
    pub(crate) fn judge(&mut self, bounds: &Bounds, now: u64) -> Option<Verdict> {
        self.fade(bounds.decay, now);
        let verdict = if self.misses { self.recovery(bounds) } else { self.fault(bounds) }?;
        self.misses = !self.misses;
        Some(verdict)
    }

    fn fault(&self, bounds: &Bounds) -> Option<Verdict> {
        if self.uses < ENOUGH {
            return None;
        }
        let success = self.successes / self.uses;
        if success < bounds.min_success {
            return Some(Verdict::Fails(success));
        }
        let slow = self.mean_latency().zip(bounds.max_latency).filter(|(mean, most)| mean > most);
        slow.map(|(mean, _)| Verdict::Slow(mean))
    }

    fn recovery(&self, bounds: &Bounds) -> Option<Verdict> {
        if self.uses < LITTLE {
            return Some(Verdict::Unknown);
        }
        let wanted = bounds.min_success + MARGIN * (1.0 - bounds.min_success);
        let succeeds = self.successes / self.uses >= wanted;
        let is_fast =
            bounds.max_latency.is_none_or(|most| self.mean_latency().is_some_and(|mean| mean <= FASTER * most));
        (succeeds && is_fast).then_some(Verdict::Keeps)
    }

    fn mean_latency(&self) -> Option<f64> {
        (self.measured > 0.0).then(|| self.latency / self.measured)
    }

    fn fade(&mut self, span: u64, now: u64) {
        let left = decay::factor(now.saturating_sub(self.at), span);
        self.at = self.at.max(now);
        for sum in [&mut self.uses, &mut self.successes, &mut self.measured, &mut self.latency] {
            *sum *= left;
        }
    }

    pub(crate) fn save(&self, writer: &mut Writer) {
        for sum in [self.uses, self.successes, self.measured, self.latency] {
            writer.f64(sum);
        }
        writer.u64(self.at);
        writer.u32(u32::from(self.misses));
    }

    pub(crate) fn restore(reader: &mut Reader<'_>) -> Option<Self> {
        let mut sum = || reader.f64().map(|sum| sum.clamp(0.0, 1e15));
        let (uses, successes, measured, latency) = (sum()?, sum()?, sum()?, sum()?);
        Some(Self { uses, successes, measured, latency, at: reader.u64()?, misses: reader.u32()? != 0 })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fails(share) => write!(f, "miss the bounds: {:.0} % of the recent uses ended well", share * 100.0),
            Self::Slow(mean) => write!(f, "miss the bounds: recent uses took {:.0} ms on average", mean / 1e3),
            Self::Keeps => f.write_str("keep the bounds again"),
            Self::Unknown => f.write_str("are tried again: nothing recent is known of them"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const BOUNDS: Bounds = Bounds { min_success: 0.8, max_latency: Some(1e6), decay: 60 * SECOND };

    fn record(meter: &mut Meter, count: usize, success: bool, latency: u32, now: u64) {
        for _ in 0..count {
            meter.record(&Observation { slot: 0, site: 0, success, latency }, BOUNDS.decay, now);
        }
    }

    #[test]
    fn a_few_failures_say_nothing_and_more_of_them_do() {
        let mut meter = Meter::default();
        record(&mut meter, 4, false, 0, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), None);
        record(&mut meter, 1, false, 0, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), Some(Verdict::Fails(0.0)));
        assert!(meter.misses());
    }

    #[test]
    fn a_tier_between_the_bound_and_the_margin_stays_what_it_is() {
        let mut meter = Meter::default();
        record(&mut meter, 82, true, 10, 0);
        record(&mut meter, 18, false, 0, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), None, "82 of 100 keep the bounds");
        record(&mut meter, 10, false, 0, 0);
        assert!(matches!(meter.judge(&BOUNDS, 0), Some(Verdict::Fails(_))));
        record(&mut meter, 30, true, 10, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), None, "112 of 140 are not enough to come back");
        record(&mut meter, 60, true, 10, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), Some(Verdict::Keeps));
    }

    #[test]
    fn latency_has_a_bound_and_a_margin_of_its_own() {
        let mut meter = Meter::default();
        record(&mut meter, 10, true, 1_100_000, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), Some(Verdict::Slow(1_100_000.0)));
        record(&mut meter, 10, true, 850_000, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), None, "975 ms are below the bound and within the margin");
        record(&mut meter, 20, true, 500_000, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), Some(Verdict::Keeps));
    }

    #[test]
    fn a_tier_that_nobody_tries_any_more_gets_another_chance() {
        let mut meter = Meter::default();
        record(&mut meter, 10, false, 0, 0);
        assert!(meter.judge(&BOUNDS, 0).is_some());
        assert_eq!(meter.judge(&BOUNDS, 60 * SECOND), None);
        assert_eq!(meter.judge(&BOUNDS, 120 * SECOND), Some(Verdict::Unknown));
        assert_eq!(meter.judge(&BOUNDS, 120 * SECOND), None);
    }

    #[test]
    fn a_use_without_a_latency_is_not_a_fast_one() {
        let mut meter = Meter::default();
        record(&mut meter, 10, true, 2_000_000, 0);
        record(&mut meter, 90, true, 0, 0);
        assert_eq!(meter.judge(&BOUNDS, 0), Some(Verdict::Slow(2_000_000.0)));
    }
}
