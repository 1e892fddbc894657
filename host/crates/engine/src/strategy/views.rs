//! Views: the members that a kind of request may use, and the plans over just those.
//!
//! A request brings a filter; the first with it makes a view, whose members are kept up to date with the pool and for
//! which the strategy is asked for a plan. There are at most [`MOST`]: the one that was not used for the longest time
//! leaves, and its requests are served from the plan for everybody, masked by their filter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proxywhirl_core::Timestamp;
use proxywhirl_core::pool::Snapshot;
use proxywhirl_core::select::{Filter, Picker};

use super::selection::Viewed;

/// Views at the most: each may have as many members as the pool.
pub(super) const MOST: usize = 64;

/// When more slots than this have changed, counting anew is quicker than moving each.
const FEW: usize = 256;

/// The members that a kind of request may use.
#[derive(Debug)]
pub(super) struct View {
    /// Its number: never that of another view.
    pub(super) id: u32,
    pub(super) filter: Arc<Filter>,
    /// Its slots, in ascending order.
    pub(super) members: Vec<u32>,
    used: Arc<AtomicU64>,
    pub(super) plan: Option<Arc<Picker>>,
}

impl View {
    /// As requests see it.
    pub(super) fn viewed(&self) -> Viewed {
        Viewed { id: self.id, used: Arc::clone(&self.used), plan: self.plan.clone() }
    }

    fn count(&mut self, snapshot: &Snapshot) {
        let admitted = snapshot.iter().filter(|member| self.filter.admits(member));
        self.members = admitted.map(|member| member.slot).collect();
    }

    fn update(&mut self, snapshot: &Snapshot, changed: &[u32]) {
        if changed.len() > FEW {
            return self.count(snapshot);
        }
        for slot in changed {
            let is_in = snapshot.get(*slot).is_some_and(|member| self.filter.admits(member));
            match (self.members.binary_search(slot), is_in) {
                (Err(place), true) => self.members.insert(place, *slot),
                (Ok(place), false) => {
                    self.members.remove(place);
                }
                (Ok(_), true) | (Err(_), false) => {}
            }
        }
    }
}

/// All views.
#[derive(Debug, Default)]
pub(super) struct Views {
    views: Vec<View>,
    numbered: u32,
}

impl Views {
    pub(super) fn iter(&self) -> impl Iterator<Item = &View> {
        self.views.iter()
    }

    pub(super) fn find(&mut self, id: u32) -> Option<&mut View> {
        self.views.iter_mut().find(|view| view.id == id)
    }

    /// Makes a view of a filter, unless there is one; its number.
    pub(super) fn add(&mut self, filter: Arc<Filter>, snapshot: &Snapshot, now: Timestamp) -> Option<u32> {
        if self.views.iter().any(|view| view.filter == filter) {
            return None;
        }
        if self.views.len() >= MOST {
            let used = |view: &View| view.used.load(Ordering::Relaxed);
            let oldest = self.views.iter().enumerate().min_by_key(|(_, view)| used(view)).map(|(index, _)| index);
            if let Some(index) = oldest {
                self.views.swap_remove(index);
            }
        }
        self.numbered = self.numbered.wrapping_add(1).max(1);
        let used = Arc::new(AtomicU64::new(now.as_micros()));
        let mut view = View { id: self.numbered, filter, members: Vec::new(), used, plan: None };
        view.count(snapshot);
        self.views.push(view);
        Some(self.numbered)
    }

    /// Follows the pool.
    pub(super) fn update(&mut self, snapshot: &Snapshot, changed: &[u32]) {
        for view in &mut self.views {
            view.update(snapshot, changed);
        }
    }

    /// Forgets all plans: they are another strategy's.
    pub(super) fn forget_plans(&mut self) {
        for view in &mut self.views {
            view.plan = None;
        }
    }
}
