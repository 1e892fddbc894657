//! Keys and values of plugins, in the file of the pool.
//!
//! A connection of its own, so that a plugin's write waits for a save of the pool at the most, and never the other way
//! round for longer than one small transaction. Each change is one transaction: a crash leaves it done or not done.
//!
//! Invariants: `plugin_owners.bytes` is the sum over the owner's keys; versions of an owner never go back.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyArchive, KeyRecord, KeyValues, KvEntry, KvError, KvWrite};
use proxywhirl_core::store::StoreError;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::row::{integer, natural};
use super::{BUSY_TIMEOUT, connect, explain, see_that_it_is_there};
use crate::file::Access;
use crate::file::disk::{self, FileId};

/// Keys and values in an SQLite file.
#[derive(Debug)]
pub struct SqliteKeyValues {
    /// Held for one transaction.
    connection: Mutex<Connection>,
    path: PathBuf,
    /// Which file it was when it was opened, where files can be told apart.
    file: Option<FileId>,
    busy_timeout: Duration,
}

impl SqliteKeyValues {
    /// Opens the file, as [`Sqlite::open`](super::Sqlite::open) does; it may be open there too.
    ///
    /// # Errors
    /// The same as there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_for(path.as_ref(), BUSY_TIMEOUT, Access::Write)
    }

    /// The same for who only reads.
    ///
    /// # Errors
    /// The same as there.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_for(path.as_ref(), BUSY_TIMEOUT, Access::Read)
    }

    pub(super) fn open_for(path: &Path, busy_timeout: Duration, access: Access) -> Result<Self, StoreError> {
        let connection = Mutex::new(connect(path, busy_timeout, access)?);
        Ok(Self { connection, file: disk::id(path), path: path.to_owned(), busy_timeout })
    }

    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unavailable(&self, error: &rusqlite::Error) -> KvError {
        KvError::Unavailable(explain(&self.path, self.busy_timeout, error).to_string())
    }

    /// Does a change in a transaction that is committed when it says that it did something.
    fn write<T>(&self, change: impl FnOnce(&Change<'_>) -> Result<Option<T>, Refusal>) -> Result<Option<T>, KvError> {
        see_that_it_is_there(&self.path, self.file).map_err(|error| KvError::Unavailable(error.to_string()))?;
        let mut connection = self.connection();
        let transacted = || {
            // Immediate: what is read for a decision is still true when it is written.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = change(&Change(&transaction))?;
            if done.is_some() {
                transaction.commit()?;
            }
            Ok(done)
        };
        transacted().map_err(|refusal| match refusal {
            Refusal::Quota(quota) => KvError::Quota(quota),
            Refusal::Sqlite(error) => self.unavailable(&error),
        })
    }
}

/// Why a change was not made.
enum Refusal {
    Quota(u64),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A transaction that changes an owner's keys.
struct Change<'a>(&'a Transaction<'a>);

impl Change<'_> {
    /// The owner's newest version and its bytes, without what has expired.
    fn owner(&self, owner: &str, now: Timestamp) -> rusqlite::Result<(u64, u64)> {
        let mut purge = self.0.prepare_cached(
            "DELETE FROM plugin_keys WHERE owner = ?1 AND expires <= ?2 RETURNING octet_length(key) + octet_length(value)",
        )?;
        let sizes = purge.query_map(params![owner, integer(now.as_micros())], |row| natural(row, 0))?;
        let expired = sizes.sum::<rusqlite::Result<u64>>()?;
        let known = self
            .0
            .prepare_cached("SELECT version, bytes FROM plugin_owners WHERE owner = ?1")?
            .query_row([owner], |row| Ok((natural(row, 0)?, natural(row, 1)?)))
            .optional()?;
        let (version, bytes) = known.unwrap_or_default();
        Ok((version, bytes.saturating_sub(expired)))
    }

    /// Version and bytes of a key, 0 when it holds nothing. To be asked after [`Change::owner`].
    fn key(&self, owner: &str, key: &str) -> rusqlite::Result<(u64, u64)> {
        let held = self
            .0
            .prepare_cached(
                "SELECT version, octet_length(key) + octet_length(value) FROM plugin_keys WHERE owner = ?1 AND key = ?2",
            )?
            .query_row([owner, key], |row| Ok((natural(row, 0)?, natural(row, 1)?)))
            .optional()?;
        Ok(held.unwrap_or_default())
    }

    fn set_owner(&self, owner: &str, version: u64, bytes: u64) -> rusqlite::Result<()> {
        let mut upsert = self.0.prepare_cached(
            "INSERT INTO plugin_owners (owner, version, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (owner) DO UPDATE SET version = excluded.version, bytes = excluded.bytes",
        )?;
        upsert.execute(params![owner, integer(version), integer(bytes)]).map(drop)
    }

    /// Sets a key whose version is the expected one, if one is expected.
    fn set(
        &self,
        (owner, key): (&str, &str),
        expected: Option<u64>,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, Refusal> {
        let (newest, bytes) = self.owner(owner, now)?;
        let (version, before) = self.key(owner, key)?;
        if expected.is_some_and(|expected| expected != version) {
            return Ok(None);
        }
        let bytes = bytes.saturating_sub(before) + key.len() as u64 + write.value.len() as u64;
        if bytes > write.quota {
            return Err(Refusal::Quota(write.quota));
        }
        let version = newest + 1;
        let mut upsert = self.0.prepare_cached(
            "INSERT INTO plugin_keys (owner, key, value, version, expires) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (owner, key) DO UPDATE SET
                 value = excluded.value, version = excluded.version, expires = excluded.expires",
        )?;
        let expires = write.expires.map(|expires| integer(expires.as_micros()));
        upsert.execute(params![owner, key, write.value, integer(version), expires])?;
        self.set_owner(owner, version, bytes)?;
        Ok(Some(version))
    }
}

impl KeyValues for SqliteKeyValues {
    fn get(&self, owner: &str, key: &str, now: Timestamp) -> Result<Option<KvEntry>, KvError> {
        let connection = self.connection();
        let read = || {
            connection
                .prepare_cached(
                    "SELECT value, version FROM plugin_keys
                     WHERE owner = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)",
                )?
                .query_row(params![owner, key, integer(now.as_micros())], |row| {
                    Ok(KvEntry { value: row.get(0)?, version: natural(row, 1)? })
                })
                .optional()
        };
        read().map_err(|error| self.unavailable(&error))
    }

    fn set(&self, owner: &str, key: &str, write: &KvWrite<'_>, now: Timestamp) -> Result<u64, KvError> {
        // Without an expected version there is nothing that can differ.
        self.write(|change| change.set((owner, key), None, write, now)).map(Option::unwrap_or_default)
    }

    fn compare_and_swap(
        &self,
        owner: &str,
        key: &str,
        expected: u64,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, KvError> {
        self.write(|change| change.set((owner, key), Some(expected), write, now))
    }

    fn delete(&self, owner: &str, key: &str, now: Timestamp) -> Result<bool, KvError> {
        let deleted = self.write(|change| {
            let (version, bytes) = change.owner(owner, now)?;
            let (held, before) = change.key(owner, key)?;
            if held == 0 {
                return Ok(None);
            }
            let mut delete = change.0.prepare_cached("DELETE FROM plugin_keys WHERE owner = ?1 AND key = ?2")?;
            delete.execute([owner, key])?;
            change.set_owner(owner, version, bytes.saturating_sub(before))?;
            Ok(Some(()))
        })?;
        Ok(deleted.is_some())
    }

    fn keys(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<String>, KvError> {
        let connection = self.connection();
        let read = || {
            let mut select = connection.prepare_cached(
                "SELECT key FROM plugin_keys
                 WHERE owner = ?1 AND key >= ?2 AND key > ?3 AND (expires IS NULL OR expires > ?4) ORDER BY key",
            )?;
            let mut rows = select.query(params![owner, prefix, after, integer(now.as_micros())])?;
            let mut keys = Vec::new();
            while keys.len() < limit
                && let Some(row) = rows.next()?
            {
                let key: String = row.get(0)?;
                // Keys are ordered by their bytes: the first that does not begin with it ends those that do.
                if !key.starts_with(prefix) {
                    break;
                }
                keys.push(key);
            }
            Ok(keys)
        };
        read().map_err(|error: rusqlite::Error| self.unavailable(&error))
    }
}

impl KeyArchive for SqliteKeyValues {
    fn records(&self) -> Result<Vec<KeyRecord>, KvError> {
        let connection = self.connection();
        let read = || {
            // Of equal owners, the one without a key comes first.
            let mut select = connection.prepare_cached(
                "SELECT owner, version, NULL AS key, NULL, NULL FROM plugin_owners
                 UNION ALL SELECT owner, version, key, value, expires FROM plugin_keys ORDER BY owner, key",
            )?;
            let records = select.query_map([], |row| {
                let expires: Option<i64> = row.get(4)?;
                Ok(KeyRecord {
                    owner: row.get(0)?,
                    version: natural(row, 1)?,
                    key: row.get(2)?,
                    value: row.get(3)?,
                    expires: expires.map(|micros| Timestamp::from_micros(u64::try_from(micros).unwrap_or(0))),
                })
            })?;
            records.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.unavailable(&error))
    }

    fn restore(&self, record: &KeyRecord) -> Result<(), KvError> {
        self.write(|change| {
            // Nothing expires while it is copied.
            let (newest, bytes) = change.owner(&record.owner, Timestamp::default())?;
            let newest = newest.max(record.version);
            let Some(key) = &record.key else {
                change.set_owner(&record.owner, newest, bytes)?;
                return Ok(Some(()));
            };
            let bytes = bytes.saturating_sub(change.key(&record.owner, key)?.1);
            change.0.execute("DELETE FROM plugin_keys WHERE owner = ?1 AND key = ?2", [&record.owner, key])?;
            let Some(value) = &record.value else {
                change.set_owner(&record.owner, newest, bytes)?;
                return Ok(Some(()));
            };
            change.set_owner(&record.owner, newest, bytes + key.len() as u64 + value.len() as u64)?;
            let expires = record.expires.map(|expires| integer(expires.as_micros()));
            change.0.execute(
                "INSERT INTO plugin_keys (owner, key, value, version, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![record.owner, key, value, integer(record.version), expires],
            )?;
            Ok(Some(()))
        })
        .map(drop)
    }
}
