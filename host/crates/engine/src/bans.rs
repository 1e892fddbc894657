//! Bans: which members a site refuses, each for a time.
//!
//! A banned member is not handed out for requests to that site, and serves all others. Rules set bans, and a rule may be
//! wrong, or a site may refuse everybody: so no site may have more than a share of the pool banned (the **guard**), and
//! one ban more than that is refused until another one has ended. A member that is banned everywhere counts towards the
//! share of one more site, the one named `*`.
//!
//! A session may be **marked**: then it alone is not given a member, at any site. Marks are a table of the same kind, with
//! sessions in place of sites, and under the same guard. And a session may have to begin anew: its next request does.
//!
//! Bounded: 4,096 sites and as many sessions, 1,024 members of each. They outlive the process where there is a store, which may
//! have them of other gateways too (`shared`).

mod shared;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use proxywhirl_core::store::{BanPlace, StoredBan};
use proxywhirl_core::{MemberId, Timestamp};

pub(crate) use shared::BanChanges;
use shared::Unsaved;

use crate::strategy::registrable;

/// Sites that may have bans at a time.
const MOST_SITES: usize = 4_096;

/// Members that a site may have banned at a time: a request to it looks through them.
const MOST_MEMBERS: usize = 1_024;

/// Sessions that wait to begin anew.
const MOST_ROTATIONS: usize = 16_384;

/// The site that stands for all.
const EVERYWHERE: &str = "*";

/// What a session's name in the table begins with: no site's does, as none has a space.
const SESSION: &str = "session ";

/// Where a member is banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// At the site of the request.
    Site,
    /// At all sites.
    Everywhere,
    /// At all sites, for this session alone.
    Session(u64),
}

/// The bans that are in force.
#[derive(Debug)]
pub(crate) struct Bans {
    sites: Table,
    sessions: Table,
    rotations: Rotations,
    /// What a store has not heard of.
    unsaved: Unsaved,
}

/// Sessions whose next request begins them anew.
#[derive(Debug, Default)]
struct Rotations {
    /// How many there are: where there are none, requests look no further.
    count: AtomicUsize,
    waiting: Mutex<HashSet<u64>>,
}

/// Who is banned where.
#[derive(Debug)]
struct Table {
    /// The bits of a share of the pool.
    share: AtomicU32,
    /// How many sites have bans. Written under the lock; where there are none, requests look no further.
    sites: AtomicUsize,
    /// Held for a few instructions.
    banned: RwLock<HashMap<Box<str>, Vec<Ban>>>,
}

#[derive(Debug, Clone)]
struct Ban {
    member: MemberId,
    until: Timestamp,
    rule: Arc<str>,
}

impl Bans {
    /// No bans yet, and never more at a site than this share of the members.
    pub(crate) fn new(share: f32) -> Self {
        let (rotations, unsaved) = (Rotations::default(), Unsaved::default());
        Self { sites: Table::new(share), sessions: Table::new(share), rotations, unsaved }
    }

    /// Whether there are none, that is, no site is told from another one by them.
    pub(crate) fn is_empty(&self) -> bool {
        self.sites.is_empty() && self.sessions.is_empty()
    }

    /// Changes the share; who is banned stays so.
    pub(crate) fn limit(&self, share: f32) {
        self.sites.limit(share);
        self.sessions.limit(share);
    }

    /// Of how many members as many may be banned as may be at all.
    pub(crate) fn enough(&self) -> usize {
        self.sites.enough()
    }

    /// Who of so many members is banned at the site of a target, and for this session. Never more than the share, whatever
    /// was set: a pool may have become smaller since, and a site has bans beside those that hold everywhere.
    pub(crate) fn of(&self, target: &str, session: Option<u64>, (now, members): (Timestamp, usize)) -> Vec<MemberId> {
        let mut banned: Vec<(MemberId, Timestamp)> = Vec::new();
        if !self.sites.is_empty() {
            self.sites.of(&[registrable(target), EVERYWHERE], now, &mut banned);
        }
        if let Some(session) = session.filter(|_| !self.sessions.is_empty()) {
            self.sessions.of(&[&Scope::Session(session).site(target)], now, &mut banned);
        }
        let allowed = self.sites.allowed(members);
        if banned.len() > allowed {
            banned.sort_unstable();
            // Of several bans of one member, the last is the longest.
            banned.reverse();
            banned.dedup_by_key(|(member, _)| *member);
            // Those whose bans end last, the same ones for each request: who was banned just now is kept away.
            banned.sort_by_key(|(_, until)| Reverse(*until));
            banned.truncate(allowed);
        }
        banned.into_iter().map(|(member, _)| member).collect()
    }

    /// Bans a member; false when the guard, or a bound, is against it. A ban that is set again lasts until the later end.
    pub(crate) fn set(
        &self,
        target: &str,
        scope: Scope,
        (member, rule): (MemberId, &str),
        until: Timestamp,
        at: (Timestamp, usize),
    ) -> bool {
        let site = scope.site(target);
        let is_set = self.table(&site).set(&site, Ban { member, until, rule: rule.into() }, at);
        if is_set {
            self.unsaved.set((site.into_owned(), member));
        }
        is_set
    }

    /// Has a session begin anew with its next request; false when too many wait for that.
    pub(crate) fn rotate(&self, session: u64) -> bool {
        let mut waiting = self.rotations.waiting();
        let has_room = waiting.len() < MOST_ROTATIONS || waiting.contains(&session);
        if has_room {
            waiting.insert(session);
            self.rotations.count.store(waiting.len(), Ordering::Relaxed);
        }
        has_room
    }

    /// Whether a session has to begin anew with its next request.
    pub(crate) fn wants_rotation(&self, session: u64) -> bool {
        self.rotations.count.load(Ordering::Relaxed) > 0 && self.rotations.waiting().contains(&session)
    }

    /// The same. Says so once: it begins anew with this request.
    pub(crate) fn takes_rotation(&self, session: u64) -> bool {
        if self.rotations.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut waiting = self.rotations.waiting();
        let was_waiting = waiting.remove(&session);
        self.rotations.count.store(waiting.len(), Ordering::Relaxed);
        was_waiting
    }

    /// All of them.
    pub(crate) fn all(&self, now: Timestamp) -> Vec<StoredBan> {
        let mut all = self.sites.all(now);
        all.extend(self.sessions.all(now));
        all
    }

    /// Ends those that are meant; how many there were.
    pub(crate) fn lift(&self, is_meant: impl Fn(&str, MemberId) -> bool, now: Timestamp) -> usize {
        let mut lifted = self.sites.lift(&is_meant, now);
        lifted.extend(self.sessions.lift(&is_meant, now));
        let count = lifted.len();
        self.unsaved.lifted(lifted);
        count
    }

    /// Where bans at a site are, or such as a session's.
    fn table(&self, site: &str) -> &Table {
        if site.starts_with(SESSION) { &self.sessions } else { &self.sites }
    }
}

impl Rotations {
    fn waiting(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn new(share: f32) -> Self {
        Self { share: AtomicU32::new(share.to_bits()), sites: AtomicUsize::new(0), banned: RwLock::default() }
    }

    fn limit(&self, share: f32) {
        // Relaxed: a number that stands for itself.
        self.share.store(share.to_bits(), Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        // Relaxed: who comes in the instant in which the first ban is set does not see it yet.
        self.sites.load(Ordering::Relaxed) == 0
    }

    /// Adds who is banned at any of these sites.
    fn of(&self, sites: &[&str], now: Timestamp, into: &mut Vec<(MemberId, Timestamp)>) {
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        let bans = sites.iter().filter_map(|site| banned.get(*site)).flatten();
        into.extend(bans.filter(|ban| ban.until > now).map(|ban| (ban.member, ban.until)));
    }

    fn all(&self, now: Timestamp) -> Vec<StoredBan> {
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        let in_force = |ban: &&Ban| ban.until > now;
        banned.iter().flat_map(|(site, bans)| bans.iter().filter(in_force).map(|ban| ban.at(site))).collect()
    }

    /// The ban of a member at a site, if there is one.
    fn find(&self, (site, member): &BanPlace, now: Timestamp) -> Option<StoredBan> {
        let banned = self.banned.read().unwrap_or_else(PoisonError::into_inner);
        let found = banned.get(site.as_str())?.iter().find(|ban| ban.member == *member);
        found.filter(|ban| ban.until > now).map(|ban| ban.at(site))
    }

    /// Ends those that are meant; which they were. Those that are over have ended by themselves.
    fn lift(&self, is_meant: &impl Fn(&str, MemberId) -> bool, now: Timestamp) -> Vec<BanPlace> {
        let mut banned = self.banned.write().unwrap_or_else(PoisonError::into_inner);
        let mut lifted = Vec::new();
        banned.retain(|site, bans| {
            bans.retain(|ban| ban.until > now);
            bans.retain(|ban| {
                let stays = !is_meant(site, ban.member);
                if !stays {
                    lifted.push((site.to_string(), ban.member));
                }
                stays
            });
            !bans.is_empty()
        });
        self.sites.store(banned.len(), Ordering::Relaxed);
        lifted
    }

    /// Ends one.
    fn end(&self, (site, member): &BanPlace) {
        let mut banned = self.banned.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(bans) = banned.get_mut(site.as_str()) {
            bans.retain(|ban| ban.member != *member);
            if bans.is_empty() {
                banned.remove(site.as_str());
            }
        }
        self.sites.store(banned.len(), Ordering::Relaxed);
    }

    /// Sets a ban that the guard has allowed once, in place of the one that there is.
    fn restore(&self, site: &str, ban: Ban, now: Timestamp) {
        let mut banned = self.banned.write().unwrap_or_else(PoisonError::into_inner);
        if banned.len() >= MOST_SITES && !banned.contains_key(site) {
            banned.retain(|_, bans| bans.iter().any(|ban| ban.until > now));
        }
        if banned.len() < MOST_SITES || banned.contains_key(site) {
            let bans = banned.entry(site.into()).or_default();
            bans.retain(|known| known.member != ban.member && known.until > now);
            if bans.len() < MOST_MEMBERS {
                bans.push(ban);
            }
        }
        self.sites.store(banned.len(), Ordering::Relaxed);
    }

    fn set(&self, site: &str, new: Ban, (now, members): (Timestamp, usize)) -> bool {
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
        let is_set = if let Some(ban) = bans.iter_mut().find(|ban| ban.member == new.member) {
            ban.until = ban.until.max(new.until);
            true
        } else if bans.len() < self.allowed(members) {
            bans.push(new);
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

    /// Of how many members [`MOST_MEMBERS`] may be banned.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "it is some thousands, or as many as there are"
    )]
    fn enough(&self) -> usize {
        (MOST_MEMBERS as f64 / f64::from(f32::from_bits(self.share.load(Ordering::Relaxed)))).ceil() as usize
    }

    /// How many of so many members may be banned at a site.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a pool has some millions of members at the most, and a share is positive"
    )]
    fn allowed(&self, members: usize) -> usize {
        ((members as f64 * f64::from(f32::from_bits(self.share.load(Ordering::Relaxed)))) as usize).min(MOST_MEMBERS)
    }
}

impl Ban {
    fn at(&self, site: &str) -> StoredBan {
        StoredBan { site: site.to_owned(), member: self.member, until: self.until, rule: Arc::clone(&self.rule) }
    }
}

impl Scope {
    /// The site that is meant, for a request to this target.
    pub(crate) fn site(self, target: &str) -> Cow<'_, str> {
        match self {
            Self::Site => registrable(target).into(),
            Self::Everywhere => EVERYWHERE.into(),
            Self::Session(session) => format!("{SESSION}{session:016x}").into(),
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
        bans.set(target, Scope::Site, (MemberId(member), "rule"), now + MINUTE, (now, 10))
    }

    #[test]
    fn a_ban_holds_for_the_site_and_its_time() {
        let bans = Bans::new(0.5);
        assert!(ban(&bans, "www.shop.example:443", 7, at(0)));
        assert_eq!(bans.of("api.shop.example:80", None, (at(1), 10)), [MemberId(7)]);
        assert!(bans.of("other.example:443", None, (at(1), 10)).is_empty());
        assert!(bans.of("shop.example:443", None, (at(60), 10)).is_empty());
    }

    #[test]
    fn a_ban_everywhere_holds_at_every_site() {
        let bans = Bans::new(0.5);
        assert!(ban(&bans, "shop.example:443", 7, at(0)));
        assert!(bans.set("shop.example:443", Scope::Everywhere, (MemberId(8), "rule"), at(60), (at(0), 10)));
        assert_eq!(bans.of("shop.example:443", None, (at(1), 10)), [MemberId(7), MemberId(8)]);
        assert_eq!(bans.of("other.example:443", None, (at(1), 10)), [MemberId(8)]);
    }

    #[test]
    fn no_site_empties_the_pool() {
        let bans = Bans::new(0.5);
        let set = (0..10).filter(|member| ban(&bans, "shop.example:443", *member, at(0))).count();
        assert_eq!((set, bans.of("shop.example:443", None, (at(1), 10)).len()), (5, 5));
        assert!(ban(&bans, "shop.example:443", 0, at(30)), "who is banned may be banned for longer");
        assert!(ban(&bans, "other.example:443", 9, at(30)), "another site has its own share");
        assert!(ban(&bans, "shop.example:443", 9, at(61)), "others have ended");
        assert_eq!(bans.of("shop.example:443", None, (at(61), 10)), [MemberId(0), MemberId(9)]);
        bans.limit(1.0);
        assert!(
            ban(&bans, "shop.example:443", 8, at(61)) && bans.of("shop.example:443", None, (at(61), 10)).len() == 3
        );
        let alone = Bans::new(0.5);
        assert!(
            !alone.set("a.example:80", Scope::Site, (MemberId(1), "rule"), at(60), (at(0), 1)),
            "the last one stays"
        );
    }

    #[test]
    fn sites_are_bounded_and_make_room_when_their_bans_have_ended() {
        let bans = Bans::new(0.5);
        for site in 0..MOST_SITES {
            assert!(ban(&bans, &format!("site{site}.example:80"), 1, at(0)));
        }
        assert!(!ban(&bans, "another.example:80", 1, at(59)));
        assert!(ban(&bans, "another.example:80", 1, at(60)));
        assert_eq!(bans.sites.sites.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn those_of_others_find_room_where_bans_have_ended() {
        let bans = Bans::new(0.5);
        let heard = |site: String, member: u64, now: u64| {
            let (until, rule) = (at(now) + MINUTE, "rule".into());
            bans.restore(vec![StoredBan { site, member: MemberId(member), until, rule }], at(now));
        };
        for number in 0..MOST_SITES as u64 {
            heard(format!("site{number}.example"), 1, 0);
        }
        for member in 0..MOST_MEMBERS as u64 {
            heard("site0.example".to_owned(), member, 0);
        }
        heard("new.example".to_owned(), 7, 30);
        assert!(bans.of("new.example:80", None, (at(31), 10)).is_empty(), "all of them are in force");
        heard("site0.example".to_owned(), u64::MAX, 60);
        assert_eq!(bans.of("site0.example:80", None, (at(61), 10)), [MemberId(u64::MAX)]);
        heard("new.example".to_owned(), 7, 60);
        assert_eq!(bans.of("new.example:80", None, (at(61), 10)), [MemberId(7)]);
        assert_eq!(bans.sites.sites.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn of_more_than_may_be_kept_away_those_are_whose_bans_end_last() {
        let bans = Bans::new(0.5);
        let set =
            |scope, member, until| bans.set("a.example:1", scope, (MemberId(member), "rule"), at(until), (at(0), 6));
        assert!(set(Scope::Everywhere, 9, 100) && set(Scope::Site, 5, 110) && set(Scope::Session(5), 7, 120));
        assert!(set(Scope::Everywhere, 1, 130) && set(Scope::Site, 1, 90));
        assert_eq!(bans.of("a.example:1", Some(5), (at(1), 6)), [MemberId(1), MemberId(7), MemberId(5)]);
    }

    #[test]
    fn what_has_ended_is_not_lifted() {
        let bans = Bans::new(0.5);
        assert!(ban(&bans, "shop.example:443", 7, at(0)) && ban(&bans, "other.example:443", 7, at(30)));
        assert_eq!(bans.lift(|_, _| true, at(60)), 1);
        assert!(bans.is_empty());
    }

    #[test]
    fn a_marked_session_alone_avoids_a_member_at_every_site() {
        let bans = Bans::new(0.5);
        assert!(bans.set("shop.example:443", Scope::Session(5), (MemberId(7), "captcha"), at(60), (at(0), 10)));
        assert_eq!(bans.of("other.example:443", Some(5), (at(1), 10)), [MemberId(7)]);
        assert!(
            bans.of("shop.example:443", Some(6), (at(1), 10)).is_empty()
                && bans.of("shop.example:443", None, (at(1), 10)).is_empty()
        );
        assert!(bans.of("shop.example:443", Some(5), (at(60), 10)).is_empty());
        let set =
            |member| bans.set("a.example:1", Scope::Session(5), (MemberId(member), "captcha"), at(60), (at(0), 10));
        assert_eq!((0..10).filter(|member| set(*member)).count(), 5, "the guard leaves it half of the pool");
    }

    #[test]
    fn a_session_begins_anew_once_and_few_wait_for_that() {
        let bans = Bans::new(0.5);
        assert!(!bans.takes_rotation(5));
        assert!(bans.rotate(5) && bans.rotate(5));
        assert!(!bans.takes_rotation(6));
        assert!(bans.takes_rotation(5) && !bans.takes_rotation(5));
        let waiting = (0..u64::MAX).take_while(|session| bans.rotate(*session)).count();
        assert_eq!(waiting, MOST_ROTATIONS);
    }

    #[test]
    fn bans_are_listed_and_lifted_by_site_and_member() {
        let bans = Bans::new(0.5);
        assert!(ban(&bans, "a.example:80", 1, at(0)) && ban(&bans, "b.example:80", 1, at(0)));
        assert!(ban(&bans, "b.example:80", 2, at(0)));
        assert!(bans.set("a.example:80", Scope::Session(5), (MemberId(1), "mark"), at(90), (at(0), 10)));
        let mut all: Vec<_> = bans.all(at(61)).into_iter().map(|ban| (ban.site, ban.member.0, ban.rule)).collect();
        assert_eq!(all, [("session 0000000000000005".to_owned(), 1, "mark".into())]);
        assert_eq!(bans.lift(|site, member| site == "b.example" && member == MemberId(2), at(1)), 1);
        assert_eq!(bans.of("b.example:80", None, (at(1), 10)), [MemberId(1)]);
        assert_eq!(bans.lift(|_, member| member == MemberId(1), at(1)), 3);
        all.clear();
        assert!(bans.all(at(1)).is_empty() && bans.lift(|_, _| true, at(1)) == 0);
    }

    #[test]
    fn a_pool_that_became_smaller_is_not_emptied_by_bans_of_before() {
        let bans = Bans::new(0.5);
        (0..5).for_each(|member| assert!(ban(&bans, "shop.example:443", member, at(0))));
        let everywhere =
            |member| bans.set("a.example:1", Scope::Everywhere, (MemberId(member), "rule"), at(60), (at(0), 10));
        assert!((5..10).all(everywhere));
        let of = |members| bans.of("shop.example:443", None, (at(1), members)).len();
        assert_eq!([of(10), of(20), of(4), of(1)], [5, 10, 2, 0]);
    }
}
