//! The plugins that the gateway may use: those that the binary carries and those of the user, as far as the lock lets
//! them in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::plugin::{
    FaultCause, Hook, Parser, PluginFault, PluginIdentity, PluginKind, Strategy, StrategyFactory,
};
use proxywhirl_core::symbol::Symbols;
use proxywhirl_engine::ingest::gather::Gatherer;
use proxywhirl_engine::{Clock, Engine};
use proxywhirl_wasm::{Change, LoadError, LoadProblem, Origin, PluginError, PluginInfo, Plugins, PluginsConfig};

use super::fetching::Fetching;
use super::watched::watched;
use super::weights::Weights;
use crate::bundle::BUNDLE;
use crate::config::{PluginUse, PluginsSettings};
use crate::exit::{Exit, Failure};
use crate::lock::{Lock, Standing};

/// What plugins reach of the gateway.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The texts behind symbols, shared with the pool.
    pub symbols: Arc<Symbols>,
    /// Where plugins keep keys and values; none to keep them nowhere.
    pub key_values: Option<Arc<dyn KeyValues>>,
    /// What the user said that sources weigh.
    pub weights: Weights,
}

/// The plugins that there are, and what the user has accepted of them.
pub struct Registry {
    plugins: Plugins,
    directory: Option<PathBuf>,
    lock: ArcSwap<Lock>,
    weights: ArcSwap<Weights>,
}

/// A plugin and how it stands to the lock.
#[derive(Debug, Clone)]
pub struct Known {
    /// What is known of it; with a problem when the lock refuses it.
    pub info: PluginInfo,
    /// How it stands to the lock; none for a bundled one.
    pub standing: Option<Standing>,
}

impl Known {
    /// The word for how it stands to the lock.
    #[must_use]
    pub fn lock(&self) -> &'static str {
        self.standing.as_ref().map_or("bundled", Standing::as_str)
    }
}

impl Registry {
    /// Loads the bundled plugins and those of a directory. Files that are no plugins are told and left out.
    ///
    /// # Errors
    /// When the directory or its lock cannot be read, or the machine cannot run WebAssembly.
    pub fn load(settings: &PluginsSettings, surroundings: Surroundings) -> Result<Arc<Self>, Failure> {
        let registry = Self::load_from(settings, BUNDLE, surroundings)?;
        for name in settings.each.keys().filter(|name| registry.find(name).is_none()) {
            tracing::warn!(plugin.name = &**name, "settings of a plugin that is not there");
        }
        Ok(registry)
    }

    /// The plugins of a directory alone, without those that are bundled.
    ///
    /// # Errors
    /// As [`Registry::load`].
    pub fn of_directory(settings: &PluginsSettings) -> Result<Arc<Self>, Failure> {
        Self::load_from(settings, &[], Surroundings::default())
    }

    fn load_from(
        settings: &PluginsSettings,
        bundle: &'static [(&'static str, &'static [u8])],
        surroundings: Surroundings,
    ) -> Result<Arc<Self>, Failure> {
        let lock = settings.directory.as_deref().map(Lock::read).transpose()?.unwrap_or_default();
        let clock = Clock::default();
        let mut config = PluginsConfig::new(surroundings.symbols, Arc::new(move || clock.now()));
        config.bundle = bundle;
        config.directory.clone_from(&settings.directory);
        config.cache = settings.cache.clone().or_else(cache_directory);
        config.settings.clone_from(&settings.each);
        config.key_values = surroundings.key_values;
        let weights = ArcSwap::from_pointee(surroundings.weights);
        config.seed = fastrand::u64(..);
        // What is wrong with single files is a warning of the loader.
        let plugins = Plugins::load(config).map_err(|error| match &error {
            LoadError::Directory { .. } => Failure::new(Exit::Input, error)
                .hint("make the directory, or leave --plugins out: the bundled plugins need none"),
            LoadError::Engine(_) => Failure::new(Exit::Environment, error),
        })?;
        let registry =
            Self { plugins, directory: settings.directory.clone(), lock: ArcSwap::from_pointee(lock), weights };
        for known in registry.list() {
            tell_standing(&known);
        }
        Ok(Arc::new(registry))
    }

    /// What there is, by name, those with a problem last.
    #[must_use]
    pub fn list(&self) -> Vec<Known> {
        let lock = self.lock.load();
        let known = self.plugins.list().into_iter().map(|info| judged(&lock, info));
        let (usable, refused): (Vec<_>, Vec<_>) = known.partition(|known| known.info.problem.is_none());
        usable.into_iter().chain(refused).collect()
    }

    /// What is known of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Known> {
        self.list().into_iter().find(|known| known.info.name == name)
    }

    /// The plugins themselves, whatever the lock says.
    #[must_use]
    pub const fn plugins(&self) -> &Plugins {
        &self.plugins
    }

    /// The plugins directory.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Says what sources weigh, for strategies that are started from now on; what they weighed before.
    pub fn weigh(&self, weights: Weights) -> Weights {
        Arc::unwrap_or_clone(self.weights.swap(Arc::new(weights)))
    }

    /// A strategy, started once to see that it takes its options. Blocks.
    ///
    /// # Errors
    /// When there is none of that name, the lock refuses it, or it does not take its options.
    pub fn strategy(&self, used: &PluginUse) -> Result<Arc<dyn StrategyFactory>, Failure> {
        self.admitted(&used.name)?;
        self.factory(used).map_err(|error| self.failure(PluginKind::Strategy, error))
    }

    /// A strategy that knows what sources weigh.
    fn factory(&self, used: &PluginUse) -> Result<Arc<dyn StrategyFactory>, PluginError> {
        let schema = || self.find(&used.name).map(|known| known.info.options_schema).unwrap_or_default();
        self.plugins.strategy(&used.name, &self.weights.load().told_to(used, schema).options_json())
    }

    /// A strategy for a gateway that starts. One that is there but cannot be used now, because its file is no plugin for
    /// this host, because the lock refuses it or because it faults as it starts, is no failure: it is started again
    /// later, and meanwhile the fallback serves. What the user can put right is one: a name that nobody has, options that
    /// do not fit, options that the plugin refuses.
    ///
    /// # Errors
    /// When there is none of that name, or it does not take its options.
    pub fn strategy_sooner_or_later(self: &Arc<Self>, used: &PluginUse) -> Result<Arc<dyn StrategyFactory>, Failure> {
        let late = || -> Arc<dyn StrategyFactory> {
            let identity = self.find(&used.name).map_or_else(
                || PluginIdentity::named(&used.name),
                |known| PluginIdentity {
                    name: used.name.as_str().into(),
                    version: known.info.version.into(),
                    digest: known.info.digest.into(),
                },
            );
            Arc::new(Late { registry: Arc::clone(self), identity, used: used.clone() })
        };
        if self.admitted(&used.name).is_err() {
            return Ok(late());
        }
        match self.factory(used) {
            Ok(strategy) => Ok(strategy),
            Err(PluginError::Fault(fault)) if fault.cause != FaultCause::Refused => Ok(late()),
            Err(PluginError::Unknown { .. }) if self.problem(&used.name).is_some() => Ok(late()),
            Err(error) => Err(self.failure(PluginKind::Strategy, error)),
        }
    }

    /// A hook, compiled and started. Blocks.
    ///
    /// # Errors
    /// When there is none of that name, the lock refuses it, or it does not take its options.
    pub fn hook(&self, used: &PluginUse) -> Result<Box<dyn Hook>, Failure> {
        self.admitted(&used.name)?;
        self.plugins.hook(&used.name, &used.options_json()).map_err(|error| self.failure(PluginKind::Hook, error))
    }

    /// A parser.
    ///
    /// # Errors
    /// When there is none of that name, or the lock refuses it.
    pub fn parser(&self, name: &str) -> Result<Arc<dyn Parser>, Failure> {
        self.admitted(name)?;
        self.plugins.parser(name).map_err(|error| Failure::new(Exit::Usage, error))
    }

    /// What reads sources, with all parsers that may be used; an engine that is given hears of their faults.
    #[must_use]
    pub fn gatherer(&self, fetching: &Fetching, allow_private: bool, engine: Option<&Arc<Engine>>) -> Gatherer {
        let mut parsers = self.plugins.parsers();
        parsers.retain(|parser| self.admitted(parser.name()).is_ok());
        if let Some(engine) = engine {
            parsers = watched(parsers, engine);
        }
        Gatherer::new(fetching.fetcher(), parsers, allow_private).with_drift(fetching.drift())
    }

    /// Looks again at the directory and its lock; what has changed. A broken lock changes nothing. Blocks.
    pub fn refresh(&self) -> Vec<Change> {
        if let Some(directory) = &self.directory {
            match Lock::read(directory) {
                Ok(lock) => self.lock.store(Arc::new(lock)),
                Err(error) => tracing::error!(error = %error, "the lock stays as it was"),
            }
        }
        let changes = self.plugins.refresh();
        for change in &changes {
            if let Some(known) = self.find(&change.name) {
                tell_standing(&known);
            }
        }
        changes
    }

    /// Sees that the lock lets a plugin in.
    ///
    /// # Errors
    /// When it asks for more than was accepted.
    pub fn admitted(&self, name: &str) -> Result<(), Failure> {
        let Some(Known { info, standing: Some(Standing::AsksMore(_)) }) = self.find(name) else { return Ok(()) };
        let Some(LoadProblem { reason, hint, .. }) = info.problem else { return Ok(()) };
        Err(Failure::new(Exit::Input, format!("plugin {name}: {reason}")).hint(hint))
    }

    /// What is wrong with the file of a name.
    fn problem(&self, name: &str) -> Option<LoadProblem> {
        self.list().into_iter().filter(|known| known.info.name == name).find_map(|known| known.info.problem)
    }

    /// Why a plugin cannot be had, with what helps.
    fn failure(&self, kind: PluginKind, error: PluginError) -> Failure {
        match &error {
            PluginError::Unknown { name, .. } => match self.problem(name) {
                Some(problem) => {
                    let message = format!("{kind} {name}: {}: {}", problem.file.display(), problem.reason);
                    Failure::new(Exit::Input, message).hint(problem.hint)
                }
                None => Failure::new(Exit::Usage, error).hint("`proxywhirl plugin list` shows which plugins there are"),
            },
            PluginError::Options(_) => Failure::new(Exit::Usage, error)
                .hint("`proxywhirl plugin info NAME` shows the options that a plugin takes"),
            PluginError::Fault(_) => Failure::new(Exit::Input, error),
        }
    }
}

/// Adds to what is known of a plugin what the lock says.
fn judged(lock: &Lock, mut info: PluginInfo) -> Known {
    let Origin::File(file) = &info.origin else { return Known { info, standing: None } };
    if info.problem.is_some() {
        return Known { info, standing: Some(Standing::NotLocked) };
    }
    let standing = lock.standing(&info);
    if let Standing::AsksMore(more) = &standing {
        info.problem = Some(LoadProblem {
            file: file.clone(),
            reason: format!("it asks for more than was accepted: {}", more.join(", ")),
            hint: format!(
                "look at `proxywhirl plugin info {0}`, then run `proxywhirl plugin lock {0} --accept`",
                info.name
            ),
        });
    }
    Known { info, standing: Some(standing) }
}

fn tell_standing(known: &Known) {
    let info = &known.info;
    let (name, version) = (&*info.name, &*info.version);
    match &known.standing {
        Some(Standing::AsksMore(_)) => {
            let reason = info.problem.as_ref().map(|problem| &*problem.reason);
            tracing::error!(plugin.name = name, plugin.version = version, reason, "plugin refused by plugins.lock");
        }
        Some(Standing::Changed) => {
            tracing::warn!(plugin.name = name, plugin.version = version, "plugin is not the build in plugins.lock");
        }
        Some(Standing::Locked | Standing::NotLocked) | None => {}
    }
}

/// Where compiled plugins are kept: `$XDG_CACHE_HOME/proxywhirl`, or `~/.cache/proxywhirl`.
#[must_use]
pub fn cache_directory() -> Option<PathBuf> {
    let of = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache"))).map(|cache| cache.join("proxywhirl"))
}

/// A strategy that could not be started yet. Whoever asks for an instance tries again, and tells the fault.
struct Late {
    registry: Arc<Registry>,
    identity: PluginIdentity,
    used: PluginUse,
}

impl StrategyFactory for Late {
    fn identity(&self) -> &PluginIdentity {
        &self.identity
    }

    fn instance(&self) -> Result<Box<dyn Strategy>, PluginFault> {
        let cannot =
            |detail: &str| PluginFault::new(self.identity.clone(), "instantiate", FaultCause::Instantiate, detail);
        let name = &self.used.name;
        if let Err(refusal) = self.registry.admitted(name) {
            return Err(cannot(&refusal.message));
        }
        let factory = self.registry.factory(&self.used).map_err(|error| match error {
            PluginError::Fault(fault) => fault,
            PluginError::Unknown { .. } | PluginError::Options(_) => {
                cannot(&self.registry.problem(name).map_or_else(|| error.to_string(), |problem| problem.reason))
            }
        })?;
        factory.instance()
    }
}
