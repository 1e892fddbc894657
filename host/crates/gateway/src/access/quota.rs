//! What a user may use: requests in a second, requests at once, bytes in a time.
//!
//! Gateways that share a pool share the rate, each token of which one of them has, the bytes, of which each tells the others, and the
//! places for requests at once ([`super::places`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use proxywhirl_core::limit::Rate;
use proxywhirl_core::shared::{Spending, Spent};
use proxywhirl_engine::{Engine, SharedQuotas, Spender};
use tokio::time::{Instant, sleep};

use super::places::Seats;
use super::users::User;

/// What was heard of other gateways so long ago is still true enough for a request to begin.
const FRESH: Duration = Duration::from_millis(250);

/// How often it is looked again whether a request has a place, and after how long each time: for longer in all than a tunnel keeps
/// its place whose client has left ([`MOMENT`](proxywhirl_net::relay::MOMENT)).
const LOOKS: u32 = 14;
const PAUSE: Duration = Duration::from_millis(25);

/// Others are told at once when that part of a quota was used that they do not know of.
const HURRY: u64 = 128;

/// What a user may use; none for as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UserLimits {
    /// Requests in a second, on the average: tunnels count as one.
    pub rate: Option<f64>,
    /// Requests that may come at once after a pause; at least 1.
    pub burst: u32,
    /// Requests and tunnels at the same time.
    pub concurrency: Option<u32>,
    /// Bytes from and to the user's clients within a period.
    pub quota: Option<u64>,
    /// That period; the first one begins with the first byte.
    pub period: Duration,
}

impl Default for UserLimits {
    fn default() -> Self {
        Self { rate: None, burst: 1, concurrency: None, quota: None, period: Duration::from_hours(24) }
    }
}

/// What a user may use, and what it uses: nothing of it is secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Its name.
    pub user: String,
    /// What it may use.
    pub limits: UserLimits,
    /// Its requests and tunnels under way at this gateway.
    pub open: u32,
    /// Its bytes in the period that goes on; none where it has no quota, and nobody counts them.
    pub bytes: Option<u64>,
    /// What is left of that period; none where none goes on.
    pub left: Option<Duration>,
}

impl Usage {
    /// Why a request would be refused now, as far as that shows: whether its rate has a turn left, only a request finds out.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        let is_used_up = self.bytes.zip(self.limits.quota).is_some_and(|(used, quota)| used >= quota);
        let quota = self.left.filter(|_| is_used_up).map(Exceeded::Quota);
        let full = self.limits.concurrency.filter(|most| self.open >= *most).map(Exceeded::Concurrency);
        quota.or(full).map(|exceeded| exceeded.why(&self.user))
    }
}

/// What is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Rate(Duration),
    Concurrency(u32),
    Quota(Duration),
}

impl Exceeded {
    /// When it is worth to come again.
    pub(crate) const fn retry_after(self) -> Duration {
        match self {
            Self::Rate(wait) | Self::Quota(wait) => wait,
            Self::Concurrency(_) => Duration::from_secs(1),
        }
    }

    /// What it is, in words for the client.
    pub(crate) fn why(self, user: &str) -> String {
        match self {
            Self::Rate(_) => format!("the user {user} sends more requests in a second than it may"),
            Self::Concurrency(most) => format!("the user {user} has {most} requests open, and may have no more"),
            Self::Quota(_) => format!("the user {user} has used up its bytes"),
        }
    }
}

/// What a user may use, and has used.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: UserLimits,
    /// Stays when the limits change.
    used: Arc<Used>,
}

/// What a user has used.
#[derive(Debug)]
pub(super) struct Used {
    user: Arc<str>,
    bucket: Mutex<Bucket>,
    seats: Arc<Seats>,
    /// Bytes in the period: those of all gateways that share the pool, as far as is known.
    bytes: AtomicU64,
    /// Those of them that the others were not told of.
    untold: AtomicU64,
    period: Mutex<Period>,
    /// When the period is over, in nanoseconds since `made`: whoever counts bytes looks at it without a lock. [`NONE`] while there is none.
    over: AtomicU64,
    made: Instant,
    /// Where they are told; nothing when nobody shares the pool.
    shared: OnceLock<Arc<SharedQuotas>>,
}

/// When a period is over that has not begun.
const NONE: u64 = u64::MAX;

/// Says what is gone of it and not what is left, so that another rate or burst holds for it as it is.
#[derive(Debug, Default)]
struct Bucket {
    /// Tokens that have not come back yet.
    used: f64,
    filled: Option<Instant>,
    /// When there is a token again, as those say who share the bucket.
    refused: Option<Instant>,
}

#[derive(Debug)]
struct Period {
    length: Duration,
    /// When it began; none before the first byte.
    began: Option<Instant>,
    /// When it was heard last what was used elsewhere.
    heard: Option<Instant>,
}

impl Period {
    /// What is left of it; none when it is over, or has not begun.
    fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.began.and_then(|began| self.length.checked_sub(now.saturating_duration_since(began)));
        left.filter(|left| !left.is_zero())
    }
}

/// A request under way. Its drop makes room for another.
#[derive(Debug)]
pub(crate) struct Use {
    user: Arc<User>,
}

impl Use {
    /// Takes a place for a request, as far as the gateways allow that share the pool; none of them when nobody shares it.
    pub(super) async fn of(user: Arc<User>, others: Option<&Engine>) -> Result<Self, Exceeded> {
        if let Some(others) = others {
            user.meter.hear(others).await;
        }
        user.meter.enter(Instant::now(), others).await?;
        let place = Self { user };
        place.user.meter.draw(others).await?;
        Ok(place)
    }
}

impl Use {
    /// What its user has used up meanwhile, and the user's name.
    pub(crate) fn exceeded(&self) -> (Exceeded, &str) {
        // When the period has ended just now, it is over in an instant.
        let left = self.user.meter.used_up(Instant::now).unwrap_or_default();
        (Exceeded::Quota(left), self.user.name())
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.user.meter.used.seats.leave();
    }
}

impl Meter {
    pub(super) fn new(user: &str, limits: UserLimits) -> Self {
        let used = Used {
            user: user.into(),
            bucket: Mutex::default(),
            seats: Arc::new(Seats::new(user.into())),
            bytes: AtomicU64::new(0),
            untold: AtomicU64::new(0),
            period: Mutex::new(Period { length: limits.period, began: None, heard: None }),
            over: AtomicU64::new(NONE),
            made: Instant::now(),
            shared: OnceLock::new(),
        };
        Self { limits, used: Arc::new(used) }
    }

    /// Limits for what was used under others.
    pub(super) fn of(used: Arc<Used>, limits: UserLimits) -> Self {
        let mut period = lock(&used.period);
        period.length = limits.period;
        let began = period.began;
        used.begin(&mut period, began);
        drop(period);
        // It was refused by the rate of before.
        lock(&used.bucket).refused = None;
        Self { limits, used }
    }

    /// Other limits for what was used.
    pub(super) fn limited(&self, limits: UserLimits) -> Self {
        Self::of(Arc::clone(&self.used), limits)
    }

    pub(super) const fn used(&self) -> &Arc<Used> {
        &self.used
    }

    pub(super) const fn counts_bytes(&self) -> bool {
        self.limits.quota.is_some()
    }

    /// What the user may use, and uses, as far as it is known here.
    pub(super) fn usage(&self) -> Usage {
        let left = lock(&self.used.period).left(Instant::now()).filter(|_| self.counts_bytes());
        let bytes = if left.is_some() { self.used.bytes.load(Ordering::Relaxed) } else { 0 };
        Usage {
            user: self.used.user.to_string(),
            limits: self.limits,
            open: self.used.seats.open(),
            bytes: self.counts_bytes().then_some(bytes),
            left,
        }
    }

    /// Hears what the user has used elsewhere, if that matters and was not heard just now.
    pub(super) async fn hear(&self, others: &Engine) {
        let Some(quotas) = others.quotas().filter(|_| self.counts_bytes()) else { return };
        let shared = self.used.shared.get_or_init(|| Arc::clone(quotas));
        let is_fresh = lock(&self.used.period).heard.is_some_and(|heard| heard.elapsed() < FRESH);
        if !is_fresh {
            shared.hear(Arc::clone(&self.used) as Arc<dyn Spender>).await;
        }
    }

    /// Takes a place, as far as bytes and other requests leave one.
    async fn enter(&self, now: Instant, others: Option<&Engine>) -> Result<(), Exceeded> {
        if let Some(left) = self.used_up(|| now) {
            return Err(Exceeded::Quota(left));
        }
        let most = self.limits.concurrency;
        if self.used.seats.take(most, others.and_then(Engine::places)).await {
            return Ok(());
        }
        if others.and_then(Engine::places).is_some() {
            // It was waited for already, as others may have had some to spare.
            return Err(Exceeded::Concurrency(most.unwrap_or(u32::MAX)));
        }
        // On the heap, since it is rare.
        Box::pin(self.enter_soon(most)).await
    }

    /// Takes a place that becomes free in this moment: a client that has ended one request and asks for the next may be quicker
    /// than who notices the end.
    async fn enter_soon(&self, most: Option<u32>) -> Result<(), Exceeded> {
        for _ in 0..LOOKS {
            sleep(PAUSE).await;
            if self.used.seats.take(most, None).await {
                return Ok(());
            }
        }
        Err(Exceeded::Concurrency(most.unwrap_or(u32::MAX)))
    }

    /// Takes a token: of those that all gateways share, or, where nobody shares them or can be asked, of those that are left here.
    async fn draw(&self, others: Option<&Engine>) -> Result<(), Exceeded> {
        let Some(rate) = self.limits.rate else { return Ok(()) };
        let now = Instant::now();
        if let Some(wait) = lock(&self.used.bucket).refused.and_then(|until| until.checked_duration_since(now))
            && !wait.is_zero()
        {
            return Err(Exceeded::Rate(wait));
        }
        let shared = Rate::new(rate, self.limits.burst.max(1));
        let granted = match others {
            Some(others) => others.user_token(&self.used.user, shared).await,
            None => None,
        };
        // Taken here in any case, so that there is no more when nobody can be asked.
        let own = self.draw_own(rate, Instant::now());
        match granted {
            None => own,
            Some(Ok(())) => Ok(()),
            Some(Err(wait)) => {
                lock(&self.used.bucket).refused = Some(Instant::now() + wait);
                Err(Exceeded::Rate(wait))
            }
        }
    }

    fn draw_own(&self, rate: f64, now: Instant) -> Result<(), Exceeded> {
        let mut bucket = lock(&self.used.bucket);
        let since = bucket.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        let burst = f64::from(self.limits.burst.max(1));
        // No more than there are: under the limits of before it may have been.
        bucket.used = (bucket.used - since.as_secs_f64() * rate).clamp(0.0, burst);
        bucket.filled = Some(now);
        let missing = bucket.used + 1.0 - burst;
        if missing > 0.0 {
            return Err(Exceeded::Rate(Duration::from_secs_f64((missing / rate).min(3_600.0))));
        }
        bucket.used += 1.0;
        Ok(())
    }

    /// Counts bytes. False when there are more than the user may have.
    pub(super) fn count(&self, bytes: usize) -> bool {
        let Some(quota) = self.limits.quota.filter(|_| bytes > 0) else { return true };
        let (bytes, now) = (bytes as u64, Instant::now());
        if self.used.is_over(now) {
            self.used.renew(now, true);
        }
        let used = self.used.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.used.tell(bytes, quota / HURRY);
        used <= quota || self.used_up(|| now).is_none()
    }

    /// Whether there are bytes left.
    pub(super) fn has_bytes(&self) -> bool {
        self.used_up(Instant::now).is_none()
    }

    /// How long nothing is left for; none when something is, and then nobody asks what time it is.
    fn used_up(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let quota = self.limits.quota?;
        if self.used.bytes.load(Ordering::Relaxed) < quota {
            return None;
        }
        self.used.renew(now(), false)
    }
}

impl Used {
    /// Whether it may be forgotten: nothing is under way, and no period. What a rate has used is back in a moment.
    pub(super) fn is_nothing(&self) -> bool {
        self.seats.open() == 0 && self.is_over(Instant::now())
    }

    /// Whether the period is over, or none has begun.
    fn is_over(&self, now: Instant) -> bool {
        let over = self.over.load(Ordering::Relaxed);
        over == NONE || nanos(now.saturating_duration_since(self.made)) >= over
    }

    /// Ends the period when it is over: what was used in it is forgotten. What is left of the one that goes on; with a `byte`, a new
    /// one begins where there is none.
    fn renew(&self, now: Instant, byte: bool) -> Option<Duration> {
        let mut period = lock(&self.period);
        let left = period.left(now);
        if left.is_none() {
            // Bytes that others were not told of are counted there in the period in which they are told.
            if period.began.is_some() {
                self.bytes.store(0, Ordering::Relaxed);
            }
            self.begin(&mut period, byte.then_some(now));
        }
        left
    }

    fn begin(&self, period: &mut Period, began: Option<Instant>) {
        period.began = began;
        let over = |began: Instant| nanos(began.saturating_duration_since(self.made).saturating_add(period.length));
        self.over.store(began.map_or(NONE, over), Ordering::Relaxed);
    }

    /// Has the others told of bytes: soon, or at once when there are so many.
    fn tell(self: &Arc<Self>, bytes: u64, many: u64) {
        let Some(shared) = self.shared.get().filter(|_| bytes > 0) else { return };
        let before = self.untold.fetch_add(bytes, Ordering::Relaxed);
        if before == 0 {
            shared.count(Arc::clone(self) as Arc<dyn Spender>);
        }
        if before < many && before + bytes >= many {
            shared.hurry();
        }
    }
}

impl Spender for Used {
    fn spent(&self) -> Spent {
        let bytes = self.untold.swap(0, Ordering::Relaxed);
        Spent { user: Arc::clone(&self.user), bytes, period: lock(&self.period).length }
    }

    fn told(self: Arc<Self>, spent: Spent, spending: Option<Spending>) {
        let Some(Spending { bytes, left }) = spending else { return self.tell(spent.bytes, u64::MAX) };
        let now = Instant::now();
        let mut period = lock(&self.period);
        period.heard = Some(now);
        let untold = self.untold.load(Ordering::Relaxed);
        // It begins with the first byte anywhere.
        let began = if left.is_zero() {
            (untold > 0).then_some(now)
        } else {
            (now + left.min(period.length)).checked_sub(period.length).or(Some(now))
        };
        self.begin(&mut period, began);
        // Some that come in this instant are missing until the next time.
        self.bytes.store(bytes.saturating_add(untold), Ordering::Relaxed);
    }
}

/// As far as they can be counted: 584 years.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(NONE - 1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
