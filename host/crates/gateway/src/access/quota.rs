//! What a user may use: requests in a second, requests at once, bytes in a time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::users::User;

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
struct Used {
    bucket: Mutex<Bucket>,
    open: AtomicU32,
    /// Bytes in the period.
    bytes: AtomicU64,
    /// When the period began; none before the first byte.
    began: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Option<Instant>,
}

/// A request under way. Its drop makes room for another.
#[derive(Debug)]
pub(crate) struct Use {
    user: Arc<User>,
}

impl Use {
    pub(super) fn of(user: Arc<User>) -> Result<Self, Exceeded> {
        user.meter.begin(Instant::now())?;
        Ok(Self { user })
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        // Relaxed: nothing but the number itself is read from it.
        self.user.meter.used.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Meter {
    pub(super) fn new(limits: UserLimits) -> Self {
        let bucket = Mutex::new(Bucket { tokens: f64::from(limits.burst.max(1)), filled: None });
        let (open, bytes, began) = (AtomicU32::new(0), AtomicU64::new(0), Mutex::new(None));
        Self { limits, used: Arc::new(Used { bucket, open, bytes, began }) }
    }

    /// Other limits for what was used.
    pub(super) fn limited(&self, limits: UserLimits) -> Self {
        Self { limits, used: Arc::clone(&self.used) }
    }

    pub(super) const fn counts_bytes(&self) -> bool {
        self.limits.quota.is_some()
    }

    fn begin(&self, now: Instant) -> Result<(), Exceeded> {
        if let Some(left) = self.used_up(now) {
            return Err(Exceeded::Quota(left));
        }
        let most = self.limits.concurrency.unwrap_or(u32::MAX);
        if self.used.open.fetch_add(1, Ordering::Relaxed) >= most {
            self.used.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Exceeded::Concurrency(most));
        }
        self.draw(now).inspect_err(|_| {
            self.used.open.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// Takes a token.
    fn draw(&self, now: Instant) -> Result<(), Exceeded> {
        let Some(rate) = self.limits.rate else { return Ok(()) };
        let mut bucket = lock(&self.used.bucket);
        let since = bucket.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        bucket.tokens = (bucket.tokens + since.as_secs_f64() * rate).min(f64::from(self.limits.burst.max(1)));
        bucket.filled = Some(now);
        if bucket.tokens < 1.0 {
            return Err(Exceeded::Rate(Duration::from_secs_f64(((1.0 - bucket.tokens) / rate).min(3_600.0))));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Counts bytes. False when there are more than the user may have.
    pub(super) fn count(&self, bytes: usize) -> bool {
        let Some(quota) = self.limits.quota else { return true };
        let used = self.used.bytes.fetch_add(bytes as u64, Ordering::Relaxed).saturating_add(bytes as u64);
        if used == bytes as u64 {
            lock(&self.used.began).get_or_insert_with(Instant::now);
        }
        used <= quota || self.used_up(Instant::now()).is_none()
    }

    /// How long nothing is left for; none when something is. Begins a new period when the last one is over.
    fn used_up(&self, now: Instant) -> Option<Duration> {
        let quota = self.limits.quota?;
        if self.used.bytes.load(Ordering::Relaxed) < quota {
            return None;
        }
        let mut began = lock(&self.used.began);
        let left = began.and_then(|began| self.limits.period.checked_sub(now.saturating_duration_since(began)));
        if left.is_none_or(|left| left.is_zero()) {
            *began = Some(now);
            self.used.bytes.store(0, Ordering::Relaxed);
            return None;
        }
        left
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_has_a_burst_and_says_when_to_come_again() {
        let meter = Meter::new(UserLimits { rate: Some(2.0), burst: 3, ..UserLimits::default() });
        let begin = || meter.begin(Instant::now());
        assert!((0..3).all(|_| begin().is_ok()));
        assert_eq!(begin(), Err(Exceeded::Rate(Duration::from_millis(500))));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(begin().is_ok() && begin().is_err());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((0..10).filter(|_| begin().is_ok()).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_takes_no_place() {
        let meter = Meter::new(UserLimits { rate: Some(0.1), concurrency: Some(2), ..UserLimits::default() });
        assert!(meter.begin(Instant::now()).is_ok());
        assert!(matches!(meter.begin(Instant::now()), Err(Exceeded::Rate(_))));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(meter.begin(Instant::now()).is_ok());
        assert_eq!(meter.begin(Instant::now()), Err(Exceeded::Concurrency(2)));
        assert_eq!(meter.used.open.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_for_a_period() {
        let period = Duration::from_mins(1);
        let meter = Meter::new(UserLimits { quota: Some(1_000), period, ..UserLimits::default() });
        assert!(meter.count(600) && meter.begin(Instant::now()).is_ok());
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(!meter.count(600));
        assert_eq!(meter.begin(Instant::now()), Err(Exceeded::Quota(Duration::from_secs(40))));
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(meter.begin(Instant::now()).is_ok() && meter.count(1_000) && !meter.count(1));
    }
}
