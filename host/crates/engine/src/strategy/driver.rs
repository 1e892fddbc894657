//! The strategy's thread: keeps the planning instance informed and its plans in force.
//!
//! It works off an agenda that others write, and what its own clock says: a plan that wants to be renewed, a plugin that
//! is to be restarted, a probation that is over. The plan for everybody comes first, and whoever waits for it is told;
//! plans for sites and views follow, a few at a time, so that news never wait behind them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use proxywhirl_core::Timestamp;
use proxywhirl_core::plugin::{Observation, PluginFault, PluginKind, StrategyFactory, View};
use proxywhirl_core::pool::Snapshot;
use proxywhirl_core::select::sessions::Sessions;
use proxywhirl_core::select::{Picker, Plan, Stickiness};
use proxywhirl_core::symbol::Symbol;

use super::memory::Memory;
use super::particular::Scope;
use super::pupil::Pupil;
use super::selection::Selection;
use super::shards::Shards;
use super::swap::{Probation, nonsense, rejects, restore};
use super::views::Views;
use super::{Agenda, Setup, Shared};
use crate::clock::Clock;
use crate::supervision::State;
use crate::supervisor::{Change, Supervisor, Ward};

/// The shortest time after which a plan is renewed, whatever it says: below that the thread would do nothing else.
const REFRESH_MIN: Duration = Duration::from_millis(10);

/// How long the thread sleeps when there is nothing that it could be late for.
const IDLE: Duration = Duration::from_hours(1);

/// The strategy in force.
pub(super) struct Current {
    pub(super) factory: Arc<dyn StrategyFactory>,
    pub(super) ward: Arc<Ward>,
    /// The instance that plans; none before the first try.
    pub(super) planner: Option<Pupil>,
}

/// What the thread owns.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) clock: Clock,
    pub(super) current: Option<Current>,
    pub(super) probation: Option<Probation>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) views: Views,
    /// The sites that have a plan of their own, or are to get one.
    pub(super) sites: Vec<Symbol>,
    pub(super) unplanned: VecDeque<Scope>,
    /// Whether the plan in force wants sites to have plans of their own.
    pub(super) tells_sites_apart: bool,
    /// Whether the instances that answer requests have not heard of a change.
    pub(super) has_missed: bool,
    /// When the plans are to be renewed.
    pub(super) refresh: Option<Timestamp>,
    observe: Timestamp,
    observe_interval: Duration,
    pub(super) memory: Option<Memory>,
    /// How long a plan takes, told as a metric.
    planning: metrics::Histogram,
}

impl Driver {
    pub(super) fn new(setup: Setup, shared: Arc<Shared>) -> Self {
        let Setup { factory, clock, supervisor, observe_interval, memory, label, .. } = setup;
        let current = factory.map(|factory| {
            let ward = supervisor.watch(PluginKind::Strategy, factory.identity(), factory.on_fault());
            ward.announce(Change::Loaded, "");
            let rejects = rejects(&*factory);
            let before = Selection::clone(&shared.selection.load());
            shared.selection.store(Arc::new(Selection { ward: Some(Arc::clone(&ward)), rejects, ..before }));
            Current { factory, ward, planner: None }
        });
        Self {
            shared,
            supervisor,
            clock,
            current,
            probation: None,
            snapshot: Arc::default(),
            views: Views::default(),
            sites: Vec::new(),
            unplanned: VecDeque::new(),
            tells_sites_apart: false,
            has_missed: false,
            refresh: None,
            observe: clock.now() + observe_interval,
            observe_interval,
            memory: memory.map(|(store, remembering)| Memory::new(store, remembering, label, clock.now())),
            planning: metrics::histogram!("proxywhirl_plan_duration_seconds"),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let mut agenda = self.wait();
            if agenda.stop {
                return self.remember();
            }
            self.hear(&mut agenda);
            for swap in std::mem::take(&mut agenda.swaps) {
                self.swap(swap);
            }
            self.keep_time(&agenda);
            self.meet(std::mem::take(&mut agenda.views));
            for waiting in agenda.waiting {
                if waiting.send(()).is_err() {
                    tracing::trace!("whoever waited for the strategy has given up");
                }
            }
            self.plan_more();
        }
    }

    /// Sleeps until there is news, or something is due; takes the news.
    fn wait(&self) -> Agenda {
        let now = self.clock.now();
        let due = if self.unplanned.is_empty() { self.due() } else { now };
        // Taken once: this clock and the one that the wait is measured with go at the same pace.
        let until = Instant::now() + due.since(now);
        let mut agenda = self.shared.agenda();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if agenda.is_news() || left.is_zero() {
                // Observations wait for their own time, and who has stopped stays so.
                let (observations, stop) = (std::mem::take(&mut agenda.observations), agenda.stop);
                return std::mem::replace(&mut *agenda, Agenda { observations, stop, ..Agenda::default() });
            }
            agenda = self.shared.news.wait_timeout(agenda, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// When something is to be done without news.
    fn due(&self) -> Timestamp {
        let Some(current) = &self.current else { return self.clock.now() + IDLE };
        let probation = self.probation.as_ref().map(|probation| probation.until);
        let renewal = self.refresh.filter(|_| current.ward.may_be_called());
        let memory = self.memory.as_ref().map(Memory::due);
        [current.ward.due(), renewal, probation, memory].into_iter().flatten().fold(self.observe, Timestamp::min)
    }

    /// Takes what changed in the pool, and what instances that answer requests did wrong.
    fn hear(&mut self, agenda: &mut Agenda) {
        if let Some(snapshot) = agenda.snapshot.take() {
            self.snapshot = snapshot;
            agenda.changed.sort_unstable();
            agenda.changed.dedup();
            self.views.update(&self.snapshot, &agenda.changed);
            let is_heard = self.work(|driver, current| driver.replan(current, &agenda.changed));
            self.has_missed |= !is_heard;
        }
        for (number, fault) in std::mem::take(&mut agenda.faults) {
            let shards = self.shared.selection.load().shards.as_ref().map(|shards| shards.number);
            if shards == Some(number) {
                self.faulted(&fault);
            }
        }
    }

    /// Does what the clock says.
    fn keep_time(&mut self, agenda: &Agenda) {
        let now = self.clock.now();
        if self.probation.as_ref().is_some_and(|probation| probation.until <= now) {
            self.prove();
        }
        let Some(current) = &self.current else { return };
        let is_due = current.ward.due().is_some_and(|due| due <= now);
        if (is_due || agenda.is_enabled) && current.ward.restarted() {
            self.work(|driver, current| driver.replan(current, &[]));
        }
        if self.refresh.is_some_and(|refresh| refresh <= now) {
            self.work(|driver, current| driver.replan(current, &[]));
        }
        if self.memory.as_ref().is_some_and(|memory| memory.due() <= now) {
            self.remember();
        }
        if self.observe <= now {
            self.observe = now + self.observe_interval;
            let observations = std::mem::take(&mut self.shared.agenda().observations);
            self.choose_sites();
            if !observations.is_empty() {
                self.work(|driver, current| driver.observe(current, &observations));
            }
        }
    }

    /// Does something with the strategy in force, if it may be called, and sees to what comes of it. False when it was
    /// not called, or has faulted.
    pub(super) fn work(&mut self, task: impl FnOnce(&mut Self, &mut Current) -> Result<(), PluginFault>) -> bool {
        let Some(mut current) = self.current.take() else { return false };
        if !current.ward.may_be_called() {
            // It misses a change, and will have to hear everything.
            if let Some(planner) = &mut current.planner {
                planner.is_synced = false;
            }
            self.current = Some(current);
            return false;
        }
        let result = task(self, &mut current);
        let ward = Arc::clone(&current.ward);
        self.current = Some(current);
        match result {
            Ok(()) => {
                self.shared.is_faulted.store(false, Ordering::Relaxed);
                ward.answered();
                true
            }
            Err(fault) => {
                self.faulted(&fault);
                false
            }
        }
    }

    /// Takes a fault of the strategy in force.
    fn faulted(&mut self, fault: &PluginFault) {
        if let Some(probation) = self.probation.take() {
            return self.roll_back(probation, fault);
        }
        let Some(current) = &mut self.current else { return };
        if let Some(planner) = &mut current.planner {
            planner.is_synced = false;
        }
        self.shared.is_faulted.store(true, Ordering::Relaxed);
        current.ward.faulted(fault);
        // Who is left alone is not asked by requests either.
        if matches!(current.ward.state(), State::Quarantined { .. } | State::Disabled) {
            self.publish(|selection| selection.shards = None);
        }
    }

    /// Tells the strategy what changed, and puts its plan in force.
    pub(super) fn replan(&mut self, current: &mut Current, changed: &[u32]) -> Result<(), PluginFault> {
        let planner = match &mut current.planner {
            Some(planner) => planner,
            None => current.planner.insert(self.first(&*current.factory)?),
        };
        planner.teach(&self.snapshot, changed)?;
        let plan = self.planned(planner, &View::default())?;
        let selection = self.shared.selection.load_full();
        let picker = Picker::compile(&plan, &self.snapshot, selection.plan.as_deref())
            .map_err(|error| nonsense(current.factory.identity(), &error.to_string()))?;
        let shards = self.shards_for(&*current.factory, &picker, changed)?;
        let (sessions, rejects) = (self.sessions_for(&picker), rejects(&*current.factory));
        self.publish(|selection| {
            selection.plan = Some(Arc::new(picker));
            selection.shards = shards;
            selection.sessions = sessions;
            selection.rejects = rejects;
        });
        self.follow(&plan);
        Ok(())
    }

    /// The first instance of a strategy, with what it knew before the last restart.
    fn first(&mut self, factory: &dyn StrategyFactory) -> Result<Pupil, PluginFault> {
        let mut pupil = Pupil::new(factory.instance()?);
        let name = &factory.identity().name;
        let Some(state) = self.memory.as_mut().and_then(|memory| memory.recall(name, self.clock.now())) else {
            return Ok(pupil);
        };
        match restore(&mut pupil, &state) {
            Ok(handover) => {
                tracing::info!(plugin.name = &**name, ?handover, "the strategy was given what it had learned");
                Ok(pupil)
            }
            Err(fault) => {
                // Better one that knows nothing than none.
                self.supervisor.tell(PluginKind::Strategy, &fault);
                Ok(Pupil::new(factory.instance()?))
            }
        }
    }

    /// Keeps what the strategy in force has learned.
    fn remember(&mut self) {
        let now = self.clock.now();
        let Some(mut memory) = self.memory.take() else { return };
        memory.begin(now);
        self.work(|_, current| {
            let Some(planner) = current.planner.as_mut().filter(|planner| planner.is_synced) else { return Ok(()) };
            if let Some(state) = planner.strategy.save()? {
                memory.keep(&current.factory.identity().name, &state, now);
            }
            Ok(())
        });
        self.memory = Some(memory);
    }

    /// Does what a plan for everybody says about other plans.
    pub(super) fn follow(&mut self, plan: &Plan) {
        self.refresh = plan.refresh.map(|after| self.clock.now() + after.max(REFRESH_MIN));
        self.shared.sites.want(plan.per_site || plan.tiers.is_empty());
        if !plan.per_site && !self.sites.is_empty() {
            self.sites.clear();
            self.publish(|selection| selection.sites = None);
        }
        let scopes = self.sites.iter().map(|site| Scope::Site(*site));
        let scopes = scopes.chain(self.views.iter().map(|view| Scope::View(view.id)));
        // In the order in which they wait already, so that the last ones get their turn too.
        let missing: Vec<Scope> = scopes.filter(|scope| !self.unplanned.contains(scope)).collect();
        self.unplanned.extend(missing);
        self.tells_sites_apart = plan.per_site;
    }

    pub(super) fn planned(&self, planner: &mut Pupil, view: &View<'_>) -> Result<Plan, PluginFault> {
        let began = Instant::now();
        let plan = planner.strategy.plan(view, self.clock.now(), fastrand::u64(..))?;
        self.planning.record(began.elapsed());
        Ok(plan)
    }

    /// The instances for a plan that wants each request to be asked about, taught what changed.
    fn shards_for(
        &mut self,
        factory: &dyn StrategyFactory,
        picker: &Picker,
        changed: &[u32],
    ) -> Result<Option<Arc<Shards>>, PluginFault> {
        if !picker.asks_per_request() {
            return Ok(None);
        }
        let shards = self.shared.selection.load().shards.clone();
        let shards = match shards {
            Some(shards) if self.has_missed => shards.teach_anew(&self.snapshot).map(|()| shards),
            Some(shards) => shards.teach(&self.snapshot, changed).map(|()| shards),
            None => {
                Shards::new(factory).and_then(|shards| shards.teach(&self.snapshot, &[]).map(|()| Arc::new(shards)))
            }
        };
        self.has_missed = shards.is_err();
        shards.map(Some)
    }

    /// The table for the sessions of a plan: the one that there is, unless the plan wants another size.
    pub(super) fn sessions_for(&self, picker: &Picker) -> Arc<Sessions> {
        let sessions = Arc::clone(&self.shared.selection.load().sessions);
        match picker.stickiness() {
            Some(sticky) if sticky.capacity != sessions.capacity() => Arc::new(sessions.resized(sticky.capacity)),
            None if Stickiness::HOST.capacity != sessions.capacity() => {
                Arc::new(sessions.resized(Stickiness::HOST.capacity))
            }
            Some(_) | None => sessions,
        }
    }

    fn observe(&mut self, current: &mut Current, observations: &[Observation]) -> Result<(), PluginFault> {
        let Some(planner) = current.planner.as_mut().filter(|planner| planner.is_synced) else { return Ok(()) };
        let wants_to_plan = planner.strategy.observe(observations)?;
        let shards = self.shared.selection.load().shards.clone();
        if let Some(shards) = shards {
            shards.observe(observations)?;
        }
        if wants_to_plan { self.replan(current, &[]) } else { Ok(()) }
    }

    /// Puts another selection in force. This thread is the only one that writes it.
    pub(super) fn publish(&self, edit: impl FnOnce(&mut Selection)) {
        let mut selection = Selection::clone(&self.shared.selection.load());
        edit(&mut selection);
        self.shared.selection.store(Arc::new(selection));
    }
}
