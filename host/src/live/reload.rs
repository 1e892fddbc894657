//! Takes over what has changed in the configuration.

use std::sync::Arc;

use proxywhirl_core::plugin::{Hook, StrategyFactory};
use proxywhirl_engine::Tuning;
use proxywhirl_net::Trust;
use proxywhirl_wasm::PluginSettings;

use super::difference::Difference;
use super::failures::swap_failure;
use super::{Asked, Configuration, InForce, Live, blocking};
use crate::config::{PluginUse, Settings, readable};
use crate::control::api::{Reloaded, SetBy};
use crate::exit::{Exit, Failure};
use crate::wiring::listeners::{self, Change, Spots};
use crate::wiring::{self, Besides, Weights};

/// What is ready to be put in force.
struct Ready {
    strategy: Option<(PluginUse, Arc<dyn StrategyFactory>)>,
    /// Those of listeners that are new, or to be started anew.
    besides: Vec<(PluginUse, Arc<dyn StrategyFactory>)>,
    added: Vec<(PluginUse, Box<dyn Hook>)>,
    changed: Vec<(PluginUse, Box<dyn Hook>)>,
    /// Where clients come in.
    places: Change,
    trust: Option<Trust>,
}

impl Live {
    /// Reads the configuration again, and the plugins directory, and takes over what has changed in them.
    ///
    /// # Errors
    /// When the configuration or a plugin that it names is wrong, or its file says nothing any more and nobody hears of that, or
    /// the gateway is stopping; then nothing of it is taken over.
    pub async fn reload(&self, asked: Asked) -> Result<Reloaded, Failure> {
        let _one = self.changing.lock().await;
        if self.stopping().is_some() {
            // It would listen where nobody is served.
            return Err(Failure::new(Exit::Environment, "the gateway is stopping: nothing is taken over any more")
                .hint("what the configuration says is in force at its next start"));
        }
        // First what is in the directory: the configuration may name a plugin that has just come.
        let plugins = self.look_at_plugins().await?;
        let configured = self.reconfigure(asked).await;
        self.in_force().rejected = configured.as_ref().err().map(|failure| failure.message.clone());
        let configured = configured.inspect_err(|failure| {
            tracing::error!(error = %failure.message, "configuration not taken over, all stays as it was");
        })?;
        Ok(configured.and(plugins))
    }

    async fn reconfigure(&self, asked: Asked) -> Result<Reloaded, Failure> {
        let reader = Arc::clone(&self.reader);
        let read = self.reading.run(move || {
            let read = reader()?;
            let (certificates, spots) = (certificates(&read.settings), listeners::spots(&read.settings)?);
            Ok((read, certificates, spots))
        });
        let (Configuration { settings: new, has_keys }, certificates, spots) = read.await?;
        let InForce { settings: old, certificates: trusted, has_keys: had_keys, .. } = self.in_force().clone();
        if had_keys && !has_keys && asked == Asked::Unheard {
            return Err(self.emptied());
        }
        let mut difference = Difference::between(&old, &new);
        if !difference.trust && certificates != trusted {
            difference.trust = true;
            difference.live.push("certificates in upstream.ca_file".to_owned());
        }
        let before = self.apply_settings(&difference.settings, &new);
        let weighed = self.registry().weigh(Weights::of(&new.sources));
        let reloaded = self.put_in_force(&difference, &new, spots).await;
        match reloaded {
            Ok(mut reloaded) => {
                let named = difference.settings.iter().map(|name| format!("settings of plugin {name}"));
                reloaded.changed.splice(0..0, named);
                self.remember(&difference, new, old);
                let mut in_force = self.in_force();
                (in_force.certificates, in_force.has_keys) = (certificates, has_keys);
                drop(in_force);
                self.filled();
                for change in &reloaded.changed {
                    tracing::info!(change, "configuration changed");
                }
                Ok(reloaded)
            }
            Err(failure) => {
                for (name, settings) in before {
                    self.registry().plugins().set_settings(&name, settings);
                }
                self.registry().weigh(weighed);
                Err(failure)
            }
        }
    }

    /// Why a file that says nothing is not taken over. A disk that is full, or a write that was broken off, leaves such a one,
    /// and without users and rules everybody would be served.
    fn emptied(&self) -> Failure {
        let file = self.about.config.as_deref().map_or_else(String::new, |file| format!(" {}", file.display()));
        let why = format!(
            "configuration{file}: is empty, and was not: write at least one key, or have it taken over as it is with \
             `proxywhirl reload`, or by a restart"
        );
        Failure::new(Exit::Input, why)
    }

    /// Gives plugins their new settings, and answers with those before.
    fn apply_settings(&self, names: &[String], new: &Settings) -> Vec<(String, PluginSettings)> {
        let plugins = self.registry().plugins();
        let swap = |name: &String| {
            let before = plugins.settings(name);
            plugins.set_settings(name, new.plugins.each.get(name).cloned().unwrap_or_default());
            (name.clone(), before)
        };
        names.iter().map(swap).collect()
    }

    async fn put_in_force(&self, difference: &Difference, new: &Settings, spots: Spots) -> Result<Reloaded, Failure> {
        let mut reloaded = Reloaded {
            needs_restart: difference.needs_restart.iter().map(|&section| section.to_owned()).collect(),
            ..Reloaded::default()
        };
        let ready = self.prepare(difference, new, spots).await?;
        if let Some((used, factory)) = ready.strategy {
            self.engine().swap_strategy(factory).await.map_err(swap_failure)?;
            reloaded.changed.push(format!("strategy {}", used.name));
            let by = if difference.strategy.is_some() { SetBy::Configuration } else { self.strategy().set_by };
            self.in_force().choose(used, by);
        }
        let besides = self.stand_beside(ready.besides, &mut reloaded).await;
        for name in &difference.removed {
            while self.engine().remove_hook(name).await {}
            reloaded.changed.push(format!("hook {name} is gone"));
        }
        for (used, hook) in ready.added {
            match self.engine().add_hook(hook) {
                Ok(()) => reloaded.changed.push(format!("hook {} has come", used.name)),
                Err(error) => reloaded.kept.push(format!("hook {} has not come: {error}", used.name)),
            }
        }
        for (used, hook) in ready.changed {
            match self.engine().swap_hook(&used.name, hook).await.map_err(swap_failure) {
                Ok(_) => reloaded.changed.push(format!("hook {}", used.name)),
                Err(failure) => reloaded.kept.push(format!("hook {}: {}", used.name, failure.message)),
            }
        }
        reloaded.changed.extend(difference.live.iter().cloned());
        let certificates = ready.places.certificates.iter().map(|name| format!("certificate of listener {name}"));
        reloaded.changed.extend(certificates);
        let anew = ready.places.anew.iter().map(|name| format!("listener {name} listens anew, its socket was gone"));
        reloaded.changed.extend(anew);
        if !difference.live.is_empty() || ready.places.is_news() {
            self.serve_as(new, ready.places, besides, ready.trust).await;
            // Not otherwise: what was counted so far counts on.
            if difference.live.iter().any(|section| section == "limits") {
                self.engine().limit(new.limits.clone()).await;
            }
        }
        Ok(reloaded)
    }

    /// Starts strategies of listeners, or puts them in the place of those that run.
    async fn stand_beside(
        &self,
        ready: Vec<(PluginUse, Arc<dyn StrategyFactory>)>,
        reloaded: &mut Reloaded,
    ) -> Besides {
        let mut besides = self.entrances.besides();
        for (used, factory) in ready {
            let name = used.name.clone();
            let begun = match besides.of(&used).cloned() {
                Some(beside) => beside.swap(factory).await.map(drop).map_err(swap_failure),
                None => besides.begin(self.engine(), used, factory),
            };
            if let Err(failure) = begun {
                reloaded.kept.push(format!("strategy {name} of a listener: {}", failure.message));
            }
        }
        besides
    }

    /// Serves new connections, and further requests of those that are open, as the settings say. It cannot fail.
    async fn serve_as(&self, new: &Settings, places: Change, mut besides: Besides, trust: Option<Trust>) {
        if let Some(trust) = trust {
            self.service.gateway().dialer().trust(trust);
            self.entrances.close_idle();
        }
        self.service.credentials().configure(new.credentials.clone()).await;
        self.service.say(new);
        self.service.read(new.sources.clone()).await;
        let unnamed = besides.unnamed(new);
        self.entrances.put_in_force(places, besides, new.gateway.connect_timeout, new.gateway.clone());
        for beside in unnamed {
            self.engine().dismiss_beside(beside).await;
        }
        let tuning = Tuning {
            breaker: new.breaker,
            capacity: new.capacity,
            ban_share: new.max_banned,
            sites: new.sites,
            history: new.history,
        };
        self.engine().tune(&tuning).await;
    }

    /// Compiles, checks and starts everything that is to come, so that what is wrong is known before anything changes.
    async fn prepare(&self, difference: &Difference, new: &Settings, spots: Spots) -> Result<Ready, Failure> {
        let has_changed = |name: &str| difference.settings.iter().any(|changed| changed == name);
        let (current, hooks) = {
            let in_force = self.in_force();
            (in_force.strategy.used.clone(), in_force.settings.hooks.clone())
        };
        // New limits, and weights, are for new instances.
        let is_stale = difference.weights || has_changed(&current.name);
        let strategy = difference.strategy.clone().or_else(|| is_stale.then_some(current));
        let is_new = |hook: &PluginUse| {
            difference.changed.iter().chain(&difference.added).any(|other| other.name == hook.name)
                || difference.removed.contains(&hook.name)
        };
        let again = hooks.into_iter().filter(|hook| has_changed(&hook.name) && !is_new(hook));
        let changed: Vec<_> = difference.changed.iter().cloned().chain(again).collect();
        let added = difference.added.clone();
        self.service.can_read(&new.sources)?;
        let trust = if difference.trust {
            let new = new.clone();
            Some(self.reading.run(move || trust(&new)).await?)
        } else {
            None
        };
        let places = self.entrances.prepare(new, spots).await?;
        let there = self.entrances.besides();
        let besides = wiring::strategies_of_listeners(new)
            .into_iter()
            .filter(|used| there.of(used).is_none() || difference.weights || has_changed(&used.name));
        let besides: Vec<PluginUse> = besides.cloned().collect();
        let registry = Arc::clone(self.registry());
        blocking(move || {
            let with_strategy = |used: PluginUse| registry.strategy(&used).map(|factory| (used, factory));
            let with_hook = |used: PluginUse| registry.hook(&used).map(|hook| (used, hook));
            Ok(Ready {
                strategy: strategy.map(with_strategy).transpose()?,
                besides: besides.into_iter().map(with_strategy).collect::<Result<_, _>>()?,
                added: added.into_iter().map(with_hook).collect::<Result<_, _>>()?,
                changed: changed.into_iter().map(with_hook).collect::<Result<_, _>>()?,
                places,
                trust,
            })
        })
        .await?
    }

    /// What needs a restart stays as it was, so that the next comparison finds it again.
    fn remember(&self, difference: &Difference, new: Settings, old: Settings) {
        let mut in_force = self.in_force();
        let mut plugins = old.plugins.clone();
        plugins.each.clone_from(&new.plugins.each);
        in_force.settings = Settings {
            plugins,
            core_dumps: old.core_dumps,
            allow_private: old.allow_private,
            store: old.store,
            store_keys: old.store_keys,
            save_interval: old.save_interval,
            check: old.check,
            geo: old.geo,
            events: old.events,
            control: old.control,
            fetch: old.fetch,
            browser: old.browser,
            ..new
        };
        in_force.needs_restart.clone_from(&difference.needs_restart);
        if !difference.needs_restart.is_empty() {
            let sections = difference.needs_restart.join(", ");
            tracing::warn!(sections, "configuration changed where it needs a restart");
        }
    }
}

/// What is in `upstream.ca_file`; none when there is no such file, of which [`trust`] tells.
pub(super) fn certificates(settings: &Settings) -> Option<Vec<u8>> {
    let file = settings.upstream_ca.as_deref()?;
    readable::again(file).ok()?;
    std::fs::read(file).ok()
}

/// Whom to trust in TLS to proxies.
fn trust(settings: &Settings) -> Result<Trust, Failure> {
    if let Some(file) = &settings.upstream_ca {
        let wrong =
            |what| Failure::new(Exit::Input, format!("certificates {} cannot be read: it is {what}", file.display()));
        readable::again(file).map_err(wrong)?;
    }
    let tls = wiring::tls_config(settings.verify_upstream, settings.upstream_ca.as_deref())?;
    Trust::new(&tls).map_err(|error| Failure::new(Exit::Input, error))
}
