//! Who is drawn from, by weight.
//!
//! A draw takes one row of an alias table. When it hits somebody who may not be handed out it is repeated, which keeps the
//! shares among the others; after many misses, hardly anybody is left, and those are drawn from by name: they are found
//! word by word, 64 slots at a time.

use std::sync::Arc;

use super::sight::{Sight, Stamp};
use crate::member::Member;
use crate::select::alias;
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
    /// The table to draw from; empty when all weights are equal.
    rows: Vec<Row>,
    stamp: Stamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Word {
    members: u64,
    /// How many members are in the words before.
    before: u32,
}

/// A row of the alias table. The slots are in it, so that a draw touches one cache line of what may be megabytes.
#[derive(Debug, Clone, Copy)]
struct Row {
    threshold: u32,
    slot: u32,
    other_slot: u32,
    other: u32,
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
        let rows = rows(&shares);
        Self { shares, words, rows, stamp }
    }

    pub(super) fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// Which share is of this slot.
    pub(super) fn index_of(&self, slot: u32) -> Option<usize> {
        let word = self.words.get(slot as usize / WORD)?;
        let bit = 1 << (slot as usize % WORD);
        let is_here = word.members & bit != 0;
        is_here.then(|| word.before as usize + (word.members & (bit - 1)).count_ones() as usize)
    }

    /// Whether the slot of a share is still of the same member.
    #[inline]
    fn holds(&self, slot: u32, index: usize, sight: &Sight<'_, '_>) -> bool {
        self.stamp.holds(slot, || self.shares.get(index).map(|share| share.generation), sight.snapshot)
    }

    /// A share by weight: its slot and its index.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // The upper half of the product is an index, the lower one is chance.
    fn draw(&self, random: &mut Random) -> Option<(u32, usize)> {
        let product = u128::from(random.bits()) * self.shares.len() as u128;
        let (index, chance) = ((product >> 64) as usize, (product >> 32) as u32);
        if self.rows.is_empty() {
            return self.shares.get(index).map(|share| (share.slot, index));
        }
        let row = self.rows.get(index)?;
        Some(if chance <= row.threshold { (row.slot, index) } else { (row.other_slot, row.other as usize) })
    }

    fn weight(&self, index: usize) -> f32 {
        // Equal weights are as good as no weights.
        if self.rows.is_empty() { 1.0 } else { self.shares.get(index).map_or(0.0, |share| share.weight) }
    }
}

fn rows(shares: &[Share]) -> Vec<Row> {
    let mut weights = shares.iter().map(|share| share.weight);
    let first = weights.next().unwrap_or_default();
    #[allow(clippy::float_cmp)] // Equal to the bit, or else there is a table.
    if weights.all(|weight| weight == first) {
        return Vec::new();
    }
    let weights: Vec<f32> = shares.iter().map(|share| share.weight).collect();
    let slot = |index: u32| shares.get(index as usize).map_or(0, |share| share.slot);
    let row = |(index, row): (u32, alias::Row)| Row {
        threshold: row.threshold,
        slot: slot(index),
        other_slot: slot(row.other),
        other: row.other,
    };
    (0..).zip(alias::table(&weights)).map(row).collect()
}

impl Roster {
    /// Draws somebody by weight.
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
                    let (slot, index) = roll.draw(random)?;
                    if sight.admits(slot) && roll.holds(slot, index, sight) {
                        return Some(Drawn { slot, weight: roll.weight(index) });
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
                        let below = word.members & ((1 << (slot as usize % WORD)) - 1);
                        let index = word.before as usize + below.count_ones() as usize;
                        if roll.holds(slot, index, sight) {
                            tell(Drawn { slot, weight: roll.weight(index) });
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
            Self::These(roll) => roll.index_of(slot).is_some_and(|index| roll.holds(slot, index, sight)),
        }
    }

    /// The power of two choices (Mitzenmacher 2001): of two who are drawn, the one with less load for its weight.
    pub(super) fn less_loaded<'s>(&self, sight: &Sight<'_, 's>, random: &mut Random) -> Option<&'s Arc<Member>> {
        let first = self.draw(sight, random)?;
        let second = self.draw(sight, random)?;
        let (a, b) = (sight.snapshot.load(first.slot), sight.snapshot.load(second.slot));
        // Somebody who was never measured is compared by what is in flight alone.
        let is_measured = a.latency != 0 && b.latency != 0;
        let cost = |load: crate::pool::board::Load, weight: f32| {
            let latency = if is_measured { f64::from(load.latency) } else { 1.0 };
            f64::from(load.in_flight + 1) * latency / f64::from(weight)
        };
        let is_first = cost(a, first.weight) <= cost(b, second.weight);
        sight.snapshot.get(if is_first { first.slot } else { second.slot })
    }
}
