//! The engine, the linker and the clock of deadlines that all plugins share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::member::mix;
use proxywhirl_core::symbol::Symbols;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store, WasmBacktraceDetails};

use crate::bindings::shared::Shared;
use crate::cache::Cache;
use crate::capability::account::Accounts;
use crate::capability::http::Web;
use crate::capability::pass::Pass;
use crate::config::{Clock, Gate, KindLimits, Limits, LogListener, PluginsConfig};
use crate::logbook::Logbook;
use crate::state::{Ceiling, Random, State, Vocabulary};
use crate::ticker::Ticker;
use crate::wasi;

/// The stack of a guest. The thread's own must be larger: 2 MiB is what Rust and tokio give theirs.
const STACK: usize = 512 * 1024;

/// Frames of a backtrace. They are collected when a guest is stopped; until then they cost nothing.
const FRAMES: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(15);

/// What all plugins share.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) ticker: Ticker,
    pub(crate) cache: Option<Cache>,
    pub(crate) limits: KindLimits,
    pub(crate) accounts: Accounts,
    pub(crate) symbols: Arc<Symbols>,
    key_values: Option<Arc<dyn KeyValues>>,
    web: Arc<Web>,
    pub(crate) on_log: Option<LogListener>,
    pub(crate) gate: Option<Gate>,
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
            accounts: Accounts::new(&config.settings),
            symbols: Arc::clone(&config.symbols),
            key_values: config.key_values.clone(),
            on_log: config.on_log.clone(),
            gate: config.gate.clone(),
            web: Arc::new(Web::new(config.tls.clone())),
            clock: Arc::clone(&config.clock),
            seed: config.seed,
            instances: AtomicU64::new(0),
        };
        Ok((runtime, error))
    }

    /// An empty store with these limits.
    pub(crate) fn store(
        &self,
        limits: &Limits,
        logbook: Logbook,
        vocabulary: Arc<Vocabulary>,
        pass: Arc<Pass>,
        held: Arc<AtomicU64>,
    ) -> Store<State> {
        let number = self.instances.fetch_add(1, Ordering::Relaxed);
        let mut store = Store::new(
            &self.engine,
            State {
                ceiling: Ceiling::new(limits.memory, held),
                logbook,
                clock: Arc::clone(&self.clock),
                random: Random::seeded(mix(self.seed ^ mix(number))),
                vocabulary,
                pass,
                key_values: self.key_values.clone(),
                web: Arc::clone(&self.web),
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
    pub(crate) fn compile(&self, digest: &str, bytes: &[u8]) -> wasmtime::Result<Compilation> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, digest)) {
            return Ok(Compilation { component, cached: true });
        }
        let component = Component::from_binary(&self.engine, bytes)?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(digest, &component)
        {
            tracing::warn!(target: "plugin", %error, "compiled code cannot be cached");
        }
        Ok(Compilation { component, cached: false })
    }
}

/// Compiled code.
pub(crate) struct Compilation {
    pub(crate) component: Component,
    /// Whether it came from the cache.
    pub(crate) cached: bool,
}

/// Instances are allocated on demand. A pool saves 10 µs of the 45 that a fresh instance and a tiny document
/// take, and is a ceiling for all instances together, which one plugin could use up for all others.
fn settings() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK);
    // The names of functions, from the component; no files and lines, for which it would carry its debug information.
    config.wasm_backtrace_max_frames(Some(FRAMES));
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // With it, an empty call costs more than twice as much, and nothing here is concurrent.
    config.concurrency_support(false);
    // A ceiling of some hundred megabytes needs no 64-bit addresses, whose every access is checked.
    config.wasm_memory64(false);
    // A run can be repeated on another processor.
    config.relaxed_simd_deterministic(true);
    config
}
