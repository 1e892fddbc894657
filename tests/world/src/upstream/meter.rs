//! What an upstream did. Sessions write, the handle reads; the counters order nothing, so they are relaxed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::json::Object;

/// Request lines kept; the oldest is forgotten first.
const MAX_SEEN: usize = 10_000;
/// Characters kept of one line.
const MAX_LINE: usize = 1_024;

/// Sums since the upstream started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Accepted connections.
    pub connections: u64,
    /// Forwarded requests that the origin answered.
    pub forwards: u64,
    /// Tunnels that reached their origin.
    pub tunnels: u64,
    /// Requests and handshakes with missing or wrong credentials.
    pub auth_failures: u64,
    /// Bytes of bodies and tunnels from clients to origins.
    pub bytes_up: u64,
    /// Bytes of bodies and tunnels from origins to clients.
    pub bytes_down: u64,
}

impl Counters {
    /// Forwards and tunnels: what was served.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.forwards + self.tunnels
    }

    /// The counters as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        Object::new()
            .number("connections", self.connections)
            .number("requests", self.requests())
            .number("forwards", self.forwards)
            .number("tunnels", self.tunnels)
            .number("auth_failures", self.auth_failures)
            .number("bytes_up", self.bytes_up)
            .number("bytes_down", self.bytes_down)
            .end()
    }
}

#[derive(Debug, Default)]
pub(super) struct Meter {
    connections: AtomicU64,
    forwards: AtomicU64,
    tunnels: AtomicU64,
    auth_failures: AtomicU64,
    pub(super) up: AtomicU64,
    pub(super) down: AtomicU64,
    seen: Mutex<VecDeque<String>>,
    logins: Mutex<VecDeque<(String, String)>>,
}

impl Meter {
    /// Counts a connection and gives it its number, from 1.
    pub(super) fn connected(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn forwarded(&self) {
        self.forwards.fetch_add(1, Relaxed);
    }

    pub(super) fn tunnelled(&self) {
        self.tunnels.fetch_add(1, Relaxed);
    }

    pub(super) fn auth_failed(&self) {
        self.auth_failures.fetch_add(1, Relaxed);
    }

    pub(super) fn saw(&self, method: &str, target: &str) {
        keep(&self.seen, method.chars().chain([' ']).chain(target.chars()).take(MAX_LINE).collect());
    }

    pub(super) fn logged_in(&self, user: &str, password: &str) {
        keep(&self.logins, (user.to_owned(), password.to_owned()));
    }

    pub(super) fn logins(&self) -> Vec<(String, String)> {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.iter().cloned().collect()
    }

    pub(super) fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().cloned().collect()
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.load(Relaxed),
            forwards: self.forwards.load(Relaxed),
            tunnels: self.tunnels.load(Relaxed),
            auth_failures: self.auth_failures.load(Relaxed),
            bytes_up: self.up.load(Relaxed),
            bytes_down: self.down.load(Relaxed),
        }
    }
}

/// Keeps something; the oldest is forgotten first.
fn keep<T>(kept: &Mutex<VecDeque<T>>, new: T) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= MAX_SEEN {
        kept.pop_front();
    }
    kept.push_back(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_what_was_seen_forgets_the_oldest_first() {
        let meter = Meter::default();
        for number in 0..=MAX_SEEN {
            meter.saw("GET", &number.to_string());
        }
        let seen = meter.seen();
        assert_eq!(seen.len(), MAX_SEEN);
        assert_eq!(seen.first().map(String::as_str), Some("GET 1"));
    }

    #[test]
    fn a_line_has_a_ceiling() {
        let meter = Meter::default();
        meter.saw("GET", &"x".repeat(2 * MAX_LINE));
        assert_eq!(meter.seen().first().map(String::len), Some(MAX_LINE));
    }
}
