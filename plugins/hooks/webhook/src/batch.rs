//! A batch on its way.

use proxywhirl_plugin_sdk::random;
use serde::{Deserialize, Serialize};

/// Events that are sent together. The body stays the same for each attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) id: String,
    pub(crate) events: usize,
    pub(crate) body: String,
    /// Attempts that have failed.
    pub(crate) failed: u32,
    /// When it may be sent, in microseconds.
    pub(crate) due: u64,
}

impl Batch {
    /// Of events as JSON texts.
    pub(crate) fn new(events: &[String], now: u64) -> Self {
        // Time and chance: batches of one host never share an id, those of two hosts hardly ever.
        let id = format!("{now:016x}{:016x}", random::next());
        let body = format!("{{\"version\":1,\"id\":\"{id}\",\"events\":[{}]}}", events.join(","));
        Self { id, events: events.len(), body, failed: 0, due: now }
    }
}
