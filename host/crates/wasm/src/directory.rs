//! A plugins directory: every `*.wasm` in it is a plugin.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::inspect::Unfit;

/// The largest component, in bytes. One in Python has some 18 MB.
const MAX_FILE: u64 = 128 * 1024 * 1024;

/// Files that a directory may hold.
const MAX_FILES: usize = 256;

/// The components of a directory, by name.
pub(crate) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm")) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} plugins")));
        }
    }
    files.sort();
    Ok(files)
}

/// A file's bytes. Nothing but a regular file is opened: reading a pipe or a device would not end.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Unfit> {
    let unreadable = |error: io::Error| Unfit::new(format!("cannot be read: {error}"), "check its permissions");
    let about = fs::metadata(file).map_err(unreadable)?;
    if !about.is_file() {
        return Err(Unfit::new("not a regular file", "move it out of the plugins directory"));
    }
    let mut bytes = Vec::new();
    fs::File::open(file).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        let reason = format!("larger than {} MiB", MAX_FILE / 1024 / 1024);
        return Err(Unfit::new(reason, "build it for size, and strip it"));
    }
    Ok(bytes)
}
