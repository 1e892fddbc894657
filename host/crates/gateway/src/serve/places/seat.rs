//! Who has a place, and since when it rests.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Who has rested for less than this is about to ask again.
const SOON: Duration = Duration::from_secs(1);

/// It serves a request, or has a tunnel.
const BUSY: u64 = 0;
/// It was told to leave.
const GONE: u64 = u64::MAX;

/// A client that is connected.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Written by its session when it begins to rest and when it ends that, and by who makes room: milliseconds since the row's
    /// beginning, and one more, from when it has rested, or [`BUSY`], or [`GONE`]. Relaxed: it stands for itself.
    rests: AtomicU64,
    /// The row that it is in.
    seats: Arc<Seats>,
    /// Its place in the row; written under the row's lock.
    index: AtomicUsize,
    session: OnceLock<AbortHandle>,
}

/// All who are connected.
#[derive(Debug)]
pub(super) struct Seats {
    began: Instant,
    /// Places that are to go, as soon as who has one leaves.
    pub(super) owed: AtomicUsize,
    row: Mutex<Vec<Arc<Seat>>>,
}

impl Seat {
    /// The seat of a client that nobody makes leave.
    pub(crate) fn own() -> Arc<Self> {
        Self::of(&Arc::default(), 0)
    }

    fn of(seats: &Arc<Seats>, index: usize) -> Arc<Self> {
        let (rests, index) = (AtomicU64::new(BUSY), AtomicUsize::new(index));
        Arc::new(Self { rests, seats: Arc::clone(seats), index, session: OnceLock::new() })
    }

    /// All who are connected.
    pub(super) const fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    /// Whose session that is: it can be ended from now on.
    pub(crate) fn belongs_to(&self, session: AbortHandle) {
        self.session.get_or_init(|| session);
    }

    /// Its client rests, since then.
    pub(crate) fn rest(&self, since: Instant) {
        let since = since.saturating_duration_since(self.seats.began).as_millis();
        self.rests.store(u64::try_from(since).unwrap_or(GONE - 2) + 1, Relaxed);
    }

    /// Its client has asked for something. False when it was told to leave just before.
    pub(crate) fn rise(&self) -> bool {
        self.rests.fetch_update(Relaxed, Relaxed, |rests| (rests != GONE).then_some(BUSY)).is_ok()
    }

    /// Ends its session if it has rested from then until now.
    fn dismiss(&self, rests: u64) -> bool {
        let Some(session) = self.session.get() else { return false };
        let is_dismissed = self.rests.compare_exchange(rests, GONE, Relaxed, Relaxed).is_ok();
        if is_dismissed {
            session.abort();
        }
        is_dismissed
    }
}

impl Default for Seats {
    fn default() -> Self {
        Self { began: Instant::now(), owed: AtomicUsize::new(0), row: Mutex::default() }
    }
}

impl Seats {
    /// One more client is connected.
    pub(super) fn sit(self: &Arc<Self>) -> Arc<Seat> {
        let mut row = self.row();
        let seat = Seat::of(self, row.len());
        row.push(Arc::clone(&seat));
        seat
    }

    /// It is not any more.
    pub(super) fn leave(&self, seat: &Seat) {
        let mut row = self.row();
        let index = seat.index.load(Relaxed);
        row.swap_remove(index);
        if let Some(moved) = row.get(index) {
            moved.index.store(index, Relaxed);
        }
    }

    /// How many are connected.
    pub(super) fn count(&self) -> usize {
        self.row().len()
    }

    /// Ends the session of the client that has rested longest, if one has rested for long enough.
    pub(super) fn make_room(&self) {
        let until = self.began.elapsed().saturating_sub(SOON).as_millis();
        let until = u64::try_from(until).unwrap_or(GONE - 1);
        let row = self.row();
        let resting = row.iter().map(|seat| (seat.rests.load(Relaxed), seat));
        let longest = resting.filter(|(rests, _)| (BUSY + 1..=until).contains(rests)).min_by_key(|(rests, _)| *rests);
        if let Some((rests, seat)) = longest {
            seat.dismiss(rests);
        }
    }

    fn row(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_rested_longest_makes_room_and_nobody_who_is_busy_or_has_just_been() {
        let seats = Arc::<Seats>::default();
        let (mut sessions, mut all) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let (seat, session) = (seats.sit(), tokio::spawn(pending::<()>()));
            seat.belongs_to(session.abort_handle());
            seat.rest(Instant::now());
            all.push(seat);
            sessions.push(session);
            advance(Duration::from_millis(600)).await;
        }
        // The first one is served, and the last two have just been.
        assert!(all.iter().take(1).all(|seat| seat.rise()));
        let ended = || sessions.iter().map(|session| usize::from(session.is_finished())).collect::<Vec<_>>();
        for expected in [[0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]] {
            seats.make_room();
            tokio::task::yield_now().await;
            assert_eq!(ended(), expected);
        }
        assert_eq!(all.iter().map(|seat| seat.rise()).collect::<Vec<_>>(), [true, false, false, true]);
        seats.leave(&all.remove(0));
        seats.leave(&all.remove(2));
        assert_eq!(seats.row().len(), 2);
        seats.leave(&all.remove(0));
        seats.leave(&all.remove(0));
        assert!(seats.row().is_empty());
    }
}
