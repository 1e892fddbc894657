//! How many attempts there may be beyond the first of each request.
//!
//! When everybody is down, each request would ask five members instead of one, and what is left of a pool or an origin
//! would be asked five times as much: a retry budget (as in Finagle and Envoy) lets a share of the requests be retried.
//! Counted are the retries that were **not** answered. One that is answered has served a request that would have failed,
//! which is what retries are for: while others work, as many requests are retried as need it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::config::RetryConfig;

/// How many parts the window has: it moves on by one of them at a time.
const PARTS: u32 = 10;

/// The retries that may be begun.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// Held for some instructions, and by retries only: requests are counted by their numbers.
    window: Mutex<Window>,
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
        Self { window: Mutex::new(Window { config, parts: VecDeque::new(), retries: 0 }) }
    }

    /// Changes how many there may be; what was counted counts on.
    pub(crate) fn configure(&self, config: RetryConfig) {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).config = config;
    }

    /// Takes a retry out of the budget; false when it is used up. `request` is the number of a request of now: they count
    /// from 1.
    pub(crate) fn withdraw(&self, request: u64, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.advance(request, now);
        let first = window.parts.front().map_or(request, |part| part.request);
        if window.retries >= window.allowed(request.saturating_sub(first)) {
            return false;
        }
        window.retries += 1;
        if let Some(part) = window.parts.back_mut() {
            part.retries += 1;
        }
        true
    }

    /// Puts a retry back that was answered.
    pub(crate) fn give_back(&self) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        // The part in which it began may have passed; then it counts no more.
        if let Some(part) = window.parts.iter_mut().rev().find(|part| part.retries > 0) {
            part.retries -= 1;
            window.retries -= 1;
        }
    }
}

impl Window {
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

    fn budget(share: f32, minimum: u32) -> RetryBudget {
        RetryBudget::new(RetryConfig { share, minimum, window: Duration::from_secs(10) })
    }

    /// How many of so many retries are granted to a request.
    fn granted(budget: &RetryBudget, request: u64, now: Instant, wanted: usize) -> usize {
        (0..wanted).filter(|_| budget.withdraw(request, now)).count()
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
            assert!(budget.withdraw(request, now));
            budget.give_back();
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
        let window = budget.window.lock().unwrap();
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
            budget.give_back();
        }
        assert_eq!(granted(&budget, 2, later, 5), 2);
    }
}
