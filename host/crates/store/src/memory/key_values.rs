//! Keys and values that are forgotten when they are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyArchive, KeyRecord, KeyValues, KvEntry, KvError, KvWrite};

/// Keys and values in memory.
#[derive(Debug, Default)]
pub struct MemoryKeyValues {
    /// By the owner's name. Held for as long as a value takes to be copied.
    owners: Mutex<BTreeMap<String, Owner>>,
}

#[derive(Debug, Default)]
struct Owner {
    keys: BTreeMap<String, Held>,
    /// Keys that expire, by when they do.
    expiries: BTreeSet<(Timestamp, String)>,
    /// The newest version of any key, those that are gone included.
    version: u64,
    /// Bytes of keys and values together.
    bytes: u64,
}

#[derive(Debug)]
struct Held {
    value: Vec<u8>,
    version: u64,
    expires: Option<Timestamp>,
}

impl MemoryKeyValues {
    /// Without any key.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.owners().values().map(|owner| owner.keys.len() + 1).sum()
    }

    /// What one key holds; without a key, the owner's newest version.
    pub(crate) fn record(&self, owner: &str, key: Option<&str>) -> Option<KeyRecord> {
        self.owners().get(owner).map(|held| held.record(owner, key))
    }

    fn owners(&self) -> MutexGuard<'_, BTreeMap<String, Owner>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    /// Drops what has expired.
    fn expire(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.expiries.first()
            && *at <= now
        {
            let Some((_, key)) = self.expiries.pop_first() else { return };
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(held) = self.keys.remove(key) else { return false };
        self.bytes -= size(key, &held.value);
        if let Some(expires) = held.expires {
            self.expiries.remove(&(expires, key.to_owned()));
        }
        true
    }

    fn set(&mut self, key: &str, write: &KvWrite<'_>) -> Result<u64, KvError> {
        let before = self.keys.get(key).map_or(0, |held| size(key, &held.value));
        if self.bytes - before + size(key, write.value) > write.quota {
            return Err(KvError::Quota(write.quota));
        }
        self.remove(key);
        self.version += 1;
        self.hold(key, Held { value: write.value.to_vec(), version: self.version, expires: write.expires });
        Ok(self.version)
    }

    /// Holds a key that holds nothing.
    fn hold(&mut self, key: &str, held: Held) {
        self.bytes += size(key, &held.value);
        if let Some(expires) = held.expires {
            self.expiries.insert((expires, key.to_owned()));
        }
        self.keys.insert(key.to_owned(), held);
    }

    fn record(&self, owner: &str, key: Option<&str>) -> KeyRecord {
        let held = key.and_then(|key| self.keys.get(key));
        KeyRecord {
            owner: owner.to_owned(),
            version: held.map_or(self.version, |held| held.version),
            key: key.map(str::to_owned),
            value: held.map(|held| held.value.clone()),
            expires: held.and_then(|held| held.expires),
        }
    }
}

fn size(key: &str, value: &[u8]) -> u64 {
    key.len() as u64 + value.len() as u64
}

impl KeyValues for MemoryKeyValues {
    fn get(&self, owner: &str, key: &str, now: Timestamp) -> Result<Option<KvEntry>, KvError> {
        let mut owners = self.owners();
        let Some(owner) = owners.get_mut(owner) else { return Ok(None) };
        owner.expire(now);
        Ok(owner.keys.get(key).map(|held| KvEntry { value: held.value.clone(), version: held.version }))
    }

    fn set(&self, owner: &str, key: &str, write: &KvWrite<'_>, now: Timestamp) -> Result<u64, KvError> {
        let mut owners = self.owners();
        let owner = owners.entry(owner.to_owned()).or_default();
        owner.expire(now);
        owner.set(key, write)
    }

    fn compare_and_swap(
        &self,
        owner: &str,
        key: &str,
        expected: u64,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, KvError> {
        let mut owners = self.owners();
        let owner = owners.entry(owner.to_owned()).or_default();
        owner.expire(now);
        if owner.keys.get(key).map_or(0, |held| held.version) != expected {
            return Ok(None);
        }
        owner.set(key, write).map(Some)
    }

    fn delete(&self, owner: &str, key: &str, now: Timestamp) -> Result<bool, KvError> {
        let mut owners = self.owners();
        let Some(owner) = owners.get_mut(owner) else { return Ok(false) };
        owner.expire(now);
        Ok(owner.remove(key))
    }

    fn keys(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<String>, KvError> {
        let mut owners = self.owners();
        let Some(owner) = owners.get_mut(owner) else { return Ok(Vec::new()) };
        owner.expire(now);
        let from =
            owner.keys.range::<str, _>((Bound::Included(prefix.max(after)), Bound::Unbounded)).map(|(key, _)| key);
        let keys = from.skip_while(|key| key.as_str() <= after && !after.is_empty());
        Ok(keys.take_while(|key| key.starts_with(prefix)).take(limit).cloned().collect())
    }
}

impl KeyArchive for MemoryKeyValues {
    fn records(&self) -> Result<Vec<KeyRecord>, KvError> {
        let owners = self.owners();
        let mut records = Vec::new();
        for (name, owner) in &*owners {
            records.push(owner.record(name, None));
            records.extend(owner.keys.keys().map(|key| owner.record(name, Some(key))));
        }
        Ok(records)
    }

    fn restore(&self, record: &KeyRecord) -> Result<(), KvError> {
        let mut owners = self.owners();
        let owner = owners.entry(record.owner.clone()).or_default();
        owner.version = owner.version.max(record.version);
        let Some(key) = &record.key else { return Ok(()) };
        owner.remove(key);
        if let Some(value) = &record.value {
            owner.hold(key, Held { value: value.clone(), version: record.version, expires: record.expires });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_key_values_must_keep() {
        crate::conformance::key_values::suite(&mut || Box::new(MemoryKeyValues::new()));
    }
}
