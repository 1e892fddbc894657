//! The metrics of a thread, for tests. Only off WebAssembly.

use super::Label;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Series of a plugin; a further one is dropped.
const MAX_SERIES: usize = 200;

/// Values kept of a histogram, so that a test that loops does not fill the memory.
const MAX_VALUES: usize = 10_000;

type Series = (String, Vec<(String, String)>);

#[derive(Debug)]
enum Metric {
    Counter(u64),
    Gauge(f64),
    Histogram(Vec<f64>),
}

thread_local! {
    static METRICS: RefCell<BTreeMap<Series, Metric>> = const { RefCell::new(BTreeMap::new()) };
}

/// Forgets all metrics of this thread.
pub fn reset() {
    METRICS.take();
}

/// A counter; 0 when it was never counted.
#[must_use]
pub fn counter(name: &str, labels: &[Label<'_>]) -> u64 {
    read(name, labels, |metric| if let Metric::Counter(value) = metric { Some(*value) } else { None }).unwrap_or(0)
}

/// A gauge, if it was set.
#[must_use]
pub fn gauged(name: &str, labels: &[Label<'_>]) -> Option<f64> {
    read(name, labels, |metric| if let Metric::Gauge(value) = metric { Some(*value) } else { None })
}

/// What was recorded in a histogram.
#[must_use]
pub fn observed(name: &str, labels: &[Label<'_>]) -> Vec<f64> {
    let values = |metric: &Metric| if let Metric::Histogram(values) = metric { Some(values.clone()) } else { None };
    read(name, labels, values).unwrap_or_default()
}

pub(super) fn count(name: &str, labels: &[Label<'_>], add: u64) {
    write(name, labels, Metric::Counter(0), |metric| {
        if let Metric::Counter(value) = metric {
            *value = value.saturating_add(add);
        }
    });
}

pub(super) fn gauge(name: &str, labels: &[Label<'_>], value: f64) {
    write(name, labels, Metric::Gauge(value), |metric| {
        if let Metric::Gauge(old) = metric {
            *old = value;
        }
    });
}

pub(super) fn observe(name: &str, labels: &[Label<'_>], value: f64) {
    write(name, labels, Metric::Histogram(Vec::new()), |metric| {
        if let Metric::Histogram(values) = metric
            && values.len() < MAX_VALUES
        {
            values.push(value);
        }
    });
}

/// A series; the order of labels does not matter. None when a name is not allowed.
fn series(name: &str, labels: &[Label<'_>]) -> Option<Series> {
    let mut labels: Vec<_> = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    labels.sort_unstable();
    let valid = is_name(name) && labels.iter().all(|(name, _)| is_name(name));
    valid.then(|| (name.to_owned(), labels))
}

fn is_name(text: &str) -> bool {
    let later = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.len() <= 64 && text.bytes().all(later) && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
}

fn read<R>(name: &str, labels: &[Label<'_>], of: impl FnOnce(&Metric) -> Option<R>) -> Option<R> {
    METRICS.with_borrow(|metrics| of(metrics.get(&series(name, labels)?)?))
}

fn write(name: &str, labels: &[Label<'_>], fresh: Metric, change: impl FnOnce(&mut Metric)) {
    let Some(series) = series(name, labels) else { return };
    METRICS.with_borrow_mut(|metrics| {
        if metrics.len() < MAX_SERIES || metrics.contains_key(&series) {
            change(metrics.entry(series).or_insert(fresh));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::{count, gauge, observe};
    use super::*;

    #[test]
    fn each_kind_keeps_what_it_is_told_by_its_labels_in_any_order() {
        reset();
        count("sent", &[("a", "1"), ("b", "2")], 2);
        count("sent", &[("b", "2"), ("a", "1")], 3);
        gauge("waiting", &[], 7.0);
        observe("latency_seconds", &[], 0.5);
        assert_eq!((counter("sent", &[("a", "1"), ("b", "2")]), counter("sent", &[])), (5, 0));
        assert_eq!(gauged("waiting", &[]), Some(7.0));
        assert_eq!(observed("latency_seconds", &[]), [0.5]);
    }

    #[test]
    fn a_name_that_is_not_allowed_and_a_series_too_many_are_dropped() {
        reset();
        count("Sent", &[], 1);
        count("sent", &[("bad-label", "")], 1);
        for number in 0..300 {
            count("sent", &[("number", &number.to_string())], 1);
        }
        assert_eq!((counter("Sent", &[]), counter("sent", &[("number", "199")])), (0, 1));
        assert_eq!(counter("sent", &[("number", "200")]), 0);
    }
}
