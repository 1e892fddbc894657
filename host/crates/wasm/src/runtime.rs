//! The engine, the linker and the clock of deadlines that all plugins share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proxywhirl_core::member::mix;
use proxywhirl_core::plugin::PluginKind;
use proxywhirl_core::symbol::Symbols;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store};

use crate::bindings::shared::Shared;
use crate::cache::Cache;
use crate::config::{Clock, KindLimits, PluginsConfig};
use crate::logbook::Logbook;
use crate::state::{Ceiling, Random, State, Vocabulary};
use crate::ticker::Ticker;
use crate::wasi;

/// The stack of a guest. The thread's own must be larger: 2 MiB is what Rust and tokio give theirs.
const STACK: usize = 512 * 1024;

/// Frames of a backtrace; a report shows the first of them.
const FRAMES: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(15);

/// What all plugins share.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) ticker: Ticker,
    pub(crate) cache: Option<Cache>,
    pub(crate) limits: KindLimits,
    pub(crate) symbols: Arc<Symbols>,
    clock: Clock,
    seed: u64,
    /// Instances made so far. Relaxed: it only has to give each another number.
    instances: AtomicU64,
}

impl Runtime {
    /// The runtime, and why the cache cannot be used, if it cannot.
    pub(crate) fn new(config: &PluginsConfig) -> wasmtime::Result<(Self, Option<std::io::Error>)> {
        let engine = Engine::new(&settings())?;
        let mut linker = Linker::new(&engine);
        Shared::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        wasi::link(&mut linker)?;
        let (cache, error) = match config.cache.clone().map(|path| Cache::open(path, &engine)) {
            None => (None, None),
            Some(Ok(cache)) => (Some(cache), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let runtime = Self {
            ticker: Ticker::start(engine.clone())?,
            engine,
            linker,
            cache,
            limits: config.limits,
            symbols: Arc::clone(&config.symbols),
            clock: Arc::clone(&config.clock),
            seed: config.seed,
            instances: AtomicU64::new(0),
        };
        Ok((runtime, error))
    }

    /// An empty store with the limits of its kind.
    pub(crate) fn store(&self, kind: PluginKind, logbook: Logbook, vocabulary: Arc<Vocabulary>) -> Store<State> {
        let limits = self.limits.of(kind);
        let number = self.instances.fetch_add(1, Ordering::Relaxed);
        let mut store = Store::new(
            &self.engine,
            State {
                ceiling: Ceiling::new(limits.memory),
                logbook,
                clock: Arc::clone(&self.clock),
                random: Random::seeded(mix(self.seed ^ mix(number))),
                vocabulary,
                deadline: None,
                wasi: None,
            },
        );
        store.limiter(|state| &mut state.ceiling);
        store.set_hostcall_fuel(limits.answer);
        store.epoch_deadline_trap();
        store
    }

    /// Compiles a component, or takes its code from the cache.
    pub(crate) fn compile(&self, digest: &str, bytes: &[u8]) -> wasmtime::Result<Component> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, digest)) {
            return Ok(component);
        }
        let component = Component::from_binary(&self.engine, bytes)?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(digest, &component)
        {
            tracing::warn!(target: "plugin", %error, "compiled code cannot be cached");
        }
        Ok(component)
    }
}

fn settings() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK);
    config.wasm_backtrace_max_frames(Some(FRAMES));
    // With it, an empty call costs more than twice as much, and nothing here is concurrent.
    config.concurrency_support(false);
    // A ceiling of some hundred megabytes needs no 64-bit addresses, whose every access is checked.
    config.wasm_memory64(false);
    // A run can be repeated on another processor.
    config.relaxed_simd_deterministic(true);
    config
}
