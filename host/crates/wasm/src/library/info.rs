//! What is told of plugins.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxywhirl_core::plugin::{OnFault, PluginFault, PluginKind};

use crate::capability::Access;
use crate::config::Limits;
use crate::options::OptionsError;
use crate::plugin::Plugin;

/// Where a plugin came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The binary itself; the name is for messages.
    Bundled(String),
    /// A file in the plugins directory.
    File(PathBuf),
}

impl Origin {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Bundled(name) => Path::new(name),
            Self::File(path) => path,
        }
    }

    /// The file's name without its extension.
    pub(super) fn stem(&self) -> String {
        self.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundled(_) => f.write_str("bundled"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A file that is no plugin for this host, or a directory that cannot be used. All others are loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", .file.display())]
pub struct LoadProblem {
    /// The file or directory.
    pub file: PathBuf,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

/// Why no plugins can be loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plugins directory is not there or cannot be read.
    #[error("the plugins directory {} cannot be read", .directory.display())]
    Directory {
        /// As the configuration names it.
        directory: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The machine cannot run WebAssembly: no memory for code, or no thread.
    #[error("WebAssembly cannot be run: {0}")]
    Engine(String),
}

/// What is known of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// The name that users write; the file's name when there is a problem.
    pub name: String,
    /// Its version; empty when there is a problem.
    pub version: String,
    /// What it is for, if that could be told.
    pub kind: Option<PluginKind>,
    /// One sentence about it.
    pub summary: String,
    /// Where it came from.
    pub origin: Origin,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Its size in bytes.
    pub size: usize,
    /// The version of the contract that it was built for; empty when there is a problem.
    pub contract: String,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The capabilities that it wants beyond what every plugin of its kind gets.
    pub capabilities: Vec<String>,
    /// How it stands with each capability that it imports, wants or was granted.
    pub access: Vec<Access>,
    /// Whether it can hand its state over to its successor.
    pub handover: bool,
    /// What follows when it faults.
    pub on_fault: OnFault,
    /// What its next instance may use.
    pub limits: Option<Limits>,
    /// JSON Schema of its options, as JSON text.
    pub options_schema: String,
    /// SHA-256 of the sources that it was built from, as it says itself; empty when it does not.
    pub sources: String,
    /// Whether it stands in for a bundled plugin of the same name.
    pub overrides: bool,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<LoadProblem>,
    /// Why what its file holds by now is not in force, but what it held before.
    pub stale: Option<LoadProblem>,
}

/// Why a plugin cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// There is none of that name and kind.
    #[error("no {kind} named {name}; there are: {}", .known.join(", "))]
    Unknown {
        /// What it should be for.
        kind: PluginKind,
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Its options do not fit.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// It could not be compiled or started, or refused its options.
    #[error(transparent)]
    Fault(#[from] PluginFault),
}

/// What is other than it was before a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The plugin's name; the file's name when it is no plugin, empty when it is the directory.
    pub name: String,
    /// What it is for, if that could be told.
    pub kind: Option<PluginKind>,
    /// The digest that was in force before; none when there was no such plugin.
    pub before: Option<String>,
    /// The digest that is in force now; none when there is no such plugin any more.
    pub after: Option<String>,
    /// What is wrong with a file. With `before` and `after` alike: what was in force still is.
    pub problem: Option<LoadProblem>,
}

/// A plugin whose code is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compiled<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many are done, this one included.
    pub done: usize,
    /// Of how many.
    pub total: usize,
    /// Whether it was compiled before.
    pub cached: bool,
    /// How long that took.
    pub took: Duration,
}

/// What is told of a plugin that can be used.
pub(super) fn usable(plugin: &Plugin, origin: &Origin) -> PluginInfo {
    let manifest = plugin.manifest.clone();
    PluginInfo {
        name: manifest.name,
        version: manifest.version,
        kind: Some(plugin.kind()),
        summary: manifest.summary,
        origin: origin.clone(),
        digest: plugin.identity.digest.to_string(),
        size: plugin.size(),
        contract: plugin.inspection.contract.to_string(),
        imports: plugin.inspection.imports.clone(),
        capabilities: manifest.capabilities,
        access: plugin.pass.access(),
        handover: plugin.inspection.handover,
        on_fault: plugin.on_fault(),
        limits: Some(plugin.limits()),
        options_schema: manifest.options_schema,
        sources: manifest.sources,
        overrides: false,
        problem: None,
        stale: None,
    }
}

/// What is told of a file that is no plugin.
pub(super) fn unusable(origin: &Origin, problem: LoadProblem) -> PluginInfo {
    PluginInfo {
        name: origin.stem(),
        version: String::new(),
        kind: None,
        summary: String::new(),
        origin: origin.clone(),
        digest: String::new(),
        size: 0,
        contract: String::new(),
        imports: Vec::new(),
        capabilities: Vec::new(),
        access: Vec::new(),
        handover: false,
        on_fault: OnFault::default(),
        limits: None,
        options_schema: String::new(),
        sources: String::new(),
        overrides: false,
        problem: Some(problem),
        stale: None,
    }
}
