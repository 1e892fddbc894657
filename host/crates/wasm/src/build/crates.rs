//! What there is to build, as Cargo sees it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::BuildError;

/// A workspace, or a crate on its own.
#[derive(Debug)]
pub(crate) struct Crates {
    /// The directory of the workspace's manifest.
    pub(crate) root: PathBuf,
    /// A directory below the workspace's own where Cargo can build plugins, so that its flags, which are
    /// other than those of a native build, make Cargo build nothing twice.
    #[cfg_attr(unix, expect(dead_code, reason = "projects share a directory where a compiler can be wrapped"))]
    pub(crate) target: PathBuf,
    /// The libraries that become plugins.
    pub(crate) libraries: Vec<Library>,
}

/// A library that becomes a plugin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Library {
    /// The package's name.
    pub(crate) package: String,
    /// The name of the file that Cargo makes, without its extension.
    pub(crate) file: String,
    /// The directory of the package's manifest.
    pub(crate) directory: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Crates {
    /// Asks Cargo about a directory.
    pub(crate) fn read(path: &Path) -> Result<Self, BuildError> {
        let refused = |reason: String| {
            let reason = format!("no crate that Cargo can read: {reason}");
            BuildError::Project { path: path.to_owned(), reason }
        };
        let path = path.canonicalize().map_err(|error| refused(error.to_string()))?;
        let manifest = path.join("Cargo.toml");
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(&manifest)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| refused(format!("cargo cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout).map_err(|error| refused(error.to_string()))?;
        let libraries = libraries(&metadata, &manifest);
        if libraries.is_empty() {
            return Err(BuildError::NoLibrary(path));
        }
        Ok(Self { root: metadata.workspace_root, target: metadata.target_directory.join("plugin"), libraries })
    }
}

/// The libraries of the package with this manifest, or of all packages if it is a workspace's only.
fn libraries(metadata: &Metadata, manifest: &Path) -> Vec<Library> {
    let single = metadata.packages.iter().any(|package| package.manifest_path == manifest);
    let mut libraries: Vec<Library> = metadata
        .packages
        .iter()
        .filter(|package| !single || package.manifest_path == manifest)
        .filter_map(|package| {
            let target = package.targets.iter().find(|it| it.crate_types.iter().any(|ty| ty == "cdylib"))?;
            Some(Library {
                package: package.name.clone(),
                file: target.name.replace('-', "_"),
                directory: package.manifest_path.parent()?.to_owned(),
            })
        })
        .collect();
    libraries.sort_by(|a, b| a.package.cmp(&b.package));
    libraries
}

/// Cargo, without what the surrounding build may have set for itself.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for variable in ["RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "CARGO_BUILD_RUSTFLAGS"] {
        command.env_remove(variable);
    }
    command
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn package(name: &str, crate_type: &str) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: format!("/w/{name}/Cargo.toml").into(),
            targets: vec![Target { name: name.to_owned(), crate_types: vec![crate_type.to_owned()] }],
        }
    }

    #[test]
    fn a_workspace_has_all_its_cdylibs_and_a_crate_only_its_own() {
        let metadata = Metadata {
            packages: vec![package("b-two", "cdylib"), package("a", "cdylib"), package("c", "lib")],
            workspace_root: "/w".into(),
            target_directory: "/w/target".into(),
        };
        let names = |manifest: &str| -> Vec<String> {
            libraries(&metadata, Path::new(manifest)).into_iter().map(|library| library.file).collect()
        };
        assert_eq!(names("/w/Cargo.toml"), ["a", "b_two"]);
        assert_eq!(names("/w/b-two/Cargo.toml"), ["b_two"]);
        assert!(names("/w/c/Cargo.toml").is_empty());
    }

    #[test]
    fn a_directory_without_a_crate_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let error = Crates::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&*directory.path().to_string_lossy()), "{error}");
    }
}
