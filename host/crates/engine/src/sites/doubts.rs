//! Failures that may be the member's or the origin's, when the request asked nobody else who could tell: a POST is sent once.
//!
//! What one request cannot tell, those after it can. A member is *in doubt* at an origin from such a failure until it serves a
//! request there. If another member has begun and served one meanwhile, so that the origin does well, and the first one fails again
//! in between, then it is the member. An origin that is down and comes back convicts nobody, because those that failed serve then.
//!
//! Bounded in number and time. As long as nobody is in doubt, a use reads one number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::{MemberId, Timestamp};

/// Members in doubt at all origins.
const MOST: usize = 4_096;

/// Members in doubt at one origin: each use there looks through them.
const MOST_AT_ONE: usize = 64;

/// After so long without a failure nobody is in doubt any more.
const LIFE: Duration = Duration::from_secs(600);

/// Who is in doubt where.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// How many there are. Written by whoever holds the lock.
    count: AtomicUsize,
    /// Held for some instructions, and only while there are any.
    by_origin: Mutex<HashMap<u64, Vec<Doubt>>>,
}

#[derive(Debug, Clone, Copy)]
struct Doubt {
    member: MemberId,
    /// When it failed last.
    failed: Timestamp,
    /// Whether another one has served a request since that was begun after it.
    is_served_by_others: bool,
}

impl Doubts {
    /// A member has failed at an origin. Whether it is to blame: it had failed there before, and another one has served it since.
    pub(super) fn failed(&self, origin: u64, member: MemberId, now: Timestamp) -> bool {
        let mut by_origin = self.lock();
        let mut count = self.count.load(Ordering::Relaxed);
        if count >= MOST {
            by_origin.retain(|_, doubts| {
                doubts.retain(|doubt| doubt.is_alive(now));
                !doubts.is_empty()
            });
            count = by_origin.values().map(Vec::len).sum();
        }
        let doubt = Doubt { member, failed: now, is_served_by_others: false };
        let at_origin = by_origin.get_mut(&origin);
        let known = at_origin.and_then(|doubts| doubts.iter_mut().find(|known| known.member == member));
        let before = known.map(|known| std::mem::replace(known, doubt));
        if before.is_none() && count < MOST {
            let doubts = by_origin.entry(origin).or_default();
            if doubts.len() < MOST_AT_ONE {
                doubts.push(doubt);
                count += 1;
            }
        }
        self.count.store(count, Ordering::Relaxed);
        before.is_some_and(|before| before.is_alive(now) && before.is_served_by_others)
    }

    /// A member has served a request at an origin that was begun then.
    pub(super) fn served(&self, origin: impl FnOnce() -> u64, member: MemberId, begun: Timestamp) {
        // Relaxed: who comes in the instant of the first failure does not see it, and the next one does.
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let origin = origin();
        let mut by_origin = self.lock();
        let Some(doubts) = by_origin.get_mut(&origin) else { return };
        let before = doubts.len();
        doubts.retain(|doubt| doubt.member != member);
        doubts.iter_mut().for_each(|doubt| doubt.is_served_by_others |= begun >= doubt.failed);
        let gone = before - doubts.len();
        if doubts.is_empty() {
            by_origin.remove(&origin);
        }
        self.count.fetch_sub(gone, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Doubt>>> {
        self.by_origin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doubt {
    fn is_alive(&self, now: Timestamp) -> bool {
        now.since(self.failed) < LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: u64 = 7;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn who_fails_again_while_another_serves_is_to_blame() {
        let doubts = Doubts::default();
        let (bad, good) = (MemberId(1), MemberId(2));
        assert!(!doubts.failed(SITE, bad, at(1)) && !doubts.failed(SITE, bad, at(2)), "nobody else was asked");
        doubts.served(|| SITE, good, at(1));
        assert!(!doubts.failed(SITE, bad, at(3)), "that one was begun before it failed");
        doubts.served(|| SITE + 1, good, at(3));
        assert!(!doubts.failed(SITE, bad, at(4)), "that was another site");
        doubts.served(|| SITE, good, at(5));
        assert!(doubts.failed(SITE, bad, at(6)));
        assert!(!doubts.failed(SITE, bad, at(7)), "each time another one has to serve");
        doubts.served(|| SITE, good, at(8));
        doubts.served(|| SITE, bad, at(8));
        assert!(!doubts.failed(SITE, bad, at(9)), "it does serve");
    }

    #[test]
    fn a_site_that_comes_back_convicts_nobody() {
        let doubts = Doubts::default();
        for second in 0..50 {
            (0..5).for_each(|member| assert!(!doubts.failed(SITE, MemberId(member), at(second))));
        }
        (0..5).for_each(|member| doubts.served(|| SITE, MemberId(member), at(60)));
        (0..5).for_each(|member| assert!(!doubts.failed(SITE, MemberId(member), at(70))));
    }

    #[test]
    fn they_are_bounded_in_number_and_time() {
        let doubts = Doubts::default();
        let counted = || (doubts.count.load(Ordering::Relaxed), doubts.lock().values().map(Vec::len).sum::<usize>());
        for number in 0..3 * MOST as u64 {
            doubts.failed(number % 100, MemberId(number), at(1));
            doubts.failed(number, MemberId(number), at(1));
        }
        assert_eq!(counted(), (MOST, MOST));
        assert!(doubts.lock().values().all(|at| at.len() <= MOST_AT_ONE && !at.is_empty()));
        doubts.failed(9, MemberId(1 << 40), at(700));
        assert_eq!(counted(), (1, 1), "the old ones have made room");
        doubts.served(|| 9, MemberId(1), at(702));
        assert!(!doubts.failed(9, MemberId(1 << 40), at(1_400)), "that was too long ago");
        doubts.served(|| 9, MemberId(1 << 40), at(1_401));
        assert_eq!(counted(), (0, 0));
    }
}
