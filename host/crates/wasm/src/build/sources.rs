//! What a plugin was built from, as one digest. A test compares it with the digest in the component
//! that is committed, so that neither is changed without the other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::plugin::hex;

/// Files that a digest may cover; more means that the directory is not a crate.
const MAX_FILES: usize = 10_000;

/// SHA-256 over the sources of the plugin crate in a directory, in hexadecimal: its `src/` and
/// `Cargo.toml`; `Cargo.toml` and `Cargo.lock` of the workspace around it, if there is one; and the
/// `src/` of the SDK and `wit/`, if the crate lies in a checkout that has them. Each file goes in with
/// its path relative to its part, so that the digest is the same wherever the checkout lies.
///
/// # Errors
/// When a file cannot be read.
pub fn source_digest(crate_directory: &Path) -> io::Result<String> {
    let directory = crate_directory.canonicalize()?;
    let mut files = Vec::new();
    collect("crate", &directory, &["src", "Cargo.toml"], &mut files)?;
    if let Some(workspace) = directory.ancestors().find(|it| is_workspace(it)) {
        collect("workspace", workspace, &["Cargo.toml", "Cargo.lock"], &mut files)?;
    }
    let checkout =
        directory.ancestors().find(|it| it.join("plugin-sdk/Cargo.toml").is_file() && it.join("wit").is_dir());
    if let Some(checkout) = checkout {
        collect("sdk", &checkout.join("plugin-sdk"), &["src"], &mut files)?;
        collect("contract", checkout, &["wit"], &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for (name, path) in files {
        let content = fs::read(path)?;
        // Lengths before contents: no two lists of files have the same bytes.
        for part in [name.as_bytes(), &content] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hex(&hash.finalize()))
}

fn is_workspace(directory: &Path) -> bool {
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line.trim() == "[workspace]")
}

/// Adds the files below these parts of a directory; a part that is not there has none.
fn collect(label: &str, directory: &Path, parts: &[&str], files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    let mut open: Vec<(String, PathBuf)> =
        parts.iter().map(|part| (format!("{label}/{part}"), directory.join(part))).collect();
    while let Some((name, path)) = open.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                open.push((format!("{name}/{}", entry.file_name().to_string_lossy()), entry.path()));
            }
        } else if path.is_file() {
            files.push((name, path));
        }
        if open.len() + files.len() > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} source files")));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn checkout() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("wit/strategy.wit", "interface"),
            ("plugin-sdk/Cargo.toml", "[package]"),
            ("plugin-sdk/src/lib.rs", "sdk"),
            ("plugins/Cargo.toml", "[workspace]\n"),
            ("plugins/Cargo.lock", "lock"),
            ("plugins/a/Cargo.toml", "[package]"),
            ("plugins/a/src/lib.rs", "a"),
            ("plugins/a/src/deep/b.rs", "b"),
            ("plugins/b/src/lib.rs", "another plugin"),
        ] {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn the_digest_follows_what_a_plugin_is_built_from_and_nothing_else() {
        let (here, there) = (checkout(), checkout());
        let digest = |root: &tempfile::TempDir| source_digest(&root.path().join("plugins/a")).unwrap();
        let before = digest(&here);
        assert_eq!(before, digest(&there), "it depends on where the checkout lies");
        fs::write(here.path().join("plugins/b/src/lib.rs"), "changed").unwrap();
        fs::create_dir_all(here.path().join("plugins/a/target")).unwrap();
        fs::write(here.path().join("plugins/a/target/x"), "built").unwrap();
        assert_eq!(before, digest(&here));
        for file in [
            "wit/strategy.wit",
            "plugin-sdk/src/lib.rs",
            "plugins/Cargo.toml",
            "plugins/Cargo.lock",
            "plugins/a/Cargo.toml",
            "plugins/a/src/deep/b.rs",
        ] {
            let path = here.path().join(file);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{text}\n# changed")).unwrap();
            assert_ne!(before, digest(&here), "{file}");
            fs::write(&path, text).unwrap();
        }
        fs::rename(here.path().join("plugins/a/src/deep/b.rs"), here.path().join("plugins/a/src/deep/c.rs")).unwrap();
        assert_ne!(before, digest(&here), "a file's name");
    }
}
