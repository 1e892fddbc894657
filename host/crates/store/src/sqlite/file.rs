//! The file before SQLite sees it: SQLite would make it readable for everybody, and says only that it
//! is "unable to open" what cannot be opened.

use std::fs::{self, OpenOptions};
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

fn refusal(error: &std::io::Error) -> String {
    if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
        format!("cannot be written ({error}); change its owner or mode, or name another file with --db")
    } else {
        format!("cannot be opened ({error})")
    }
}
