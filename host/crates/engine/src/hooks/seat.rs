//! The thread of a hook: tells it events, swaps it, and sees to what its faults come to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proxywhirl_core::Timestamp;
use proxywhirl_core::event::Event;
use proxywhirl_core::plugin::{FaultCause, Hook, PluginFault, PluginKind};
use tokio::sync::oneshot;

use crate::bus::Bus;
use crate::bus::queue::{Queue, Woken};
use crate::status::Build;
use crate::supervisor::{Change, Supervisor, Ward};
use crate::swap::{Handover, Stopwatch, SwapError, SwapTiming, Swapped};

/// Events in one call.
const BATCH: usize = 256;

/// How long a hook is left alone while nothing happens. Then it is called with no event, for what waits for its time
/// inside of it: a batch that fills slowly, another try.
const QUIET: Duration = Duration::from_secs(1);

/// How often dropped events are told at the most.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// A swap that somebody waits for.
pub(super) struct Order {
    pub(super) hook: Box<dyn Hook>,
    pub(super) answer: oneshot::Sender<Result<Swapped, SwapError>>,
    pub(super) asked: Instant,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("hook", &&self.hook.identity().name).finish_non_exhaustive()
    }
}

impl Drop for Seat {
    /// Says that the thread has ended, however it did, and lets those go who wait for it.
    fn drop(&mut self) {
        self.queue.close();
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The swaps that wait. Held for a few instructions.
pub(super) type Orders = Arc<Mutex<VecDeque<Order>>>;

/// What the thread owns.
pub(super) struct Seat {
    hook: Box<dyn Hook>,
    bus: Arc<Bus>,
    supervisor: Arc<Supervisor>,
    ward: Arc<Ward>,
    queue: Arc<Queue>,
    orders: Orders,
    /// The one before, while the hook has to prove itself, and until when.
    probation: Option<(Box<dyn Hook>, Timestamp)>,
    /// Dropped events that were told, and when.
    told: (u64, Instant),
    dropped: metrics::Counter,
    waiting: metrics::Gauge,
}

impl Seat {
    pub(super) fn new(
        hook: Box<dyn Hook>,
        bus: &Arc<Bus>,
        supervisor: &Arc<Supervisor>,
        ward: Arc<Ward>,
        queue: Arc<Queue>,
        orders: Orders,
    ) -> Self {
        let name = hook.identity().name.to_string();
        Self {
            hook,
            bus: Arc::clone(bus),
            supervisor: Arc::clone(supervisor),
            ward,
            queue,
            orders,
            probation: None,
            told: (0, Instant::now()),
            dropped: metrics::counter!("proxywhirl_hook_events_dropped_total", "plugin" => name.clone()),
            waiting: metrics::gauge!("proxywhirl_hook_events_waiting", "plugin" => name),
        }
    }

    pub(super) fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.obey();
            let now = self.supervisor.now();
            if self.probation.as_ref().is_some_and(|(_, until)| *until <= now) {
                self.probation = None;
                self.ward.proven();
            }
            let is_due = self.ward.due().is_none_or(|due| due <= now);
            let may_be_called = self.ward.may_be_called() || (is_due && self.ward.restarted());
            match self.queue.wait(may_be_called, self.limit(now, may_be_called)) {
                Woken::Closed if may_be_called => return self.deliver(&mut batch),
                Woken::Closed => return,
                Woken::Poked => {}
                Woken::Late if may_be_called => self.deliver(&mut batch),
                Woken::Late => {}
                Woken::Events => self.deliver(&mut batch),
            }
            self.tell_dropped();
        }
    }

    /// How long to sleep without events.
    fn limit(&self, now: Timestamp, may_be_called: bool) -> Option<Duration> {
        let probation = self.probation.as_ref().map(|(_, until)| *until);
        let quiet = may_be_called.then(|| now + QUIET);
        [self.ward.due(), probation, quiet].into_iter().flatten().min().map(|until| until.since(now))
    }

    fn deliver(&mut self, batch: &mut Vec<Event>) {
        self.queue.take(batch, BATCH);
        match self.hook.handle(batch) {
            Ok(()) => self.ward.answered(),
            Err(fault) => {
                self.queue.lose(batch.len());
                self.faulted(&fault);
            }
        }
        batch.clear();
    }

    fn faulted(&mut self, fault: &PluginFault) {
        let Some((previous, _)) = self.probation.take() else { return self.ward.faulted(fault) };
        self.ward.remember(fault, self.supervisor.now());
        self.hook = previous;
        self.bus.retune(self.hook.topics(), &self.queue);
        metrics::counter!("proxywhirl_swaps_total", "kind" => "hook", "result" => "rolled-back").increment(1);
        let reason = format!("rolled back: {fault}");
        let on_fault = self.hook.on_fault();
        self.ward.replaced(self.hook.identity(), on_fault, None, Change::RolledBack, &reason);
    }

    /// Carries out the swaps that somebody asked for.
    fn obey(&mut self) {
        loop {
            let order = self.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(Order { hook, answer, asked }) = order else { return };
            let result = self.swap(hook, asked);
            let word = if result.is_ok() { "swapped" } else { "refused" };
            metrics::counter!("proxywhirl_swaps_total", "kind" => "hook", "result" => word).increment(1);
            if let Err(fault) = &result {
                self.supervisor.tell(PluginKind::Hook, fault);
            }
            if answer.send(result.map_err(SwapError::Fault)).is_err() {
                tracing::debug!("whoever asked for the swap has given up");
            }
        }
    }

    fn swap(&mut self, mut hook: Box<dyn Hook>, asked: Instant) -> Result<Swapped, PluginFault> {
        let (mut watch, waited_us) = Stopwatch::start(asked);
        let handover = self.hand_over(&mut *hook)?;
        let handover_us = watch.lap();
        let before = self.hook.identity().clone();
        let after = hook.identity().clone();
        let until = self.supervisor.now() + self.supervisor.config().probation;
        self.bus.retune(hook.topics(), &self.queue);
        let previous = std::mem::replace(&mut self.hook, hook);
        self.probation = Some((previous, until));
        let reason = format!("version {after} took the place of version {before}");
        self.ward.replaced(&after, self.hook.on_fault(), Some(until), Change::Replaced, &reason);
        let timing = SwapTiming { waited_us, handover_us, total_us: watch.total(), ..SwapTiming::default() };
        Ok(Swapped { before: Some(Build::from(&before)), after: Build::from(&after), handover, timing })
    }

    fn hand_over(&mut self, to: &mut dyn Hook) -> Result<Handover, PluginFault> {
        if !self.ward.may_be_called() {
            return Ok(Handover::Nothing);
        }
        match self.hook.save() {
            Ok(None) => Ok(Handover::Nothing),
            Ok(Some(state)) => match to.restore(&state) {
                Ok(true) => Ok(Handover::Taken),
                Ok(false) => Ok(Handover::Declined),
                Err(fault) if fault.cause == FaultCause::Refused => Ok(Handover::Declined),
                Err(fault) => Err(fault),
            },
            Err(fault) => {
                self.ward.remember(&fault, self.supervisor.now());
                Ok(Handover::Failed)
            }
        }
    }

    fn tell_dropped(&mut self) {
        let status = self.queue.status();
        #[allow(clippy::cast_precision_loss, reason = "a queue has some thousand places")]
        self.waiting.set(status.waiting as f64);
        let (told, at) = self.told;
        if status.dropped > told && (told == 0 || at.elapsed() >= TELL_EVERY) {
            self.dropped.increment(status.dropped - told);
            tracing::warn!(
                plugin.name = &*self.hook.identity().name,
                events.dropped = status.dropped - told,
                "hook is too slow or faulty, events dropped"
            );
            self.told = (status.dropped, Instant::now());
        }
    }
}
