//! The plugins that there are: those that the binary embeds and those in the plugins directory.
//!
//! What is in force changes as a whole, by [`Plugins::refresh`]: whoever asks while that happens gets
//! what was in force before. A file that is half written or broken changes nothing, what it held before
//! stays in force. What was handed out is never taken back: a strategy, parser or hook goes on with the
//! component that it was made of.

pub(crate) mod info;
mod scan;
mod shelf;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use proxywhirl_core::plugin::{FaultCause, Hook, Parser, PluginFault, PluginKind, StrategyFactory};

use self::info::{Change, Compiled, LoadError, LoadProblem, PluginError, PluginInfo};
use self::scan::Seen;
use self::shelf::Shelf;
use crate::config::{PluginSettings, PluginsConfig};
use crate::hook;
use crate::manifest::Manifest;
use crate::options;
use crate::parallel;
use crate::parser;
use crate::plugin::Plugin;
use crate::runtime::Runtime;
use crate::strategy::Factory;

/// The plugins that there are. Cheap to ask; nothing is compiled before it is used.
pub struct Plugins {
    runtime: Arc<Runtime>,
    directory: Option<PathBuf>,
    bundle: Vec<Seen>,
    /// What is wrong with no file in particular, such as the cache.
    general: Vec<LoadProblem>,
    /// The files as they were last seen. Held for the whole of a refresh, so that there is one at a time.
    files: Mutex<BTreeMap<PathBuf, Seen>>,
    /// What is in force. Replaced by a refresh; held by readers for as long as it takes to copy a pointer.
    shelf: RwLock<Arc<Shelf>>,
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
        let mut general = Vec::new();
        if let (Some(error), Some(file)) = (uncached, config.cache) {
            general.push(LoadProblem {
                file,
                reason: format!("cannot be used to cache compiled code: {error}"),
                hint: "make it a directory of your own with mode 0700, or choose another".to_owned(),
            });
        }
        let bundle = scan::bundle(&runtime, config.bundle);
        let files = match &config.directory {
            None => BTreeMap::new(),
            Some(directory) => scan::files(&runtime, directory, &BTreeMap::new())
                .map_err(|source| LoadError::Directory { directory: directory.clone(), source })?,
        };
        let shelf = Shelf::arrange(&bundle, files.values(), &Shelf::default(), &general);
        shelf.problems.iter().for_each(report);
        let directory = config.directory;
        Ok(Self { runtime, directory, bundle, general, files: Mutex::new(files), shelf: RwLock::new(Arc::new(shelf)) })
    }

    /// Reads what has changed in the plugins directory, puts it in force, and says what is other than
    /// before. Each change and each problem is told once. Blocks, as [`Self::load`] does.
    pub fn refresh(&self) -> Vec<Change> {
        let Some(directory) = &self.directory else { return Vec::new() };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut general = self.general.clone();
        match scan::files(&self.runtime, directory, &files) {
            Ok(now) => *files = now,
            Err(error) => general.push(LoadProblem {
                file: directory.clone(),
                reason: format!("the plugins directory cannot be read: {error}"),
                hint: "what was in force stays in force until it can".to_owned(),
            }),
        }
        let before = self.shelf();
        let shelf = Shelf::arrange(&self.bundle, files.values(), &before, &general);
        let changes = shelf.changes(&before);
        changes.iter().filter_map(|change| change.problem.as_ref()).for_each(report);
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shelf);
        changes
    }

    /// What there is, by name, those with a problem last.
    #[must_use]
    pub fn list(&self) -> Vec<PluginInfo> {
        self.shelf().list()
    }

    /// What is known of a name.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<PluginInfo> {
        self.shelf().info(name)
    }

    /// What is wrong with files, and with the cache.
    #[must_use]
    pub fn problems(&self) -> Vec<LoadProblem> {
        self.shelf().problems.clone()
    }

    /// Reads one file as if it lay in the plugins directory, without adding it to what there is.
    ///
    /// # Errors
    /// When it is no plugin for this host.
    pub fn probe(&self, file: &Path) -> Result<PluginInfo, LoadProblem> {
        let seen = scan::file(&self.runtime, file, None);
        match (seen.plugin, seen.problem) {
            (Some(plugin), _) => Ok(info::usable(&plugin, &seen.origin)),
            (None, problem) => Err(problem.unwrap_or_else(|| LoadProblem {
                file: file.to_owned(),
                reason: "no plugin".to_owned(),
                hint: String::new(),
            })),
        }
    }

    /// What a plugin answers when a fresh instance of it is asked about itself, whatever its manifest says.
    ///
    /// # Errors
    /// When there is none of that name, or it does not answer.
    pub fn describe(&self, kind: PluginKind, name: &str) -> Result<Manifest, PluginError> {
        let plugin = self.find(kind, name)?;
        Ok(plugin.describe().map_err(|unfit| plugin.fault("describe", FaultCause::InvalidAnswer, &unfit.reason))?)
    }

    /// Bytes of linear memory that all living instances of a plugin have together; none when there is no
    /// such plugin. What a refresh has replaced is not among them.
    #[must_use]
    pub fn memory(&self, name: &str) -> Option<u64> {
        self.shelf().usable.get(name).map(|loaded| loaded.plugin.memory())
    }

    /// What was said of a plugin; the default when nothing was.
    #[must_use]
    pub fn settings(&self, name: &str) -> PluginSettings {
        PluginSettings::clone(&self.runtime.accounts.of(name).settings())
    }

    /// Says something else of a plugin, whether there is one of that name or not; whether it is other
    /// than before. Grants and `on_fault` hold at once, limits from the next instance on.
    pub fn set_settings(&self, name: &str, settings: PluginSettings) -> bool {
        self.runtime.accounts.set(name, settings)
    }

    /// Compiles what is not compiled yet, on all processors, and tells of each as it is done, in any
    /// order. Answers with those that cannot be compiled. Blocks.
    pub fn compile_all(&self, progress: &(dyn Fn(&Compiled<'_>) + Sync)) -> Vec<PluginFault> {
        let shelf = self.shelf();
        let plugins: Vec<&Arc<Plugin>> = shelf.usable.values().map(|loaded| &loaded.plugin).collect();
        let done = AtomicUsize::new(0);
        let faults = parallel::map(&plugins, |plugin| {
            let began = Instant::now();
            let code = plugin.code();
            // Relaxed: it only counts.
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let cached = code.as_ref().is_ok_and(|code| code.cached);
            progress(&Compiled { name: plugin.name(), done, total: plugins.len(), cached, took: began.elapsed() });
            code.err()
        });
        faults.into_iter().flatten().collect()
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
        self.shelf().of_kind(PluginKind::Parser).map(parser).collect()
    }

    /// A parser.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn parser(&self, name: &str) -> Result<Arc<dyn Parser>, PluginError> {
        Ok(parser(&self.find(PluginKind::Parser, name)?))
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

    fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, kind: PluginKind, name: &str) -> Result<Arc<Plugin>, PluginError> {
        let shelf = self.shelf();
        let found = shelf.of_kind(kind).find(|plugin| plugin.name() == name);
        found.map(Arc::clone).ok_or_else(|| {
            let known = shelf.of_kind(kind).map(|plugin| plugin.name().to_owned()).collect();
            PluginError::Unknown { kind, name: name.to_owned(), known }
        })
    }

    /// The plugin and its options, of the same component even if there is a refresh meanwhile.
    fn configured(&self, kind: PluginKind, name: &str, options: &str) -> Result<(Arc<Plugin>, Arc<str>), PluginError> {
        let plugin = self.find(kind, name)?;
        let options = options::check(name, &plugin.manifest.options_schema, options)?;
        Ok((plugin, options.into()))
    }
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shelf = self.shelf();
        f.debug_struct("Plugins").field("directory", &self.directory).field("names", &shelf.usable.keys()).finish()
    }
}

fn report(problem: &LoadProblem) {
    let LoadProblem { file, reason, hint } = problem;
    tracing::warn!(target: "plugin", file = %file.display(), reason, hint, "not usable");
}

fn parser(plugin: &Arc<Plugin>) -> Arc<dyn Parser> {
    Arc::new(parser::Sandboxed::new(Arc::clone(plugin)))
}
