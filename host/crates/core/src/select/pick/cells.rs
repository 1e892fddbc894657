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

use std::sync::Arc;

use super::roster::{Drawn, Roster};
use super::sight::{Sight, Stamp};
use crate::member::{Member, MemberId, mix};
use crate::select::alias::threshold;
use crate::select::random::Random;

/// Cells that a session tries before those who are left are compared one by one. At most one in 16 tries is in vain when
/// everybody is eligible; with nine in ten out, one session in a thousand gets there.
const TRIES: usize = 1_024;

/// Cells in which somebody is looked for: three in four may be taken, and 0.75⁶⁴ is one in a hundred million.
const LOOKS: usize = 64;

/// A member as the table takes it in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resident {
    pub(super) id: MemberId,
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// Above zero.
    pub(super) weight: f32,
}

/// The table.
#[derive(Debug)]
pub(super) struct Cells {
    /// A cell's number is a hash without so many of its lower bits.
    shift: u32,
    /// The weight of a full cell, a power of two.
    unit: f64,
    /// A bit for each cell: it is taken.
    taken: Vec<u64>,
    cells: Vec<Cell>,
    /// What a pick needs of a cell only when somebody came or went near its slot.
    tenants: Vec<Tenant>,
    stamp: Stamp,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    slot: u32,
    /// It takes a session whose 32 random bits are not above this.
    threshold: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tenant {
    generation: u32,
    /// Which of the member's cells it is, from 0.
    part: u32,
}

impl Cells {
    /// A table of members, in the order of their slots. `previous` is the table before: who is in both stays where it is.
    pub(super) fn new(residents: &[Resident], stamp: Stamp, previous: Option<&Self>) -> Self {
        let unit = unit(residents, previous);
        let total = residents.iter().map(|resident| parts(resident.weight, unit) as usize).sum::<usize>();
        let kept = previous.filter(|before| before.has_room_for(total) && before.unit.to_bits() == unit.to_bits());
        // Half full at the most: a session tries four cells at the most before it meets one that is taken.
        let count = kept.map_or_else(|| (2 * total).next_power_of_two().max(2), |before| before.cells.len());
        let mut table = Self {
            shift: u64::BITS - count.ilog2(),
            unit,
            taken: vec![0; count.div_ceil(64)],
            cells: vec![Cell::default(); count],
            tenants: vec![Tenant::default(); count],
            stamp,
        };
        let mut settled = vec![0; residents.len()];
        if let Some(before) = kept {
            table.hand_on(before, residents, &mut settled);
        }
        let mut homeless: Vec<(MemberId, u32, &Resident)> = Vec::new();
        for (resident, settled) in residents.iter().zip(settled) {
            let parts = settled..parts(resident.weight, unit);
            homeless.extend(parts.map(|part| (resident.id, part, resident)));
        }
        // Two who want the same cell get it by identity, so that a table from nothing is the same on every machine.
        homeless.sort_unstable_by_key(|(id, part, _)| (*part, *id));
        for (id, part, resident) in homeless {
            if let Some(cell) = table.free_cell(id, part) {
                table.settle(cell, resident, part);
            }
        }
        table
    }

    /// Whether so many cells are neither too many for this table nor much too few.
    fn has_room_for(&self, total: usize) -> bool {
        total * 4 <= self.cells.len() * 3 && total * 16 >= self.cells.len()
    }

    /// Takes over the cells of those who were in the table before, and counts them.
    fn hand_on(&mut self, before: &Self, residents: &[Resident], settled: &mut [u32]) {
        for cell in before.taken_cells() {
            let Some((old, tenant)) = before.cells.get(cell).zip(before.tenants.get(cell)) else { continue };
            let Ok(index) = residents.binary_search_by_key(&old.slot, |resident| resident.slot) else { continue };
            let Some((resident, settled)) = residents.get(index).zip(settled.get_mut(index)) else { continue };
            if resident.generation == tenant.generation && tenant.part < parts(resident.weight, self.unit) {
                self.settle(cell, resident, tenant.part);
                *settled += 1;
            }
        }
    }

    fn taken_cells(&self) -> impl Iterator<Item = usize> {
        (0..self.cells.len()).filter(|cell| self.is_taken(*cell))
    }

    fn is_taken(&self, cell: usize) -> bool {
        self.taken.get(cell / 64).is_some_and(|word| word >> (cell % 64) & 1 == 1)
    }

    fn settle(&mut self, cell: usize, resident: &Resident, part: u32) {
        if let Some(word) = self.taken.get_mut(cell / 64) {
            *word |= 1 << (cell % 64);
        }
        if let Some(place) = self.cells.get_mut(cell) {
            let left = f64::from(resident.weight) / self.unit - f64::from(part);
            *place = Cell { slot: resident.slot, threshold: if left >= 1.0 { u32::MAX } else { threshold(left) } };
        }
        if let Some(tenant) = self.tenants.get_mut(cell) {
            *tenant = Tenant { generation: resident.generation, part };
        }
    }

    /// Where one of a member's cells may be, in order of preference.
    fn homes(&self, id: MemberId, part: u32) -> impl Iterator<Item = usize> {
        let mut random = Random::new(mix(id.0 ^ mix(u64::from(part) + 1)));
        std::iter::repeat_with(move || self.cell(random.bits()))
    }

    fn free_cell(&self, id: MemberId, part: u32) -> Option<usize> {
        // A quarter is free: nobody tries so often, and nobody hangs if that is wrong.
        self.homes(id, part).take(100_000).find(|cell| !self.is_taken(*cell))
    }

    #[allow(clippy::cast_possible_truncation)] // There are fewer cells than addresses.
    const fn cell(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// Whom a session goes to, of those who may be handed out.
    #[allow(clippy::cast_possible_truncation)] // The lower half is meant.
    pub(super) fn pick<'s>(&self, session: u64, roster: &Roster, sight: &Sight<'_, 's>) -> Option<&'s Arc<Member>> {
        let mut random = Random::new(mix(session));
        for _ in 0..TRIES {
            let hash = random.bits();
            let number = self.cell(hash);
            if !self.is_taken(number) {
                continue;
            }
            let cell = self.cells.get(number)?;
            if hash as u32 <= cell.threshold
                && sight.admits(cell.slot)
                && self.holds(number, cell.slot, sight)
                && let Some(member) = sight.snapshot.get(cell.slot)
            {
                return Some(member);
            }
        }
        rendezvous(session, roster, sight)
    }

    /// Whether the slot of a cell is still of the same member.
    fn holds(&self, cell: usize, slot: u32, sight: &Sight<'_, '_>) -> bool {
        self.stamp.holds(slot, || self.tenants.get(cell).map(|tenant| tenant.generation), sight.snapshot)
    }

    /// The slot of a member.
    pub(super) fn find(&self, id: MemberId, sight: &Sight<'_, '_>) -> Option<u32> {
        let mut homes = self.homes(id, 0).take(LOOKS).filter(|cell| self.is_taken(*cell));
        homes.find_map(|number| {
            let slot = self.cells.get(number)?.slot;
            (sight.snapshot.id(slot) == Some(id)).then_some(slot)
        })
    }
}

/// Weighted rendezvous hashing (weights by Schindelhauer and Schomaker 2005): each member gets −weight ÷ ln(hash), and the
/// largest wins. For when hardly anybody is left.
#[cold]
#[allow(clippy::cast_precision_loss)]
fn rendezvous<'s>(session: u64, roster: &Roster, sight: &Sight<'_, 's>) -> Option<&'s Arc<Member>> {
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
    sight.snapshot.get(best?.1)
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
