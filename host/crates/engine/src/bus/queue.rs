//! A bounded queue of events for a thread that blocks: it can be woken for other things than events, and it is there
//! while one listener takes the place of another.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proxywhirl_core::event::Event;

use crate::status::QueueStatus;

/// Why a thread was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There are events.
    Events,
    /// Somebody wants something else.
    Poked,
    /// The time is over.
    Late,
    /// No event comes any more, and none is left.
    Closed,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    capacity: usize,
    /// Held for a few instructions: by whoever publishes, and by the thread.
    inner: Mutex<Inner>,
    news: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    is_poked: bool,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let (inner, news, dropped) = (Mutex::default(), Condvar::new(), AtomicU64::new(0));
        Arc::new(Self { capacity, inner, news, dropped })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. When the queue is full, the event is dropped and counted.
    pub(super) fn push(&self, event: &Event) {
        let mut inner = self.inner();
        if inner.is_closed {
            return;
        }
        if inner.events.len() >= self.capacity {
            self.lose(1);
            return;
        }
        inner.events.push_back(event.clone());
        if inner.events.len() == 1 {
            self.news.notify_one();
        }
    }

    /// Counts events that nobody will hear.
    pub(crate) fn lose(&self, count: usize) {
        self.dropped.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Wakes the thread.
    pub(crate) fn poke(&self) {
        self.inner().is_poked = true;
        self.news.notify_one();
    }

    pub(crate) fn close(&self) {
        self.inner().is_closed = true;
        self.news.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner().is_closed
    }

    /// Sleeps until there is an event (if `events` are wanted), somebody pokes, the queue is closed or `limit` is over.
    pub(crate) fn wait(&self, events: bool, limit: Option<Duration>) -> Woken {
        let until = limit.map(|limit| Instant::now() + limit);
        let mut inner = self.inner();
        loop {
            if std::mem::take(&mut inner.is_poked) {
                return Woken::Poked;
            }
            if events && !inner.events.is_empty() {
                return Woken::Events;
            }
            // Who wants no events now will never want any when the queue is closed.
            if inner.is_closed {
                return Woken::Closed;
            }
            inner = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Woken::Late,
                Some(left) => self.news.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.news.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes up to `most` events, in order.
    pub(crate) fn take(&self, batch: &mut Vec<Event>, most: usize) {
        let mut inner = self.inner();
        let count = inner.events.len().min(most);
        batch.extend(inner.events.drain(..count));
    }

    /// How full it is, and what was lost.
    pub(crate) fn status(&self) -> QueueStatus {
        let waiting = self.inner().events.len();
        QueueStatus { waiting, capacity: self.capacity, dropped: self.dropped.load(Ordering::Relaxed) }
    }
}

/// The bus's end of a queue: when the bus is gone, the queue is closed.
#[derive(Debug)]
pub(super) struct Inlet(Arc<Queue>);

impl Inlet {
    pub(super) const fn new(queue: Arc<Queue>) -> Self {
        Self(queue)
    }

    pub(super) const fn queue(&self) -> &Arc<Queue> {
        &self.0
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use proxywhirl_core::Timestamp;
    use proxywhirl_core::event::Topic;

    use super::*;

    fn event(sequence: u64) -> Event {
        Event { sequence, at: Timestamp::default(), topic: Topic::HealthCheck, payload: "{}".into() }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_a_closed_one_gives_what_it_has() {
        let queue = Queue::new(2);
        for n in 0..5 {
            queue.push(&event(n));
        }
        assert_eq!(queue.status(), QueueStatus { waiting: 2, capacity: 2, dropped: 3 });
        queue.close();
        queue.push(&event(9));
        assert_eq!(queue.wait(true, None), Woken::Events);
        let mut batch = Vec::new();
        queue.take(&mut batch, 10);
        assert_eq!(batch.iter().map(|event| event.sequence).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(queue.wait(true, None), Woken::Closed);
    }

    #[test]
    fn a_poke_wakes_and_so_does_the_time() {
        let queue = Queue::new(2);
        queue.poke();
        assert_eq!(queue.wait(true, None), Woken::Poked);
        queue.push(&event(1));
        assert_eq!(queue.wait(false, Some(Duration::from_millis(1))), Woken::Late);
        assert_eq!(queue.wait(true, None), Woken::Events);
    }
}
