//! Tells what happens while it happens, from the same events that hooks hear.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proxywhirl_core::event::{Event, Topic};
use proxywhirl_engine::Engine;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::super::output::tell;

/// Events that wait to be told; more are dropped, which costs a line of talk.
const QUEUE: usize = 16_384;

/// Failovers that are told one by one; the rest is in the summary.
const FAILOVERS: u64 = 12;

/// Tells, and counts failovers.
pub(super) struct Narrator {
    failovers: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Narrator {
    /// How often a request left a proxy that failed.
    pub(super) fn failovers(&self) -> u64 {
        self.failovers.load(Ordering::Relaxed)
    }

    /// Tells what is left, once the engine has stopped.
    pub(super) async fn finish(self) {
        // A panic in it has been reported by the runtime.
        drop(self.task.await);
    }
}

/// Starts telling; ends when the engine stops.
pub(super) fn start(engine: &Arc<Engine>) -> Narrator {
    let topics = [Topic::FetchComplete, Topic::HealthCheck, Topic::RequestFailure, Topic::BreakerChanged];
    let mut events = engine.subscribe(&topics, QUEUE);
    let failovers = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&failovers);
    let task = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
            let is_failover = event.topic == Topic::RequestFailure;
            let before = count.fetch_add(u64::from(is_failover), Ordering::Relaxed);
            if !is_failover || before < FAILOVERS {
                tell(&format!("  {}", sentence(&event, &payload)));
            }
        }
    });
    Narrator { failovers, task }
}

fn text<'v>(payload: &'v Value, path: &str) -> &'v str {
    payload.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn number(payload: &Value, path: &str) -> u64 {
    payload.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}

fn sentence(event: &Event, payload: &Value) -> String {
    let proxy = text(payload, "/proxy");
    match event.topic {
        Topic::FetchComplete => match text(payload, "/error") {
            "" => format!(
                "list {}: parser {}, {} candidates, {} rejected",
                text(payload, "/source"),
                text(payload, "/parser"),
                number(payload, "/candidates"),
                number(payload, "/rejected")
            ),
            error => format!("list {}: {error}", text(payload, "/source")),
        },
        Topic::HealthCheck if payload.pointer("/alive") == Some(&Value::Bool(true)) => {
            let latency = payload.pointer("/latency_ms").and_then(Value::as_f64).unwrap_or_default();
            format!("alive  {proxy} ({latency:.1} ms)")
        }
        Topic::HealthCheck => {
            format!("dead   {proxy}: {} at {}", text(payload, "/fault/kind"), text(payload, "/fault/stage"))
        }
        Topic::RequestFailure => format!(
            "failover: request {} leaves {proxy} ({} at {})",
            number(payload, "/request"),
            text(payload, "/fault/kind"),
            text(payload, "/fault/stage")
        ),
        Topic::BreakerChanged => format!("breaker of {proxy}: it is {} now", text(payload, "/health")),
        Topic::ProxySelected
        | Topic::RequestSuccess
        | Topic::RequestComplete
        | Topic::ProxyAdded
        | Topic::ProxyRemoved
        | Topic::PluginFaulted
        | Topic::PluginChanged
        | Topic::PoolEmpty
        | Topic::ProxyBanned
        | Topic::StoreChanged => format!("{}: {}", event.topic, event.payload),
    }
}
