//! Places for clients: as many as may be connected at once, over all listeners.
//!
//! When there are none left, the client that has rested longest between two requests makes room for one that waits: else a few
//! who keep many connections open could lock out everybody. One that has rested for less than a second is about to ask again.

mod seat;

use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

pub(crate) use seat::Seat;
use seat::Seats;

/// How often it is told that there are no places left.
const AGAIN: Duration = Duration::from_mins(1);

/// How often it is looked whether one of those who rest has rested for long enough.
const LOOK: Duration = Duration::from_millis(100);

/// The places that are left.
#[derive(Debug)]
pub(crate) struct Places {
    /// Gives a place to who has waited longest.
    left: Arc<Semaphore>,
    seats: Arc<Seats>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    most: usize,
    told: Option<Instant>,
}

/// A client's place.
#[derive(Debug)]
pub(crate) struct Place {
    /// None when there is no end to them.
    permit: Option<OwnedSemaphorePermit>,
    seat: Arc<Seat>,
}

impl Place {
    /// Who has it.
    pub(super) const fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let seats = self.seat.seats();
        seats.leave(&self.seat);
        let Some(permit) = self.permit.take() else { return };
        if seats.owed.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1)).is_ok() {
            permit.forget();
        }
    }
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        let known = Mutex::new(Known { most, told: None });
        Self { left: Arc::new(Semaphore::new(most)), seats: Arc::default(), known }
    }

    /// Changes how many there are; who has one keeps it.
    pub(crate) fn configure(&self, most: usize) {
        let most = most.min(Semaphore::MAX_PERMITS);
        let mut known = self.known();
        let (more, fewer) = (most.saturating_sub(known.most), known.most.saturating_sub(most));
        known.most = most;
        let gone = self.left.forget_permits(fewer);
        self.seats.owed.fetch_add(fewer - gone, Relaxed);
        // What is owed is no longer to go, before there are new ones.
        let mut new = more;
        while new > 0 && self.seats.owed.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1)).is_ok() {
            new -= 1;
        }
        self.left.add_permits(new);
    }

    /// Takes a place; waits for one if there is none.
    pub(super) async fn take(&self) -> Place {
        let permit = match Arc::clone(&self.left).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.tell();
                let mut waiting = pin!(Arc::clone(&self.left).acquire_owned());
                loop {
                    self.seats.make_room();
                    if let Ok(permit) = timeout(LOOK, &mut waiting).await {
                        break permit.ok();
                    }
                }
            }
        };
        Place { permit, seat: self.seats.sit() }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.seats.count()
    }

    fn tell(&self) {
        let mut known = self.known();
        if known.told.is_none_or(|told| told.elapsed() >= AGAIN) {
            known.told = Some(Instant::now());
            tracing::warn!(connections = known.most, "as many clients are connected as may be: others wait");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test(start_paused = true)]
    async fn fewer_places_are_there_when_clients_leave_and_more_at_once() {
        let places = Places::new(3);
        let (first, second) = (places.take().await, places.take().await);
        assert_eq!(places.taken(), 2);
        let soon = Duration::from_millis(1);
        places.configure(1);
        assert!(timeout(soon, places.take()).await.is_err());
        drop(first);
        assert!(timeout(soon, places.take()).await.is_err(), "one is there as it is");
        drop(second);
        let third = timeout(soon, places.take()).await.unwrap();
        places.configure(2);
        let fourth = timeout(soon, places.take()).await.unwrap();
        assert!(timeout(soon, places.take()).await.is_err());
        drop((third, fourth));
        assert_eq!(places.left.available_permits(), 2);
    }
}
