//! Instances of a strategy that answer for each request.
//!
//! There is one for each processor, and two at least. A request takes whichever is free; when all are busy it does not
//! wait, and the fallback answers. They are taught one at a time, while the others answer. An instance that faulted
//! answers nothing until it has been taught the pool anew, which the strategy's thread does when the plugin is restarted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use proxywhirl_core::plugin::{FaultCause, Observation, PluginFault, Request, StrategyFactory, View};
use proxywhirl_core::pool::Snapshot;
use proxywhirl_core::{Member, Timestamp};

use super::Shared;
use super::pupil::Pupil;

/// With one, nobody would answer while it is taught.
const LEAST: usize = 2;

/// More instances than this do not help: a call takes a fraction of a microsecond.
const MOST: usize = 8;

/// Numbers all shards of a process, so that a fault finds those that it belongs to.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// What the instances say to a request.
pub(super) enum Answer<'s> {
    /// This one. It is a member; whether it is eligible, the caller checks.
    Member(&'s Arc<Member>),
    /// Nobody should serve it.
    Nobody,
    /// Every instance is busy, or the one that was free has not heard of a change yet.
    Busy,
    /// The instance has faulted now, or all have before.
    Faulted,
}

/// The instances.
#[derive(Debug)]
pub(super) struct Shards {
    /// Which ones they are: see [`NUMBERS`].
    pub(super) number: u64,
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
        let count = std::thread::available_parallelism().map_or(LEAST, usize::from).clamp(LEAST, MOST);
        let pupils = (0..count).map(|_| Ok(Mutex::new(Pupil::new(factory.instance()?)))).collect::<Result<_, _>>()?;
        Ok(Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), pupils, next: AtomicUsize::new(0) })
    }

    /// Asks for a member.
    pub(super) fn select<'s>(&self, request: &Request, snapshot: &'s Snapshot, shared: &Shared) -> Answer<'s> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut busy = false;
        for offset in 0..self.pupils.len() {
            let Some(pupil) = self.pupils.get(start.wrapping_add(offset) % self.pupils.len()) else { continue };
            let mut pupil = match pupil.try_lock() {
                Ok(pupil) => pupil,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    busy = true;
                    continue;
                }
            };
            if pupil.is_synced {
                return self.ask(&mut pupil, request, snapshot, shared);
            }
        }
        if busy { Answer::Busy } else { Answer::Faulted }
    }

    fn ask<'s>(&self, pupil: &mut Pupil, request: &Request, snapshot: &'s Snapshot, shared: &Shared) -> Answer<'s> {
        let fault = match pupil.strategy.select(request) {
            Ok(None) => return Answer::Nobody,
            Ok(Some(slot)) => match snapshot.get(slot) {
                Some(member) => return Answer::Member(member),
                // It has not heard yet that the member left.
                None if pupil.epoch != snapshot.epoch() => return Answer::Busy,
                None => PluginFault::new(
                    pupil.strategy.identity().clone(),
                    "select",
                    FaultCause::InvalidAnswer,
                    &format!("slot {slot} has no member"),
                ),
            },
            Err(fault) => fault,
        };
        pupil.is_synced = false;
        shared.shard_faulted(self.number, fault);
        Answer::Faulted
    }

    /// Brings all instances up to a snapshot.
    ///
    /// # Errors
    /// The first fault; the others are taught all the same.
    pub(super) fn teach(&self, snapshot: &Snapshot, changed: &[u32]) -> Result<(), PluginFault> {
        self.each(|pupil| pupil.teach(snapshot, changed))
    }

    /// Teaches everything anew to instances that have missed changes.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn teach_anew(&self, snapshot: &Snapshot) -> Result<(), PluginFault> {
        self.each(|pupil| {
            pupil.is_synced = false;
            pupil.teach(snapshot, &[])
        })
    }

    /// Tells all instances how uses went.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn observe(&self, observations: &[Observation]) -> Result<(), PluginFault> {
        self.each(|pupil| if pupil.is_synced { pupil.strategy.observe(observations).map(drop) } else { Ok(()) })
    }

    /// Tells all instances which members a view has: they hear of it as the planning one does, by being asked for a plan.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn show(&self, view: &View<'_>, now: Timestamp, seed: u64) -> Result<(), PluginFault> {
        self.each(|pupil| if pupil.is_synced { pupil.strategy.plan(view, now, seed).map(drop) } else { Ok(()) })
    }

    fn each(&self, mut work: impl FnMut(&mut Pupil) -> Result<(), PluginFault>) -> Result<(), PluginFault> {
        let mut first = Ok(());
        for pupil in &self.pupils {
            let mut pupil: MutexGuard<'_, Pupil> = pupil.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(fault) = work(&mut pupil) {
                pupil.is_synced = false;
                first = first.and(Err(fault));
            }
        }
        first
    }
}
