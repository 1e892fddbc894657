//! The plugins that there are: those that the binary embeds and those in the plugins directory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxywhirl_core::plugin::{Hook, Parser, PluginFault, PluginKind, StrategyFactory};

use crate::config::PluginsConfig;
use crate::directory;
use crate::hook;
use crate::inspect::Unfit;
use crate::options::{self, OptionsError};
use crate::parser;
use crate::plugin::{Bytes, Plugin};
use crate::runtime::Runtime;
use crate::strategy::Factory;

/// Where a plugin came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The binary itself; the name is for messages.
    Bundled(String),
    /// A file in the plugins directory.
    File(PathBuf),
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
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The capabilities that it wants beyond what every plugin of its kind gets.
    pub capabilities: Vec<String>,
    /// JSON Schema of its options, as JSON text.
    pub options_schema: String,
    /// SHA-256 of the sources that it was built from, as it says itself; empty when it does not.
    pub sources: String,
    /// Whether it stands in for a bundled plugin of the same name.
    pub overrides: bool,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<LoadProblem>,
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

/// The plugins that there are. Cheap to ask; nothing is compiled before it is used.
pub struct Plugins {
    usable: BTreeMap<String, Loaded>,
    unusable: Vec<PluginInfo>,
    problems: Vec<LoadProblem>,
}

struct Loaded {
    plugin: Arc<Plugin>,
    origin: Origin,
    overrides: bool,
}

impl Plugins {
    /// Reads the bundle and the plugins directory. A file that is no plugin is a problem, to be listed
    /// and reported, and keeps no other from being loaded.
    ///
    /// Components that `plugin build` made are only read. One without a manifest must be compiled and
    /// asked for its name, which for a component in Python takes seconds, unless its code is cached.
    ///
    /// # Errors
    /// When the directory cannot be read, or when the machine cannot run WebAssembly.
    pub fn load(config: PluginsConfig) -> Result<Self, LoadError> {
        let (runtime, uncached) = Runtime::new(&config).map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let runtime = Arc::new(runtime);
        let mut library = Self { usable: BTreeMap::new(), unusable: Vec::new(), problems: Vec::new() };
        if let (Some(error), Some(file)) = (uncached, config.cache.clone()) {
            library.report(LoadProblem {
                file,
                reason: format!("cannot be used to cache compiled code: {error}"),
                hint: "make it a directory of your own with mode 0700, or choose another".to_owned(),
            });
        }
        for (name, bytes) in config.bundle {
            library.add(&runtime, Origin::Bundled((*name).to_owned()), Ok(Bytes::Bundled(bytes)));
        }
        if let Some(directory) = config.directory {
            let files = directory::files(&directory);
            let files = files.map_err(|source| LoadError::Directory { directory, source })?;
            let bundled = std::mem::take(&mut library.usable);
            for file in files {
                let bytes = directory::read(&file).map(|bytes| Bytes::Read(bytes.into()));
                library.add(&runtime, Origin::File(file), bytes);
            }
            library.fill(bundled);
        }
        Ok(library)
    }

    /// What there is, by name, those with a problem last.
    #[must_use]
    pub fn list(&self) -> Vec<PluginInfo> {
        let usable = self.usable.values().map(|loaded| info(&loaded.plugin, &loaded.origin, loaded.overrides));
        usable.chain(self.unusable.iter().cloned()).collect()
    }

    /// What is wrong with the files that are not usable, and with the cache.
    #[must_use]
    pub fn problems(&self) -> &[LoadProblem] {
        &self.problems
    }

    /// A strategy, which is compiled and started once to see that it takes its options. Blocks.
    ///
    /// # Errors
    /// When there is none of that name, or it or its options are unusable.
    pub fn strategy(&self, name: &str, options: &str) -> Result<Arc<dyn StrategyFactory>, PluginError> {
        let (plugin, options) = self.configured(PluginKind::Strategy, name, options)?;
        Ok(Arc::new(Factory::new(plugin, options)?))
    }

    /// A hook, which is compiled and started. Blocks.
    ///
    /// # Errors
    /// When there is none of that name, or it or its options are unusable.
    pub fn hook(&self, name: &str, options: &str) -> Result<Box<dyn Hook>, PluginError> {
        let (plugin, options) = self.configured(PluginKind::Hook, name, options)?;
        Ok(Box::new(hook::Sandboxed::new(plugin, options)?))
    }

    /// All parsers, by name. Each is compiled at its first call.
    #[must_use]
    pub fn parsers(&self) -> Vec<Arc<dyn Parser>> {
        let parsers = self.usable.values().filter(|loaded| loaded.plugin.kind() == PluginKind::Parser);
        parsers.map(|loaded| parser(&loaded.plugin)).collect()
    }

    /// A parser.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn parser(&self, name: &str) -> Result<Arc<dyn Parser>, PluginError> {
        Ok(parser(self.find(PluginKind::Parser, name)?))
    }

    /// Checks options against a plugin's schema and gives back what it may be told: for parsers, which
    /// get theirs with each document.
    ///
    /// # Errors
    /// When there is no such plugin, or the options do not fit its schema.
    pub fn check_options(&self, kind: PluginKind, name: &str, options: &str) -> Result<String, PluginError> {
        let plugin = self.find(kind, name)?;
        Ok(options::check(name, &plugin.manifest.options_schema, options)?)
    }

    fn find(&self, kind: PluginKind, name: &str) -> Result<&Arc<Plugin>, PluginError> {
        let found = self.usable.get(name).filter(|loaded| loaded.plugin.kind() == kind);
        found.map(|loaded| &loaded.plugin).ok_or_else(|| {
            let of_kind = self.usable.values().filter(|loaded| loaded.plugin.kind() == kind);
            let known = of_kind.map(|loaded| loaded.plugin.name().to_owned()).collect();
            PluginError::Unknown { kind, name: name.to_owned(), known }
        })
    }

    fn configured(&self, kind: PluginKind, name: &str, options: &str) -> Result<(Arc<Plugin>, Arc<str>), PluginError> {
        let options = self.check_options(kind, name, options)?;
        Ok((Arc::clone(self.find(kind, name)?), options.into()))
    }

    fn add(&mut self, runtime: &Arc<Runtime>, origin: Origin, bytes: Result<Bytes, Unfit>) {
        let file = path(&origin).to_owned();
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let plugin = match bytes.and_then(|bytes| Plugin::load(runtime, &stem, bytes)) {
            Ok(plugin) => plugin,
            Err(Unfit { reason, hint }) => {
                let problem = LoadProblem { file, reason, hint };
                self.unusable.push(broken(stem, origin, problem.clone()));
                self.report(problem);
                return;
            }
        };
        let loaded = Loaded { plugin: Arc::new(plugin), origin, overrides: false };
        if let Some(other) = self.usable.remove(loaded.plugin.name()) {
            return self.ambiguous(&other, &loaded);
        }
        // A third file of a name that was ambiguous before is no better than the first two.
        let before = self.unusable.iter().find(|it| it.name == loaded.plugin.name() && it.kind.is_some());
        if let Some(before) = before {
            let other = path(&before.origin).to_owned();
            return self.refuse_twin(&loaded, &other);
        }
        self.usable.insert(loaded.plugin.name().to_owned(), loaded);
    }

    /// Neither of two files of the same name is taken: which one was meant, nobody can tell.
    fn ambiguous(&mut self, first: &Loaded, second: &Loaded) {
        self.refuse_twin(first, path(&second.origin));
        self.refuse_twin(second, path(&first.origin));
    }

    fn refuse_twin(&mut self, loaded: &Loaded, other: &Path) {
        let problem = LoadProblem {
            file: path(&loaded.origin).to_owned(),
            reason: format!("{} is also the name of {}", loaded.plugin.name(), other.display()),
            hint: "remove one of the two files".to_owned(),
        };
        let mut info = info(&loaded.plugin, &loaded.origin, false);
        info.problem = Some(problem.clone());
        self.unusable.push(info);
        self.report(problem);
    }

    /// Adds the bundled plugins that no file stands in for.
    fn fill(&mut self, bundled: BTreeMap<String, Loaded>) {
        for (name, loaded) in bundled {
            match self.usable.get_mut(&name) {
                Some(own) => own.overrides = true,
                None => {
                    self.usable.insert(name, loaded);
                }
            }
        }
    }

    fn report(&mut self, problem: LoadProblem) {
        let LoadProblem { file, reason, hint } = &problem;
        tracing::warn!(target: "plugin", file = %file.display(), reason, hint, "not usable");
        self.problems.push(problem);
    }
}

fn path(origin: &Origin) -> &Path {
    match origin {
        Origin::Bundled(name) => Path::new(name),
        Origin::File(path) => path,
    }
}

fn parser(plugin: &Arc<Plugin>) -> Arc<dyn Parser> {
    Arc::new(parser::Sandboxed::new(Arc::clone(plugin)))
}

fn info(plugin: &Plugin, origin: &Origin, overrides: bool) -> PluginInfo {
    let manifest = plugin.manifest.clone();
    PluginInfo {
        name: manifest.name,
        version: manifest.version,
        kind: Some(plugin.kind()),
        summary: manifest.summary,
        origin: origin.clone(),
        digest: plugin.identity.digest.to_string(),
        size: plugin.size(),
        imports: plugin.inspection.imports.clone(),
        capabilities: manifest.capabilities,
        options_schema: manifest.options_schema,
        sources: manifest.sources,
        overrides,
        problem: None,
    }
}

fn broken(name: String, origin: Origin, problem: LoadProblem) -> PluginInfo {
    PluginInfo {
        name,
        version: String::new(),
        kind: None,
        summary: String::new(),
        origin,
        digest: String::new(),
        size: 0,
        imports: Vec::new(),
        capabilities: Vec::new(),
        options_schema: String::new(),
        sources: String::new(),
        overrides: false,
        problem: Some(problem),
    }
}
