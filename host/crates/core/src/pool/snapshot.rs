//! An immutable picture of the pool.

use std::sync::Arc;

use super::board::{BLOCK, Block, BoardView, Load, WORD};
use super::table::{CHUNK, Table};
use crate::endpoint::EndpointKey;
use crate::member::{Member, MemberId};
use crate::time::Timestamp;

/// All members at one time. Cheap to make, cheap to share; the members' live state stays live.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    table: Table,
    board: BoardView,
    len: usize,
    epoch: u64,
}

/// A slot as block and place in it. Slots are 32 bits wide, and so is `usize` at the least.
#[inline]
const fn divide(slot: u32) -> (usize, usize) {
    (slot as usize / BLOCK, slot as usize % BLOCK)
}

impl Snapshot {
    pub(super) const fn new(table: Table, board: BoardView, len: usize, epoch: u64) -> Self {
        Self { table, board, len, epoch }
    }

    /// Its number, growing by one.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many members there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first slot that was never used.
    #[must_use]
    #[inline]
    pub const fn end(&self) -> u32 {
        self.table.end()
    }

    /// The member at a slot.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&Arc<Member>> {
        self.table.get(slot)
    }

    /// Every member, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.table.iter()
    }

    /// Whether the member is in it. Goes through the identities, and looks at a member only where that is its own.
    #[must_use]
    pub fn holds(&self, key: &EndpointKey) -> bool {
        let id = MemberId::of(key);
        let is_it = |slot| self.get(slot).is_some_and(|member| member.endpoint.has_key(key));
        self.ids().any(|(slot, held)| held == Some(id) && is_it(slot))
    }

    /// Slot by slot, the identity of who is there, if somebody is. Looks at no member, so that to go through a million of them
    /// takes some milliseconds.
    pub fn ids(&self) -> impl Iterator<Item = (u32, Option<MemberId>)> {
        (0..self.end()).map(|slot| (slot, self.get(slot).and_then(|_| self.id(slot))))
    }

    /// Chunk by chunk, how often a slot had changed hands when this was made.
    #[inline]
    pub(crate) fn turnover(&self) -> &[u32] {
        &self.board.turnover
    }

    /// Whether somebody is at a slot whose breaker lets a request through. Reads the board, not the member.
    #[inline]
    pub(crate) fn is_open(&self, slot: u32, now: Timestamp) -> bool {
        let (index, place) = divide(slot);
        let Some(block) = self.board.blocks.get(index) else { return false };
        let is_clear = block.clear(place / WORD) >> (place % WORD) & 1 == 1;
        let is_open = is_clear || (block.due(place) <= now.as_micros() && block.gate(place) <= now.as_micros());
        if self.is_of_now(slot, block) { is_open } else { self.asks(slot, now) }
    }

    /// Those of a word's slots at which somebody is whose breaker lets a request through.
    pub(crate) fn open_in(&self, word: usize, among: u64, now: Timestamp) -> u64 {
        let Ok(first) = u32::try_from(word * WORD) else { return 0 };
        let (index, place) = divide(first);
        let Some(block) = self.board.blocks.get(index).filter(|_| among != 0) else { return 0 };
        let clear = block.clear(place / WORD);
        let mut open = clear & among;
        if block.due(place) <= now.as_micros() {
            for bit in bits(among & !clear) {
                open |= u64::from(block.gate(place + bit as usize) <= now.as_micros()) << bit;
            }
        }
        if self.is_of_now(first, block) {
            return open;
        }
        bits(among).filter(|bit| self.asks(first + bit, now)).fold(0, |open, bit| open | 1 << bit)
    }

    /// When somebody who may not be handed out now can be, if nothing happens until then: a probe may go, or there is a
    /// token. None when that is at no time that is known.
    #[must_use]
    pub fn next_open(&self, now: Timestamp) -> Option<Timestamp> {
        let dues = self.board.blocks.iter().filter_map(|block| block.next_due(now.as_micros()));
        dues.min().map(Timestamp::from_micros)
    }

    /// The identity of who is at a slot.
    #[inline]
    pub(crate) fn id(&self, slot: u32) -> Option<MemberId> {
        let (index, place) = divide(slot);
        let block = self.board.blocks.get(index)?;
        let id = block.id(place);
        // What was never taken has an identity, too: it is no member's.
        if self.is_of_now(slot, block) && id != MemberId(0) { Some(id) } else { self.get(slot).map(|member| member.id) }
    }

    /// How busy who is at a slot is.
    #[inline]
    pub(crate) fn load(&self, slot: u32) -> Load {
        let (index, place) = divide(slot);
        if let Some(block) = self.board.blocks.get(index) {
            let load = block.load(place);
            if self.is_of_now(slot, block) {
                return load;
            }
        }
        let live = self.get(slot).map(|member| &member.live);
        let latency = live.and_then(|live| live.latency()).map_or(0, Load::quantum);
        Load { in_flight: live.map_or(0, |live| live.in_flight()), latency }
    }

    /// Whether the board still speaks of whom this speaks of. To be asked after it was read.
    #[inline]
    fn is_of_now(&self, slot: u32, block: &Block) -> bool {
        self.board.turnover.get(slot as usize / CHUNK) == Some(&block.turnover(slot as usize % BLOCK))
    }

    #[cold]
    fn asks(&self, slot: u32, now: Timestamp) -> bool {
        self.get(slot).is_some_and(|member| member.live.is_admissible(now))
    }
}

/// The numbers of the bits that are set, from the lowest.
pub(crate) fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(bit)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{candidate, join, pool_of};
    use super::*;

    #[test]
    fn a_snapshot_does_not_see_what_comes_after_it() {
        let mut pool = pool_of(3);
        let (before, _) = pool.publish();
        join(&mut pool, 9);
        pool.remove(&candidate("http://10.0.0.0:80").endpoint.key()).unwrap();
        let (after, _) = pool.publish();
        assert_eq!((before.len(), after.len()), (3, 3));
        assert!(before.iter().any(|m| m.endpoint.to_url() == "http://10.0.0.0:80"));
        assert!(after.iter().all(|m| m.endpoint.to_url() != "http://10.0.0.0:80"));
        assert!(before.epoch() < after.epoch());
    }

    #[test]
    fn the_board_is_asked_about_those_whom_the_snapshot_knows() {
        let now = Timestamp::from_micros(1);
        let mut pool = pool_of(70);
        let (before, _) = pool.publish();
        let gone = pool.remove(&candidate("http://10.0.0.3:80").endpoint.key()).unwrap();
        let (between, _) = pool.publish();
        assert_eq!(between.ids().nth(3), Some((3, None)), "nobody has taken the place yet");
        join(&mut pool, 100);
        join(&mut pool, 101);
        let (after, _) = pool.publish();
        // Slot 3 is taken again, slot 70 is new.
        assert_eq!(after.get(3).unwrap().generation, 1);
        for (snapshot, third, last) in [(&before, true, false), (&between, false, false), (&after, true, true)] {
            assert_eq!((snapshot.is_open(3, now), snapshot.is_open(70, now)), (third, last));
            assert_eq!(snapshot.open_in(0, 0b1100, now), 0b100 | u64::from(third) << 3);
            assert_eq!(snapshot.open_in(1, u64::MAX, now).count_ones(), 6 + u32::from(last));
            assert_eq!(snapshot.id(3), snapshot.get(3).map(|member| member.id));
            assert_eq!(snapshot.id(71), None);
            let ids: Vec<_> = snapshot.iter().map(|member| (member.slot, Some(member.id))).collect();
            assert_eq!(snapshot.ids().filter(|(_, id)| id.is_some()).collect::<Vec<_>>(), ids);
        }
        assert_eq!(before.id(3), Some(gone.id));
        assert!(!after.is_open(u32::MAX, now));
    }
}
