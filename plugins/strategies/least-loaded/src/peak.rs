//! Peak EWMA, as the host computes it: an average of latencies that forgets with time and jumps up at
//! once, because a peak is news and a decline has to be proven.

use proxywhirl_plugin_ranking::decay;

/// What is left of the old value at the most, so that samples in quick succession count too.
const KEPT: f64 = 0.875;

/// A peak EWMA of a latency, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PeakEwma {
    /// 0 when there was no sample.
    value: f64,
    at: u64,
}

impl PeakEwma {
    /// One that begins with what is known; 0 stands for nothing.
    pub(crate) fn beginning(latency: u32, now: u64) -> Self {
        Self { value: f64::from(latency), at: now }
    }

    /// Takes a sample.
    pub(crate) fn record(&mut self, latency: u32, span: u64, now: u64) {
        let sample = f64::from(latency.max(1));
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.value = if self.value == 0.0 || sample >= self.value {
            sample
        } else {
            let keep = decay::factor(elapsed, span).min(KEPT);
            self.value * keep + sample * (1.0 - keep)
        };
    }

    /// The average; none when there was no sample.
    pub(crate) fn get(self) -> Option<f64> {
        (self.value > 0.0).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_peak_counts_at_once_and_a_decline_takes_time() {
        let mut ewma = PeakEwma::beginning(100, 0);
        ewma.record(500, 10 * SECOND, 0);
        assert_eq!(ewma.get(), Some(500.0));
        ewma.record(100, 10 * SECOND, 0);
        assert_eq!(ewma.get(), Some(450.0));
        ewma.record(100, 10 * SECOND, 1_000 * SECOND);
        assert_eq!(ewma.get(), Some(100.0));
    }

    #[test]
    fn never_measured_is_not_zero_latency() {
        let mut ewma = PeakEwma::beginning(0, 0);
        assert_eq!(ewma.get(), None);
        ewma.record(0, SECOND, 1);
        assert_eq!(ewma.get(), Some(1.0));
    }
}
