//! Reports what plugins do wrong: every fault as event and log line, but no flood of the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::event::Topic;
use proxywhirl_core::plugin::{FaultCause, PluginFault};

use crate::bus::Bus;
use crate::clock::Clock;
use crate::events::PluginFaultPayload;

/// How long after a report the same fault of the same plugin is only counted.
const QUIET: Duration = Duration::from_secs(1);

type Key = (Box<str>, &'static str, FaultCause);

/// Where plugin faults are told.
#[derive(Debug)]
pub struct FaultReporter {
    bus: Arc<Bus>,
    clock: Clock,
    /// When each fault was told last, and how often it came since. A key for each plugin, export and cause: bounded by
    /// the number of plugins. Held for a few instructions.
    told: Mutex<HashMap<Key, (Timestamp, u64)>>,
}

impl FaultReporter {
    /// A reporter to this bus.
    #[must_use]
    pub fn new(bus: Arc<Bus>, clock: Clock) -> Self {
        Self { bus, clock, told: Mutex::default() }
    }

    /// Tells a fault. One that came within the last second already is only counted, and told with the next.
    pub fn report(&self, fault: &PluginFault) {
        let now = self.clock.now();
        let key = (fault.plugin.name.clone(), fault.export, fault.cause);
        let unseen = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            match told.get_mut(&key) {
                Some((at, count)) if now.since(*at) < QUIET => {
                    *count += 1;
                    return;
                }
                Some((at, count)) => {
                    *at = now;
                    std::mem::take(count)
                }
                None => {
                    told.insert(key, (now, 0));
                    0
                }
            }
        };
        tracing::error!(
            plugin.name = &*fault.plugin.name,
            plugin.version = &*fault.plugin.version,
            plugin.export = fault.export,
            fault.cause = fault.cause.as_str(),
            fault.detail = &*fault.detail,
            fault.repeated = unseen,
            "plugin fault, the fallback answers"
        );
        self.bus.publish(Topic::PluginFaulted, now, || PluginFaultPayload::from(fault));
    }
}
