//! Loads plugins: those that the binary carries, and those of the user.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxywhirl_core::symbol::Symbols;
use proxywhirl_engine::Clock;
use proxywhirl_engine::ingest::gather::Gatherer;
use proxywhirl_engine::source::{Fetcher, FetcherConfig};
use proxywhirl_wasm::{LoadError, Plugins, PluginsConfig};

use crate::bundle::BUNDLE;
use crate::exit::{Exit, Failure};

/// Loads the bundled plugins and those of a directory. Files that are no plugins are told and left out.
///
/// # Errors
/// When the directory cannot be read, or the machine cannot run WebAssembly.
pub fn load(directory: Option<&Path>, cache: Option<PathBuf>, symbols: Arc<Symbols>) -> Result<Plugins, Failure> {
    let clock = Clock::default();
    let mut config = PluginsConfig::new(symbols, Arc::new(move || clock.now()));
    config.bundle = BUNDLE;
    config.directory = directory.map(Path::to_owned);
    config.cache = cache.or_else(cache_directory);
    config.seed = fastrand::u64(..);
    // What is wrong with single files is a warning of the loader.
    Plugins::load(config).map_err(|error| match &error {
        LoadError::Directory { .. } => Failure::new(Exit::Input, error)
            .hint("make the directory, or leave --plugins out: the bundled plugins need none"),
        LoadError::Engine(_) => Failure::new(Exit::Environment, error),
    })
}

/// Where compiled plugins are kept: `$XDG_CACHE_HOME/proxywhirl`, or `~/.cache/proxywhirl`.
fn cache_directory() -> Option<PathBuf> {
    let of = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache"))).map(|cache| cache.join("proxywhirl"))
}

/// Options as plugins get them: JSON text, an object.
#[must_use]
pub fn options_json(options: &serde_json::Value) -> String {
    if options.is_null() { "{}".to_owned() } else { options.to_string() }
}

/// What reads sources, with all parsers that there are.
#[must_use]
pub fn gatherer(plugins: &Plugins, allow_private: bool) -> Gatherer {
    Gatherer::new(Fetcher::new(FetcherConfig::default()), plugins.parsers(), allow_private)
}
