//! End-to-end tests: the real binary, driven by real clients over a loopback internet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod architecture;
mod bans;
mod browsing;
mod bundle;
mod chains;
mod churn;
mod commands;
mod control;
mod credentials;
mod escalation;
mod examples;
mod explain;
mod failover;
mod formats;
mod hedging;
mod hostile_clients;
mod hostile_hundred;
mod hostile_plugins;
mod ingress;
mod limits;
mod persistence;
mod plugin_commands;
mod pool;
mod redis;
mod refresh;
mod reload;
mod reuse;
mod rotation;
mod sessions;
mod sites;
mod storage;
mod strategies;
mod uploads;
