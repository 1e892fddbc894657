//! One after the other.
//!
//! The cursor gives each pick a ticket, and a ticket is a place: so each place has one turn in a lap, under any number of
//! threads. Whoever may not be handed out loses the turn, and the ticket is burnt, so that no neighbour has two. After a few
//! burnt tickets the cursor jumps to the next who may.
//!
//! Invariant: over a roster that stays as it is, tickets modulo its length go up by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sight::{Sight, Stamp};
use crate::member::Member;
use crate::pool::Snapshot;

/// Tickets burnt before the cursor jumps: a ticket costs less than a jump while every other one is good.
const BURNT: usize = 4;

/// Slots in a word of the board.
const WORD: usize = u64::BITS as usize;

/// The next ticket. Every pick writes it, so it shares no cache line (nor the one that is fetched along) with anything.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor(AtomicU64);

/// Who is picked in turn, and whose turn it is.
#[derive(Debug)]
pub(super) struct Cycle {
    course: Course,
    /// Shared with the cycle before, so that a new plan over the same members neither repeats nor skips anybody.
    cursor: Arc<Cursor>,
}

/// The order of turns.
#[derive(Debug)]
enum Course {
    /// By slot.
    Everyone,
    /// As the plan says.
    These { places: Vec<Place>, stamp: Stamp },
}

/// A member as it was when the plan was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Cycle {
    pub(super) fn everyone(previous: Option<&Self>) -> Self {
        let cursor = match previous {
            Some(Self { course: Course::Everyone, cursor }) => Arc::clone(cursor),
            Some(Self { course: Course::These { .. }, .. }) | None => Arc::default(),
        };
        Self { course: Course::Everyone, cursor }
    }

    pub(super) fn these(places: Vec<Place>, stamp: Stamp, previous: Option<&Self>) -> Self {
        let cursor = previous.map_or_else(Arc::default, |previous| previous.cursor_for(&places));
        Self { course: Course::These { places, stamp }, cursor }
    }

    /// The cursor with which a new list goes on where this cycle is.
    fn cursor_for(&self, new: &[Place]) -> Arc<Cursor> {
        let Course::These { places: old, .. } = &self.course else { return Arc::default() };
        if old == new {
            return Arc::clone(&self.cursor);
        }
        let end = new.iter().map(|place| place.slot as usize + 1).max().unwrap_or(0);
        let mut index_of = vec![None; end];
        for (index, place) in (0u64..).zip(new) {
            if let Some(first) = index_of.get_mut(place.slot as usize) {
                first.get_or_insert(index);
            }
        }
        // The first of those who are still due that is on the new list.
        let at = position(self.cursor.0.load(Ordering::Relaxed), old.len());
        let mut due = old.iter().cycle().skip(at).take(old.len());
        let next = due.find_map(|place| index_of.get(place.slot as usize).copied().flatten());
        Arc::new(Cursor(AtomicU64::new(next.unwrap_or_default())))
    }

    /// How many places there are, those of nobody included.
    #[inline]
    fn len(&self, snapshot: &Snapshot) -> usize {
        match &self.course {
            Course::Everyone => snapshot.end() as usize,
            Course::These { places, .. } => places.len(),
        }
    }

    /// Whether the member has a turn.
    pub(super) fn holds(&self, member: &Member) -> bool {
        match &self.course {
            Course::Everyone => true,
            Course::These { places, .. } => {
                places.contains(&Place { slot: member.slot, generation: member.generation })
            }
        }
    }

    /// The slots of those who have a turn.
    pub(super) fn slots(&self, snapshot: &Snapshot) -> Vec<u32> {
        match &self.course {
            Course::Everyone => snapshot.iter().map(|member| member.slot).collect(),
            Course::These { places, .. } => {
                let is_there = |place: &&Place| {
                    snapshot.get(place.slot).is_some_and(|member| member.generation == place.generation)
                };
                places.iter().filter(is_there).map(|place| place.slot).collect()
            }
        }
    }

    /// The slot of the next whose turn it is.
    pub(super) fn pick(&self, sight: &Sight<'_, '_>) -> Option<u32> {
        let end = self.len(sight.snapshot);
        if end == 0 {
            return None;
        }
        for _ in 0..BURNT {
            let picked = self.at(self.ticket(end), sight);
            if picked.is_some() {
                return picked;
            }
        }
        self.jump(end, sight)
    }

    /// Takes a ticket, and says which place it is for.
    #[inline]
    fn ticket(&self, end: usize) -> usize {
        // Relaxed throughout: the cursor orders picks among each other and publishes nothing.
        let ticket = self.cursor.0.fetch_add(1, Ordering::Relaxed);
        if ticket < end as u64 {
            return position(ticket, end);
        }
        // A lap is over. Tickets beyond the end are places too, so it does not matter who takes the laps off, and when:
        // that they stay the same modulo the length does.
        let lap = end as u64;
        let beyond = |ticket| (ticket >= lap).then(|| ticket % lap);
        self.cursor.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, beyond).ok();
        position(ticket, end)
    }

    /// Moves the cursor behind the next who may be handed out.
    #[cold]
    fn jump(&self, end: usize, sight: &Sight<'_, '_>) -> Option<u32> {
        let mut seen = self.cursor.0.load(Ordering::Relaxed);
        loop {
            let start = position(seen, end);
            let (index, slot) = self.first(start, end, sight).or_else(|| self.first(0, start, sight))?;
            match self.cursor.0.compare_exchange_weak(seen, index as u64 + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(slot),
                Err(moved) => seen = moved,
            }
        }
    }

    /// The first from one place to before another who may be handed out: the place, and the slot.
    fn first(&self, from: usize, to: usize, sight: &Sight<'_, '_>) -> Option<(usize, u32)> {
        if matches!(self.course, Course::These { .. }) {
            return (from..to).find_map(|index| self.at(index, sight).map(|slot| (index, slot)));
        }
        (from / WORD..to.div_ceil(WORD)).find_map(|word| {
            let from = from.saturating_sub(word * WORD);
            let mut admitted = sight.admitted_in(word, u64::MAX << from);
            admitted.find(|slot| (*slot as usize) < to).map(|slot| (slot as usize, slot))
        })
    }

    /// The slot of who is at a place, if that may be handed out.
    #[inline]
    fn at(&self, index: usize, sight: &Sight<'_, '_>) -> Option<u32> {
        let slot = match &self.course {
            Course::Everyone => u32::try_from(index).ok()?,
            Course::These { places, stamp } => {
                let place = places.get(index)?;
                stamp.holds(place.slot, || Some(place.generation), sight.snapshot).then_some(place.slot)?
            }
        };
        sight.admits(slot).then_some(slot)
    }
}

/// The place that a ticket is for.
#[inline]
fn position(ticket: u64, end: usize) -> usize {
    let ticket = usize::try_from(ticket).unwrap_or(0);
    // A division costs more than all the rest, and is needed once a lap.
    if ticket < end { ticket } else { ticket.checked_rem(end).unwrap_or(0) }
}
