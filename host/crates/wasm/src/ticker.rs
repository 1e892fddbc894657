//! The clock behind deadlines: a thread that moves the engine's epoch once a millisecond.
//!
//! Ticks are not caught up: on a machine so loaded that the thread wakes late, deadlines stretch with
//! everything else instead of hitting guests that had no chance to run. The thread sleeps for good
//! while no guest runs, so that an idle process wakes nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// How long an epoch lasts.
const TICK: Duration = Duration::from_millis(1);

/// Ticks without a running guest after which the thread parks: often enough to save power, seldom
/// enough that a busy gateway never pays for waking it.
const IDLE_TICKS: u32 = 100;

/// The thread, for as long as this value lives.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Guests that run now. Sequentially consistent together with `parked`: either whoever enters sees
    /// that the thread is parked, or the thread sees that somebody has entered.
    running: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// Says that a guest runs; dropped when it has returned.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("plugin-epoch".to_owned()).spawn(move || tick(&engine, &own))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Keeps the epoch moving until the answer is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(&self.shared)
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

fn tick(engine: &Engine, shared: &Shared) {
    let mut idle = 0_u32;
    while !shared.stop.load(Ordering::SeqCst) {
        std::thread::sleep(TICK);
        engine.increment_epoch();
        if shared.running.load(Ordering::SeqCst) > 0 {
            idle = 0;
            continue;
        }
        idle += 1;
        if idle < IDLE_TICKS {
            continue;
        }
        shared.parked.store(true, Ordering::SeqCst);
        while shared.running.load(Ordering::SeqCst) == 0 && !shared.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        shared.parked.store(false, Ordering::SeqCst);
        idle = 0;
    }
}
