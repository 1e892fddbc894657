//! Places of users that several gateways share: each has some of them, tells again and again how many, and asks for more when it needs
//! them, so that there are never more requests and tunnels of a user at once than there may be.
//!
//! Who has a place to spare gives it away without asking anybody. What is not needed is given back a quarter of a second later, for the
//! others; all of it when a gateway stops, and when it dies as soon as its places are not told of any more. One task tells, for all
//! users at once. While nobody answers, each gateway has a limit of its own, and says so.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::shared::{Held, Hold, Places};
use proxywhirl_core::store::StoreError;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{AGAIN, BATCH, PATIENCE, TELL};
use crate::clock::Clock;
use crate::trouble::{StoreTrouble, Trouble};

/// How long places are held by who tells nothing of them.
const TERM: Duration = Duration::from_secs(10);

/// What is told when dividing has ended for good.
const PANICKED: &str = "who divides places for all gateways has panicked, they are this gateway's own from now on";

/// Who gives away the places of a user here.
pub trait Holder: Send + Sync {
    /// Whose places they are here: a number that no other holder has anywhere.
    fn number(&self) -> u64;

    /// What it holds and needs. Where it gives back what it does not need, it has no more than it keeps from now on.
    fn hold(&self, gives_back: bool) -> Hold;

    /// Hears how many places it has, and until when; none when nobody could say so.
    fn held(&self, held: Option<Held>, ends: Instant);
}

/// The way to the places that are shared.
#[derive(Default)]
pub struct SharedPlaces {
    /// Who asks for places, by number.
    asks: Mutex<HashMap<u64, Asking>>,
    is_urgent: Notify,
    /// Why nobody answers.
    trouble: Trouble,
}

/// A holder of whom there is something to tell, and those who wait to hear of it.
struct Asking {
    holder: Arc<dyn Holder>,
    waits: Vec<oneshot::Sender<()>>,
}

/// All holders, by number, with those who wait for what is said.
type Asked = HashMap<u64, Asking>;

impl std::fmt::Debug for SharedPlaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedPlaces").finish_non_exhaustive()
    }
}

impl SharedPlaces {
    /// Asks for what a holder needs; false when nobody answers in time.
    pub async fn ask(&self, holder: Arc<dyn Holder>) -> bool {
        let (waits, heard) = oneshot::channel();
        {
            // Told of in any case: what is under way counts when the others are there again.
            let mut asks = self.asks();
            let asking = asks.entry(holder.number()).or_insert_with(|| Asking { holder, waits: Vec::new() });
            if self.trouble.is_some() {
                return false;
            }
            asking.waits.push(waits);
        }
        self.is_urgent.notify_one();
        tokio::time::timeout(PATIENCE, heard).await.is_ok_and(|heard| heard.is_ok()) && !self.trouble.is_some()
    }

    /// Why places are not shared, and since when; none when they are.
    #[must_use]
    pub fn trouble(&self) -> Option<StoreTrouble> {
        self.trouble.get()
    }

    fn asks(&self) -> MutexGuard<'_, Asked> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what is held until the token is cancelled; then gives all of it back.
    pub(crate) async fn exchange(self: Arc<Self>, places: Box<dyn Places>, clock: Clock, stop: CancellationToken) {
        let mut task = Task { shared: Arc::clone(&self), places: Some(places), clock, holders: HashMap::new() };
        // Nothing at first: so the connection is there before somebody waits for it.
        let mut goes_on = task.tell(Vec::new(), false).await;
        let mut beat = tokio::time::interval(TELL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while goes_on {
            let gives_back = tokio::select! {
                () = stop.cancelled() => break,
                _ = beat.tick() => true,
                () = self.is_urgent.notified() => false,
            };
            goes_on = task.round(gives_back).await;
            if goes_on && self.trouble.is_some() {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }
        if goes_on {
            task.leave().await;
        } else {
            // Nobody will answer any more: nobody is to wait for it.
            self.trouble.note(Some(PANICKED.to_owned()), clock.now());
            tracing::error!("{PANICKED}");
        }
        self.asks().clear();
    }

    /// Writes down whether somebody answers.
    fn note(&self, error: Option<&StoreError>, now: Timestamp) {
        super::note(&self.trouble, "places of users", error, now);
    }
}

/// What the task owns.
struct Task {
    shared: Arc<SharedPlaces>,
    /// Given away to a blocking thread while it asks; gone when that has panicked.
    places: Option<Box<dyn Places>>,
    clock: Clock,
    /// Those who hold something.
    holders: HashMap<u64, Arc<dyn Holder>>,
}

impl Task {
    /// Tells of those who ask, and on a beat of all who hold something. False when that has ended for good.
    async fn round(&mut self, is_beat: bool) -> bool {
        let mut asked = std::mem::take(&mut *self.shared.asks());
        if is_beat {
            for (number, holder) in &self.holders {
                if let Entry::Vacant(vacant) = asked.entry(*number) {
                    vacant.insert(Asking { holder: Arc::clone(holder), waits: Vec::new() });
                }
            }
        }
        let mut asked: Vec<Asking> = asked.into_values().collect();
        // Who was away is asked whether it still is.
        while !asked.is_empty() || self.shared.trouble.is_some() {
            let some = asked.split_off(asked.len().saturating_sub(BATCH));
            if !self.tell(some, is_beat).await {
                return false;
            }
            if asked.is_empty() {
                break;
            }
        }
        true
    }

    /// Tells of some holders, and tells them what was said. False when that has ended for good.
    async fn tell(&mut self, asked: Vec<Asking>, gives_back: bool) -> bool {
        let holds: Vec<Hold> = asked.iter().map(|asking| asking.holder.hold(gives_back)).collect();
        let open: Vec<u32> = holds.iter().map(|hold| hold.open).collect();
        // From before it is told: here it ends no later than there.
        let ends = Instant::now() + TERM;
        let Some(told) = self.send(holds).await else { return false };
        self.shared.note(told.as_ref().err(), self.clock.now());
        let mut told = told.unwrap_or_default().into_iter();
        for (Asking { holder, waits }, open) in asked.into_iter().zip(open) {
            let held = told.next().flatten();
            holder.held(held, ends);
            match held {
                Some(held) if open == 0 && held.places == 0 => self.holders.remove(&holder.number()),
                Some(_) | None => self.holders.insert(holder.number(), holder),
            };
            for waits in waits {
                if waits.send(()).is_err() {
                    tracing::debug!("a request that asked for a place has gone");
                }
            }
        }
        true
    }

    /// What is said of holds; none when that has ended for good.
    async fn send(&mut self, holds: Vec<Hold>) -> Option<Result<Vec<Option<Held>>, StoreError>> {
        let mut places = self.places.take()?;
        let told = tokio::task::spawn_blocking(move || {
            let told = places.hold(&holds, TERM);
            (places, told)
        });
        let (places, told) = told.await.ok()?;
        self.places = Some(places);
        Some(told)
    }

    /// Gives everything back, for the others.
    async fn leave(mut self) {
        let gone = |holder: &Arc<dyn Holder>| Hold { open: 0, keep: 0, need: 0, ..holder.hold(true) };
        let holds: Vec<Hold> = self.holders.values().map(gone).collect();
        for holds in holds.chunks(BATCH) {
            if let Some(Err(error)) = self.send(holds.to_vec()).await {
                tracing::debug!(%error, "places are not given back, the others have them when they are over");
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Places as a server keeps them, that can be away.
    #[derive(Default, Clone)]
    struct Shelf(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        held: HashMap<u64, u32>,
        is_away: bool,
    }

    impl Places for Shelf {
        fn hold(&mut self, holds: &[Hold], _: Duration) -> Result<Vec<Option<Held>>, StoreError> {
            let mut state = self.0.lock().unwrap();
            if state.is_away {
                return Err(StoreError { place: "the shelf".to_owned(), reason: "is away".to_owned() });
            }
            let hold = |hold: &Hold| {
                let others: u32 =
                    state.held.iter().filter(|(number, _)| **number != hold.holder).map(|(_, held)| held).sum();
                let places = hold.open.max(hold.keep).max(hold.need.min(hold.most - others));
                state.held.insert(hold.holder, places);
                Some(Held { places, is_scarce: false, is_idle_elsewhere: false })
            };
            Ok(holds.iter().map(hold).collect())
        }
    }

    /// Ten places of Anna, at one gateway.
    struct Anna {
        number: u64,
        need: Mutex<u32>,
        has: Mutex<u32>,
    }

    impl Holder for Anna {
        fn number(&self) -> u64 {
            self.number
        }

        fn hold(&self, gives_back: bool) -> Hold {
            let need = *self.need.lock().unwrap();
            let mut has = self.has.lock().unwrap();
            *has = if gives_back { need.min(*has) } else { *has };
            Hold { user: "anna".into(), holder: self.number, turn: 1, open: 0, keep: *has, need, most: 10 }
        }

        fn held(&self, held: Option<Held>, ends: Instant) {
            assert!(ends > Instant::now());
            if let Some(held) = held {
                *self.has.lock().unwrap() = held.places;
            }
        }
    }

    impl Anna {
        fn new(number: u64, need: u32) -> Arc<Self> {
            Arc::new(Self { number, need: Mutex::new(need), has: Mutex::default() })
        }

        fn has(&self) -> u32 {
            *self.has.lock().unwrap()
        }
    }

    fn over(shelf: &Shelf, stop: &CancellationToken) -> (Arc<SharedPlaces>, tokio::task::JoinHandle<()>) {
        let shared = Arc::<SharedPlaces>::default();
        let exchange = Arc::clone(&shared).exchange(Box::new(shelf.clone()), Clock::default(), stop.clone());
        (shared, tokio::spawn(exchange))
    }

    async fn until(what: impl Fn() -> bool) {
        let waits = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waits).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_needed_is_given_back_and_all_of_it_at_the_end() {
        let (shelf, stop) = (Shelf::default(), CancellationToken::new());
        let ([one, other], [(first, task), (second, _)]) =
            ([Anna::new(1, 7), Anna::new(2, 7)], [(); 2].map(|()| over(&shelf, &stop)));
        assert!(first.ask(one.clone()).await && second.ask(other.clone()).await);
        assert_eq!((one.has(), other.has()), (7, 3));
        *one.need.lock().unwrap() = 4;
        until(|| other.has() == 6).await;
        assert_eq!(one.has(), 4);
        shelf.0.lock().unwrap().held.clear();
        until(|| shelf.0.lock().unwrap().held.len() == 2).await;
        stop.cancel();
        task.await.unwrap();
        until(|| shelf.0.lock().unwrap().held.values().sum::<u32>() == 0).await;
    }

    #[tokio::test]
    async fn while_nobody_answers_nobody_waits_and_what_is_held_is_told_afterwards() {
        let (shelf, stop) = (Shelf::default(), CancellationToken::new());
        let (shared, _) = over(&shelf, &stop);
        let (anna, late) = (Anna::new(1, 2), Anna::new(2, 3));
        assert!(shared.ask(anna.clone()).await);
        shelf.0.lock().unwrap().is_away = true;
        until(|| shared.trouble().is_some()).await;
        assert_eq!(shared.trouble().unwrap().error, "the shelf: is away");
        let began = Instant::now();
        assert!(!shared.ask(late.clone()).await && !shared.ask(late.clone()).await);
        assert!(began.elapsed() < PATIENCE, "at once");
        *shelf.0.lock().unwrap() = State::default();
        until(|| shared.trouble().is_none()).await;
        until(|| shelf.0.lock().unwrap().held == HashMap::from([(1, 2), (2, 3)])).await;
        stop.cancel();
    }

    /// Places that panic.
    struct Broken;

    impl Places for Broken {
        fn hold(&mut self, _: &[Hold], _: Duration) -> Result<Vec<Option<Held>>, StoreError> {
            panic!("it is broken")
        }
    }

    #[tokio::test]
    async fn when_dividing_ends_for_good_that_is_told_and_nobody_waits_for_it() {
        let shared = Arc::<SharedPlaces>::default();
        let exchange = Arc::clone(&shared).exchange(Box::new(Broken), Clock::default(), CancellationToken::new());
        tokio::spawn(exchange).await.unwrap();
        assert!(shared.trouble().unwrap().error.contains("has panicked"));
        let began = Instant::now();
        assert!(!shared.ask(Anna::new(1, 1)).await);
        assert!(began.elapsed() < PATIENCE, "at once");
    }
}
