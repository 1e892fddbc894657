//! Takes over what has changed in the plugins directory.

use std::sync::Arc;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_wasm::Change;

use super::failures::{refused, swap_failure};
use super::{Live, blocking};
use crate::config::PluginUse;
use crate::control::api::Reloaded;
use crate::exit::{Exit, Failure};

/// Hexadecimal digits of a digest that people are shown.
const SHORT: usize = 12;

impl Live {
    /// Reads the plugins directory again, and takes over the plugins that have changed.
    ///
    /// # Errors
    /// When the directory cannot be looked at. What is wrong with a single plugin keeps that plugin as it was.
    pub async fn refresh(&self) -> Result<Reloaded, Failure> {
        let _one = self.changing.lock().await;
        self.look_at_plugins().await
    }

    pub(super) async fn look_at_plugins(&self) -> Result<Reloaded, Failure> {
        let registry = Arc::clone(self.registry());
        let changes = blocking(move || registry.refresh()).await?;
        let mut reloaded = Reloaded::default();
        let mut are_parsers_new = false;
        for change in changes.into_iter().chain(self.accepted_since()) {
            are_parsers_new |= change.kind == Some(PluginKind::Parser);
            match self.take(&change).await {
                Ok(told) => {
                    tracing::info!(plugin.name = change.name, "{told}");
                    reloaded.changed.push(told);
                }
                Err(reason) => {
                    let kind = change.kind.map_or("", PluginKind::as_str);
                    tracing::error!(plugin.name = change.name, reason, "plugin not taken over, all stays as it was");
                    refused(self.engine(), &change.name, kind, &reason);
                    reloaded.kept.push(format!("{}: {reason}", change.name));
                }
            }
        }
        if are_parsers_new {
            self.service.renew_parsers();
        }
        self.remember_refusals();
        Ok(reloaded)
    }

    /// Plugins that the lock refused before and lets in now: nothing has changed of them but that.
    fn accepted_since(&self) -> Vec<Change> {
        let refused = self.in_force().refused.clone();
        let accepted = refused.into_iter().filter(|name| self.registry().admitted(name).is_ok());
        let known = accepted.filter_map(|name| self.registry().find(&name));
        let change = |known: crate::wiring::Known| Change {
            name: known.info.name,
            kind: known.info.kind,
            before: None,
            after: Some(known.info.digest),
            problem: None,
        };
        known.map(change).collect()
    }

    /// Takes over one change: what came of it, or why not.
    async fn take(&self, change: &Change) -> Result<String, String> {
        let name = &change.name;
        if let Some(problem) = &change.problem {
            return Err(problem.to_string());
        }
        let (strategy, hooks) = {
            let in_force = self.in_force();
            (in_force.strategy.used.clone(), in_force.settings.hooks.clone())
        };
        let hooks: Vec<PluginUse> = hooks.into_iter().filter(|hook| hook.name == *name).collect();
        let besides: Vec<_> = self.entrances.besides().named(name).cloned().collect();
        let is_used = strategy.name == *name || !hooks.is_empty() || !besides.is_empty();
        let Some(digest) = &change.after else {
            let gone = format!("{name}: its file is gone");
            return Ok(if is_used { gone + ", it runs on until something replaces it" } else { gone });
        };
        self.registry().admitted(name).map_err(|failure| failure.message)?;
        let short = digest.get(..SHORT).unwrap_or(digest);
        let kind = change.kind.map_or("plugin", PluginKind::as_str);
        if change.kind == Some(PluginKind::Strategy) && is_used {
            let mut version = String::new();
            if strategy.name == *name {
                version = self.swap_strategy(&strategy).await.map_err(|failure| failure.message)?.after.version;
            }
            for (used, beside) in besides {
                let factory = self.factory(&used).await.map_err(|failure| failure.message)?;
                version = beside.swap(factory).await.map_err(|error| swap_failure(error).message)?.after.version;
            }
            return Ok(format!("{kind} {name} {version} ({short}) is in force"));
        }
        if change.kind == Some(PluginKind::Hook) && is_used {
            self.renew_hooks(&hooks).await.map_err(|failure| failure.message)?;
            return Ok(format!("{kind} {name} ({short}) is in force"));
        }
        Ok(format!("{kind} {name} ({short}) can be used"))
    }

    /// Puts hooks of one name in the place of those that run. One keeps its queue; of several, nobody could tell which is
    /// which, so they go and come anew.
    async fn renew_hooks(&self, used: &[PluginUse]) -> Result<(), Failure> {
        let (registry, wanted) = (Arc::clone(self.registry()), used.to_vec());
        let started = blocking(move || wanted.iter().map(|used| registry.hook(used)).collect::<Result<Vec<_>, _>>());
        let hooks = started.await??;
        let Some(name) = used.first().map(|used| used.name.as_str()) else { return Ok(()) };
        if used.len() > 1 {
            while self.engine().remove_hook(name).await {}
        }
        for hook in hooks {
            if used.len() > 1 {
                self.engine().add_hook(hook).map_err(|error| Failure::new(Exit::Environment, error))?;
            } else {
                self.engine().swap_hook(name, hook).await.map_err(swap_failure)?;
            }
        }
        Ok(())
    }
}
