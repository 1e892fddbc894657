//! Events that no batch has taken yet, in order, each as its JSON text.

use proxywhirl_plugin_sdk::hook::Event;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// All of them together, in bytes; beyond it the oldest is dropped.
const MAX_BYTES: usize = 2 << 20;

/// The events of one batch may take so much: less than a value in the host's store, 262,144 bytes.
pub(crate) const MAX_BATCH: usize = 240_000;

/// An event as it is sent.
#[derive(Debug, Serialize)]
struct Sent<'a> {
    sequence: u64,
    at: u64,
    topic: &'a str,
    payload: &'a RawValue,
}

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    /// When it came, in microseconds.
    since: u64,
    json: String,
}

/// The events, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    events: VecDeque<Waiter>,
    bytes: usize,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Adds an event; answers with how many were dropped for it.
    pub(crate) fn push(&mut self, event: &Event, now: u64) -> usize {
        let payload = serde_json::from_str::<&RawValue>(&event.payload).ok();
        let Event { sequence, at, topic, .. } = event;
        let json = payload
            .and_then(|payload| serde_json::to_string(&Sent { sequence: *sequence, at: *at, topic, payload }).ok());
        match json {
            Some(json) => self.put(Waiter { since: now, json }),
            None => 1,
        }
    }

    /// Adds what waited before; answers with how many were dropped for it.
    pub(crate) fn put(&mut self, waiter: Waiter) -> usize {
        if waiter.json.len() > MAX_BATCH {
            return 1;
        }
        self.bytes += waiter.json.len();
        self.events.push_back(waiter);
        let mut dropped = 0;
        while self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.json.len();
            dropped += 1;
        }
        dropped
    }

    /// Whether a batch is due: full, or its first event has waited for long enough.
    pub(crate) fn is_due(&self, batch: usize, max_age: u64, now: u64) -> bool {
        let aged = self.events.front().is_some_and(|oldest| now.saturating_sub(oldest.since) >= max_age);
        aged || self.events.len() >= batch || self.bytes >= MAX_BATCH
    }

    /// Takes the JSON texts of up to so many events that fit into a batch.
    pub(crate) fn take(&mut self, batch: usize) -> Vec<String> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < batch {
            let fits = self.events.front().is_some_and(|next| bytes + next.json.len() <= MAX_BATCH);
            let Some(next) = self.events.pop_front().filter(|_| fits) else { break };
            bytes += next.json.len();
            taken.push(next.json);
        }
        self.bytes -= bytes;
        taken
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.events.iter()
    }
}
