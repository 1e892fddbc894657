//! What can be read as a part of the configuration.
//!
//! A pipe may be silent for ever, and does not give twice what was in it. So one is read at the start alone, by whoever has
//! named it; while a gateway runs, only files are.

use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// What is always empty, and stands for no file.
const NOTHING: &str = "/dev/null";

/// Whether it can be read at all. What is not there is told by who reads it.
///
/// # Errors
/// What it is, when nothing can be read there.
pub(super) fn once(path: &Path) -> Result<(), String> {
    let kind = kind(path).filter(|kind| kind.is_dir() || kind.is_socket());
    kind.map_or(Ok(()), |kind| Err(format!("{}, and no file", named(kind))))
}

/// Whether it can be read while a gateway runs, as often as it changes. What is not there is told by who reads it.
///
/// # Errors
/// What it is, when it is no file.
pub fn again(path: &Path) -> Result<(), String> {
    let kind = kind(path).filter(|kind| !kind.is_file() && path != Path::new(NOTHING));
    kind.map_or(Ok(()), |kind| Err(format!("{}, and only a file can be read again", named(kind))))
}

fn kind(path: &Path) -> Option<FileType> {
    fs::metadata(path).ok().map(|about| about.file_type())
}

fn named(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_again_and_what_is_none_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let [file, socket, nowhere] = ["file", "socket", "nowhere"].map(|name| folder.path().join(name));
        fs::write(&file, "").unwrap();
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&*file, &*nowhere, Path::new(NOTHING)] {
            assert_eq!((once(path), again(path)), (Ok(()), Ok(())), "{}", path.display());
        }
        let why = |what: &str| Err::<(), _>(format!("{what}, and only a file can be read again"));
        assert_eq!((again(folder.path()), again(&socket)), (why("a directory"), why("a socket")));
        assert_eq!((once(Path::new("/dev/zero")), again(Path::new("/dev/zero"))), (Ok(()), why("a device")));
        assert_eq!(once(folder.path()), Err("a directory, and no file".to_owned()));
        assert_eq!(once(&socket), Err("a socket, and no file".to_owned()));
    }
}
