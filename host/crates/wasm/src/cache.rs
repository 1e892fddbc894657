//! Compiled code on disk, so that a component is compiled once and not at every start.
//!
//! What lies here is executed as native code, so the directory must belong to the user and be closed
//! to everybody else, and a file counts only if its checksum is right: against a crash or a bad disk,
//! as nobody but the user could have written it. A file that is foreign or broken is compiled again.
//!
//! Several processes may use a directory at the same time: a file appears as a whole or not at all, is
//! never changed afterwards, and one that is removed stays readable for whoever has opened it.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;
use wasmtime::component::Component;

/// What all files end with, behind the length of the code and its checksum. At the end, because the
/// code is mapped into memory as it lies in the file, from the beginning.
const MAGIC: &[u8; 8] = b"PWCODE2\n";
const TRAILER: usize = 8 + 4 + MAGIC.len();

/// Bytes that the directory may hold; what was not used for longest goes first.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// After which time a use is written down again. It decides only which files go first.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// After which time a temporary file belongs to a process that is no more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A directory with compiled code.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    /// Of the engine's version and settings.
    engine: u64,
    /// Bytes that it may hold.
    capacity: u64,
}

impl Cache {
    /// Opens a directory, making it if it is not there.
    pub(crate) fn open(directory: PathBuf, engine: &Engine) -> io::Result<Self> {
        make_private(&directory)?;
        check_private(&directory)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { directory, engine: hasher.finish(), capacity: MAX_BYTES })
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}-{:016x}.cwasm", self.engine))
    }

    /// The compiled component of that digest, if it is there.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.file(digest);
        let unusable = |error: &dyn std::fmt::Display| {
            tracing::warn!(target: "plugin", file = %path.display(), %error, "compiled code is unusable, compiling again");
        };
        match check(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                unusable(&error);
                return None;
            }
        }
        match deserialize(engine, &path) {
            Ok(component) => Some(component),
            Err(error) => {
                unusable(&error);
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
            let mut out = File::create(&temporary)?;
            out.write_all(&code)?;
            out.write_all(&u64::try_from(code.len()).unwrap_or(u64::MAX).to_le_bytes())?;
            out.write_all(&crc32fast::hash(&code).to_le_bytes())?;
            out.write_all(MAGIC)?;
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

    /// Removes what was not used for longest until the rest fits, and what a crash left behind.
    fn prune(&self, newest: &Path) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        let mut total = 0;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            // Another process may have removed it meanwhile.
            let Ok(about) = fs::metadata(&path) else { continue };
            let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let extension = path.extension().unwrap_or_default();
            if about.is_file() && extension == "cwasm" {
                total += about.len();
                if path != newest {
                    files.push((used, about.len(), path));
                }
            } else if about.is_file() && extension == "tmp" && is_older(used, ABANDONED) {
                remove(&path)?;
            }
        }
        files.sort();
        for (_, length, path) in files {
            if total <= self.capacity {
                break;
            }
            remove(&path)?;
            total = total.saturating_sub(length);
        }
        Ok(())
    }
}

/// Removes a file, which another process may have done already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_older(time: SystemTime, age: Duration) -> bool {
    SystemTime::now().duration_since(time).is_ok_and(|since| since > age)
}

/// A file name that nobody else uses: not another process, and not another thread of this one.
fn temporary_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}.{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a file is whole, and writes down that it was used.
fn check(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, "foreign or broken");
    let length =
        usize::try_from(about.len()).ok().and_then(|length| length.checked_sub(TRAILER)).ok_or_else(foreign)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut left = length;
    while left > 0 {
        let window = buffer.get_mut(..left.min(256 * 1024)).unwrap_or_default();
        file.read_exact(window)?;
        hasher.update(window);
        left -= window.len();
    }
    let mut expected = u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes().to_vec();
    expected.extend_from_slice(&hasher.finalize().to_le_bytes());
    expected.extend_from_slice(MAGIC);
    let mut trailer = [0; TRAILER];
    file.read_exact(&mut trailer)?;
    if trailer.as_slice() != expected.as_slice() {
        return Err(foreign());
    }
    if about.modified().is_ok_and(|used| is_older(used, FRESH)) {
        // Whether that succeeds changes nothing but the order in which files go.
        drop(File::open(path).and_then(|file| file.set_modified(SystemTime::now())));
    }
    Ok(())
}

#[expect(unsafe_code, reason = "wasmtime trusts compiled code; this is the only place that gives it any")]
fn deserialize(engine: &Engine, file: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file must come from `Component::serialize` of a compatible engine, and must not change
    // while it is mapped. It lies in a directory that `check_private` found to be the user's own and
    // closed to everybody else, where only `Cache::store` writes, by renaming files that are whole;
    // `check` found its checksum right; and wasmtime itself refuses code of another version or of other
    // settings.
    unsafe { Component::deserialize_file(engine, file) }
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
    let owner = File::create(&probe).and_then(|file| file.metadata()).map(|about| about.uid());
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
        let text = "(component (core module $m (func (export \"f\") (result i32) i32.const 7)) (core instance (instantiate $m)))";
        Component::new(engine, wat::parse_str(text).unwrap()).unwrap()
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
        for broken in [Vec::new(), b"PWCODE1\n".to_vec(), whole[..whole.len() - 1].to_vec(), whole[1..].to_vec(), {
            let mut flipped = whole.clone();
            let middle = flipped.len() / 2;
            flipped[middle] ^= 1;
            flipped
        }] {
            fs::remove_file(&file).unwrap();
            fs::write(&file, broken).unwrap();
            assert!(cache.load(&engine, "d1").is_none());
        }
        cache.store("d1", &component(&engine)).unwrap();
        assert!(cache.load(&engine, "d1").is_some());
        assert_eq!(fs::read_dir(cache.directory).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_the_rest_stays() {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let mut cache = Cache::open(home.path().join("cache"), &engine).unwrap();
        cache.store("d0", &component(&engine)).unwrap();
        let length = fs::metadata(cache.file("d0")).unwrap().len();
        cache.capacity = 3 * length + length / 2;
        let age = |cache: &Cache, digest: &str, days: u32| {
            let file = File::open(cache.file(digest)).unwrap();
            file.set_modified(SystemTime::now() - FRESH * days).unwrap();
        };
        for digest in ["d1", "d2"] {
            cache.store(digest, &component(&engine)).unwrap();
        }
        for (digest, days) in [("d0", 5), ("d1", 9), ("d2", 7)] {
            age(&cache, digest, days);
        }
        // It was used last, though it was made first of those that are left.
        assert!(cache.load(&engine, "d1").is_some());
        cache.store("d3", &component(&engine)).unwrap();
        let there = ["d0", "d1", "d2", "d3"].map(|digest| cache.file(digest).exists());
        assert_eq!(there, [true, true, false, true]);
    }

    #[test]
    fn what_a_crash_left_behind_goes_and_what_another_process_writes_stays() {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(home.path().join("cache"), &engine).unwrap();
        let (old, new) = (cache.directory.join("1.0.tmp"), cache.directory.join("1.1.tmp"));
        for path in [&old, &new] {
            fs::write(path, "half").unwrap();
        }
        File::open(&old).unwrap().set_modified(SystemTime::now() - ABANDONED * 2).unwrap();
        cache.store("d1", &component(&engine)).unwrap();
        assert_eq!((old.exists(), new.exists()), (false, true));
    }

    #[test]
    fn many_at_once_leave_a_cache_that_all_can_read() {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let mut cache = Cache::open(home.path().join("cache"), &engine).unwrap();
        // So small that everyone removes what the others have just written.
        cache.capacity = 1;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, engine) = (&cache, &engine);
                scope.spawn(move || {
                    for round in 0..10 {
                        cache.store(&format!("d{}", (thread + round) % 3), &component(engine)).unwrap();
                        drop(cache.load(engine, &format!("d{}", round % 3)));
                    }
                });
            }
        });
        assert!(fs::read_dir(&cache.directory).unwrap().count() <= 4);
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
