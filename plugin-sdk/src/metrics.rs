//! Numbers that appear among the host's own metrics, as `proxywhirl_plugin_NAME` with a label that
//! names the plugin. Wanted as `metrics`:
//! [`Description::with_capability`](crate::Description::with_capability).
//!
//! Names and label names are `[a-z][a-z0-9_]{0,63}`; a plugin may have 200 series, and what is beyond
//! that is dropped and counted by the host. Off WebAssembly [`fake`] keeps them for tests.

/// A label: its name and its value.
pub type Label<'a> = (&'a str, &'a str);

/// Adds to a counter.
pub fn count(name: &str, labels: &[Label<'_>], add: u64) {
    host::count(name, labels, add);
}

/// Sets a gauge.
pub fn gauge(name: &str, labels: &[Label<'_>], value: f64) {
    host::gauge(name, labels, value);
}

/// Records a value in a histogram, in seconds or another base unit.
pub fn observe(name: &str, labels: &[Label<'_>], value: f64) {
    host::observe(name, labels, value);
}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::Label;
    use crate::bindings::shared::proxywhirl::plugin::metrics;

    fn owned(labels: &[Label<'_>]) -> Vec<metrics::Label> {
        labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    pub(super) fn count(name: &str, labels: &[Label<'_>], add: u64) {
        metrics::count(name, &owned(labels), add);
    }

    pub(super) fn gauge(name: &str, labels: &[Label<'_>], value: f64) {
        metrics::gauge(name, &owned(labels), value);
    }

    pub(super) fn observe(name: &str, labels: &[Label<'_>], value: f64) {
        metrics::observe(name, &owned(labels), value);
    }
}

#[cfg(not(target_arch = "wasm32"))]
use fake as host;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
