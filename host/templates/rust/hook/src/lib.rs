//! {{Name}}: counts failed requests, and tells one of so many.

use proxywhirl_plugin_sdk::hook::{Event, Hook};
use proxywhirl_plugin_sdk::{Description, log};
use serde::Deserialize;

/// What users may set, as in `options.json`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Tell one failure of so many.
    every: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { every: 1 }
    }
}

/// What is read of an event's payload; the host's documentation has all of its fields.
#[derive(Debug, Deserialize)]
struct Failure {
    proxy: String,
}

/// Counts failed requests.
#[derive(Debug)]
pub struct {{Name}} {
    options: Options,
    failures: u64,
}

impl Hook for {{Name}} {
    type Options = Options;

    fn describe() -> Description {
        Description::new("{{name}}", env!("CARGO_PKG_VERSION"), "Counts failed requests, and tells one of so many.")
            .with_options(include_str!("../options.json"))
    }

    fn new(options: Options) -> Result<Self, String> {
        Ok(Self { options, failures: 0 })
    }

    // What is not named here is never sent. None at all stands for everything.
    fn topics(&self) -> Vec<String> {
        vec!["request-failure".to_owned()]
    }

    // Called with what has gathered since the last call. No request waits for it.
    fn handle(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            let Ok(failure) = serde_json::from_str::<Failure>(&event.payload) else { continue };
            self.failures += 1;
            if self.failures % self.options.every == 0 {
                log::warn(format_args!("{} failures, the last one with {}", self.failures, failure.proxy));
            }
        }
        Ok(())
    }
}

proxywhirl_plugin_sdk::export!(hook: {{Name}});

#[cfg(test)]
mod tests {
    use super::*;
    use proxywhirl_plugin_sdk::hook::Running;

    #[test]
    fn one_failure_of_two_is_told() {
        drop(log::take());
        let mut running = Running::<{{Name}}>::new();
        running.configure(r#"{"every":2}"#).unwrap();
        let event = |sequence| Event {
            sequence,
            at: 0,
            topic: "request-failure".to_owned(),
            payload: r#"{"proxy":"http://203.0.113.7:8080"}"#.to_owned(),
        };
        running.handle(&[event(1), event(2), event(3)]).unwrap();
        assert_eq!(log::take().len(), 1);
    }
}
