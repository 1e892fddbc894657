//! Swaps one strategy for another, and back.
//!
//! The newcomer is made, is given what the one before has learned, hears of the pool and makes a plan, all while the one
//! before goes on serving; only then it is in force, at once and for everybody. Whatever faults on the way, nothing has
//! changed. For a while after that it is on probation: a fault brings the one before back, with the state that it had
//! handed over, and until that is done requests are served from what was in force before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use proxywhirl_core::Timestamp;
use proxywhirl_core::plugin::{FaultCause, PluginFault, PluginIdentity, PluginKind, StrategyFactory, View};
use proxywhirl_core::select::Picker;
use tokio::sync::oneshot;

use super::driver::{Current, Driver};
use super::pupil::Pupil;
use super::selection::Selection;
use super::shards::Shards;
use crate::status::Build;
use crate::supervisor::{Change, Ward};
use crate::swap::{Handover, Stopwatch, SwapError, SwapTiming, Swapped};

/// A swap that somebody waits for.
pub(super) struct Swap {
    pub(super) factory: Arc<dyn StrategyFactory>,
    pub(super) answer: oneshot::Sender<Result<Swapped, SwapError>>,
    pub(super) asked: Instant,
}

impl Swap {
    pub(super) fn new(factory: Arc<dyn StrategyFactory>, answer: oneshot::Sender<Result<Swapped, SwapError>>) -> Self {
        Self { factory, answer, asked: Instant::now() }
    }
}

/// What is kept of the one before while the newcomer has to prove itself.
pub(super) struct Probation {
    pub(super) until: Timestamp,
    previous: Option<(Arc<dyn StrategyFactory>, Arc<Ward>)>,
    /// What was picked from.
    selection: Arc<Selection>,
    /// What it handed over.
    state: Option<Vec<u8>>,
}

/// A newcomer that is ready to be put in force.
struct Staged {
    pupil: Pupil,
    plan: proxywhirl_core::select::Plan,
    picker: Picker,
    shards: Option<Arc<Shards>>,
    state: Option<Vec<u8>>,
    handover: Handover,
    timing: SwapTiming,
}

impl Driver {
    /// Carries out a swap, and tells whoever asked for it.
    pub(super) fn swap(&mut self, swap: Swap) {
        let Swap { factory, answer, asked } = swap;
        let before = self.current.as_ref().map(|current| current.factory.identity().clone());
        let result = self.stage(&*factory, asked).map(|staged| {
            let (handover, timing) = (staged.handover, staged.timing);
            let after = Build::from(factory.identity());
            self.put_in_force(factory, staged);
            Swapped { before: before.as_ref().map(Build::from), after, handover, timing }
        });
        let word = if result.is_ok() { "swapped" } else { "refused" };
        metrics::counter!("proxywhirl_swaps_total", "kind" => "strategy", "result" => word).increment(1);
        match &result {
            Ok(swapped) => tracing::info!(
                plugin.name = swapped.after.name,
                plugin.version = swapped.after.version,
                swap.handover = ?swapped.handover,
                swap.us = swapped.timing.total_us,
                "strategy swapped"
            ),
            Err(fault) => self.supervisor.tell(PluginKind::Strategy, fault),
        }
        if answer.send(result.map_err(SwapError::Fault)).is_err() {
            tracing::debug!("whoever asked for the swap has given up");
        }
    }

    fn stage(&mut self, factory: &dyn StrategyFactory, asked: Instant) -> Result<Staged, PluginFault> {
        let (mut watch, waited_us) = Stopwatch::start(asked);
        let mut pupil = Pupil::new(factory.instance()?);
        let instance_us = watch.lap();
        let (state, handover) = self.hand_over(factory.identity(), &mut pupil)?;
        let handover_us = watch.lap();
        pupil.teach(&self.snapshot, &[])?;
        let teach_us = watch.lap();
        let plan = pupil.strategy.plan(&View::default(), self.clock.now(), fastrand::u64(..))?;
        let previous = self.shared.selection.load();
        let picker = Picker::compile(&plan, &self.snapshot, previous.plan.as_deref())
            .map_err(|error| nonsense(factory.identity(), &error.to_string()))?;
        let shards = if picker.asks_per_request() {
            let shards = Shards::new(factory)?;
            shards.teach(&self.snapshot, &[])?;
            Some(Arc::new(shards))
        } else {
            None
        };
        let plan_us = watch.lap();
        let timing = SwapTiming { waited_us, instance_us, handover_us, teach_us, plan_us, total_us: watch.total() };
        Ok(Staged { pupil, plan, picker, shards, state, handover, timing })
    }

    /// Gives a newcomer what the one in force has learned; or, if that is another strategy, what itself knew when it was in
    /// force last.
    fn hand_over(
        &mut self,
        identity: &PluginIdentity,
        to: &mut Pupil,
    ) -> Result<(Option<Vec<u8>>, Handover), PluginFault> {
        let now = self.clock.now();
        let Some(current) = self.current.as_mut().filter(|current| current.ward.may_be_called()) else {
            return Ok((None, Handover::Nothing));
        };
        let Some(planner) = &mut current.planner else { return Ok((None, Handover::Nothing)) };
        let name = &current.factory.identity().name;
        let (state, otherwise) = match planner.strategy.save() {
            Ok(state) => (state, Handover::Nothing),
            Err(fault) => {
                // It is on its way out: that it cannot even save keeps nobody from replacing it.
                planner.is_synced = false;
                current.ward.remember(&fault, now);
                (None, Handover::Failed)
            }
        };
        let mut own = None;
        if let Some(memory) = self.memory.as_mut().filter(|_| *name != identity.name) {
            if let Some(state) = &state {
                memory.keep(name, state, now);
            }
            own = memory.recall(&identity.name, now);
        }
        let handover = match own.as_ref().or(state.as_ref()) {
            Some(known) => restore(to, known)?,
            None => otherwise,
        };
        Ok((state, handover))
    }

    fn put_in_force(&mut self, factory: Arc<dyn StrategyFactory>, staged: Staged) {
        let Staged { pupil, plan, picker, shards, state, .. } = staged;
        let until = self.clock.now() + self.supervisor.config().probation;
        let previous = self.current.take().map(|current| (current.factory, current.ward));
        let identity = factory.identity().clone();
        let ward = match &previous {
            Some((_, ward)) if *ward.name() == *identity.name => {
                let reason = format!("version {identity} took the place of version {}", ward.identity());
                ward.replaced(&identity, factory.on_fault(), Some(until), Change::Replaced, &reason);
                Arc::clone(ward)
            }
            other => {
                let reason =
                    other.as_ref().map_or_else(String::new, |(_, ward)| format!("took the place of {}", ward.name()));
                if let Some((_, ward)) = other {
                    ward.announce(Change::Removed, &format!("{identity} took its place"));
                    self.supervisor.dismiss(ward);
                }
                let ward = self.supervisor.watch(PluginKind::Strategy, &identity, factory.on_fault());
                ward.on_probation(until);
                ward.announce(Change::Loaded, &reason);
                ward
            }
        };
        // Only the last one is kept: a chain of all that ever were would keep their instances alive.
        let selection = Arc::new(Selection { previous: None, ..Selection::clone(&self.shared.selection.load()) });
        self.views.forget_plans();
        self.sites.clear();
        let sessions = self.sessions_for(&picker);
        self.shared.selection.store(Arc::new(Selection {
            ward: Some(Arc::clone(&ward)),
            rejects: rejects(&*factory),
            plan: Some(Arc::new(picker)),
            sites: None,
            views: self.viewed(),
            shards,
            sessions,
            previous: Some(Arc::clone(&selection)),
        }));
        self.shared.is_faulted.store(false, Ordering::Relaxed);
        self.has_missed = false;
        self.probation = Some(Probation { until, previous, selection, state });
        self.current = Some(Current { factory, ward, planner: Some(pupil) });
        self.follow(&plan);
    }

    /// Ends a probation that went well.
    pub(super) fn prove(&mut self) {
        self.probation = None;
        if let Some(current) = &self.current {
            current.ward.proven();
        }
        self.publish(|selection| selection.previous = None);
    }

    /// Brings the one before back, because the newcomer has faulted.
    pub(super) fn roll_back(&mut self, probation: Probation, fault: &PluginFault) {
        let Probation { previous, selection, state, .. } = probation;
        let Some(failed) = self.current.take() else { return };
        failed.ward.remember(fault, self.clock.now());
        metrics::counter!("proxywhirl_swaps_total", "kind" => "strategy", "result" => "rolled-back").increment(1);
        let reason = format!("rolled back: {fault}");
        // Its sessions are those of today.
        let sessions = Arc::clone(&self.shared.selection.load().sessions);
        self.views.forget_plans();
        self.sites.clear();
        let back = Selection { sessions, views: self.viewed(), sites: None, ..Selection::clone(&selection) };
        self.shared.selection.store(Arc::new(back));
        self.shared.is_faulted.store(false, Ordering::Relaxed);
        self.refresh = None;
        self.unplanned.clear();
        let Some((factory, ward)) = previous else {
            failed.ward.announce(Change::Removed, &reason);
            self.supervisor.dismiss(&failed.ward);
            self.shared.sites.want(false);
            return;
        };
        if Arc::ptr_eq(&ward, &failed.ward) {
            ward.replaced(factory.identity(), factory.on_fault(), None, Change::RolledBack, &reason);
        } else {
            failed.ward.announce(Change::Removed, &reason);
            self.supervisor.dismiss(&failed.ward);
            self.supervisor.watch_again(&ward);
            ward.replaced(factory.identity(), factory.on_fault(), None, Change::RolledBack, &reason);
        }
        self.current = Some(Current { factory, ward, planner: None });
        self.has_missed = true;
        self.work(|driver, current| {
            let mut pupil = Pupil::new(current.factory.instance()?);
            if let Some(state) = &state {
                restore(&mut pupil, state)?;
            }
            current.planner = Some(pupil);
            driver.replan(current, &[])
        });
    }
}

/// Whether a request fails when the strategy cannot answer.
pub(super) fn rejects(factory: &dyn StrategyFactory) -> bool {
    factory.on_fault() == proxywhirl_core::plugin::OnFault::Reject
}

/// An answer that makes no sense.
pub(super) fn nonsense(identity: &PluginIdentity, detail: &str) -> PluginFault {
    PluginFault::new(identity.clone(), "make-plan", FaultCause::InvalidAnswer, detail)
}

/// Gives a fresh instance the state of another. One that makes nothing of it begins without.
pub(super) fn restore(pupil: &mut Pupil, state: &[u8]) -> Result<Handover, PluginFault> {
    match pupil.strategy.restore(state) {
        Ok(true) => Ok(Handover::Taken),
        Ok(false) => Ok(Handover::Declined),
        Err(fault) if fault.cause == FaultCause::Refused => {
            tracing::info!(plugin.name = &*fault.plugin.name, reason = &*fault.detail, "state not taken over");
            Ok(Handover::Declined)
        }
        Err(fault) => Err(fault),
    }
}
