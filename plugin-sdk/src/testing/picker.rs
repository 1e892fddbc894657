//! Picks from a plan, as `strategy.wit` says it. Not the host's code, so that a plugin's tests notice
//! when the two no longer mean the same.

use super::{Chance, mix};
use crate::Slot;
use crate::strategy::{Member, Membership, Mode, Plan, Stickiness, Tier};
use std::collections::HashMap;

/// The most tiers that the host takes.
const MAX_TIERS: usize = 64;

/// Draws that hit somebody ineligible before all are looked at.
const REDRAWS: usize = 64;

/// What a request wants of a pick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its site, or 0.
    pub site: u32,
    /// Hash of its session's name, or 0.
    pub session: u64,
    /// Members that it has tried already.
    pub tried: Vec<Slot>,
}

/// Whom a pick may hand out, and what is known of them.
pub(super) trait Roll {
    /// The member in a slot, with the requests in flight, if it may be handed out.
    fn eligible(&self, slot: Slot) -> Option<(&Member, u32)>;
    /// The slot of a member that is still in the pool.
    fn slot_of(&self, id: u64) -> Option<Slot>;
}

/// A session's member.
#[derive(Debug, Clone, Copy)]
struct Pin {
    id: Option<u64>,
    began: u64,
    used: u64,
    life: u64,
}

/// A plan, with where it stands.
#[derive(Debug, Default)]
pub(super) struct Picker {
    rings: Vec<Ring>,
    sessions: Option<Stickiness>,
    pins: HashMap<u64, Pin>,
    /// A new plan is due then; 0 for never.
    pub(super) due: u64,
    pub(super) per_site: bool,
}

#[derive(Debug)]
struct Ring {
    mode: Mode,
    everyone: bool,
    places: Vec<(Slot, f64)>,
    /// Sums of the weights up to each place.
    sums: Vec<f64>,
    /// The index that a cycle looks at next.
    cursor: usize,
}

impl Picker {
    /// Takes a new plan, going on where the one before it stood. `everyone`: the view's members in the
    /// order of joining.
    ///
    /// # Panics
    /// When the plan is one that the host would refuse.
    pub(super) fn renew(&mut self, plan: &Plan, everyone: &[Slot], now: u64) {
        assert!(plan.tiers.len() <= MAX_TIERS, "a plan has {} tiers, at most {MAX_TIERS}", plan.tiers.len());
        let mut old = std::mem::take(&mut self.rings).into_iter();
        self.rings = plan.tiers.iter().map(|tier| Ring::new(tier, everyone, old.next())).collect();
        self.due = if plan.refresh == 0 { 0 } else { now + plan.refresh.max(100_000) };
        self.sessions = plan.sessions;
        self.per_site = plan.per_site;
        if self.sessions.is_none() {
            self.pins.clear();
        }
    }

    #[cfg(test)]
    pub(super) fn pins_len(&self) -> usize {
        self.pins.len()
    }

    pub(super) const fn asks(&self) -> bool {
        self.rings.is_empty()
    }

    /// A member for a request; none when nobody in the plan is eligible.
    pub(super) fn pick(&mut self, roll: &impl Roll, wish: &Wish, now: u64, chance: &mut Chance) -> Option<Slot> {
        let mut rings = std::mem::take(&mut self.rings);
        let sticky = self.sessions.filter(|_| wish.session != 0);
        let mut picked = None;
        for ring in &mut rings {
            if let Some(rules) = sticky
                && ring.mode == Mode::Affinity
            {
                match self.stick(rules, ring, roll, wish, now) {
                    Stuck::To(slot) => picked = Some(slot),
                    Stuck::Nobody => {}
                    Stuck::Refused => break,
                }
            } else {
                picked = ring.pick(roll, wish, chance);
            }
            if picked.is_some() {
                break;
            }
        }
        self.rings = rings;
        picked
    }

    fn stick(&mut self, rules: Stickiness, ring: &Ring, roll: &impl Roll, wish: &Wish, now: u64) -> Stuck {
        let fresh = Pin { id: None, began: now, used: now, life: 0 };
        let mut pin = self.pins.get(&wish.session).copied().unwrap_or(fresh);
        let over = |since: u64, limit: u64| limit > 0 && now.saturating_sub(since) >= limit;
        if over(pin.used, rules.idle) || over(pin.began, rules.lifetime) {
            pin = Pin { life: pin.life + 1, ..fresh };
        }
        if let Some(id) = pin.id {
            let usable = roll.slot_of(id).filter(|slot| admitted(roll, wish, *slot).is_some());
            match usable {
                Some(slot) => {
                    self.pins.insert(wish.session, Pin { used: now, ..pin });
                    return Stuck::To(slot);
                }
                None if rules.strict => return Stuck::Refused,
                None => {}
            }
        }
        let Some(slot) = ring.affinity(roll, wish, mix(wish.session) ^ mix(pin.life)) else {
            return Stuck::Nobody;
        };
        let id = admitted(roll, wish, slot).map(|(member, _)| member.id);
        self.pins.insert(wish.session, Pin { id, used: now, ..pin });
        self.bound(rules);
        Stuck::To(slot)
    }

    /// Forgets the sessions longest unused beyond the capacity.
    fn bound(&mut self, rules: Stickiness) {
        while self.pins.len() > usize::try_from(rules.capacity.max(1)).unwrap_or(usize::MAX) {
            let oldest =
                self.pins.iter().min_by_key(|(session, pin)| (pin.used, **session)).map(|(session, _)| *session);
            oldest.map(|session| self.pins.remove(&session));
        }
    }
}

enum Stuck {
    To(Slot),
    /// Nobody in this tier is eligible.
    Nobody,
    /// The session's member cannot be used, and it may have no other.
    Refused,
}

fn admitted<'a>(roll: &'a impl Roll, wish: &Wish, slot: Slot) -> Option<(&'a Member, u32)> {
    if wish.tried.contains(&slot) { None } else { roll.eligible(slot) }
}

impl Ring {
    fn new(tier: &Tier, everyone: &[Slot], old: Option<Self>) -> Self {
        let (places, is_everyone): (Vec<_>, _) = match &tier.members {
            Membership::Everyone => (everyone.iter().map(|&slot| (slot, 1.0)).collect(), true),
            Membership::These(members) => {
                (members.iter().map(|member| (member.slot, f64::from(member.weight))).collect(), false)
            }
        };
        let mut sum = 0.0;
        let sums = places.iter().map(|&(slot, weight)| {
            assert!(
                weight.is_finite() && weight >= 0.0,
                "weight {weight} of slot {slot} is not a finite number from 0"
            );
            sum += weight;
            sum
        });
        let sums = sums.collect();
        let cursor = old.filter(|old| old.everyone == is_everyone).map_or(0, |old| old.resume(&places));
        Self { mode: tier.mode, everyone: is_everyone, places, sums, cursor }
    }

    /// Where a new list goes on: at the first of those who are still due that is on it.
    fn resume(&self, new: &[(Slot, f64)]) -> usize {
        let index: HashMap<Slot, usize> = new.iter().enumerate().map(|(index, place)| (place.0, index)).collect();
        let known = |&(slot, _): &(Slot, f64)| index.get(&slot).copied();
        let later = self.places.get(self.cursor..).unwrap_or_default();
        if let Some(next) = later.iter().find_map(known) {
            return next;
        }
        let earlier = self.places.get(..self.cursor).unwrap_or(&self.places);
        match earlier.iter().rev().find_map(known) {
            // Everybody was served: who joined at the end is next.
            Some(last) if self.everyone => last + 1,
            _ => earlier.iter().find_map(known).unwrap_or(0),
        }
    }

    fn pick(&mut self, roll: &impl Roll, wish: &Wish, chance: &mut Chance) -> Option<Slot> {
        match self.mode {
            Mode::Cycle => self.cycle(roll, wish),
            Mode::Affinity if wish.session != 0 => self.affinity(roll, wish, wish.session),
            Mode::Draw | Mode::Affinity => self.draw(roll, wish, chance).map(|(slot, _)| slot),
            Mode::LeastLoaded => self.least_loaded(roll, wish, chance),
        }
    }

    fn usable(&self, index: usize, roll: &impl Roll, wish: &Wish) -> Option<(Slot, f64)> {
        let place = *self.places.get(index)?;
        (place.1 > 0.0 && admitted(roll, wish, place.0).is_some()).then_some(place)
    }

    fn cycle(&mut self, roll: &impl Roll, wish: &Wish) -> Option<Slot> {
        let end = self.places.len();
        let order = (self.cursor..end).chain(0..self.cursor.min(end));
        let (index, slot) = order.into_iter().find_map(|index| {
            let (slot, _) = self.usable(index, roll, wish)?;
            Some((index, slot))
        })?;
        self.cursor = index + 1;
        Some(slot)
    }

    fn draw(&self, roll: &impl Roll, wish: &Wish, chance: &mut Chance) -> Option<(Slot, f64)> {
        let sum = *self.sums.last()?;
        for _ in 0..REDRAWS {
            let at = chance.unit() * sum;
            let index = self.sums.partition_point(|&upto| upto <= at);
            if let Some(place) = self.usable(index, roll, wish) {
                return Some(place);
            }
        }
        let usable = || (0..self.places.len()).filter_map(|index| self.usable(index, roll, wish));
        let mut left = chance.unit() * usable().map(|(_, weight)| weight).sum::<f64>();
        let mut last = None;
        for place in usable() {
            last = Some(place);
            left -= place.1;
            if left < 0.0 {
                break;
            }
        }
        last
    }

    /// Weighted rendezvous hashing: the largest of −weight ÷ ln(hash) wins.
    fn affinity(&self, roll: &impl Roll, wish: &Wish, session: u64) -> Option<Slot> {
        let score = |slot: Slot, weight: f64| {
            let (member, _) = admitted(roll, wish, slot)?;
            let hash = mix(member.id ^ mix(session)) >> 11;
            Some(-weight / ((hash as f64 + 0.5) / (1_u64 << 53) as f64).ln())
        };
        let usable = (0..self.places.len()).filter_map(|index| self.usable(index, roll, wish));
        let scored = usable.filter_map(|(slot, weight)| Some((score(slot, weight)?, slot)));
        scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, slot)| slot)
    }

    /// The power of two choices; who was never measured is compared by what is in flight alone.
    fn least_loaded(&self, roll: &impl Roll, wish: &Wish, chance: &mut Chance) -> Option<Slot> {
        let first = self.draw(roll, wish, chance)?;
        let second = self.draw(roll, wish, chance)?;
        let (a, a_flying) = admitted(roll, wish, first.0)?;
        let (b, b_flying) = admitted(roll, wish, second.0)?;
        let measured = a.latency > 0 && b.latency > 0;
        let load = |member: &Member, flying: u32, weight: f64| {
            let latency = if measured { f64::from(member.latency) } else { 1.0 };
            (f64::from(flying) + 1.0) * latency / weight
        };
        Some(if load(a, a_flying, first.1) <= load(b, b_flying, second.1) { first.0 } else { second.0 })
    }
}
