//! The host against guests that misbehave in every way that the limits are for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod bundled;
mod loading;
mod sandbox;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::time::Timestamp;

use crate::{Plugins, PluginsConfig};

/// A configuration with the limits of production but for time and memory, which are small enough to be
/// reached soon, and large enough for a loaded machine.
fn config() -> PluginsConfig {
    let clock = Arc::new(|| Timestamp::from_micros(1_700_000_000_000_000));
    let mut config = PluginsConfig::new(Arc::new(Symbols::default()), clock);
    config.limits.strategy.memory = 8 * 1024 * 1024;
    config.limits.strategy.call = Duration::from_millis(300);
    config.limits.strategy.select = Duration::from_millis(100);
    config.limits.parser.memory = 8 * 1024 * 1024;
    config.limits.parser.call = Duration::from_millis(300);
    config.limits.parser.select = Duration::from_millis(100);
    config.limits.hook.call = Duration::from_millis(300);
    config
}

fn write(directory: &Path, file: &str, bytes: &[u8]) {
    std::fs::write(directory.join(file), bytes).unwrap();
}

/// A library of these files.
fn library(files: &[(&str, Vec<u8>)]) -> Plugins {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        write(directory.path(), name, bytes);
    }
    Plugins::load(PluginsConfig { directory: Some(directory.path().to_owned()), ..config() }).unwrap()
}
