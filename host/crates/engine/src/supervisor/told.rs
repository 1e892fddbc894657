//! Tells faults as log line and event, but no flood of the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::event::Topic;
use proxywhirl_core::plugin::{FaultCause, PluginFault, PluginKind};

use crate::bus::Bus;
use crate::events::PluginFaultPayload;

/// How long after a report the same fault of the same plugin is only counted.
const QUIET: Duration = Duration::from_secs(1);

type Key = (Box<str>, &'static str, FaultCause);

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// When each fault was told last, and how often it came since. A key for each plugin, export and cause: bounded by
    /// the number of plugins. Held for a few instructions.
    last: Mutex<HashMap<Key, (Timestamp, u64)>>,
}

impl Told {
    /// Tells a fault. One that came within the last second already is only counted, and told with the next.
    pub(super) fn tell(&self, fault: &PluginFault, kind: PluginKind, now: Timestamp, bus: &Bus) {
        let Some(repeated) = self.unseen(fault, now) else { return };
        tracing::error!(
            plugin.name = &*fault.plugin.name,
            plugin.version = &*fault.plugin.version,
            plugin.digest = &*fault.plugin.digest,
            plugin.kind = kind.as_str(),
            plugin.export = fault.export,
            fault.cause = fault.cause.as_str(),
            fault.detail = &*fault.detail,
            fault.backtrace = fault.scene.backtrace.join(" < "),
            fault.log = fault.scene.log.join(" | "),
            fault.memory = fault.scene.memory,
            fault.ms = fault.scene.elapsed.as_secs_f64() * 1_000.0,
            fault.repeated = repeated,
            "plugin fault"
        );
        bus.publish(Topic::PluginFaulted, now, || PluginFaultPayload::new(fault, repeated));
    }

    /// How often the fault came since it was told; none when that was just now.
    fn unseen(&self, fault: &PluginFault, now: Timestamp) -> Option<u64> {
        let key = (fault.plugin.name.clone(), fault.export, fault.cause);
        let mut told = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match told.get_mut(&key) {
            Some((at, count)) if now.since(*at) < QUIET => {
                *count += 1;
                None
            }
            Some((at, count)) => {
                *at = now;
                Some(std::mem::take(count))
            }
            None => {
                told.insert(key, (now, 0));
                Some(0)
            }
        }
    }
}
