//! What a store holds beside its instance: the limits, and what the imports need.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proxywhirl_core::kv::KeyValues;
use proxywhirl_core::member::mix;
use proxywhirl_core::symbol::{Symbol, Symbols};
use wasmtime::ResourceLimiter;

use crate::capability::http::Web;
use crate::capability::pass::Pass;
use crate::config::Clock;
use crate::logbook::Logbook;
use crate::wasi::Wasi;

/// Core instances of one component. A Python component has some 120.
const MAX_INSTANCES: usize = 256;
/// Linear memories of one component.
const MAX_MEMORIES: usize = 16;
/// Tables of one component.
const MAX_TABLES: usize = 64;
/// Elements of all its tables. A Python component has some 40,000.
const MAX_ELEMENTS: usize = 200_000;

/// What a store holds.
pub(crate) struct State {
    pub(crate) ceiling: Ceiling,
    pub(crate) logbook: Logbook,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) pass: Arc<Pass>,
    pub(crate) key_values: Option<Arc<dyn KeyValues>>,
    pub(crate) web: Arc<Web>,
    /// When the call that runs now must end. Only the host's own waiting looks at it: guest code is
    /// stopped by the epoch.
    pub(crate) deadline: Option<Instant>,
    /// Made when the guest first asks for it, which most never do.
    pub(crate) wasi: Option<Box<Wasi>>,
}

impl State {
    /// The time that the call that runs now may still take.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// The ceiling of what an instance may allocate.
#[derive(Debug)]
pub(crate) struct Ceiling {
    max_memory: usize,
    memory: usize,
    elements: usize,
    /// Bytes of memory of all instances of the plugin. Relaxed: it is only looked at.
    held: Arc<AtomicU64>,
}

/// The guest wanted more than its ceiling. A trap: most allocators would only turn a refusal into an
/// `unreachable` that says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exhausted(String);

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Exhausted {}

impl Ceiling {
    pub(crate) const fn new(max_memory: usize, held: Arc<AtomicU64>) -> Self {
        Self { max_memory, memory: 0, elements: 0, held }
    }

    /// It may have so much from now on, if that is more than before: what it has it keeps.
    pub(crate) fn raise(&mut self, max_memory: usize) {
        self.max_memory = self.max_memory.max(max_memory);
    }

    /// Bytes that all memories together have.
    pub(crate) const fn memory(&self) -> usize {
        self.memory
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        self.held.fetch_sub(bytes(self.memory), Ordering::Relaxed);
    }
}

fn bytes(memory: usize) -> u64 {
    u64::try_from(memory).unwrap_or(u64::MAX)
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        if memory > self.max_memory {
            let text = format!("wanted {memory} bytes of memory, the limit is {}", self.max_memory);
            return Err(Exhausted(text).into());
        }
        self.held.fetch_add(bytes(memory - self.memory), Ordering::Relaxed);
        self.memory = memory;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_add(desired.saturating_sub(current));
        if elements > MAX_ELEMENTS {
            let text = format!("wanted {elements} table elements, the limit is {MAX_ELEMENTS}");
            return Err(Exhausted(text).into());
        }
        self.elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// The symbols that one plugin may ask for. The host's table is shared and only grows, so that a
/// plugin that invents texts must not be able to fill it for all others.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    symbols: Arc<Symbols>,
    /// What the plugin has interned. Held for one look-up by whichever of its instances asks.
    own: Mutex<HashMap<Box<str>, Symbol>>,
}

impl Vocabulary {
    /// Texts that a plugin may intern.
    const MAX_TEXTS: usize = 4_096;
    /// The longest text, in bytes: tags have at most 64 characters.
    const MAX_LENGTH: usize = 256;

    pub(crate) fn new(symbols: Arc<Symbols>) -> Self {
        Self { symbols, own: Mutex::default() }
    }

    pub(crate) fn intern(&self, text: &str) -> Symbol {
        if text.len() > Self::MAX_LENGTH {
            return Symbol::NONE;
        }
        let mut own = self.own.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(symbol) = own.get(text) {
            return *symbol;
        }
        if own.len() >= Self::MAX_TEXTS {
            return Symbol::NONE;
        }
        let symbol = self.symbols.intern(text);
        own.insert(text.into(), symbol);
        symbol
    }

    pub(crate) fn resolve(&self, symbol: Symbol) -> Option<Arc<str>> {
        self.symbols.resolve(symbol)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_counts_all_memories_together() {
        let held = Arc::new(AtomicU64::new(0));
        let mut ceiling = Ceiling::new(1_000, Arc::clone(&held));
        assert!(ceiling.memory_growing(0, 600, None).unwrap());
        assert!(ceiling.memory_growing(0, 400, None).unwrap());
        let error = ceiling.memory_growing(600, 601, None).unwrap_err();
        assert_eq!(
            error.downcast_ref::<Exhausted>().unwrap().to_string(),
            "wanted 1001 bytes of memory, the limit is 1000"
        );
        assert_eq!((ceiling.memory(), held.load(Ordering::Relaxed)), (1_000, 1_000));
        drop(ceiling);
        assert_eq!(held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_plugin_cannot_fill_the_table_of_symbols() {
        let symbols = Arc::new(Symbols::default());
        let known = symbols.intern("known");
        let vocabulary = Vocabulary::new(Arc::clone(&symbols));
        assert_eq!(vocabulary.intern("known"), known);
        for n in 1..Vocabulary::MAX_TEXTS {
            assert_ne!(vocabulary.intern(&n.to_string()), Symbol::NONE);
        }
        assert_eq!(vocabulary.intern("one more"), Symbol::NONE);
        assert_eq!(vocabulary.intern("known"), known);
        assert_ne!(symbols.intern("another plugin's"), Symbol::NONE);
        assert_eq!(Vocabulary::new(symbols).intern(&"x".repeat(257)), Symbol::NONE);
    }

    #[test]
    fn equal_seeds_give_equal_numbers() {
        let draw = |seed| {
            let mut random = Random::seeded(seed);
            [random.next(), random.next()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
