//! How many requests and tunnels of a user may be under way at once.
//!
//! Where gateways share the pool, this one has some of the places, which it gives away itself, and asks the others for more when they
//! are all taken ([`SharedPlaces`]): so there are never more requests than there may be, and few of them wait for an answer. While
//! nobody answers, the limit is this gateway's own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::shared::{Held, Hold};
use proxywhirl_engine::{Holder, SharedPlaces};
use tokio::time::{Instant, sleep};

/// How long a request waits for places that other gateways have to spare: longer than it takes until they give them back.
const PATIENCE: Duration = Duration::from_millis(600);

/// How often it asks for them meanwhile.
const PAUSE: Duration = Duration::from_millis(60);

/// The places of a user at this gateway.
#[derive(Debug)]
pub(super) struct Seats {
    user: Arc<str>,
    number: u64,
    /// Held for a few instructions.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests and tunnels under way.
    open: u32,
    /// The most of them since places were given back last.
    peak: u32,
    /// Requests that wait for a place.
    waiting: u32,
    /// How many there are, as the last one said who asked.
    most: u32,
    /// What this gateway has of them, and until when; nothing before it has asked.
    held: Option<(Held, Instant)>,
    /// How often it has told of itself.
    turn: u64,
}

/// A request that waits for a place, while this lives.
struct Waiting<'a>(&'a Seats);

impl<'a> Waiting<'a> {
    fn new(seats: &'a Seats) -> Self {
        seats.state().waiting += 1;
        Self(seats)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl State {
    /// Takes a place, if fewer than so many are taken.
    fn enter(&mut self, most: u32) -> bool {
        let has_room = self.open < most;
        if has_room {
            self.open += 1;
            self.peak = self.peak.max(self.open);
        }
        has_room
    }

    /// Places that are this gateway's to give away.
    fn own(&self, now: Instant) -> u32 {
        self.held.filter(|(_, ends)| *ends > now).map_or(0, |(held, _)| held.places)
    }

    /// What it keeps when it gives back what it does not need. With room, what was needed a moment ago may be needed again.
    fn keeps(&self) -> u32 {
        let is_scarce = self.held.is_some_and(|(held, _)| held.is_scarce);
        let needed = self.open.saturating_add(self.waiting);
        if is_scarce { needed } else { needed.max(self.peak) }
    }
}

impl Seats {
    pub(super) fn new(user: Arc<str>) -> Self {
        Self { user, number: fastrand::u64(..), state: Mutex::default() }
    }

    /// Takes a place, of so many that there are at all gateways, or of any number. False when all are taken.
    pub(super) async fn take(self: &Arc<Self>, most: Option<u32>, others: Option<&Arc<SharedPlaces>>) -> bool {
        let limit = most.unwrap_or(u32::MAX);
        let Some(others) = others.filter(|_| most.is_some()) else { return self.state().enter(limit) };
        {
            let mut state = self.state();
            state.most = limit;
            let own = state.own(Instant::now()).min(limit);
            if state.enter(own) {
                return true;
            }
            if state.open >= limit {
                return false;
            }
        }
        self.take_of_others(limit, others).await
    }

    /// Asks for a place, and for a while again where others have some to spare.
    async fn take_of_others(self: &Arc<Self>, limit: u32, others: &SharedPlaces) -> bool {
        let (_waiting, began) = (Waiting::new(self), Instant::now());
        loop {
            if !others.ask(Arc::clone(self) as Arc<dyn Holder>).await {
                return self.state().enter(limit);
            }
            {
                let mut state = self.state();
                // Where somebody has put something else in place of the places, each gateway has its own.
                let Some((held, _)) = state.held else { return state.enter(limit) };
                if state.enter(held.places.min(limit)) {
                    return true;
                }
                if !held.is_idle_elsewhere || began.elapsed() >= PATIENCE {
                    return false;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// How many requests and tunnels are under way.
    pub(super) fn open(&self) -> u32 {
        self.state().open
    }

    /// Gives a place back.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder for Seats {
    fn number(&self) -> u64 {
        self.number
    }

    fn hold(&self, gives_back: bool) -> Hold {
        let mut state = self.state();
        let own = state.own(Instant::now());
        let keep = if gives_back { state.keeps().min(own) } else { own };
        if gives_back {
            // From now on: who comes before the answer does must not take what is given back.
            if let Some((held, _)) = &mut state.held {
                held.places = keep;
            }
            state.peak = state.open;
        }
        state.turn += 1;
        let State { open, waiting, most, turn, .. } = *state;
        let need = open.saturating_add(waiting);
        Hold { user: Arc::clone(&self.user), holder: self.number, turn, open, keep, need, most }
    }

    fn held(&self, held: Option<Held>, ends: Instant) {
        if let Some(held) = held {
            self.state().held = Some((held, ends));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proxywhirl_core::shared::Places;
    use proxywhirl_core::store::StoreError;
    use proxywhirl_engine::{Engine, EngineConfig, Parts};

    use super::*;

    /// Places as a server divides them, that counts how often it is asked for more.
    #[derive(Default, Clone)]
    struct Shelf(Arc<Mutex<Shelved>>);

    #[derive(Default)]
    struct Shelved {
        held: HashMap<u64, (u32, u32)>,
        asked: u32,
        is_away: bool,
    }

    impl Places for Shelf {
        fn hold(&mut self, holds: &[Hold], _: Duration) -> Result<Vec<Option<Held>>, StoreError> {
            let mut shelved = self.0.lock().unwrap();
            if shelved.is_away {
                return Err(StoreError { place: "the shelf".to_owned(), reason: "is away".to_owned() });
            }
            let mut hold = |hold: &Hold| {
                let others = shelved.held.iter().filter(|(number, _)| **number != hold.holder);
                let (taken, idle) =
                    others.fold((0, 0), |(taken, idle), (_, (open, places))| (taken + places, idle + places - open));
                let free = hold.most.saturating_sub(taken);
                let mut places = hold.open.max(hold.keep.min(free));
                if hold.need > places {
                    let room = (hold.most / 2).saturating_sub(taken);
                    places = places.max(hold.need.min(free)).max((2 * hold.need).min(room));
                    shelved.asked += 1;
                }
                shelved.held.insert(hold.holder, (hold.open, places));
                let is_scarce = 2 * (taken + places) > hold.most;
                Some(Held { places: places.min(free), is_scarce, is_idle_elsewhere: idle > 0 })
            };
            Ok(holds.iter().map(&mut hold).collect())
        }
    }

    /// Gateways that share a shelf, and a user's places at each of them.
    fn over<const N: usize>(shelf: &Shelf) -> [(Arc<Engine>, Arc<Seats>); N] {
        [(); N].map(|()| {
            let parts = Parts { places: Some(Box::new(shelf.clone())), ..Parts::default() };
            (Engine::start(EngineConfig::default(), parts).unwrap(), Arc::new(Seats::new("anna".into())))
        })
    }

    async fn take((engine, seats): &(Arc<Engine>, Arc<Seats>), most: u32) -> bool {
        seats.take(Some(most), engine.places()).await
    }

    async fn until(what: impl AsyncFn() -> bool) {
        let waits = async {
            while !what().await {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waits).await.unwrap();
    }

    #[tokio::test]
    async fn there_are_never_more_than_there_may_be_and_what_becomes_free_is_everybodys() {
        let shelf = Shelf::default();
        let gateways = over::<3>(&shelf);
        // Whatever one has asked for in advance, the last place is found.
        for number in 0..10 {
            assert!(take(&gateways[if number < 4 { 0 } else { 1 + number % 2 }], 10).await, "{number}");
        }
        for gateway in &gateways {
            assert!(!take(gateway, 10).await);
        }
        gateways[0].1.leave();
        until(async || take(&gateways[2], 10).await).await;
        let open: u32 = gateways.iter().map(|(_, seats)| seats.state().open).sum();
        assert_eq!(open, 10);
        for gateway in &gateways {
            assert!(!take(gateway, 10).await);
        }
    }

    #[tokio::test]
    async fn with_room_few_requests_ask() {
        let shelf = Shelf::default();
        let [gateway] = over(&shelf);
        for _ in 0..100 {
            assert!(take(&gateway, 1_000).await);
        }
        let asked = shelf.0.lock().unwrap().asked;
        assert!((1..=8).contains(&asked), "{asked}");
        // And none at all where there is no limit, or nobody to ask.
        for (most, others) in [(None, gateway.0.places()), (Some(1_000), None)] {
            assert!(gateway.1.take(most, others).await);
        }
        assert_eq!(shelf.0.lock().unwrap().asked, asked);
    }

    #[tokio::test]
    async fn while_nobody_answers_each_has_its_own_and_what_was_taken_meanwhile_counts_afterwards() {
        let shelf = Shelf::default();
        let gateways = over::<2>(&shelf);
        assert!(take(&gateways[0], 4).await);
        shelf.0.lock().unwrap().is_away = true;
        for gateway in &gateways {
            while take(gateway, 4).await {}
            assert_eq!(gateway.1.state().open, 4);
            assert!(gateway.0.limits_trouble().is_some());
        }
        shelf.0.lock().unwrap().is_away = false;
        until(async || gateways.iter().all(|(engine, _)| engine.limits_trouble().is_none())).await;
        until(async || shelf.0.lock().unwrap().held.values().map(|(open, _)| open).sum::<u32>() == 8).await;
        until(async || gateways.iter().all(|(_, seats)| seats.state().own(Instant::now()) == 0)).await;
        gateways[0].1.leave();
        assert!(!take(&gateways[0], 4).await, "there are too many still");
        for _ in 0..4 {
            gateways[1].1.leave();
        }
        until(async || take(&gateways[0], 4).await).await;
        assert!(!take(&gateways[1], 4).await);
    }

    #[tokio::test]
    async fn a_request_that_gives_up_waits_no_more() {
        let seats = Arc::new(Seats::new("anna".into()));
        let nobody = Arc::<SharedPlaces>::default();
        drop(tokio::time::timeout(Duration::from_millis(1), seats.take(Some(1), Some(&nobody))).await);
        let state = seats.state();
        assert_eq!((state.waiting, state.open), (0, 0));
    }
}
