//! Webhook: sends events to a web server, in signed batches.
//!
//! **When to use.** Something else shall react to what happens: a chat, an incident tool, a collector.
//!
//! **Options.** `url`; `secret` to sign; `topics` (default all); `batch` (default 100 events) and
//! `max_age` (default `5s`), whichever comes first; `headers`; `timeout` (default `3s`); `retries`
//! (default 8) with `backoff` (default `1s`) doubling to `max_backoff` (default `1m`); `dead_letters`
//! (default 100 batches).
//!
//! **Grants.** `http:SCHEME://HOST:PORT` of the URL; `kv` for dead letters; `metrics`.
//!
//! **What arrives.** `POST` with a JSON object: `version` (1), `id` of the batch, and `events` in order,
//! each with `sequence`, `at` (microseconds since the Unix epoch), `topic` and `payload`. Headers:
//!
//! * `ProxyWhirl-Delivery`: the batch's id, the same for each attempt, so that a receiver can tell a
//!   repetition: an attempt whose answer was lost is made again.
//! * `ProxyWhirl-Attempt`: 1, 2, …; 0 for a dead letter that is sent again.
//! * `ProxyWhirl-Signature`: `t=SECONDS,v1=HEX` with the HMAC-SHA256 (RFC 2104) of `SECONDS.BODY`. Sign
//!   again, compare in constant time, and refuse a time that is minutes old.
//!
//! **What happens when it fails.** One batch is under way at a time, so the order is kept. 2xx is
//! success. 408, 425, 429, 5xx and no answer are tried again with exponential back-off and jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>), or when `Retry-After`
//! says; anything else will not get better. What cannot be delivered becomes a dead letter, and is sent
//! again, the oldest first, after the next success. Events that come meanwhile wait, 2 MB of them;
//! beyond that the oldest are dropped and counted. What waits is handed over to a newer version of the
//! plugin, and sent once more when the host ends; what fails then is lost, but for dead letters.
//!
//! **Metrics**, with the label `plugin="webhook"`, after `proxywhirl_plugin_`: `events_sent_total`,
//! `events_dropped_total`, `events_waiting`, `requests_failed_total` by `reason`,
//! `request_duration_seconds`, `batches_dead_total`, `batches_replayed_total`, `letters_dropped_total`,
//! `dead_letters`.
//!
//! The host calls about once a second while nothing happens, and a last time before it ends. What waits
//! is then sent at once, though its batch is neither full nor old.

mod batch;
mod delivery;
mod letters;
mod options;
mod sign;
mod waiting;

use delivery::Delivery;
use options::Settings;
use proxywhirl_plugin_sdk::Description;
use proxywhirl_plugin_sdk::hook::{Event, Hook};

pub use options::Options;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// Dead letters may take so much: 8 MiB.
const KV: &str = "kv:8388608";

/// Sends events to a web server.
#[derive(Debug)]
pub struct Webhook {
    topics: Vec<String>,
    delivery: Delivery,
}

impl Hook for Webhook {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "webhook",
            env!("CARGO_PKG_VERSION"),
            "Sends events to a web server in signed batches; when something else shall react.",
        )
        .with_options(SCHEMA)
        .with_capability("http:*")
        .with_capability(KV)
        .with_capability("metrics")
    }

    fn new(options: Options) -> Result<Self, String> {
        let topics = options.topics.clone();
        Ok(Self { topics, delivery: Delivery::new(Settings::new(options)?) })
    }

    fn topics(&self) -> Vec<String> {
        self.topics.clone()
    }

    fn handle(&mut self, events: &[Event]) -> Result<(), String> {
        self.delivery.take(events);
        self.delivery.run(events.is_empty());
        Ok(())
    }

    fn save(&mut self) -> Vec<u8> {
        self.delivery.save()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        self.delivery.restore(state)
    }
}

proxywhirl_plugin_sdk::export!(hook: Webhook, handover);

#[cfg(test)]
mod tests;
