//! Runs hook plugins: each on a thread of its own, behind a bounded queue.
//!
//! A slow hook slows nothing but itself: what does not fit into its queue is dropped and counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use proxywhirl_core::plugin::Hook;

use crate::bus::{Bus, Subscription};
use crate::faults::FaultReporter;

/// Events that wait for a hook at the most: some megabytes at the longest payloads.
const QUEUE: usize = 8_192;

/// Events in one call.
const BATCH: usize = 256;

/// The threads of the hooks.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Hooks {
    /// Starts a thread for each hook.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(hooks: Vec<Box<dyn Hook>>, bus: &Bus, faults: &Arc<FaultReporter>) -> std::io::Result<Self> {
        let mut threads = Vec::with_capacity(hooks.len());
        for hook in hooks {
            let subscription = bus.subscribe(hook.topics(), QUEUE);
            let faults = Arc::clone(faults);
            let thread = std::thread::Builder::new().name(format!("hook {}", hook.identity().name));
            threads.push(thread.spawn(move || run(hook, subscription, &faults))?);
        }
        Ok(Self { threads: Arc::new(Mutex::new(threads)) })
    }

    /// Waits for all threads, which end when the bus is closed and the queues are empty. Blocks.
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a hook's thread has panicked");
            }
        }
    }
}

fn run(mut hook: Box<dyn Hook>, mut subscription: Subscription, faults: &FaultReporter) {
    let mut told = 0;
    let mut batch = Vec::with_capacity(BATCH);
    while subscription.wait_for_batch(&mut batch, BATCH) {
        if let Err(fault) = hook.handle(&batch) {
            faults.report(&fault);
        }
        batch.clear();
        let dropped = subscription.dropped();
        if dropped > told {
            tracing::warn!(
                plugin.name = &*hook.identity().name,
                events.dropped = dropped - told,
                "hook is too slow, events dropped"
            );
            told = dropped;
        }
    }
}
