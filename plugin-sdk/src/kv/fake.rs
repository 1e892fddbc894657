//! The store of a thread, for tests. Only off WebAssembly.

use super::{Entry, Error, MAX_KEY, MAX_VALUE};
use crate::clock;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a plugin gets that asks for no other.
const QUOTA: usize = 1_048_576;

/// Keys in one answer.
const MAX_KEYS: usize = 1000;

#[derive(Debug, Default)]
struct Store {
    cells: BTreeMap<String, Cell>,
    quota: Option<usize>,
    fault: Option<Error>,
}

#[derive(Debug, Default)]
struct Cell {
    /// None when it was deleted; the version goes on.
    value: Option<Vec<u8>>,
    version: u64,
    /// In microseconds since the Unix epoch; 0 for never.
    expires: u64,
}

impl Cell {
    fn held(&self) -> Option<&Vec<u8>> {
        self.value.as_ref().filter(|_| self.expires == 0 || clock::now() < self.expires)
    }
}

impl Store {
    fn used(&self) -> usize {
        self.cells.iter().filter_map(|(key, cell)| cell.held().map(|value| key.len() + value.len())).sum()
    }

    fn write(&mut self, key: &str, value: &[u8], ttl: u64) -> Result<u64, Error> {
        let before = self.cells.get(key).and_then(Cell::held).map_or(0, |value| key.len() + value.len());
        if self.used() - before + key.len() + value.len() > self.quota.unwrap_or(QUOTA) {
            return Err(Error::Quota);
        }
        let cell = self.cells.entry(key.to_owned()).or_default();
        cell.value = Some(value.to_vec());
        cell.version += 1;
        cell.expires = if ttl == 0 { 0 } else { clock::now().saturating_add(ttl) };
        Ok(cell.version)
    }
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

/// Empties this thread's store, with the usual quota and without a fault.
pub fn reset() {
    STORE.take();
}

/// Bounds keys and values together, in bytes.
pub fn set_quota(bytes: usize) {
    STORE.with_borrow_mut(|store| store.quota = Some(bytes));
}

/// From now on every call fails so; none for no longer.
pub fn fail_with(fault: Option<Error>) {
    STORE.with_borrow_mut(|store| store.fault = fault);
}

/// Bytes that keys and values take.
#[must_use]
pub fn used() -> usize {
    STORE.with_borrow(Store::used)
}

/// Calls with the store, unless it is broken or a size is wrong.
fn with<R>(key: &str, value: &[u8], call: impl FnOnce(&mut Store) -> Result<R, Error>) -> Result<R, Error> {
    STORE.with_borrow_mut(|store| match &store.fault {
        Some(fault) => Err(fault.clone()),
        None if key.is_empty() || key.len() > MAX_KEY || value.len() > MAX_VALUE => Err(Error::Size),
        None => call(store),
    })
}

pub(super) fn get(key: &str) -> Result<Option<Entry>, Error> {
    with(key, &[], |store| {
        let cell = store.cells.get(key);
        let held = cell.and_then(|cell| cell.held().map(|value| (value, cell.version)));
        Ok(held.map(|(value, version)| Entry { value: value.clone(), version }))
    })
}

pub(super) fn set(key: &str, value: &[u8], ttl: u64) -> Result<u64, Error> {
    with(key, value, |store| store.write(key, value, ttl))
}

pub(super) fn compare_and_swap(key: &str, expected: u64, value: &[u8], ttl: u64) -> Result<Option<u64>, Error> {
    with(key, value, |store| {
        let held = store.cells.get(key).filter(|cell| cell.held().is_some());
        if held.map_or(0, |cell| cell.version) != expected {
            return Ok(None);
        }
        store.write(key, value, ttl).map(Some)
    })
}

pub(super) fn delete(key: &str) -> Result<bool, Error> {
    with(key, &[], |store| {
        let Some(cell) = store.cells.get_mut(key).filter(|cell| cell.held().is_some()) else {
            return Ok(false);
        };
        cell.value = None;
        cell.version += 1;
        Ok(true)
    })
}

pub(super) fn keys(prefix: &str, after: &str) -> Result<Vec<String>, Error> {
    // Any key does for the check: a prefix may be empty.
    with("keys", &[], |store| {
        let held = store.cells.iter().filter(|(_, cell)| cell.held().is_some()).map(|(key, _)| key);
        let wanted = held.filter(|key| key.starts_with(prefix) && key.as_str() > after);
        Ok(wanted.take(MAX_KEYS).cloned().collect())
    })
}
