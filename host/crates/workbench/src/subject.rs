//! The component that is looked at, and how it is loaded.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::time::{Timestamp, micros};
use proxywhirl_wasm::{KindLimits, LoadError, LoadProblem, PluginInfo, Plugins, PluginsConfig};
use tempfile::TempDir;

/// When simulated time begins: some day in November 2023.
const BEGINNING: u64 = 1_700_000_000_000_000;

/// The largest component that is read, in bytes. Python's are some 20 MB.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// How far above a project its `dist` folder may be: a plugin in a workspace of plugins.
const ANCESTORS: usize = 4;

/// How many times as long as in production a call may take while its answer is looked at, and not its time.
const PATIENCE: u32 = 10;

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum WorkbenchError {
    /// A file or folder cannot be read or written.
    #[error("{} cannot be {verb}", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// There is no component of the project.
    #[error("no component of the project {}: {reason}", .project.display())]
    NoComponent {
        /// The project's folder.
        project: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// The component is no plugin for this host.
    #[error("{0}")]
    Unfit(LoadProblem),
    /// A project has no tests.
    #[error("nothing to test in {}: no `tests` folder with a file for this kind of plugin", .0.display())]
    NoTests(PathBuf),
    /// The machine cannot run WebAssembly.
    #[error(transparent)]
    Host(#[from] LoadError),
}

impl WorkbenchError {
    /// What helps, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unfit(problem) => Some(&problem.hint),
            Self::NoComponent { .. } => Some("run `proxywhirl plugin build` in its folder first"),
            Self::NoTests(_) => Some("the chapter `Testing a plugin` of host/docs/plugins.md shows what goes there"),
            Self::File { .. } | Self::Host(_) => None,
        }
    }

    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), verb: "read", source }
    }

    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), verb: "written", source }
    }
}

/// A component that is looked at.
#[derive(Debug, Clone)]
pub struct Subject {
    /// What it is called before it has told its name: the stem of its file.
    stem: String,
    bytes: Arc<[u8]>,
    project: Option<PathBuf>,
}

impl Subject {
    /// A component in memory; `stem` is what it is called before it has told its name.
    #[must_use]
    pub fn from_bytes(stem: &str, bytes: Vec<u8>) -> Self {
        Self { stem: stem.to_owned(), bytes: bytes.into(), project: None }
    }

    /// A component's file, or the component of a project: `dist/NAME.wasm` in its folder or in one above it.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, WorkbenchError> {
        if !path.is_dir() {
            return Self::read(path);
        }
        let project = path.canonicalize().map_err(|error| WorkbenchError::read(path, error))?;
        let file = built(&project)?;
        Ok(Self { project: Some(project), ..Self::read(&file)? })
    }

    fn read(file: &Path) -> Result<Self, WorkbenchError> {
        let failed = |error| WorkbenchError::read(file, error);
        let length = fs::metadata(file).map_err(failed)?.len();
        if length > MAX_BYTES {
            let reason = format!("{length} bytes, the limit is {MAX_BYTES}");
            return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason)));
        }
        let bytes = fs::read(file).map_err(failed)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { stem, bytes: bytes.into(), project: None })
    }

    /// The same, as the component of a project whose files are to be used.
    #[must_use]
    pub fn of_project(mut self, project: &Path) -> Self {
        self.project = Some(project.to_owned());
        self
    }

    pub(crate) fn stem(&self) -> &str {
        &self.stem
    }

    /// The project that it belongs to, if that is known.
    pub(crate) fn project(&self) -> Option<&Path> {
        self.project.as_deref()
    }

    /// Loads it into a plugin host of its own, with no capability granted.
    pub(crate) fn load(&self, place: &Workplace, seed: u64) -> Result<Loaded, WorkbenchError> {
        self.load_with(place, seed, |_| {})
    }

    /// Loads it into a plugin host of its own, with changes of its configuration.
    pub(crate) fn load_with(
        &self,
        place: &Workplace,
        seed: u64,
        change: impl FnOnce(&mut PluginsConfig),
    ) -> Result<Loaded, WorkbenchError> {
        let folder = tempfile::tempdir().map_err(|error| WorkbenchError::write(&std::env::temp_dir(), error))?;
        let file = folder.path().join(format!("{}.wasm", self.stem));
        fs::write(&file, &self.bytes).map_err(|error| WorkbenchError::write(&file, error))?;
        let (clock, symbols) = (SimulatedClock::default(), Arc::new(Symbols::default()));
        let own = clock.clone();
        let mut config = PluginsConfig::new(Arc::clone(&symbols), Arc::new(move || own.now()));
        config.directory = Some(folder.path().to_owned());
        config.cache = place.cache.clone();
        config.limits = place.limits;
        config.seed = seed;
        change(&mut config);
        let plugins = Plugins::load(config)?;
        let Some(info) = plugins.list().into_iter().next() else {
            return Err(WorkbenchError::NoComponent { project: file, reason: "it was not loaded".to_owned() });
        };
        match (info.kind, &info.problem) {
            (Some(kind), None) => Ok(Loaded { plugins, kind, info, clock, symbols, _folder: folder }),
            (_, Some(problem)) => Err(WorkbenchError::Unfit(LoadProblem {
                file: format!("{}.wasm", self.stem).into(),
                ..problem.clone()
            })),
            (None, None) => Err(WorkbenchError::NoComponent { project: file, reason: "it is of no kind".to_owned() }),
        }
    }
}

/// The component that `plugin build` made of a project.
fn built(project: &Path) -> Result<PathBuf, WorkbenchError> {
    let name = project.file_name().unwrap_or_default().to_string_lossy();
    let own = project.join("dist");
    if let Ok(entries) = fs::read_dir(&own) {
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "wasm")).collect();
        if let [only] = files.as_slice() {
            return Ok(only.clone());
        }
    }
    let file = format!("{name}.wasm");
    let found =
        project.ancestors().take(ANCESTORS).map(|folder| folder.join("dist").join(&file)).find(|it| it.is_file());
    found.ok_or_else(|| WorkbenchError::NoComponent {
        project: project.to_owned(),
        reason: format!("neither one file in {} nor {file} in a `dist` folder above it", own.display()),
    })
}

/// What everything runs with.
#[derive(Debug, Clone, Default)]
pub struct Workplace {
    /// What an instance may use; as in production unless said otherwise.
    pub limits: KindLimits,
    /// A folder for compiled code. None compiles each time.
    pub cache: Option<PathBuf>,
}

impl Workplace {
    /// The same with more time for each call. Limits are in time as it passes on the wall: on a busy machine a call may
    /// lose its processor for longer than it may take, which says nothing about the plugin.
    pub(crate) fn patient(&self) -> Self {
        let mut limits = self.limits;
        for limits in [&mut limits.strategy, &mut limits.parser, &mut limits.hook] {
            limits.call = limits.call.saturating_mul(PATIENCE);
            limits.select = limits.select.saturating_mul(PATIENCE);
        }
        Self { limits, ..self.clone() }
    }

    /// The same with a folder for compiled code, which is gone with the second value if there was none: a component is
    /// loaded many times, and one in Python takes a quarter of a minute to compile.
    pub(crate) fn with_cache(&self) -> Result<(Self, TempDir), WorkbenchError> {
        let scratch = tempfile::tempdir().map_err(|error| WorkbenchError::write(&std::env::temp_dir(), error))?;
        let cache = self.cache.clone().unwrap_or_else(|| scratch.path().join("code"));
        Ok((Self { cache: Some(cache), ..self.clone() }, scratch))
    }
}

/// A component in a plugin host of its own.
pub(crate) struct Loaded {
    pub(crate) plugins: Plugins,
    pub(crate) kind: PluginKind,
    pub(crate) info: PluginInfo,
    pub(crate) clock: SimulatedClock,
    pub(crate) symbols: Arc<Symbols>,
    /// Where the plugin host reads it from.
    _folder: TempDir,
}

impl Loaded {
    pub(crate) fn name(&self) -> &str {
        &self.info.name
    }
}

/// Time that passes only when it is told to.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedClock(Arc<AtomicU64>);

impl Default for SimulatedClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(BEGINNING)))
    }
}

impl SimulatedClock {
    pub(crate) fn now(&self) -> Timestamp {
        // Relaxed: a number by itself.
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }

    pub(crate) fn pass(&self, span: Duration) {
        self.0.fetch_add(micros(span), Ordering::Relaxed);
    }
}
