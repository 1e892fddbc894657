//! Who is passed over at which site, as picks read it: without a lock, and not at all as long as there is nobody.
//!
//! What changes is copied: the members of one site, and the sites of one part of sixty-four. That is seldom, because a
//! breaker opens seldom; a pick reads two pointers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use metrics::Gauge;
use proxywhirl_core::{MemberId, Timestamp};

/// Parts that are copied by themselves.
const PARTS: usize = 64;

/// Members that are passed over at a site at a time: a request there looks through them. Of more than that, who may be tried
/// again first is not passed over any more.
const MOST_MEMBERS: usize = 1_024;

/// Who is passed over where.
#[derive(Debug)]
pub(super) struct Register {
    /// How many pairs there are. Written by whoever changes a part.
    pairs: AtomicUsize,
    parts: Box<[ArcSwap<Part>]>,
    told: Gauge,
}

type Part = HashMap<u64, Arc<[Passed]>>;

/// A member that is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Passed {
    member: MemberId,
    due: Timestamp,
}

/// Who is passed over at a site.
#[derive(Debug, Clone)]
pub(crate) struct PassedOver {
    pub(super) site: u64,
    members: Arc<[Passed]>,
}

impl Default for Register {
    fn default() -> Self {
        Self {
            pairs: AtomicUsize::new(0),
            parts: (0..PARTS).map(|_| ArcSwap::default()).collect(),
            told: metrics::gauge!("proxywhirl_passed_over"),
        }
    }
}

impl Register {
    pub(super) fn is_empty(&self) -> bool {
        // Relaxed: who comes in the instant in which the first one is set does not see it yet.
        self.pairs.load(Ordering::Relaxed) == 0
    }

    pub(super) fn at(&self, site: u64) -> Option<PassedOver> {
        let members = self.part(site)?.load().get(&site).map(Arc::clone)?;
        Some(PassedOver { site, members })
    }

    /// Passes a member over until then; no longer for none.
    pub(super) fn set(&self, site: u64, member: MemberId, due: Option<Timestamp>) {
        let Some(part) = self.part(site) else { return };
        let mut change = (0, 0);
        part.rcu(|old| {
            let before = old.get(&site).map_or(&[][..], |members| &**members);
            let after = replaced(before, member, due);
            // Of the last try, which is the one that counts.
            change = (before.len(), after.len());
            let mut new = Part::clone(old);
            if after.is_empty() {
                new.remove(&site)
            } else {
                new.insert(site, after.into())
            };
            new
        });
        let (before, after) = change;
        // Each change adds what it came to, in whatever order they are.
        let pairs = self.pairs.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "there are fewer pairs than are remembered")]
        self.told.set(pairs.wrapping_add(after).wrapping_sub(before) as f64);
    }

    fn part(&self, site: u64) -> Option<&ArcSwap<Part>> {
        self.parts.get(usize::try_from(site % PARTS as u64).ok()?)
    }
}

/// The same with another time for a member.
fn replaced(members: &[Passed], member: MemberId, due: Option<Timestamp>) -> Vec<Passed> {
    let mut after: Vec<Passed> = members.iter().filter(|passed| passed.member != member).copied().collect();
    after.extend(due.map(|due| Passed { member, due }));
    if after.len() > MOST_MEMBERS
        && let Some((first, _)) = after.iter().enumerate().min_by_key(|(_, passed)| passed.due)
    {
        after.swap_remove(first);
    }
    after
}

impl PassedOver {
    /// All of them.
    pub(crate) fn all(&self) -> Vec<MemberId> {
        self.members.iter().map(|passed| passed.member).collect()
    }

    /// Those whose time has not come.
    pub(crate) fn members(&self, now: Timestamp) -> Vec<MemberId> {
        self.members.iter().filter(|passed| passed.due > now).map(|passed| passed.member).collect()
    }

    /// Whether the member is one of them, whatever its time.
    pub(crate) fn has(&self, member: MemberId) -> bool {
        self.members.iter().any(|passed| passed.member == member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn who_is_passed_over_is_found_by_site_until_its_time() {
        let register = Register::default();
        assert!(register.is_empty() && register.at(7).is_none());
        register.set(7, MemberId(1), Some(at(10)));
        register.set(7, MemberId(2), Some(at(20)));
        register.set(71, MemberId(1), Some(at(30)));
        let passed = register.at(7).unwrap();
        assert_eq!(
            (passed.members(at(5)), passed.members(at(10))),
            (vec![MemberId(1), MemberId(2)], vec![MemberId(2)])
        );
        assert!(passed.has(MemberId(1)) && !passed.has(MemberId(3)));
        register.set(7, MemberId(1), Some(at(15)));
        assert_eq!(register.at(7).unwrap().members(at(14)).len(), 2);
        register.set(7, MemberId(1), None);
        register.set(7, MemberId(2), None);
        register.set(7, MemberId(2), None);
        assert!(register.at(7).is_none() && !register.is_empty());
        register.set(71, MemberId(1), None);
        assert!(register.is_empty());
    }

    #[test]
    fn a_site_passes_over_so_many_and_who_comes_first_makes_room() {
        let register = Register::default();
        for member in 0..MOST_MEMBERS as u64 + 5 {
            register.set(1, MemberId(member), Some(at(1_000 + member)));
        }
        let passed = register.at(1).unwrap();
        assert_eq!(passed.members(at(0)).len(), MOST_MEMBERS);
        assert!(!passed.has(MemberId(4)) && passed.has(MemberId(5)));
    }

    #[test]
    fn many_writers_lose_nobody() {
        let register = Register::default();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let register = &register;
                scope.spawn(move || {
                    for member in 0..100 {
                        register.set(9, MemberId(thread * 1_000 + member), Some(at(1)));
                    }
                    for member in 0..99 {
                        register.set(9, MemberId(thread * 1_000 + member), None);
                    }
                });
            }
        });
        assert_eq!((register.at(9).unwrap().members(at(0)).len(), register.pairs.load(Ordering::Relaxed)), (4, 4));
    }
}
