//! Building plugins: from a project in one of four languages to a component that carries its manifest.
//!
//! Cargo makes a core module of a crate, and clang of a project in C; [`wit_component`] makes components
//! of those. Projects in Python and JavaScript become components by tools that bring an interpreter,
//! installed once for all projects of a user by the language's own package manager. What a toolchain
//! would import of WASI is left out, so every component asks for interfaces of the contract only.
//!
//! The manifest goes into the component, together with a digest of the sources: a crate is asked about
//! itself in the sandbox in which it will run, any other project says it in its `plugin.toml`. Equal
//! crates and an equal toolchain give equal bytes, wherever the checkout lies.

mod c;
mod componentize;
mod contract;
mod crates;
mod foreign;
mod javascript;
mod project_file;
mod python;
mod rust;
mod sources;
mod tool;
mod toolchain;
mod workshop;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proxywhirl_core::plugin::PluginKind;
use sha2::{Digest as _, Sha256};

use crate::plugin::hex;
pub use project_file::{FILE, Language, ProjectFile, check_name};
pub use sources::source_digest;

/// Projects that a folder may hold; more means that it is not a folder of projects.
const MAX_PROJECTS: usize = 1_000;

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// A project, a workspace of which every `cdylib` is a plugin, or a folder of such.
    pub path: PathBuf,
    /// Where the components go; `dist/` of each project or workspace if not said.
    pub out: Option<PathBuf>,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The toolchain that was found, in words for people.
    Toolchain(&'a str),
    /// A line that a tool wrote.
    Output(&'a str),
    /// A component is being made of this crate or project.
    Component(&'a str),
    /// The component of this project is there from the last time, and nothing has changed.
    Unchanged(&'a str),
}

/// A plugin that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The plugin's name.
    pub name: String,
    /// What it is for.
    pub kind: PluginKind,
    /// The component.
    pub file: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// Its SHA-256, in hexadecimal.
    pub digest: String,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no project.
    #[error("{} holds neither plugin.toml nor Cargo.toml, nor folders with one", .0.display())]
    Nothing(PathBuf),
    /// A project's file cannot be read.
    #[error("{}: {reason}", .path.display())]
    Project {
        /// The file, or where it should be.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no library for WebAssembly.
    #[error("{} has no library with crate-type cdylib", .0.display())]
    NoLibrary(PathBuf),
    /// No compiler for WebAssembly.
    #[error("no toolchain here can build {language} for WebAssembly: {reason}")]
    Toolchain {
        /// The language.
        language: &'static str,
        /// What is missing.
        reason: String,
        /// The one command that helps.
        hint: String,
    },
    /// A tool refused.
    #[error("{tool} failed:\n{output}")]
    Tool {
        /// Which.
        tool: String,
        /// The end of what it wrote.
        output: String,
    },
    /// What came out is no plugin.
    #[error("{library}: {reason}")]
    Component {
        /// The crate or project.
        library: String,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    /// What to do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Toolchain { hint, .. } => Some(hint),
            Self::NoLibrary(_) => Some("add [lib] crate-type = [\"cdylib\"] to its Cargo.toml"),
            Self::Nothing(_) => Some("make a project: proxywhirl plugin new strategy NAME --lang rust"),
            Self::Project { .. } | Self::Tool { .. } | Self::Component { .. } | Self::File { .. } => None,
        }
    }
}

/// A component that is ready to be written.
struct Component {
    name: String,
    kind: PluginKind,
    bytes: Vec<u8>,
    /// The crate or project that it is of.
    from: String,
    /// Where it goes if nobody says otherwise.
    out: PathBuf,
}

/// The projects at a path: itself, if it is one; otherwise the folders right below it that are. A
/// workspace of crates is one project.
///
/// # Errors
/// When there is none, or the folder cannot be read.
pub fn projects(path: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let at = |source: io::Error| BuildError::File { path: path.to_owned(), source };
    let path = path.canonicalize().map_err(at)?;
    let is_project = |folder: &Path| folder.join(FILE).is_file() || folder.join("Cargo.toml").is_file();
    if is_project(&path) {
        return Ok(vec![path]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&path).map_err(at)? {
        let folder = entry.map_err(at)?.path();
        let hidden = folder.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && is_project(&folder) {
            found.push(folder);
        }
        if found.len() > MAX_PROJECTS {
            return Err(at(io::Error::other(format!("more than {MAX_PROJECTS} projects"))));
        }
    }
    if found.is_empty() {
        return Err(BuildError::Nothing(path));
    }
    found.sort();
    Ok(found)
}

/// Builds every plugin at a path, and writes each to its own file. Takes seconds, or minutes when a
/// toolchain must be installed or the standard library built first.
///
/// # Errors
/// When there is no toolchain, a tool refuses, or a component is no plugin for this host. No file is
/// written then.
pub fn build(request: &BuildRequest, mut progress: impl FnMut(Progress<'_>)) -> Result<Vec<Built>, BuildError> {
    let mut components: BTreeMap<String, Component> = BTreeMap::new();
    for project in projects(&request.path)? {
        let file = ProjectFile::read(&project)?;
        let made = match &file {
            Some(file) if file.language != Language::Rust => vec![foreign::build(&project, file, &mut progress)?],
            file => rust::build(&project, file.as_ref(), &mut progress)?,
        };
        for component in made {
            if let Some(other) = components.get(&component.name) {
                let reason = format!("its plugin is named {}, as is that of {}", component.name, other.from);
                return Err(BuildError::Component { library: component.from, reason });
            }
            components.insert(component.name.clone(), component);
        }
    }
    let mut built = Vec::new();
    for (name, component) in components {
        let out = request.out.clone().unwrap_or(component.out);
        fs::create_dir_all(&out).map_err(|source| BuildError::File { path: out.clone(), source })?;
        let file = out.join(format!("{name}.wasm"));
        write(&file, &component.bytes).map_err(|source| BuildError::File { path: file.clone(), source })?;
        let digest = hex(&Sha256::digest(&component.bytes));
        built.push(Built { name, kind: component.kind, file, bytes: component.bytes.len(), digest });
    }
    Ok(built)
}

/// Writes a file so that whoever reads it sees all of it or nothing.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        directory
    }

    fn names(directory: &Path) -> Vec<String> {
        let found = projects(directory).unwrap();
        found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_folder_of_projects_has_those_right_below_it() {
        let directory =
            folder(&["b/plugin.toml", "a/Cargo.toml", "c/README.md", ".hidden/plugin.toml", "d/e/plugin.toml"]);
        assert_eq!(names(directory.path()), ["a", "b"]);
        assert_eq!(names(&directory.path().join("b")), ["b"]);
    }

    #[test]
    fn a_project_is_not_looked_into() {
        let directory = folder(&["p/Cargo.toml", "p/inner/plugin.toml"]);
        assert_eq!(names(&directory.path().join("p")), ["p"]);
    }

    #[test]
    fn a_folder_without_projects_is_an_error_that_says_what_to_do() {
        let directory = folder(&["c/README.md"]);
        let error = projects(directory.path()).unwrap_err();
        assert!(error.to_string().contains("neither plugin.toml nor Cargo.toml"), "{error}");
        assert!(error.hint().unwrap().contains("plugin new"));
        assert!(projects(&directory.path().join("nowhere")).is_err());
    }
}
