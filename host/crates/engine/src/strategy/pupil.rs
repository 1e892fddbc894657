//! An instance of a strategy, and what it knows of the pool.

use std::sync::Arc;

use proxywhirl_core::Member;
use proxywhirl_core::plugin::{PluginFault, Strategy};
use proxywhirl_core::pool::Snapshot;

/// Members in one call of `apply`: a million in one would not fit into a plugin's memory.
const ROWS: usize = 10_000;

/// An instance, and whether it knows the pool.
pub(super) struct Pupil {
    pub(super) strategy: Box<dyn Strategy>,
    /// False when it is fresh, has faulted or has missed something: it has to hear everything.
    pub(super) is_synced: bool,
    /// The snapshot that it knows.
    pub(super) epoch: u64,
}

impl std::fmt::Debug for Pupil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pupil").field("strategy", &&self.strategy.identity().name).finish_non_exhaustive()
    }
}

impl Pupil {
    pub(super) fn new(strategy: Box<dyn Strategy>) -> Self {
        Self { strategy, is_synced: false, epoch: 0 }
    }

    /// Brings the instance up to a snapshot: by what changed, or by everything if it has to hear that.
    pub(super) fn teach(&mut self, snapshot: &Snapshot, changed: &[u32]) -> Result<(), PluginFault> {
        let (rows, removed): (Vec<Arc<Member>>, Vec<u32>) = if self.is_synced {
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
