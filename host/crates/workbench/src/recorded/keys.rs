//! Keys and values for the length of one test.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proxywhirl_core::kv::{KeyValues, KvEntry, KvError, KvWrite};
use proxywhirl_core::time::Timestamp;

/// The keys of all owners. Written by hand because the stores that the gateway uses are no business of this crate, and
/// a test wants to look at everything at its end.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Held for one call of a plugin.
    table: Mutex<BTreeMap<(String, String), Slot>>,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    value: Option<Vec<u8>>,
    version: u64,
    expires: Option<Timestamp>,
}

impl Slot {
    fn live(&self, now: Timestamp) -> Option<&Vec<u8>> {
        self.value.as_ref().filter(|_| self.expires.is_none_or(|expires| expires > now))
    }
}

type Table = BTreeMap<(String, String), Slot>;

impl Keys {
    /// What an owner has, as text.
    pub(super) fn texts(&self, owner: &str) -> BTreeMap<String, String> {
        let table = self.table();
        let own = table.iter().filter(|((it, _), slot)| it == owner && slot.value.is_some());
        own.map(|((_, key), slot)| {
            (key.clone(), String::from_utf8_lossy(slot.value.as_deref().unwrap_or_default()).into_owned())
        })
        .collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(table: &mut Table, owner: &str, key: &str, write: &KvWrite<'_>, now: Timestamp) -> Result<u64, KvError> {
    let others = table.iter().filter(|((it, other), slot)| it == owner && other != key && slot.live(now).is_some());
    let taken: usize = others.map(|((_, key), slot)| key.len() + slot.value.as_ref().map_or(0, Vec::len)).sum();
    if (taken + key.len() + write.value.len()) as u64 > write.quota {
        return Err(KvError::Quota(write.quota));
    }
    let slot = table.entry((owner.to_owned(), key.to_owned())).or_default();
    slot.version += 1;
    slot.value = Some(write.value.to_vec());
    slot.expires = write.expires;
    Ok(slot.version)
}

impl KeyValues for Keys {
    fn get(&self, owner: &str, key: &str, now: Timestamp) -> Result<Option<KvEntry>, KvError> {
        let table = self.table();
        let slot = table.get(&(owner.to_owned(), key.to_owned()));
        Ok(slot.and_then(|slot| Some(KvEntry { value: slot.live(now)?.clone(), version: slot.version })))
    }

    fn set(&self, owner: &str, key: &str, wanted: &KvWrite<'_>, now: Timestamp) -> Result<u64, KvError> {
        write(&mut self.table(), owner, key, wanted, now)
    }

    fn compare_and_swap(
        &self,
        owner: &str,
        key: &str,
        expected: u64,
        wanted: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, KvError> {
        let mut table = self.table();
        let slot = table.get(&(owner.to_owned(), key.to_owned()));
        let version = slot.filter(|slot| slot.live(now).is_some()).map_or(0, |slot| slot.version);
        if version == expected { write(&mut table, owner, key, wanted, now).map(Some) } else { Ok(None) }
    }

    fn delete(&self, owner: &str, key: &str, now: Timestamp) -> Result<bool, KvError> {
        let mut table = self.table();
        let Some(slot) = table.get_mut(&(owner.to_owned(), key.to_owned())) else { return Ok(false) };
        let held = slot.live(now).is_some();
        slot.value = None;
        slot.version += u64::from(held);
        Ok(held)
    }

    fn keys(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<String>, KvError> {
        let table = self.table();
        let own = table.iter().filter(|((it, _), slot)| it == owner && slot.live(now).is_some());
        let keys = own.map(|((_, key), _)| key).filter(|key| key.starts_with(prefix) && key.as_str() > after);
        Ok(keys.take(limit).cloned().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_quota_and_expiry_are_as_the_contract_says() {
        let keys = Keys::default();
        let now = Timestamp::from_micros(10);
        let wanted = |value| KvWrite { value, expires: None, quota: 10 };
        assert_eq!(keys.set("p", "a", &wanted(b"12345"), now), Ok(1));
        assert_eq!(keys.set("p", "b", &wanted(b"1234"), now), Err(KvError::Quota(10)));
        assert_eq!(keys.set("q", "b", &wanted(b"1234"), now), Ok(1), "each owner has a quota of its own");
        assert_eq!(keys.compare_and_swap("p", "a", 0, &wanted(b""), now), Ok(None));
        assert_eq!(keys.compare_and_swap("p", "a", 1, &wanted(b"x"), now), Ok(Some(2)));
        assert_eq!(keys.delete("p", "a", now), Ok(true));
        assert_eq!(keys.delete("p", "a", now), Ok(false));
        assert!(keys.set("p", "a", &wanted(b"y"), now).unwrap() > 2);
        let brief = KvWrite { expires: Some(Timestamp::from_micros(11)), ..wanted(b"z") };
        keys.set("p", "c", &brief, now).unwrap();
        assert_eq!(keys.keys("p", "", "a", 10, now), Ok(vec!["c".to_owned()]));
        assert_eq!(keys.get("p", "c", Timestamp::from_micros(11)), Ok(None));
    }
}
