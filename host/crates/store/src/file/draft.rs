//! A file that is written beside another, and takes its place when it is complete: until then the other is as it was, whatever ends
//! the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proxywhirl_core::store::StoreError;

use super::journal::Extent;
use super::{Contents, Desk, FileForm, FileKeyValues, FileStore, Shared, disk, place, read};

/// What a draft is called beside its file.
const DRAFT: &str = "copy";

/// A draft. While it is there, nobody else writes the file whose place it takes.
pub(crate) struct Draft {
    shared: Arc<Shared>,
    target: PathBuf,
    /// Whether the file has members, sessions or keys now.
    pub(crate) is_over_something: bool,
}

impl Draft {
    /// Begins a draft, with nothing in it but what other programs keep in the file.
    ///
    /// # Errors
    /// When the file is no pool, comes of a later version, or is written by another process.
    pub(crate) fn begin(path: &Path, form: FileForm) -> Result<Self, StoreError> {
        Self::of(path, form).map_err(|reason| StoreError { place: place(path), reason })
    }

    fn of(path: &Path, form: FileForm) -> Result<Self, String> {
        disk::inspect(path)?;
        // A link stays one: what it points to is replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let lock = disk::Lock::take(&target)?;
        let before = if target.exists() { read(&target, form)?.0 } else { Contents::default() };
        let is_over_something = before.count() > 0;
        let contents = Contents { name: before.name, config: before.config, ..Contents::default() };
        let draft = disk::beside(&target, DRAFT);
        // One that was killed has left it.
        for left in [&draft, &disk::beside(&draft, "tmp")] {
            drop(fs::remove_file(left));
        }
        let keys = Arc::clone(&contents.keys);
        let desk = Desk { contents, extent: Extent::default(), is_ahead: false, lock: Some(lock) };
        let shared = Shared { path: draft, form, keys, touched: Mutex::default(), desk: Mutex::new(desk) };
        shared.rewrite(&mut shared.desk()).map_err(|error| disk::refusal(&error))?;
        Ok(Self { shared: Arc::new(shared), target, is_over_something })
    }

    /// What it holds, to be written.
    pub(crate) fn opened(&self) -> (FileStore, FileKeyValues) {
        (FileStore(Arc::clone(&self.shared)), FileKeyValues(Arc::clone(&self.shared)))
    }

    /// Puts it in place of the file, at once and for good.
    ///
    /// # Errors
    /// When that cannot be; the file is then as it was.
    pub(crate) fn commit(self) -> Result<(), StoreError> {
        disk::put_in_place(&self.shared.path, &self.target)
            .map_err(|error| StoreError { place: place(&self.target), reason: disk::refusal(&error) })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more when it is in its place.
        drop(fs::remove_file(&self.shared.path));
    }
}
