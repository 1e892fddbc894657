//! Members, sessions and keys of plugins in a JSON or JSON Lines file, which people and other programs can read.
//!
//! All of it is in memory too, so these are for pools of some ten thousand members; a JSON document is written whole at every
//! save, and JSON Lines are appended. What plugins keep is written with the next save of the pool, or by
//! [`KeyValues::sync`].
//!
//! Invariants: the file is always one that a save has left, or, of JSON Lines, one with a save behind it that was cut off and
//! does not count; one process writes it, and any number may read; a file that is no pool is left as it is; it is made for
//! its owner only, because it holds passwords.

pub(crate) mod disk;
mod document;
pub(crate) mod draft;
pub(crate) mod form;
mod journal;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyArchive, KeyRecord, KeyValues, KvEntry, KvError, KvWrite};
use proxywhirl_core::store::{Changes, Page, Store, StoreError, StoredSession};

use crate::memory::Memory;
use crate::memory::key_values::MemoryKeyValues;
use journal::Extent;

/// A key of an owner, or without one the owner.
type Touched = (String, Option<String>);

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileForm {
    /// One JSON document.
    Json,
    /// The same, compressed with gzip.
    JsonGzip,
    /// JSON Lines.
    JsonLines,
}

/// What one wants of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read it once, whoever writes it.
    Read,
    /// To write it: nobody else may meanwhile.
    Write,
}

/// A pool in a file.
#[derive(Debug)]
pub struct FileStore(Arc<Shared>);

/// The keys of plugins in the same file.
#[derive(Debug)]
pub struct FileKeyValues(Arc<Shared>);

/// What a file holds.
#[derive(Debug)]
struct Contents {
    name: String,
    /// Of a JSON document: what other programs keep there.
    config: serde_json::Value,
    members: Memory,
    keys: Arc<MemoryKeyValues>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            config: serde_json::Value::Null,
            members: Memory::default(),
            keys: Arc::default(),
        }
    }
}

impl Contents {
    fn count(&self) -> usize {
        self.members.count() + self.keys.count()
    }

    /// Rows that a file of it has: as many as things are kept, and not fewer.
    fn rows(&self) -> io::Result<u64> {
        let keys = self.keys.records().map_err(io::Error::other)?;
        Ok((self.members.members().count() + self.members.sessions().len() + keys.len()) as u64)
    }
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    form: FileForm,
    keys: Arc<MemoryKeyValues>,
    /// Keys that have changed since the last save. Held for an insertion.
    touched: Mutex<BTreeSet<Touched>>,
    /// Held for a save.
    desk: Mutex<Desk>,
}

#[derive(Debug)]
struct Desk {
    contents: Contents,
    extent: Extent,
    /// Whether the contents have changes that could not be written.
    is_ahead: bool,
    /// None for who only reads.
    lock: Option<disk::Lock>,
}

/// Opens a file, and makes it when it is missing and is to be written.
///
/// # Errors
/// When it cannot be read or written, is no pool, comes of a later version, or is written by another process. The file is then
/// as it was.
pub fn open(path: &Path, form: FileForm, access: Access) -> Result<(FileStore, FileKeyValues), StoreError> {
    let shared = Shared::open(path, form, access).map_err(|reason| StoreError { place: place(path), reason })?;
    let shared = Arc::new(shared);
    Ok((FileStore(Arc::clone(&shared)), FileKeyValues(shared)))
}

fn place(path: &Path) -> String {
    format!("file {}", path.display())
}

impl Shared {
    fn open(path: &Path, form: FileForm, access: Access) -> Result<Self, String> {
        disk::inspect(path)?;
        // A link stays one: what it points to is replaced.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let lock = match access {
            Access::Write => Some(disk::Lock::take(&path)?),
            Access::Read => None,
        };
        let is_new = !path.exists();
        if !is_new && access == Access::Write {
            // Now, and not in the middle of serving, one learns that nothing can be written here.
            try_out(&path, form).map_err(|error| disk::refusal(&error))?;
        }
        let (contents, extent) = if is_new { Default::default() } else { read(&path, form)? };
        if extent.is_damaged && access == Access::Write {
            let kept = disk::keep_aside(&path).map_err(|error| {
                format!("breaks off, and no copy of it can be kept before it is written: {}", disk::refusal(&error))
            })?;
            tracing::error!(store.path = %path.display(), store.kept = %kept.display(), "the damaged file is kept as a copy");
        }
        let keys = Arc::clone(&contents.keys);
        let desk = Desk { contents, extent, is_ahead: false, lock };
        let shared = Self { path, form, keys, touched: Mutex::default(), desk: Mutex::new(desk) };
        if is_new && access == Access::Write {
            // As above.
            shared.rewrite(&mut shared.desk()).map_err(|error| disk::refusal(&error))?;
        }
        Ok(shared)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touched(&self) -> MutexGuard<'_, BTreeSet<Touched>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut desk = self.desk();
        let touched = std::mem::take(&mut *self.touched());
        if touched.is_empty() && *changes == Changes::default() {
            return Ok(());
        }
        let written = if desk.lock.is_none() {
            Err("was opened to be read".to_owned())
        } else {
            self.write(&mut desk, changes, &touched).map_err(|error| disk::refusal(&error))
        };
        written.map_err(|reason| {
            self.touched().extend(touched);
            StoreError { place: place(&self.path), reason }
        })
    }

    fn write(&self, desk: &mut Desk, changes: &Changes, touched: &BTreeSet<Touched>) -> io::Result<()> {
        if self.form == FileForm::JsonLines && !desk.is_ahead {
            let keys: Vec<KeyRecord> =
                touched.iter().filter_map(|(owner, key)| self.keys.record(owner, key.as_deref())).collect();
            let is_ours = desk.extent.is_of(&self.path);
            if is_ours && !desk.extent.is_past() {
                journal::append(&self.path, &mut desk.extent, changes, keys)?;
                desk.contents.members.apply(changes);
                return Ok(());
            }
            if !is_ours {
                tracing::warn!(
                    store.path = %self.path.display(),
                    "another program has changed the file or taken it away: it is written anew, without what that program has made of it"
                );
            }
        }
        // Whoever could not be told keeps the changes, and comes with them again.
        desk.is_ahead = true;
        desk.contents.members.apply(changes);
        self.rewrite(desk)?;
        desk.is_ahead = false;
        Ok(())
    }

    fn rewrite(&self, desk: &mut Desk) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp::default() + now;
        match self.form {
            FileForm::Json => document::write(&self.path, &desk.contents, false, now),
            FileForm::JsonGzip => document::write(&self.path, &desk.contents, true, now),
            FileForm::JsonLines => journal::write(&self.path, &mut desk.extent, &desk.contents),
        }
    }

    /// What is in the file is what counts, and not what could not be written to it.
    fn catch_up(&self, desk: &mut Desk) -> Result<(), StoreError> {
        if desk.is_ahead {
            let read = read(&self.path, self.form);
            let (contents, extent) = read.map_err(|reason| StoreError { place: place(&self.path), reason })?;
            desk.contents.members = contents.members;
            (desk.extent, desk.is_ahead) = (extent, false);
        }
        Ok(())
    }

    fn touch(&self, owner: &str, key: Option<&str>) {
        self.touched().insert((owner.to_owned(), key.map(str::to_owned)));
    }
}

/// Sees that a file can be saved, as it is saved.
fn try_out(path: &Path, form: FileForm) -> io::Result<()> {
    disk::try_out(path)?;
    match form {
        FileForm::Json | FileForm::JsonGzip => Ok(()),
        FileForm::JsonLines => journal::try_out(path),
    }
}

fn read(path: &Path, form: FileForm) -> Result<(Contents, Extent), String> {
    match form {
        FileForm::Json => document::read(path, false).map(|contents| (contents, Extent::default())),
        FileForm::JsonGzip => document::read(path, true).map(|contents| (contents, Extent::default())),
        FileForm::JsonLines => journal::read(path),
    }
}

impl Store for FileStore {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        let mut desk = self.0.desk();
        self.0.catch_up(&mut desk)?;
        desk.contents.members.page(after, limit)
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        let mut desk = self.0.desk();
        self.0.catch_up(&mut desk)?;
        Ok(desk.contents.members.sessions())
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.0.save(changes)
    }

    fn purge(&mut self) -> Result<(), StoreError> {
        let failed = |reason| StoreError { place: place(&self.0.path), reason };
        let mut desk = self.0.desk();
        if desk.lock.is_none() {
            return Err(failed("was opened to be read".to_owned()));
        }
        self.0.rewrite(&mut desk).map_err(|error| failed(disk::refusal(&error)))
    }
}

impl KeyValues for FileKeyValues {
    fn get(&self, owner: &str, key: &str, now: Timestamp) -> Result<Option<KvEntry>, KvError> {
        self.0.keys.get(owner, key, now)
    }

    fn set(&self, owner: &str, key: &str, write: &KvWrite<'_>, now: Timestamp) -> Result<u64, KvError> {
        let version = self.0.keys.set(owner, key, write, now)?;
        self.0.touch(owner, Some(key));
        Ok(version)
    }

    fn compare_and_swap(
        &self,
        owner: &str,
        key: &str,
        expected: u64,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, KvError> {
        let version = self.0.keys.compare_and_swap(owner, key, expected, write, now)?;
        if version.is_some() {
            self.0.touch(owner, Some(key));
        }
        Ok(version)
    }

    fn delete(&self, owner: &str, key: &str, now: Timestamp) -> Result<bool, KvError> {
        let is_deleted = self.0.keys.delete(owner, key, now)?;
        if is_deleted {
            self.0.touch(owner, Some(key));
        }
        Ok(is_deleted)
    }

    fn keys(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<String>, KvError> {
        self.0.keys.keys(owner, prefix, after, limit, now)
    }

    fn sync(&self) -> Result<(), KvError> {
        self.0.save(&Changes::default()).map_err(|error| KvError::Unavailable(error.to_string()))
    }
}

impl KeyArchive for FileKeyValues {
    fn records(&self) -> Result<Vec<KeyRecord>, KvError> {
        self.0.keys.records()
    }

    fn restore(&self, record: &KeyRecord) -> Result<(), KvError> {
        self.0.keys.restore(record)?;
        self.0.touch(&record.owner, record.key.as_deref());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
