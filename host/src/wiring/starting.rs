//! Starts the plugins that a gateway uses, at once and before the first request: compiling belongs to nobody's request.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use proxywhirl_core::plugin::{Hook, StrategyFactory};

use super::plugins::Registry;
use crate::config::PluginUse;
use crate::exit::{Exit, Failure};

/// After this long, whoever waits is told for what.
const SILENCE: Duration = Duration::from_secs(1);

/// Plugins that are ready.
pub(super) struct Started {
    pub(super) strategy: Arc<dyn StrategyFactory>,
    pub(super) hooks: Vec<Box<dyn Hook>>,
}

/// Compiles and starts a strategy and hooks, each on a thread of its own. Blocks.
///
/// # Errors
/// When one of them cannot be had.
pub(super) fn start(registry: &Arc<Registry>, strategy: &PluginUse, hooks: &[PluginUse]) -> Result<Started, Failure> {
    // A sender for each thread, dropped when it has done its part. Nothing is ever sent.
    let (working, is_done) = sync_channel::<()>(1);
    thread::scope(|scope| {
        let begun = {
            let working = working.clone();
            scope.spawn(move || {
                let _working = working;
                registry.strategy_sooner_or_later(strategy)
            })
        };
        let hooks: Vec<_> = hooks
            .iter()
            .map(|hook| {
                let working = working.clone();
                scope.spawn(move || {
                    let _working = working;
                    registry.hook(hook)
                })
            })
            .collect();
        drop(working);
        if is_done.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::info!("compiling plugins; once they are cached, this takes no time");
        }
        let strategy = joined(begun)?;
        Ok(Started { strategy, hooks: hooks.into_iter().map(joined).collect::<Result<_, _>>()? })
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().unwrap_or_else(|_| Err(Failure::new(Exit::Environment, "starting a plugin has panicked")))
}
