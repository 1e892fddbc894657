//! Keeps a strategy plugin informed and its plan in force.
//!
//! A thread of its own owns the planning instance: it tells the plugin what changed in the pool and
//! how uses went, asks for plans and compiles them into what requests pick from. A plugin that faults
//! keeps its last plan in force, and is asked again after a pause that doubles with every fault; where
//! there is no plan, or it has nobody left, everybody is picked in turn. So no request ever waits for a plugin, but
//! where the plugin itself asked for that by a plan without tiers: see `strategy::shards`.

mod shards;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use proxywhirl_core::plugin::{FaultCause, Observation, PluginFault, Request, Strategy, StrategyFactory, View};
use proxywhirl_core::pool::{Delta, Snapshot};
use proxywhirl_core::select::{Picker, Plan, Wish};
use proxywhirl_core::{Member, Timestamp};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::faults::FaultReporter;
use shards::{Answer, Shards};

/// How often a strategy hears how uses went.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// The pause after a first fault; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between tries of a plugin that faults.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Members in one call of `apply`: a million in one would not fit into a plugin's memory.
const ROWS: usize = 10_000;

/// Observations that wait for the strategy at the most; more in a second are dropped, which costs a strategy precision
/// and nobody anything else.
const OBSERVATIONS: usize = 65_536;

/// From what requests pick.
#[derive(Debug, Default)]
struct Selection {
    /// The strategy's plan; none until there is one.
    picker: Option<Picker>,
    /// The instances to ask for each request, when the plan says so.
    shards: Option<Arc<Shards>>,
}

/// What the thread has to do.
#[derive(Debug, Default)]
struct Agenda {
    /// The newest snapshot, if the strategy does not know it yet.
    snapshot: Option<Arc<Snapshot>>,
    /// Slots that changed since the snapshot that it knows.
    changed: Vec<u32>,
    observations: Vec<Observation>,
    /// Who wants to know when everything before has been worked off.
    waiting: Vec<oneshot::Sender<()>>,
    stop: bool,
}

#[derive(Debug)]
struct Shared {
    selection: ArcSwap<Selection>,
    /// Everybody in turn: serves when no strategy does.
    fallback: Picker,
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
}

/// The strategy in force.
#[derive(Debug)]
pub struct Selector {
    shared: Arc<Shared>,
    faults: Arc<FaultReporter>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Selector {
    /// Puts a strategy in force; without one, everybody is picked in turn.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        factory: Option<Arc<dyn StrategyFactory>>,
        clock: Clock,
        faults: Arc<FaultReporter>,
    ) -> std::io::Result<Self> {
        let fallback = Picker::compile(&Plan::fallback(), &Snapshot::default(), None).map_err(std::io::Error::other)?;
        let shared = Arc::new(Shared {
            selection: ArcSwap::default(),
            fallback,
            agenda: Mutex::default(),
            news: Condvar::new(),
            is_faulted: AtomicBool::new(false),
        });
        let thread = match factory {
            Some(factory) => {
                let driver = Driver::new(factory, Arc::clone(&shared), clock, Arc::clone(&faults));
                Some(std::thread::Builder::new().name("strategy".to_owned()).spawn(|| driver.run())?)
            }
            None => None,
        };
        Ok(Self { shared, faults, thread: Mutex::new(thread) })
    }

    fn has_strategy(&self) -> bool {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Tells that the pool has changed.
    pub fn changed(&self, snapshot: Arc<Snapshot>, delta: Delta) {
        let mut agenda = self.shared.agenda();
        agenda.snapshot = Some(snapshot);
        agenda.changed.extend(delta.upserts);
        agenda.changed.extend(delta.removed);
        self.shared.news.notify_one();
    }

    /// Tells how a use went.
    pub fn observed(&self, observation: Observation) {
        let mut agenda = self.shared.agenda();
        if agenda.observations.len() < OBSERVATIONS {
            agenda.observations.push(observation);
        }
    }

    /// Waits until the strategy has seen all changes, and its plan is in force if it made one.
    pub async fn caught_up(&self) {
        if !self.has_strategy() {
            return;
        }
        let (done, waits) = oneshot::channel();
        self.shared.agenda().waiting.push(done);
        self.shared.news.notify_one();
        // An error means that the thread has stopped, and there is nothing to wait for.
        drop(waits.await);
    }

    /// Chooses a member that is eligible; none when there is none.
    #[must_use]
    pub fn choose(&self, snapshot: &Snapshot, wish: &Wish<'_>, request: &Request) -> Option<Arc<Member>> {
        let selection = self.shared.selection.load();
        if let Some(shards) = &selection.shards {
            let answer = shards.select(request, snapshot, &self.faults);
            return match answer {
                Answer::Member(member) if wish.admits(&member) => Some(member),
                Answer::Nobody => None,
                Answer::Member(_) | Answer::Unavailable => self.shared.fallback.pick(snapshot, wish),
            };
        }
        let Some(picker) = &selection.picker else { return self.shared.fallback.pick(snapshot, wish) };
        picker.pick(snapshot, wish).or_else(|| {
            // A plan that leaves somebody out is obeyed, but not one that could not be renewed when the pool changed.
            let is_stale = self.shared.is_faulted.load(Ordering::Relaxed);
            is_stale.then(|| self.shared.fallback.pick(snapshot, wish)).flatten()
        })
    }

    /// Ends the thread, and waits for it: at the longest for the plugin's deadline. Blocks.
    pub fn stop(&self) {
        self.shared.agenda().stop = true;
        self.shared.news.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the strategy's thread has panicked");
        }
    }
}

/// What the thread owns.
struct Driver {
    factory: Arc<dyn StrategyFactory>,
    shared: Arc<Shared>,
    clock: Clock,
    faults: Arc<FaultReporter>,
    /// The instance that plans; none before the first try.
    planner: Option<Pupil>,
    snapshot: Arc<Snapshot>,
    /// Faults in a row.
    failures: u32,
    /// Not before: the pause after a fault.
    resume: Option<Instant>,
}

/// An instance, and whether it knows the pool.
struct Pupil {
    strategy: Box<dyn Strategy>,
    is_synced: bool,
    epoch: u64,
}

impl std::fmt::Debug for Pupil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pupil").field("strategy", &&self.strategy.identity().name).finish_non_exhaustive()
    }
}

impl Pupil {
    fn new(strategy: Box<dyn Strategy>) -> Self {
        Self { strategy, is_synced: false, epoch: 0 }
    }

    /// Brings the instance up to a snapshot: by what changed, or by everything if it is fresh.
    fn teach(&mut self, snapshot: &Snapshot, changed: &[u32]) -> Result<(), PluginFault> {
        let (rows, removed): (Vec<_>, Vec<u32>) = if self.is_synced {
            let removed = changed.iter().copied().filter(|slot| snapshot.get(*slot).is_none()).collect();
            (changed.iter().filter_map(|slot| snapshot.get(*slot).cloned()).collect(), removed)
        } else {
            (snapshot.iter().cloned().collect(), Vec::new())
        };
        let mut reset = !self.is_synced;
        self.is_synced = false;
        let epoch = snapshot.epoch();
        let (first, rest) = rows.split_at(rows.len().min(ROWS));
        self.strategy.apply(epoch, reset, first, &removed)?;
        for chunk in rest.chunks(ROWS) {
            reset = false;
            self.strategy.apply(epoch, reset, chunk, &[])?;
        }
        self.is_synced = true;
        self.epoch = epoch;
        Ok(())
    }
}

impl Driver {
    fn new(factory: Arc<dyn StrategyFactory>, shared: Arc<Shared>, clock: Clock, faults: Arc<FaultReporter>) -> Self {
        Self { factory, shared, clock, faults, planner: None, snapshot: Arc::default(), failures: 0, resume: None }
    }

    fn run(mut self) {
        let mut next_observe = Instant::now() + OBSERVE_EVERY;
        loop {
            let mut agenda = self.wait(next_observe);
            if agenda.stop {
                return;
            }
            if let Some(snapshot) = agenda.snapshot.take() {
                self.snapshot = snapshot;
                agenda.changed.sort_unstable();
                agenda.changed.dedup();
                self.unless_pausing(|driver| driver.replan(&agenda.changed));
            } else if self.resume.is_some_and(|resume| resume <= Instant::now()) {
                self.unless_pausing(|driver| driver.replan(&[]));
            }
            if Instant::now() >= next_observe {
                next_observe = Instant::now() + OBSERVE_EVERY;
                let observations = std::mem::take(&mut self.shared.agenda().observations);
                if !observations.is_empty() {
                    self.unless_pausing(|driver| driver.observe(&observations));
                }
                if let Some(shards) = &self.shared.selection.load().shards {
                    shards.heal(&self.snapshot, &self.faults);
                }
            }
            for waiting in agenda.waiting {
                if waiting.send(()).is_err() {
                    tracing::trace!("whoever waited for the strategy has given up");
                }
            }
        }
    }

    /// Sleeps until there is news, a pause is over, or it is time to observe; takes the news.
    fn wait(&self, next_observe: Instant) -> Agenda {
        let mut agenda = self.shared.agenda();
        loop {
            let until = self.resume.map_or(next_observe, |resume| resume.min(next_observe));
            let left = until.saturating_duration_since(Instant::now());
            let is_news = agenda.snapshot.is_some() || agenda.stop || !agenda.waiting.is_empty();
            if is_news || left.is_zero() {
                let observations = std::mem::take(&mut agenda.observations);
                return std::mem::replace(&mut *agenda, Agenda { observations, ..Agenda::default() });
            }
            agenda = self.shared.news.wait_timeout(agenda, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn unless_pausing(&mut self, work: impl FnOnce(&mut Self) -> Result<(), PluginFault>) {
        if self.resume.is_some_and(|resume| resume > Instant::now()) {
            // It has missed a change, and will have to hear everything.
            if let Some(planner) = &mut self.planner {
                planner.is_synced = false;
            }
            return;
        }
        match work(self) {
            Ok(()) => {
                self.shared.is_faulted.store(false, Ordering::Relaxed);
                self.failures = 0;
                self.resume = None;
            }
            Err(fault) => {
                self.faults.report(&fault);
                self.shared.is_faulted.store(true, Ordering::Relaxed);
                let pause = PAUSE.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
                self.failures = self.failures.saturating_add(1);
                self.resume = Some(Instant::now() + pause);
                if let Some(planner) = &mut self.planner {
                    planner.is_synced = false;
                }
            }
        }
    }

    /// Tells the strategy what changed, and puts its plan in force.
    fn replan(&mut self, changed: &[u32]) -> Result<(), PluginFault> {
        let planner = match &mut self.planner {
            Some(planner) => planner,
            None => self.planner.insert(Pupil::new(self.factory.instance()?)),
        };
        planner.teach(&self.snapshot, changed)?;
        let (now, seed) = (self.clock.now(), fastrand::u64(..));
        let plan = planner.strategy.plan(&View::default(), now, seed)?;
        self.enforce(&plan, changed)
    }

    fn observe(&mut self, observations: &[Observation]) -> Result<(), PluginFault> {
        let Some(planner) = self.planner.as_mut().filter(|planner| planner.is_synced) else { return Ok(()) };
        let wants_to_plan = planner.strategy.observe(observations)?;
        if let Some(shards) = &self.shared.selection.load().shards {
            shards.observe(observations, &self.faults);
        }
        if wants_to_plan { self.replan(&[]) } else { Ok(()) }
    }

    fn enforce(&mut self, plan: &Plan, changed: &[u32]) -> Result<(), PluginFault> {
        let current = self.shared.selection.load_full();
        let picker = Picker::compile(plan, &self.snapshot, current.picker.as_ref())
            .map_err(|error| self.nonsense("plan", &error.to_string()))?;
        let shards = if picker.asks_per_request() {
            let shards = match &current.shards {
                Some(shards) => Arc::clone(shards),
                None => Arc::new(Shards::new(&*self.factory)?),
            };
            shards.teach(&self.snapshot, changed, &self.faults);
            Some(shards)
        } else {
            None
        };
        self.shared.selection.store(Arc::new(Selection { picker: Some(picker), shards }));
        Ok(())
    }

    fn nonsense(&self, export: &'static str, detail: &str) -> PluginFault {
        PluginFault::new(self.factory.identity().clone(), export, FaultCause::InvalidAnswer, detail)
    }
}

/// Microseconds as strategies get them: 32 bits, an hour and more at the most.
#[must_use]
pub fn short_micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

/// A request that wants a member, as strategies see it.
#[must_use]
pub fn request(session: Option<u64>, attempt: u32, now: Timestamp, seed: u64) -> Request {
    Request { view: 0, site: proxywhirl_core::symbol::Symbol::NONE, session: session.unwrap_or(0), attempt, now, seed }
}
