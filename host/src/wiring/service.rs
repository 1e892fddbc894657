//! A running ProxyWhirl: engine, gateway, sources and checks over one pool.

use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use proxywhirl_core::event::Topic;
use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::store::{Store, StoreError};
use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::{Candidate, Level};
use proxywhirl_engine::check::{Checked, Checker};
use proxywhirl_engine::events::{CheckPayload, FaultPayload, FetchPayload, milliseconds};
use proxywhirl_engine::ingest::gather::{Gatherer, Progress, SourceReport};
use proxywhirl_engine::{Admissions, Engine, EngineConfig, Parts, SupervisionConfig};
use proxywhirl_gateway::{Drained, Gateway};
use proxywhirl_net::Dialer;
use proxywhirl_store::{MemoryKeyValues, Sqlite, SqliteKeyValues};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fetching::{Fetching, source};
use super::net;
use super::plugins::{Registry, Surroundings};
use super::starting::{self, Started};
use crate::config::settings::CheckSettings;
use crate::config::{Settings, SourceSettings, SupervisionSettings};
use crate::exit::{Exit, Failure};

/// Candidates that are admitted at once while checks run: the pool grows while one watches, and not one by one.
const BATCH: usize = 64;

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
    dialer: Dialer,
    check: CheckSettings,
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
    /// Candidates that did not pass their check.
    pub dead: usize,
}

impl Service {
    /// Starts everything but the listener: loads plugins and store, puts the strategy in force.
    ///
    /// # Errors
    /// When something cannot be loaded, with the exit code and what helps.
    pub fn start(settings: &Settings) -> Result<Self, Failure> {
        let symbols = Arc::new(Symbols::default());
        let key_values = key_values(settings)?;
        let surroundings = Surroundings { symbols: Arc::clone(&symbols), key_values: Some(Arc::clone(&key_values)) };
        let registry = Registry::load(&settings.plugins, surroundings)?;
        let mut tls = net::tls_config(settings.verify_upstream, settings.upstream_ca.as_deref())?;
        tls.extra_ca_pem = tls.extra_ca_pem.or_else(|| settings.upstream_ca_pem.clone());
        let dialer = net::dialer(tls, settings.gateway.connect_timeout)?;
        let Started { strategy, hooks } = starting::start(&registry, &settings.strategy, &settings.hooks)?;
        let memory = Some(key_values);
        let parts = Parts { strategy: Some(strategy), store: store(settings)?, memory, hooks, symbols };
        let config = EngineConfig {
            breaker: settings.breaker,
            capacity: settings.capacity,
            save_interval: settings.save_interval,
            supervision: supervision(settings.plugins.supervision),
            ..EngineConfig::default()
        };
        let engine = Engine::start(config, parts).map_err(|error| Failure::new(Exit::Environment, error))?;
        let gateway = Gateway::new(Arc::clone(&engine), dialer.clone(), settings.gateway.clone());
        let fetching = Fetching::new(settings);
        Ok(Self {
            engine,
            gateway,
            gatherer: Arc::new(ArcSwap::from_pointee(registry.gatherer(&fetching, settings.allow_private))),
            fetching,
            registry,
            allow_private: settings.allow_private,
            dialer,
            check: settings.check.clone(),
        })
    }

    /// The plugins that there are.
    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Takes over parsers that have changed: for what is read from now on.
    pub fn renew_parsers(&self) {
        self.gatherer.store(Arc::new(self.registry.gatherer(&self.fetching, self.allow_private)));
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

    /// Reads sources and fills the pool: with what trusted ones name as it is, with the rest if it passes its check.
    /// Returns when the pool is filled, saved, and covered by the strategy's plan.
    ///
    /// # Errors
    /// When a source cannot be one, or has to be proven and there is no judge to do that.
    pub async fn fill(&self, sources: &[SourceSettings]) -> Result<Filled, Failure> {
        let mut filled = Filled::default();
        let (trusted, unproven): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.trust);
        let candidates = self.gather(&trusted, &mut filled).await?;
        let admissions = candidates.into_iter().map(|candidate| Admission::Vouched(Box::new(candidate))).collect();
        filled.count(self.engine.admit(admissions).await);
        if !unproven.is_empty() {
            self.can_prove()?;
            let checker = super::checker(&self.check, self.dialer.clone(), self.engine.clock()).await?;
            let candidates = self.gather(&unproven, &mut filled).await?;
            self.prove(&checker, candidates, &mut filled).await;
        }
        Ok(filled)
    }

    /// Whether sources that are not trusted can be proven.
    ///
    /// # Errors
    /// When they need a judge and there is none.
    pub fn can_prove(&self) -> Result<(), Failure> {
        if self.check.level < Level::Http || self.check.judge.is_some() {
            return Ok(());
        }
        Err(Failure::new(Exit::Usage, "there are sources that are not trusted, and no judge to check what they name")
            .hint("set check.judge to a `proxywhirl judge` that the proxies reach, or check.level = \"tcp\", or trust = true"))
    }

    /// [`Service::fill`] as a task: the gateway serves meanwhile with who is there.
    pub fn fill_in_background(&self, sources: Vec<SourceSettings>) -> JoinHandle<()> {
        let service = self.clone();
        tokio::spawn(async move {
            if sources.is_empty() {
                return;
            }
            match service.fill(&sources).await {
                Ok(filled) => tracing::info!(
                    pool.new = filled.admissions.new,
                    pool.dead = filled.dead,
                    pool.members = service.engine.snapshot().len(),
                    "sources fetched and checked"
                ),
                Err(failure) => tracing::error!(error = %failure.message, "sources cannot be used"),
            }
        })
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
        self.fetching.close().await;
        self.engine.stop().await.map_err(store_failure)
    }

    async fn gather(&self, settings: &[&SourceSettings], filled: &mut Filled) -> Result<Vec<Candidate>, Failure> {
        let sources = settings.iter().map(|settings| source(settings)).collect::<Result<Vec<_>, _>>()?;
        let gatherer = self.gatherer.load_full();
        let gathered = gatherer
            .gather(&sources, &|progress| {
                if let Progress::Finished { report, .. } = progress {
                    self.tell_fetched(report);
                }
            })
            .await;
        filled.sources.extend(gathered.sources);
        filled.duplicates += gathered.duplicates;
        Ok(gathered.candidates.into_iter().collect())
    }

    async fn prove(&self, checker: &Checker, candidates: Vec<Candidate>, filled: &mut Filled) {
        let mut checks = pin!(checker.check_all(candidates, self.check.level));
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(checked) = checks.next().await {
            self.tell_checked(&checked);
            match checked.into_verified() {
                Ok(verified) => batch.push(Admission::Verified(Box::new(verified))),
                Err(_) => filled.dead += 1,
            }
            if batch.len() == BATCH {
                filled.count(self.engine.admit(std::mem::take(&mut batch)).await);
            }
        }
        filled.count(self.engine.admit(batch).await);
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

    fn tell_checked(&self, checked: &Checked) {
        let verdict = &checked.verdict;
        self.engine.bus().publish(Topic::HealthCheck, verdict.at, || CheckPayload {
            proxy: checked.candidate.endpoint.to_string(),
            level: verdict.level.as_str(),
            alive: verdict.is_alive(),
            latency_ms: verdict.latency.map(milliseconds),
            fault: verdict.fault.as_ref().map(FaultPayload::from),
        });
    }
}

impl Filled {
    fn count(&mut self, admissions: Admissions) {
        self.admissions.new += admissions.new;
        self.admissions.merged += admissions.merged;
        self.admissions.known += admissions.known;
        self.admissions.full += admissions.full;
    }
}

fn store(settings: &Settings) -> Result<Option<Box<dyn Store>>, Failure> {
    let Some(path) = &settings.store else { return Ok(None) };
    Ok(Some(Box::new(Sqlite::open(path).map_err(store_failure)?)))
}

/// Where plugins keep keys and values: in the database, or as long as the process lives.
fn key_values(settings: &Settings) -> Result<Arc<dyn KeyValues>, Failure> {
    Ok(match &settings.store {
        Some(path) => Arc::new(SqliteKeyValues::open(path).map_err(store_failure)?),
        None => Arc::new(MemoryKeyValues::new()),
    })
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
