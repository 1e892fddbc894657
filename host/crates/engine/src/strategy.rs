//! The strategy in force: what it plans, and what is picked when it does not.
//!
//! A thread of its own, the driver, owns the instance that plans: it tells the plugin what changed in the pool and how
//! uses went, asks for plans, compiles them into what requests pick from, and swaps one strategy for another. Requests
//! read the [selection] through one pointer, so none of them ever waits for a plugin, but where the plugin
//! itself asked for that by a plan without tiers: see [`shards`].
//!
//! A plugin that faults keeps its last plan in force while it is started again as its
//! [supervision](crate::supervision) says; where there is no plan, or a stale one has nobody left, everybody is picked in
//! turn, or nobody at all when the user wants it so.

mod beside;
mod driver;
mod memory;
mod particular;
mod pupil;
pub(crate) mod selection;
mod shards;
mod sites;
mod swap;
mod views;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::plugin::{Observation, PluginFault, PluginIdentity, StrategyFactory};
use proxywhirl_core::pool::{Delta, Snapshot};
use proxywhirl_core::select::sessions::Sessions;
use proxywhirl_core::select::{Filter, Outlook, Picker, Plan, Refusals, Stickiness, TierSight, Wish};
use proxywhirl_core::store::StoredSession;
use proxywhirl_core::symbol::{Symbol, Symbols};
use proxywhirl_core::{Member, MemberId};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::supervisor::Supervisor;
use crate::swap::{SwapError, Swapped};
pub use beside::Beside;
use beside::Besides;
use driver::Driver;
pub use memory::Remembering;
use selection::Selection;
pub(crate) use selection::{Ask, Choice, Way};
use sites::Sites;
pub use sites::registrable;
use swap::Swap;

/// Observations that wait for the strategy at the most; more in a second are dropped, which costs a strategy precision
/// and nobody anything else.
const OBSERVATIONS: usize = 65_536;

/// Swaps that wait at the most.
const SWAPS: usize = 16;

/// Faults of instances that answer requests which wait to be heard at the most: what comes after says nothing new.
const FAULTS: usize = 64;

/// What the thread has to do.
#[derive(Default)]
struct Agenda {
    /// The newest snapshot, if the strategy does not know it yet.
    snapshot: Option<Arc<Snapshot>>,
    /// Slots that changed since the snapshot that it knows.
    changed: Vec<u32>,
    observations: Vec<Observation>,
    /// Filters that requests came with and that have no view yet.
    views: Vec<Arc<Filter>>,
    /// Faults of instances that answer requests, with the number of the shards that they belong to.
    faults: Vec<(u64, PluginFault)>,
    swaps: Vec<Swap>,
    /// Somebody enabled the plugin by hand.
    is_enabled: bool,
    /// Who wants to know when everything before has been worked off.
    waiting: Vec<oneshot::Sender<()>>,
    stop: bool,
}

impl std::fmt::Debug for Agenda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agenda").field("changed", &self.changed.len()).finish_non_exhaustive()
    }
}

impl Agenda {
    fn is_news(&self) -> bool {
        self.snapshot.is_some()
            || self.stop
            || self.is_enabled
            || !self.waiting.is_empty()
            || !self.views.is_empty()
            || !self.faults.is_empty()
            || !self.swaps.is_empty()
    }
}

/// What requests and the thread share.
#[derive(Debug)]
struct Shared {
    /// From what requests pick. Written by the thread alone.
    selection: ArcSwap<Selection>,
    /// Everybody in turn: serves when no strategy does.
    fallback: Picker,
    fallbacks: selection::Fallbacks,
    sites: Sites,
    /// Written by the writer and by requests that end, taken as a whole by the thread. Held for a few instructions.
    agenda: Mutex<Agenda>,
    news: Condvar,
    /// Whether the strategy's last call was a fault, and its plan may be older than the pool. Written by the thread.
    is_faulted: AtomicBool,
}

impl Shared {
    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the thread to make a view for a filter.
    fn want_view(&self, filter: &Arc<Filter>) {
        let mut agenda = self.agenda();
        if agenda.views.len() < views::MOST && !agenda.views.contains(filter) {
            agenda.views.push(Arc::clone(filter));
            self.news.notify_one();
        }
    }

    /// Tells the thread that an instance which answers requests has faulted.
    fn shard_faulted(&self, shards: u64, fault: PluginFault) {
        let mut agenda = self.agenda();
        if agenda.faults.len() < FAULTS {
            agenda.faults.push((shards, fault));
            self.news.notify_one();
        }
    }
}

/// With what a selector begins.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) factory: Option<Arc<dyn StrategyFactory>>,
    pub(crate) clock: Clock,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) symbols: Arc<Symbols>,
    /// How often a strategy hears how uses went.
    pub(crate) observe_interval: Duration,
    /// Where strategies keep what they have learned, if they keep it, and what becomes of that.
    pub(crate) memory: Option<(Arc<dyn KeyValues>, Remembering)>,
    /// What tells it from the strategy in force, where it stands beside it; empty for that one.
    pub(crate) label: Box<str>,
}

/// The strategy in force.
#[derive(Debug)]
pub(crate) struct Selector {
    /// The name of the plugin that it began with; empty without one.
    name: Arc<str>,
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    besides: Besides,
}

impl Selector {
    /// Puts a strategy in force; without one, everybody is picked in turn.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start(setup: Setup) -> std::io::Result<Self> {
        let fallback = Picker::compile(&Plan::fallback(), &Snapshot::default(), None).map_err(std::io::Error::other)?;
        // Who shares the pool may tell of sessions before the first plan says how many are remembered.
        let sessions = Sessions::new(Stickiness::HOST.capacity);
        let shared = Arc::new(Shared {
            selection: ArcSwap::from_pointee(Selection { sessions: Arc::new(sessions), ..Selection::default() }),
            fallback,
            fallbacks: selection::Fallbacks::default(),
            sites: Sites::new(Arc::clone(&setup.symbols)),
            agenda: Mutex::default(),
            news: Condvar::new(),
            is_faulted: AtomicBool::new(false),
        });
        let name = setup.factory.as_ref().map(|factory| &*factory.identity().name).unwrap_or_default().into();
        let besides = Besides::new(Setup { factory: None, ..setup.clone() });
        let driver = Driver::new(setup, Arc::clone(&shared));
        let ended = Ended(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("strategy".to_owned()).spawn(|| {
            let _ended = ended;
            driver.run();
        })?;
        Ok(Self { name, shared, thread: Mutex::new(Some(thread)), besides })
    }

    /// Which strategy is in force.
    pub(crate) fn strategy(&self) -> Option<PluginIdentity> {
        self.shared.selection.load().ward.as_ref().map(|ward| ward.identity())
    }

    /// Tells that the pool has changed.
    pub(crate) fn changed(&self, snapshot: Arc<Snapshot>, delta: Delta) {
        self.besides.changed(&snapshot, &delta);
        let mut agenda = self.shared.agenda();
        agenda.snapshot = Some(snapshot);
        agenda.changed.extend(delta.upserts);
        agenda.changed.extend(delta.removed);
        self.shared.news.notify_one();
    }

    /// Tells how a use went.
    pub(crate) fn observed(&self, observation: Observation) {
        self.besides.each(|beside| beside.observed(observation));
        if self.shared.selection.load().ward.is_none() {
            return;
        }
        let mut agenda = self.shared.agenda();
        if agenda.observations.len() < OBSERVATIONS {
            agenda.observations.push(observation);
        }
    }

    /// Takes what the store knows of sessions. To be called before the first change of the pool is told.
    pub(crate) fn restore(&self, sessions: Vec<StoredSession>) {
        let stored = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
        if stored > Stickiness::HOST.capacity {
            // Until then the driver has nothing to write.
            let room = Arc::new(Sessions::new(stored));
            let with_room = |selection: &Arc<Selection>| {
                Arc::new(Selection { sessions: Arc::clone(&room), ..Selection::clone(selection) })
            };
            self.shared.selection.rcu(with_room);
        }
        self.sessions().load(sessions);
    }

    /// The sessions that are remembered.
    pub(crate) fn sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.shared.selection.load().sessions)
    }

    /// The symbol of a target's site, if the strategy in force tells sites apart, or one beside it does.
    pub(crate) fn site(&self, target: &str) -> Symbol {
        let mut site = self.shared.sites.of(target);
        self.besides.each(|beside| {
            // All have the same symbols, and each counts what it is asked for.
            let other = beside.site(target);
            if site == Symbol::NONE {
                site = other;
            }
        });
        site
    }

    /// Waits until the strategy has seen all changes, and its plan is in force if it made one.
    pub(crate) async fn caught_up(&self) {
        for beside in self.besides.all() {
            Box::pin(beside.caught_up()).await;
        }
        if self.shared.selection.load().ward.is_none() {
            return;
        }
        let (done, waits) = oneshot::channel();
        {
            let mut agenda = self.shared.agenda();
            if agenda.stop {
                return;
            }
            agenda.waiting.push(done);
        }
        self.shared.news.notify_one();
        // An error means that the thread has stopped, and there is nothing to wait for.
        drop(waits.await);
    }

    /// Puts another strategy in force. One at a time, in the order in which they were asked for.
    pub(crate) async fn swap(&self, factory: Arc<dyn StrategyFactory>) -> Result<Swapped, SwapError> {
        let (answer, waits) = oneshot::channel();
        {
            let mut agenda = self.shared.agenda();
            if agenda.stop {
                return Err(SwapError::Stopped);
            }
            if agenda.swaps.len() >= SWAPS {
                return Err(SwapError::Busy);
            }
            agenda.swaps.push(Swap::new(factory, answer));
        }
        self.shared.news.notify_one();
        waits.await.unwrap_or(Err(SwapError::Stopped))
    }

    /// Says that the strategy was enabled by hand.
    pub(crate) fn enabled(&self) {
        self.besides.each(Self::enabled);
        self.shared.agenda().is_enabled = true;
        self.shared.news.notify_one();
    }

    /// Chooses a member that is eligible.
    pub(crate) fn choose<'s>(&self, snapshot: &'s Snapshot, wish: &Wish<'_>, ask: &Ask<'_>) -> Choice<'s> {
        let Some(beside) = ask.by else {
            return self.shared.selection.load().choose(&self.shared, snapshot, wish, ask);
        };
        let (shared, sessions) = (&beside.0.shared, self.sessions());
        shared.selection.load().choose(shared, snapshot, wish, &Ask { sessions: Some(&sessions), ..*ask })
    }

    /// Why nobody was left, and when somebody may be. For the failing request only: looks at the whole pool.
    pub(crate) fn refusals(&self, snapshot: &Snapshot, wish: &Wish<'_>, ask: &Ask<'_>) -> (Refusals, Outlook) {
        self.with_selection(ask, |selection, ask| selection.refusals(snapshot, wish, ask))
    }

    /// Of those whom their breakers keep from a request, the one that is to let a probe through first. Looks at the whole pool.
    pub(crate) fn readiest<'s>(
        &self,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
        ask: &Ask<'_>,
    ) -> Option<&'s Arc<Member>> {
        let shared = self.shared_of(ask);
        self.with_selection(ask, |selection, ask| selection.readiest(shared, snapshot, wish, ask))
    }

    /// Whom a request must stay with, as its session is bound to that member, where the host knows that.
    pub(crate) fn stays_with(&self, wish: &Wish<'_>, ask: &Ask<'_>) -> Option<MemberId> {
        self.with_selection(ask, |selection, ask| selection.stays_with(wish, ask))
    }

    /// The selection that answers for a request, and what is asked of it.
    fn with_selection<T>(&self, ask: &Ask<'_>, then: impl FnOnce(&Selection, &Ask<'_>) -> T) -> T {
        let selection = self.shared_of(ask).selection.load();
        if ask.by.is_none() {
            return then(&selection, ask);
        }
        let sessions = self.sessions();
        then(&selection, &Ask { sessions: Some(&sessions), ..*ask })
    }

    fn shared_of<'a>(&'a self, ask: &Ask<'a>) -> &'a Arc<Shared> {
        ask.by.map_or(&self.shared, |beside| &beside.0.shared)
    }

    /// What a pick would find, tier by tier, how, and whether sessions stick. Looks at the whole pool.
    pub(crate) fn look(&self, snapshot: &Snapshot, wish: &Wish<'_>, ask: &Ask<'_>) -> (Way, Vec<TierSight>, bool) {
        let shared = self.shared_of(ask);
        shared.selection.load().look(shared, snapshot, wish, ask)
    }

    /// Ends the thread, and waits for it: at the longest for the plugin's deadline. Blocks.
    pub(crate) fn stop(&self) {
        self.end();
        for beside in self.besides.all() {
            beside.stop();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the strategy's thread has panicked");
        }
    }

    fn end(&self) {
        self.shared.agenda().stop = true;
        self.shared.news.notify_one();
    }
}

impl Drop for Selector {
    /// The thread ends by itself; nobody waits for it any more.
    fn drop(&mut self) {
        self.end();
    }
}

/// Says that the thread has ended, however it did, and lets those go who wait for it.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        *self.0.agenda() = Agenda { stop: true, ..Agenda::default() };
    }
}

/// Microseconds as strategies get them: 32 bits, an hour and more at the most.
#[must_use]
pub(crate) fn short_micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

/// Whether the plan in force may be older than the pool.
fn is_faulted(shared: &Shared) -> bool {
    // Relaxed: a request that reads it a moment too late is served as one that came a moment earlier.
    shared.is_faulted.load(Ordering::Relaxed)
}
