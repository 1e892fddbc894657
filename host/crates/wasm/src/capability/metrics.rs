//! Metrics of plugins among the host's own, with the plugin's name as a label.
//!
//! A recorder keeps every series that it has ever seen, so a plugin has a fixed number of them: one
//! that puts a request's identifier into a label loses its metrics, and nobody else anything.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use metrics::Label;

use crate::bindings::shared::proxywhirl::plugin::metrics as wit;
use crate::state::State;

/// Series that a plugin may have, all its instances together.
const MAX_SERIES: usize = 200;
/// Labels of one series.
const MAX_LABELS: usize = 8;
/// The longest value of a label, in bytes.
const MAX_VALUE: usize = 128;
/// Names that the host has for metrics of its own about plugins, and beginnings of such names.
const RESERVED: [&str; 9] = ["fault", "restart", "state", "queue_", "call_", "calls_", "metrics_", "info", "hook_"];

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Counter,
    Gauge,
    Histogram,
}

/// The series of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// What each name counts: one name cannot be two things.
    names: HashMap<Box<str>, Sort>,
    known: HashSet<Key>,
}

/// A name, and labels in their order.
type Key = (Box<str>, Vec<(Box<str>, Box<str>)>);

impl Series {
    /// Whether a value may be recorded.
    fn admit(&mut self, sort: Sort, name: &str, labels: &[(String, String)]) -> bool {
        let proper = is_name(name)
            && !RESERVED.iter().any(|reserved| name.starts_with(reserved))
            && labels.len() <= MAX_LABELS
            && labels.iter().all(|(name, value)| is_name(name) && name != "plugin" && value.len() <= MAX_VALUE);
        if !proper || self.names.get(name).is_some_and(|known| *known != sort) {
            return false;
        }
        let mut key: Vec<_> =
            labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        key.sort_unstable();
        let twice = key.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other));
        let series = (Box::from(name), key);
        if twice || (self.known.len() >= MAX_SERIES && !self.known.contains(&series)) {
            return false;
        }
        self.known.insert(series);
        self.names.insert(name.into(), sort);
        true
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

impl State {
    /// The metric's full name and labels, or none when the value is dropped.
    fn metric(&self, sort: Sort, name: &str, labels: Vec<(String, String)>) -> Option<(String, Vec<Label>)> {
        let account = &self.pass.account;
        let plugin = || Label::new("plugin", account.name.to_string());
        let granted = self.pass.metrics();
        if !granted {
            account.tell_denied("metrics");
        }
        let admitted =
            granted && account.series.lock().unwrap_or_else(PoisonError::into_inner).admit(sort, name, &labels);
        if !admitted {
            metrics::counter!("proxywhirl_plugin_metrics_dropped_total", vec![plugin()]).increment(1);
            return None;
        }
        let mut all = vec![plugin()];
        all.extend(labels.into_iter().map(|(name, value)| Label::new(name, value)));
        Some((format!("proxywhirl_plugin_{name}"), all))
    }
}

impl wit::Host for State {
    fn count(&mut self, name: String, labels: Vec<(String, String)>, add: u64) {
        if let Some((name, labels)) = self.metric(Sort::Counter, &name, labels) {
            metrics::counter!(name, labels).increment(add);
        }
    }

    fn gauge(&mut self, name: String, labels: Vec<(String, String)>, value: f64) {
        if let Some((name, labels)) = self.metric(Sort::Gauge, &name, labels) {
            metrics::gauge!(name, labels).set(value);
        }
    }

    fn observe(&mut self, name: String, labels: Vec<(String, String)>, value: f64) {
        if let Some((name, labels)) = self.metric(Sort::Histogram, &name, labels) {
            metrics::histogram!(name, labels).record(value);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::wit::Host as _;
    use super::*;
    use crate::tests::state;

    fn label(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    /// What a recorder shows after that was done.
    fn recorded(done: impl FnOnce(&mut State), grants: &[&str]) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut state = state(&["metrics"], &["metrics"], grants);
        metrics::with_local_recorder(&recorder, || done(&mut state));
        recorder.handle().render()
    }

    #[test]
    fn what_a_plugin_counts_stands_among_the_hosts_metrics_under_its_name() {
        let text = recorded(
            |state| {
                state.count("sent_total".to_owned(), label("to", "a"), 2);
                state.count("sent_total".to_owned(), label("to", "a"), 3);
                state.gauge("waiting".to_owned(), Vec::new(), 1.5);
                state.observe("took_seconds".to_owned(), Vec::new(), 0.25);
            },
            &["metrics"],
        );
        assert!(text.contains(r#"proxywhirl_plugin_sent_total{plugin="guest",to="a"} 5"#), "{text}");
        assert!(text.contains(r#"proxywhirl_plugin_waiting{plugin="guest"} 1.5"#), "{text}");
        assert!(text.contains(r#"proxywhirl_plugin_took_seconds_count{plugin="guest"} 1"#), "{text}");
        assert!(!text.contains("dropped"), "{text}");
    }

    #[test]
    fn what_is_no_metric_is_dropped_and_counted() {
        let text = recorded(
            |state| {
                state.gauge("fine".to_owned(), Vec::new(), 1.0);
                state.count("fine".to_owned(), Vec::new(), 1);
                for name in ["", "Upper", "1st", "a-b", "faults_total", "state", &"x".repeat(65)] {
                    state.count(name.to_owned(), Vec::new(), 1);
                }
                state.count("other".to_owned(), label("plugin", "somebody-else"), 1);
                state.count("other".to_owned(), label("bad name", "a"), 1);
                state.count("other".to_owned(), label("long", &"v".repeat(129)), 1);
                state.count("other".to_owned(), [label("a", "1"), label("a", "2")].concat(), 1);
                let many = (0..9).flat_map(|n| label(&format!("l{n}"), "v")).collect();
                state.count("other".to_owned(), many, 1);
            },
            &["metrics"],
        );
        assert!(text.contains(r#"proxywhirl_plugin_metrics_dropped_total{plugin="guest"} 13"#), "{text}");
        assert!(!text.contains("other") && !text.contains("somebody-else"), "{text}");
    }

    #[test]
    fn a_plugin_cannot_fill_the_recorder() {
        let text = recorded(
            |state| (0..1_000).for_each(|n| state.count("seen".to_owned(), label("request", &n.to_string()), 1)),
            &["metrics"],
        );
        assert_eq!(text.matches("proxywhirl_plugin_seen{").count(), MAX_SERIES);
        assert!(text.contains(r#"metrics_dropped_total{plugin="guest"} 800"#));
    }

    #[test]
    fn without_a_grant_everything_is_dropped_and_counted() {
        let text = recorded(|state| state.count("sent".to_owned(), Vec::new(), 1), &[]);
        assert!(text.contains(r#"metrics_dropped_total{plugin="guest"} 1"#) && !text.contains("sent"), "{text}");
    }
}
