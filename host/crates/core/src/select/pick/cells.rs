//! Which member a session goes to: consistent hashing by rejection.
//!
//! Members are scattered over a table of cells, each by the hash of its identity, and a session is a sequence of cells: the
//! first of them that holds somebody who may be handed out wins. It is DxHash (Dong, Wang, Zhou 2021,
//! <https://arxiv.org/abs/2107.07930>) with places that follow from identities, and weights by acceptance. Compared with
//! rendezvous hashing (Thaler and Ravishankar 1998), which looks at every member, it looks at a handful of cells however
//! many members there are, and has the same two properties:
//!
//! - Shares follow the weights exactly: a member is met in proportion to its cells, and the last of its cells takes only
//!   the part of the sessions that is left of its weight.
//! - A member that leaves, or may not be handed out for now, moves its own sessions only; one that joins takes its share
//!   from all, and moves nobody else.
//!
//! Invariants: a cell holds one member at the most; who is in the table stays in its cells as long as it stays in the plan,
//! because the cells are handed on from plan to plan. Table and unit of weight change only when the members or the mean
//! weight have become several times more or less, and that moves half of the sessions or more.

use super::lots::Lots;
use super::roster::{Drawn, Roster};
use super::sight::{Sight, Stamp};
use crate::member::{MemberId, mix};
use crate::pool::snapshot::bits;
use crate::select::alias::threshold;
use crate::select::random::Random;

/// Cells that a session tries before those who are left are compared one by one. At most one in 16 tries is in vain when
/// everybody is eligible; with nine in ten out, one session in a thousand gets there.
const TRIES: usize = 1_024;

/// Cells in which somebody is looked for: three in four may be taken, and 0.75⁶⁴ is one in a hundred million.
const LOOKS: usize = 64;

/// Cells in a word.
const WORD: usize = u64::BITS as usize;

/// A member as the table takes it in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    pub(super) id: MemberId,
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// Above zero.
    pub(super) weight: f32,
}

/// The table. What is known of a taken cell has a place: how many taken cells are before it.
#[derive(Debug)]
pub(super) struct Cells {
    /// A cell's number is a hash without so many of its lower bits.
    shift: u32,
    /// The weight of a full cell, a power of two.
    unit: f64,
    words: Vec<Word>,
    /// By place: who has the cell, and whether it takes a session.
    lots: Lots,
    /// By place: what a pick needs only when somebody came or went near its slot.
    tenants: Vec<Tenant>,
    stamp: Stamp,
}

/// 64 cells.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    /// A bit for each cell: it is taken.
    taken: u64,
    /// Taken cells in the words before.
    before: u32,
}

impl Word {
    #[inline]
    const fn is_taken(self, cell: usize) -> bool {
        self.taken >> (cell % WORD) & 1 == 1
    }
}

#[derive(Debug, Clone, Copy)]
struct Tenant {
    generation: u32,
    /// Which of the member's cells it is, from 0.
    part: u32,
}

/// A table in the making.
struct Plot<'r> {
    shift: u32,
    unit: f64,
    /// For each cell, who has it, and which of the member's cells it is.
    cells: Vec<Option<(&'r Resident, u32)>>,
}

impl<'r> Plot<'r> {
    /// A table without anybody. `count` is a power of two from 2 on.
    fn new(count: usize, unit: f64) -> Self {
        Self { shift: u64::BITS - count.ilog2(), unit, cells: vec![None; count] }
    }

    /// Takes over the cells of those who were in the table before, and counts them.
    fn hand_on(&mut self, before: &Cells, residents: &'r [Resident], settled: &mut [u32]) {
        for ((cell, place), tenant) in before.taken_cells().zip(0..).zip(&before.tenants) {
            let Some(slot) = before.lots.slot(place) else { continue };
            let Ok(index) = residents.binary_search_by_key(&slot, |resident| resident.slot) else { continue };
            let Some((resident, settled)) = residents.get(index).zip(settled.get_mut(index)) else { continue };
            if resident.generation == tenant.generation && tenant.part < parts(resident.weight, self.unit) {
                self.settle(cell, resident, tenant.part);
                *settled += 1;
            }
        }
    }

    fn settle(&mut self, cell: usize, resident: &'r Resident, part: u32) {
        if let Some(place) = self.cells.get_mut(cell) {
            *place = Some((resident, part));
        }
    }

    fn free_cell(&self, id: MemberId, part: u32) -> Option<usize> {
        // A quarter is free: nobody tries so often, and nobody hangs if that is wrong.
        let is_free = |cell: &usize| self.cells.get(*cell).is_some_and(Option::is_none);
        homes(id, part, self.shift).take(100_000).find(is_free)
    }

    fn into_cells(self, stamp: Stamp) -> Cells {
        let mut words = Vec::with_capacity(self.cells.len().div_ceil(WORD));
        let (mut lots, mut tenants) = (Lots::default(), Vec::new());
        for cells in self.cells.chunks(WORD) {
            let mut word = Word { taken: 0, before: u32::try_from(tenants.len()).unwrap_or(u32::MAX) };
            for (bit, (resident, part)) in cells.iter().enumerate().filter_map(|(bit, cell)| Some((bit, (*cell)?))) {
                word.taken |= 1 << bit;
                let left = f64::from(resident.weight) / self.unit - f64::from(part);
                lots.push(resident.slot, if left >= 1.0 { u32::MAX } else { threshold(left) });
                tenants.push(Tenant { generation: resident.generation, part });
            }
            words.push(word);
        }
        Cells { shift: self.shift, unit: self.unit, words, lots, tenants, stamp }
    }
}

impl Cells {
    /// A table of members, in the order of their slots. `previous` is the table before: who is in both stays where it is.
    pub(super) fn new(residents: &[Resident], stamp: Stamp, previous: Option<&Self>) -> Self {
        let unit = unit(residents, previous);
        let total = residents.iter().map(|resident| parts(resident.weight, unit) as usize).sum::<usize>();
        let kept = previous.filter(|before| before.has_room_for(total) && before.unit.to_bits() == unit.to_bits());
        // Half full at the most: a session tries four cells at the most before it meets one that is taken.
        let count = kept.map_or_else(|| (2 * total).next_power_of_two().max(2), Self::count);
        let mut plot = Plot::new(count, unit);
        let mut settled = vec![0; residents.len()];
        if let Some(before) = kept {
            plot.hand_on(before, residents, &mut settled);
        }
        let mut homeless: Vec<(MemberId, u32, &Resident)> = Vec::new();
        for (resident, settled) in residents.iter().zip(settled) {
            let parts = settled..parts(resident.weight, unit);
            homeless.extend(parts.map(|part| (resident.id, part, resident)));
        }
        // Two who want the same cell get it by identity, so that a table from nothing is the same on every machine.
        homeless.sort_unstable_by_key(|(id, part, _)| (*part, *id));
        for (id, part, resident) in homeless {
            if let Some(cell) = plot.free_cell(id, part) {
                plot.settle(cell, resident, part);
            }
        }
        plot.into_cells(stamp)
    }

    const fn count(&self) -> usize {
        1 << (u64::BITS - self.shift)
    }

    /// Whether so many cells are neither too many for this table nor much too few.
    fn has_room_for(&self, total: usize) -> bool {
        total * 4 <= self.count() * 3 && total * 16 >= self.count()
    }

    fn taken_cells(&self) -> impl Iterator<Item = usize> {
        let words = self.words.iter().enumerate();
        words.flat_map(|(word, Word { taken, .. })| bits(*taken).map(move |bit| word * WORD + bit as usize))
    }

    /// The place of a cell; none when it is free.
    #[inline]
    fn place(&self, cell: usize) -> Option<usize> {
        let word = self.words.get(cell / WORD)?;
        let below = word.taken & ((1 << (cell % WORD)) - 1);
        word.is_taken(cell).then(|| word.before as usize + below.count_ones() as usize)
    }

    /// The slot that a session goes to, of those who may be handed out.
    pub(super) fn pick(&self, session: u64, roster: &Roster, sight: &Sight<'_, '_>) -> Option<u32> {
        let mut random = Random::new(mix(session));
        let mut tries = std::iter::repeat_with(|| random.bits()).take(TRIES);
        tries.find_map(|hash| self.settled(hash, sight)).or_else(|| rendezvous(session, roster, sight))
    }

    /// The slot of the cell that a session tries, if it is taken, takes the session, and may be handed out.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // The lower half is meant.
    fn settled(&self, hash: u64, sight: &Sight<'_, '_>) -> Option<u32> {
        let place = self.place(cell(hash, self.shift))?;
        let slot = self.lots.take(place, hash as u32)?;
        let generation = || self.tenants.get(place).map(|tenant| tenant.generation);
        (sight.admits(slot) && self.stamp.holds(slot, generation, sight.snapshot)).then_some(slot)
    }

    /// The slot of a member.
    pub(super) fn find(&self, id: MemberId, sight: &Sight<'_, '_>) -> Option<u32> {
        let mut homes = homes(id, 0, self.shift).take(LOOKS).filter_map(|cell| self.place(cell));
        homes.find_map(|place| self.lots.slot(place).filter(|slot| sight.snapshot.id(*slot) == Some(id)))
    }
}

/// Where one of a member's cells may be, in order of preference.
fn homes(id: MemberId, part: u32, shift: u32) -> impl Iterator<Item = usize> {
    let mut random = Random::new(mix(id.0 ^ mix(u64::from(part) + 1)));
    std::iter::repeat_with(move || cell(random.bits(), shift))
}

#[allow(clippy::cast_possible_truncation)] // There are fewer cells than addresses.
#[inline]
const fn cell(hash: u64, shift: u32) -> usize {
    (hash >> shift) as usize
}

/// Weighted rendezvous hashing (weights by Schindelhauer and Schomaker 2005): each member gets −weight ÷ ln(hash), and the
/// largest wins. For when hardly anybody is left.
#[cold]
#[allow(clippy::cast_precision_loss)]
fn rendezvous(session: u64, roster: &Roster, sight: &Sight<'_, '_>) -> Option<u32> {
    let mut best: Option<(f64, u32)> = None;
    roster.visit(sight, |Drawn { slot, weight }| {
        let id = sight.snapshot.id(slot).unwrap_or(MemberId(0));
        let hash = mix(id.0 ^ mix(session)) >> 11;
        // In the open interval from 0 to 1, so that the logarithm is finite and below zero.
        let unit = (hash as f64 + 0.5) / (1_u64 << 53) as f64;
        let score = -f64::from(weight) / unit.ln();
        if best.is_none_or(|(most, _)| score > most) {
            best = Some((score, slot));
        }
    });
    best.map(|(_, slot)| slot)
}

/// The weight of a full cell: the mean, up to the next power of two, so that there are at most twice as many cells as
/// members. The one before, as long as it is not far from that.
#[allow(clippy::cast_precision_loss)] // There are at most 2^32 members.
fn unit(residents: &[Resident], previous: Option<&Cells>) -> f64 {
    let sum: f64 = residents.iter().map(|resident| f64::from(resident.weight)).sum();
    let mean = sum / residents.len().max(1) as f64;
    if mean <= 0.0 {
        return 1.0;
    }
    let before = previous.map(|before| before.unit).filter(|unit| (0.5..=4.0).contains(&(unit / mean)));
    before.unwrap_or_else(|| mean.log2().ceil().exp2())
}

/// How many cells a weight takes.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // The cast clamps.
fn parts(weight: f32, unit: f64) -> u32 {
    ((f64::from(weight) / unit).ceil() as u32).max(1)
}

#[cfg(test)]
mod tests;
