//! Who is drawn from, by weight.
//!
//! When a draw hits somebody who may not be handed out it is repeated, which keeps the shares among the others; after many
//! misses, hardly anybody is left, and those are drawn from by name: they are found word by word, 64 slots at a time.

use super::classes::Classes;
use super::sight::{Sight, Stamp};
use crate::pool::board::Load;
use crate::select::random::Random;

/// Draws that miss before those who are left are looked for: one for so many members, because a draw costs a few
/// nanoseconds, and the search looks at everybody who is left, and at one word for each 64 who are not.
const MEMBERS_PER_REDRAW: usize = 8;

/// Limits of that. When one in 50 is left of a pool of 100,000, 512 draws miss one time in 30,000.
const REDRAWS: std::ops::RangeInclusive<usize> = 8..=512;

/// Slots in a word of the board.
const WORD: usize = u64::BITS as usize;

/// Who is drawn from.
#[derive(Debug)]
pub(super) enum Roster {
    /// Everybody in the pool, with equal weight.
    Everyone,
    /// Those whom the plan names.
    These(Roll),
}

/// A member, its place and its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) weight: f32,
}

/// Members with weights above zero, by slot.
#[derive(Debug)]
pub(super) struct Roll {
    shares: Vec<Share>,
    /// For each word of slots, who of them is here.
    words: Vec<Word>,
    classes: Classes,
    stamp: Stamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Word {
    members: u64,
    /// How many members are in the words before.
    before: u32,
}

/// Somebody who was drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn {
    pub(super) slot: u32,
    pub(super) weight: f32,
}

impl Roll {
    /// A roll of members, each with a weight above zero. Somebody who is named twice has both weights.
    pub(super) fn new(mut shares: Vec<Share>, stamp: Stamp) -> Self {
        if !shares.is_sorted_by_key(|share| share.slot) {
            shares.sort_by_key(|share| share.slot);
        }
        shares.dedup_by(|again, first| {
            let is_same = again.slot == first.slot;
            first.weight += if is_same { again.weight } else { 0.0 };
            is_same
        });
        let mut words = vec![Word::default(); shares.last().map_or(0, |last| last.slot as usize / WORD + 1)];
        for share in &shares {
            if let Some(word) = words.get_mut(share.slot as usize / WORD) {
                word.members |= 1 << (share.slot as usize % WORD);
            }
        }
        let mut before = 0;
        for word in &mut words {
            word.before = before;
            before += word.members.count_ones();
        }
        let classes = Classes::new(&shares);
        Self { shares, words, classes, stamp }
    }

    pub(super) fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// The share of a slot.
    fn share(&self, slot: u32) -> Option<&Share> {
        let word = self.words.get(slot as usize / WORD)?;
        let bit = 1 << (slot as usize % WORD);
        let index = word.before as usize + (word.members & (bit - 1)).count_ones() as usize;
        if word.members & bit == 0 { None } else { self.shares.get(index) }
    }

    /// Whether the slot of a share is still of the same member.
    #[inline]
    fn holds(&self, slot: u32, sight: &Sight<'_, '_>) -> bool {
        self.stamp.holds(slot, || self.share(slot).map(|share| share.generation), sight.snapshot)
    }
}

impl Roster {
    /// Draws somebody by weight.
    #[inline]
    pub(super) fn draw(&self, sight: &Sight<'_, '_>, random: &mut Random) -> Option<Drawn> {
        let members = match self {
            Self::Everyone => sight.snapshot.end() as usize,
            Self::These(roll) => roll.shares.len(),
        };
        for _ in 0..(members / MEMBERS_PER_REDRAW).clamp(*REDRAWS.start(), *REDRAWS.end()) {
            match self {
                Self::Everyone => {
                    let slot = u32::try_from(random.below(members)).ok()?;
                    if sight.admits(slot) {
                        return Some(Drawn { slot, weight: 1.0 });
                    }
                }
                Self::These(roll) => {
                    let drawn = roll.classes.draw(random)?;
                    if sight.admits(drawn.slot) && roll.holds(drawn.slot, sight) {
                        return Some(drawn);
                    }
                }
            }
        }
        self.draw_of_few(sight, random)
    }

    /// Draws among those who may be handed out, with the same shares.
    #[cold]
    fn draw_of_few(&self, sight: &Sight<'_, '_>, random: &mut Random) -> Option<Drawn> {
        let mut sum = 0.0;
        self.visit(sight, |drawn| sum += f64::from(drawn.weight));
        let mut left = random.unit() * sum;
        let mut found = None;
        self.visit(sight, |drawn| {
            if left >= 0.0 {
                found = Some(drawn);
                left -= f64::from(drawn.weight);
            }
        });
        found
    }

    /// Tells of everybody who may be handed out, by slot.
    pub(super) fn visit(&self, sight: &Sight<'_, '_>, mut tell: impl FnMut(Drawn)) {
        match self {
            Self::Everyone => {
                for word in 0..(sight.snapshot.end() as usize).div_ceil(WORD) {
                    sight.admitted_in(word, u64::MAX).for_each(|slot| tell(Drawn { slot, weight: 1.0 }));
                }
            }
            Self::These(roll) => {
                for (index, word) in roll.words.iter().enumerate() {
                    for slot in sight.admitted_in(index, word.members) {
                        if let Some(share) = roll.share(slot)
                            && roll.holds(slot, sight)
                        {
                            tell(Drawn { slot, weight: share.weight });
                        }
                    }
                }
            }
        }
    }

    /// Whether who is at a slot is one of these.
    pub(super) fn holds(&self, slot: u32, sight: &Sight<'_, '_>) -> bool {
        match self {
            Self::Everyone => true,
            Self::These(roll) => roll.share(slot).is_some() && roll.holds(slot, sight),
        }
    }

    /// The power of two choices (Mitzenmacher 2001): of two who are drawn, the slot of the one with less load for its weight.
    pub(super) fn less_loaded(&self, sight: &Sight<'_, '_>, random: &mut Random) -> Option<u32> {
        let first = self.draw(sight, random)?;
        let second = self.draw(sight, random)?;
        let (a, b) = (sight.snapshot.load(first.slot), sight.snapshot.load(second.slot));
        // Somebody who was never measured is compared by what is in flight alone.
        let is_measured = a.latency != 0 && b.latency != 0;
        let busy = |load: Load| {
            let latency = if is_measured { load.latency } else { 1 };
            u64::from(load.in_flight + 1) * u64::from(latency)
        };
        // Each divided by its weight, without dividing: below 2^40, so that floating point has them exactly.
        #[allow(clippy::cast_precision_loss)]
        let is_first = busy(a) as f64 * f64::from(second.weight) <= busy(b) as f64 * f64::from(first.weight);
        Some(if is_first { first.slot } else { second.slot })
    }
}
