//! The event bus: tells whoever listens what happened, and never waits for them.
//!
//! Each listener has a bounded queue. When it is full, the event is dropped for that listener and
//! counted, and the gap shows in the sequence numbers. An event that nobody listens to is not built.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use proxywhirl_core::Timestamp;
use proxywhirl_core::event::{Event, Topic};
use serde::Serialize;
use tokio::sync::mpsc;

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

#[derive(Debug, Clone)]
struct Listener {
    interest: Interest,
    queue: mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
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
    /// Replaced as a whole when somebody subscribes, which is rare; read at every event.
    listeners: ArcSwap<Vec<Listener>>,
    sequence: AtomicU64,
}

impl Bus {
    /// Listens to some topics, or to all when none is named, with a queue for `capacity` events.
    pub fn subscribe(&self, topics: &[Topic], capacity: usize) -> Subscription {
        let (sender, queue) = mpsc::channel(capacity.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let listener = Listener { interest: Interest::of(topics), queue: sender, dropped: Arc::clone(&dropped) };
        self.listeners.rcu(|listeners| {
            let mut listeners: Vec<_> = listeners.iter().filter(|other| !other.queue.is_closed()).cloned().collect();
            listeners.push(listener.clone());
            listeners
        });
        Subscription { queue, dropped }
    }

    /// Ends all subscriptions: what is queued is still delivered.
    pub fn close(&self) {
        self.listeners.store(Arc::default());
    }

    /// Tells that something happened. `payload` is built only if somebody wants to hear it.
    pub fn publish<P: Serialize>(&self, topic: Topic, at: Timestamp, payload: impl FnOnce() -> P) {
        let listeners = self.listeners.load();
        let wanted = |listener: &&Listener| listener.interest.0 & Interest::bit(topic) != 0;
        if !listeners.iter().any(|listener| wanted(&listener)) {
            return;
        }
        let Ok(payload) = serde_json::to_string(&payload()) else {
            // The payloads are our own structures of strings and numbers, which JSON can always express.
            tracing::error!(topic = topic.as_str(), "an event could not be written as JSON");
            return;
        };
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let event = Event { sequence, at, topic, payload: payload.into() };
        for listener in listeners.iter().filter(wanted) {
            if listener.queue.try_send(event.clone()).is_err() {
                listener.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_its_topics_only() {
        let bus = Bus::default();
        let mut subscription = bus.subscribe(&[Topic::ProxyAdded], 10);
        bus.publish(Topic::ProxyRemoved, Timestamp::default(), || "no");
        bus.publish(Topic::ProxyAdded, Timestamp::default(), || "yes");
        let mut heard = Vec::new();
        assert!(subscription.wait_for_batch(&mut heard, 10));
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
        let mut heard = Vec::new();
        slow.wait_for_batch(&mut heard, 10);
        bus.publish(Topic::HealthCheck, Timestamp::default(), || 5);
        slow.wait_for_batch(&mut heard, 10);
        assert_eq!(heard.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 6]);
    }
}
