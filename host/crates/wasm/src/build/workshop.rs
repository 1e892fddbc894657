//! The user's cache: toolchains that were installed once for all projects, and what was built last of
//! each project, so that building it again unchanged costs nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{BuildError, write};
use crate::plugin::hex;

/// The mark of a folder that was finished.
const FINISHED: &str = ".finished";

/// The user's cache directory of this program: `$XDG_CACHE_HOME/proxywhirl`, or `~/.cache/proxywhirl`. It
/// is made for the user alone, because compiled plugins are kept there as well.
fn cache() -> Result<PathBuf, BuildError> {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = own.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let cache = cache.map(|cache| cache.join("proxywhirl")).ok_or_else(|| BuildError::Toolchain {
        language: "any language",
        reason: "there is no home directory to keep it in".to_owned(),
        hint: "set XDG_CACHE_HOME".to_owned(),
    })?;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&cache).map_err(|source| BuildError::File { path: cache.clone(), source })?;
    Ok(cache)
}

/// Where a toolchain is installed.
pub(crate) fn toolchain(name: &str) -> Result<PathBuf, BuildError> {
    Ok(cache()?.join("toolchains").join(name))
}

/// Makes a folder once, whoever asks at the same time: `install` fills it. What was begun and not
/// finished, or is no longer `sound`, is begun anew.
pub(crate) fn once(
    folder: &Path,
    sound: impl Fn(&Path) -> bool,
    install: impl FnOnce(&Path) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let at = |source: io::Error| BuildError::File { path: folder.to_owned(), source };
    let _lock = lock(folder)?;
    if folder.join(FINISHED).is_file() && sound(folder) {
        return Ok(());
    }
    remove(folder).map_err(at)?;
    fs::create_dir_all(folder).map_err(at)?;
    install(folder)?;
    fs::write(folder.join(FINISHED), "").map_err(at)
}

/// Waits until nobody else works in a folder; until the answer is dropped, nobody else does.
pub(crate) fn lock(folder: &Path) -> Result<File, BuildError> {
    let path = folder.with_extension("lock");
    let at = |source: io::Error| BuildError::File { path: path.clone(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at)?;
    }
    let file = File::create(&path).map_err(at)?;
    file.lock().map_err(at)?;
    Ok(file)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where one project is built: a folder for what the tools read and write, and the component that came
/// out last with the key of what it came from.
#[derive(Debug)]
pub(crate) struct Bench {
    folder: PathBuf,
    _lock: File,
}

impl Bench {
    /// The bench of the project in a directory, for as long as nobody else has it.
    pub(crate) fn of(project: &Path) -> Result<Self, BuildError> {
        let name = hex(&Sha256::digest(project.as_os_str().as_encoded_bytes()));
        let folder = cache()?.join("builds").join(name.get(..32).unwrap_or(&name));
        let lock = lock(&folder)?;
        Ok(Self { folder, _lock: lock })
    }

    /// The component that was built last, if it was from the same.
    pub(crate) fn last(&self, key: &str) -> Option<Vec<u8>> {
        let same = fs::read_to_string(self.folder.join("key")).is_ok_and(|last| last == key);
        same.then(|| fs::read(self.folder.join("component.wasm")).ok()).flatten()
    }

    /// An empty folder to build in.
    pub(crate) fn stage(&self) -> Result<PathBuf, BuildError> {
        let stage = self.folder.join("stage");
        let at = |source: io::Error| BuildError::File { path: stage.clone(), source };
        remove(&stage).map_err(at)?;
        fs::create_dir_all(&stage).map_err(at)?;
        Ok(stage)
    }

    /// Keeps a component, and removes what it was made in.
    pub(crate) fn keep(&self, key: &str, component: &[u8]) -> Result<(), BuildError> {
        let at = |source: io::Error| BuildError::File { path: self.folder.clone(), source };
        // Between the two writes the key must fit neither.
        remove_file(&self.folder.join("key")).map_err(at)?;
        write(&self.folder.join("component.wasm"), component).map_err(at)?;
        write(&self.folder.join("key"), key.as_bytes()).map_err(at)?;
        remove(&self.folder.join("stage")).map_err(at)
    }
}

fn remove_file(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bench() -> (tempfile::TempDir, Bench) {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("a");
        let lock = lock(&folder).unwrap();
        fs::create_dir_all(&folder).unwrap();
        (directory, Bench { folder, _lock: lock })
    }

    #[test]
    fn what_was_built_last_is_found_by_its_key_only() {
        let (_directory, bench) = bench();
        assert_eq!(bench.last("one"), None);
        let stage = bench.stage().unwrap();
        fs::write(stage.join("left over"), "").unwrap();
        bench.keep("one", b"component").unwrap();
        assert!(!stage.exists());
        assert_eq!(bench.last("one"), Some(b"component".to_vec()));
        assert_eq!(bench.last("two"), None);
    }

    #[test]
    fn a_folder_is_made_once_and_again_when_it_was_not_finished() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("toolchain");
        let refused = || BuildError::Tool { tool: "installer".to_owned(), output: String::new() };
        assert!(once(&folder, |_| true, |_| Err(refused())).is_err());
        let mut made = 0;
        for sound in [true, true, false] {
            once(
                &folder,
                |_| sound,
                |folder| {
                    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
                    made += 1;
                    Ok(())
                },
            )
            .unwrap();
        }
        assert_eq!(made, 2);
    }
}
