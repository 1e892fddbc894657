//! Log events: writes every event as one line of the host's log.
//!
//! **When to use.** To see what happens, while trying things out or while looking for a cause; and
//! as the example of a hook.
//!
//! **Options.** `topics` (default `[]`): the topics to write; empty for all.
//!
//! Failures (`request-failure`, `plugin-faulted`, `pool-empty`) are written at warn, everything
//! else at info. A gap in the events' numbers means that the host dropped some, and is told at warn.

use proxywhirl_plugin_sdk::hook::{Event, Hook};
use proxywhirl_plugin_sdk::{Description, log};
use serde::Deserialize;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// Topics that somebody should look at.
const FAILURES: [&str; 3] = ["request-failure", "plugin-faulted", "pool-empty"];

/// What users may set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The topics to write; empty for all.
    topics: Vec<String>,
}

/// Writes every event as one line of the host's log.
#[derive(Debug)]
pub struct LogEvents {
    options: Options,
    last: Option<u64>,
}

impl LogEvents {
    /// Tells how many events were dropped before this one. Numbers count all topics, so a hook that
    /// hears only some cannot know.
    fn notice_gap(&mut self, sequence: u64) {
        let expected = self.last.map(|last| last.saturating_add(1));
        self.last = Some(sequence);
        if let Some(dropped) = expected.and_then(|expected| sequence.checked_sub(expected))
            && dropped > 0
            && self.options.topics.is_empty()
        {
            log::warn(format_args!("{dropped} events dropped before event {sequence}"));
        }
    }
}

impl Hook for LogEvents {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "log-events",
            env!("CARGO_PKG_VERSION"),
            "Writes every event as a line of the log; to see what happens.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        Ok(Self { options, last: None })
    }

    fn topics(&self) -> Vec<String> {
        self.options.topics.clone()
    }

    fn handle(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            self.notice_gap(event.sequence);
            let line = format_args!("{} {}", event.topic, event.payload);
            if FAILURES.contains(&event.topic.as_str()) {
                log::warn(line);
            } else {
                log::info(line);
            }
        }
        Ok(())
    }
}

proxywhirl_plugin_sdk::export!(hook: LogEvents);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use proxywhirl_plugin_sdk::hook::Running;
    use proxywhirl_plugin_sdk::log::Level;

    fn event(sequence: u64, topic: &str) -> Event {
        Event { sequence, at: 0, topic: topic.to_owned(), payload: r#"{"id":1}"#.to_owned() }
    }

    fn lines(options: &str, events: &[Event]) -> Vec<(Level, String)> {
        drop(log::take());
        let mut running = Running::<LogEvents>::new();
        running.configure(options).unwrap();
        running.handle(events).unwrap();
        log::take()
    }

    #[test]
    fn each_event_is_one_line_and_failures_are_warnings() {
        assert_eq!(
            lines("{}", &[event(1, "proxy-added"), event(2, "request-failure")]),
            [
                (Level::Info, r#"proxy-added {"id":1}"#.to_owned()),
                (Level::Warn, r#"request-failure {"id":1}"#.to_owned()),
            ]
        );
    }

    #[test]
    fn a_gap_is_told_only_to_who_hears_all_topics() {
        let events = [event(1, "proxy-added"), event(5, "proxy-added")];
        let warned = |options| lines(options, &events).iter().any(|(level, _)| *level == Level::Warn);
        assert!(warned("{}"));
        assert!(!warned(r#"{"topics":["proxy-added"]}"#));
    }

    #[test]
    fn it_subscribes_to_the_topics_of_its_options() {
        let mut running = Running::<LogEvents>::new();
        running.configure(r#"{"topics":["pool-empty"]}"#).unwrap();
        assert_eq!(running.topics(), ["pool-empty"]);
        running.configure("{}").unwrap();
        assert!(running.topics().is_empty());
    }

    #[test]
    fn a_topic_that_is_a_failure_is_one_of_the_schema() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        let topics = schema["properties"]["topics"]["items"]["enum"].as_array().unwrap();
        for failure in FAILURES {
            assert!(topics.iter().any(|topic| topic == failure), "{failure}");
        }
    }
}
