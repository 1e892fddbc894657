//! Manners: how many requests one host gets at the same time, and how quickly one after the other.
//!
//! Half of all public lists are on the same few hosts; forty requests at once are what they block.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Hosts that are remembered; those that nobody waits for are forgotten first.
const MAX_HOSTS: usize = 1024;

/// What one host is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// Requests to one host at the same time.
    pub at_once: usize,
    /// From one request to the start of the next.
    pub pause: Duration,
}

impl Default for Manners {
    /// Two at once, ten a second.
    fn default() -> Self {
        Self { at_once: 2, pause: Duration::from_millis(100) }
    }
}

/// Who waits for which host.
#[derive(Debug)]
pub(super) struct Hosts {
    manners: Manners,
    /// Held for a look-up.
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
}

#[derive(Debug)]
struct Lane {
    turns: Arc<Semaphore>,
    /// When the next request may start. Held for a comparison.
    next: Mutex<Instant>,
}

impl Hosts {
    pub(super) fn new(manners: Manners) -> Self {
        Self { manners, lanes: Mutex::new(HashMap::new()) }
    }

    /// Waits for one's turn. It ends when what is returned is dropped.
    pub(super) async fn enter(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        let lane = self.lane(host);
        // A semaphore that nobody closes does not fail.
        let turn = Arc::clone(&lane.turns).acquire_owned().await.ok();
        let start = {
            let mut next = lane.next.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*next).max(Instant::now());
            *next = start + self.manners.pause;
            start
        };
        tokio::time::sleep_until(start).await;
        turn
    }

    fn lane(&self, host: &str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= MAX_HOSTS {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = lanes.entry(host.to_owned()).or_insert_with(|| {
            let turns = Arc::new(Semaphore::new(self.manners.at_once.max(1)));
            Arc::new(Lane { turns, next: Mutex::new(Instant::now()) })
        });
        Arc::clone(lane)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_host_is_asked_so_often_and_another_does_not_wait() {
        let pause = Duration::from_millis(60);
        let hosts = Hosts::new(Manners { at_once: 2, pause });
        let started = Instant::now();
        let first = hosts.enter("a").await;
        let _second = hosts.enter("a").await;
        assert!(started.elapsed() >= pause);
        let elsewhere = Instant::now();
        let _other = hosts.enter("b").await;
        assert!(elsewhere.elapsed() < pause);
        let third = tokio::time::timeout(2 * pause, hosts.enter("a")).await;
        assert!(third.is_err(), "two are inside");
        drop(first);
        assert!(hosts.enter("a").await.is_some());
    }

    #[tokio::test]
    async fn hosts_that_nobody_waits_for_are_forgotten() {
        let hosts = Hosts::new(Manners::default());
        for n in 0..MAX_HOSTS * 2 {
            drop(hosts.enter(&n.to_string()).await);
        }
        assert!(hosts.lanes.lock().unwrap().len() <= MAX_HOSTS);
    }
}
