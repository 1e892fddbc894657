//! What the plugin host is told: where components are, and what they may use.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::plugin::{OnFault, PluginKind};
use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::time::Timestamp;

use crate::capability::Grant;
use crate::library::info::{LoadProblem, PluginInfo};
use crate::logbook::LogLevel;

/// The time as plugins are told it. It must not go backwards.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Hears every line that a plugin writes, before the rate of lines is limited: the plugin's name, how
/// urgent the line is, and the line. Called on the thread that the plugin runs on, which waits for it.
pub type LogListener = Arc<dyn Fn(&str, LogLevel, &str) + Send + Sync>;

/// Decides whether what a file of the plugins directory holds may be used, from what it says about
/// itself. A component that carries its manifest was not even compiled by then; one without was asked for
/// its description, with no capability to its name.
pub type Gate = Arc<dyn Fn(&PluginInfo) -> Result<(), LoadProblem> + Send + Sync>;

const MIB: usize = 1024 * 1024;

/// What an instance of a plugin may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory, all memories of the instance together.
    pub memory: usize,
    /// So many more for each member that it was told of: of strategies, which may keep a table of them. None where the user
    /// has said how much memory there is.
    pub memory_per_member: usize,
    /// So many more for each byte of the document: of parsers, whose answer is as long as that. None where the user has said how
    /// much memory there is.
    pub memory_per_byte: usize,
    /// Time for one call, instantiation included.
    pub call: Duration,
    /// Time for one call of what has to be quick: `select` of a strategy, `sniff` of a parser. Hooks have none.
    pub select: Duration,
    /// Bytes that one answer or one call of the host may carry out of the guest.
    pub answer: usize,
}

impl Limits {
    /// Bytes of memory of a plugin that was told of so many members.
    #[must_use]
    pub const fn memory_for(&self, members: usize) -> usize {
        self.memory.saturating_add(self.memory_per_member.saturating_mul(members))
    }

    /// Bytes of memory of a plugin that is given a document of so many bytes.
    #[must_use]
    pub const fn memory_for_document(&self, bytes: usize) -> usize {
        self.memory.saturating_add(self.memory_per_byte.saturating_mul(bytes))
    }

    /// These limits, but for what is overridden.
    #[must_use]
    pub fn overridden(self, by: &LimitOverrides) -> Self {
        Self {
            memory: by.memory.unwrap_or(self.memory),
            memory_per_member: if by.memory.is_some() { 0 } else { self.memory_per_member },
            memory_per_byte: if by.memory.is_some() { 0 } else { self.memory_per_byte },
            call: by.call.unwrap_or(self.call),
            select: by.select.unwrap_or(self.select),
            answer: by.answer.unwrap_or(self.answer),
        }
    }
}

/// The limits of one plugin, where they are other than those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitOverrides {
    /// Instead of [`Limits::memory`].
    pub memory: Option<usize>,
    /// Instead of [`Limits::call`].
    pub call: Option<Duration>,
    /// Instead of [`Limits::select`].
    pub select: Option<Duration>,
    /// Instead of [`Limits::answer`].
    pub answer: Option<usize>,
}

/// The limits of each kind of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindLimits {
    /// Of strategies. Default: 64 MiB and 256 bytes for each member, 1 s, 10 ms for `select`, answers of 40 MiB (a plan of four
    /// million members).
    pub strategy: Limits,
    /// Of parsers. Default: 256 MiB, the document included, and 4 bytes for each of its bytes, 30 s, 1 s for `sniff`, answers of
    /// 256 MiB.
    pub parser: Limits,
    /// Of hooks. Default: 64 MiB, 5 s, which is time for a request over the network, answers of 4 MiB.
    pub hook: Limits,
}

impl KindLimits {
    /// The limits of one kind.
    #[must_use]
    pub const fn of(&self, kind: PluginKind) -> &Limits {
        match kind {
            PluginKind::Strategy => &self.strategy,
            PluginKind::Parser => &self.parser,
            PluginKind::Hook => &self.hook,
        }
    }
}

impl Default for KindLimits {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            strategy: Limits {
                memory: 64 * MIB,
                memory_per_member: 256,
                memory_per_byte: 0,
                call: second,
                select: Duration::from_millis(10),
                answer: 40 * MIB,
            },
            parser: Limits {
                memory: 256 * MIB,
                memory_per_member: 0,
                memory_per_byte: 4,
                call: 30 * second,
                select: second,
                answer: 256 * MIB,
            },
            hook: Limits {
                memory: 64 * MIB,
                memory_per_member: 0,
                memory_per_byte: 0,
                call: 5 * second,
                select: second,
                answer: 4 * MIB,
            },
        }
    }
}

/// What the user says of one plugin, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginSettings {
    /// Limits other than those of its kind.
    pub limits: LimitOverrides,
    /// What follows when it faults.
    pub on_fault: OnFault,
    /// The capabilities that it is granted, if it asks for them.
    pub grants: Vec<Grant>,
}

/// Where components are, and what they may use.
#[derive(Clone)]
pub struct PluginsConfig {
    /// Components that the binary embeds: a file name for messages, and the bytes.
    pub bundle: &'static [(&'static str, &'static [u8])],
    /// A directory in which every `*.wasm` is a plugin; one there wins over a bundled one of its name.
    pub directory: Option<PathBuf>,
    /// A directory for compiled code, made when it is not there. None compiles at every start.
    pub cache: Option<PathBuf>,
    /// What instances may use.
    pub limits: KindLimits,
    /// What is said of single plugins, by name, whether there are plugins of that name or not.
    pub settings: BTreeMap<String, PluginSettings>,
    /// Where plugins keep their keys and values; without it the capability is not available.
    pub key_values: Option<Arc<dyn KeyValues>>,
    /// How TLS is spoken with the servers that plugins send requests to; without it, with the
    /// certificate authorities of the machine.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Who hears what plugins write, besides the host's log.
    pub on_log: Option<LogListener>,
    /// Who decides about files; without it, every file that is a plugin is used.
    pub gate: Option<Gate>,
    /// The texts behind symbols, shared with whoever numbers tags and countries.
    pub symbols: Arc<Symbols>,
    /// The time.
    pub clock: Clock,
    /// What the instances' random numbers derive from, so that a run can be repeated.
    pub seed: u64,
}

impl fmt::Debug for PluginsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginsConfig")
            .field("bundle", &self.bundle.len())
            .field("directory", &self.directory)
            .field("cache", &self.cache)
            .field("limits", &self.limits)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl PluginsConfig {
    /// Nothing to load, no cache, default limits, no capabilities, seed 0.
    #[must_use]
    pub fn new(symbols: Arc<Symbols>, clock: Clock) -> Self {
        Self {
            bundle: &[],
            directory: None,
            cache: None,
            limits: KindLimits::default(),
            settings: BTreeMap::new(),
            key_values: None,
            tls: None,
            on_log: None,
            gate: None,
            symbols,
            clock,
            seed: 0,
        }
    }
}
