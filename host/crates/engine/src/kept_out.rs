//! Whom a user has taken out of the pool: sources bring none of them back.
//!
//! A source names its proxies again whenever it is read, and a check may end after its member has left. So whoever was taken out by
//! a user stays out until a user lets them in, or the engine ends. Only in memory: what lasts is said where the source is.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::{Endpoint, MemberId};

/// How many are kept out at the most, as a bound of memory: as many as a pool has members if nothing else is said, at 16 bytes each.
pub(crate) const MOST: usize = if cfg!(test) { 1_000 } else { 1_000_000 };

/// Those who are kept out. Written by whoever carries out a user's command, before the writer hears of it; read by the writer for each
/// admission. Held for some instructions for each of those that come.
#[derive(Debug, Default)]
pub(crate) struct KeptOut(Mutex<HashSet<MemberId>>);

impl KeptOut {
    /// Keeps them out, as far as there is room; how many of them are.
    pub(crate) fn add(&self, keys: &[EndpointKey]) -> usize {
        // Before: nobody is to wait for that.
        let added: Vec<MemberId> = keys.iter().map(MemberId::of).collect();
        let mut ids = self.ids();
        let mut kept = 0;
        for id in added {
            if ids.len() < MOST || ids.contains(&id) {
                ids.insert(id);
                kept += 1;
            }
        }
        kept
    }

    /// Keeps those out no more who are about to come in.
    pub(crate) fn lift(&self, admissions: &[Admission]) {
        let mut ids = self.ids();
        for admission in admissions {
            ids.remove(&id(admission));
        }
    }

    /// Whether somebody is kept out.
    pub(crate) fn holds(&self, id: MemberId) -> bool {
        self.ids().contains(&id)
    }

    /// Leaves out of admissions who is kept out; how many.
    pub(crate) fn sift(&self, admissions: &mut Vec<Admission>) -> usize {
        let ids = self.ids();
        if ids.is_empty() {
            return 0;
        }
        let all = admissions.len();
        admissions.retain(|admission| !ids.contains(&id(admission)));
        all - admissions.len()
    }

    fn ids(&self) -> MutexGuard<'_, HashSet<MemberId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom an admission is about.
fn id(admission: &Admission) -> MemberId {
    let endpoint: &Endpoint = match admission {
        Admission::Verified(verified) => &verified.candidate().endpoint,
        Admission::Vouched(candidate) | Admission::Named(candidate) => &candidate.endpoint,
        Admission::Restored(stored) => &stored.endpoint,
    };
    MemberId::of(&endpoint.key())
}
