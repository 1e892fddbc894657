//! The engine: the pool as requests use it.
//!
//! A request asks for a lease, uses the member, and settles the lease with what came of it. Asking
//! reads two snapshots and never waits; settling writes the member's own atomics. Everything that
//! changes who is in the pool goes through the writer.

mod at_sites;
mod attempt;
mod banning;
mod configuring;
mod direct;
mod explain;
mod granting;
mod logging_in;
mod outcomes;
mod plugins;
mod waiting;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::event::Topic;
use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::lease::Lease;
use proxywhirl_core::limit::Rate;
use proxywhirl_core::member::mix;
use proxywhirl_core::plugin::{Hook, StrategyFactory};
use proxywhirl_core::pool::{Admission, Pool, Snapshot};
use proxywhirl_core::select::{Outlook, Refusals, Wish};
use proxywhirl_core::shared::{Buckets, Leases, Places, Quotas};
use proxywhirl_core::store::{Store, StoreError};
use proxywhirl_core::symbol::{Symbol, Symbols};
use proxywhirl_core::{Member, MemberId, Timestamp};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bans::Bans;
use crate::bus::{Bus, Subscription};
pub use at_sites::{AtSite, SiteQuery};
pub use attempt::{Attempt, AttemptTier, Completion, NoLease};
pub use banning::{Ban, BanInForce};
pub use configuring::Tuning;
pub use explain::{CandidateWords, Explanation, TierWords};
pub use logging_in::LoginSet;

use crate::clock::Clock;
use crate::events::{AttemptPayload, PoolEmptyPayload};
use crate::history::History;
use crate::hooks::Hooks;
use crate::limits::places::SharedPlaces;
use crate::limits::quotas::SharedQuotas;
use crate::limits::room::Holding;
use crate::limits::shared::{Asking, carry};
use crate::limits::{LimitsConfig, Room, Shared};
use crate::logins::Logins;
use crate::measures::Measures;
use crate::sites::{Sites, SitesConfig};
use crate::strategy::{self, Ask, Choice, Remembering, Selector, Way};
use crate::supervision::SupervisionConfig;
use crate::supervisor::Supervisor;
use crate::trouble::{StoreTrouble, Trouble};
use crate::work::Crew;
use crate::writer::{Admissions, Writer};
use waiting::{Draw, attend};

/// How often a pick is tried again when another request took the one probe of the member that was picked.
const RACES: usize = 16;

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
}

/// What gateways of one pool share, for the tasks that ask about it.
struct Shares {
    buckets: Option<(mpsc::Receiver<Asking>, Box<dyn Buckets>)>,
    quotas: Option<Box<dyn Quotas>>,
    places: Option<Box<dyn Places>>,
}

/// The pool as requests use it.
#[derive(Debug)]
pub struct Engine {
    breaker: ArcSwap<BreakerConfig>,
    clock: Clock,
    bus: Arc<Bus>,
    supervisor: Arc<Supervisor>,
    measures: Arc<Measures>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    selector: Arc<Selector>,
    writer: Writer,
    hooks: Arc<Hooks>,
    history: History,
    bans: Arc<Bans>,
    sites: Sites,
    room: Arc<Room>,
    quotas: Option<Arc<SharedQuotas>>,
    places: Option<Arc<SharedPlaces>>,
    crew: Option<Arc<Crew>>,
    logins: Arc<Logins>,
    is_loading: Arc<AtomicBool>,
    trouble: Arc<Trouble>,
    /// The tasks that serve those who wait, ask those who share the limits, and hear what others find.
    attendants: Mutex<Vec<JoinHandle<()>>>,
    /// Ends them.
    stop: CancellationToken,
    requests: AtomicU64,
    /// What stands for the way without a member.
    direct: Arc<Member>,
}

impl Engine {
    /// Starts an engine: loads what is stored, starts strategy and hooks. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be read, or the operating system gives no thread.
    pub fn start(config: EngineConfig, parts: Parts) -> Result<Arc<Self>, StartError> {
        let (clock, bus) = (Clock::default(), Arc::new(Bus::default()));
        let supervisor = Supervisor::new(Arc::clone(&bus), clock, config.supervision);
        let measures = Arc::new(Measures::new(config.seed));
        // Before the strategy, so that they hear of it.
        let hooks = Arc::new(Hooks::start(parts.hooks, &bus, &supervisor)?);
        let selector = Arc::new(Selector::start(strategy::Setup {
            factory: parts.strategy,
            clock,
            supervisor: Arc::clone(&supervisor),
            symbols: Arc::clone(&parts.symbols),
            observe_interval: config.observe_interval,
            memory: parts.memory.clone(),
            remembering: parts.remembering,
        })?);
        let bans = Arc::new(Bans::new(config.ban_share));
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
        let mut pool = Pool::new(parts.symbols, config.capacity);
        let (shared, asked) = parts.buckets.is_some().then(Shared::new).unzip();
        let room = Room::new(&parts.limits, shared);
        let (trouble, is_loading) = (Arc::<Trouble>::default(), Arc::<AtomicBool>::default());
        pool.limit(parts.limits.members);
        let readers = crate::writer::Readers {
            clock,
            bus: Arc::clone(&bus),
            snapshot: Arc::clone(&snapshot),
            selector: Arc::clone(&selector),
            measures: Arc::clone(&measures),
            bans: Arc::clone(&bans),
            keys: parts.memory,
            room: Arc::clone(&room),
            is_loading: Arc::clone(&is_loading),
            trouble: Arc::clone(&trouble),
        };
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
            stop: CancellationToken::new(),
            requests: AtomicU64::new(0),
            direct: Arc::new(direct::member()),
        });
        engine.attend(Shares { buckets: asked.zip(parts.buckets), quotas: parts.quotas, places: parts.places });
        Ok(engine)
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

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The engine's clock.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The event bus.
    #[must_use]
    pub const fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// Listens to events: see [`Bus::subscribe`].
    #[must_use]
    pub fn subscribe(&self, topics: &[Topic], capacity: usize) -> Subscription {
        self.bus.subscribe(topics, capacity)
    }

    /// The pool as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether stored members are still being loaded: they join while the pool serves, and nobody else does until then.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.is_loading.load(Ordering::Relaxed)
    }

    /// Why the pool cannot be saved, and since when; none when it can.
    #[must_use]
    pub fn store_trouble(&self) -> Option<StoreTrouble> {
        self.trouble.get()
    }

    /// Those among whom work is divided; none when this gateway does all of it.
    #[must_use]
    pub const fn crew(&self) -> Option<&Arc<Crew>> {
        self.crew.as_ref()
    }

    /// Whether rates hold over all gateways of the same pool.
    #[must_use]
    pub fn shares_limits(&self) -> bool {
        self.room.shared().is_some()
    }

    /// Why limits are not shared with the gateways of the same pool, and since when; none when they are, or nobody shares it.
    #[must_use]
    pub fn limits_trouble(&self) -> Option<StoreTrouble> {
        let of_quotas = || self.quotas.as_ref().and_then(|quotas| quotas.trouble());
        let of_places = || self.places.as_ref().and_then(|places| places.trouble());
        self.room.shared().and_then(Shared::trouble).or_else(of_quotas).or_else(of_places)
    }

    /// The way to the counters of what users have used at all gateways of the same pool; none when nobody shares it.
    #[must_use]
    pub const fn quotas(&self) -> Option<&Arc<SharedQuotas>> {
        self.quotas.as_ref()
    }

    /// The way to the places of users that the gateways of the same pool divide; none when nobody shares it.
    #[must_use]
    pub const fn places(&self) -> Option<&Arc<SharedPlaces>> {
        self.places.as_ref()
    }

    /// Takes a token of a user from the bucket that all gateways of the same pool take from; how long it is until there is one, if
    /// there is none. None when nobody shares it, or nobody answers in time.
    pub async fn user_token(&self, user: &Arc<str>, rate: Rate) -> Option<Result<(), Duration>> {
        let shared = self.room.shared().filter(|shared| shared.answers())?;
        shared.grants_user(user, rate).await
    }

    /// A number for a request.
    pub fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The site of a target (`host:port`), for [`Attempt::site`]; none, for nothing, when the strategy in force does not
    /// tell sites apart.
    #[must_use]
    pub fn site(&self, target: &str) -> Symbol {
        self.selector.site(target)
    }

    /// Chooses a member for an attempt. Never waits: see [`Engine::acquire_in_turn`] for where there are limits.
    ///
    /// # Errors
    /// What took how many, when nobody is left; the strategy's fault, when the user wants no other answer than its own.
    pub fn acquire(&self, attempt: &Attempt<'_>) -> Result<Lease, NoLease> {
        let now = self.clock.now();
        self.acquire_at(attempt, now).map_err(|why| self.turned_away(attempt, why, now))
    }

    /// The same for an attempt that is made elsewhere when there is nobody: that is not told, and not counted.
    ///
    /// # Errors
    /// As [`Engine::acquire`].
    pub fn acquire_or_go_on(&self, attempt: &Attempt<'_>) -> Result<Lease, NoLease> {
        self.acquire_at(attempt, self.clock.now())
    }

    fn acquire_at(&self, attempt: &Attempt<'_>, now: Timestamp) -> Result<Lease, NoLease> {
        match self.draw(attempt, now) {
            Draw::Lease(lease, way) => Ok(self.handed(attempt, lease, way, now)),
            Draw::Rejected(why) => Err(why),
            Draw::Nobody | Draw::Site(_) => Err(NoLease::Nobody(self.refusals(attempt, now).0)),
        }
    }

    /// Takes a member for an attempt, if there is one now. Tells nobody.
    fn draw(&self, attempt: &Attempt<'_>, now: Timestamp) -> Draw {
        let is_limited = self.room.rules().is_on;
        let permit = match is_limited.then(|| self.room.sites.enter(attempt.target, now)).transpose() {
            Ok(permit) => permit.flatten(),
            Err(outlook) => return Draw::Site(outlook),
        };
        let draw = self.draw_at_site(attempt, now);
        match (draw, permit) {
            (Draw::Lease(lease, way), permit) if is_limited => {
                let room = Arc::clone(&self.room);
                Draw::Lease(lease.holding(Box::new(Holding { permit, room })), way)
            }
            (draw @ (Draw::Nobody | Draw::Rejected(_)), Some(permit)) => {
                permit.unused();
                draw
            }
            (draw, _) => draw,
        }
    }

    /// Draws among those who are not avoided.
    fn draw_member(&self, attempt: &Attempt<'_>, avoided: &[MemberId], now: Timestamp) -> Draw {
        let snapshot = self.snapshot.load();
        let ask = ask_of(attempt);
        self.with_wish(attempt, avoided, (now, snapshot.len()), |wish| {
            for _ in 0..RACES {
                let wish = Wish { seed: mix(self.measures.draw()), ..*wish };
                match self.selector.choose(&snapshot, &wish, &ask) {
                    Choice::Member(member, way) => {
                        if let Some(lease) = Lease::take(Arc::clone(member), &self.breaker.load(), now) {
                            return Draw::Lease(lease, way);
                        }
                    }
                    Choice::Nobody => break,
                    Choice::Rejected(plugin, fault) => return Draw::Rejected(NoLease::Plugin { plugin, fault }),
                }
            }
            Draw::Nobody
        })
    }

    /// What an attempt wants of a pick that avoids these members, now and of so many.
    fn with_wish<T>(
        &self,
        attempt: &Attempt<'_>,
        avoided: &[MemberId],
        (now, members): (Timestamp, usize),
        then: impl FnOnce(&Wish<'_>) -> T,
    ) -> T {
        let filter = attempt.admitted().map(|filter| &**filter);
        let mut shut_out = self.bans.of(attempt.target, attempt.session, (now, members));
        shut_out.extend_from_slice(avoided);
        let tried = if shut_out.is_empty() {
            attempt.tried
        } else {
            shut_out.extend_from_slice(attempt.tried);
            &shut_out
        };
        let mut stick = attempt.stick;
        stick.renew |= attempt.session.is_some_and(|session| self.bans.wants_rotation(session));
        then(&Wish { now, tried, filter, session: attempt.session, stick, seed: 0 })
    }

    /// What took how many, for an attempt that gets nobody, and when it may get somebody. Looks at the whole pool.
    fn refusals(&self, attempt: &Attempt<'_>, now: Timestamp) -> (Refusals, Outlook) {
        self.refusals_among(attempt, &[], now)
    }

    /// The same for a pick that avoids these members: they count as banned.
    fn refusals_among(&self, attempt: &Attempt<'_>, avoided: &[MemberId], now: Timestamp) -> (Refusals, Outlook) {
        let snapshot = self.snapshot.load();
        let (mut refusals, outlook) = self.with_wish(attempt, avoided, (now, snapshot.len()), |wish| {
            self.selector.refusals(&snapshot, wish, &ask_of(attempt))
        });
        refusals.banned = refusals.tried.saturating_sub(attempt.tried.len());
        refusals.tried -= refusals.banned;
        (refusals, outlook)
    }

    /// Tells that an attempt has got a member. `began` is when it asked.
    fn handed(&self, attempt: &Attempt<'_>, lease: Lease, way: Way, began: Timestamp) -> Lease {
        if let Some(session) = attempt.session {
            self.bans.takes_rotation(session);
        }
        self.history.picked(attempt, &lease.member().endpoint, way, began, self.clock.now());
        self.tell(Topic::ProxySelected, &lease, attempt, |_| {});
        lease
    }

    /// Tells that an attempt gets nobody, and why.
    fn turned_away(&self, attempt: &Attempt<'_>, why: NoLease, now: Timestamp) -> NoLease {
        match &why {
            NoLease::Nobody(refusals) => {
                self.measures.nobody_left();
                self.bus.publish(Topic::PoolEmpty, now, || PoolEmptyPayload {
                    request: attempt.request,
                    target: attempt.target,
                    members: refusals.members,
                    tried: refusals.tried,
                    banned: refusals.banned,
                    filter: refusals.filter,
                    breaker: refusals.breaker,
                    limited: refusals.limited,
                    session: refusals.session,
                    unplanned: refusals.unplanned,
                });
            }
            NoLease::Plugin { .. } => self.measures.rejected(),
            NoLease::Shed(shed) => self.room.shed(shed.why),
        }
        self.history.nobody(attempt, &why, now);
        why
    }

    /// Takes members in; returns when the change is in force and saved.
    pub async fn admit(&self, admissions: Vec<Admission>) -> Admissions {
        let admitted = self.writer.admit(admissions).await;
        self.selector.caught_up().await;
        admitted
    }

    /// Returns when the strategy's plan covers who is in the pool.
    pub async fn ready(&self) {
        self.selector.caught_up().await;
    }

    /// Puts members out of the pool; returns how many there were, when the change is in force and saved.
    pub async fn remove(&self, keys: Vec<EndpointKey>) -> usize {
        let removed = self.writer.remove(keys).await;
        self.selector.caught_up().await;
        removed
    }

    /// Saves what changed, and returns when it is saved.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn save(&self) -> Result<(), StoreError> {
        self.writer.save().await
    }

    /// Ends writer, strategy and hooks, and saves what changed. Events that are queued are delivered first.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn stop(&self) -> Result<(), StoreError> {
        self.stop.cancel();
        let attendants = std::mem::take(&mut *self.attendants.lock().unwrap_or_else(PoisonError::into_inner));
        for attendant in attendants {
            if attendant.await.is_err() {
                tracing::error!("who serves those that wait has panicked");
            }
        }
        if let Some(crew) = &self.crew {
            crew.leave().await;
        }
        let saved = self.writer.stop().await;
        self.bus.close();
        let (selector, hooks) = (Arc::clone(&self.selector), Arc::clone(&self.hooks));
        let stopped = tokio::task::spawn_blocking(move || {
            selector.stop();
            hooks.join();
        });
        if stopped.await.is_err() {
            tracing::error!("stopping the plugins has panicked");
        }
        saved
    }

    fn tell<'a>(
        &self,
        topic: Topic,
        lease: &Lease,
        attempt: &'a Attempt<'_>,
        fill: impl FnOnce(&mut AttemptPayload<'a>),
    ) {
        // Before the clock is read.
        if !self.bus.hears(topic) {
            return;
        }
        self.bus.publish(topic, self.clock.now(), || {
            let mut payload = AttemptPayload {
                request: attempt.request,
                attempt: attempt.number,
                target: attempt.target,
                proxy: lease.member().endpoint.to_string(),
                latency_ms: None,
                fault: None,
                counted: None,
            };
            fill(&mut payload);
            payload
        });
    }
}

impl Drop for Engine {
    /// An engine that was not stopped leaves no task behind.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What is particular about an attempt.
fn ask_of<'a>(attempt: &Attempt<'a>) -> Ask<'a> {
    Ask { attempt: attempt.number, site: attempt.site, filter: attempt.admitted() }
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

#[cfg(test)]
mod tests;
