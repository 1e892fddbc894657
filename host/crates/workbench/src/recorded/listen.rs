//! Hears what a plugin logs and counts.
//!
//! What it counts is heard only while it is called on this thread: not from a component that imports WASI, which runs on
//! a thread of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use proxywhirl_wasm::LogListener;

/// Lines that are kept.
const MAX_LINES: usize = 100_000;

/// The log and the metrics of a plugin.
#[derive(Debug, Clone, Default)]
pub(super) struct Ear {
    lines: Arc<Mutex<Vec<String>>>,
    numbers: Arc<Mutex<BTreeMap<Series, Arc<Number>>>>,
}

/// A metric with its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.labels)
    }
}

impl Ear {
    /// Runs something, and hears what it counts.
    pub(super) fn listen<T>(&self, run: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(self, run)
    }

    /// What the plugin host tells each line that a plugin logs.
    pub(super) fn log(&self) -> LogListener {
        let lines = Arc::clone(&self.lines);
        Arc::new(move |_, level, line| {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() < MAX_LINES {
                lines.push(format!("{} {line}", level.as_str()));
            }
        })
    }

    /// What was logged.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was counted: sums of counters, values of gauges, and of histograms the sum of what was observed.
    pub(super) fn metrics(&self) -> BTreeMap<Series, f64> {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.iter().map(|(series, number)| (series.clone(), number.get())).collect()
    }

    fn number(&self, key: &Key) -> Arc<Number> {
        let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        let series = Series { name: key.name().to_owned(), labels };
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(numbers.entry(series).or_default())
    }
}

/// A number as its bits.
#[derive(Debug, Default)]
struct Number(AtomicU64);

impl Number {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn change(&self, change: impl Fn(f64) -> f64) {
        let next = |bits| Some(change(f64::from_bits(bits)).to_bits());
        // The change is always made: `next` never says none.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok();
    }
}

#[allow(clippy::cast_precision_loss)] // What tests count is far below 2⁵³.
impl CounterFn for Number {
    fn increment(&self, add: u64) {
        self.change(|value| value + add as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for Number {
    fn increment(&self, add: f64) {
        self.change(|value| value + add);
    }

    fn decrement(&self, less: f64) {
        self.change(|value| value - less);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl HistogramFn for Number {
    fn record(&self, value: f64) {
        self.change(|sum| sum + value);
    }
}

impl Recorder for Ear {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.number(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.number(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.number(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_logs_and_counts_is_heard() {
        let ear = Ear::default();
        ear.listen(|| {
            metrics::counter!("proxywhirl_plugin_x", "kind" => "a").increment(2);
            metrics::counter!("proxywhirl_plugin_x", "kind" => "a").increment(3);
            metrics::gauge!("proxywhirl_plugin_y").set(1.5);
        });
        ear.log()("p", proxywhirl_wasm::LogLevel::Info, "two words");
        assert_eq!(ear.lines(), ["info two words"]);
        let values: Vec<f64> = ear.metrics().into_values().collect();
        assert_eq!(values, [5.0, 1.5]);
    }
}
