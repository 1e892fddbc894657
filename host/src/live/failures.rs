//! What goes wrong with a change, for who asked and for who listens.

use proxywhirl_core::event::Topic;
use proxywhirl_engine::{Engine, SwapError};
use serde::Serialize;
use serde_json::json;

use crate::exit::{Exit, Failure};

/// Why a plugin was not swapped in: what its last words were, and where to look.
pub(super) fn swap_failure(error: SwapError) -> Failure {
    match error {
        SwapError::Fault(fault) => {
            let last = fault.scene.log.last().map_or_else(String::new, |line| format!("; its last words: {line}"));
            Failure::new(Exit::Input, format!("{fault}{last}"))
                .hint("nothing has changed; `proxywhirl plugin doctor` shows the backtrace and the log of the fault")
        }
        SwapError::Unknown(_) | SwapError::Busy | SwapError::Stopped => Failure::new(Exit::Environment, error),
    }
}

/// Tells as an event that a plugin was not taken.
pub(super) fn refused(engine: &Engine, name: &str, kind: &str, reason: &str) {
    engine.bus().publish(Topic::PluginChanged, engine.now(), || {
        json!({
            "plugin": name, "version": "", "digest": "", "kind": kind, "change": "refused",
            "from": null, "to": null, "reason": reason,
        })
    });
}

/// The word of an enumeration without fields, as JSON has it.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
