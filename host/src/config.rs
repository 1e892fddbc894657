//! The configuration: what was written, and what it means.
//!
//! [`mod@file`] is what was written: everything optional, unknown keys refused with their line and the
//! nearest key that is known. [`Settings`] is what it means, with the command line applied: nothing is
//! optional that has a default, and durations are durations.

pub mod file;
pub mod settings;

pub use file::{ConfigError, ConfigFile};
pub use settings::{Settings, SourceSettings};
