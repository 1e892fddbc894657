//! Members that fail wherever they are asked, when each site is asked once, as a crawler does it.
//!
//! An answer that breaks off, and a request that is sent once, are tried nowhere else, and [`doubts`](super::doubts) waits until the
//! member fails at the same origin again. Here it is enough that it fails at another site. A failure puts a member in doubt at a site
//! (a registrable domain, so that one that is broken counts once) when another member has begun and served a request, of
//! whatever site, since the doubt before it: where nobody is served, all may be cut off. Who is in doubt at so many sites
//! pays for its next failure, and each further one, until it serves. So who serves most of what it is asked for never pays.
//!
//! Bounded in number and time. As long as nobody is in doubt, a use reads one number.

use std::collections::HashMap;
use std::time::Duration;

use proxywhirl_core::{MemberId, Timestamp};

use super::sparse::{MOST, Sparse, Swept};

/// At how many sites a member is in doubt that pays for its next failure.
const SITES: usize = 3;

/// How long a doubt is kept.
const LIFE: Duration = Duration::from_hours(1);

/// Who is in doubt at which sites.
#[derive(Debug, Default)]
pub(super) struct Across(Sparse<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The latest doubts of each, at different sites; the oldest first.
    by_member: HashMap<MemberId, Vec<Doubt>>,
    /// When the latest of the requests was begun that have been served, as long as anybody was in doubt.
    served: Timestamp,
    swept: Swept,
}

impl Known {
    /// Forgets who is in doubt no more, when it is time for that.
    fn sweep(&mut self, now: Timestamp) {
        if self.swept.is_due(self.by_member.len(), now) {
            self.by_member.retain(|_, doubts| doubts.iter().any(|doubt| doubt.is_alive(now)));
        }
    }
}

#[derive(Debug)]
struct Doubt {
    site: u64,
    at: Timestamp,
}

impl Doubt {
    fn is_alive(&self, now: Timestamp) -> bool {
        now.since(self.at) < LIFE
    }
}

impl Across {
    /// A member has failed at a site. Whether it is to blame: it has at others, and others have been served meanwhile.
    pub(super) fn failed(&self, site: u64, member: MemberId, now: Timestamp) -> bool {
        let mut known = self.0.lock();
        known.sweep(now);
        let Known { by_member, served, .. } = &mut *known;
        if by_member.len() >= MOST && !by_member.contains_key(&member) {
            return false;
        }
        let doubts = by_member.entry(member).or_default();
        doubts.retain(|doubt| doubt.is_alive(now));
        // Who serves is in doubt no more, so what was served since was by another one.
        let counts = doubts.last().is_none_or(|last| last.site != site && *served >= last.at);
        let is_to_blame = counts && doubts.len() >= SITES;
        if counts {
            doubts.retain(|doubt| doubt.site != site);
            if doubts.len() >= SITES {
                doubts.remove(0);
            }
            doubts.push(Doubt { site, at: now });
        }
        self.0.set_count(by_member.len());
        is_to_blame
    }

    /// A member has served a request that was begun then.
    pub(super) fn served(&self, member: MemberId, begun: Timestamp) {
        if self.0.is_empty() {
            return;
        }
        let mut known = self.0.lock();
        known.served = known.served.max(begun);
        known.by_member.remove(&member);
        known.sweep(begun);
        self.0.set_count(known.by_member.len());
    }

    /// Whether a member is to pay for its next failure.
    pub(super) fn suspects(&self, member: MemberId, now: Timestamp) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let known = self.0.lock();
        let doubts = known.by_member.get(&member).into_iter().flatten();
        doubts.filter(|doubt| doubt.is_alive(now)).count() >= SITES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: MemberId = MemberId(1);
    const GOOD: MemberId = MemberId(2);

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    /// Whether the bad one pays, which fails at these sites, one a second, while the good one is served.
    fn pays_at(across: &Across, sites: &[u64], begin: u64) -> Vec<bool> {
        let fails = |(site, second)| {
            across.served(GOOD, at(second));
            across.failed(site, BAD, at(second))
        };
        sites.iter().copied().zip(begin..).map(fails).collect()
    }

    #[test]
    fn who_fails_at_one_site_after_the_other_pays_until_it_serves() {
        let across = Across::default();
        assert_eq!(pays_at(&across, &[1, 2, 3, 4, 5, 1], 1), [false, false, false, true, true, true]);
        assert!(across.suspects(BAD, at(7)) && !across.suspects(GOOD, at(7)));
        across.served(BAD, at(7));
        assert!(!across.suspects(BAD, at(8)) && across.0.count() == 0);
        assert_eq!(pays_at(&across, &[1, 2, 3, 4], 8), [false, false, false, true]);
    }

    #[test]
    fn two_broken_sites_convict_nobody() {
        let across = Across::default();
        assert_eq!(pays_at(&across, &[1, 2, 2, 1, 2, 1, 1, 1, 2], 1), [false; 9]);
        assert_eq!(pays_at(&across, &[3, 3, 3, 3, 1], 10), [false, false, false, false, true], "there were three");
    }

    #[test]
    fn where_nobody_is_served_nobody_pays() {
        let across = Across::default();
        across.served(GOOD, at(0));
        assert!((1..50).all(|second| !across.failed(second, BAD, at(second))));
        across.served(GOOD, at(0));
        assert!(!across.failed(50, BAD, at(50)), "that was begun before");
        across.served(GOOD, at(50));
        assert!(
            (51..90).all(|second| !across.failed(second, BAD, at(second))),
            "the second outage counts as one doubt too"
        );
    }

    #[test]
    fn they_are_bounded_in_number_and_time() {
        let across = Across::default();
        let counted = || (across.0.count(), across.0.lock().by_member.len());
        for number in 0..2 * MOST as u64 {
            across.failed(number, MemberId(number), at(1));
        }
        assert_eq!(counted(), (MOST, MOST));
        assert!(!across.failed(1, MemberId(1 << 40), at(3_700)));
        assert_eq!(counted(), (1, 1), "the old ones have made room");
        assert_eq!(pays_at(&across, &[1, 2, 3], 4_000), [false; 3]);
        assert!(across.suspects(BAD, at(7_599)) && !across.suspects(BAD, at(7_600)));
        assert_eq!(pays_at(&across, &[4, 5, 6, 7], 8_000), [false, false, false, true], "that was too long ago");
        assert!(across.0.lock().by_member.values().all(|doubts| doubts.len() <= SITES));
        // Though they are asked no more.
        across.served(GOOD, at(20_000));
        assert_eq!(counted(), (0, 0));
    }
}
