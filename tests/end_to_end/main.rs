//! End-to-end tests: the real binary, driven by real clients over a loopback internet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod architecture;
mod bundle;
mod commands;
mod failover;
mod hostile_plugins;
mod persistence;
mod rotation;
