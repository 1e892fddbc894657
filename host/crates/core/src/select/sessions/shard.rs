//! A part of the table: a hash map into entries that are chained by their last use, to the second.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Known, Pin, SessionChanges};
use crate::member::MemberId;
use crate::select::plan::Stickiness;
use crate::spread::Hashed;
use crate::store::StoredSession;
use crate::time::Timestamp;

/// How much older than the truth the stored time of the last use may be: a busy session is written once a minute.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The same as a share of the idle time: whoever hears of the use elsewhere may take a session for unused by so much too early.
const TOLD_SHARE: u32 = 8;

/// Forgotten sessions that are remembered to be told, besides two for each that there is room for.
const FORGOTTEN_MIN: usize = 16_384;

/// How many that are in use are passed over when one has to make room.
const PASSED: usize = 8;

/// No entry: the end of the chain.
const NONE: u32 = u32::MAX;

/// A session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    session: u64,
    pin: Pin,
    life: u32,
    began: Timestamp,
    used: Timestamp,
    /// The last use that a store was told of, by whomever.
    told: Timestamp,
    /// Uses of this life that go on: as long as there are any, it is not unused.
    open: u32,
    /// Whether this life is over before its time.
    is_forsaken: bool,
    /// Whether it is on the list of changes.
    is_changed: bool,
    /// Whether it was bound here since it was told.
    is_moved: bool,
    /// Whether a store may hold it.
    is_stored: bool,
    /// Used next after this one.
    newer: u32,
    /// Used last before this one.
    older: u32,
}

impl Entry {
    pub(super) const fn used(&self) -> Timestamp {
        self.used
    }

    pub(super) const fn session(&self) -> u64 {
        self.session
    }

    const fn stored(&self) -> StoredSession {
        StoredSession {
            session: self.session,
            member: self.pin.member,
            began: self.began,
            used: self.used,
            life: self.life,
        }
    }

    fn is_over(&self, stickiness: &Stickiness, now: Timestamp) -> bool {
        self.is_forsaken
            || stickiness.idle.is_some_and(|idle| self.open == 0 && now.since(self.used) > idle)
            || stickiness.lifetime.is_some_and(|lifetime| now.since(self.began) > lifetime)
    }
}

/// How often a session that is used all the time is told.
fn told_every(stickiness: &Stickiness) -> Duration {
    stickiness.idle.map_or(TOLD_EVERY, |idle| TOLD_EVERY.min(idle / TOLD_SHARE))
}

/// A part of the table. Entries are never taken out, only replaced by others.
#[derive(Debug)]
pub(super) struct Shard {
    capacity: usize,
    places: HashMap<u64, u32, Hashed>,
    entries: Vec<Entry>,
    newest: u32,
    oldest: u32,
    changed: Vec<u32>,
    /// Sessions that a store may hold and that are not here any more. A store that cannot be written for long would make
    /// it grow without end: beyond the limit, sessions stay in the store until they are loaded and forgotten again.
    forgotten: HashSet<u64, Hashed>,
}

impl Shard {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            capacity: capacity as usize,
            places: HashMap::default(),
            entries: Vec::new(),
            newest: NONE,
            oldest: NONE,
            changed: Vec::new(),
            forgotten: HashSet::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, the longest unused first.
    pub(super) fn by_age(&self) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.entries.len());
        let mut at = self.oldest;
        while let Some(entry) = self.entries.get(at as usize) {
            entries.push(*entry);
            at = entry.newer;
        }
        entries
    }

    pub(super) fn forgotten(&self) -> Vec<u64> {
        self.forgotten.iter().copied().collect()
    }

    pub(super) fn get(&self, session: u64) -> Option<(u32, MemberId)> {
        self.look(session).map(|entry| (entry.life, entry.pin.member))
    }

    pub(super) fn bound(&self, session: u64, stickiness: &Stickiness, now: Timestamp) -> Option<MemberId> {
        self.look(session).filter(|entry| !entry.is_over(stickiness, now)).map(|entry| entry.pin.member)
    }

    pub(super) fn find(&mut self, session: u64, stickiness: &Stickiness, now: Timestamp) -> Known {
        let Some((place, entry)) = self.entry(session) else { return Known { pin: None, life: 0, entry: None } };
        let known = Some((entry.life, entry.pin.member));
        if entry.is_over(stickiness, now) {
            return Known { pin: None, life: entry.life.wrapping_add(1), entry: known };
        }
        let found = Known { pin: Some(entry.pin), life: entry.life, entry: known };
        self.touch(place, now, told_every(stickiness));
        found
    }

    /// An entry is used now; that is told when it was not for so long.
    fn touch(&mut self, place: u32, now: Timestamp, told_every: Duration) {
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        // Moving it to the front writes three other entries: once a second is enough.
        let is_due = entry.used.as_secs() < now.as_secs();
        entry.used = entry.used.max(now);
        let is_news = now.since(entry.told) >= told_every;
        if is_due {
            self.renew(place);
        }
        if is_news {
            self.note(place);
        }
    }

    pub(super) fn bind(&mut self, session: u64, known: &Known, pin: Pin, now: Timestamp) -> Pin {
        let Some((place, entry)) = self.entry(session) else {
            let entry = Entry {
                session,
                pin,
                life: known.life,
                began: now,
                used: now,
                told: Timestamp::default(),
                open: 0,
                is_forsaken: false,
                is_changed: false,
                is_moved: true,
                is_stored: false,
                newer: NONE,
                older: NONE,
            };
            if let Some(place) = self.insert(entry) {
                self.note(place);
            }
            return pin;
        };
        if known.entry != Some((entry.life, entry.pin.member)) {
            return entry.pin;
        }
        if entry.life != known.life {
            entry.life = known.life;
            entry.began = now;
            entry.open = 0;
        }
        entry.is_forsaken = false;
        self.moved(place, pin, now);
        pin
    }

    pub(super) fn served(&mut self, session: u64, before: MemberId, pin: Pin, now: Timestamp) {
        let Some((place, entry)) = self.entry(session) else { return };
        if entry.pin.member == before && before != pin.member {
            self.moved(place, pin, now);
        }
    }

    fn moved(&mut self, place: u32, pin: Pin, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        entry.pin = pin;
        entry.is_moved = true;
        entry.used = entry.used.max(now);
        self.renew(place);
        self.note(place);
    }

    /// A use of it goes on from now: in which life. None when it is not known.
    pub(super) fn opens(&mut self, session: u64) -> Option<u32> {
        let (_, entry) = self.entry(session)?;
        entry.open = entry.open.saturating_add(1);
        Some(entry.life)
    }

    /// A use of it in this life is over.
    pub(super) fn closes(&mut self, session: u64, life: u32, now: Timestamp) {
        let Some((place, entry)) = self.entry(session).filter(|(_, entry)| entry.life == life) else { return };
        entry.open = entry.open.saturating_sub(1);
        // How long it may be unused is not known here: as often as for the longest time that is told exactly.
        self.touch(place, now, TOLD_EVERY / TOLD_SHARE);
    }

    /// Ends its life, unless it is bound to another member, or is in use by others than the one who says so.
    pub(super) fn forsake(&mut self, session: u64, member: MemberId) {
        if let Some((_, entry)) = self.entry(session) {
            entry.is_forsaken |= entry.pin.member == member && entry.open <= 1;
        }
    }

    /// Whether it begins with its next use.
    pub(super) fn begins(&self, session: u64) -> bool {
        self.look(session).is_none_or(|entry| entry.is_forsaken)
    }

    pub(super) fn seen_at(&mut self, session: u64, pin: Pin) {
        if let Some((_, entry)) = self.entry(session)
            && entry.pin.member == pin.member
        {
            entry.pin.slot = pin.slot;
        }
    }

    pub(super) fn load(&mut self, stored: &StoredSession) {
        if self.places.contains_key(&stored.session) {
            return;
        }
        self.insert(Entry {
            session: stored.session,
            pin: Pin { member: stored.member, slot: Pin::ANYWHERE },
            life: stored.life,
            began: stored.began,
            used: stored.used,
            told: stored.used,
            open: 0,
            is_forsaken: false,
            is_changed: false,
            is_moved: false,
            is_stored: true,
            newer: NONE,
            older: NONE,
        });
    }

    /// Takes over what another process has made of a session. What was done here and not told yet stays when it counts more, and
    /// so does what is bound to a member that is there when theirs is not.
    pub(super) fn hear(&mut self, heard: &StoredSession, is_there: &impl Fn(MemberId) -> bool) {
        // Where nobody is remembered, a session of others would be one that is forgotten at once.
        if self.capacity == 0 {
            return;
        }
        let Some((place, entry)) = self.entry(heard.session) else { return self.load(heard) };
        let is_used_since = heard.used > entry.used;
        entry.used = entry.used.max(heard.used);
        entry.told = entry.told.max(heard.used);
        entry.is_stored = true;
        if entry.pin.member == heard.member && entry.life == heard.life {
            entry.began = entry.began.min(heard.began);
        } else {
            let is_ours = entry.is_moved && entry.stored().wins_over(heard);
            if !is_ours && (is_there(heard.member) || !is_there(entry.pin.member)) {
                entry.pin = Pin { member: heard.member, slot: Pin::ANYWHERE };
                (entry.life, entry.began, entry.is_moved) = (heard.life, heard.began, false);
                (entry.open, entry.is_forsaken) = (0, false);
            }
        }
        if is_used_since {
            self.renew(place);
        }
    }

    /// Takes an entry of another table over.
    pub(super) fn adopt(&mut self, entry: Entry) {
        let place = self.insert(Entry { open: 0, is_changed: false, newer: NONE, older: NONE, ..entry });
        if let Some(place) = place.filter(|_| entry.is_changed) {
            self.note(place);
        }
    }

    pub(super) fn unsaved(&mut self, session: u64) {
        if let Some((place, entry)) = self.entry(session) {
            // Whether it was bound or only used is not known any more.
            entry.is_moved = true;
            self.note(place);
        }
    }

    /// All are told again.
    pub(super) fn all_unsaved(&mut self) {
        for place in self.places.values().copied().collect::<Vec<_>>() {
            self.note(place);
        }
    }

    /// A store may hold a session that is not here.
    pub(super) fn forget_stored(&mut self, session: u64) {
        if !self.places.contains_key(&session) && self.forgotten.len() < 2 * self.capacity + FORGOTTEN_MIN {
            self.forgotten.insert(session);
        }
    }

    /// What is to be told as forgotten.
    pub(super) fn take_forgotten(&mut self) -> impl Iterator<Item = u64> {
        self.forgotten.drain()
    }

    /// Moves at most so many changes over; whether there are more.
    pub(super) fn changes(&mut self, most: usize, into: &mut SessionChanges) -> bool {
        for _ in 0..most {
            let Some(place) = self.changed.pop() else { return false };
            let Some(entry) = self.entries.get_mut(place as usize) else { continue };
            (entry.is_changed, entry.is_moved, entry.is_stored) = (false, false, true);
            entry.told = entry.used;
            into.sessions.push(entry.stored());
        }
        true
    }

    fn look(&self, session: u64) -> Option<&Entry> {
        self.entries.get(*self.places.get(&session)? as usize)
    }

    fn entry(&mut self, session: u64) -> Option<(u32, &mut Entry)> {
        let place = *self.places.get(&session)?;
        self.entries.get_mut(place as usize).map(|entry| (place, entry))
    }

    /// Puts an entry at the front, in the place of the longest unused one when the shard is full.
    fn insert(&mut self, mut entry: Entry) -> Option<u32> {
        if self.capacity == 0 {
            if entry.is_stored {
                self.forget_stored(entry.session);
            }
            return None;
        }
        // One that comes back before its end was told may still be in the store.
        entry.is_stored |= self.forgotten.remove(&entry.session);
        let place = if self.entries.len() < self.capacity {
            let place = u32::try_from(self.entries.len()).ok()?;
            self.entries.push(entry);
            place
        } else {
            let place = self.oldest_unused();
            self.unlink(place);
            let gone = self.entries.get_mut(place as usize)?;
            // The list of changes names places: it goes on naming this one.
            entry.is_changed = gone.is_changed;
            let gone = std::mem::replace(gone, entry);
            self.places.remove(&gone.session);
            if gone.is_stored {
                self.forget_stored(gone.session);
            }
            place
        };
        self.places.insert(entry.session, place);
        self.link(place);
        Some(place)
    }

    /// The longest unused one. Of some that are in use, the one that was used first.
    fn oldest_unused(&self) -> u32 {
        let mut at = self.oldest;
        for _ in 0..PASSED {
            match self.entries.get(at as usize) {
                Some(entry) if entry.open > 0 => at = entry.newer,
                Some(_) => return at,
                None => break,
            }
        }
        self.oldest
    }

    fn note(&mut self, place: u32) {
        if let Some(entry) = self.entries.get_mut(place as usize)
            && !std::mem::replace(&mut entry.is_changed, true)
        {
            self.changed.push(place);
        }
    }

    fn renew(&mut self, place: u32) {
        if self.newest != place {
            self.unlink(place);
            self.link(place);
        }
    }

    fn unlink(&mut self, place: u32) {
        let Some(entry) = self.entries.get(place as usize) else { return };
        let (newer, older) = (entry.newer, entry.older);
        match self.entries.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, place: u32) {
        let newest = std::mem::replace(&mut self.newest, place);
        if let Some(entry) = self.entries.get_mut(place as usize) {
            (entry.newer, entry.older) = (NONE, newest);
        }
        match self.entries.get_mut(newest as usize) {
            Some(before) => before.newer = place,
            None => self.oldest = place,
        }
    }
}
