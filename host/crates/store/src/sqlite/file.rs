//! The file before SQLite sees it: SQLite would make it readable for everybody, and says only that it
//! is "unable to open" what cannot be opened.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

/// Sees that the file is there and can be read and written; the error says what to do.
pub(super) fn prepare(path: &Path) -> Result<(), String> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(format!("there is no folder {0}; make it with `mkdir -p {0}`", folder.display()));
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err("is a folder; name a file in it".to_owned()),
        Ok(metadata) if !metadata.is_file() => Err("is not a regular file".to_owned()),
        Ok(metadata) => {
            crate::warn_when_open_to_others(path, &metadata);
            OpenOptions::new().read(true).write(true).open(path).map(drop).map_err(|error| refusal(&error))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        Err(error) => Err(refusal(&error)),
    }
}

fn create(path: &Path) -> Result<(), String> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        // Another process was quicker, and made it with the same mode.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(refusal(&error)),
    }
}

/// A lock that is no lock of SQLite's own, which are held for the moment of a save: each process that has opened a database to write it
/// holds a share of this one as long as it lives.
#[derive(Debug)]
pub(super) struct Share(#[expect(dead_code, reason = "to be held")] File);

impl Share {
    /// Takes a share; none where there can be no such file, which is no reason to do without the database.
    pub(super) fn take(path: &Path) -> Option<Self> {
        let file = lock_file(path).ok()?;
        file.try_lock_shared().ok().map(|()| Self(file))
    }
}

/// Whether anybody has a database open to write it.
pub(super) fn is_in_use(path: &Path) -> bool {
    path.exists() && lock_file(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// `.pool.db.lock` beside `pool.db`.
fn lock_file(path: &Path) -> std::io::Result<File> {
    // Of a link, what it points to: others may know it by that.
    let path = path.canonicalize()?;
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path.with_file_name(name))
}

fn refusal(error: &std::io::Error) -> String {
    if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
        format!("cannot be written ({error}); change its owner or mode, or name another file with --db")
    } else {
        format!("cannot be opened ({error})")
    }
}
