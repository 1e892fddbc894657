//! Building plugins: from a crate to a component that carries its manifest.
//!
//! Cargo makes a core module, [`wit_component`] a component of it; the component is then asked about
//! itself in the sandbox in which it will run, and the answer goes into it as its manifest, together
//! with a digest of the sources. Equal sources and an equal toolchain give equal bytes, wherever the
//! checkout lies.

mod componentize;
mod project;
mod sources;
mod toolchain;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::config::PluginsConfig;
use crate::plugin::{Bytes, Plugin, hex};
use crate::runtime::Runtime;
use project::{Library, Project};
pub use sources::source_digest;
use toolchain::Toolchain;

/// Lines of Cargo's output that an error shows.
const SHOWN: usize = 60;

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// A crate, or a workspace of which every `cdylib` is a plugin.
    pub path: PathBuf,
    /// Where the components go; `dist/` beside the workspace's manifest if not said.
    pub out: Option<PathBuf>,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The toolchain that was found, in words for people.
    Toolchain(&'a str),
    /// A line that Cargo wrote.
    Cargo(&'a str),
    /// A component is being made of the module of this crate.
    Component(&'a str),
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
    /// Cargo cannot say what is there.
    #[error("{} is no crate that Cargo can read: {reason}", .path.display())]
    Project {
        /// Where the crate should be.
        path: PathBuf,
        /// What Cargo said.
        reason: String,
    },
    /// There is no library for WebAssembly.
    #[error("{} has no library with crate-type cdylib", .0.display())]
    NoLibrary(PathBuf),
    /// No compiler for WebAssembly.
    #[error("no Rust toolchain here can build for WebAssembly: {reason}")]
    Toolchain {
        /// What is missing.
        reason: String,
        /// The one command that helps.
        hint: &'static str,
    },
    /// The compiler refused.
    #[error("the build failed:\n{0}")]
    Cargo(String),
    /// What came out is no plugin.
    #[error("{library}: {reason}")]
    Component {
        /// The crate.
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
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Toolchain { hint, .. } => Some(hint),
            Self::NoLibrary(_) => Some("add [lib] crate-type = [\"cdylib\"] to its Cargo.toml"),
            Self::Project { .. } | Self::Cargo(_) | Self::Component { .. } | Self::File { .. } => None,
        }
    }
}

/// Builds every plugin of a crate or workspace, and writes each to its own file. Takes seconds, or
/// minutes when the standard library must be built first.
///
/// # Errors
/// When there is no toolchain, the compiler refuses, or a component is no plugin for this host. No
/// file is written then.
pub fn build(request: &BuildRequest, mut progress: impl FnMut(Progress<'_>)) -> Result<Vec<Built>, BuildError> {
    let project = Project::read(&request.path)?;
    let toolchain = Toolchain::find(&project.root)?;
    progress(Progress::Toolchain(&toolchain.summary));
    for library in &project.libraries {
        compile(&project, &toolchain, library, &mut progress)?;
    }
    let runtime = sandbox().map_err(|reason| BuildError::Component { library: "wasmtime".to_owned(), reason })?;
    let mut components = BTreeMap::new();
    for library in &project.libraries {
        progress(Progress::Component(&library.package));
        let (name, kind, bytes) = component(&project, &toolchain, library, &runtime)?;
        if let Some((other, ..)) = components.insert(name.clone(), (&library.package, kind, bytes)) {
            let reason = format!("its plugin is named {name}, as is that of {other}");
            return Err(BuildError::Component { library: library.package.clone(), reason });
        }
    }
    let out = request.out.clone().unwrap_or_else(|| project.root.join("dist"));
    fs::create_dir_all(&out).map_err(|source| BuildError::File { path: out.clone(), source })?;
    let mut built = Vec::new();
    for (name, (_, kind, bytes)) in components {
        let file = out.join(format!("{name}.wasm"));
        write(&file, &bytes).map_err(|source| BuildError::File { path: file.clone(), source })?;
        built.push(Built { name, kind, file, bytes: bytes.len(), digest: hex(&Sha256::digest(&bytes)) });
    }
    Ok(built)
}

/// Runs Cargo for one library. Together they would share the features of their dependencies, and a
/// plugin would depend on which others were built with it.
fn compile(
    project: &Project,
    toolchain: &Toolchain,
    library: &Library,
    progress: &mut impl FnMut(Progress<'_>),
) -> Result<(), BuildError> {
    let failed = |error: io::Error| BuildError::Cargo(format!("cargo cannot be run: {error}"));
    let mut command = project::cargo();
    command.current_dir(&project.root).args(["build", "--release", "--lib", "--color", "never"]);
    command.arg("--target").arg(toolchain.target).arg("--target-dir").arg(&project.target);
    command.arg("--package").arg(&library.package);
    toolchain
        .apply(&mut command, project)
        .map_err(|source| BuildError::File { path: project.target.clone(), source })?;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let mut lines: Vec<String> = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = String::from_utf8_lossy(&line.map_err(failed)?).into_owned();
            progress(Progress::Cargo(&line));
            if !line.trim_start().starts_with("Compiling ") {
                lines.push(line);
            }
            if lines.len() > SHOWN {
                lines.remove(0);
            }
        }
    }
    if child.wait().map_err(failed)?.success() { Ok(()) } else { Err(BuildError::Cargo(lines.join("\n"))) }
}

/// The component of a library that was compiled, with its manifest.
fn component(
    project: &Project,
    toolchain: &Toolchain,
    library: &Library,
    runtime: &Arc<Runtime>,
) -> Result<(String, PluginKind, Vec<u8>), BuildError> {
    let broken = |reason: String| BuildError::Component { library: library.package.clone(), reason };
    let file = project.target.join(toolchain.target).join("release").join(format!("{}.wasm", library.file));
    let module = fs::read(&file).map_err(|source| BuildError::File { path: file, source })?;
    let mut component = componentize::componentize(module).map_err(broken)?;
    let plugin = Plugin::load(runtime, &library.package, Bytes::Read(component.as_slice().into()))
        .map_err(|unfit| broken(format!("{} (hint: {})", unfit.reason, unfit.hint)))?;
    let mut manifest = plugin.manifest.clone();
    manifest.sources = source_digest(&library.directory)
        .map_err(|source| BuildError::File { path: library.directory.clone(), source })?;
    manifest.append_to(&mut component).map_err(|error| broken(error.to_string()))?;
    Ok((manifest.name, plugin.kind(), component))
}

/// A runtime that only asks components about themselves.
fn sandbox() -> Result<Arc<Runtime>, String> {
    let clock = Arc::new(|| Timestamp::from_micros(0));
    let config = PluginsConfig::new(Arc::new(Symbols::default()), clock);
    let (runtime, _) = Runtime::new(&config).map_err(|error| format!("{error:#}"))?;
    Ok(Arc::new(runtime))
}

/// Writes a file so that whoever reads it sees all of it or nothing.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, file)
}

/// The first line that a command prints, if it succeeds.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().map(str::to_owned)).flatten()
}
