//! A pool whose requests follow a strategy: the host in small.

use super::picker::{Picker, Roll};
use super::{Chance, Picks, Wish};
use crate::strategy::{Member, Membership, Moment, Observation, Plan, Request, Running, Strategy, View};
use crate::{Slot, clock, duration, random};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Where the clock of a new pool stands: 2026-01-01, so that times before it can be written too.
const BEGINNING: u64 = 1_767_225_600_000_000;

/// A pool of members that a strategy drives.
///
/// Changes are told to the strategy before the next plan, pick or observation, all of them in one
/// delta. A plan is made when the pool has changed, when the strategy asks for it, and when the last
/// one says so by its `refresh`.
#[derive(Debug)]
pub struct Pool<S> {
    running: Running<S>,
    roll: Rows,
    pickers: BTreeMap<u32, Picker>,
    changes: Changes,
    epoch: u64,
    now: u64,
    chance: Chance,
    plans: u64,
}

#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Option<Row>>,
    slots: HashMap<u64, Slot>,
}

#[derive(Debug)]
struct Row {
    member: Member,
    flying: u32,
    ejected: bool,
}

#[derive(Debug, Default)]
struct Changes {
    upserts: BTreeMap<Slot, Member>,
    removed: Vec<Slot>,
    stale: bool,
}

impl Rows {
    fn get(&mut self, slot: Slot) -> Option<&mut Row> {
        self.rows.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// All slots, in the order of joining.
    fn everyone(&self) -> Vec<Slot> {
        let mut all: Vec<_> = self.rows.iter().flatten().map(|row| (row.member.joined, row.member.slot)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, slot)| slot).collect()
    }

    fn take(&mut self, slot: Slot) -> Option<Row> {
        let row = self.rows.get_mut(usize::try_from(slot).ok()?)?.take()?;
        self.slots.remove(&row.member.id);
        Some(row)
    }
}

impl Roll for Rows {
    fn eligible(&self, slot: Slot) -> Option<(&Member, u32)> {
        let row = self.rows.get(usize::try_from(slot).ok()?)?.as_ref()?;
        (!row.ejected).then_some((&row.member, row.flying))
    }

    fn slot_of(&self, id: u64) -> Option<Slot> {
        self.slots.get(&id).copied()
    }
}

impl<S: Strategy> Pool<S> {
    /// An empty pool, driven by a strategy with these options. The clock and the chance of this
    /// thread are set, the same each time.
    pub fn new(options: &str) -> Result<Self, String> {
        clock::set(BEGINNING);
        random::seed(1);
        let mut running = Running::new();
        running.configure(options)?;
        Ok(Self {
            running,
            roll: Rows::default(),
            pickers: BTreeMap::new(),
            changes: Changes { stale: true, ..Changes::default() },
            epoch: 0,
            now: BEGINNING,
            chance: Chance(1),
            plans: 0,
        })
    }

    /// With another chance than all the others.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        random::seed(seed);
        self.chance = Chance(seed);
        self
    }

    /// Somebody joins, or their row changes; who had the slot before has left.
    pub fn join(&mut self, member: Member) {
        let slot = member.slot;
        let known = self.roll.get(slot).is_some_and(|row| row.member.id == member.id);
        let (flying, ejected) =
            self.roll.get(slot).filter(|_| known).map_or((0, false), |row| (row.flying, row.ejected));
        if !known {
            self.leave(slot);
        }
        let Ok(place) = usize::try_from(slot) else { return };
        if self.roll.rows.len() <= place {
            self.roll.rows.resize_with(place + 1, || None);
        }
        self.roll.slots.insert(member.id, slot);
        self.changes.upserts.insert(slot, member.clone());
        if let Some(row) = self.roll.rows.get_mut(place) {
            *row = Some(Row { member, flying, ejected });
        }
    }

    /// Somebody leaves.
    pub fn leave(&mut self, slot: Slot) {
        if self.roll.take(slot).is_some() {
            self.changes.upserts.remove(&slot);
            self.changes.removed.push(slot);
        }
    }

    /// Nobody is handed this member, although it stays in the pool: as with an open breaker. The
    /// strategy is not told.
    pub fn eject(&mut self, slot: Slot) {
        if let Some(row) = self.roll.get(slot) {
            row.ejected = true;
        }
    }

    /// The end of [`Pool::eject`].
    pub fn readmit(&mut self, slot: Slot) {
        if let Some(row) = self.roll.get(slot) {
            row.ejected = false;
        }
    }

    /// How many requests a member serves now.
    pub fn set_in_flight(&mut self, slot: Slot, requests: u32) {
        if let Some(row) = self.roll.get(slot) {
            row.flying = requests;
        }
    }

    /// A use came to this, with the time to the first byte in microseconds; 0 when none came.
    pub fn observe(&mut self, slot: Slot, success: bool, latency: u32) {
        self.observe_all(&[Observation { slot, site: 0, success, latency }]);
    }

    /// Uses came to this.
    pub fn observe_all(&mut self, observations: &[Observation]) {
        self.tell();
        self.changes.stale |= self.running.observe(observations);
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now += duration::micros(time);
        clock::set(self.now);
    }

    /// The time, in microseconds since the Unix epoch.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// How many plans were made.
    #[must_use]
    pub const fn plans(&self) -> u64 {
        self.plans
    }

    /// The strategy as the host drives it.
    pub const fn running(&mut self) -> &mut Running<S> {
        &mut self.running
    }

    /// A new plan for the whole pool and this site, 0 for all.
    pub fn plan(&mut self, site: u32) -> Plan {
        self.tell();
        let moment = Moment { now: self.now, seed: self.chance.bits() };
        let plan = self.running.plan(&View { id: 0, site, members: None }, moment);
        for tier in &plan.tiers {
            if let Membership::These(members) = &tier.members {
                for member in members {
                    assert!(self.roll.get(member.slot).is_some(), "slot {} has no member", member.slot);
                }
            }
        }
        self.plans += 1;
        plan
    }

    /// A member for a request without a session.
    pub fn pick(&mut self) -> Option<Slot> {
        self.pick_for(&Wish::default())
    }

    /// A member for a request of a session, which is not 0.
    pub fn pick_session(&mut self, session: u64) -> Option<Slot> {
        self.pick_for(&Wish { session, ..Wish::default() })
    }

    /// A member for a request.
    ///
    /// # Panics
    /// When the strategy answers with a plan that the host would refuse.
    pub fn pick_for(&mut self, wish: &Wish) -> Option<Slot> {
        self.tell();
        if std::mem::take(&mut self.changes.stale) {
            let sites: Vec<u32> = self.pickers.keys().copied().collect();
            for site in sites {
                self.renew(site);
            }
        }
        if self.pickers.is_empty() {
            self.renew(0);
        }
        let per_site = self.pickers.get(&0).is_some_and(|picker| picker.per_site);
        let site = if per_site { wish.site } else { 0 };
        let current = self.pickers.get(&site).is_some_and(|picker| picker.due == 0 || self.now < picker.due);
        if !current {
            self.renew(site);
        }
        let picker = self.pickers.get_mut(&site)?;
        if picker.asks() {
            return self.select(wish);
        }
        picker.pick(&self.roll, wish, self.now, &mut self.chance)
    }

    /// The members for so many requests without a session.
    pub fn picks(&mut self, requests: usize) -> Picks {
        let mut picks = Picks::default();
        for _ in 0..requests {
            picks.count(self.pick());
        }
        picks
    }

    /// The member for one request, from the strategy itself; nobody who is not eligible.
    fn select(&mut self, wish: &Wish) -> Option<Slot> {
        let request = Request {
            view: 0,
            site: wish.site,
            session: wish.session,
            attempt: u32::try_from(wish.tried.len()).unwrap_or(u32::MAX).saturating_add(1),
            now: self.now,
            seed: self.chance.bits(),
        };
        let slot = self.running.select(&request).filter(|slot| !wish.tried.contains(slot))?;
        self.roll.eligible(slot).map(|_| slot)
    }

    fn renew(&mut self, site: u32) {
        let plan = self.plan(site);
        let everyone = self.roll.everyone();
        self.pickers.entry(site).or_default().renew(&plan, &everyone, self.now);
    }

    fn tell(&mut self) {
        if self.changes.upserts.is_empty() && self.changes.removed.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.changes);
        self.changes.stale = true;
        self.epoch += 1;
        let upserts = changes.upserts.into_values().collect();
        self.running.apply(self.epoch, false, upserts, changes.removed);
    }
}

#[cfg(test)]
mod tests;
