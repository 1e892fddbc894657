//! Keys and values: the limits of the contract, and the store that the host gave.

use proxywhirl_core::kv::{KeyValues, KvError, KvWrite};
use proxywhirl_core::time::Timestamp;

use crate::bindings::shared::proxywhirl::plugin::kv;
use crate::bindings::shared::proxywhirl::plugin::kv::Error;
use crate::logbook::cut;
use crate::state::State;

/// The longest key, in bytes.
const MAX_KEY: usize = 256;
/// The longest value, in bytes.
const MAX_VALUE: usize = 262_144;
/// Keys of one answer.
const MAX_KEYS: usize = 1_000;
/// The longest text of an error, in bytes.
const MAX_ERROR: usize = 400;

/// What a call may use.
struct Desk<'a> {
    store: &'a dyn KeyValues,
    owner: &'a str,
    quota: u64,
    now: Timestamp,
}

impl State {
    fn desk(&self) -> Result<Desk<'_>, Error> {
        let owner = &*self.pass.account.name;
        let Some(quota) = self.pass.quota() else {
            self.pass.account.tell_denied("kv");
            return Err(Error::Denied);
        };
        let store = self.key_values.as_deref();
        let store = store.ok_or_else(|| Error::Unavailable("this host keeps no keys and values".to_owned()))?;
        Ok(Desk { store, owner, quota, now: (self.clock)() })
    }
}

impl Desk<'_> {
    /// A change, with `ttl` in microseconds and 0 for never.
    fn write<'v>(&self, value: &'v [u8], ttl: u64) -> Result<KvWrite<'v>, Error> {
        if value.len() > MAX_VALUE {
            return Err(Error::Size);
        }
        let expires = (ttl != 0).then(|| Timestamp::from_micros(self.now.as_micros().saturating_add(ttl)));
        Ok(KvWrite { value, expires, quota: self.quota })
    }
}

const fn check(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > MAX_KEY { Err(Error::Size) } else { Ok(()) }
}

fn failed(error: KvError) -> Error {
    match error {
        KvError::Quota(_) => Error::Quota,
        KvError::Unavailable(reason) => Error::Unavailable(cut(&reason, MAX_ERROR).to_owned()),
    }
}

impl kv::Host for State {
    fn get(&mut self, key: String) -> Result<Option<kv::Entry>, Error> {
        let desk = self.desk()?;
        check(&key)?;
        let found = desk.store.get(desk.owner, &key, desk.now).map_err(failed)?;
        Ok(found.map(|entry| kv::Entry { value: entry.value, version: entry.version }))
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl: u64) -> Result<u64, Error> {
        let desk = self.desk()?;
        check(&key)?;
        let write = desk.write(&value, ttl)?;
        desk.store.set(desk.owner, &key, &write, desk.now).map_err(failed)
    }

    fn compare_and_swap(&mut self, key: String, expected: u64, value: Vec<u8>, ttl: u64) -> Result<Option<u64>, Error> {
        let desk = self.desk()?;
        check(&key)?;
        let write = desk.write(&value, ttl)?;
        desk.store.compare_and_swap(desk.owner, &key, expected, &write, desk.now).map_err(failed)
    }

    fn delete(&mut self, key: String) -> Result<bool, Error> {
        let desk = self.desk()?;
        check(&key)?;
        desk.store.delete(desk.owner, &key, desk.now).map_err(failed)
    }

    fn keys(&mut self, prefix: String, after: String) -> Result<Vec<String>, Error> {
        let desk = self.desk()?;
        if prefix.len() > MAX_KEY || after.len() > MAX_KEY {
            return Err(Error::Size);
        }
        desk.store.keys(desk.owner, &prefix, &after, MAX_KEYS, desk.now).map_err(failed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use proxywhirl_core::kv::KvEntry;

    use super::kv::Host as _;
    use super::*;
    use crate::tests::state;

    /// What was written last, and nothing else.
    #[derive(Default)]
    struct Shelf(Mutex<BTreeMap<(String, String), Row>>);

    /// Value, end and quota.
    type Row = (Vec<u8>, Option<Timestamp>, u64);

    impl KeyValues for Shelf {
        fn get(&self, owner: &str, key: &str, _: Timestamp) -> Result<Option<KvEntry>, KvError> {
            let shelf = self.0.lock().unwrap();
            let found = shelf.get(&(owner.to_owned(), key.to_owned()));
            Ok(found.map(|(value, ..)| KvEntry { value: value.clone(), version: 1 }))
        }

        fn set(&self, owner: &str, key: &str, write: &KvWrite<'_>, _: Timestamp) -> Result<u64, KvError> {
            if write.value == b"full" {
                return Err(KvError::Quota(write.quota));
            }
            let row = (write.value.to_vec(), write.expires, write.quota);
            self.0.lock().unwrap().insert((owner.to_owned(), key.to_owned()), row);
            Ok(1)
        }

        fn compare_and_swap(
            &self,
            owner: &str,
            key: &str,
            expected: u64,
            write: &KvWrite<'_>,
            now: Timestamp,
        ) -> Result<Option<u64>, KvError> {
            if expected == 0 { self.set(owner, key, write, now).map(Some) } else { Ok(None) }
        }

        fn delete(&self, _: &str, _: &str, _: Timestamp) -> Result<bool, KvError> {
            Err(KvError::Unavailable("disk\u{7} ".repeat(500)))
        }

        fn keys(&self, _: &str, _: &str, _: &str, limit: usize, _: Timestamp) -> Result<Vec<String>, KvError> {
            Ok(vec!["k".to_owned(); limit])
        }
    }

    fn granted() -> (State, Arc<Shelf>) {
        let shelf = Arc::new(Shelf::default());
        let mut state = state(&["kv"], &["kv:5000"], &["kv"]);
        state.key_values = Some(Arc::clone(&shelf) as _);
        (state, shelf)
    }

    #[test]
    fn a_plugin_reads_what_it_wrote_under_its_own_name_within_its_quota_and_time() {
        let (mut state, shelf) = granted();
        let now = (state.clock)();
        assert_eq!(state.set("a".to_owned(), b"1".to_vec(), 5).unwrap(), 1);
        assert_eq!(state.get("a".to_owned()).unwrap().unwrap().value, b"1");
        assert_eq!(state.compare_and_swap("b".to_owned(), 0, b"2".to_vec(), 0).unwrap(), Some(1));
        assert_eq!(state.compare_and_swap("b".to_owned(), 7, b"2".to_vec(), u64::MAX).unwrap(), None);
        let rows = shelf.0.lock().unwrap();
        let row = |key: &str| rows.get(&("guest".to_owned(), key.to_owned())).expect("a row").clone();
        assert_eq!(row("a"), (b"1".to_vec(), Some(Timestamp::from_micros(now.as_micros() + 5)), 5_000));
        assert_eq!(row("b"), (b"2".to_vec(), None, 5_000));
    }

    #[test]
    fn what_the_contract_does_not_allow_never_reaches_the_store() {
        let (mut state, shelf) = granted();
        let long = "k".repeat(MAX_KEY + 1);
        assert!(matches!(state.set(String::new(), Vec::new(), 0), Err(Error::Size)));
        assert!(matches!(state.set(long.clone(), Vec::new(), 0), Err(Error::Size)));
        assert!(matches!(state.get(long.clone()), Err(Error::Size)));
        assert!(matches!(state.keys(long, String::new()), Err(Error::Size)));
        assert!(matches!(state.set("k".to_owned(), vec![0; MAX_VALUE + 1], 0), Err(Error::Size)));
        assert!(shelf.0.lock().unwrap().is_empty());
        assert!(matches!(state.set("k".to_owned(), b"full".to_vec(), 0), Err(Error::Quota)));
        assert_eq!(state.keys(String::new(), String::new()).unwrap().len(), MAX_KEYS);
        let Err(Error::Unavailable(text)) = state.delete("k".to_owned()) else { unreachable!("the store fails") };
        assert!(text.len() <= MAX_ERROR);
    }

    #[test]
    fn without_a_grant_or_a_store_nothing_is_kept() {
        assert!(matches!(state(&["kv"], &["kv"], &[]).get("a".to_owned()), Err(Error::Denied)));
        assert!(matches!(state(&["kv"], &["kv"], &["kv"]).get("a".to_owned()), Err(Error::Unavailable(_))));
    }
}
