//! Quotas that several gateways share: each tells the counters that all of them count into what came to it, and hears what the others
//! have counted.
//!
//! Bytes are counted here first, by whoever carries them ([`Spender`]), and told every quarter of a second, or sooner when they are
//! many. One task tells, for all users at once. While nobody answers, each gateway goes on with what it knows, and says so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxywhirl_core::Timestamp;
use proxywhirl_core::shared::{Quotas, Spending, Spent};
use proxywhirl_core::store::StoreError;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{AGAIN, BATCH, PATIENCE, TELL};
use crate::clock::Clock;
use crate::trouble::{StoreTrouble, Trouble};

/// What is told when counting has ended for good.
const PANICKED: &str = "who counts for all gateways has panicked, quotas are this gateway's own from now on";

/// Who counts what a user uses here.
pub trait Spender: Send + Sync {
    /// What came to it since this was asked last: from now on that counts as told.
    fn spent(&self) -> Spent;

    /// Hears what was counted of it everywhere; or that this could not be told, and is to be told again.
    fn told(self: Arc<Self>, spent: Spent, spending: Option<Spending>);
}

/// The way to the counters that are shared.
#[derive(Default)]
pub struct SharedQuotas {
    /// Of whom there is something to tell, or somebody asks.
    due: Mutex<Vec<Due>>,
    is_urgent: Notify,
    /// Why nobody answers.
    trouble: Trouble,
}

/// A user of whom there is something to tell, and who waits to hear of it.
struct Due {
    spender: Arc<dyn Spender>,
    waits: Option<oneshot::Sender<()>>,
}

impl std::fmt::Debug for SharedQuotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedQuotas").finish_non_exhaustive()
    }
}

impl SharedQuotas {
    /// Has it told soon what came to a user's uses.
    pub fn count(&self, spender: Arc<dyn Spender>) {
        self.due().push(Due { spender, waits: None });
    }

    /// Has it told at once: it is much.
    pub fn hurry(&self) {
        self.is_urgent.notify_one();
    }

    /// Returns when it is known what a user has used everywhere, or that nobody says so in time.
    pub async fn hear(&self, spender: Arc<dyn Spender>) {
        if self.trouble.is_some() {
            return;
        }
        let (waits, heard) = oneshot::channel();
        self.due().push(Due { spender, waits: Some(waits) });
        self.hurry();
        drop(tokio::time::timeout(PATIENCE, heard).await);
    }

    /// Why quotas are not shared, and since when; none when they are.
    #[must_use]
    pub fn trouble(&self) -> Option<StoreTrouble> {
        self.trouble.get()
    }

    fn due(&self) -> MutexGuard<'_, Vec<Due>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what there is to tell until the token is cancelled, and once more then.
    pub(crate) async fn exchange(self: Arc<Self>, mut quotas: Box<dyn Quotas>, clock: Clock, stop: CancellationToken) {
        // Nothing at first: so the connection is there before somebody waits for it.
        let Some(back) = self.tell(quotas, Vec::new(), clock).await else { return self.end(clock.now()) };
        quotas = back;
        loop {
            let is_over = tokio::select! {
                () = stop.cancelled() => true,
                () = self.is_urgent.notified() => false,
                () = tokio::time::sleep(TELL) => false,
            };
            let mut due = std::mem::take(&mut *self.due());
            // Who was away is asked whether it still is.
            while !due.is_empty() || self.trouble.is_some() {
                let some = due.split_off(due.len().saturating_sub(BATCH));
                let Some(back) = self.tell(quotas, some, clock).await else { return self.end(clock.now()) };
                quotas = back;
                if due.is_empty() {
                    break;
                }
            }
            if is_over {
                return;
            }
            if self.trouble.is_some() {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        }
    }

    async fn tell(&self, mut quotas: Box<dyn Quotas>, due: Vec<Due>, clock: Clock) -> Option<Box<dyn Quotas>> {
        let spent: Vec<Spent> = due.iter().map(|due| due.spender.spent()).collect();
        let told = tokio::task::spawn_blocking(move || {
            let told = quotas.spend(&spent);
            (quotas, spent, told)
        });
        let Ok((quotas, spent, told)) = told.await else {
            tracing::error!("{PANICKED}");
            return None;
        };
        self.note(told.as_ref().err(), clock.now());
        let mut told = told.unwrap_or_default().into_iter();
        for (Due { spender, waits }, spent) in due.into_iter().zip(spent) {
            spender.told(spent, told.next().flatten());
            if waits.is_some_and(|waits| waits.send(()).is_err()) {
                tracing::debug!("a request that asked what its user has used has gone");
            }
        }
        Some(quotas)
    }

    /// Nobody will tell any more: nobody is to wait for it.
    fn end(&self, now: Timestamp) {
        self.trouble.note(Some(PANICKED.to_owned()), now);
        self.due().clear();
    }

    /// Writes down whether somebody answers.
    fn note(&self, error: Option<&StoreError>, now: Timestamp) {
        super::note(&self.trouble, "quotas", error, now);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;

    /// Counters as a server keeps them, that can be away.
    #[derive(Default, Clone)]
    struct Shelf(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        bytes: HashMap<Arc<str>, u64>,
        is_away: bool,
    }

    impl Quotas for Shelf {
        fn spend(&mut self, spent: &[Spent]) -> Result<Vec<Option<Spending>>, StoreError> {
            let mut state = self.0.lock().unwrap();
            if state.is_away {
                return Err(StoreError { place: "the shelf".to_owned(), reason: "is away".to_owned() });
            }
            let count = spent.iter().map(|spent| {
                let bytes = state.bytes.entry(Arc::clone(&spent.user)).or_default();
                *bytes += spent.bytes;
                Some(Spending { bytes: *bytes, left: Duration::from_secs(1) })
            });
            Ok(count.collect())
        }
    }

    struct Anna {
        untold: Mutex<u64>,
        heard: Mutex<Option<u64>>,
        shared: Arc<SharedQuotas>,
    }

    impl Anna {
        fn over(shelf: &Shelf, stop: &CancellationToken) -> Arc<Self> {
            let shared = Arc::<SharedQuotas>::default();
            tokio::spawn(Arc::clone(&shared).exchange(Box::new(shelf.clone()), Clock::default(), stop.clone()));
            Arc::new(Self { untold: Mutex::default(), heard: Mutex::default(), shared })
        }

        fn uses(self: &Arc<Self>, bytes: u64) {
            *self.untold.lock().unwrap() += bytes;
            self.shared.count(Arc::clone(self) as Arc<dyn Spender>);
        }

        async fn hears(self: &Arc<Self>) -> Option<u64> {
            self.shared.hear(Arc::clone(self) as Arc<dyn Spender>).await;
            *self.heard.lock().unwrap()
        }
    }

    impl Spender for Anna {
        fn spent(&self) -> Spent {
            let bytes = std::mem::take(&mut *self.untold.lock().unwrap());
            Spent { user: "anna".into(), bytes, period: Duration::from_secs(1) }
        }

        fn told(self: Arc<Self>, spent: Spent, spending: Option<Spending>) {
            match spending {
                Some(spending) => *self.heard.lock().unwrap() = Some(spending.bytes),
                None => self.uses(spent.bytes),
            }
        }
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
    async fn what_is_used_at_one_is_known_at_the_other_and_nothing_is_forgotten_meanwhile() {
        let (shelf, stop) = (Shelf::default(), CancellationToken::new());
        let [one, other] = [(); 2].map(|()| Anna::over(&shelf, &stop));
        one.uses(500);
        assert_eq!(one.hears().await, Some(500), "with what was not told yet");
        assert_eq!(other.hears().await, Some(500));
        other.uses(70);
        until(|| shelf.0.lock().unwrap().bytes["anna"] == 570).await;
        shelf.0.lock().unwrap().is_away = true;
        one.uses(30);
        until(|| one.shared.trouble().is_some()).await;
        assert_eq!(one.shared.trouble().unwrap().error, "the shelf: is away");
        assert_eq!(one.hears().await, Some(500), "what was heard last, at once");
        one.uses(1);
        shelf.0.lock().unwrap().is_away = false;
        until(|| shelf.0.lock().unwrap().bytes["anna"] == 601).await;
        until(|| one.shared.trouble().is_none()).await;
        // At the end, too.
        one.uses(9);
        stop.cancel();
        until(|| shelf.0.lock().unwrap().bytes["anna"] == 610).await;
    }

    /// Counters that panic.
    struct Broken;

    impl Quotas for Broken {
        fn spend(&mut self, _: &[Spent]) -> Result<Vec<Option<Spending>>, StoreError> {
            panic!("it is broken")
        }
    }

    #[tokio::test]
    async fn when_counting_ends_for_good_that_is_told_and_nobody_waits_for_it() {
        let (shared, stop) = (Arc::<SharedQuotas>::default(), CancellationToken::new());
        let exchange = tokio::spawn(Arc::clone(&shared).exchange(Box::new(Broken), Clock::default(), stop.clone()));
        let anna = Arc::new(Anna { untold: Mutex::default(), heard: Mutex::default(), shared: Arc::clone(&shared) });
        // More than are told at once.
        (0..=BATCH).for_each(|_| shared.count(Arc::clone(&anna) as Arc<dyn Spender>));
        assert_eq!(anna.hears().await, None);
        exchange.await.unwrap();
        assert!(shared.trouble().unwrap().error.contains("has panicked"));
        assert!(shared.due().is_empty());
        let (waits, began) = (anna.hears(), tokio::time::Instant::now());
        assert_eq!(waits.await, None);
        assert!(began.elapsed() < PATIENCE && shared.due().is_empty(), "at once");
    }

    #[tokio::test]
    async fn what_nobody_asks_about_is_heard_of_when_they_are_there_again() {
        let (shelf, stop) = (Shelf::default(), CancellationToken::new());
        let anna = Anna::over(&shelf, &stop);
        shelf.0.lock().unwrap().is_away = true;
        assert_eq!(anna.hears().await, None);
        until(|| anna.shared.trouble().is_some()).await;
        // Nothing is left to be told.
        anna.untold.lock().unwrap().clone_from(&0);
        anna.shared.due().clear();
        shelf.0.lock().unwrap().is_away = false;
        until(|| anna.shared.trouble().is_none()).await;
        stop.cancel();
    }
}
