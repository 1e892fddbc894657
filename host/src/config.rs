//! The configuration: what was written, and what it means.
//!
//! [`mod@file`] is what was written: everything optional, unknown keys refused with their line and the
//! nearest key that is known. [`Settings`] is what it means, with the command line applied: nothing is
//! optional that has a default, and durations are durations.

pub mod bans;
pub mod catalogue;
pub mod check;
pub mod control;
pub mod credentials;
pub mod environment;
pub mod escalation;
pub mod events;
pub mod fetch;
pub mod file;
pub mod layers;
pub mod limits;
pub mod listeners;
pub mod masked;
mod meaning;
pub mod mistakes;
pub mod nearest;
pub mod plugins;
pub mod readable;
pub mod reference;
pub mod retry;
pub mod said;
pub mod schema;
pub mod settings;
pub mod sites;
pub mod size;
pub mod sources;
mod syntax;
pub mod users;
mod variables;
mod words;

pub use check::{AgainSettings, CheckSettings, TargetSettings};
pub use control::Socket;
pub use credentials::{CredentialsSettings, Supply};
pub use environment::Environment;
pub use events::EventLogSettings;
pub use fetch::{BrowserSettings, CacheAt, FetchSettings};
pub use file::{ConfigError, ConfigFile};
pub use layers::Layers;
pub use listeners::{ListenAt, ListenerSettings};
pub use plugins::{PluginsSettings, SupervisionSettings};
pub use settings::{KeyPlace, PluginUse, Settings};
pub use size::Size;
pub use sources::SourceSettings;
pub use users::AccessSettings;
