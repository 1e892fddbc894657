//! Runs hook plugins: each on a thread of its own, behind a bounded queue.
//!
//! A slow hook slows nothing but itself: what does not fit into its queue is dropped, counted and told. A hook that
//! faults is started again as its [supervision](crate::supervision) says; events wait for it in its queue meanwhile, but
//! those on which it has faulted are not told again, since they would make it fault again.
//!
//! While nothing happens, a hook is called with no event about once a second, and once more at the end, for what waits in
//! it for its time.

mod seat;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use proxywhirl_core::plugin::{Hook, PluginKind};
use tokio::sync::oneshot;

use crate::bus::Bus;
use crate::bus::queue::Queue;
use crate::status::QueueStatus;
use crate::supervisor::{Change, Supervisor, Ward};
use crate::swap::{SwapError, Swapped};
use seat::{Order, Orders, Seat};

/// Events that wait for a hook at the most: some megabytes at the longest payloads.
const QUEUE: usize = 8_192;

/// Swaps that wait for a hook at the most.
const SWAPS: usize = 16;

/// All hooks.
#[derive(Debug)]
pub(crate) struct Hooks {
    bus: Arc<Bus>,
    supervisor: Arc<Supervisor>,
    /// Changed when a hook is added or removed. Held for a few instructions.
    running: Mutex<Vec<Running>>,
}

/// A hook, as seen from outside of its thread.
#[derive(Debug)]
struct Running {
    ward: Arc<Ward>,
    queue: Arc<Queue>,
    orders: Orders,
    thread: JoinHandle<()>,
}

impl Hooks {
    /// Starts a thread for each hook.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start(
        hooks: Vec<Box<dyn Hook>>,
        bus: &Arc<Bus>,
        supervisor: &Arc<Supervisor>,
    ) -> std::io::Result<Self> {
        let (bus, supervisor) = (Arc::clone(bus), Arc::clone(supervisor));
        let all = Self { bus, supervisor, running: Mutex::default() };
        for hook in hooks {
            all.add(hook)?;
        }
        Ok(all)
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one more.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn add(&self, hook: Box<dyn Hook>) -> std::io::Result<()> {
        let queue = Queue::new(QUEUE);
        let name = hook.identity().name.clone();
        let ward = self.supervisor.watch(PluginKind::Hook, hook.identity(), hook.on_fault());
        let orders = Orders::default();
        let topics = hook.topics().to_vec();
        let seat = Seat::new(hook, &self.bus, &self.supervisor, Arc::clone(&ward), Arc::clone(&queue), orders.clone());
        let thread = match std::thread::Builder::new().name(format!("hook {name}")).spawn(move || seat.run()) {
            Ok(thread) => thread,
            Err(error) => {
                self.supervisor.dismiss(&ward);
                return Err(error);
            }
        };
        self.bus.fill(&topics, &queue);
        ward.announce(Change::Loaded, "");
        self.running().push(Running { ward, queue, orders, thread });
        Ok(())
    }

    /// Takes the first hook of a name out. What is queued is delivered first. Blocks until that is done.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let removed = {
            let mut running = self.running();
            let index = running.iter().position(|hook| hook.ward.is(PluginKind::Hook, name));
            index.map(|index| running.remove(index))
        };
        let Some(Running { ward, queue, thread, .. }) = removed else { return false };
        self.bus.unfill(&queue);
        join(thread);
        ward.announce(Change::Removed, "");
        self.supervisor.dismiss(&ward);
        true
    }

    /// Puts another build in the place of the first hook of a name. The queue's events are kept.
    pub(crate) async fn swap(&self, name: &str, hook: Box<dyn Hook>) -> Result<Swapped, SwapError> {
        let (answer, waits) = oneshot::channel();
        {
            let running = self.running();
            let found = running.iter().find(|hook| hook.ward.is(PluginKind::Hook, name));
            let Some(found) = found else { return Err(SwapError::Unknown(name.to_owned())) };
            // The lock first: who has ended clears the orders after it has closed the queue.
            let mut orders = found.orders.lock().unwrap_or_else(PoisonError::into_inner);
            if found.queue.is_closed() {
                return Err(SwapError::Stopped);
            }
            if orders.len() >= SWAPS {
                return Err(SwapError::Busy);
            }
            orders.push_back(Order { hook, answer, asked: Instant::now() });
            found.queue.poke();
        }
        waits.await.unwrap_or(Err(SwapError::Stopped))
    }

    /// Wakes the threads: something about their plugins has changed.
    pub(crate) fn poke(&self) {
        for hook in self.running().iter() {
            hook.queue.poke();
        }
    }

    /// What waits for a hook.
    pub(crate) fn queue_of(&self, ward: &Arc<Ward>) -> Option<QueueStatus> {
        self.running().iter().find(|hook| Arc::ptr_eq(&hook.ward, ward)).map(|hook| hook.queue.status())
    }

    /// Waits for all threads, which end when the bus is closed and the queues are empty. Blocks.
    pub(crate) fn join(&self) {
        for hook in std::mem::take(&mut *self.running()) {
            hook.queue.close();
            join(hook.thread);
        }
    }
}

impl Drop for Hooks {
    /// The threads end by themselves; nobody waits for them any more.
    fn drop(&mut self) {
        for hook in self.running().iter() {
            hook.queue.close();
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a hook's thread has panicked");
    }
}
