//! Notices that the sources of a plugin have changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders that builds write into.
const NOT_SOURCES: [&str; 4] = ["dist", "target", "node_modules", "__pycache__"];

/// Files that are looked at: sources of a plugin are few.
const MOST: usize = 10_000;

/// How deep folders are followed.
const DEPTH: usize = 12;

type Look = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The sources of a plugin.
#[derive(Debug)]
pub(super) struct Sources {
    path: PathBuf,
    built: Look,
    last: Look,
}

impl Sources {
    /// As they are now.
    pub(super) fn of(path: &Path) -> Self {
        let look = look(path);
        Self { path: path.to_owned(), built: look.clone(), last: look }
    }

    /// Whether they have changed since the last time that this was true, and are not being written any more.
    pub(super) fn have_changed(&mut self) -> bool {
        let look = look(&self.path);
        let is_settled = look == self.last;
        self.last = look;
        let have_changed = is_settled && self.last != self.built;
        if have_changed {
            self.built.clone_from(&self.last);
        }
        have_changed
    }
}

fn look(path: &Path) -> Look {
    let mut look = Look::new();
    walk(path, DEPTH, &mut look);
    look
}

fn walk(folder: &Path, depth: usize, look: &mut Look) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(about) = entry.metadata() else { continue };
        if name.starts_with('.') || name.ends_with('~') || look.len() >= MOST {
            continue;
        }
        if about.is_dir() {
            if depth > 0 && !NOT_SOURCES.contains(&&*name) {
                walk(&entry.path(), depth - 1, look);
            }
        } else {
            look.insert(entry.path(), (about.modified().ok(), about.len()));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_when_it_has_settled_and_builds_do_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/lib.rs"), "1").unwrap();
        let mut sources = Sources::of(folder.path());
        assert!(!sources.have_changed());
        for built in ["dist", "target/debug", ".proxywhirl/build"] {
            fs::create_dir_all(folder.path().join(built)).unwrap();
            fs::write(folder.path().join(built).join("out.wasm"), "x").unwrap();
        }
        assert!(!sources.have_changed() && !sources.have_changed());
        fs::write(folder.path().join("src/lib.rs"), "two").unwrap();
        assert!(!sources.have_changed(), "still being written, for all one knows");
        assert!(sources.have_changed() && !sources.have_changed());
    }
}
