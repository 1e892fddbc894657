//! What plugins may do while the server is away: read what was read or written before, and set keys, which are written when the
//! server is back.
//!
//! Bounded: what is known is forgotten when it takes too much, and what would be too much to be written later is refused.

use std::collections::{BTreeMap, HashMap};

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KvEntry, KvError, KvWrite};

use super::key_values::Held;

/// Bytes of keys and values that are known at the most.
const MOST_KNOWN: usize = 16 << 20;

/// Bytes of keys and values that wait to be written at the most.
const MOST_WAITING: usize = 4 << 20;

/// A key, and whose it is.
pub(super) type Name = (String, String);

/// What is known, and what waits.
#[derive(Debug, Default)]
pub(super) struct Absence {
    /// What keys hold, as far as they were read or written; none for nothing.
    known: HashMap<Name, Option<Held>>,
    known_bytes: usize,
    waiting: BTreeMap<Name, Waiting>,
    waiting_bytes: usize,
}

/// A change that waits to be written.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) value: Vec<u8>,
    pub(super) expires: Option<Timestamp>,
    pub(super) quota: u64,
}

impl Absence {
    /// Notes what a key holds.
    pub(super) fn learn(&mut self, owner: &str, key: &str, held: Option<Held>) {
        let bytes = size(key, held.as_ref().map_or(0, |held| held.entry.value.len()));
        if self.known_bytes + bytes > MOST_KNOWN {
            self.known.clear();
            self.known_bytes = 0;
        }
        self.known_bytes += bytes;
        let name = (owner.to_owned(), key.to_owned());
        if let Some(before) = self.known.insert(name, held) {
            self.known_bytes -= size(key, before.map_or(0, |held| held.entry.value.len()));
        }
    }

    /// What a key held when it was read or written last; none when that is not known.
    pub(super) fn recall(&self, owner: &str, key: &str) -> Option<Option<Held>> {
        let name = (owner.to_owned(), key.to_owned());
        match self.waiting.get(&name) {
            // Whatever else was forgotten.
            Some(waiting) => {
                let version = self.version(&name);
                let entry = KvEntry { value: waiting.value.clone(), version };
                Some(Some(Held { entry, expires: waiting.expires }))
            }
            None => self.known.get(&name).cloned(),
        }
    }

    /// Keeps a change for later; the version that the key has until then. None when too much waits.
    pub(super) fn put_off(&mut self, owner: &str, key: &str, write: &KvWrite<'_>) -> Result<Option<u64>, KvError> {
        let bytes = size(key, write.value.len());
        if bytes as u64 > write.quota {
            return Err(KvError::Quota(write.quota));
        }
        let name = (owner.to_owned(), key.to_owned());
        let before = self.waiting.get(&name).map_or(0, |before| size(key, before.value.len()));
        if self.waiting_bytes - before + bytes > MOST_WAITING {
            return Ok(None);
        }
        let version = self.version(&name) + 1;
        let entry = KvEntry { value: write.value.to_vec(), version };
        self.learn(owner, key, Some(Held { entry, expires: write.expires }));
        self.waiting_bytes = self.waiting_bytes - before + bytes;
        let waiting = Waiting { value: write.value.to_vec(), expires: write.expires, quota: write.quota };
        self.waiting.insert(name, waiting);
        Ok(Some(version))
    }

    /// A change that waits.
    pub(super) fn next(&self) -> Option<(Name, Waiting)> {
        self.waiting.first_key_value().map(|(name, waiting)| (name.clone(), waiting.clone()))
    }

    /// It waits no more.
    pub(super) fn done(&mut self, name: &Name) {
        if let Some(waiting) = self.waiting.remove(name) {
            self.waiting_bytes -= size(&name.1, waiting.value.len());
        }
    }

    fn version(&self, name: &Name) -> u64 {
        self.known.get(name).and_then(Option::as_ref).map_or(0, |held| held.entry.version)
    }
}

const fn size(key: &str, value: usize) -> usize {
    key.len() + value
}
