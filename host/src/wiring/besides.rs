//! The strategies of listeners: beside the one in force, each once for all listeners that name it with the same options.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use proxywhirl_core::plugin::StrategyFactory;
use proxywhirl_engine::{Beside, Engine};

use super::service::Service;
use crate::config::{PluginUse, Settings};
use crate::exit::{Exit, Failure};

/// Those that there are.
#[derive(Debug, Clone, Default)]
pub struct Besides(Vec<(PluginUse, Beside)>);

impl Besides {
    /// The one of a listener.
    #[must_use]
    pub fn of(&self, used: &PluginUse) -> Option<&Beside> {
        self.0.iter().find_map(|(other, beside)| (other == used).then_some(beside))
    }

    /// Those of a plugin.
    pub fn named<'a>(&'a self, plugin: &'a str) -> impl Iterator<Item = &'a (PluginUse, Beside)> {
        self.0.iter().filter(move |(used, _)| used.name == plugin)
    }

    /// Starts one more.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn begin(
        &mut self,
        engine: &Engine,
        used: PluginUse,
        factory: Arc<dyn StrategyFactory>,
    ) -> Result<(), Failure> {
        let beside = engine.stand_beside(factory, &label(&used));
        self.0.push((used, beside.map_err(|error| Failure::new(Exit::Environment, error))?));
        Ok(())
    }

    /// Leaves those that nobody names any more to be ended.
    #[must_use]
    pub fn unnamed(&mut self, settings: &Settings) -> Vec<Beside> {
        let wanted = of_listeners(settings);
        self.0.extract_if(.., |(used, _)| !wanted.contains(&&*used)).map(|(_, beside)| beside).collect()
    }
}

/// The strategies that listeners name, each once.
#[must_use]
pub fn of_listeners(settings: &Settings) -> Vec<&PluginUse> {
    let mut wanted = Vec::new();
    for used in settings.listeners.iter().filter_map(|listener| listener.strategy.as_ref()) {
        if !wanted.contains(&used) {
            wanted.push(used);
        }
    }
    wanted
}

/// What tells what it learns from what the one in force does, and from others of the same plugin, over restarts.
fn label(used: &PluginUse) -> String {
    let mut hasher = DefaultHasher::new();
    used.options_json().hash(&mut hasher);
    format!(" beside {:016x}", hasher.finish())
}

impl Service {
    /// Starts the strategies of listeners.
    ///
    /// # Errors
    /// As for the strategy in force.
    pub fn besides(&self, settings: &Settings) -> Result<Besides, Failure> {
        let mut besides = Besides::default();
        for used in of_listeners(settings) {
            let factory = self.registry().strategy_sooner_or_later(used)?;
            besides.begin(self.engine(), used.clone(), factory)?;
        }
        Ok(besides)
    }
}
