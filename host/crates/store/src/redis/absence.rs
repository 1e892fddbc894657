//! What plugins may do while the server is away: read what was read or written before, and set keys, which are written when the
//! server is back. And what there is to bring back when it has lost everything.
//!
//! Bounded: of what is known, that which was not asked for longest is forgotten when it takes too much, and what would be too much
//! to be written later is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KvEntry, KvError, KvWrite};

use super::key_values::Held;

/// Bytes that what is known takes at the most.
const MOST_KNOWN: usize = 16 << 20;

/// Bytes that what waits to be written takes at the most.
const MOST_WAITING: usize = 4 << 20;

/// Bytes that a key takes beside its name, its owner's and its value: their places in memory, and those in a table.
const COST: usize = 192;

/// A key, and whose it is.
pub(super) type Name = (String, String);

/// What a key holds, as far as it was read or written.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Held(Held),
    /// Nothing, and the newest version of any key when it was deleted; 0 when it was found so.
    Gone(u64),
}

/// What is known, and what waits.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// In two halves: when the newer one is full, the older one is forgotten, and it becomes that.
    newer: Half,
    older: Half,
    waiting: BTreeMap<Name, Waiting>,
    waiting_bytes: usize,
    /// What the server has lost and was not brought back yet, and whether it has refused that.
    owed: BTreeMap<Name, bool>,
}

#[derive(Debug, Default)]
struct Half {
    known: HashMap<Name, Known>,
    bytes: usize,
}

/// A change that waits to be written.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) value: Vec<u8>,
    pub(super) expires: Option<Timestamp>,
    pub(super) quota: u64,
    /// Whether the server was there and refused it: then others go before.
    pub(super) is_refused: bool,
}

impl Known {
    pub(super) const fn version(&self) -> u64 {
        match self {
            Self::Held(held) => held.entry.version,
            Self::Gone(version) => *version,
        }
    }

    pub(super) const fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Gone(_) => None,
        }
    }

    /// Whether it has expired.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.held().and_then(|held| held.expires).is_some_and(|expires| expires <= now)
    }
}

impl Half {
    fn insert(&mut self, name: Name, known: Known) {
        self.remove(&name);
        self.bytes += size(&name, known.held().map_or(0, |held| held.entry.value.len()));
        self.known.insert(name, known);
    }

    fn remove(&mut self, name: &Name) {
        if let Some(known) = self.known.remove(name) {
            self.bytes -= size(name, known.held().map_or(0, |held| held.entry.value.len()));
        }
    }
}

impl Absence {
    /// Notes what a key holds.
    pub(super) fn learn(&mut self, owner: &str, key: &str, known: Known) {
        let name = (owner.to_owned(), key.to_owned());
        self.older.remove(&name);
        self.newer.insert(name, known);
        if self.newer.bytes > MOST_KNOWN / 2 {
            self.older = std::mem::take(&mut self.newer);
            if self.older.bytes > MOST_KNOWN {
                self.older = Half::default();
            }
        }
    }

    /// What a key held when it was read or written last; none when that is not known.
    pub(super) fn recall(&self, owner: &str, key: &str) -> Option<Option<Held>> {
        let name = (owner.to_owned(), key.to_owned());
        match self.waits(&name) {
            // Whatever else was forgotten.
            Some(held) => Some(Some(held)),
            None => self.known(&name).map(|known| known.held().cloned()),
        }
    }

    /// What a key will hold when it is written.
    pub(super) fn waits(&self, name: &Name) -> Option<Held> {
        let waiting = self.waiting.get(name)?;
        let entry = KvEntry { value: waiting.value.clone(), version: self.version(name) };
        Some(Held { entry, expires: waiting.expires })
    }

    /// Keeps a change for later; the version that the key has until then. None when too much waits.
    pub(super) fn put_off(&mut self, owner: &str, key: &str, write: &KvWrite<'_>) -> Result<Option<u64>, KvError> {
        if (key.len() + write.value.len()) as u64 > write.quota {
            return Err(KvError::Quota(write.quota));
        }
        let name = (owner.to_owned(), key.to_owned());
        let before = self.waiting.get(&name).map_or(0, |before| size(&name, before.value.len()));
        let bytes = size(&name, write.value.len());
        if self.waiting_bytes - before + bytes > MOST_WAITING {
            return Ok(None);
        }
        let version = self.version(&name) + 1;
        let entry = KvEntry { value: write.value.to_vec(), version };
        self.learn(owner, key, Known::Held(Held { entry, expires: write.expires }));
        self.waiting_bytes = self.waiting_bytes - before + bytes;
        let KvWrite { expires, quota, .. } = *write;
        self.waiting.insert(name, Waiting { value: write.value.to_vec(), expires, quota, is_refused: false });
        Ok(Some(version))
    }

    /// Those that wait, and were refused or not.
    pub(super) fn names(&self, is_refused: bool) -> Vec<Name> {
        let waiting = self.waiting.iter().filter(|(_, waiting)| waiting.is_refused == is_refused);
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// One that waits was refused.
    pub(super) fn refuse(&mut self, name: &Name) {
        if let Some(waiting) = self.waiting.get_mut(name) {
            waiting.is_refused = true;
        }
    }

    /// The change of a key that waits.
    pub(super) fn waiting(&self, name: &Name) -> Option<Waiting> {
        self.waiting.get(name).cloned()
    }

    /// It waits no more.
    pub(super) fn done(&mut self, name: &Name) {
        if let Some(waiting) = self.waiting.remove(name) {
            self.waiting_bytes -= size(name, waiting.value.len());
        }
    }

    /// Notes that nothing was found. Who has heard that a key was deleted knows it still.
    pub(super) fn learn_nothing(&mut self, owner: &str, key: &str) {
        let deleted = match self.known(&(owner.to_owned(), key.to_owned())) {
            Some(Known::Gone(version)) => *version,
            Some(Known::Held(_)) | None => 0,
        };
        self.learn(owner, key, Known::Gone(deleted));
    }

    /// What a key holds is not known any more.
    pub(super) fn forget(&mut self, name: &Name) {
        self.newer.remove(name);
        self.older.remove(name);
    }

    /// The server has lost everything that is known to have been there, or to have been deleted.
    pub(super) fn owe_all(&mut self) {
        let known = self.older.known.iter().chain(&self.newer.known);
        self.owed = known.filter(|(_, known)| known.version() > 0).map(|(name, _)| (name.clone(), false)).collect();
    }

    /// The names of what is to be brought back by owner, of what was refused or of what was not.
    pub(super) fn owed(&self, is_refused: bool) -> BTreeMap<String, Vec<Name>> {
        let mut owed: BTreeMap<String, Vec<Name>> = BTreeMap::new();
        for (name, _) in self.owed.iter().filter(|(_, refused)| **refused == is_refused) {
            owed.entry(name.0.clone()).or_default().push(name.clone());
        }
        owed
    }

    pub(super) fn is_owed(&self, name: &Name) -> bool {
        self.owed.contains_key(name)
    }

    /// It was brought back, or need not be any more.
    pub(super) fn paid(&mut self, name: &Name) {
        self.owed.remove(name);
    }

    /// The server has refused to take it back.
    pub(super) fn refuse_back(&mut self, name: &Name) {
        if let Some(is_refused) = self.owed.get_mut(name) {
            *is_refused = true;
        }
    }

    /// Keys of an owner that the server does not list: those that wait, and those that it has lost.
    pub(super) fn unlisted(&self, owner: &str, now: Timestamp) -> BTreeSet<String> {
        let waits = |waiting: &Waiting| waiting.expires.is_none_or(|expires| expires > now);
        let waiting = self.waiting.iter().filter(|(_, waiting)| waits(waiting)).map(|(name, _)| name);
        let is_held = |name: &Name| self.known(name).is_some_and(|known| known.held().is_some() && !known.is_over(now));
        let owed = self.owed.keys().filter(|name| is_held(name));
        waiting.chain(owed).filter(|name| name.0 == owner).map(|name| name.1.clone()).collect()
    }

    /// Whether nothing is known and nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.newer.known.is_empty() && self.older.known.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn known(&self, name: &Name) -> Option<&Known> {
        self.newer.known.get(name).or_else(|| self.older.known.get(name))
    }

    fn version(&self, name: &Name) -> u64 {
        self.known(name).map_or(0, Known::version)
    }
}

const fn size((owner, key): &Name, value: usize) -> usize {
    COST + owner.len() + key.len() + value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn held(bytes: usize, version: u64) -> Known {
        Known::Held(Held { entry: KvEntry { value: vec![0; bytes], version }, expires: None })
    }

    #[test]
    fn many_small_keys_are_bounded_as_few_large_ones_are_and_those_asked_for_stay() {
        for bytes in [0, 1_000, 1 << 20] {
            let mut absence = Absence::default();
            absence.learn("p", "asked for", held(1, 1));
            for number in 0..100_000 {
                absence.learn("p", &format!("{number}"), held(bytes, 1));
                if number % 5 == 0 {
                    let known = absence.known(&("p".to_owned(), "asked for".to_owned())).unwrap().clone();
                    absence.learn("p", "asked for", known);
                }
                assert!(absence.newer.bytes + absence.older.bytes <= MOST_KNOWN + bytes + COST * 2);
                if number > 100 && bytes == 1 << 20 {
                    break;
                }
            }
            let count = absence.newer.known.len() + absence.older.known.len();
            assert!(count * (COST + bytes) <= MOST_KNOWN + bytes, "{count} of {bytes}");
            assert!(absence.recall("p", "asked for").is_some(), "{bytes}");
        }
        let mut absence = Absence::default();
        absence.learn("p", "too large", held(MOST_KNOWN + 1, 1));
        assert!(absence.recall("p", "too large").is_none());
    }

    #[test]
    fn many_small_writes_do_not_wait_beyond_the_bound() {
        let mut absence = Absence::default();
        let write = KvWrite { value: b"", expires: None, quota: 1_000 };
        let waiting =
            (0..100_000).take_while(|number| absence.put_off("p", &format!("{number}"), &write).unwrap().is_some());
        assert!((1_000..MOST_WAITING / COST).contains(&waiting.count()));
    }
}
