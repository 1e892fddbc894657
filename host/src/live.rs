//! A gateway that runs, as it can be changed: by commands, by its configuration file, by its plugins directory.
//!
//! One change at a time. What is new is read, checked, compiled and tried first, and only then put in force, so whatever
//! is wrong with it changes nothing, and is told: to who asked, in the log and, where a plugin is at fault, as an event.
//! What cannot change while connections are open is said to need a restart.

mod difference;
mod failures;
mod lost;
mod pool;
mod reading;
mod refresh;
mod reload;
mod users;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use proxywhirl_core::event::Topic;
use proxywhirl_core::plugin::StrategyFactory;
use proxywhirl_engine::events::milliseconds;
use proxywhirl_engine::{Attempt, Engine, EscalationWords, PluginStatus};
use proxywhirl_gateway::access::{UserConfig, UserLimits};
use proxywhirl_gateway::wanted::{Limits, Wanted};
use proxywhirl_net::Target;
use proxywhirl_store::StoreUrl;
use tokio::sync::Notify;

pub(crate) use reading::Reading;
pub use watch::{Watched, reload_on_signal};

use crate::config::{PluginUse, Settings};
use crate::control::api::{
    CutOff, ListenerStrategy, Plugin, RefreshReport, Rotated, SetBy, Sharing, Status, Stopping, StoreStatus, Strategy,
    StrategySet,
};
use crate::credentials::Keeping;
use crate::exit::{Exit, Failure};
use crate::logging::PluginLines;
use crate::socket_file::SocketFile;
use crate::wiring::listeners::Entrances;
use crate::wiring::{Known, Registry, Service};
use failures::{refused, swap_failure};

/// Events of changes of plugins that wait to be looked at.
const CHANGES: usize = 256;

/// The configuration, as it was read.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// What it means, with what the command line said.
    pub settings: Settings,
    /// Whether its file says anything.
    pub has_keys: bool,
}

/// Reads the configuration again.
pub type Reader = Box<dyn Fn() -> Result<Configuration, Failure> + Send + Sync>;

/// Who wants the configuration to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Somebody who hears what comes of it.
    ByCommand,
    /// Nobody, or a signal, which hears nothing: the file is what it is, perhaps by mistake.
    Unheard,
}

/// What never changes while it runs.
pub struct About {
    /// Its configuration file.
    pub config: Option<PathBuf>,
    /// What concerns plugins in the log.
    pub lines: PluginLines,
    /// The metrics.
    pub metrics: PrometheusHandle,
}

/// A gateway that runs.
pub struct Live {
    service: Service,
    entrances: Arc<Entrances>,
    about: About,
    reader: Arc<Reader>,
    reading: Reading,
    started: u64,
    /// Until when clients have time that are still connected, in microseconds since the Unix epoch. Written when it begins to stop.
    stops: OnceLock<u64>,
    /// Wakes who looks whether all listeners have their proxies.
    filled: Notify,
    /// Held through a change, so that there is one at a time.
    changing: tokio::sync::Mutex<()>,
    /// Written by whoever holds `changing`, and when the engine takes a strategy back. Held for a few instructions.
    in_force: Mutex<InForce>,
}

/// What is in force.
#[derive(Debug, Clone)]
struct InForce {
    /// As the configuration was read last; of what needs a restart, as it was at the start.
    settings: Settings,
    /// Whether the configuration's file said anything when it was taken over last.
    has_keys: bool,
    strategy: Chosen,
    /// The strategy before: it comes back when the new one faults on probation.
    before: Option<Chosen>,
    needs_restart: Vec<&'static str>,
    /// Why the configuration was not taken over when it was read last.
    rejected: Option<String>,
    /// What was in `upstream.ca_file` when it was taken over last.
    certificates: Option<Vec<u8>>,
    /// Plugins that the lock has refused: when it accepts them, they count as changed.
    refused: Vec<String>,
}

#[derive(Debug, Clone)]
struct Chosen {
    used: PluginUse,
    by: SetBy,
}

impl InForce {
    fn choose(&mut self, used: PluginUse, by: SetBy) {
        self.before = Some(std::mem::replace(&mut self.strategy, Chosen { used, by }));
    }
}

impl Live {
    /// A service that was started with this configuration.
    #[must_use]
    pub fn new(
        (service, entrances): (Service, Arc<Entrances>),
        Configuration { settings, has_keys }: Configuration,
        reader: Reader,
        about: About,
    ) -> Arc<Self> {
        let strategy = Chosen { used: settings.strategy.clone(), by: SetBy::Configuration };
        let certificates = reload::certificates(&settings);
        let (before, rejected, needs_restart, refused) = (None, None, Vec::new(), Vec::new());
        let in_force = InForce { settings, has_keys, strategy, before, needs_restart, rejected, certificates, refused };
        let started = service.engine().now().as_micros();
        let live = Self {
            service,
            entrances,
            about,
            reader: Arc::new(reader),
            reading: Reading::new(),
            started,
            stops: OnceLock::new(),
            filled: Notify::new(),
            changing: tokio::sync::Mutex::new(()),
            in_force: Mutex::new(in_force),
        };
        live.remember_refusals();
        Arc::new(live)
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        self.service.engine()
    }

    /// What keeps credentials up.
    #[must_use]
    pub const fn credentials(&self) -> &Arc<Keeping> {
        self.service.credentials()
    }

    /// What concerns plugins in the log.
    #[must_use]
    pub const fn lines(&self) -> &PluginLines {
        &self.about.lines
    }

    /// Whether there are sources of all these names.
    ///
    /// # Errors
    /// When there is none of a name.
    pub fn know_sources(&self, names: &[String]) -> Result<(), Failure> {
        self.service.chosen(names).map(drop)
    }

    /// Reads sources again, all of them when none is named.
    ///
    /// # Errors
    /// When there is no source of a name, or no judge answers that is needed.
    pub async fn refresh_sources(&self, names: &[String]) -> Result<RefreshReport, Failure> {
        self.service.refresh(names).await
    }

    /// Gives the next request of a listener another proxy, of all listeners when none is named.
    ///
    /// # Errors
    /// When there is no listener of that name.
    pub fn rotate(&self, listener: Option<&str>) -> Result<Rotated, Failure> {
        let meant = self.entrances.turns(listener);
        if meant.is_empty() {
            return Err(self.no_listener(listener.unwrap_or_default()));
        }
        // As it was named: a port of a range by its place, and all of them by the name that they have together.
        let turned = meant.into_iter().filter(|(_, _, turns)| turns.turn());
        let word = |(name, place, _): (String, String, _)| if listener == Some(place.as_str()) { place } else { name };
        let mut listeners: Vec<String> = turned.map(word).collect();
        listeners.dedup();
        Ok(Rotated { listeners })
    }

    fn no_listener(&self, name: &str) -> Failure {
        let mut names: Vec<String> = self.entrances.turns(None).into_iter().map(|(name, _, _)| name).collect();
        // Each port of a range has the same name.
        names.dedup();
        Failure::new(Exit::NoResult, format!("there is no listener {name}"))
            .hint(format!("there are {}", names.join(", ")))
    }

    /// Who a client says to be that comes with this user name, and what it wants: at a listener, or in the default dialect and where
    /// nothing else is wanted.
    ///
    /// # Errors
    /// When there is no listener of that name, a key is not known, a value cannot be, or no member can be all of it.
    pub fn wanted(&self, user: &str, listener: Option<&str>) -> Result<(Box<str>, Wanted), Failure> {
        let behind = listener.map(|name| self.entrances.wanted(name).ok_or_else(|| self.no_listener(name)));
        let (grammar, behind) = behind.transpose()?.unwrap_or_default();
        if user.is_empty() {
            return Ok((Box::default(), behind));
        }
        let limits = {
            let gateway = &self.in_force().settings.gateway;
            Limits { attempts: gateway.attempts, deadline: gateway.request_deadline }
        };
        let wrong = |why: String| Failure::new(Exit::Usage, why);
        let introduced = grammar.introduce(user, "", limits).map_err(|mistake| wrong(mistake.to_string()))?;
        let own = Wanted { session: self.entrances.access().session_of(&introduced), ..introduced.wanted };
        let wanted = own
            .behind(&behind)
            .ok_or_else(|| wrong("no proxy can be all that is wanted and what the listener gives".to_owned()))?;
        Ok((introduced.user, wanted))
    }

    /// Whether clients may reach a destination.
    #[must_use]
    pub fn permits(&self, target: &Target) -> bool {
        self.entrances.access().permits(target)
    }

    /// How the tiers that attempts go through would be for a request now.
    #[must_use]
    pub fn tiers(&self, attempt: &Attempt<'_>, wanted: &Wanted) -> Vec<EscalationWords> {
        self.entrances.tiers(attempt, wanted)
    }

    /// The metrics in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.about.metrics.render()
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let in_force = self.in_force().clone();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            listen: self.entrances.places(),
            started: self.started,
            is_loading: self.engine().is_loading(),
            members: self.engine().snapshot().len(),
            config: self.about.config.as_deref().map(absolute),
            plugins: self.registry().directory().map(absolute),
            watch: in_force.settings.plugins.watch,
            needs_restart: in_force.needs_restart.iter().map(|&section| section.to_owned()).collect(),
            refused: in_force.rejected.clone(),
            strategy: self.strategy(),
            listener_strategies: self.listener_strategies(),
            store: in_force
                .settings
                .store
                .as_ref()
                .map(|url| StoreStatus { url: anywhere(url), trouble: self.engine().store_trouble() }),
            sharing: self.engine().shares_limits().then(|| Sharing {
                has_limits: has_limits(&in_force.settings),
                limits_trouble: self.engine().limits_trouble(),
                work: self.engine().crew().map(|crew| crew.status()),
            }),
            source_troubles: self.service.source_troubles(),
            listener_troubles: self.listener_troubles(),
            cut_off: self.cut_off(),
            stopping: self.stopping(),
        }
    }

    fn listener_strategies(&self) -> Vec<ListenerStrategy> {
        let told = |(name, PluginUse { name: strategy, options })| ListenerStrategy { name, strategy, options };
        self.entrances.strategies().into_iter().map(told).collect()
    }

    /// None while it is stopping: it has taken the files away itself then.
    fn cut_off(&self) -> Vec<CutOff> {
        if self.stopping().is_some() {
            return Vec::new();
        }
        let told = |(name, file): (String, SocketFile)| {
            let (socket, is_replaced) = (file.path().to_owned(), file.is_replaced());
            CutOff { name, socket, is_replaced }
        };
        self.entrances.cut_off().into_iter().map(told).collect()
    }

    /// From now on it is stopping. How long clients have that are still connected.
    pub fn begin_to_stop(&self) -> Duration {
        let drain = self.in_force().settings.gateway.drain;
        let micros = u64::try_from(drain.as_micros()).unwrap_or(u64::MAX);
        self.stops.get_or_init(|| self.engine().now().as_micros().saturating_add(micros));
        drain
    }

    fn stopping(&self) -> Option<Stopping> {
        let until = *self.stops.get()?;
        Some(Stopping { connections: self.service.gateway().connections(), until })
    }

    /// The strategy in force.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        let Chosen { used, by } = self.in_force().strategy.clone();
        let plugin = self.engine().plugins().into_iter().find(|status| is_of(status, &used.name, "strategy"));
        Strategy { name: used.name, options: used.options, set_by: by, plugin }
    }

    /// All plugins that there are, and how those are that run.
    #[must_use]
    pub fn plugins(&self) -> Vec<Plugin> {
        let mut running = self.engine().plugins();
        let mut rows = Vec::new();
        for known in self.registry().list() {
            let place = running.iter().position(|status| status.build.name == known.info.name);
            rows.push(row(known, place.map(|place| running.remove(place))));
        }
        // Of a name that is used twice, or whose file is gone.
        rows.extend(running.into_iter().map(|status| Plugin {
            name: status.build.name.clone(),
            kind: Some(status.kind.as_str().to_owned()),
            version: status.build.version.clone(),
            digest: status.build.digest.clone(),
            origin: "running".to_owned(),
            lock: "-".to_owned(),
            problem: None,
            hint: None,
            status: Some(status),
        }));
        rows
    }

    /// Puts a strategy in force, until the configuration names another one or the gateway ends.
    ///
    /// # Errors
    /// When there is none of that name, it does not take its options, or faults; the one before stays in force.
    pub async fn set_strategy(&self, used: PluginUse) -> Result<StrategySet, Failure> {
        let begun = Instant::now();
        let _one = self.changing.lock().await;
        let before = self.in_force().strategy.used.name.clone();
        let swapped = self.swap_strategy(&used).await.inspect_err(|failure| {
            tracing::error!(plugin.name = used.name, error = %failure.message, "strategy not set, the one before stays");
        })?;
        let set = StrategySet {
            before,
            name: used.name.clone(),
            version: swapped.after.version,
            digest: swapped.after.digest,
            handover: failures::word(&swapped.handover),
            took_ms: milliseconds(begun.elapsed()),
        };
        tracing::info!(plugin.name = set.name, plugin.version = set.version, handover = set.handover, "strategy set");
        self.in_force().choose(used, SetBy::Command);
        Ok(set)
    }

    /// Ends the quarantine of a plugin, or that it is disabled.
    ///
    /// # Errors
    /// When none of that name runs.
    pub fn enable(&self, name: &str) -> Result<(), Failure> {
        if self.engine().enable_plugin(name) {
            return Ok(());
        }
        Err(Failure::new(Exit::NoResult, format!("no plugin named {name} runs"))
            .hint("`proxywhirl plugin doctor` shows which do"))
    }

    /// Follows what the engine takes back by itself, until it ends.
    pub async fn follow_rollbacks(self: Arc<Self>) {
        let mut changes = self.engine().subscribe(&[Topic::PluginChanged], CHANGES);
        while let Some(event) = changes.next().await {
            let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap_or_default();
            let is = |field: &str, word: &str| payload.get(field).and_then(|it| it.as_str()) == Some(word);
            if is("change", "rolled-back") && is("kind", "strategy") {
                let mut in_force = self.in_force();
                if let Some(before) = in_force.before.take() {
                    in_force.strategy = before;
                }
            }
        }
    }

    fn registry(&self) -> &Arc<Registry> {
        self.service.registry()
    }

    fn in_force(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn swap_strategy(&self, used: &PluginUse) -> Result<proxywhirl_engine::Swapped, Failure> {
        let factory = self.factory(used).await?;
        self.engine().swap_strategy(factory).await.map_err(swap_failure)
    }

    /// A strategy, compiled and started once.
    async fn factory(&self, used: &PluginUse) -> Result<Arc<dyn StrategyFactory>, Failure> {
        let registry = Arc::clone(self.registry());
        let wanted = used.clone();
        blocking(move || registry.strategy(&wanted)).await?.inspect_err(|failure| {
            refused(self.engine(), &used.name, "strategy", &failure.message);
        })
    }

    /// Looks which plugins the lock refuses now.
    fn remember_refusals(&self) {
        let refused = |known: &Known| matches!(known.standing, Some(crate::lock::Standing::AsksMore(_)));
        let names = self.registry().list().into_iter().filter(refused).map(|known| known.info.name).collect();
        self.in_force().refused = names;
    }
}

fn is_of(status: &PluginStatus, name: &str, kind: &str) -> bool {
    status.build.name == name && status.kind.as_str() == kind
}

fn row(known: Known, status: Option<PluginStatus>) -> Plugin {
    let lock = known.lock().to_owned();
    let info = known.info;
    let (problem, hint) = info.problem.map(|problem| (problem.reason, problem.hint)).unzip();
    Plugin {
        name: info.name,
        kind: info.kind.map(|kind| kind.as_str().to_owned()),
        version: info.version,
        digest: info.digest,
        origin: info.origin.to_string(),
        lock,
        problem,
        hint,
        status,
    }
}

/// Whether there are rates, quotas, or places of users, that gateways of one pool could share.
fn has_limits(settings: &Settings) -> bool {
    let (members, sites) = (&settings.limits.members, &settings.limits.sites);
    let tagged = members.tagged.iter().map(|(_, limit)| limit);
    let mut limits = tagged.chain(sites.named.values()).chain([&members.others, &sites.others]);
    let has_limit = |user: &UserConfig| {
        let UserLimits { rate, concurrency, quota, .. } = user.limits;
        rate.is_some() || concurrency.is_some() || quota.is_some()
    };
    limits.any(|limit| limit.rate.is_some()) || settings.access.users.iter().any(has_limit)
}

/// A path that means the same in another process. What cannot be made absolute is told as it is.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The same of a store.
fn anywhere(url: &StoreUrl) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    url.clone().within(&here).to_string()
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::new(Exit::Environment, error))
}
