//! Plugins in Rust: Cargo makes a core module, which becomes a component here and is asked about itself
//! in the sandbox in which it will run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::time::Timestamp;

use super::crates::{Crates, Library, cargo};
use super::project_file::ProjectFile;
use super::toolchain::Toolchain;
use super::{BuildError, Component, Progress, componentize, source_digest, tool, workshop};
use crate::config::PluginsConfig;
use crate::plugin::{Bytes, Plugin};
use crate::runtime::Runtime;

/// How long Cargo may take: the first time it may have a registry to fetch and a standard library to build.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Builds every plugin of a crate or workspace.
pub(crate) fn build(
    path: &Path,
    file: Option<&ProjectFile>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Component>, BuildError> {
    let crates = Crates::read(path)?;
    let toolchain = Toolchain::find(&crates.root)?;
    progress(Progress::Toolchain(&toolchain.summary));
    let target = toolchain.target_directory(&crates)?;
    // From here until the modules are read, no other project's of the same name may take their place.
    let _lock = workshop::lock(&target)?;
    for library in &crates.libraries {
        compile(&crates, &target, &toolchain, library, progress)?;
    }
    let runtime = sandbox().map_err(|reason| BuildError::Component { library: "wasmtime".to_owned(), reason })?;
    let mut components = Vec::new();
    for library in &crates.libraries {
        progress(Progress::Component(&library.package));
        let (name, kind, bytes) = component(&target, &toolchain, library, &runtime)?;
        if let Some(file) = file
            && (file.name != name || file.kind != kind)
        {
            let reason =
                format!("it says that it is the {kind} {name}, but {} the {} {}", super::FILE, file.kind, file.name);
            return Err(BuildError::Component { library: library.package.clone(), reason });
        }
        components.push(Component { name, kind, bytes, from: library.package.clone(), out: crates.root.join("dist") });
    }
    Ok(components)
}

/// Runs Cargo for one library. Together they would share the features of their dependencies, and a
/// plugin would depend on which others were built with it.
fn compile(
    crates: &Crates,
    target: &Path,
    toolchain: &Toolchain,
    library: &Library,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), BuildError> {
    let mut command = cargo();
    command.current_dir(&crates.root).args(["build", "--release", "--lib", "--color", "never"]);
    command.arg("--target").arg(toolchain.target).arg("--target-dir").arg(target);
    command.arg("--package").arg(&library.package);
    toolchain
        .apply(&mut command, crates, target)
        .map_err(|source| BuildError::File { path: target.to_owned(), source })?;
    tool::run(&mut command, "cargo", LIMIT, &mut |line| progress(Progress::Output(line)))
}

/// The component of a library that was compiled, with its manifest.
fn component(
    target: &Path,
    toolchain: &Toolchain,
    library: &Library,
    runtime: &Arc<Runtime>,
) -> Result<(String, PluginKind, Vec<u8>), BuildError> {
    let broken = |reason: String| BuildError::Component { library: library.package.clone(), reason };
    let file: PathBuf = target.join(toolchain.target).join("release").join(format!("{}.wasm", library.file));
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
