//! What is done with the plugins of an engine that runs: swapped, looked at, put back in force.

use std::sync::Arc;

use proxywhirl_core::plugin::{Hook, PluginFault, PluginIdentity, StrategyFactory};

use super::Engine;
use crate::status::PluginStatus;
use crate::strategy::Beside;
use crate::swap::{SwapError, Swapped};

impl Engine {
    /// Puts another strategy in force while requests are served: see [`Swapped`]. Returns when it is, or when it is clear
    /// that it will not be. Swaps are carried out one after the other.
    ///
    /// # Errors
    /// When the new one faults on its way: then nothing has changed.
    pub async fn swap_strategy(&self, factory: Arc<dyn StrategyFactory>) -> Result<Swapped, SwapError> {
        self.selector.swap(factory).await
    }

    /// Starts a strategy beside the one in force, for attempts that name it ([`Attempt::by`](super::Attempt::by)). Its plan is in force soon;
    /// until then everybody is picked in turn. `label` tells what it learns from what others of the same plugin do, over restarts.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn stand_beside(&self, factory: Arc<dyn StrategyFactory>, label: &str) -> std::io::Result<Beside> {
        self.selector.stand_beside(factory, label)
    }

    /// Ends a strategy that stands beside the one in force, when it has kept what it has learned.
    pub async fn dismiss_beside(&self, beside: Beside) {
        let selector = Arc::clone(&self.selector);
        if tokio::task::spawn_blocking(move || selector.dismiss(&beside)).await.is_err() {
            tracing::error!("ending a strategy has panicked");
        }
    }

    /// Puts another build in the place of the first hook of a name. What waits for the hook is kept.
    ///
    /// # Errors
    /// When there is no such hook, or the new one faults on its way: then nothing has changed.
    pub async fn swap_hook(&self, name: &str, hook: Box<dyn Hook>) -> Result<Swapped, SwapError> {
        self.hooks.swap(name, hook).await
    }

    /// Starts one more hook.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn add_hook(&self, hook: Box<dyn Hook>) -> std::io::Result<()> {
        self.hooks.add(hook)
    }

    /// Takes the first hook of a name out, when what waits for it is delivered. False when there is none.
    pub async fn remove_hook(&self, name: &str) -> bool {
        let (hooks, name) = (Arc::clone(&self.hooks), name.to_owned());
        tokio::task::spawn_blocking(move || hooks.remove(&name)).await.unwrap_or(false)
    }

    /// Which strategy is in force; none when everybody is picked in turn.
    #[must_use]
    pub fn strategy(&self) -> Option<PluginIdentity> {
        self.selector.strategy()
    }

    /// What is known of each plugin: the strategy, the hooks, and parsers that have faulted.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginStatus> {
        let mut plugins = Vec::new();
        for ward in self.supervisor.watched() {
            plugins.push(PluginStatus { queue: self.hooks.queue_of(&ward), ..ward.status() });
        }
        plugins
    }

    /// Forgets what the plugins of a name have done, and starts them again. False when there is none.
    pub fn enable_plugin(&self, name: &str) -> bool {
        let named: Vec<_> = self.supervisor.watched().into_iter().filter(|ward| *ward.name() == *name).collect();
        for ward in &named {
            ward.enabled();
        }
        self.selector.enabled();
        self.hooks.poke();
        !named.is_empty()
    }

    /// Takes the fault of a parser, so that it is told and remembered as those of strategies and hooks are.
    pub fn parser_faulted(&self, fault: &PluginFault) {
        self.supervisor.parser_faulted(fault);
    }
}
