//! The pool as a strategy sees it, kept up to date from the host's deltas.
//!
//! Rows lie in the order of joining, and an index by slot finds them; where a member left, a gap
//! stays until gaps outnumber rows. So applying a row costs the same however large the pool is, and
//! reading all of them walks one array. Uses that the host reports are counted at once; the host's
//! next row for that member replaces the count.
//!
//! Invariants: the index of a slot and the row there name each other; rows are sorted by
//! `(joined, slot)`; `live` is the number of rows that are no gap.

use super::{Member, Observation, View};
use crate::{Slot, log};

/// The highest slot is below this. The host numbers slots densely, so it is never reached by a pool
/// that fits into a guest's memory; without it one absurd slot would take that memory at once.
const MAX_SLOTS: usize = 1 << 24;

/// Marks a slot without a row.
const ABSENT: u32 = u32::MAX;

/// Gaps that are not worth closing.
const FEW_GAPS: usize = 64;

/// A new latency counts for an eighth, as in TCP's smoothed round-trip time (RFC 6298).
const SMOOTHING: u32 = 8;

/// What one call of `apply` changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Every member that was there before was forgotten first.
    pub reset: bool,
    /// The slots that are new, or whose row is.
    pub upserted: Vec<Slot>,
    /// The slots that left. One of them may be in `upserted` too: another member has it now.
    pub removed: Vec<Slot>,
}

/// The members of the pool, by slot and in the order of joining.
#[derive(Debug, Default)]
pub struct Table {
    epoch: u64,
    rows: Vec<Option<Member>>,
    index: Vec<u32>,
    live: usize,
    last: (u64, Slot),
}

impl Table {
    /// Empty, at epoch 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the last delta.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many members there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The member at a slot.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Member> {
        self.rows.get(self.place(slot)?)?.as_ref()
    }

    /// Every member, in the order of joining.
    #[must_use]
    pub fn iter(&self) -> Members<'_> {
        Members(Walk::All(self.rows.iter()))
    }

    /// The members of a view: all in the order of joining, or those that it lists, in its order.
    #[must_use]
    pub fn members<'a>(&'a self, view: &'a View) -> Members<'a> {
        match &view.members {
            None => self.iter(),
            Some(slots) => Members(Walk::Some(self, slots.iter())),
        }
    }

    /// Applies what the host tells: forgets everything when `reset`, then the removed, then reads
    /// the new rows.
    pub fn apply(&mut self, epoch: u64, reset: bool, upserts: Vec<Member>, removed: Vec<Slot>) -> Delta {
        self.epoch = epoch;
        if reset {
            *self = Self { epoch, ..Self::default() };
        }
        for &slot in &removed {
            self.forget(slot);
        }
        let mut upserted = Vec::with_capacity(upserts.len());
        let mut sorted = true;
        for member in upserts {
            let slot = member.slot;
            match self.put(member) {
                Some(in_order) => {
                    sorted &= in_order;
                    upserted.push(slot);
                }
                None => log::warn(format_args!("slot {slot} is not below {MAX_SLOTS}: ignored")),
            }
        }
        if !sorted {
            self.rows.retain(Option::is_some);
            self.rows.sort_by_key(|row| row.as_ref().map(|member| (member.joined, member.slot)));
            self.number();
        } else if self.rows.len() - self.live > self.live.max(FEW_GAPS) {
            self.rows.retain(Option::is_some);
            self.number();
        }
        Delta { reset, upserted, removed }
    }

    /// Notes what the host tells, and keeps none of it.
    pub(super) fn pass(&mut self, epoch: u64, reset: bool, upserts: &[Member], removed: Vec<Slot>) -> Delta {
        self.epoch = epoch;
        Delta { reset, upserted: upserts.iter().map(|member| member.slot).collect(), removed }
    }

    /// Counts uses, until the host's next row replaces the counts.
    pub fn record(&mut self, observations: &[Observation]) {
        for seen in observations {
            let place = self.place(seen.slot);
            let Some(Some(member)) = place.and_then(|place| self.rows.get_mut(place)) else {
                continue;
            };
            if seen.success {
                member.successes = member.successes.saturating_add(1);
            } else {
                member.failures = member.failures.saturating_add(1);
            }
            member.latency = match (member.latency, seen.latency) {
                (old, 0) => old,
                (0, new) => new,
                // Rounded up, so that a measured latency never decays to 0, which means unmeasured.
                (old, new) => old - old / SMOOTHING + new.div_ceil(SMOOTHING),
            };
        }
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        let place = *self.index.get(usize::try_from(slot).ok()?)?;
        if place == ABSENT { None } else { usize::try_from(place).ok() }
    }

    fn forget(&mut self, slot: Slot) {
        let Some(place) = self.place(slot) else { return };
        if let Some(row) = self.rows.get_mut(place) {
            *row = None;
            self.live -= 1;
        }
        self.point(slot, ABSENT);
    }

    /// Stores a row, and tells whether the rows are still sorted. None when the slot is absurd.
    fn put(&mut self, member: Member) -> Option<bool> {
        let slot = member.slot;
        let wanted = usize::try_from(slot).ok().filter(|&slot| slot < MAX_SLOTS)?;
        if let Some(row) = self.place(slot).and_then(|place| self.rows.get_mut(place)) {
            if row.as_ref().is_some_and(|old| old.joined == member.joined) {
                *row = Some(member);
                return Some(true);
            }
            self.forget(slot);
        }
        if self.index.len() <= wanted {
            self.index.resize(wanted + 1, ABSENT);
        }
        let key = (member.joined, slot);
        let in_order = key >= self.last;
        self.last = self.last.max(key);
        self.point(slot, u32::try_from(self.rows.len()).ok()?);
        self.rows.push(Some(member));
        self.live += 1;
        Some(in_order)
    }

    fn point(&mut self, slot: Slot, place: u32) {
        let entry = usize::try_from(slot).ok().and_then(|slot| self.index.get_mut(slot));
        if let Some(entry) = entry {
            *entry = place;
        }
    }

    /// Points the index at the rows again, after they have moved.
    fn number(&mut self) {
        self.last = (0, 0);
        for (place, row) in (0..).zip(&self.rows) {
            if let Some(member) = row {
                self.last = (member.joined, member.slot);
                let slot = usize::try_from(member.slot).ok();
                if let Some(entry) = slot.and_then(|slot| self.index.get_mut(slot)) {
                    *entry = place;
                }
            }
        }
    }
}

impl<'a> IntoIterator for &'a Table {
    type Item = &'a Member;
    type IntoIter = Members<'a>;

    fn into_iter(self) -> Members<'a> {
        self.iter()
    }
}

/// Members, one after the other.
#[derive(Debug)]
pub struct Members<'a>(Walk<'a>);

#[derive(Debug)]
enum Walk<'a> {
    All(std::slice::Iter<'a, Option<Member>>),
    Some(&'a Table, std::slice::Iter<'a, Slot>),
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a Member;

    fn next(&mut self) -> Option<&'a Member> {
        match &mut self.0 {
            Walk::All(rows) => rows.find_map(Option::as_ref),
            Walk::Some(table, slots) => slots.find_map(|&slot| table.get(slot)),
        }
    }
}

#[cfg(test)]
mod tests;
