//! Something that happened, for hooks, logs and whoever watches.
//!
//! The payload's fields by topic are part of the contract with plugins: `host/docs/events.md` lists
//! them, and a field is never removed or given another meaning.

use std::fmt;

use crate::time::Timestamp;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A member was chosen for an attempt.
    ProxySelected,
    /// An attempt went well.
    RequestSuccess,
    /// An attempt failed.
    RequestFailure,
    /// The client has its answer, whatever the number of attempts.
    RequestComplete,
    /// A check ended.
    HealthCheck,
    /// A member joined the pool.
    ProxyAdded,
    /// A member left the pool.
    ProxyRemoved,
    /// A member's breaker changed its state.
    BreakerChanged,
    /// A source was fetched and parsed.
    FetchComplete,
    /// A plugin broke a limit, trapped or answered nonsense.
    PluginFaulted,
    /// A plugin was loaded, replaced, rolled back, quarantined, disabled or put back in force.
    PluginChanged,
    /// A request found no member to use.
    PoolEmpty,
    /// A rule banned a member, or would have.
    ProxyBanned,
    /// The pool cannot be saved any more, or can again.
    StoreChanged,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 14] = [
        Self::ProxySelected,
        Self::RequestSuccess,
        Self::RequestFailure,
        Self::RequestComplete,
        Self::HealthCheck,
        Self::ProxyAdded,
        Self::ProxyRemoved,
        Self::BreakerChanged,
        Self::FetchComplete,
        Self::PluginFaulted,
        Self::PluginChanged,
        Self::PoolEmpty,
        Self::ProxyBanned,
        Self::StoreChanged,
    ];

    /// The topic's name in the contract with plugins.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProxySelected => "proxy-selected",
            Self::RequestSuccess => "request-success",
            Self::RequestFailure => "request-failure",
            Self::RequestComplete => "request-complete",
            Self::HealthCheck => "health-check",
            Self::ProxyAdded => "proxy-added",
            Self::ProxyRemoved => "proxy-removed",
            Self::BreakerChanged => "breaker-changed",
            Self::FetchComplete => "fetch-complete",
            Self::PluginFaulted => "plugin-faulted",
            Self::PluginChanged => "plugin-changed",
            Self::PoolEmpty => "pool-empty",
            Self::ProxyBanned => "proxy-banned",
            Self::StoreChanged => "store-changed",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number, growing by one.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What it is about.
    pub topic: Topic,
    /// A JSON object; its fields by topic are documented. No password, ever.
    pub payload: Box<str>,
}
