//! An event of each topic, with the fields of its documentation.

use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::time::Timestamp;
use serde_json::{Value, json};

/// A payload as the engine makes it.
pub(crate) fn payload(topic: Topic) -> Value {
    let proxy = "http://user:***@203.0.113.7:8080";
    let fault = json!({"side": "upstream", "stage": "connect", "kind": "refused", "detail": "connection refused"});
    match topic {
        Topic::ProxySelected => json!({"request": 7, "attempt": 1, "target": "shop.example:443", "proxy": proxy}),
        Topic::RequestSuccess => {
            json!({"request": 7, "attempt": 1, "target": "shop.example:443", "proxy": proxy, "latency_ms": 83.125})
        }
        Topic::RequestFailure => json!({
            "request": 7, "attempt": 1, "target": "shop.example:443", "proxy": proxy, "fault": fault, "counted": true,
        }),
        Topic::RequestComplete => json!({
            "request": 7, "protocol": "connect", "method": "CONNECT", "target": "shop.example:443",
            "client": "192.0.2.7:4711", "listener": "0.0.0.0:8080", "status": 200, "attempts": 2, "proxy": proxy, "duration_ms": 412.5,
        }),
        Topic::HealthCheck => {
            json!({"proxy": proxy, "level": "http", "alive": false, "latency_ms": null, "fault": fault})
        }
        Topic::ProxyAdded | Topic::ProxyRemoved => {
            json!({"proxy": proxy, "tags": ["source:user"], "health": "unknown"})
        }
        Topic::BreakerChanged => json!({"proxy": proxy, "tags": ["source:user", "eu"], "health": "unhealthy"}),
        Topic::FetchComplete => json!({"source": "public", "parser": "text", "candidates": 4711, "rejected": 12}),
        Topic::PluginFaulted => json!({
            "plugin": "fastest", "version": "1.0.0", "digest": "00ff", "export": "make-plan", "cause": "deadline",
            "detail": "ran longer than 1s", "backtrace": ["fastest::plan"], "log": [], "memory": 1_114_112,
            "elapsed_ms": 1000, "repeated": 0,
        }),
        Topic::PluginChanged => json!({
            "plugin": "fastest", "version": "1.0.1", "digest": "00ff", "kind": "strategy", "change": "replaced",
            "from": "active", "to": "active", "reason": "the file has changed",
        }),
        Topic::PoolEmpty => json!({
            "request": 7, "target": "shop.example:443", "members": 3, "tried": 1, "breaker": 2, "unplanned": 0,
        }),
        Topic::ProxyBanned => json!({
            "request": 7, "target": "www.shop.example:443", "site": "shop.example",
            "proxy": "http://user:***@203.0.113.7:8080", "rule": "captcha", "banned": true,
            "until": 1_700_000_600_000_000_u64,
        }),
        Topic::StoreChanged => json!({ "error": "file pool.json: the disk is full" }),
    }
}

/// An event of a topic.
pub(crate) fn event(sequence: u64, topic: Topic, payload: &str) -> Event {
    Event { sequence, at: Timestamp::from_micros(1_700_000_000_000_000 + sequence), topic, payload: payload.into() }
}

/// One event of each topic.
pub(crate) fn all(first: u64) -> Vec<Event> {
    let topics = Topic::ALL.into_iter().enumerate();
    topics.map(|(index, topic)| event(first + index as u64, topic, &payload(topic).to_string())).collect()
}
