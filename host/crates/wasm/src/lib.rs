//! The plugin host: WebAssembly components that choose members, read documents and hear events.
//!
//! This crate implements the traits of [`proxywhirl_core::plugin`] over wasmtime, and is the only one
//! that names it. [`Plugins`] knows what components there are and makes strategies, parsers and hooks
//! of them; [`build`](mod@build) makes components out of Rust crates.
//!
//! A component is hostile until proven otherwise, and is never proven: it runs in a store of its own
//! with a memory ceiling and a deadline for each call, it reaches nothing that its world does not
//! have, its answers are read field by field, and whatever goes wrong is a
//! [`PluginFault`](proxywhirl_core::plugin::PluginFault) of that plugin and nobody else's.
//!
//! # Threads
//!
//! Every call runs on the thread that makes it and blocks it until the plugin answers or its deadline
//! is over: seconds for all but `select`. `select` may be called from a worker of an asynchronous
//! runtime, everything else belongs on a thread that may block. Nothing enters a runtime of its own, so
//! that components that import WASI may be called from anywhere, too.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::Arc;
//! use proxywhirl_core::symbol::Symbols;
//! use proxywhirl_core::time::Timestamp;
//! use proxywhirl_wasm::{Plugins, PluginsConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(|| Timestamp::from_micros(0));
//! let mut config = PluginsConfig::new(Arc::new(Symbols::default()), clock);
//! config.directory = Some("/etc/proxywhirl/plugins".into());
//! let plugins = Plugins::load(config)?;
//! for plugin in plugins.list() {
//!     eprintln!("{} {}", plugin.name, plugin.version);
//! }
//! let factory = plugins.strategy("round-robin", "{}")?;
//! let mut strategy = factory.instance()?;
//! strategy.apply(1, true, &[], &[])?;
//! # Ok(())
//! # }
//! ```

mod bindings;
pub mod build;
mod cache;
mod capability;
mod config;
mod convert;
mod directory;
mod fault;
mod guest;
mod hook;
mod imports;
mod inspect;
mod library;
mod logbook;
mod manifest;
mod options;
mod parallel;
mod parser;
mod plugin;
mod runtime;
mod state;
mod strategy;
mod ticker;
mod wasi;

pub use capability::{Access, Grant, GrantError, HostRule, HttpRule, PortRule, Standing, WebScheme};
pub use config::{Clock, Gate, KindLimits, LimitOverrides, Limits, LogListener, PluginSettings, PluginsConfig};
pub use library::Plugins;
pub use library::info::{Change, Compiled, LoadError, LoadProblem, Origin, PluginError, PluginInfo};
pub use logbook::LogLevel;
pub use manifest::Manifest;
pub use options::OptionsError;

#[cfg(test)]
mod tests;
