//! ProxyWhirl: finds proxies, proves that they work, and rotates over them.
//!
//! This crate is the binary and the façade: it reads the configuration, loads the plugins, and wires
//! engine, gateway and store together. `host/docs/architecture.md` is the map.

pub mod bundle;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod credentials;
pub mod event_log;
pub mod exit;
pub mod live;
pub mod lock;
pub mod logging;
pub mod pattern;
pub mod secrets;
pub mod socket_file;
pub mod talk;
pub mod telemetry;
pub mod wiring;
