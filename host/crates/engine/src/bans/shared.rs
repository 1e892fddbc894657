//! Bans in a store: what it has not heard of, and what others have told it.
//!
//! A store is told operations, not a state: were it told all bans that a gateway knows, a ban that another one has lifted would
//! come back.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::store::{BanPlace, StoredBan};

use super::{Ban, Bans};

/// Lifts that are remembered after they were told, or heard of: in two halves, the older of which is forgotten when the newer is full.
const MOST_REMEMBERED: usize = 16_384;

/// How long lifts are remembered: as long as a server does.
const REMEMBERED: Duration = Duration::from_hours(24);

/// Lifted bans that wait to be told. While a store is away for long, those beyond stay in it until they end.
const MOST_LIFTED: usize = 65_536;

/// What a store has not heard of.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Whether there is a store; otherwise nobody would ever take what is written down here.
    is_kept: AtomicBool,
    /// Held for a few instructions, and for a copy of all when a store has lost them.
    places: Mutex<Places>,
}

/// Where. What was set is looked up when it is told: there are no more than there are bans, and those that are over.
#[derive(Debug, Default)]
struct Places {
    set: HashMap<BanPlace, Told>,
    lifted: HashSet<BanPlace>,
    /// Those of before are told again.
    tells_lifts_again: bool,
    past: Lifts,
}

/// Lifts of which a store was told, here or elsewhere, and when: should it lose them, whoever has not heard of one would bring the ban
/// back.
#[derive(Debug, Default)]
struct Lifts {
    newer: HashMap<BanPlace, Timestamp>,
    older: HashMap<BanPlace, Timestamp>,
}

/// Whether a store was told of a ban before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Never,
    /// It has lost it since.
    Before,
}

/// What changed since the last save.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct BanChanges {
    /// Bans that were set.
    pub(crate) bans: Vec<StoredBan>,
    /// Bans that a store has lost. Others may have lifted them since.
    pub(crate) bans_again: Vec<StoredBan>,
    /// Bans that were lifted before that: one that was set again is among both.
    pub(crate) lifted: Vec<BanPlace>,
    /// Lifts that a store has lost, and when they were told of.
    pub(crate) lifted_again: Vec<(BanPlace, Timestamp)>,
}

impl Lifts {
    fn remember(&mut self, place: BanPlace, at: Timestamp) {
        self.older.remove(&place);
        self.newer.insert(place, at);
        if self.newer.len() >= MOST_REMEMBERED / 2 {
            self.older = std::mem::take(&mut self.newer);
        }
    }

    fn forget(&mut self, place: &BanPlace) {
        self.newer.remove(place);
        self.older.remove(place);
    }

    fn all(&self, now: Timestamp) -> Vec<(BanPlace, Timestamp)> {
        let all = self.newer.iter().chain(&self.older).filter(|(_, at)| now.since(**at) < REMEMBERED);
        all.map(|(place, at)| (place.clone(), *at)).collect()
    }
}

impl Unsaved {
    pub(super) fn set(&self, place: BanPlace) {
        if self.is_kept.load(Ordering::Relaxed) {
            let mut places = self.places();
            places.past.forget(&place);
            places.set.insert(place, Told::Never);
        }
    }

    pub(super) fn lifted(&self, lifted: Vec<BanPlace>) {
        if self.is_kept.load(Ordering::Relaxed) && !lifted.is_empty() {
            let mut places = self.places();
            let room = MOST_LIFTED.saturating_sub(places.lifted.len());
            places.lifted.extend(lifted.into_iter().take(room));
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// What was set, and the rest of what is to be told. Lifts count as told, unless the ban was set again since.
    fn take(&mut self, now: Timestamp) -> (HashMap<BanPlace, Told>, BanChanges) {
        let (set, lifted) = (std::mem::take(&mut self.set), std::mem::take(&mut self.lifted));
        let tells_again = std::mem::take(&mut self.tells_lifts_again);
        let lifted_again = if tells_again { self.past.all(now) } else { Vec::new() };
        for place in lifted.iter().filter(|place| !matches!(set.get(*place), Some(Told::Never))) {
            self.past.remember(place.clone(), now);
        }
        (set, BanChanges { lifted: lifted.into_iter().collect(), lifted_again, ..BanChanges::default() })
    }

    /// What was set and never told counts more.
    fn tell_again(&mut self, bans: &[StoredBan]) {
        for ban in bans {
            self.set.entry(ban.place()).or_insert(Told::Before);
        }
    }
}

impl Bans {
    /// Puts those in force that a store has; from now on what changes is written down for it.
    pub(crate) fn restore(&self, kept: Vec<StoredBan>, now: Timestamp) {
        self.unsaved.is_kept.store(true, Ordering::Relaxed);
        self.hear(kept, &[], now);
    }

    /// What changed since this was asked last, to be saved.
    pub(crate) fn changes(&self, now: Timestamp) -> BanChanges {
        let (set, mut changes) = self.unsaved.places().take(now);
        for (place, told) in set {
            let into = match told {
                Told::Never => &mut changes.bans,
                Told::Before => &mut changes.bans_again,
            };
            into.extend(self.table(&place.0).find(&place, now));
        }
        changes
    }

    /// Takes changes back that could not be saved: they are told again.
    pub(crate) fn unsaved(&self, changes: BanChanges) {
        self.unsaved.lifted(changes.lifted);
        let mut places = self.unsaved.places();
        places.set.extend(changes.bans.iter().map(|ban| (ban.place(), Told::Never)));
        places.tell_again(&changes.bans_again);
        places.tells_lifts_again |= !changes.lifted_again.is_empty();
    }

    /// All of them are told again with the next changes, and all lifts that are remembered: a store has lost them.
    pub(crate) fn all_unsaved(&self, now: Timestamp) {
        let all = self.all(now);
        let mut places = self.unsaved.places();
        places.tell_again(&all);
        places.tells_lifts_again = true;
    }

    /// Takes over what others have done. What this gateway has not told yet counts more: it was done later, or is merged.
    pub(crate) fn hear(&self, bans: Vec<StoredBan>, lifted: &[BanPlace], now: Timestamp) {
        for place in lifted {
            let is_set = {
                let mut places = self.unsaved.places();
                let is_set = places.set.contains_key(place);
                if !is_set {
                    places.past.remember(place.clone(), now);
                }
                is_set
            };
            if !is_set {
                self.table(&place.0).end(place);
            }
        }
        for ban in bans.into_iter().filter(|ban| ban.until > now) {
            let place = ban.place();
            let (is_set, is_lifted) = {
                let mut places = self.unsaved.places();
                places.past.forget(&place);
                (places.set.contains_key(&place), places.lifted.contains(&place))
            };
            let table = self.table(&ban.site);
            let lasts_longer = || table.find(&place, now).is_none_or(|known| known.until < ban.until);
            if !is_lifted && (!is_set || lasts_longer()) {
                table.restore(&ban.site, Ban { member: ban.member, until: ban.until, rule: ban.rule }, now);
            }
        }
    }

    /// Takes over everything that a store has: what it does not have has been lifted.
    pub(crate) fn hear_all(&self, kept: Vec<StoredBan>, now: Timestamp) {
        let there: HashSet<BanPlace> = kept.iter().map(StoredBan::place).collect();
        let lifted: Vec<BanPlace> =
            self.all(now).iter().map(StoredBan::place).filter(|place| !there.contains(place)).collect();
        self.hear(kept, &lifted, now);
    }
}

#[cfg(test)]
mod tests {
    use proxywhirl_core::MemberId;

    use super::super::Scope;
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn kept() -> Bans {
        let bans = Bans::new(0.5);
        bans.restore(Vec::new(), at(0));
        bans
    }

    fn set(bans: &Bans, member: u64, until: u64) {
        assert!(bans.set("a.example:80", Scope::Site, (MemberId(member), "rule"), at(until), (at(0), 10)));
    }

    fn stored(member: u64, until: u64) -> StoredBan {
        StoredBan { site: "a.example".to_owned(), member: MemberId(member), until: at(until), rule: "rule".into() }
    }

    fn place(member: u64) -> BanPlace {
        stored(member, 0).place()
    }

    fn banned(bans: &Bans) -> Vec<u64> {
        let mut banned: Vec<u64> = bans.of("a.example:80", None, (at(1), 10)).iter().map(|member| member.0).collect();
        banned.sort_unstable();
        banned
    }

    #[test]
    fn what_was_done_is_told_once_and_again_when_it_could_not_be_saved() {
        let bans = kept();
        set(&bans, 1, 60);
        set(&bans, 2, 60);
        assert_eq!(bans.lift(|_, member| member == MemberId(2), at(1)), 1);
        let expected = BanChanges { bans: vec![stored(1, 60)], lifted: vec![place(2)], ..BanChanges::default() };
        let changes = bans.changes(at(1));
        assert_eq!(changes, expected);
        assert_eq!(bans.changes(at(1)), BanChanges::default());
        bans.unsaved(changes);
        assert_eq!(bans.changes(at(1)), expected);
        // One that is set again is set after it was lifted.
        assert_eq!(bans.lift(|_, _| true, at(1)), 1);
        set(&bans, 1, 30);
        let set_again = BanChanges { bans: vec![stored(1, 30)], lifted: vec![place(1)], ..BanChanges::default() };
        assert_eq!(bans.changes(at(1)), set_again);
        set(&bans, 3, 60);
        assert_eq!(bans.changes(at(61)), BanChanges::default(), "what is over is nobody's business");
    }

    #[test]
    fn what_a_store_has_lost_is_told_from_what_it_has_never_heard() {
        let bans = kept();
        set(&bans, 1, 60);
        assert_eq!(bans.changes(at(1)).bans, [stored(1, 60)]);
        set(&bans, 2, 60);
        bans.all_unsaved(at(1));
        let expected =
            BanChanges { bans: vec![stored(2, 60)], bans_again: vec![stored(1, 60)], ..BanChanges::default() };
        let changes = bans.changes(at(1));
        assert_eq!(changes, expected);
        bans.unsaved(changes);
        assert_eq!(bans.changes(at(1)), expected);
        // One that is set again meanwhile is new.
        bans.all_unsaved(at(1));
        set(&bans, 1, 90);
        let changes = bans.changes(at(1));
        assert_eq!((changes.bans, changes.bans_again), (vec![stored(1, 90)], vec![stored(2, 60)]));
    }

    #[test]
    fn lifts_that_a_store_has_lost_are_told_again_until_the_ban_is_set_again_or_they_are_old() {
        let bans = kept();
        (1..=4).for_each(|member| set(&bans, member, 60));
        bans.changes(at(1));
        bans.lift(|_, member| member != MemberId(4), at(1));
        assert_eq!(bans.changes(at(2)).lifted.len(), 3);
        // One is lifted elsewhere, one is set here again, and another one elsewhere.
        bans.hear(vec![stored(2, 90)], &[place(4)], at(3));
        set(&bans, 1, 90);
        bans.changes(at(4));
        bans.all_unsaved(at(5));
        let mut changes = bans.changes(at(5));
        changes.lifted_again.sort_unstable();
        assert_eq!(changes.lifted_again, [(place(3), at(2)), (place(4), at(3))]);
        assert_eq!((changes.lifted.len(), changes.bans_again.len()), (0, 2));
        // Once, and again when that could not be saved.
        assert_eq!(bans.changes(at(6)), BanChanges::default());
        bans.unsaved(changes);
        assert_eq!(bans.changes(at(6)).lifted_again.len(), 2);
        bans.all_unsaved(at(7));
        assert_eq!(bans.changes(at(2 + 24 * 3_600)).lifted_again, [(place(4), at(3))]);
    }

    #[test]
    fn the_newest_lifts_are_remembered_and_no_more_than_so_many() {
        let mut lifts = Lifts::default();
        for number in 0..100_000 {
            lifts.remember(place(number), at(number));
            assert!(lifts.newer.len() + lifts.older.len() < MOST_REMEMBERED);
        }
        let all: HashSet<BanPlace> = lifts.all(at(100_000)).into_iter().map(|(place, _)| place).collect();
        assert!((100_000 - MOST_REMEMBERED as u64 / 2..100_000).all(|number| all.contains(&place(number))));
    }

    #[test]
    fn without_a_store_nothing_is_written_down() {
        let bans = Bans::new(0.5);
        set(&bans, 1, 60);
        bans.lift(|_, _| true, at(1));
        assert_eq!(bans.changes(at(1)), BanChanges::default());
    }

    #[test]
    fn what_others_do_is_in_force_and_not_told_to_them_again() {
        let bans = kept();
        bans.hear(vec![stored(1, 60), stored(2, 60), stored(3, 1)], &[], at(1));
        assert_eq!(banned(&bans), [1, 2]);
        bans.hear(vec![stored(2, 90)], &[place(1), place(9)], at(1));
        assert_eq!(bans.all(at(61)), [stored(2, 90)]);
        assert_eq!(banned(&bans), [2]);
        assert_eq!(bans.changes(at(1)), BanChanges::default());
        // What they end earlier, by lifting it and setting it again, ends earlier.
        bans.hear(vec![stored(2, 30)], &[], at(1));
        assert!(bans.all(at(31)).is_empty());
        set(&bans, 4, 60);
        bans.hear_all(vec![stored(5, 60)], at(1));
        assert_eq!(banned(&bans), [4, 5], "and what was not told yet stays");
    }

    #[test]
    fn what_was_not_told_yet_is_not_undone() {
        let bans = kept();
        set(&bans, 1, 60);
        bans.hear(vec![stored(1, 30)], &[], at(1));
        assert_eq!(bans.all(at(1)), [stored(1, 60)], "the later end counts");
        bans.hear(vec![stored(1, 90)], &[], at(1));
        bans.hear(Vec::new(), &[place(1)], at(1));
        assert_eq!(bans.all(at(1)), [stored(1, 90)]);
        bans.lift(|_, _| true, at(1));
        bans.hear(vec![stored(1, 95)], &[], at(1));
        assert!(banned(&bans).is_empty());
    }
}
