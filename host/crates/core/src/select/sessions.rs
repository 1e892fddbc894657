//! Which session has which member: the table behind [`Stickiness`].
//!
//! A session is bound to a member at its first request and stays there, so that neither a joining member nor changed
//! weights move it; hashing alone would move those that the newcomer wins. The table is bounded, and whoever was not used
//! for the longest time is forgotten first.
//!
//! Each session has a *life*: when its idle time or lifetime is over, the next life begins, and with it a new assignment.
//!
//! Invariants: never more sessions than the capacity; what [`Sessions::changes`] has told is what a store holds, so a
//! session that is forgotten after that is told as forgotten.

mod shard;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::member::{Member, MemberId, mix};
use crate::select::plan::Stickiness;
use crate::store::StoredSession;
use crate::time::Timestamp;
use shard::Shard;

/// Sessions in a shard at the least: below that, "the longest unused" would be somebody who happens to share the shard.
const SHARD_MIN: u32 = 256;

/// Shards at the most: eight threads meet in one of them one time in nine.
const SHARDS_MAX: u32 = 64;

/// Changes that are copied while a shard is locked: a pick that waits for it waits for microseconds.
const BATCH: usize = 256;

/// The table. All may use it at once; a shard is locked for a few instructions.
#[derive(Debug)]
pub struct Sessions {
    /// A power of two of them.
    shards: Box<[Mutex<Shard>]>,
    capacity: u32,
}

/// Who a session is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pin {
    /// The member.
    pub(super) member: MemberId,
    /// Where it was seen last: a hint, and [`Pin::ANYWHERE`] when it was not.
    pub(super) slot: u32,
}

impl Pin {
    /// A slot that nobody has.
    pub(super) const ANYWHERE: u32 = u32::MAX;
}

/// What the table knows of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// Who it is bound to; none when it is new, or when its last life is over.
    pub(super) pin: Option<Pin>,
    /// Its life, from 0.
    pub(super) life: u32,
    /// What was in the table: tells whether another request was quicker.
    entry: Option<(u32, MemberId)>,
}

/// What changed since the last save.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionChanges {
    /// Sessions that are new, or were moved or used.
    pub sessions: Vec<StoredSession>,
    /// Sessions that were forgotten before that: one that came back at once is among both.
    pub forgotten: Vec<u64>,
}

impl Default for Sessions {
    /// A table that remembers nobody.
    fn default() -> Self {
        Self::new(0)
    }
}

impl Sessions {
    /// A table for at most so many sessions; what it takes grows with those that there are. Shards fill unevenly, so from
    /// 512 on the first is forgotten some percent before the capacity is reached.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let shards = (capacity / SHARD_MIN).clamp(1, SHARDS_MAX);
        let shards = 1 << shards.ilog2();
        let limit = |index| capacity / shards + u32::from(index < capacity % shards);
        Self { shards: (0..shards).map(|index| Mutex::new(Shard::new(limit(index)))).collect(), capacity }
    }

    /// How many sessions are remembered at the most.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many sessions are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked().map(|shard| shard.len()).sum()
    }

    /// Whether no session is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy with another capacity. When it is smaller, those that were used last stay.
    #[must_use]
    pub fn resized(&self, capacity: u32) -> Self {
        let resized = Self::new(capacity);
        let mut entries: Vec<_> = self.locked().flat_map(|shard| shard.by_age()).collect();
        entries.sort_by_key(shard::Entry::used);
        for entry in entries {
            resized.shard(entry.session()).adopt(entry);
        }
        for session in self.locked().flat_map(|shard| shard.forgotten()) {
            resized.shard(session).forget_stored(session);
        }
        resized
    }

    /// Takes in what was stored. Of more than fit, those that were used last stay.
    pub fn load(&self, mut stored: Vec<StoredSession>) {
        stored.sort_by_key(|session| session.used);
        for session in stored {
            self.shard(session.session).load(&session);
        }
    }

    /// Takes over what other processes have made of sessions, given who is in the pool. Of those of whom nothing is known, what they
    /// made counts; of others, what is not [told](Sessions::changes) yet may [count more](StoredSession::wins_over).
    pub fn hear(&self, heard: &[StoredSession], is_there: &impl Fn(MemberId) -> bool) {
        for session in heard {
            self.shard(session.session).hear(session, is_there);
        }
    }

    /// What changed since this was asked last, to be saved. That a session was used is told an eighth of its idle time late at the most,
    /// and never more than a minute.
    #[must_use]
    pub fn changes(&self) -> SessionChanges {
        let mut changes = SessionChanges::default();
        for shard in &self.shards {
            // Before the others: what is forgotten while they are copied is told the next time.
            changes.forgotten.extend(lock(shard).take_forgotten());
            while lock(shard).changes(BATCH, &mut changes) {}
        }
        changes
    }

    /// Takes changes back that could not be saved: they are told again.
    pub fn unsaved(&self, changes: SessionChanges) {
        for session in changes.sessions {
            self.shard(session.session).unsaved(session.session);
        }
        for session in changes.forgotten {
            self.shard(session).forget_stored(session);
        }
    }

    /// All of them are told again with the next changes: a store has lost them.
    pub fn all_unsaved(&self) {
        for mut shard in self.locked() {
            shard.all_unsaved();
        }
    }

    /// Who a session is bound to.
    #[must_use]
    pub fn member_of(&self, session: u64) -> Option<MemberId> {
        self.shard(session).get(session).map(|(_, member)| member)
    }

    /// A number that stands for a session in its present life: in another life, it is another one.
    #[must_use]
    pub fn in_life(&self, session: u64) -> u64 {
        in_life(session, self.shard(session).get(session).map_or(0, |(life, _)| life))
    }

    /// What is known of a session; it counts as used now.
    pub(super) fn find(&self, session: u64, stickiness: &Stickiness, now: Timestamp) -> Known {
        self.shard(session).find(session, stickiness, now)
    }

    /// Who a session is bound to. It does not count as used.
    pub(super) fn bound(&self, session: u64, stickiness: &Stickiness, now: Timestamp) -> Option<MemberId> {
        self.shard(session).bound(session, stickiness, now)
    }

    /// Binds a session, unless another request did since it was [found](Sessions::find); who it is bound to now.
    pub(super) fn bind(&self, session: u64, known: &Known, pin: Pin, now: Timestamp) -> Pin {
        self.shard(session).bind(session, known, pin, now)
    }

    /// A member has served a session in place of another one: if it is still bound to that, it is bound to this one from now on.
    pub fn served(&self, session: u64, before: MemberId, member: &Member, now: Timestamp) {
        self.shard(session).served(session, before, Pin { member: member.id, slot: member.slot }, now);
    }

    /// A use of a session goes on from now, until it is [closed](Self::closed): it does not count as unused meanwhile. In which life
    /// it is; none when it is not known.
    #[must_use]
    pub fn opened(&self, session: u64) -> Option<u32> {
        self.shard(session).opens(session)
    }

    /// A use of a session in this life is over.
    pub fn closed(&self, session: u64, life: u32, now: Timestamp) {
        self.shard(session).closes(session, life, now);
    }

    /// Ends a session's life that has come to nothing with this member: it begins anew with its next use. Not while others use it.
    pub fn forsake(&self, session: u64, member: MemberId) {
        self.shard(session).forsake(session, member);
    }

    /// Whether a session begins with its next use: it was never bound to a member, or is [forsaken](Self::forsake).
    #[must_use]
    pub fn begins(&self, session: u64) -> bool {
        self.shard(session).begins(session)
    }

    /// Remembers where the member of a session was seen.
    pub(super) fn seen_at(&self, session: u64, pin: Pin) {
        self.shard(session).seen_at(session, pin);
    }

    fn shard(&self, session: u64) -> MutexGuard<'_, Shard> {
        // The upper half: the table within the shard uses the lower one.
        let index = (mix(session) >> 32) as usize & (self.shards.len() - 1);
        #[allow(clippy::indexing_slicing)] // Masked by the length, which is a power of two and not 0.
        lock(&self.shards[index])
    }

    fn locked(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }
}

/// A number that stands for a session in one of its lives.
pub(super) const fn in_life(session: u64, life: u32) -> u64 {
    if life == 0 { session } else { mix(session ^ mix(life as u64)) }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
