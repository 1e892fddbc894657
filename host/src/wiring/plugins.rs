//! Loads plugins: those that the binary carries, and those of the user.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxywhirl_core::plugin::{FaultCause, PluginFault, PluginIdentity, Strategy, StrategyFactory};
use proxywhirl_core::symbol::Symbols;
use proxywhirl_engine::Clock;
use proxywhirl_engine::ingest::gather::Gatherer;
use proxywhirl_engine::source::{Fetcher, FetcherConfig};
use proxywhirl_wasm::{LoadError, PluginError, Plugins, PluginsConfig};

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

/// The strategy of a name. One that is there but cannot be used now, because its file is no plugin for this host or
/// because it faults as it starts, is no failure: it is started again later, and meanwhile the fallback serves. What the
/// user can put right is one: a name that nobody has, options that do not fit, options that the plugin refuses.
///
/// # Errors
/// When there is none of that name, or it does not take its options.
pub(super) fn strategy(
    plugins: &Arc<Plugins>,
    name: &str,
    options: &serde_json::Value,
) -> Result<Arc<dyn StrategyFactory>, Failure> {
    let options = options_json(options);
    match plugins.strategy(name, &options) {
        Ok(strategy) => Ok(strategy),
        Err(error) if is_passing(plugins, name, &error) => {
            Ok(Arc::new(Late { plugins: Arc::clone(plugins), identity: PluginIdentity::named(name), options }))
        }
        Err(error) => Err(failure(error)),
    }
}

/// Whether the gateway can serve without the strategy, until somebody has seen to the plugin.
fn is_passing(plugins: &Plugins, name: &str, error: &PluginError) -> bool {
    match error {
        PluginError::Fault(fault) => fault.cause != FaultCause::Refused,
        PluginError::Unknown { .. } => unusable(plugins, name).is_some(),
        PluginError::Options(_) => false,
    }
}

/// What is wrong with the file of a name.
fn unusable(plugins: &Plugins, name: &str) -> Option<String> {
    let named = plugins.list().into_iter().filter(|plugin| plugin.name == name);
    named.filter_map(|plugin| plugin.problem).map(|problem| problem.reason).next()
}

/// Why a plugin cannot be had, with what helps.
pub(super) fn failure(error: PluginError) -> Failure {
    match &error {
        PluginError::Unknown { .. } => {
            Failure::new(Exit::Usage, error).hint("`proxywhirl plugin list` shows which plugins there are")
        }
        PluginError::Options(_) => Failure::new(Exit::Usage, error)
            .hint("`proxywhirl plugin list --json` shows the schema of a plugin's options"),
        PluginError::Fault(_) => Failure::new(Exit::Input, error),
    }
}

/// A strategy that could not be started yet. Whoever asks for an instance tries again, and tells the fault.
struct Late {
    plugins: Arc<Plugins>,
    identity: PluginIdentity,
    options: String,
}

impl StrategyFactory for Late {
    fn identity(&self) -> &PluginIdentity {
        &self.identity
    }

    fn instance(&self) -> Result<Box<dyn Strategy>, PluginFault> {
        let factory = self.plugins.strategy(&self.identity.name, &self.options).map_err(|error| match error {
            PluginError::Fault(fault) => fault,
            PluginError::Unknown { .. } | PluginError::Options(_) => PluginFault::new(
                self.identity.clone(),
                "instantiate",
                FaultCause::Instantiate,
                &unusable(&self.plugins, &self.identity.name).unwrap_or_else(|| error.to_string()),
            ),
        })?;
        factory.instance()
    }
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
