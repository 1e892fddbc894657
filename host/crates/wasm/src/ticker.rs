//! The clock behind deadlines: a thread that moves the engine's epoch once a millisecond.
//!
//! Ticks are not caught up: on a machine so loaded that the thread wakes late, deadlines stretch with
//! everything else instead of hitting guests that had no chance to run. The thread sleeps for good once
//! every deadline is past, so that an idle process wakes nobody.
//!
//! Whoever enters a guest says until which tick the clock is needed. That is far enough ahead for all
//! the calls of the next tenth of a second, which so only read: processors that enter guests at the same
//! time share no line of memory that one of them writes. A call that may take longer is rare, and is counted
//! instead for as long as it lasts: most of them end long before their deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// How long an epoch lasts.
const TICK: Duration = Duration::from_millis(1);

/// Ticks by which the clock outlives the last deadline: more than the ticks that another processor may
/// not have seen yet.
const MARGIN: u64 = 16;

/// Ticks that are asked for ahead of what is needed, so that few calls have to ask.
const AHEAD: u64 = 100;

/// The thread, for as long as this value lives.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A call that may take long, while it lasts.
pub(crate) struct Long<'t>(&'t Shared);

impl Drop for Long<'_> {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Shared {
    /// Ticks so far. Written by the thread only.
    tick: AtomicU64,
    /// The tick until which somebody needs the clock. Written by whoever enters a guest. Sequentially
    /// consistent together with `parked`: either the writer sees that the thread is parked, or the
    /// thread sees what was written.
    needed: AtomicU64,
    /// Calls under way that may take long. As consistent as `needed`.
    long: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("plugin-epoch".to_owned()).spawn(move || tick(&engine, &own))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Keeps the epoch moving for so many ticks from now, or for as long as a call of more ticks lasts. To be
    /// called after a deadline was set, never before: the thread that calls may be suspended in between for
    /// longer than the margin.
    pub(crate) fn keep(&self, ticks: u64) -> Option<Long<'_>> {
        if ticks > AHEAD {
            return Some(self.long());
        }
        let now = self.shared.tick.load(Ordering::Relaxed);
        let needed = now.saturating_add(ticks).saturating_add(MARGIN);
        if self.shared.needed.load(Ordering::Relaxed) < needed {
            self.extend(needed);
        }
        None
    }

    #[cold]
    fn long(&self) -> Long<'_> {
        self.shared.long.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.wake();
        }
        Long(&self.shared)
    }

    #[cold]
    fn extend(&self, needed: u64) {
        self.shared.needed.fetch_max(needed.saturating_add(AHEAD), Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// The ticks of a deadline. One more than its milliseconds, as the first may end at once.
    pub(crate) fn ticks(limit: Duration) -> u64 {
        u64::try_from(limit.as_millis()).unwrap_or(u64::MAX / 2).saturating_add(1)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(target: "plugin", "the thread of the plugins' deadlines had panicked");
        }
    }
}

impl Shared {
    fn is_needed(&self, now: u64) -> bool {
        self.needed.load(Ordering::SeqCst) >= now || self.long.load(Ordering::SeqCst) > 0
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(TICK);
        engine.increment_epoch();
        let now = shared.tick.fetch_add(1, Ordering::SeqCst) + 1;
        if shared.is_needed(now) {
            continue;
        }
        shared.parked.store(true, Ordering::SeqCst);
        while !shared.is_needed(now) && !shared.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        shared.parked.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn wait_until(what: impl Fn() -> bool) {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_clock_outlives_every_deadline_and_then_rests() {
        let ticker = Ticker::start(Engine::default()).unwrap();
        for ticks in [1, 30] {
            let before = ticker.shared.tick.load(Ordering::SeqCst);
            assert!(ticker.keep(ticks).is_none());
            // In this order: that it rests from before may still be seen until it wakes.
            wait_until(|| ticker.shared.tick.load(Ordering::SeqCst) >= before + ticks);
            wait_until(|| ticker.shared.parked.load(Ordering::SeqCst));
        }
    }

    #[test]
    fn a_long_call_needs_the_clock_for_as_long_as_it_lasts() {
        let ticker = Ticker::start(Engine::default()).unwrap();
        for limit in [Duration::from_secs(10), Duration::MAX] {
            let before = ticker.shared.tick.load(Ordering::SeqCst);
            let call = ticker.keep(Ticker::ticks(limit));
            wait_until(|| ticker.shared.tick.load(Ordering::SeqCst) >= before + 2 * AHEAD);
            drop(call);
            wait_until(|| ticker.shared.parked.load(Ordering::SeqCst));
        }
    }
}
