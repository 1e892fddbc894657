//! What was observed of members, at all and at sites, decayed.
//!
//! Counts decay when they are read or added to, so nothing walks over them as time passes. Bounded:
//! what is beyond is not learned, or the site that was not used for the longest time leaves.

use proxywhirl_plugin_sdk::strategy::{Member, Table};
use proxywhirl_plugin_sdk::{Symbol, duration};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Members that are remembered: 13 MB.
const MAX_MEMBERS: usize = 250_000;

/// Sites that are remembered; the host makes plans for as many.
const MAX_SITES: usize = 256;

/// Members at sites, in all: 13 MB.
const MAX_AT_SITES: usize = 250_000;

/// A history that was not observed here counts for so many observations at the most.
const HISTORY: f64 = 10.0;

/// A site that was observed within so long, in microseconds, does not leave for another: where there
/// is too much to learn, less is learned, instead of everything again and again.
const IN_USE: u64 = 60_000_000;

/// Members that have left and are still remembered, at least.
const FEW_ABSENT: usize = 1024;

/// Observations, decayed to some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) good: f64,
    pub(crate) bad: f64,
}

impl Seen {
    pub(crate) fn total(self) -> f64 {
        self.good + self.bad
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self { good: (self.good - other.good).max(0.0), bad: (self.bad - other.bad).max(0.0) }
    }
}

/// Observations as they were at a moment, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counts {
    pub(crate) good: f32,
    pub(crate) bad: f32,
    pub(crate) at: u64,
}

/// What is known of members at a site.
#[derive(Debug, Default)]
pub(crate) struct Site {
    /// When it was observed last.
    pub(crate) used: u64,
    pub(crate) members: HashMap<u64, Counts>,
}

/// Everything that was learned.
#[derive(Debug)]
pub(crate) struct Beliefs {
    half_life: f64,
    pub(crate) overall: HashMap<u64, Counts>,
    pub(crate) sites: HashMap<Symbol, Site>,
    /// Members at all sites together.
    at_sites: usize,
}

impl Beliefs {
    pub(crate) fn new(half_life: Duration) -> Self {
        let half_life = duration::micros(half_life) as f64;
        Self { half_life, overall: HashMap::new(), sites: HashMap::new(), at_sites: 0 }
    }

    /// What was observed of a member.
    pub(crate) fn overall(&self, id: u64, now: u64) -> Seen {
        self.overall.get(&id).map(|counts| self.decayed(*counts, now)).unwrap_or_default()
    }

    /// What was observed of a member at a site.
    pub(crate) fn at_site(&self, site: Symbol, id: u64, now: u64) -> Seen {
        let counts = self.sites.get(&site).and_then(|site| site.members.get(&id));
        counts.map(|counts| self.decayed(*counts, now)).unwrap_or_default()
    }

    /// Begins with a member's history, unless something was observed of it already.
    pub(crate) fn meet(&mut self, member: &Member, now: u64) {
        let (good, bad) = (member.successes as f64, member.failures as f64);
        if good + bad > 0.0 && self.overall.len() < MAX_MEMBERS {
            let scale = (HISTORY / (good + bad)).min(1.0);
            let counts = Counts { good: (good * scale) as f32, bad: (bad * scale) as f32, at: now };
            self.overall.entry(member.id).or_insert(counts);
        }
    }

    /// Counts a use; site 0 for none.
    pub(crate) fn learn(&mut self, id: u64, site: Symbol, success: bool, now: u64) {
        let half_life = self.half_life;
        let room = self.overall.len() < MAX_MEMBERS;
        add(&mut self.overall, id, success, now, half_life, room);
        if site == 0 {
            return;
        }
        if !self.make_room(site, now) {
            return;
        }
        let room = self.at_sites < MAX_AT_SITES;
        let known = self.sites.entry(site).or_default();
        known.used = now;
        let before = known.members.len();
        add(&mut known.members, id, success, now, half_life, room);
        self.at_sites += known.members.len() - before;
    }

    /// Forgets those who have left, once there are many of them.
    pub(crate) fn forget_absent(&mut self, table: &Table) {
        if self.overall.len() <= table.len() + FEW_ABSENT.max(table.len() / 4) {
            return;
        }
        let present: HashSet<u64> = table.iter().map(|member| member.id).collect();
        self.overall.retain(|id, _| present.contains(id));
        for site in self.sites.values_mut() {
            site.members.retain(|id, _| present.contains(id));
        }
        self.sites.retain(|_, site| !site.members.is_empty());
        self.at_sites = self.sites.values().map(|site| site.members.len()).sum();
    }

    /// Takes what was saved about a member.
    pub(crate) fn recall(&mut self, id: u64, counts: Counts) {
        if self.overall.len() < MAX_MEMBERS {
            self.overall.insert(id, counts);
        }
    }

    /// Takes what was saved about a member at a site.
    pub(crate) fn recall_at(&mut self, site: Symbol, used: u64, id: u64, counts: Counts) {
        let room = self.sites.len() < MAX_SITES || self.sites.contains_key(&site);
        if room && self.at_sites < MAX_AT_SITES {
            let known = self.sites.entry(site).or_default();
            known.used = used;
            self.at_sites += usize::from(known.members.insert(id, counts).is_none());
        }
    }

    /// Lets sites that are no longer in use leave until there is room at this one; false when a site
    /// that is not known finds none.
    fn make_room(&mut self, site: Symbol, now: u64) -> bool {
        let is_new = !self.sites.contains_key(&site);
        while (is_new && self.sites.len() >= MAX_SITES) || self.at_sites >= MAX_AT_SITES {
            let unused = |known: &Site| now.saturating_sub(known.used) >= IN_USE;
            let others = self.sites.iter().filter(|(other, known)| **other != site && unused(known));
            // The number decides between equals, so that the same run forgets the same.
            let Some(oldest) = others.min_by_key(|(other, known)| (known.used, **other)).map(|(other, _)| *other)
            else {
                return !is_new;
            };
            self.at_sites -= self.sites.remove(&oldest).map_or(0, |left| left.members.len());
        }
        true
    }

    fn decayed(&self, counts: Counts, now: u64) -> Seen {
        decayed(counts, now, self.half_life)
    }
}

fn decayed(counts: Counts, now: u64, half_life: f64) -> Seen {
    let factor = (-(now.saturating_sub(counts.at) as f64) / half_life).exp2();
    Seen { good: f64::from(counts.good) * factor, bad: f64::from(counts.bad) * factor }
}

fn add(known: &mut HashMap<u64, Counts>, id: u64, success: bool, now: u64, half_life: f64, room: bool) {
    if !room && !known.contains_key(&id) {
        return;
    }
    let counts = known.entry(id).or_insert(Counts { good: 0.0, bad: 0.0, at: now });
    let seen = decayed(*counts, now, half_life);
    let (good, bad) = if success { (1.0, 0.0) } else { (0.0, 1.0) };
    *counts = Counts { good: (seen.good + good) as f32, bad: (seen.bad + bad) as f32, at: now.max(counts.at) };
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proxywhirl_plugin_sdk::testing::member;

    fn beliefs() -> Beliefs {
        Beliefs::new(Duration::from_secs(60))
    }

    #[test]
    fn what_was_observed_counts_half_after_the_half_life() {
        let mut beliefs = beliefs();
        (0..8).for_each(|_| beliefs.learn(1, 0, true, 0));
        (0..4).for_each(|_| beliefs.learn(1, 0, false, 0));
        assert_eq!(beliefs.overall(1, 60_000_000), Seen { good: 4.0, bad: 2.0 });
        beliefs.learn(1, 0, true, 120_000_000);
        assert_eq!(beliefs.overall(1, 120_000_000), Seen { good: 3.0, bad: 1.0 });
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_makes_nothing_grow() {
        let mut beliefs = beliefs();
        beliefs.learn(1, 0, true, 60_000_000);
        beliefs.learn(1, 0, true, 0);
        assert_eq!(beliefs.overall(1, 0), Seen { good: 2.0, bad: 0.0 });
    }

    #[test]
    fn a_history_counts_for_ten_observations_and_only_once() {
        let mut beliefs = beliefs();
        let row = Member { successes: 900, failures: 100, ..member(0, 0) };
        beliefs.meet(&row, 0);
        let seen = beliefs.overall(row.id, 0);
        assert!((seen.good - 9.0).abs() < 1e-6 && (seen.bad - 1.0).abs() < 1e-6);
        beliefs.learn(row.id, 0, true, 0);
        beliefs.meet(&row, 0);
        assert!((beliefs.overall(row.id, 0).total() - 11.0).abs() < 1e-6);
    }

    #[test]
    fn beyond_256_sites_the_one_longest_unused_leaves_unless_all_are_in_use() {
        let mut beliefs = beliefs();
        (1..=256).for_each(|site| beliefs.learn(1, site, true, u64::from(site)));
        beliefs.learn(1, 999, true, 1_000);
        assert!(!beliefs.sites.contains_key(&999));
        beliefs.learn(1, 1, true, IN_USE);
        beliefs.learn(1, 999, true, IN_USE + 2);
        assert_eq!(beliefs.sites.len(), 256);
        assert!(beliefs.sites.contains_key(&999) && beliefs.sites.contains_key(&1) && !beliefs.sites.contains_key(&2));
    }

    #[test]
    fn members_at_sites_are_bounded_in_all() {
        let mut beliefs = beliefs();
        for site in 1..=3 {
            (0..100_000).for_each(|id| beliefs.learn(id, site, true, u64::from(site)));
        }
        assert_eq!((beliefs.at_sites, beliefs.sites.len()), (MAX_AT_SITES, 3));
        (0..100_000).for_each(|id| beliefs.learn(id, 3, true, IN_USE + 2));
        assert_eq!(beliefs.at_sites, beliefs.sites.values().map(|site| site.members.len()).sum::<usize>());
        assert!(beliefs.sites[&3].members.len() == 100_000 && !beliefs.sites.contains_key(&1));
    }

    #[test]
    fn those_who_have_left_are_forgotten_once_they_are_many() {
        let mut beliefs = beliefs();
        let mut table = Table::new();
        let rows: Vec<_> = (0..10).map(|slot| member(slot, u64::from(slot))).collect();
        let present = rows[0].id;
        table.apply(1, true, rows, vec![]);
        beliefs.learn(present, 7, true, 0);
        (0..1_000).for_each(|id| beliefs.learn(id, 8, true, 0));
        beliefs.forget_absent(&table);
        assert_eq!(beliefs.overall.len(), 1_001);
        (1_000..2_000).for_each(|id| beliefs.learn(id, 8, true, 0));
        beliefs.forget_absent(&table);
        assert_eq!((beliefs.overall.len(), beliefs.sites.len(), beliefs.at_sites), (1, 1, 1));
    }
}
