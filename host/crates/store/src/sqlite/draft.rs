//! A database that is written beside another, whose contents take the place of those of the other in one transaction: until that
//! ends, the other is as it was, whatever ends the process. The file itself stays the one that a gateway may have open.

use std::fs;
use std::path::{Path, PathBuf};

use proxywhirl_core::store::StoreError;
use rusqlite::{Connection, TransactionBehavior};

use super::{BUSY_TIMEOUT, connect, explain, place};
use crate::file::{Access, disk};

/// The tables that hold something.
const TABLES: [&str; 4] = ["members", "sessions", "plugin_keys", "plugin_owners"];

/// A draft. While it is there, nobody else makes one for the same database.
pub(crate) struct Draft {
    path: PathBuf,
    target: PathBuf,
    _lock: disk::Lock,
}

impl Draft {
    /// Begins a draft.
    ///
    /// # Errors
    /// When its folder cannot be written, or somebody else is at it.
    pub(crate) fn begin(target: &Path) -> Result<Self, StoreError> {
        let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
        let lock = disk::Lock::take(&target).map_err(|reason| StoreError { place: place(&target), reason })?;
        let draft = Self { path: disk::beside(&target, "copy"), target, _lock: lock };
        // One that was killed has left it.
        draft.remove();
        Ok(draft)
    }

    /// Where it is, to be opened and written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts what is in it, which nobody has open any more, in place of what is in the database; false when that had to be empty and is
    /// not.
    ///
    /// # Errors
    /// When that cannot be; what is in the database is then as it was.
    pub(crate) fn commit(self, is_over_something: bool) -> Result<bool, StoreError> {
        let mut connection = connect(&self.target, BUSY_TIMEOUT, Access::Write)?;
        self.take_place(&mut connection, is_over_something).map_err(|error| explain(&self.target, BUSY_TIMEOUT, &error))
    }

    fn take_place(&self, connection: &mut Connection, is_over_something: bool) -> rusqlite::Result<bool> {
        // A path that is no UTF-8 is one that SQLite cannot attach, and says so.
        connection.execute("ATTACH ?1 AS draft", [self.path.to_string_lossy()])?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for table in TABLES {
            let text = format!("SELECT EXISTS (SELECT 1 FROM main.{table})");
            // The owners of keys that are gone are no contents.
            let is_filled = table != "plugin_owners" && transaction.query_row(&text, [], |row| row.get(0))?;
            if is_filled && !is_over_something {
                return Ok(false);
            }
        }
        for table in TABLES {
            // Both are of this version, so their columns are the same ones.
            transaction.execute_batch(&format!(
                "DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM draft.{table}"
            ))?;
        }
        transaction.commit()?;
        Ok(true)
    }

    fn remove(&self) {
        for ending in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(ending);
            drop(fs::remove_file(path));
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.remove();
    }
}
