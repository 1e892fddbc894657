//! The file before SQLite sees it: SQLite would make it readable for everybody, and says only that it
//! is "unable to open" what cannot be opened.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// Sees that the file is there; the error says what to do. One that is there is not opened, because closing it again would take all locks
/// from it that this process has (<https://www.sqlite.org/howtocorrupt.html>, 2.2): whoever else closes the database then would put the
/// log away in which this process goes on writing.
pub(super) fn prepare(path: &Path) -> Result<(), String> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(format!("there is no folder {0}; make it with `mkdir -p {0}`", folder.display()));
    }
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err("is a folder; name a file in it".to_owned()),
        Ok(metadata) if !metadata.is_file() => Err("is not a regular file".to_owned()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => create(path),
        Err(error) => Err(refusal(&error)),
    }
}

/// Whether there is something in the log of a database that is not in its file.
pub(super) fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// The URI of a file that nobody changes while it is read.
pub(super) fn immutable(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("file:{}?immutable=1", percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC))
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

fn refusal(error: &std::io::Error) -> String {
    if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
        format!("cannot be written ({error}); change its owner or mode, or name another file with --db")
    } else {
        format!("cannot be opened ({error})")
    }
}
