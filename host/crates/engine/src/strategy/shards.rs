//! Instances of a strategy that answer for each request.
//!
//! There is one for each processor. A request takes whichever is free; when all are busy it does not
//! wait, and the fallback answers. An instance that faulted answers nothing until it has been taught
//! the pool anew, which the strategy's thread does with its next round.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use proxywhirl_core::Member;
use proxywhirl_core::plugin::{FaultCause, Observation, PluginFault, Request, StrategyFactory};
use proxywhirl_core::pool::Snapshot;

use super::Pupil;
use crate::faults::FaultReporter;

/// More instances than this do not help: a call takes a fraction of a microsecond.
const MOST: usize = 8;

/// What the instances say to a request.
pub(super) enum Answer {
    /// This one. It is a member; whether it is eligible, the caller checks.
    Member(Arc<Member>),
    /// Nobody should serve it.
    Nobody,
    /// No instance could answer.
    Unavailable,
}

/// The instances.
#[derive(Debug)]
pub(super) struct Shards {
    /// Each held for one call: by a request that only tries to lock, or by the strategy's thread.
    pupils: Vec<Mutex<Pupil>>,
    /// Where the next request begins to look, so that the instances share the work.
    next: AtomicUsize,
}

impl Shards {
    /// An instance for each processor.
    ///
    /// # Errors
    /// When the plugin does not start.
    pub(super) fn new(factory: &dyn StrategyFactory) -> Result<Self, PluginFault> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let pupils = (0..count).map(|_| Ok(Mutex::new(Pupil::new(factory.instance()?)))).collect::<Result<_, _>>()?;
        Ok(Self { pupils, next: AtomicUsize::new(0) })
    }

    /// Asks for a member.
    pub(super) fn select(&self, request: &Request, snapshot: &Snapshot, faults: &FaultReporter) -> Answer {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        for offset in 0..self.pupils.len() {
            let Some(pupil) = self.pupils.get(start.wrapping_add(offset) % self.pupils.len()) else { continue };
            let mut pupil = match pupil.try_lock() {
                Ok(pupil) => pupil,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            if pupil.is_synced {
                return self.ask(&mut pupil, request, snapshot, faults);
            }
        }
        Answer::Unavailable
    }

    fn ask(&self, pupil: &mut Pupil, request: &Request, snapshot: &Snapshot, faults: &FaultReporter) -> Answer {
        let fault = match pupil.strategy.select(request) {
            Ok(None) => return Answer::Nobody,
            Ok(Some(slot)) => match snapshot.get(slot) {
                Some(member) => return Answer::Member(Arc::clone(member)),
                // It has not heard yet that the member left.
                None if pupil.epoch != snapshot.epoch() => return Answer::Unavailable,
                None => PluginFault::new(
                    pupil.strategy.identity().clone(),
                    "select",
                    FaultCause::InvalidAnswer,
                    &format!("slot {slot} has no member"),
                ),
            },
            Err(fault) => {
                pupil.is_synced = false;
                fault
            }
        };
        faults.report(&fault);
        Answer::Unavailable
    }

    /// Brings all instances up to a snapshot.
    pub(super) fn teach(&self, snapshot: &Snapshot, changed: &[u32], faults: &FaultReporter) {
        self.each(faults, |pupil| pupil.teach(snapshot, changed));
    }

    /// Tells all instances how uses went.
    pub(super) fn observe(&self, observations: &[Observation], faults: &FaultReporter) {
        self.each(
            faults,
            |pupil| {
                if pupil.is_synced { pupil.strategy.observe(observations).map(drop) } else { Ok(()) }
            },
        );
    }

    /// Teaches the pool to the instances that faulted.
    pub(super) fn heal(&self, snapshot: &Snapshot, faults: &FaultReporter) {
        self.each(faults, |pupil| if pupil.is_synced { Ok(()) } else { pupil.teach(snapshot, &[]) });
    }

    fn each(&self, faults: &FaultReporter, mut work: impl FnMut(&mut Pupil) -> Result<(), PluginFault>) {
        for pupil in &self.pupils {
            let mut pupil = pupil.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(fault) = work(&mut pupil) {
                pupil.is_synced = false;
                faults.report(&fault);
            }
        }
    }
}
