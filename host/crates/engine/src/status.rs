//! What is known of a plugin, for people and programs: how it does, and how it last went wrong.

use std::fmt;

use proxywhirl_core::Timestamp;
use proxywhirl_core::plugin::{OnFault, PluginFault, PluginIdentity, PluginKind};
use serde::{Deserialize, Serialize};

use crate::supervision::State;

/// Faults that are remembered of each plugin.
pub const FAULTS: usize = 16;

/// Which build of a plugin, in a form that can be written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The plugin's name.
    pub name: String,
    /// Its version; empty when it is not known.
    pub version: String,
    /// SHA-256 of the component; empty when it is not known.
    pub digest: String,
}

impl From<&PluginIdentity> for Build {
    fn from(identity: &PluginIdentity) -> Self {
        Self {
            name: identity.name.to_string(),
            version: identity.version.to_string(),
            digest: identity.digest.to_string(),
        }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.version.is_empty() { Ok(()) } else { write!(f, " {}", self.version) }
    }
}

/// What is known of a plugin. All times are microseconds since the Unix epoch when they are written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStatus {
    /// Which build is in force.
    #[serde(flatten)]
    pub build: Build,
    /// What it is for.
    #[serde(with = "kind")]
    pub kind: PluginKind,
    /// How it does.
    #[serde(flatten)]
    pub state: State,
    /// Since when.
    #[serde(with = "micros")]
    pub since: Timestamp,
    /// Until when a fault brings the version before back.
    #[serde(with = "micros::option", default, skip_serializing_if = "Option::is_none")]
    pub probation: Option<Timestamp>,
    /// Faults since the host has started.
    pub faults: u64,
    /// Restarts since the host has started.
    pub restarts: u64,
    /// What follows when it faults.
    #[serde(with = "on_fault")]
    pub on_fault: OnFault,
    /// What waits for it; hooks only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// The last faults, the oldest first; at most [`FAULTS`].
    pub last_faults: Vec<FaultRecord>,
}

/// The queue of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Events that wait.
    pub waiting: usize,
    /// How many may wait.
    pub capacity: usize,
    /// Events that were dropped, because the queue was full or because the plugin faulted on them.
    pub dropped: u64,
}

/// A fault as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// When it happened.
    #[serde(with = "micros")]
    pub at: Timestamp,
    /// The version that faulted.
    pub version: String,
    /// SHA-256 of the component that faulted.
    pub digest: String,
    /// The function that was called.
    pub export: String,
    /// What stopped it: see `FaultCause`.
    pub cause: String,
    /// The particulars in one line.
    pub detail: String,
    /// The guest's functions, the innermost first.
    pub backtrace: Vec<String>,
    /// The last lines that the instance logged, the oldest first.
    pub log: Vec<String>,
    /// Bytes of linear memory that the instance had.
    pub memory: u64,
    /// How long the call had run, in milliseconds.
    pub elapsed_ms: u64,
}

impl FaultRecord {
    /// A fault and when it happened.
    #[must_use]
    pub fn new(fault: &PluginFault, at: Timestamp) -> Self {
        let texts = |lines: &[Box<str>]| lines.iter().map(ToString::to_string).collect();
        Self {
            at,
            version: fault.plugin.version.to_string(),
            digest: fault.plugin.digest.to_string(),
            export: fault.export.to_owned(),
            cause: fault.cause.as_str().to_owned(),
            detail: fault.detail.to_string(),
            backtrace: texts(&fault.scene.backtrace),
            log: texts(&fault.scene.log),
            memory: fault.scene.memory,
            elapsed_ms: u64::try_from(fault.scene.elapsed.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The word for what follows a fault, as configuration files write it.
#[must_use]
pub const fn on_fault_word(on_fault: OnFault) -> &'static str {
    match on_fault {
        OnFault::Fallback => "fallback",
        OnFault::Reload => "reload",
        OnFault::Reject => "reject",
    }
}

/// Timestamps as microseconds since the Unix epoch.
pub(crate) mod micros {
    use proxywhirl_core::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(at.as_micros())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_micros)
    }

    /// The same where there may be none.
    pub(crate) mod option {
        use proxywhirl_core::Timestamp;
        use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

        #[allow(clippy::ref_option, reason = "the form that serde calls")]
        pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            at.map(Timestamp::as_micros).serialize(serializer)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Timestamp::from_micros))
        }
    }
}

/// Kinds as their words.
mod kind {
    use proxywhirl_core::plugin::PluginKind;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(kind: &PluginKind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PluginKind, D::Error> {
        let word = String::deserialize(deserializer)?;
        [PluginKind::Strategy, PluginKind::Parser, PluginKind::Hook]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| D::Error::custom(format!("not a kind of plugin: {word}")))
    }
}

/// What follows a fault, as its word.
mod on_fault {
    use proxywhirl_core::plugin::OnFault;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::on_fault_word;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(on_fault: &OnFault, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(on_fault_word(*on_fault))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OnFault, D::Error> {
        let word = String::deserialize(deserializer)?;
        [OnFault::Fallback, OnFault::Reload, OnFault::Reject]
            .into_iter()
            .find(|on_fault| on_fault_word(*on_fault) == word)
            .ok_or_else(|| D::Error::custom(format!("not a way to go on after a fault: {word}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_being_written_down() {
        let fault = PluginFault::new(
            PluginIdentity { name: "a".into(), version: "1.0.0".into(), digest: "ff".into() },
            "plan",
            proxywhirl_core::plugin::FaultCause::Trap,
            "unreachable",
        );
        let at = Timestamp::from_micros(7);
        let status = PluginStatus {
            build: Build::from(&fault.plugin),
            kind: PluginKind::Strategy,
            state: State::Quarantined { until: at },
            since: at,
            probation: None,
            faults: 1,
            restarts: 2,
            on_fault: OnFault::Reject,
            queue: Some(QueueStatus { waiting: 1, capacity: 2, dropped: 3 }),
            last_faults: vec![FaultRecord::new(&fault, at)],
        };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!((&json["name"], &json["state"], &json["until"]), (&"a".into(), &"quarantined".into(), &7.into()));
        assert_eq!(json["on_fault"], "reject");
        assert_eq!(serde_json::from_value::<PluginStatus>(json).unwrap(), status);
    }
}
