//! What a plugin was built from, as one digest. A test compares it with the digest in the component
//! that is committed, so that neither is changed without the other.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::project_file::{Language, ProjectFile};
use super::{contract, foreign};
use crate::plugin::hex;

/// The parts of a crate that its component is made of.
const CRATE: [&str; 3] = ["src", "Cargo.toml", "options.json"];

/// Crates that a plugin may depend on by path; what is beyond that is not in its digest.
const MAX_CRATES: usize = 64;

/// Files that a digest may cover; more means that the directory is not a crate.
const MAX_FILES: usize = 10_000;

/// SHA-256 over the sources of the plugin in a directory, in hexadecimal. Of a crate: its `src/`,
/// `Cargo.toml` and `options.json`, and those of the crates that it depends on by path; `Cargo.toml` and
/// `Cargo.lock` of the workspace around it, if there is one; and the `src/` of the SDK and `wit/`, if the
/// crate lies in a checkout that has them. Of a project in another
/// language: its files but those that it is tested with, the contract, and what this host adds to make
/// a component of them. Each file goes in with its path relative to its part, so that the digest is the
/// same wherever the checkout lies.
///
/// # Errors
/// When a file cannot be read.
pub fn source_digest(directory: &Path) -> io::Result<String> {
    let directory = directory.canonicalize()?;
    let file = ProjectFile::read(&directory).map_err(io::Error::other)?;
    let mut hash = Sha256::new();
    match file.map(|file| file.language) {
        None | Some(Language::Rust) => files_of_crate(&directory, &mut hash)?,
        Some(language) => files_of_project(&directory, language, &mut hash)?,
    }
    Ok(hex(&hash.finalize()))
}

fn files_of_crate(directory: &Path, hash: &mut Sha256) -> io::Result<()> {
    let mut files = Vec::new();
    let workspace = directory.ancestors().find(|it| is_workspace(it));
    for (name, directory) in crates_by_path(directory, workspace) {
        collect(&name, &directory, &CRATE, &mut files)?;
    }
    if let Some(workspace) = workspace {
        collect("workspace", workspace, &["Cargo.toml", "Cargo.lock"], &mut files)?;
    }
    // The copy of the SDK that `plugin new` makes.
    collect("sdk", &directory.join(".proxywhirl/plugin-sdk"), &["src", "Cargo.toml"], &mut files)?;
    let checkout =
        directory.ancestors().find(|it| it.join("plugin-sdk/Cargo.toml").is_file() && it.join("wit").is_dir());
    if let Some(checkout) = checkout {
        collect("sdk", &checkout.join("plugin-sdk"), &["src"], &mut files)?;
        collect("contract", checkout, &["wit"], &mut files)?;
    }
    add(files, hash)
}

/// A crate and those that it depends on by path, directly or not, each with a name of its own. A manifest that cannot be
/// read adds none: Cargo says what is wrong with it.
fn crates_by_path(directory: &Path, workspace: Option<&Path>) -> BTreeMap<String, PathBuf> {
    let manifest = |directory: &Path| -> toml::Table {
        let text = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
        text.parse().unwrap_or_default()
    };
    let shared = workspace.map(manifest).unwrap_or_default();
    let shared = shared.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let mut found = BTreeMap::from([("crate".to_owned(), directory.to_owned())]);
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let manifest = manifest(&directory);
        let Some(dependencies) = manifest.get("dependencies").and_then(toml::Value::as_table) else { continue };
        for (name, written) in dependencies {
            let of = |place: Option<&toml::Value>, base: Option<&Path>| {
                Some(base?.join(place?.get("path")?.as_str()?)).and_then(|path| path.canonicalize().ok())
            };
            let path = of(Some(written), Some(&directory))
                .or_else(|| of(shared.and_then(|shared| shared.get(name)), workspace));
            // The SDK and the contract have parts of their own.
            let Some(path) = path.filter(|path| !path.ends_with("plugin-sdk")) else { continue };
            if found.len() < MAX_CRATES && !found.values().any(|known| *known == path) {
                found.insert(format!("crate {name}"), path.clone());
                open.push(path);
            }
        }
    }
    found
}

fn files_of_project(directory: &Path, language: Language, hash: &mut Sha256) -> io::Result<()> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !["dist", "tests", "target", "README.md"].contains(&&*name) && !is_passing(&name) {
            parts.push(name);
        }
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let mut files = Vec::new();
    collect("project", directory, &parts, &mut files)?;
    add(files, hash)?;
    for (name, text) in contract::FILES.iter().chain(foreign::glue(language)) {
        part(hash, name.as_bytes());
        part(hash, text.as_bytes());
    }
    Ok(())
}

/// Whether a file is hidden, or left there by an interpreter.
fn is_passing(name: &str) -> bool {
    name.starts_with('.') || name == "__pycache__"
}

/// Adds files with their names, in the order of these.
fn add(mut files: Vec<(String, PathBuf)>, hash: &mut Sha256) -> io::Result<()> {
    files.sort();
    for (name, path) in files {
        part(hash, name.as_bytes());
        part(hash, &fs::read(path)?);
    }
    Ok(())
}

/// Lengths before contents: no two lists of files have the same bytes.
fn part(hash: &mut Sha256, part: &[u8]) {
    hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
    hash.update(part);
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
                let file = entry.file_name().to_string_lossy().into_owned();
                if !is_passing(&file) {
                    open.push((format!("{name}/{file}"), entry.path()));
                }
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
            ("plugins/Cargo.toml", "[workspace]\n[workspace.dependencies]\nshared = { path = \"shared\" }\n"),
            ("plugins/Cargo.lock", "lock"),
            ("plugins/a/Cargo.toml", "[dependencies]\nshared.workspace = true\n"),
            ("plugins/a/options.json", "{}"),
            ("plugins/shared/Cargo.toml", "[dependencies]\ndeeper = { path = \"../deeper\" }\n"),
            ("plugins/shared/src/lib.rs", "shared"),
            ("plugins/deeper/src/lib.rs", "deeper"),
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
            "plugins/a/options.json",
            "plugins/shared/src/lib.rs",
            "plugins/deeper/src/lib.rs",
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

    #[test]
    fn of_a_project_everything_counts_but_what_it_is_tested_with() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let digest = || source_digest(directory.path()).unwrap();
        write(
            "plugin.toml",
            "name = \"a\"\nkind = \"hook\"\nlanguage = \"python\"\nversion = \"0.1.0\"\nsummary = \"\"\n",
        );
        write("plugin.py", "one");
        let before = digest();
        for passing in ["tests/a.toml", "dist/a.wasm", "__pycache__/plugin.pyc", "lib/__pycache__/x", ".git/HEAD"] {
            write(passing, "changed");
            assert_eq!(before, digest(), "{passing}");
        }
        let mut seen = vec![before];
        for (file, text) in [("plugin.py", "two"), ("lib/helper.py", ""), ("options.json", "{}")] {
            write(file, text);
            let now = digest();
            assert!(!seen.contains(&now), "{file}");
            seen.push(now);
        }
    }
}
