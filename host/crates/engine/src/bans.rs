//! Bans: which members a site refuses, each for a time.
//!
//! A banned member is not handed out for requests to that site, and serves all others. Rules set bans, and a rule may be
//! wrong, or a site may refuse everybody: so no site may have more than a share of the pool banned (the **guard**), and
//! one ban more than that is refused until another one has ended. A member that is banned everywhere counts towards the
//! share of one more site, the one named `*`.
//!
//! Bounded: 4,096 sites, 1,024 members of each. Bans live as long as the process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use proxywhirl_core::{MemberId, Timestamp};

use crate::strategy::registrable;

/// Sites that may have bans at a time.
const MOST_SITES: usize = 4_096;

/// Members that a site may have banned at a time: a request to it looks through them.
const MOST_MEMBERS: usize = 1_024;

/// The site that stands for all.
const EVERYWHERE: &str = "*";

/// Where a member is banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// At the site of the request.
    Site,
    /// At all sites.
    Everywhere,
}

/// The bans that are in force.
#[derive(Debug)]
pub(crate) struct Bans {
    share: f32,
    /// How many sites have bans. Written under the lock; where there are none, requests look no further.
    sites: AtomicUsize,
    /// Held for a few instructions.
    banned: RwLock<HashMap<Box<str>, Vec<Ban>>>,
}

#[derive(Debug, Clone, Copy)]
struct Ban {
    member: MemberId,
    until: Timestamp,
}

impl Bans {
    /// No bans yet, and never more at a site than this share of the members.
    pub(crate) fn new(share: f32) -> Self {
        Self { share, sites: AtomicUsize::new(0), banned: RwLock::default() }
    }

    /// Whether there are none, that is, no site is told from another one by them.
    pub(crate) fn is_empty(&self) -> bool {
        self.sites.load(Ordering::Relaxed) == 0
    }

    /// Who is banned at the site of a target.
    pub(crate) fn of(&self, target: &str, now: Timestamp) -> Vec<MemberId> {
        // Relaxed: who comes in the instant in which the first ban is set does not see it yet.
        if self.is_empty() {
            return Vec::new();
        }
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        let lists = [registrable(target), EVERYWHERE].map(|site| banned.get(site));
        lists.into_iter().flatten().flatten().filter(|ban| ban.until > now).map(|ban| ban.member).collect()
    }

    /// Bans a member; false when the guard, or a bound, is against it. A ban that is set again lasts until the later end.
    pub(crate) fn set(
        &self,
        target: &str,
        scope: Scope,
        member: MemberId,
        until: Timestamp,
        (now, members): (Timestamp, usize),
    ) -> bool {
        let site = scope.site(target);
        let mut banned = self.banned.write().unwrap_or_else(PoisonError::into_inner);
        if !banned.contains_key(site) && banned.len() >= MOST_SITES {
            banned.retain(|_, bans| bans.iter().any(|ban| ban.until > now));
            if banned.len() >= MOST_SITES {
                self.sites.store(banned.len(), Ordering::Relaxed);
                return false;
            }
        }
        let bans = banned.entry(site.into()).or_default();
        bans.retain(|ban| ban.until > now);
        let is_set = if let Some(ban) = bans.iter_mut().find(|ban| ban.member == member) {
            ban.until = ban.until.max(until);
            true
        } else if bans.len() < self.allowed(members) {
            bans.push(Ban { member, until });
            true
        } else {
            false
        };
        if bans.is_empty() {
            banned.remove(site);
        }
        self.sites.store(banned.len(), Ordering::Relaxed);
        is_set
    }

    /// How many of so many members may be banned at a site.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a pool has some millions of members at the most, and a share is positive"
    )]
    fn allowed(&self, members: usize) -> usize {
        ((members as f64 * f64::from(self.share)) as usize).min(MOST_MEMBERS)
    }
}

impl Scope {
    /// The site that is meant, for a request to this target.
    pub(crate) fn site(self, target: &str) -> &str {
        match self {
            Self::Site => registrable(target),
            Self::Everywhere => EVERYWHERE,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn ban(bans: &Bans, target: &str, member: u64, now: Timestamp) -> bool {
        bans.set(target, Scope::Site, MemberId(member), now + MINUTE, (now, 10))
    }

    #[test]
    fn a_ban_holds_for_the_site_and_its_time() {
        let bans = Bans::new(0.5);
        assert!(ban(&bans, "www.shop.example:443", 7, at(0)));
        assert_eq!(bans.of("api.shop.example:80", at(1)), [MemberId(7)]);
        assert!(bans.of("other.example:443", at(1)).is_empty());
        assert!(bans.of("shop.example:443", at(60)).is_empty());
    }

    #[test]
    fn a_ban_everywhere_holds_at_every_site() {
        let bans = Bans::new(0.5);
        assert!(ban(&bans, "shop.example:443", 7, at(0)));
        assert!(bans.set("shop.example:443", Scope::Everywhere, MemberId(8), at(60), (at(0), 10)));
        assert_eq!(bans.of("shop.example:443", at(1)), [MemberId(7), MemberId(8)]);
        assert_eq!(bans.of("other.example:443", at(1)), [MemberId(8)]);
    }

    #[test]
    fn no_site_empties_the_pool() {
        let bans = Bans::new(0.5);
        let set = (0..10).filter(|member| ban(&bans, "shop.example:443", *member, at(0))).count();
        assert_eq!((set, bans.of("shop.example:443", at(1)).len()), (5, 5));
        assert!(ban(&bans, "shop.example:443", 0, at(30)), "who is banned may be banned for longer");
        assert!(ban(&bans, "other.example:443", 9, at(30)), "another site has its own share");
        assert!(ban(&bans, "shop.example:443", 9, at(61)), "others have ended");
        assert_eq!(bans.of("shop.example:443", at(61)), [MemberId(0), MemberId(9)]);
        let alone = Bans::new(0.5);
        assert!(!alone.set("a.example:80", Scope::Site, MemberId(1), at(60), (at(0), 1)), "the last one stays");
    }

    #[test]
    fn sites_are_bounded_and_make_room_when_their_bans_have_ended() {
        let bans = Bans::new(0.5);
        for site in 0..MOST_SITES {
            assert!(ban(&bans, &format!("site{site}.example:80"), 1, at(0)));
        }
        assert!(!ban(&bans, "another.example:80", 1, at(59)));
        assert!(ban(&bans, "another.example:80", 1, at(60)));
        assert_eq!(bans.sites.load(Ordering::Relaxed), 1);
    }
}
