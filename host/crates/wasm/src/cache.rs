//! Compiled code on disk, so that a component is compiled once and not at every start.
//!
//! What lies here is executed as native code, so the directory must belong to the user and be closed
//! to everybody else, and a file counts only if its checksum is right: against a crash or a bad disk,
//! as nobody but the user could have written it. A file that is foreign or broken is compiled again.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

/// What all files begin with; another format has another.
const MAGIC: &[u8; 8] = b"PWCODE1\n";
const HEADER: usize = MAGIC.len() + 32;

/// Bytes that the directory may hold; the oldest files go first.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// A directory with compiled code.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    /// Of the engine's version and settings.
    engine: u64,
}

impl Cache {
    /// Opens a directory, making it if it is not there.
    pub(crate) fn open(directory: PathBuf, engine: &Engine) -> io::Result<Self> {
        make_private(&directory)?;
        check_private(&directory)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { directory, engine: hasher.finish() })
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}-{:016x}.cwasm", self.engine))
    }

    /// The compiled component of that digest, if it is there.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let file = self.file(digest);
        let code = match read(&file) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(target: "plugin", file = %file.display(), %error, "compiled code is unusable, compiling again");
                return None;
            }
        };
        match deserialize(engine, &code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(target: "plugin", file = %file.display(), %error, "compiled code is unusable, compiling again");
                None
            }
        }
    }

    /// Keeps a compiled component. Its readers see all of it or nothing.
    pub(crate) fn store(&self, digest: &str, component: &Component) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        let file = self.file(digest);
        let temporary = self.directory.join(temporary_name());
        let written = (|| {
            let mut out = fs::File::create(&temporary)?;
            out.write_all(MAGIC)?;
            out.write_all(&Sha256::digest(&code))?;
            out.write_all(&code)?;
            out.sync_all()?;
            fs::rename(&temporary, &file)
        })();
        if written.is_err() {
            // Nothing more can be done about a file that was perhaps never made.
            drop(fs::remove_file(&temporary));
        }
        self.prune(&file)?;
        written
    }

    /// Removes the oldest files until the rest fits.
    fn prune(&self, newest: &Path) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let about = entry.metadata()?;
            let path = entry.path();
            if about.is_file() && path.extension().is_some_and(|extension| extension == "cwasm") && path != newest {
                files.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), about.len(), path));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if total <= MAX_BYTES {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(length);
        }
        Ok(())
    }
}

/// A file name that nobody else uses: not another process, and not another thread of this one.
fn temporary_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}.{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The code of a file whose checksum is right.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, "foreign or broken");
    let (header, code) = bytes.split_at_checked(HEADER).ok_or_else(foreign)?;
    let sum = header.strip_prefix(MAGIC).ok_or_else(foreign)?;
    if sum != Sha256::digest(code).as_slice() {
        return Err(foreign());
    }
    Ok(code.to_vec())
}

#[expect(unsafe_code, reason = "wasmtime trusts compiled code; this is the only place that gives it any")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes must come from `Component::serialize` of a compatible engine. They lay in a
    // directory that `check_private` found to be the user's own and closed to everybody else, where
    // only `Cache::store` writes; `read` found their checksum right; and wasmtime itself refuses code
    // of another version or of other settings.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Refuses a directory that somebody else owns or can enter.
#[cfg(unix)]
fn check_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
    let about = fs::metadata(directory)?;
    if about.mode() & 0o077 != 0 {
        return refuse("others can enter it; its mode must be 0700");
    }
    // A file that we make belongs to us: that is how one learns one's own user id from the standard library.
    let probe = directory.join(temporary_name());
    let owner = fs::File::create(&probe).and_then(|file| file.metadata()).map(|about| about.uid());
    let removed = fs::remove_file(&probe);
    if owner? != about.uid() {
        return refuse("it belongs to another user");
    }
    removed
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> io::Result<()> {
    // A user's profile is closed to other users by itself.
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn component(engine: &Engine) -> Component {
        Component::new(engine, wat::parse_str("(component)").unwrap()).unwrap()
    }

    #[test]
    fn what_is_stored_is_found_and_a_broken_file_is_not() {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(home.path().join("a/b"), &engine).unwrap();
        assert!(cache.load(&engine, "d1").is_none());
        cache.store("d1", &component(&engine)).unwrap();
        assert!(cache.load(&engine, "d1").is_some());

        let file = cache.file("d1");
        let whole = fs::read(&file).unwrap();
        for broken in [Vec::new(), b"PWCODE1\n".to_vec(), whole[..whole.len() - 1].to_vec(), b"\x7fELF".to_vec(), {
            let mut flipped = whole.clone();
            let middle = flipped.len() / 2;
            flipped[middle] ^= 1;
            flipped
        }] {
            fs::write(&file, broken).unwrap();
            assert!(cache.load(&engine, "d1").is_none());
        }
        cache.store("d1", &component(&engine)).unwrap();
        assert!(cache.load(&engine, "d1").is_some());
        assert_eq!(fs::read_dir(cache.directory).unwrap().count(), 1, "no temporary file stays");
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let error = Cache::open(home.path().to_owned(), &Engine::default()).unwrap_err();
        assert_eq!(error.to_string(), "others can enter it; its mode must be 0700");
    }
}
