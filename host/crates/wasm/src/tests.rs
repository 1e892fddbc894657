//! The host against guests that misbehave in every way that the limits are for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod bundled;
mod changing;
mod handover;
mod hostile;
mod loading;
mod sandbox;
mod web;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::time::Timestamp;

use crate::capability::pass::Pass;
use crate::logbook::{Logbook, Voice};
use crate::runtime::Runtime;
use crate::state::{State, Vocabulary};
use crate::{PluginSettings, Plugins, PluginsConfig};

/// A configuration with the limits of production but for time and memory, which are small enough to be
/// reached soon, and large enough for a loaded machine.
fn config() -> PluginsConfig {
    let clock = Arc::new(|| Timestamp::from_micros(1_700_000_000_000_000));
    let mut config = PluginsConfig::new(Arc::new(Symbols::default()), clock);
    config.limits.strategy.memory = 8 * 1024 * 1024;
    config.limits.strategy.call = Duration::from_millis(300);
    config.limits.strategy.select = Duration::from_millis(100);
    config.limits.parser.memory = 8 * 1024 * 1024;
    config.limits.parser.memory_per_byte = 0;
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

/// What an instance of a hook named `guest` has that imports and wants these capabilities and was granted those.
pub(crate) fn state(imports: &[&str], wanted: &[&str], grants: &[&str]) -> State {
    let mut config = config();
    let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
    config.settings.insert("guest".to_owned(), PluginSettings { grants, ..PluginSettings::default() });
    let (runtime, _) = Runtime::new(&config).unwrap();
    let imports: Vec<String> = imports.iter().map(|name| format!("proxywhirl:plugin/{name}@0.1.0")).collect();
    let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
    let pass = Pass::new(&imports, &wanted, runtime.accounts.of("guest"));
    let vocabulary = Vocabulary::new(Arc::clone(&runtime.symbols));
    let logbook = Logbook::new(Arc::new(Voice::new("guest", "1.0.0", None)));
    let store = runtime.store(&config.limits.hook, logbook, Arc::new(vocabulary), Arc::new(pass), Arc::default());
    store.into_data()
}
