//! A running ProxyWhirl: engine, gateway, sources and checks over one pool.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::Candidate;
use proxywhirl_core::event::Topic;
use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::store::{Store, StoreError};
use proxywhirl_core::symbol::Symbols;
use proxywhirl_engine::bus::Bus;
use proxywhirl_engine::events::FetchPayload;
use proxywhirl_engine::geo::Geo;
use proxywhirl_engine::ingest::gather::{Gathered, Gatherer, Progress, SourceReport};
use proxywhirl_engine::source::Source;
use proxywhirl_engine::{
    Admissions, Engine, EngineConfig, Keeper, KeeperConfig, Parts, Proven, Remembering, SupervisionConfig,
};
use proxywhirl_gateway::{Drained, Gateway};
use proxywhirl_store::{ClearText, MemoryKeyValues, StoreUrl, StoredLogins};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::crew;
use super::fetching::{Fetching, shown, source};
use super::net;
use super::plugins::{Registry, Surroundings};
use super::refresh::Reading;
use super::starting::{self, Started};
use super::tags::Known;
use super::weights::Weights;
use crate::config::{AgainSettings, CheckSettings, Settings, SourceSettings, SupervisionSettings};
use crate::control::api::SourceTrouble;
use crate::credentials::{Keeping, Kept, Reader};
use crate::exit::{Exit, Failure};
use crate::secrets;

/// How long a gateway that has members waits at its start for sources that are still being read.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked then whether there are members.
const LOOK: Duration = Duration::from_millis(20);

/// A running ProxyWhirl.
#[derive(Clone)]
pub struct Service {
    engine: Arc<Engine>,
    gateway: Gateway,
    registry: Arc<Registry>,
    /// Replaced when a parser is: who is reading goes on with the parsers that it began with.
    gatherer: Arc<ArcSwap<Gatherer>>,
    fetching: Fetching,
    allow_private: bool,
    check: CheckSettings,
    keeper: Arc<Keeper>,
    credentials: Arc<Keeping>,
    key_values: Arc<dyn KeyValues>,
    geo: Option<Arc<Geo>>,
    reading: Arc<Reading>,
    /// What sources said of their proxies; none before it was asked for.
    said: Arc<tokio::sync::Mutex<Option<Known>>>,
    /// Sources that could not be read when it was tried last, by their names. Written after each reading.
    troubles: Arc<Mutex<BTreeMap<String, SourceTrouble>>>,
}

/// What a pool was filled with.
#[derive(Debug, Default)]
pub struct Filled {
    /// What each source came to.
    pub sources: Vec<SourceReport>,
    /// Candidates that were named more than once.
    pub duplicates: u64,
    /// What became of those that were let in.
    pub admissions: Admissions,
    /// What became of those that had to pass a check.
    pub proven: Proven,
}

/// How far the pool is filled when a gateway begins to serve.
#[derive(Debug)]
pub enum Filling {
    /// With what all trusted sources name.
    Over(Box<Filled>),
    /// There are members, and sources are still being read.
    GoesOn(AbortOnDropHandle<Filled>),
}

impl Service {
    /// Starts everything but the listener: loads plugins and store, puts the strategy in force, and joins those who divide the work
    /// for the pool among them.
    ///
    /// # Errors
    /// When something cannot be loaded, with the exit code and what helps.
    pub fn start(settings: &Settings, bus: Arc<Bus>) -> Result<Self, Failure> {
        let sources = settings.sources.iter().filter_map(crew::work).collect();
        let leases = settings.store.as_ref().and_then(|place| place.leases(&crew::node()));
        let service = Self::begin(settings, Parts { leases, sources, bus, ..Parts::default() })?;
        service.say(settings);
        Ok(service)
    }

    /// Says to the other gateways of the pool what has to be the same at all of them.
    pub fn say(&self, settings: &Settings) {
        if let Some(crew) = self.engine.crew() {
            crew.say(crew::sayings(settings));
        }
    }

    /// The same for a moment: it takes no part in the work, of which others would have to take over whatever it had, nor in keeping
    /// what strategies learn where several share the store.
    ///
    /// # Errors
    /// As for [`Service::start`].
    pub fn start_for_a_moment(settings: &Settings) -> Result<Self, Failure> {
        let remembering = match settings.store {
            Some(StoreUrl::Redis(_)) => Remembering::Recalls,
            Some(StoreUrl::Memory | StoreUrl::File(..) | StoreUrl::Sqlite(_)) | None => Remembering::Keeps,
        };
        Self::begin(settings, Parts { remembering, ..Parts::default() })
    }

    fn begin(settings: &Settings, parts: Parts) -> Result<Self, Failure> {
        let symbols = Arc::new(Symbols::default());
        let (store, key_values, logins) = store(settings)?;
        let surroundings = Surroundings {
            symbols: Arc::clone(&symbols),
            key_values: Some(Arc::clone(&key_values)),
            weights: Weights::of(&settings.sources),
        };
        let registry = Registry::load(&settings.plugins, surroundings)?;
        let mut tls = net::tls_config(settings.verify_upstream, settings.upstream_ca.as_deref())?;
        tls.extra_ca_pem = tls.extra_ca_pem.or_else(|| settings.upstream_ca_pem.clone());
        let dialer = net::dialer(tls.clone(), settings.gateway.connect_timeout)?;
        let Started { strategy, hooks } = starting::start(&registry, &settings.strategy, &settings.hooks)?;
        let memory = Some(Arc::clone(&key_values));
        let limits = settings.limits.clone();
        let place = settings.store.as_ref();
        let parts = Parts {
            buckets: place.and_then(StoreUrl::buckets),
            quotas: place.and_then(StoreUrl::quotas),
            places: place.and_then(StoreUrl::places),
            ..parts
        };
        let parts = Parts { strategy: Some(strategy), store, memory, hooks, limits, symbols, ..parts };
        let engine =
            Engine::start(engine_config(settings), parts).map_err(|error| Failure::new(Exit::Environment, error))?;
        let gateway = Gateway::new(Arc::clone(&engine), dialer.clone(), settings.gateway.clone());
        let check = &settings.check;
        let checker = super::checker(check, dialer, &tls, settings.allow_private, engine.clock())?;
        let checker = checker.with_logins(Arc::clone(engine.logins()));
        let geo = geo(&settings.geo)?;
        let keeper = Keeper::new(Arc::clone(&engine), checker, keeping(check), geo.clone());
        let fetching = Fetching::new(settings);
        let credentials = Keeping::new(Arc::clone(&engine), Reader::default(), logins);
        Ok(Self {
            gatherer: Arc::new(ArcSwap::from_pointee(registry.gatherer(
                &fetching,
                settings.allow_private,
                Some(&engine),
            ))),
            engine,
            gateway,
            fetching,
            registry,
            allow_private: settings.allow_private,
            check: settings.check.clone(),
            keeper,
            credentials,
            key_values,
            geo,
            reading: Arc::new(Reading::of(settings.sources.clone())),
            said: Arc::default(),
            troubles: Arc::default(),
        })
    }

    /// The plugins that there are.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Takes over parsers that have changed: for what is read from now on.
    pub fn renew_parsers(&self) {
        self.gatherer.store(Arc::new(self.registry.gatherer(&self.fetching, self.allow_private, Some(&self.engine))));
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The gateway.
    #[must_use]
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What keeps credentials up.
    #[must_use]
    pub const fn credentials(&self) -> &Arc<Keeping> {
        &self.credentials
    }

    /// Reads sources and fills the pool: with what trusted ones name as it is, with the rest if it passes its check.
    /// Returns when the pool is filled, saved, and covered by the strategy's plan.
    ///
    /// # Errors
    /// When a source has to be proven and there is no judge to do that.
    pub async fn fill(&self, sources: &[SourceSettings]) -> Result<Filled, Failure> {
        let mut filled = Filled::default();
        if sources.is_empty() {
            // Without waiting for the rest of the store.
            self.engine.ready().await;
            return Ok(filled);
        }
        let (trusted, unproven): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.trust);
        let candidates = self.gather(&trusted, &mut filled).await;
        filled.admissions.add(self.engine.admit(self.vouched(candidates)).await);
        if !unproven.is_empty() {
            self.can_read(sources)?;
            super::meet_judges(&self.check, self.keeper.checker()).await?;
            self.prove(&unproven, &mut filled).await;
        }
        Ok(filled)
    }

    /// Fills the pool from trusted sources at the start. Returns when that is done; when it takes long, as soon as there are members.
    ///
    /// # Errors
    /// When it cannot be done.
    pub async fn fill_at_start(&self, trusted: Vec<SourceSettings>) -> Result<Filling, Failure> {
        let service = self.clone();
        let mut filling = AbortOnDropHandle::new(tokio::spawn(async move { service.fill_in_parts(&trusted).await }));
        tokio::select! {
            biased;
            filled = &mut filling => match filled {
                Ok(filled) => Ok(Filling::Over(Box::new(filled))),
                Err(error) => Err(Failure::new(Exit::Environment, error)),
            },
            () = self.has_members_after_all() => Ok(Filling::GoesOn(filling)),
        }
    }

    /// Returns when there are members, and those who are there need not wait any longer for others.
    async fn has_members_after_all(&self) {
        tokio::time::sleep(PATIENCE).await;
        while self.engine.snapshot().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        self.engine.ready().await;
    }

    /// Reads trusted sources: one that hangs keeps nobody out whom another one names.
    async fn fill_in_parts(&self, trusted: &[SourceSettings]) -> Filled {
        let mut filled = Filled::default();
        if trusted.is_empty() {
            // Without waiting for the rest of the store.
            self.engine.ready().await;
            return filled;
        }
        let (usable, sources) = self.usable(&trusted.iter().collect::<Vec<_>>(), &mut filled);
        let gatherer = self.gatherer.load_full();
        let (sender, mut parts) = mpsc::channel(1);
        let tell = |progress: Progress<'_>| self.tell_progress(progress);
        let reading = gatherer.gather_in_parts(&sources, &tell, PATIENCE, sender);
        let taking = async {
            while let Some((indexes, gathered)) = parts.recv().await {
                let read: Vec<_> = indexes.iter().filter_map(|index| usable.get(*index).copied()).collect();
                let candidates = self.take(&read, gathered, &mut filled).await;
                filled.admissions.add(self.engine.admit(self.vouched(candidates)).await);
            }
        };
        tokio::join!(reading, taking);
        filled
    }

    /// Takes in whom the user names, even those that were taken out before.
    pub async fn let_in(&self, candidates: Vec<Candidate>) -> Admissions {
        self.engine.let_in(self.vouched(candidates)).await
    }

    /// What somebody vouches for comes in as it is, with where it comes out as far as that is known.
    fn vouched(&self, mut candidates: Vec<Candidate>) -> Vec<Admission> {
        if let Some(geo) = &self.geo {
            candidates.iter_mut().for_each(|candidate| geo.label(candidate, None));
        }
        candidates.into_iter().map(|candidate| Admission::Vouched(Box::new(candidate))).collect()
    }

    /// What a source names now, proven if it has to be; while no judge answers, it waits.
    pub(super) async fn refill(&self, source: &SourceSettings) -> Result<Filled, Failure> {
        if source.trust {
            return self.fill(std::slice::from_ref(source)).await;
        }
        let mut filled = Filled::default();
        self.prove(&[source], &mut filled).await;
        Ok(filled)
    }

    /// What sources said of their proxies.
    pub(super) const fn said(&self) -> &Arc<tokio::sync::Mutex<Option<Known>>> {
        &self.said
    }

    /// What is kept beside the pool.
    pub(super) const fn key_values(&self) -> &Arc<dyn KeyValues> {
        &self.key_values
    }

    /// What keeps the pool true.
    #[must_use]
    pub const fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// The sources of the configuration, and who reads them again.
    pub(super) const fn reading(&self) -> &Arc<Reading> {
        &self.reading
    }

    /// The sources that could not be read when it was tried last.
    #[must_use]
    pub fn source_troubles(&self) -> Vec<SourceTrouble> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether there is what sources need that are not trusted.
    ///
    /// # Errors
    /// When one of them needs a judge, and there is none.
    pub fn can_read(&self, sources: &[SourceSettings]) -> Result<(), Failure> {
        super::can_read(&self.check, sources)
    }

    /// Checks members, and those who were turned away, as they become due, until the token is cancelled; nothing when there
    /// is no judge to check them with, or it is not wanted.
    pub fn keep(&self, shutdown: CancellationToken) -> Option<JoinHandle<()>> {
        let is_wanted = self.check.again.is_on && self.check.is_complete().is_ok();
        is_wanted.then(|| tokio::spawn(Arc::clone(&self.keeper).run(shutdown)))
    }

    /// Goes on to read trusted sources, and reads those that are not, as a task: the gateway serves meanwhile with who is there.
    /// While no judge answers, it waits.
    pub fn fill_in_background(&self, filling: Filling, unproven: Vec<SourceSettings>) -> JoinHandle<()> {
        let service = self.clone();
        tokio::spawn(async move {
            tokio::join!(service.fill_on(filling), service.prove_at_start(&unproven));
        })
    }

    async fn fill_on(&self, filling: Filling) {
        match filling {
            Filling::Over(_) => {}
            Filling::GoesOn(filling) => {
                if let Ok(filled) = filling.await {
                    self.tell_filled(&filled, "trusted sources fetched");
                }
            }
        }
    }

    async fn prove_at_start(&self, sources: &[SourceSettings]) {
        if sources.is_empty() {
            return;
        }
        let mut filled = Filled::default();
        self.prove(&sources.iter().collect::<Vec<_>>(), &mut filled).await;
        self.tell_filled(&filled, "sources fetched and checked");
    }

    /// Tells what became of sources that were read while the gateway served.
    fn tell_filled(&self, filled: &Filled, what: &str) {
        // One that can be none has been told already, and has no location.
        for report in filled.sources.iter().filter(|report| !report.location.is_empty()) {
            if let Some(error) = &report.error {
                tracing::warn!(source.name = report.name, error, "source not read");
            }
        }
        if filled.admissions.full > 0 {
            tracing::warn!(pool.full = filled.admissions.full, "the pool is full, some are left out (pool.capacity)");
        }
        tracing::info!(
            pool.new = filled.admissions.new,
            pool.dead = filled.proven.dead,
            pool.members = self.engine.snapshot().len(),
            "{what}"
        );
    }

    /// Serves clients until the token is cancelled, then lets them finish.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) -> Drained {
        self.gateway.serve(listener, shutdown).await
    }

    /// Ends everything, and saves.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.credentials.stop();
        self.fetching.close().await;
        self.engine.stop().await.map_err(store_failure)?;
        // What plugins have kept while they ended.
        let key_values = Arc::clone(&self.key_values);
        let synced = tokio::task::spawn_blocking(move || key_values.sync()).await;
        synced.unwrap_or(Ok(())).map_err(|error| Failure::new(Exit::Environment, error))
    }

    /// Reads sources. One that cannot be any is told, and the others are read.
    async fn gather(&self, settings: &[&SourceSettings], filled: &mut Filled) -> Vec<Candidate> {
        let (usable, sources) = self.usable(settings, filled);
        let gatherer = self.gatherer.load_full();
        let gathered = gatherer.gather(&sources, &|progress| self.tell_progress(progress)).await;
        self.take(&usable, gathered, filled).await
    }

    /// Those that can be sources, about to be read. One that cannot be any is told.
    fn usable<'a>(
        &self,
        settings: &[&'a SourceSettings],
        filled: &mut Filled,
    ) -> (Vec<&'a SourceSettings>, Vec<Source>) {
        let (mut usable, mut sources) = (Vec::new(), Vec::new());
        for &settings in settings {
            match source(settings) {
                Ok(source) => {
                    usable.push(settings);
                    sources.push(source);
                }
                Err(failure) => filled.sources.push(self.unusable(settings, failure)),
            }
        }
        self.note_begun(&usable);
        (usable, sources)
    }

    /// Notes what these sources came to; whom they name.
    async fn take(&self, usable: &[&SourceSettings], gathered: Gathered, filled: &mut Filled) -> Vec<Candidate> {
        let is_read = |report: &SourceReport| report.error.is_none();
        let read = usable.iter().zip(&gathered.sources).filter(|(_, report)| is_read(report));
        self.note_read(&read.map(|(settings, _)| *settings).collect::<Vec<_>>()).await;
        for report in &gathered.sources {
            self.note_trouble(&report.name, report.error.clone(), false);
        }
        filled.sources.extend(gathered.sources);
        filled.duplicates += gathered.duplicates;
        gathered.candidates.into_iter().collect()
    }

    fn tell_progress(&self, progress: Progress<'_>) {
        if let Progress::Finished { report, .. } = progress {
            self.tell_fetched(report);
        }
    }

    /// Tells that a source can be none.
    fn unusable(&self, settings: &SourceSettings, failure: Failure) -> SourceReport {
        let name = shown(settings);
        tracing::error!(source.name = name, error = %failure.message, "source cannot be used");
        self.note_trouble(&name, Some(failure.message.clone()), true);
        let report = SourceReport { name, error: Some(failure.message), ..SourceReport::default() };
        self.tell_fetched(&report);
        report
    }

    /// Forgets what is known of sources that are no longer there.
    pub(super) fn forget_troubles(&self, sources: &[SourceSettings]) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.retain(|name, _| sources.iter().any(|source| shown(source) == *name));
    }

    /// Notes why a source could not be read, or that it could.
    fn note_trouble(&self, name: &str, error: Option<String>, is_unusable: bool) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => {
                let name = name.to_owned();
                troubles.insert(name.clone(), SourceTrouble { name, error, is_unusable });
            }
            None => {
                troubles.remove(name);
            }
        }
    }

    /// Reads sources that are not trusted, and lets in what passes its check.
    async fn prove(&self, sources: &[&SourceSettings], filled: &mut Filled) {
        let candidates = self.gather(sources, filled).await;
        let proven = self.keeper.prove(candidates, &|_| ()).await;
        filled.admissions.add(proven.admissions);
        filled.proven.add(proven);
    }

    fn tell_fetched(&self, report: &SourceReport) {
        self.engine.bus().publish(Topic::FetchComplete, self.engine.now(), || FetchPayload {
            source: &report.name,
            parser: Some(report.parser.as_str()).filter(|parser| !parser.is_empty()),
            candidates: report.candidates,
            rejected: report.rejected,
            drift: report.drift.as_ref().map(|drift| drift.reason.as_str()),
            kept: report.drift.as_ref().map(|drift| drift.kept),
            error: report.error.clone(),
        });
    }
}

/// The databases that say where addresses are; none when there are none.
fn geo(paths: &[PathBuf]) -> Result<Option<Arc<Geo>>, Failure> {
    if paths.is_empty() {
        return Ok(None);
    }
    Geo::open(paths).map(|geo| Some(Arc::new(geo))).map_err(|error| Failure::new(Exit::Input, error))
}

/// How the pool is kept true.
fn keeping(check: &CheckSettings) -> KeeperConfig {
    let AgainSettings { schedule, give_up, remove_dead, concurrency, .. } = check.again;
    KeeperConfig { schedule, concurrency, give_up, remove_dead, ..KeeperConfig::new(check.level) }
}

/// The store, if there is one, the keys and values of plugins, and the logins of commands.
type Stored = (Option<Box<dyn Store>>, Arc<dyn KeyValues>, Option<Kept>);

/// Where the pool is kept, keys and values of plugins, and logins that commands set; what there is of those is held as long as the
/// process lives when there is no store.
fn store(settings: &Settings) -> Result<Stored, Failure> {
    let Some(url) = &settings.store else { return Ok((None, Arc::new(MemoryKeyValues::new()), None)) };
    let keys = secrets::keyring(settings.store_keys.as_ref())?;
    let opened = url.open_though_away().map_err(store_failure)?.sealed(keys.clone(), url, ClearText::Told);
    let key_values: Arc<dyn KeyValues> = opened.keys;
    let logins = StoredLogins::new(Arc::clone(&key_values), keys);
    let kept = url.is_lasting().then(|| Kept::new(logins, url.to_string(), opened.store.is_shared()));
    Ok((Some(opened.store), key_values, kept))
}

fn engine_config(settings: &Settings) -> EngineConfig {
    EngineConfig {
        breaker: settings.breaker,
        capacity: settings.capacity,
        ban_share: settings.max_banned,
        sites: settings.sites,
        save_interval: settings.save_interval,
        history: settings.history,
        supervision: supervision(settings.plugins.supervision),
        ..EngineConfig::default()
    }
}

fn supervision(settings: SupervisionSettings) -> SupervisionConfig {
    SupervisionConfig {
        restarts: settings.restarts,
        window: settings.window,
        quarantine: settings.quarantine,
        probation: settings.probation,
        ..SupervisionConfig::default()
    }
}

fn store_failure(error: StoreError) -> Failure {
    Failure::new(Exit::Environment, error)
}
