//! Failures that may be the member's or the origin's, when nobody showed it in the same request: a POST is sent once, and of a list
//! that is mostly dead all may fail whom a request asks.
//!
//! What one request cannot tell, those after it can. A member is *in doubt* at an origin from such a failure until it serves a
//! request there. If another member has begun and served one meanwhile, so that the origin does well, and the first one fails again
//! in between, then it is the member. An origin that is down and comes back convicts nobody, because those that failed serve then.
//!
//! Bounded in number and time. As long as nobody is in doubt, a use reads one number.

use std::collections::HashMap;
use std::time::Duration;

use proxywhirl_core::{MemberId, Timestamp};

use super::AVOIDED;
use super::sparse::{MOST, Sparse, Swept};

/// Members in doubt at one origin: most of a public list may be.
const MOST_AT_ONE: usize = 4_096;

/// After so long without a failure nobody is in doubt any more.
const LIFE: Duration = Duration::from_secs(600);

/// Who is in doubt where.
#[derive(Debug, Default)]
pub(super) struct Doubts(Sparse<Known>);

#[derive(Debug, Default)]
struct Known {
    by_origin: HashMap<u64, AtOrigin>,
    swept: Swept,
}

impl Known {
    /// Forgets who is in doubt no more, when it is time for that; how many are left of so many.
    fn sweep(&mut self, count: usize, now: Timestamp) -> usize {
        if !self.swept.is_due(count, now) {
            return count;
        }
        self.by_origin.retain(|_, at| {
            at.failed.retain(|_, failed| is_alive(*failed, now));
            !at.failed.is_empty()
        });
        self.by_origin.values().map(|at| at.failed.len()).sum()
    }

    /// Whether a member that has served a request at an origin was in doubt there.
    fn served(&mut self, origin: u64, member: MemberId, begun: Timestamp) -> bool {
        let Some(at) = self.by_origin.get_mut(&origin) else { return false };
        at.served = at.served.max(Some(begun));
        let was_in_doubt = at.failed.remove(&member).is_some();
        if at.failed.is_empty() {
            self.by_origin.remove(&origin);
        }
        was_in_doubt
    }
}

/// Who is in doubt at one.
#[derive(Debug, Default)]
struct AtOrigin {
    /// When the latest of the requests was begun that have been served there since somebody failed.
    served: Option<Timestamp>,
    /// When each failed last. Who serves is in doubt no more, so what was served since was by another one.
    failed: HashMap<MemberId, Timestamp>,
}

impl Doubts {
    /// A member has failed at an origin. Whether it is to blame: it had failed there before, and another one has served it since.
    pub(super) fn failed(&self, origin: u64, member: MemberId, now: Timestamp) -> bool {
        let mut known = self.0.lock();
        let mut count = known.sweep(self.0.count(), now);
        let by_origin = &mut known.by_origin;
        let at = by_origin.get_mut(&origin);
        let before = at.and_then(|at| Some((std::mem::replace(at.failed.get_mut(&member)?, now), at.served)));
        if before.is_none() && count < MOST {
            let at = by_origin.entry(origin).or_default();
            if at.failed.len() < MOST_AT_ONE {
                at.failed.insert(member, now);
                count += 1;
            }
        }
        self.0.set_count(count);
        before.is_some_and(|(failed, served)| is_alive(failed, now) && served >= Some(failed))
    }

    /// A member has served a request at an origin that was begun then.
    pub(super) fn served(&self, origin: u64, member: MemberId, begun: Timestamp) {
        if self.0.is_empty() {
            return;
        }
        let mut known = self.0.lock();
        let count = known.sweep(self.0.count(), begun);
        let was_in_doubt = known.served(origin, member, begun);
        self.0.set_count(count.saturating_sub(usize::from(was_in_doubt)));
    }

    /// Who has failed at an origin a moment ago: what is sent once goes to others, and tries again later whether it was the origin.
    pub(super) fn members(&self, origin: impl FnOnce() -> u64, now: Timestamp) -> Vec<MemberId> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (origin, known) = (origin(), self.0.lock());
        let failed = known.by_origin.get(&origin).map(|at| &at.failed).into_iter().flatten();
        failed.filter(|(_, at)| now.since(**at) < AVOIDED).map(|(member, _)| *member).collect()
    }
}

fn is_alive(failed: Timestamp, now: Timestamp) -> bool {
    now.since(failed) < LIFE
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
        doubts.served(SITE, good, at(1));
        assert!(!doubts.failed(SITE, bad, at(3)), "that one was begun before it failed");
        doubts.served(SITE + 1, good, at(3));
        assert!(!doubts.failed(SITE, bad, at(4)), "that was another site");
        doubts.served(SITE, good, at(5));
        assert!(doubts.failed(SITE, bad, at(6)));
        assert!(!doubts.failed(SITE, bad, at(7)), "each time another one has to serve");
        doubts.served(SITE, good, at(8));
        doubts.served(SITE, bad, at(8));
        assert!(!doubts.failed(SITE, bad, at(9)), "it does serve");
    }

    #[test]
    fn a_site_that_comes_back_convicts_nobody() {
        let doubts = Doubts::default();
        for second in 0..50 {
            (0..5).for_each(|member| assert!(!doubts.failed(SITE, MemberId(member), at(second))));
        }
        (0..5).for_each(|member| doubts.served(SITE, MemberId(member), at(60)));
        (0..5).for_each(|member| assert!(!doubts.failed(SITE, MemberId(member), at(70))));
    }

    #[test]
    fn they_are_bounded_in_number_and_time() {
        let doubts = Doubts::default();
        let counted =
            || (doubts.0.count(), doubts.0.lock().by_origin.values().map(|at| at.failed.len()).sum::<usize>());
        for number in 0..3 * MOST as u64 {
            doubts.failed(number % 100, MemberId(number), at(1));
            doubts.failed(number, MemberId(number), at(1));
        }
        assert_eq!(counted(), (MOST, MOST));
        assert!(doubts.0.lock().by_origin.values().all(|at| at.failed.len() <= MOST_AT_ONE && !at.failed.is_empty()));
        doubts.failed(9, MemberId(1 << 40), at(700));
        assert_eq!(counted(), (1, 1), "the old ones have made room");
        doubts.served(9, MemberId(1), at(702));
        assert!(!doubts.failed(9, MemberId(1 << 40), at(1_400)), "that was too long ago");
        assert_eq!(doubts.members(|| 9, at(1_459)), [MemberId(1 << 40)]);
        assert_eq!(doubts.members(|| 9, at(1_460)), [MemberId(0); 0]);
        doubts.served(9, MemberId(1 << 40), at(1_401));
        assert_eq!(counted(), (0, 0));
        // Though they are asked no more.
        doubts.failed(9, MemberId(1), at(2_000));
        doubts.served(8, MemberId(2), at(2_700));
        assert_eq!(counted(), (0, 0));
    }
}
