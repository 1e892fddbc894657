//! How an engine starts: how it works, what it works with, and the tasks that go with it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::plugin::{Hook, StrategyFactory};
use proxywhirl_core::pool::{Pool, Snapshot};
use proxywhirl_core::shared::{Buckets, Leases, Places, Quotas};
use proxywhirl_core::store::{Store, StoreError};
use proxywhirl_core::symbol::Symbols;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::waiting::attend;
use super::{Engine, direct, outcomes};
use crate::bans::Bans;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::history::History;
use crate::hooks::Hooks;
use crate::limits::shared::{Asking, carry};
use crate::limits::{LimitsConfig, Room, Shared};
use crate::logins::Logins;
use crate::measures::Measures;
use crate::sites::{Sites, SitesConfig};
use crate::strategy::{self, Remembering, Selector};
use crate::supervision::SupervisionConfig;
use crate::supervisor::Supervisor;
use crate::work::Crew;
use crate::writer::Writer;

/// How an engine works.
#[derive(Debug, Clone, Copy)]
pub struct EngineConfig {
    /// When a member is kept away from requests.
    pub breaker: BreakerConfig,
    /// How many members the pool may have.
    pub capacity: usize,
    /// How often what changed is saved: a crash loses that much of the statistics. New members are saved at once.
    pub save_interval: Duration,
    /// How often a strategy hears how uses went, and which sites get plans of their own is decided.
    pub observe_interval: Duration,
    /// The largest share of the members that may be banned at one site.
    pub ban_share: f32,
    /// What is remembered of members at sites, and when one is passed over there.
    pub sites: SitesConfig,
    /// How patient the host is with plugins.
    pub supervision: SupervisionConfig,
    /// How many requests are remembered.
    pub history: usize,
    /// From what random choices follow.
    pub seed: u64,
}

impl EngineConfig {
    /// Ten thousand requests are remembered: at half a kilobyte each, some megabytes.
    pub const HISTORY: usize = 10_000;
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            breaker: BreakerConfig::default(),
            capacity: Pool::DEFAULT_CAPACITY,
            save_interval: Duration::from_secs(1),
            observe_interval: Duration::from_secs(1),
            ban_share: 0.5,
            sites: SitesConfig::default(),
            supervision: SupervisionConfig::default(),
            history: Self::HISTORY,
            seed: fastrand::u64(..),
        }
    }
}

/// What an engine works with. The defaults: everybody in turn, nothing kept, nobody told.
#[derive(Default)]
pub struct Parts {
    /// The strategy; without one, everybody is picked in turn.
    pub strategy: Option<Arc<dyn StrategyFactory>>,
    /// Where the pool is kept.
    pub store: Option<Box<dyn Store>>,
    /// Where strategies keep what they have learned over restarts; without it, each start begins with nothing.
    pub memory: Option<Arc<dyn KeyValues>>,
    /// Whether they keep it, or leave that to others who share the pool.
    pub remembering: Remembering,
    /// Who hears events.
    pub hooks: Vec<Box<dyn Hook>>,
    /// How much may be asked of whom.
    pub limits: LimitsConfig,
    /// The token buckets of the gateways that share the pool; without them, rates are this one's own.
    pub buckets: Option<Box<dyn Buckets>>,
    /// The counters of what users have used at those gateways; without them, quotas are this one's own.
    pub quotas: Option<Box<dyn Quotas>>,
    /// The places for users' requests and tunnels that they divide; without them, each gateway has its own.
    pub places: Option<Box<dyn Places>>,
    /// Divides work among those gateways; without it, this one does all of it.
    pub leases: Option<Box<dyn Leases>>,
    /// The names of the sources of which one of them is to read each.
    pub sources: Vec<Arc<str>>,
    /// Logins in place of those that members came with, shared with what checks them.
    pub logins: Arc<Logins>,
    /// The texts behind symbols, shared with the plugins.
    pub symbols: Arc<Symbols>,
    /// Where events are told: who listens before the start misses none.
    pub bus: Arc<Bus>,
}

/// What gateways of one pool share, for the tasks that ask about it.
struct Shares {
    buckets: Option<(mpsc::Receiver<Asking>, Box<dyn Buckets>)>,
    quotas: Option<Box<dyn Quotas>>,
    places: Option<Box<dyn Places>>,
}

impl Engine {
    /// Starts an engine: loads what is stored, starts strategy and hooks. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be read, or the operating system gives no thread.
    pub fn start(config: EngineConfig, mut parts: Parts) -> Result<Arc<Self>, StartError> {
        let (clock, bus) = (Clock::default(), Arc::clone(&parts.bus));
        let supervisor = Supervisor::new(Arc::clone(&bus), clock, config.supervision);
        let measures = Arc::new(Measures::new(config.seed));
        // Before the strategy, so that they hear of it.
        let hooks = Arc::new(Hooks::start(std::mem::take(&mut parts.hooks), &bus, &supervisor)?);
        let selector = Self::select(&mut parts, config.observe_interval, clock, &supervisor)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
        let mut pool = Pool::new(parts.symbols, config.capacity);
        let (shared, asked) = parts.buckets.is_some().then(Shared::new).unzip();
        let room = Room::new(&parts.limits, shared);
        pool.limit(parts.limits.members);
        let readers = crate::writer::Readers {
            clock,
            bus: Arc::clone(&bus),
            snapshot: Arc::clone(&snapshot),
            selector: Arc::clone(&selector),
            measures: Arc::clone(&measures),
            bans: Arc::new(Bans::new(config.ban_share)),
            keys: parts.memory,
            room: Arc::clone(&room),
            is_loading: Arc::default(),
            trouble: Arc::default(),
        };
        let (bans, trouble) = (Arc::clone(&readers.bans), Arc::clone(&readers.trouble));
        let (is_loading, stop) = (Arc::clone(&readers.is_loading), CancellationToken::new());
        let writer = Writer::start(pool, parts.store, config.save_interval, readers)?;
        let engine = Arc::new(Self {
            breaker: ArcSwap::from_pointee(config.breaker),
            clock,
            bus,
            supervisor,
            measures,
            snapshot,
            selector,
            writer,
            hooks,
            history: History::new(config.history),
            bans,
            sites: Sites::new(config.sites),
            room,
            quotas: parts.quotas.is_some().then(Arc::default),
            places: parts.places.is_some().then(Arc::default),
            crew: parts.leases.map(|leases| Crew::join(leases, parts.sources, clock)),
            logins: parts.logins,
            is_loading,
            trouble,
            attendants: Mutex::default(),
            no_waits: stop.child_token(),
            stop,
            requests: AtomicU64::new(0),
            direct: Arc::new(direct::member()),
        });
        engine.attend(Shares { buckets: asked.zip(parts.buckets), quotas: parts.quotas, places: parts.places });
        Ok(engine)
    }

    /// Starts the strategy.
    fn select(
        parts: &mut Parts,
        observe_interval: Duration,
        clock: Clock,
        supervisor: &Arc<Supervisor>,
    ) -> std::io::Result<Arc<Selector>> {
        let setup = strategy::Setup {
            factory: parts.strategy.take(),
            clock,
            supervisor: Arc::clone(supervisor),
            symbols: Arc::clone(&parts.symbols),
            observe_interval,
            memory: parts.memory.clone().zip(Some(parts.remembering)),
            label: Box::default(),
        };
        Selector::start(setup).map(Arc::new)
    }

    /// Starts the tasks that serve those who wait, ask those who share the limits, and hear what others find.
    fn attend(self: &Arc<Self>, shares: Shares) {
        let Shares { buckets, quotas, places } = shares;
        let (clock, room, stop) = (self.clock, || Arc::clone(&self.room), || self.stop.clone());
        let mut attendants = Vec::with_capacity(5);
        if let Some((counted, quotas)) = self.quotas.clone().zip(quotas) {
            attendants.push(tokio::spawn(counted.exchange(quotas, clock, stop())));
        }
        if let Some((divided, places)) = self.places.clone().zip(places) {
            attendants.push(tokio::spawn(divided.exchange(places, clock, stop())));
        }
        if let Some((asked, buckets)) = buckets {
            attendants.push(tokio::spawn(carry(room(), asked, buckets, clock, stop())));
        }
        if let Some(crew) = self.crew.clone() {
            attendants.push(tokio::spawn(outcomes::hear(crew, Arc::downgrade(self), stop())));
        }
        attendants.push(tokio::spawn(attend(room(), Arc::downgrade(self), clock, stop())));
        *self.attendants.lock().unwrap_or_else(PoisonError::into_inner) = attendants;
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gives no thread.
    #[error("starting a thread")]
    Thread(#[from] std::io::Error),
}
