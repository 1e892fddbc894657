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
mod drawing;
mod explain;
mod granting;
mod logging_in;
mod outcomes;
mod plugins;
mod starting;
mod waiting;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::event::Topic;
use proxywhirl_core::lease::Lease;
use proxywhirl_core::limit::Rate;
use proxywhirl_core::pool::{Admission, Snapshot};
use proxywhirl_core::store::StoreError;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Member, MemberId, Timestamp};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::bans::Bans;
use crate::bus::{Bus, Subscription};
pub use at_sites::{AtSite, SiteQuery};
pub use attempt::{Attempt, AttemptTier, Completion, NoLease};
pub use banning::{Ban, BanInForce, SessionUse};
pub use configuring::Tuning;
pub use explain::{CandidateWords, EscalationWords, Explanation, TierWords};
pub use logging_in::LoginSet;
pub use starting::{EngineConfig, Parts, StartError};

use crate::clock::Clock;
use crate::events::AttemptPayload;
use crate::history::History;
use crate::hooks::Hooks;
use crate::limits::places::SharedPlaces;
use crate::limits::quotas::SharedQuotas;
use crate::limits::{Room, Shared};
use crate::logins::Logins;
use crate::measures::Measures;
use crate::sites::Sites;
use crate::strategy::Selector;
use crate::supervisor::Supervisor;
use crate::trouble::{StoreTrouble, Trouble};
use crate::work::Crew;
use crate::writer::{Admissions, Writer};

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
    /// Cancelled when nobody may wait for a turn any more.
    no_waits: CancellationToken,
    requests: AtomicU64,
    /// What stands for the way without a member.
    direct: Arc<Member>,
}

impl Engine {
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

    /// The number of the newest request.
    pub fn last_request(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
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

    /// Puts members out of the pool by a user's word: until [`Engine::let_in`], no source brings any of them back, as far as there is
    /// room to remember them. Returns how many there were and how many are kept out, when the change is in force and saved.
    pub async fn keep_out(&self, keys: Vec<EndpointKey>) -> (usize, usize) {
        let removed = self.writer.keep_out(keys).await;
        self.selector.caught_up().await;
        removed
    }

    /// Takes members in by a user's word, even those that are kept out; returns when the change is in force and saved.
    pub async fn let_in(&self, admissions: Vec<Admission>) -> Admissions {
        let admitted = self.writer.let_in(admissions).await;
        self.selector.caught_up().await;
        admitted
    }

    /// Whether a user has taken somebody out, so that no source brings them back.
    #[must_use]
    pub fn keeps_out(&self, id: MemberId) -> bool {
        self.writer.keeps_out(id)
    }

    /// Saves what changed, and returns when it is saved.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn save(&self) -> Result<(), StoreError> {
        self.writer.save().await
    }

    /// From now on, nobody waits for a limit: who does is sent away, as after having waited in vain.
    pub fn end_waits(&self) {
        self.no_waits.cancel();
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

#[cfg(test)]
mod tests;
