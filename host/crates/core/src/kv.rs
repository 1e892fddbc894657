//! Keys and values that plugins keep: each plugin its own, over restarts.

use crate::time::Timestamp;

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// As it was set.
    pub value: Vec<u8>,
    /// Grows with every change of the key, over its deletion and expiry too; never 0.
    pub version: u64,
}

/// A change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvWrite<'a> {
    /// What the key shall hold.
    pub value: &'a [u8],
    /// When it expires; none for never.
    pub expires: Option<Timestamp>,
    /// Bytes that keys and values of the owner may take together, this change included.
    pub quota: u64,
}

/// Why nothing was read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// Keys and values of the owner would exceed their quota.
    #[error("keys and values would exceed the quota of {0} bytes")]
    Quota(u64),
    /// The store cannot be read or written.
    #[error("{0}")]
    Unavailable(String),
}

/// A key as it is copied from one store to another: what it holds, or that it holds nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Whose it is.
    pub owner: String,
    /// The version of the key, or the newest of the owner's when there is no key.
    pub version: u64,
    /// The key; none to say the owner's newest version alone.
    pub key: Option<String>,
    /// What it holds.
    pub value: Option<Vec<u8>>,
    /// When it expires; none for never.
    pub expires: Option<Timestamp>,
}

/// Keeps keys and values, by owner. An owner is a plugin's name. Calls may block for some milliseconds.
///
/// What has expired is as good as deleted, and counts for no quota.
pub trait KeyValues: Send + Sync {
    /// What a key holds, if it holds something at that time.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, owner: &str, key: &str, now: Timestamp) -> Result<Option<KvEntry>, KvError>;

    /// Sets a key; its new version.
    ///
    /// # Errors
    /// When the quota would be exceeded, or the store cannot be written.
    fn set(&self, owner: &str, key: &str, write: &KvWrite<'_>, now: Timestamp) -> Result<u64, KvError>;

    /// Sets a key if its version is still the expected one, 0 for a key that holds nothing; its new version, or none.
    ///
    /// # Errors
    /// When the quota would be exceeded, or the store cannot be written.
    fn compare_and_swap(
        &self,
        owner: &str,
        key: &str,
        expected: u64,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, KvError>;

    /// Deletes a key; whether it held something.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn delete(&self, owner: &str, key: &str, now: Timestamp) -> Result<bool, KvError>;

    /// The keys that begin with `prefix` and come after `after`, in the order of their bytes, `limit` at the most.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn keys(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<String>, KvError>;
    /// Writes what is held back, if it is: changes may wait for the next save of the pool.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is forgotten then.
    fn sync(&self) -> Result<(), KvError> {
        Ok(())
    }
}

/// Keys and values that can be copied from one store to another.
pub trait KeyArchive: KeyValues {
    /// Everything that is held: each owner's newest version, then its keys.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn records(&self) -> Result<Vec<KeyRecord>, KvError>;

    /// Takes a record of another store, with its version and whatever the quota.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn restore(&self, record: &KeyRecord) -> Result<(), KvError>;
}
