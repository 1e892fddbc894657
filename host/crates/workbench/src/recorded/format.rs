//! The text of a recording: events, circumstances, and what must come of them.

use std::collections::BTreeMap;
use std::time::Duration;

use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::scenario::Span;

/// When events happened that do not say it.
const AT: u64 = 1_700_000_000_000_000;

/// A recording.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recording {
    #[serde(default)]
    pub(super) about: String,
    #[serde(default)]
    pub(super) seed: u64,
    #[serde(default = "no_options")]
    pub(super) options: Value,
    /// The options must be refused, with this in the message.
    pub(super) error: Option<String>,
    /// A file beside it: an event a line, as JSON.
    pub(super) events: Option<String>,
    #[serde(default)]
    pub(super) event: Vec<WrittenEvent>,
    pub(super) batch: Option<usize>,
    pub(super) grant: Option<Vec<String>>,
    /// Calls with an empty batch, after the events.
    #[serde(default)]
    pub(super) calls: u32,
    /// Time between calls.
    #[serde(default = "second")]
    pub(super) every: Span,
    #[serde(default)]
    pub(super) server: ServerRow,
    #[serde(default)]
    pub(super) expect: Expected,
}

/// An event as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenEvent {
    topic: String,
    at: Option<u64>,
    #[serde(default = "no_options")]
    payload: Value,
    /// Only so that lines of an event log can be taken as they are.
    #[serde(default, rename = "sequence")]
    _sequence: Option<u64>,
}

impl WrittenEvent {
    /// The event that it means.
    pub(super) fn read(self, sequence: u64) -> Result<Event, String> {
        let topic = Topic::ALL.into_iter().find(|topic| topic.as_str() == self.topic);
        let topic = topic.ok_or_else(|| format!("there is no topic {:?}", self.topic))?;
        // A text is taken as it is, so that a payload can be written that is no JSON.
        let payload = self.payload.as_str().map_or_else(|| self.payload.to_string(), str::to_owned);
        let at = self.at.unwrap_or_else(|| AT.saturating_add(sequence.saturating_mul(1_000)));
        Ok(Event { sequence, at: Timestamp::from_micros(at), topic, payload: payload.into() })
    }
}

/// How the fake server answers.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerRow {
    /// So many requests get `status`.
    pub(super) fail: usize,
    pub(super) status: u16,
    /// What later requests get.
    pub(super) answer: u16,
}

impl Default for ServerRow {
    fn default() -> Self {
        Self { fail: 0, status: 503, answer: 200 }
    }
}

/// What must come of the events.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expected {
    pub(super) topics: Option<Vec<String>>,
    pub(super) requests: Option<Vec<ExpectedRequest>>,
    pub(super) log: Vec<String>,
    pub(super) metrics: Vec<ExpectedMetric>,
    pub(super) kv: Option<BTreeMap<String, String>>,
    pub(super) refused: Option<String>,
}

/// A request that must arrive.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedRequest {
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// JSON: what is named here must be in the body.
    pub(super) body: Option<Value>,
    /// A part of the body's text.
    pub(super) contains: Option<String>,
}

/// A series that must have this value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedMetric {
    pub(super) name: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

fn no_options() -> Value {
    json!({})
}

const fn second() -> Span {
    Span(Duration::from_secs(1))
}
