//! Places for clients: as many as may be connected at once, over all listeners.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How often it is told that there are no places left.
const AGAIN: Duration = Duration::from_mins(1);

/// The places that are left.
#[derive(Debug)]
pub(crate) struct Places {
    /// Gives a place to who has waited longest.
    left: Arc<Semaphore>,
    most: usize,
    told: Mutex<Option<Instant>>,
}

/// A client's place; none when there is no end to them.
pub(crate) type Place = Option<OwnedSemaphorePermit>;

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { left: Arc::new(Semaphore::new(most)), most, told: Mutex::new(None) }
    }

    /// Takes a place; waits for one if there is none.
    pub(super) async fn take(&self) -> Place {
        if let Ok(place) = Arc::clone(&self.left).try_acquire_owned() {
            return Some(place);
        }
        self.tell();
        Arc::clone(&self.left).acquire_owned().await.ok()
    }

    fn tell(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= AGAIN) {
            *told = Some(Instant::now());
            tracing::warn!(connections = self.most, "as many clients are connected as may be: others wait");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_gets_the_place_that_is_left() {
        let places = Places::new(2);
        let (first, _second) = (places.take().await, places.take().await);
        let (mut third, mut fourth) = (pin!(places.take()), pin!(places.take()));
        let soon = Duration::from_millis(1);
        assert!(timeout(soon, &mut third).await.is_err() && timeout(soon, &mut fourth).await.is_err());
        drop(first);
        assert!(timeout(soon, &mut fourth).await.is_err(), "it is not its turn");
        drop(timeout(soon, &mut third).await.unwrap());
        assert!(timeout(soon, &mut fourth).await.is_ok());
    }
}
