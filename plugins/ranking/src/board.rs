//! Weights by quality, where newcomers rank like the median and cannot drown the proven.
//!
//! A member is one of three: **proven** (it has served, so its quality is known), **unproven** (too
//! little is known of it), or **failed** (it was tried and has never served).
//!
//! * An unproven member ranks like the median of the proven, neither last, where a proven one would
//!   win for ever, nor first, where newcomers would take everything. All of them together get at most
//!   a share (5 %), so that a large batch of newcomers cannot drown the proven.
//! * A failed member ranks below the worst of the proven, the lower the more often it failed, and is
//!   still drawn at times: who is never drawn can never get better.
//! * While nobody is proven there is nobody to protect, and the bound does not hold: else the first
//!   failure of a fresh pool would leave one failed member with 95 % of the draws.
//!
//! A [`Board`] is kept up to date member by member, so that a plan costs a copy and not a ranking of
//! the whole pool. Weights are relative: only their proportions matter.
//!
//! Invariant: a place and the list that it names point at each other.

use proxywhirl_plugin_sdk::Slot;
use proxywhirl_plugin_sdk::strategy::Weighted;
use proxywhirl_plugin_sdk::strategy::rank::EXPLORE;

/// Weights stay in this range, so that sums and proportions of a million of them are exact enough in
/// an `f32`, and no product of factors overflows or vanishes.
const RANGE: (f64, f64) = (1e-18, 1e18);

/// What is known of a member.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// It has served: its quality, above 0, on a scale that all members share.
    Proven(f64),
    /// It was tried so often, and has never served.
    Failed(u64),
    /// Too little is known.
    Unproven,
}

/// Which of the proven an unproven member ranks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rank {
    /// The worst of them.
    Lowest,
    /// The one in the middle.
    #[default]
    Median,
    /// The best of them.
    Highest,
}

/// How the unproven are treated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Which of the proven they rank like.
    pub rank: Rank,
    /// The share of the draws that they get at the most, all together: 0 to 1.
    pub explore: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { rank: Rank::Median, explore: EXPLORE }
    }
}

/// The weights of a pool's members.
#[derive(Debug, Default)]
pub struct Board {
    /// By slot: the list that the member is on, and where.
    places: Vec<Option<Place>>,
    lists: Lists,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    list: List,
    index: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Proven,
    Failed,
    Unproven,
}

impl Board {
    /// Of nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what is known of the member at a slot, and a factor (0 or more) for its weight.
    pub fn set(&mut self, slot: Slot, factor: f64, standing: Standing) {
        self.remove(slot);
        let Ok(wanted) = usize::try_from(slot) else { return };
        if self.places.len() <= wanted {
            self.places.resize(wanted + 1, None);
        }
        let (list, index) = self.lists.push(slot, factor, standing);
        if let Some(place) = self.places.get_mut(wanted) {
            *place = Some(Place { list, index });
        }
    }

    /// Forgets the member at a slot.
    pub fn remove(&mut self, slot: Slot) {
        let Some(Place { list, index }) = self.place_mut(slot).and_then(Option::take) else { return };
        if let Some(moved) = self.lists.take(list, index)
            && let Some(place) = self.place_mut(moved)
        {
            *place = Some(Place { list, index });
        }
    }

    /// Forgets everybody.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The weights of the members of a view; of all if there is none. In no particular order.
    #[must_use]
    pub fn shares(&self, view: Option<&[Slot]>, policy: &Policy) -> Vec<Weighted> {
        let Some(slots) = view else { return self.lists.shares(policy) };
        let mut lists = Lists::default();
        for &slot in slots {
            let place = usize::try_from(slot).ok().and_then(|slot| *self.places.get(slot)?);
            if let Some(Place { list, index }) = place {
                lists.copy(&self.lists, list, index);
            }
        }
        lists.shares(policy)
    }

    fn place_mut(&mut self, slot: Slot) -> Option<&mut Option<Place>> {
        self.places.get_mut(usize::try_from(slot).ok()?)
    }
}

/// The weights of a tier that is made on the spot, from slots, factors and standings.
#[must_use]
pub fn weigh(members: impl IntoIterator<Item = (Slot, f64, Standing)>, policy: &Policy) -> Vec<Weighted> {
    let mut lists = Lists::default();
    for (slot, factor, standing) in members {
        lists.push(slot, factor, standing);
    }
    lists.shares(policy)
}

/// The members by standing, each with what its weight is to be multiplied from.
#[derive(Debug, Default)]
struct Lists {
    /// Factor times quality: final.
    proven: Vec<Weighted>,
    /// The qualities alone, in the same order.
    qualities: Vec<f32>,
    /// Factor divided by failures: to be multiplied by the lowest quality of the proven.
    failed: Vec<Weighted>,
    /// The factor: to be multiplied by the quality that newcomers rank like.
    unproven: Vec<Weighted>,
}

impl Lists {
    fn push(&mut self, slot: Slot, factor: f64, standing: Standing) -> (List, usize) {
        let list = match standing {
            Standing::Proven(quality) => {
                self.proven.push(Weighted { slot, weight: bounded(factor * quality) });
                self.qualities.push(bounded(quality));
                List::Proven
            }
            Standing::Failed(failures) => {
                self.failed.push(Weighted { slot, weight: bounded(factor / (failures as f64 + 1.0)) });
                List::Failed
            }
            Standing::Unproven => {
                self.unproven.push(Weighted { slot, weight: bounded(factor) });
                List::Unproven
            }
        };
        (list, self.list(list).len() - 1)
    }

    fn copy(&mut self, from: &Self, list: List, index: usize) {
        let Some(member) = from.list(list).get(index) else { return };
        self.list_mut(list).push(*member);
        if list == List::Proven {
            self.qualities.extend(from.qualities.get(index));
        }
    }

    /// Takes a member off a list; the slot of the one that has its index now.
    fn take(&mut self, list: List, index: usize) -> Option<Slot> {
        if list == List::Proven && index < self.qualities.len() {
            self.qualities.swap_remove(index);
        }
        let list = self.list_mut(list);
        if index < list.len() {
            list.swap_remove(index);
        }
        list.get(index).map(|member| member.slot)
    }

    const fn list(&self, list: List) -> &Vec<Weighted> {
        match list {
            List::Proven => &self.proven,
            List::Failed => &self.failed,
            List::Unproven => &self.unproven,
        }
    }

    const fn list_mut(&mut self, list: List) -> &mut Vec<Weighted> {
        match list {
            List::Proven => &mut self.proven,
            List::Failed => &mut self.failed,
            List::Unproven => &mut self.unproven,
        }
    }

    fn shares(&self, policy: &Policy) -> Vec<Weighted> {
        let mut shares = Vec::with_capacity(self.proven.len() + self.failed.len() + self.unproven.len());
        shares.extend_from_slice(&self.proven);
        if !self.failed.is_empty() {
            let lowest = self.ranked(Rank::Lowest);
            shares.extend(scaled(&self.failed, lowest));
        }
        if !self.unproven.is_empty() {
            let mut scale = self.ranked(policy.rank);
            let proven = sum(&self.proven);
            let (others, unproven) = (sum(&shares), sum(&self.unproven) * scale);
            let explore = policy.explore.clamp(0.0, 1.0);
            if proven > 0.0 && unproven > explore * (others + unproven) {
                scale *= explore / (1.0 - explore) * others / unproven;
            }
            shares.extend(scaled(&self.unproven, scale));
        }
        shares
    }

    /// The quality of the proven that has this rank; 1 while there is none.
    fn ranked(&self, rank: Rank) -> f64 {
        let qualities = self.qualities.iter().copied();
        let found = match rank {
            Rank::Lowest => qualities.min_by(f32::total_cmp),
            Rank::Highest => qualities.max_by(f32::total_cmp),
            Rank::Median if self.qualities.is_empty() => None,
            Rank::Median => {
                // As integers, which compare like the positive numbers that they are the bits of, and faster.
                let mut bits: Vec<u32> = qualities.map(f32::to_bits).collect();
                let middle = bits.len() / 2;
                Some(f32::from_bits(*bits.select_nth_unstable(middle).1))
            }
        };
        found.map_or(1.0, f64::from)
    }
}

fn sum(members: &[Weighted]) -> f64 {
    members.iter().map(|member| f64::from(member.weight)).sum()
}

fn scaled(members: &[Weighted], scale: f64) -> impl Iterator<Item = Weighted> + '_ {
    members.iter().map(move |member| Weighted { weight: bounded(f64::from(member.weight) * scale), ..*member })
}

/// A weight that a plan may have. Zero stays zero: the user took that member out.
fn bounded(weight: f64) -> f32 {
    if weight > 0.0 { weight.clamp(RANGE.0, RANGE.1) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests;
