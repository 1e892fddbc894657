//! The pool as a pick sees it: a snapshot, the board behind it, and what the request wants.

use std::sync::Arc;

use crate::pool::Snapshot;
use crate::pool::snapshot::bits;
use crate::select::wish::Wish;

/// What a pick looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight<'a, 's> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) wish: &'a Wish<'a>,
}

impl Sight<'_, '_> {
    /// Whether who is at a slot may be handed out. Without a filter, no member is touched.
    #[inline]
    pub(super) fn admits(&self, slot: u32) -> bool {
        self.snapshot.is_open(slot, self.wish.now) && self.wants(slot)
    }

    /// Those of a word's slots whose members may be handed out.
    pub(super) fn admitted_in(&self, word: usize, among: u64) -> impl Iterator<Item = u32> {
        let first = u32::try_from(word * u64::BITS as usize).unwrap_or(u32::MAX);
        bits(self.snapshot.open_in(word, among, self.wish.now))
            .map(move |bit| first + bit)
            .filter(|slot| self.wants(*slot))
    }

    /// Whether the request demands nothing that the member has not, and has not tried it.
    #[inline]
    fn wants(&self, slot: u32) -> bool {
        let Wish { tried, filter, .. } = self.wish;
        let was_tried = || self.snapshot.id(slot).is_some_and(|id| tried.contains(&id));
        (tried.is_empty() || !was_tried())
            && filter.is_none_or(|filter| self.snapshot.get(slot).is_some_and(|member| filter.admits(member)))
    }
}

/// Tells whether slots are still of those whom a plan was made for.
#[derive(Debug, Clone)]
pub(super) struct Stamp(Arc<[u32]>);

impl Stamp {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self(snapshot.turnover().into())
    }

    /// Whether the member that had this generation in a slot is still there, or may be: it is not looked at when nobody
    /// came or went near it.
    #[inline]
    pub(super) fn holds(&self, slot: u32, generation: impl FnOnce() -> Option<u32>, snapshot: &Snapshot) -> bool {
        let chunk = slot as usize / crate::pool::table::CHUNK;
        let (then, now) = (self.0.get(chunk), snapshot.turnover().get(chunk));
        (then.is_some() && then == now) || snapshot.get(slot).map(|member| member.generation) == generation()
    }
}
