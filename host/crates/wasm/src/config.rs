//! What the plugin host is told: where components are, and what they may use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::time::Timestamp;

/// The time as plugins are told it. It must not go backwards.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

const MIB: usize = 1024 * 1024;

/// What an instance of a plugin may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory, all memories of the instance together.
    pub memory: usize,
    /// Time for one call, instantiation included.
    pub call: Duration,
    /// Time for one call of what has to be quick: `select` of a strategy, `sniff` of a parser. Hooks have none.
    pub select: Duration,
    /// Bytes that one answer or one call of the host may carry out of the guest.
    pub answer: usize,
}

/// The limits of each kind of plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindLimits {
    /// Of strategies. Default: 64 MiB, 1 s, 10 ms for `select`, answers of 40 MiB (a plan of four
    /// million members).
    pub strategy: Limits,
    /// Of parsers. Default: 256 MiB, the document included, 30 s, 1 s for `sniff`, answers of 256
    /// MiB.
    pub parser: Limits,
    /// Of hooks. Default: 64 MiB, 1 s, answers of 4 MiB.
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
            strategy: Limits { memory: 64 * MIB, call: second, select: Duration::from_millis(10), answer: 40 * MIB },
            parser: Limits { memory: 256 * MIB, call: Duration::from_secs(30), select: second, answer: 256 * MIB },
            hook: Limits { memory: 64 * MIB, call: second, select: second, answer: 4 * MIB },
        }
    }
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
    /// The texts behind symbols, shared with whoever numbers tags and countries.
    pub symbols: Arc<Symbols>,
    /// The time.
    pub clock: Clock,
    /// What the instances' random numbers derive from, so that a run can be repeated.
    pub seed: u64,
}

impl PluginsConfig {
    /// Nothing to load, no cache, default limits, seed 0.
    #[must_use]
    pub fn new(symbols: Arc<Symbols>, clock: Clock) -> Self {
        Self { bundle: &[], directory: None, cache: None, limits: KindLimits::default(), symbols, clock, seed: 0 }
    }
}
