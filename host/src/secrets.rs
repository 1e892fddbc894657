//! Keys that stores seal passwords with: where they are, how they are made and rotated.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use proxywhirl_core::secret::Zeroizing;
use proxywhirl_store::Keyring;

use crate::config::{Environment, KeyPlace};
use crate::exit::{Exit, Failure};

/// More than this are no keys.
const MAX_BYTES: u64 = 64 * 1024;

/// The keys at a place; none when there is none.
///
/// # Errors
/// When they cannot be read, or are none.
pub fn keyring(place: Option<&KeyPlace>) -> Result<Option<Arc<Keyring>>, Failure> {
    let Some(place) = place else { return Ok(None) };
    let text = text(place)?;
    let keys =
        Keyring::parse(&text).map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", named(place))))?;
    Ok(Some(Arc::new(keys)))
}

/// What stands at a place.
///
/// # Errors
/// When it cannot be read.
pub fn text(place: &KeyPlace) -> Result<Zeroizing<String>, Failure> {
    let failed = |reason: String| {
        Failure::new(Exit::Input, format!("{}: {reason}", named(place)))
            .hint("`proxywhirl secrets init FILE` makes a key")
    };
    match place {
        KeyPlace::File(path) => read(path).map_err(|error| failed(error.to_string())),
        KeyPlace::Environment(name) => {
            let environment = Environment::read().map_err(|error| Failure::new(Exit::Input, error))?;
            let value =
                environment.get(name).ok_or_else(|| failed("the environment has no such variable".to_owned()))?;
            Ok(Zeroizing::new(value.to_owned()))
        }
    }
}

/// A place in words.
#[must_use]
pub fn named(place: &KeyPlace) -> String {
    match place {
        KeyPlace::File(path) => format!("key file {}", path.display()),
        KeyPlace::Environment(name) => format!("keys in the environment variable {name}"),
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    warn_when_open_to_others(path, &file.metadata()?);
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(unix)]
fn warn_when_open_to_others(path: &Path, about: &fs::Metadata) {
    let mode = std::os::unix::fs::PermissionsExt::mode(&about.permissions());
    if mode & 0o077 != 0 {
        tracing::warn!(key.path = %path.display(), "others may read the keys of the store; `chmod 600` them");
    }
}

#[cfg(not(unix))]
const fn warn_when_open_to_others(_: &Path, _: &fs::Metadata) {}

/// Makes a file with a key that nobody else has. It must not be there.
///
/// # Errors
/// When it is there, or cannot be written.
pub fn init(path: &Path) -> Result<(), Failure> {
    let line = generate()?;
    let written = own().create_new(true).open(path).and_then(|file| put(file, &line));
    written.map_err(|error| {
        let failure = Failure::new(Exit::Environment, format!("key file {}: {error}", path.display()));
        if error.kind() == io::ErrorKind::AlreadyExists {
            return failure.hint("`proxywhirl secrets rotate` puts a new key before those in it");
        }
        failure
    })
}

/// Replaces what is in a key file, all or nothing. It stays its owner's, and where it is.
///
/// # Errors
/// When the text is no key file, or cannot be written; what was in it is then untouched.
pub fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |reason: String| Failure::new(Exit::Environment, format!("key file {}: {reason}", path.display()));
    Keyring::parse(text).map_err(|error| failed(error.to_string()))?;
    let replaced = path.canonicalize().and_then(|path| {
        let folder = path.parent().unwrap_or(Path::new("/"));
        // Made for its owner alone.
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(text.as_bytes())?;
        // Whoever could read the keys can read the new ones: root rotates those of the user that the gateway runs as.
        proxywhirl_store::keep_owner(&path, new.as_file())?;
        new.as_file().sync_all()?;
        new.persist(&path).map_err(|error| error.error)?;
        // It is there; that the name of it is on the disk too is as good as can be.
        drop(File::open(folder).and_then(|folder| folder.sync_all()));
        Ok(())
    });
    replaced.map_err(|error| failed(error.to_string()))
}

/// Keeps others from changing a key file until it is dropped.
///
/// # Errors
/// When somebody changes it now.
pub fn lock(path: &Path) -> Result<File, Failure> {
    let locked = File::open(path).map_err(|error| error.to_string()).and_then(|file| match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err("another command changes it now".to_owned()),
        Err(TryLockError::Error(error)) => Err(error.to_string()),
    });
    locked.map_err(|reason| Failure::new(Exit::Environment, format!("key file {}: {reason}", path.display())))
}

/// A line with a key that nobody else has.
///
/// # Errors
/// When the system has no random numbers.
pub fn generate() -> Result<Zeroizing<String>, Failure> {
    Keyring::generate().map_err(|error| Failure::new(Exit::Environment, error))
}

fn own() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn put(mut file: File, line: &str) -> io::Result<()> {
    writeln!(file, "{line}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.key");
        let place = KeyPlace::File(path.clone());
        assert!(keyring(Some(&place)).unwrap_err().hint.unwrap().contains("secrets init"));
        init(&path).unwrap();
        let first = keyring(Some(&place)).unwrap().unwrap();
        let again = init(&path).unwrap_err();
        assert!(again.hint.unwrap().contains("secrets rotate"));
        assert_eq!(keyring(Some(&place)).unwrap().unwrap().ids().next(), first.ids().next(), "it is untouched");
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        let error = replace(&path, "hunter2\n").unwrap_err().message;
        assert!(error.contains("line 1 is no key") && !error.contains("hunter2"), "{error}");
        assert_eq!(keyring(Some(&place)).unwrap().unwrap().ids().next(), first.ids().next(), "it is untouched");
        let held = lock(&path).unwrap();
        assert!(lock(&path).unwrap_err().message.contains("another command changes it now"));
        drop(held);
        let link = folder.path().join("link.key");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, &generate().unwrap()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "it stays where it is");
        assert_ne!(keyring(Some(&place)).unwrap().unwrap().ids().next(), first.ids().next());
        fs::write(&path, "hunter2\n").unwrap();
        let error = keyring(Some(&place)).unwrap_err().message;
        assert!(error.contains("line 1 is no key") && !error.contains("hunter2"), "{error}");
    }
}
