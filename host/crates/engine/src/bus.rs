//! The event bus: tells whoever listens what happened, and never waits for them.
//!
//! Each listener has a bounded queue. When it is full, the event is dropped for that listener and
//! counted, and the gap shows in the sequence numbers. An event that nobody listens to is not built.

pub(crate) mod queue;

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use proxywhirl_core::Timestamp;
use proxywhirl_core::event::{Event, Topic};
use serde::Serialize;
use tokio::sync::mpsc;

use queue::{Inlet, Queue};

/// The topics that a listener wants, as a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interest(u16);

impl Interest {
    fn of(topics: &[Topic]) -> Self {
        let topics = if topics.is_empty() { &Topic::ALL } else { topics };
        Self(topics.iter().fold(0, |bits, topic| bits | Self::bit(*topic)))
    }

    const fn bit(topic: Topic) -> u16 {
        1 << topic as u16
    }
}

/// Where a listener's events go.
#[derive(Debug, Clone)]
enum Outlet {
    /// To a task that awaits them.
    Task { queue: mpsc::Sender<Event>, dropped: Arc<AtomicU64> },
    /// To a thread that blocks for them.
    Thread(Arc<Inlet>),
}

impl Outlet {
    fn is_closed(&self) -> bool {
        match self {
            Self::Task { queue, .. } => queue.is_closed(),
            Self::Thread(inlet) => inlet.queue().is_closed(),
        }
    }

    fn send(&self, event: &Event) {
        match self {
            Self::Task { queue, dropped } => {
                if queue.try_send(event.clone()).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Self::Thread(inlet) => inlet.queue().push(event),
        }
    }
}

#[derive(Debug, Clone)]
struct Listener {
    interest: Interest,
    outlet: Outlet,
}

/// What a listener holds: its queue, and the count of what it missed. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    queue: mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl Subscription {
    /// The next event; none when the bus is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.queue.recv().await
    }

    /// Waits, blocking the thread, for events, and takes up to `most` of them. False when the bus is gone.
    pub fn wait_for_batch(&mut self, batch: &mut Vec<Event>, most: usize) -> bool {
        self.queue.blocking_recv_many(batch, most) > 0
    }

    /// How many events were dropped because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The bus. One for an engine.
#[derive(Debug, Default)]
pub struct Bus {
    /// Replaced as a whole when somebody subscribes, which is rare; read at every event that somebody wants.
    listeners: ArcSwap<Vec<Listener>>,
    /// What any of them wants: nobody wants most events, of which there are some for each request.
    interest: AtomicU16,
    /// Held while the listeners are replaced.
    changing: Mutex<()>,
    sequence: AtomicU64,
}

impl Bus {
    /// Listens to some topics, or to all when none is named, with a queue for `capacity` events.
    pub fn subscribe(&self, topics: &[Topic], capacity: usize) -> Subscription {
        let (sender, queue) = mpsc::channel(capacity.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        self.listen(topics, Outlet::Task { queue: sender, dropped: Arc::clone(&dropped) });
        Subscription { queue, dropped }
    }

    /// Fills a queue for a thread with the events of some topics, or of all when none is named.
    pub(crate) fn fill(&self, topics: &[Topic], queue: &Arc<Queue>) {
        self.listen(topics, Outlet::Thread(Arc::new(Inlet::new(Arc::clone(queue)))));
    }

    /// Changes the topics with which a queue is filled. What is queued stays.
    pub(crate) fn retune(&self, topics: &[Topic], queue: &Arc<Queue>) {
        self.change(|listeners| {
            for listener in listeners {
                if matches!(&listener.outlet, Outlet::Thread(inlet) if Arc::ptr_eq(inlet.queue(), queue)) {
                    listener.interest = Interest::of(topics);
                }
            }
        });
    }

    /// Fills a queue no longer, and closes it: what is queued is still delivered.
    pub(crate) fn unfill(&self, queue: &Arc<Queue>) {
        queue.close();
        self.change(|_| {});
    }

    fn listen(&self, topics: &[Topic], outlet: Outlet) {
        let listener = Listener { interest: Interest::of(topics), outlet };
        self.change(|listeners| listeners.push(listener));
    }

    /// Ends all subscriptions: what is queued is still delivered.
    pub fn close(&self) {
        self.change(Vec::clear);
    }

    /// Changes the listeners that are still there.
    fn change(&self, change: impl FnOnce(&mut Vec<Listener>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.listeners.load();
        let mut listeners: Vec<_> = before.iter().filter(|other| !other.outlet.is_closed()).cloned().collect();
        change(&mut listeners);
        let interest = listeners.iter().fold(0, |bits, listener| bits | listener.interest.0);
        self.listeners.store(Arc::new(listeners));
        self.interest.store(interest, Ordering::Release);
    }

    /// Whether somebody wants to hear of this.
    pub(crate) fn hears(&self, topic: Topic) -> bool {
        self.interest.load(Ordering::Acquire) & Interest::bit(topic) != 0
    }

    /// Tells that something happened. `payload` is built only if somebody wants to hear it.
    pub fn publish<P: Serialize>(&self, topic: Topic, at: Timestamp, payload: impl FnOnce() -> P) {
        if !self.hears(topic) {
            return;
        }
        let listeners = self.listeners.load();
        let wanted = |listener: &&Listener| listener.interest.0 & Interest::bit(topic) != 0;
        let Ok(payload) = serde_json::to_string(&payload()) else {
            // The payloads are our own structures of strings and numbers, which JSON can always express.
            tracing::error!(topic = topic.as_str(), "an event could not be written as JSON");
            return;
        };
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let event = Event { sequence, at, topic, payload: payload.into() };
        for listener in listeners.iter().filter(wanted) {
            listener.outlet.send(&event);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn heard(subscription: &mut Subscription) -> Vec<Event> {
        std::iter::from_fn(|| subscription.queue.try_recv().ok()).collect()
    }

    #[test]
    fn a_listener_hears_its_topics_only() {
        let bus = Bus::default();
        let mut subscription = bus.subscribe(&[Topic::ProxyAdded], 10);
        bus.publish(Topic::ProxyRemoved, Timestamp::default(), || "no");
        bus.publish(Topic::ProxyAdded, Timestamp::default(), || "yes");
        let heard = heard(&mut subscription);
        assert_eq!(heard.iter().map(|event| &*event.payload).collect::<Vec<_>>(), ["\"yes\""]);
    }

    #[test]
    fn what_nobody_listens_to_is_not_built() {
        let bus = Bus::default();
        bus.publish(Topic::ProxyAdded, Timestamp::default(), || -> u8 { unreachable!("built for nobody") });
        drop(bus.subscribe(&[Topic::PoolEmpty], 1));
        bus.publish(Topic::ProxyAdded, Timestamp::default(), || -> u8 { unreachable!("built for nobody") });
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_the_gap_shows() {
        let bus = Bus::default();
        let mut slow = bus.subscribe(&[], 2);
        for n in 0..5 {
            bus.publish(Topic::HealthCheck, Timestamp::default(), || n);
        }
        assert_eq!(slow.dropped(), 3);
        let mut all = heard(&mut slow);
        bus.publish(Topic::HealthCheck, Timestamp::default(), || 5);
        all.extend(heard(&mut slow));
        assert_eq!(all.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 6]);
    }
}
