//! How many attempts there may be beyond the first of each request.
//!
//! When everybody is down, each request would ask five members instead of one, and what is left of a pool or an origin
//! would be asked five times as much: a retry budget (as in Finagle and Envoy) lets a share of the requests be retried.
//! Counted are the retries that were **not** answered. One that is answered has served a request that would have failed,
//! which is what retries are for: while others work, as many requests are retried as need it.
//!
//! One site that is down says nothing of the others: when the budget is used up, each site still has a tenth of the least.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proxywhirl_engine::registrable;
use tokio::time::Instant;

use crate::config::RetryConfig;

/// How many parts the window has: it moves on by one of them at a time.
const PARTS: u32 = 10;

/// Sites are told apart by a hash: some share a window.
const SITES: usize = 64;

/// What part of the least number of retries each site has for itself.
const SITES_SHARE: u32 = 10;

/// The retries that may be begun.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    windows: Mutex<Windows>,
    hasher: RandomState,
}

/// Held for some instructions, and by retries only: requests are counted by their numbers.
#[derive(Debug)]
struct Windows {
    all: Window,
    sites: Vec<Window>,
}

/// The retries of the last while, the oldest part first.
#[derive(Debug)]
struct Window {
    config: RetryConfig,
    parts: VecDeque<Part>,
    retries: u64,
}

#[derive(Debug)]
struct Part {
    began: Instant,
    /// The number of the request that was the last one when it began.
    request: u64,
    retries: u64,
}

impl RetryBudget {
    pub(crate) fn new(config: RetryConfig) -> Self {
        let sites = (0..SITES).map(|_| Window::new(of_a_site(config))).collect();
        Self { windows: Mutex::new(Windows { all: Window::new(config), sites }), hasher: RandomState::new() }
    }

    /// Changes how many there may be; what was counted counts on.
    pub(crate) fn configure(&self, config: RetryConfig) {
        let mut windows = self.windows();
        windows.all.config = config;
        windows.sites.iter_mut().for_each(|site| site.config = of_a_site(config));
    }

    /// Takes a retry at the site of a target out of the budget; false when it is used up. `request` is the number of a request of
    /// now: they count from 1.
    pub(crate) fn withdraw(&self, request: u64, target: &str, now: Instant) -> bool {
        let place = self.place_of(target);
        let mut windows = self.windows();
        let Windows { all, sites } = &mut *windows;
        let Some(site) = sites.get_mut(place) else { return false };
        all.advance(request, now);
        site.advance(request, now);
        let has_room = all.has_room(request) || site.has_room(request);
        if has_room {
            all.count();
            site.count();
        }
        has_room
    }

    /// Puts a retry at the site of a target back that was answered.
    pub(crate) fn give_back(&self, target: &str) {
        let place = self.place_of(target);
        let mut windows = self.windows();
        windows.all.give_back();
        if let Some(site) = windows.sites.get_mut(place) {
            site.give_back();
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is below the number of sites")]
    fn place_of(&self, target: &str) -> usize {
        (self.hasher.hash_one(registrable(target)) % SITES as u64) as usize
    }

    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a site has for itself.
fn of_a_site(config: RetryConfig) -> RetryConfig {
    RetryConfig { share: 0.0, minimum: config.minimum / SITES_SHARE, ..config }
}

impl Window {
    fn new(config: RetryConfig) -> Self {
        Self { config, parts: VecDeque::new(), retries: 0 }
    }

    fn has_room(&self, request: u64) -> bool {
        let first = self.parts.front().map_or(request, |part| part.request);
        self.retries < self.allowed(request.saturating_sub(first))
    }

    fn count(&mut self) {
        self.retries += 1;
        if let Some(part) = self.parts.back_mut() {
            part.retries += 1;
        }
    }

    fn give_back(&mut self) {
        // The part in which it began may have passed; then it counts no more.
        if let Some(part) = self.parts.iter_mut().rev().find(|part| part.retries > 0) {
            part.retries -= 1;
            self.retries -= 1;
        }
    }

    /// How many retries may go unanswered in a window with so many requests.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "no window has so many requests, and a share is positive"
    )]
    fn allowed(&self, requests: u64) -> u64 {
        u64::from(self.config.minimum) + (requests as f64 * f64::from(self.config.share)) as u64
    }

    /// Begins a new part when it is time, and forgets what is too old.
    fn advance(&mut self, request: u64, now: Instant) {
        let length = self.config.window;
        while let Some(oldest) = self.parts.front() {
            if now.saturating_duration_since(oldest.began) < length {
                break;
            }
            self.retries -= oldest.retries;
            self.parts.pop_front();
        }
        let is_due = self.parts.back().is_none_or(|part| now.saturating_duration_since(part.began) >= length / PARTS);
        if is_due {
            self.parts.push_back(Part { began: now, request, retries: 0 });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SITE: &str = "shop.example:443";

    fn budget(share: f32, minimum: u32) -> RetryBudget {
        RetryBudget::new(RetryConfig { share, minimum, window: Duration::from_secs(10) })
    }

    /// How many of so many retries are granted to a request.
    fn granted(budget: &RetryBudget, request: u64, now: Instant, wanted: usize) -> usize {
        (0..wanted).filter(|_| budget.withdraw(request, SITE, now)).count()
    }

    #[test]
    fn a_share_of_the_requests_may_be_retried_and_a_minimum() {
        let (budget, now) = (budget(0.2, 3), Instant::now());
        assert_eq!(granted(&budget, 1, now, 10), 3);
        assert_eq!(granted(&budget, 101, now, 100), 20);
        assert_eq!(granted(&budget, 101, now, 1), 0);
    }

    #[test]
    fn what_was_answered_costs_nothing() {
        let (budget, now) = (budget(0.0, 1), Instant::now());
        for request in 1..1_000 {
            assert!(budget.withdraw(request, SITE, now));
            budget.give_back(SITE);
        }
        assert_eq!(granted(&budget, 1_000, now, 5), 1);
    }

    #[test]
    fn the_window_moves_on_and_stays_small() {
        let (budget, start) = (budget(0.1, 5), Instant::now());
        let mut request = 0;
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            request += 100;
            let granted = granted(&budget, request, now, 1_000);
            // A hundred requests a second: ten retries a second at the most, and the minimum once a window.
            assert!(granted <= 20, "{second}: {granted}");
        }
        let windows = budget.windows.lock().unwrap();
        let window = &windows.all;
        assert!(window.parts.len() <= PARTS as usize + 1);
        assert_eq!(window.retries, window.parts.iter().map(|part| part.retries).sum::<u64>());
        assert!((90..=105).contains(&window.retries), "{}", window.retries);
    }

    #[test]
    fn a_retry_that_is_given_back_late_makes_no_debt() {
        let (budget, start) = (budget(0.0, 2), Instant::now());
        assert_eq!(granted(&budget, 1, start, 5), 2);
        let later = start + Duration::from_secs(60);
        assert_eq!(granted(&budget, 2, later, 1), 1);
        for _ in 0..3 {
            budget.give_back(SITE);
        }
        assert_eq!(granted(&budget, 2, later, 5), 2);
    }

    #[test]
    fn one_site_that_is_down_leaves_the_others_something() {
        let (budget, now) = (budget(0.0, 50), Instant::now());
        assert_eq!(granted(&budget, 1, now, 100), 50);
        let others = (0..20).map(|number| format!("site{number}.example:443"));
        let served = |target: &String| (0..5).filter(|_| budget.withdraw(2, target, now)).count();
        let granted: Vec<usize> = others.map(|target| served(&target)).collect();
        // Some share their place with another one, or with the first.
        assert!(granted.iter().filter(|count| **count == 5).count() >= 10, "{granted:?}");
        assert!(granted.iter().sum::<usize>() <= SITES * 5);
    }
}
