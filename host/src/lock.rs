//! `plugins.lock`: which builds of plugins the user has accepted, and what they may ask for.
//!
//! A component's imports and the capabilities in its manifest are its request, readable without running it. The lock
//! keeps what was requested when the user added the plugin. A file that changes later and asks for no more is taken, and
//! told; one that asks for more is stopped until the user has accepted that: an update cannot take what the first
//! version was not given. A plugin that the lock does not name is none of its business.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proxywhirl_wasm::PluginInfo;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::exit::{Exit, Failure};

/// The file's name, in the plugins directory.
const NAME: &str = "plugins.lock";

/// The largest lock that is read: thousands of plugins.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The first line of every lock.
const HEAD: &str =
    "# Plugins that were accepted, by `proxywhirl plugin add` and `proxywhirl plugin lock`. Keep it with them.\n\n";

/// What was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// By name.
    #[serde(default, rename = "plugin")]
    plugins: Vec<Entry>,
}

/// A plugin as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component.
    pub sha256: String,
    /// SHA-256 of what it asks for.
    pub fingerprint: String,
    /// The interfaces that it imports, without their versions.
    pub imports: BTreeSet<String>,
    /// The capabilities that its manifest asks for.
    pub capabilities: BTreeSet<String>,
}

/// How a plugin stands to the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The lock does not name it.
    NotLocked,
    /// It is the build that was accepted.
    Locked,
    /// It is another build, and asks for no more.
    Changed,
    /// It is another build, and asks for this as well.
    AsksMore(Vec<String>),
}

impl Standing {
    /// The word for tables and scripts.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotLocked => "not-locked",
            Self::Locked => "locked",
            Self::Changed => "changed",
            Self::AsksMore(_) => "refused",
        }
    }
}

/// Why there is no lock that could be asked.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct LockError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        Self::new(Exit::Input, error)
            .hint("look at the file, or remove it and accept the plugins again with `proxywhirl plugin lock`")
    }
}

impl Entry {
    /// A plugin as it is.
    #[must_use]
    pub fn of(info: &PluginInfo) -> Self {
        let imports = info.imports.iter().map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect();
        let capabilities = info.capabilities.iter().cloned().collect();
        Self {
            name: info.name.clone(),
            version: info.version.clone(),
            sha256: info.digest.clone(),
            fingerprint: fingerprint(&imports, &capabilities),
            imports,
            capabilities,
        }
    }

    /// What it asks for and `other` does not.
    fn beyond(&self, other: &Self) -> Vec<String> {
        let imports = self.imports.difference(&other.imports).map(|name| format!("import {name}"));
        let capabilities = self.capabilities.difference(&other.capabilities);
        imports.chain(capabilities.map(|capability| format!("capability {capability}"))).collect()
    }
}

fn fingerprint(imports: &BTreeSet<String>, capabilities: &BTreeSet<String>) -> String {
    let mut hash = Sha256::new();
    for (kind, names) in [("import", imports), ("capability", capabilities)] {
        for name in names {
            hash.update(format!("{kind} {name}\n"));
        }
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

impl Lock {
    /// Where the lock of a plugins directory is.
    #[must_use]
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(NAME)
    }

    /// The lock of a plugins directory; an empty one when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or was changed by hand so that it contradicts itself.
    pub fn read(directory: &Path) -> Result<Self, LockError> {
        let path = Self::path(directory);
        let error = |reason: String| LockError { path: path.clone(), reason };
        let size = match fs::metadata(&path) {
            Ok(about) => about.len(),
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(unreadable) => return Err(error(format!("cannot be read: {unreadable}"))),
        };
        if size > MAX_BYTES {
            return Err(error(format!("{size} bytes, but a lock has at most {MAX_BYTES}")));
        }
        let text = fs::read_to_string(&path).map_err(|unreadable| error(format!("cannot be read: {unreadable}")))?;
        let lock: Self = toml::from_str(&text).map_err(|broken| error(broken.message().to_owned()))?;
        for entry in &lock.plugins {
            if entry.fingerprint != fingerprint(&entry.imports, &entry.capabilities) {
                return Err(error(format!("the fingerprint of {} is not that of what it lists", entry.name)));
            }
        }
        Ok(lock)
    }

    /// Writes it beside the plugins, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), LockError> {
        let path = Self::path(directory);
        let error = |reason: String| LockError { path: path.clone(), reason };
        let text = toml::to_string(self).map_err(|broken| error(broken.to_string()))?;
        let temporary = directory.join(format!(".{NAME}.{}", std::process::id()));
        let written = fs::write(&temporary, format!("{HEAD}{text}")).and_then(|()| fs::rename(&temporary, &path));
        written.map_err(|unwritable| {
            // Of what is not there, nothing is left.
            drop(fs::remove_file(&temporary));
            error(format!("cannot be written: {unwritable}"))
        })
    }

    /// How a plugin stands to the lock.
    #[must_use]
    pub fn standing(&self, info: &PluginInfo) -> Standing {
        self.standing_of(&Entry::of(info))
    }

    fn standing_of(&self, found: &Entry) -> Standing {
        let Some(accepted) = self.entry(&found.name) else { return Standing::NotLocked };
        if found.sha256 == accepted.sha256 {
            return Standing::Locked;
        }
        match found.beyond(accepted) {
            more if more.is_empty() => Standing::Changed,
            more => Standing::AsksMore(more),
        }
    }

    /// Accepts a plugin as it is.
    pub fn accept(&mut self, info: &PluginInfo) {
        self.accept_entry(Entry::of(info));
    }

    fn accept_entry(&mut self, entry: Entry) {
        self.forget(&entry.name);
        self.plugins.push(entry);
        self.plugins.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Forgets a plugin; whether it was named.
    pub fn forget(&mut self, name: &str) -> bool {
        let before = self.plugins.len();
        self.plugins.retain(|entry| entry.name != name);
        self.plugins.len() < before
    }

    /// What was accepted of a name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.plugins.iter().find(|entry| entry.name == name)
    }

    /// The names that it knows.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.iter().map(|entry| entry.name.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(sha256: &str, imports: &[&str], capabilities: &[&str]) -> Entry {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let (imports, capabilities) = (set(imports), set(capabilities));
        let fingerprint = fingerprint(&imports, &capabilities);
        let (name, version, sha256) = ("mine".to_owned(), "1.0.0".to_owned(), sha256.to_owned());
        Entry { name, version, sha256, fingerprint, imports, capabilities }
    }

    fn lock(entry: Entry) -> Lock {
        let mut lock = Lock::default();
        lock.accept_entry(entry);
        lock
    }

    #[test]
    fn what_was_accepted_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Lock::read(folder.path()).unwrap(), Lock::default(), "none is an empty one");
        let lock = lock(entry("d1", &["proxywhirl:plugin/kv"], &["kv:4096"]));
        lock.write(folder.path()).unwrap();
        assert_eq!(Lock::read(folder.path()).unwrap(), lock);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn an_update_that_asks_for_no_more_is_taken_and_one_that_does_is_not() {
        let lock = lock(entry("d1", &["log", "kv"], &["kv"]));
        assert_eq!(lock.standing_of(&entry("d1", &["log", "kv"], &["kv"])), Standing::Locked);
        assert_eq!(lock.standing_of(&entry("d2", &["log"], &[])), Standing::Changed);
        let more = vec!["import http".to_owned(), "capability http:https://a".to_owned()];
        assert_eq!(
            lock.standing_of(&entry("d2", &["http", "log"], &["http:https://a", "kv"])),
            Standing::AsksMore(more)
        );
        let other = Entry { name: "other".to_owned(), ..entry("d2", &["http"], &[]) };
        assert_eq!(lock.standing_of(&other), Standing::NotLocked);
    }

    #[test]
    fn accepting_again_replaces_what_was_accepted() {
        let mut lock = lock(entry("d1", &["log"], &[]));
        lock.accept_entry(entry("d2", &["log", "http"], &["http:*"]));
        assert_eq!(lock.names().collect::<Vec<_>>(), ["mine"]);
        assert_eq!(lock.standing_of(&entry("d2", &["log", "http"], &["http:*"])), Standing::Locked);
        assert!(lock.forget("mine") && !lock.forget("mine"));
    }

    #[test]
    fn a_lock_that_was_changed_by_hand_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        lock(entry("d1", &["log"], &[])).write(folder.path()).unwrap();
        let path = Lock::path(folder.path());
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"log\"", "\"log\", \"http\"")).unwrap();
        let error = Lock::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("plugins.lock") && error.contains("the fingerprint of mine"), "{error}");
        fs::write(&path, "plugin = 3").unwrap();
        assert!(Lock::read(folder.path()).is_err());
    }
}
