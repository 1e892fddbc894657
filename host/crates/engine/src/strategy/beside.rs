//! Strategies beside the one in force: for requests that come in where another one was asked for.
//!
//! Each has a thread, plans and supervision of its own, hears the same of the pool and of uses, and what it learns is kept apart. Sessions
//! are those of the strategy in force: a session is the same one wherever its requests come in.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxywhirl_core::plugin::{PluginIdentity, StrategyFactory};
use proxywhirl_core::pool::{Delta, Snapshot};

use super::{Selector, Setup};
use crate::swap::{SwapError, Swapped};

/// A strategy beside the one in force. It is there until [`Engine::dismiss_beside`](crate::Engine::dismiss_beside).
#[derive(Debug, Clone)]
pub struct Beside(pub(super) Arc<Selector>);

impl PartialEq for Beside {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Beside {}

impl Hash for Beside {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Beside {
    /// Which strategy it is.
    #[must_use]
    pub fn strategy(&self) -> Option<PluginIdentity> {
        self.0.strategy()
    }

    /// The name of its plugin.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Puts another build of it, or another strategy, in its place: as [`Engine::swap_strategy`](crate::Engine::swap_strategy) does.
    ///
    /// # Errors
    /// When the new one faults on its way: then nothing has changed.
    pub async fn swap(&self, factory: Arc<dyn StrategyFactory>) -> Result<Swapped, SwapError> {
        self.0.swap(factory).await
    }
}

/// Those that there are.
pub(super) struct Besides {
    /// With what each begins.
    setup: Setup,
    /// Whether there are any: most gateways have none, and their requests pay nothing for it.
    are_any: AtomicBool,
    /// Locked by the writer, by what begins or ends one, and by requests while there are any: for as long as it takes to tell them.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    all: Vec<Arc<Selector>>,
    /// The newest snapshot, for those that come.
    snapshot: Option<Arc<Snapshot>>,
}

impl fmt::Debug for Besides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Besides").field("count", &self.known().all.len()).finish_non_exhaustive()
    }
}

impl Besides {
    pub(super) fn new(setup: Setup) -> Self {
        Self { setup, are_any: AtomicBool::new(false), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with each.
    pub(super) fn each(&self, mut task: impl FnMut(&Selector)) {
        // Relaxed: who comes at the same time as a request may miss it.
        if self.are_any.load(Ordering::Relaxed) {
            self.known().all.iter().for_each(|beside| task(beside));
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Selector>> {
        self.known().all.clone()
    }

    pub(super) fn changed(&self, snapshot: &Arc<Snapshot>, delta: &Delta) {
        let mut known = self.known();
        known.snapshot = Some(Arc::clone(snapshot));
        for beside in &known.all {
            beside.changed(Arc::clone(snapshot), delta.clone());
        }
    }

    fn add(&self, factory: Arc<dyn StrategyFactory>, label: &str) -> std::io::Result<Beside> {
        let beside =
            Arc::new(Selector::start(Setup { factory: Some(factory), label: label.into(), ..self.setup.clone() })?);
        let mut known = self.known();
        if let Some(snapshot) = &known.snapshot {
            beside.changed(Arc::clone(snapshot), Delta::default());
        }
        known.all.push(Arc::clone(&beside));
        self.are_any.store(true, Ordering::Relaxed);
        Ok(Beside(beside))
    }

    fn remove(&self, beside: &Beside) {
        let mut known = self.known();
        known.all.retain(|other| !Arc::ptr_eq(other, &beside.0));
        self.are_any.store(!known.all.is_empty(), Ordering::Relaxed);
    }
}

impl Selector {
    /// Starts a strategy beside this one. `label` tells it from others of the same plugin.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn stand_beside(&self, factory: Arc<dyn StrategyFactory>, label: &str) -> std::io::Result<Beside> {
        self.besides.add(factory, label)
    }

    /// Ends one. Requests that have it go on with its last plan. Blocks for as long as [`Selector::stop`].
    pub(crate) fn dismiss(&self, beside: &Beside) {
        self.besides.remove(beside);
        beside.0.stop();
        if let Some(ward) = &beside.0.shared.selection.load().ward {
            self.besides.setup.supervisor.dismiss(ward);
        }
    }
}
