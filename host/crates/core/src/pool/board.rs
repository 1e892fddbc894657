//! What picks read of members, side by side by slot.
//!
//! A member is three pointers away, in memory that is cold in a large pool; what a pick has to know of many members before
//! it takes one is copied here: whether breaker and limit let it through (a bit), from when on they do if not (the gate),
//! the identity, and the load. So a pick among 100,000 touches 12 kB and not 100 MB.
//!
//! The board is shared by all snapshots and always of the present, but a slot may have been taken by somebody else since a
//! snapshot was made. Each chunk of slots counts its *turnover*: who finds it as it was when the snapshot was made knows
//! that the board speaks of the same members, and asks the members themselves otherwise.
//!
//! Invariants: turnover grows before anything else of a slot changes hands; a bit is set only where a member's gate is
//! closed; no gate of a chunk that is neither closed nor vacant is below the chunk's `due`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::table::CHUNK;
use crate::member::MemberId;
use crate::time::micros;

/// Slots in a block: a pool of 100,000 has 25 blocks, and a small one wastes 80 kB.
pub(crate) const BLOCK: usize = 4096;

/// Slots in a word.
pub(crate) const WORD: usize = 64;

/// The gate of somebody whose breaker is closed and whose limit leaves something: [`crate::live`] says what a gate is.
pub(crate) const GATE_CLOSED: u64 = 0;

/// The gate of nobody, of a breaker whose probe is under way, and of who has as many uses under way as it may have.
pub(crate) const GATE_SHUT: u64 = u64::MAX;

/// What picks read of the members in 4,096 slots. Written by the pool's writer when a slot changes hands, and by the
/// member that has the slot. 82 kB.
#[derive(Debug)]
pub(crate) struct Block {
    /// A bit for each slot: the gate is closed.
    clear: [AtomicU64; BLOCK / WORD],
    /// For each chunk: how often a slot changed hands.
    turnover: [AtomicU32; BLOCK / CHUNK],
    /// For each chunk: the least of the gates that are not closed.
    due: [AtomicU64; BLOCK / CHUNK],
    gates: [AtomicU64; BLOCK],
    ids: [AtomicU64; BLOCK],
    /// [`Load`]s, with the low bits of the slot's generation, so that who left cannot write over who came.
    loads: [AtomicU32; BLOCK],
    /// Held while `due` is computed, so that of two changes the later one has the last word.
    dues: Mutex<()>,
}

/// How busy a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Leases that are held.
    pub(crate) in_flight: u32,
    /// EWMA of the latency in units of 16 µs; 0 when it was never measured.
    pub(crate) latency: u32,
}

impl Load {
    /// Bits for leases: 32,767 are told apart, and more are as good as that.
    const FLIGHT_BITS: u32 = 15;
    /// Bits for the latency, which is a number with five binary digits and an exponent: up to 268 seconds, to within 3 %.
    const LATENCY_BITS: u32 = 10;
    const MANTISSA_BITS: u32 = 5;
    const TAG_SHIFT: u32 = Self::FLIGHT_BITS + Self::LATENCY_BITS;

    /// The most leases that are told apart.
    const FLIGHT_MAX: u32 = (1 << Self::FLIGHT_BITS) - 1;
    /// The longest latency, in units of 16 µs.
    const LATENCY_MAX: u32 = (1 << 24) - 1;

    /// A latency as it is kept here.
    #[allow(clippy::cast_possible_truncation)] // At most 24 bits are left.
    pub(crate) fn quantum(latency: Duration) -> u32 {
        (micros(latency) >> 4).clamp(1, u64::from(Self::LATENCY_MAX)) as u32
    }

    /// Counts one lease more.
    pub(crate) const fn join(&mut self) {
        if self.in_flight < Self::FLIGHT_MAX {
            self.in_flight += 1;
        }
    }

    /// Counts one lease less. `left` is how many there are, for when it was too many to count.
    pub(crate) const fn leave(&mut self, left: u32) {
        self.in_flight = match self.in_flight {
            Self::FLIGHT_MAX if left < Self::FLIGHT_MAX => left,
            Self::FLIGHT_MAX => Self::FLIGHT_MAX,
            count => count.saturating_sub(1),
        };
    }

    const fn pack(self, generation: u32) -> u32 {
        (generation << Self::TAG_SHIFT) | (self.in_flight << Self::LATENCY_BITS) | Self::shorten(self.latency)
    }

    #[inline]
    const fn unpack(cell: u32) -> Self {
        Self {
            in_flight: (cell >> Self::LATENCY_BITS) & Self::FLIGHT_MAX,
            latency: Self::lengthen(cell & ((1 << Self::LATENCY_BITS) - 1)),
        }
    }

    /// Exponent and mantissa. Small numbers are exact.
    const fn shorten(latency: u32) -> u32 {
        let exponent = (u32::BITS - latency.leading_zeros()).saturating_sub(Self::MANTISSA_BITS + 1);
        (exponent << Self::MANTISSA_BITS) + (latency >> exponent)
    }

    #[inline]
    const fn lengthen(short: u32) -> u32 {
        let exponent = (short >> Self::MANTISSA_BITS).saturating_sub(1);
        (short - (exponent << Self::MANTISSA_BITS)) << exponent
    }
}

/// The parts of arrays that are here for every place, because places are below [`BLOCK`].
#[inline]
fn at<T, const N: usize>(array: &[T; N], index: usize) -> &T {
    #[allow(clippy::indexing_slicing)] // N is a power of two: the compiler sees that this is in bounds, and so may you.
    &array[index & (N - 1)]
}

impl Block {
    fn new() -> Self {
        Self {
            clear: [const { AtomicU64::new(0) }; BLOCK / WORD],
            turnover: [const { AtomicU32::new(0) }; BLOCK / CHUNK],
            due: [const { AtomicU64::new(GATE_SHUT) }; BLOCK / CHUNK],
            gates: [const { AtomicU64::new(GATE_SHUT) }; BLOCK],
            ids: [const { AtomicU64::new(0) }; BLOCK],
            loads: [const { AtomicU32::new(0) }; BLOCK],
            dues: Mutex::new(()),
        }
    }

    /// The slots of a word whose gates are closed. Acquire, as with all that a reader takes from here before it compares
    /// the turnover: who sees what a newcomer wrote also sees that the slot changed hands.
    #[inline]
    pub(crate) fn clear(&self, word: usize) -> u64 {
        at(&self.clear, word).load(Ordering::Acquire)
    }

    /// From when on a chunk may have somebody whose gate is neither closed nor shut.
    #[inline]
    pub(crate) fn due(&self, place: usize) -> u64 {
        at(&self.due, place / CHUNK).load(Ordering::Acquire)
    }

    /// The first gate that opens after a time; none when none does by itself.
    pub(crate) fn next_due(&self, now: u64) -> Option<u64> {
        let chunk = |first: usize| {
            let due = self.due(first);
            // One that has passed may be of somebody whom nobody wanted, and hides what comes after it.
            let gates = || (first..first + CHUNK).map(|place| self.gate(place)).filter(|gate| *gate > now).min();
            if due > now { Some(due) } else { gates() }
        };
        let dues = (0..BLOCK).step_by(CHUNK).filter_map(chunk);
        dues.min().filter(|due| *due != GATE_SHUT)
    }

    pub(crate) fn gate(&self, place: usize) -> u64 {
        at(&self.gates, place).load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn id(&self, place: usize) -> MemberId {
        MemberId(at(&self.ids, place).load(Ordering::Acquire))
    }

    pub(crate) fn load(&self, place: usize) -> Load {
        Load::unpack(at(&self.loads, place).load(Ordering::Acquire))
    }

    /// How often a slot of the chunk changed hands.
    #[inline]
    pub(crate) fn turnover(&self, place: usize) -> u32 {
        at(&self.turnover, place / CHUNK).load(Ordering::Relaxed)
    }

    /// Tells picks of a changed gate. Must not be called when the member has left.
    pub(crate) fn set_gate(&self, place: usize, gate: u64) {
        at(&self.gates, place).store(gate, Ordering::Release);
        let (word, bit) = (at(&self.clear, place / WORD), 1 << (place % WORD));
        if gate == GATE_CLOSED {
            word.fetch_or(bit, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Release);
        }
        let _last_word = self.dues.lock().unwrap_or_else(PoisonError::into_inner);
        let first = place / CHUNK * CHUNK;
        let gates = (first..first + CHUNK).map(|place| at(&self.gates, place).load(Ordering::Relaxed));
        let due = gates.filter(|gate| *gate != GATE_CLOSED).min();
        at(&self.due, place / CHUNK).store(due.unwrap_or(GATE_SHUT), Ordering::Release);
    }

    /// Changes the load of a member, if the slot is still that member's.
    pub(crate) fn update(&self, place: usize, generation: u8, change: impl Fn(&mut Load)) {
        let generation = u32::from(generation);
        let tag = Load::pack(Load { in_flight: 0, latency: 0 }, generation) >> Load::TAG_SHIFT;
        // An error means that somebody else has the slot, and there was nothing to change.
        at(&self.loads, place)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cell| {
                (cell >> Load::TAG_SHIFT == tag).then(|| {
                    let mut load = Load::unpack(cell);
                    change(&mut load);
                    load.pack(generation)
                })
            })
            .ok();
    }
}

/// A member's place on the board.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) block: Arc<Block>,
    pub(crate) place: u16,
    /// The low bits of the generation, of which the board keeps seven.
    pub(crate) generation: u8,
}

/// The writer's side of the board.
#[derive(Debug, Default)]
pub(crate) struct Board {
    blocks: Vec<Arc<Block>>,
    turnover: Vec<u32>,
}

/// The board as it was when a snapshot was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct BoardView {
    /// Block by block.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Chunk by chunk.
    pub(crate) turnover: Vec<u32>,
}

impl Board {
    /// Gives a slot to a newcomer whose breaker is closed.
    pub(crate) fn seat(&mut self, slot: u32, generation: u32, id: MemberId, latency: Option<Duration>) -> Seat {
        let (index, place) = (slot as usize / BLOCK, slot as usize % BLOCK);
        while self.blocks.len() <= index {
            self.blocks.push(Arc::new(Block::new()));
            self.turnover.resize(self.blocks.len() * (BLOCK / CHUNK), 0);
        }
        self.turn(slot);
        #[allow(clippy::indexing_slicing)] // Made above.
        let block = Arc::clone(&self.blocks[index]);
        at(&block.ids, place).store(id.0, Ordering::Release);
        let load = Load { in_flight: 0, latency: latency.map_or(0, Load::quantum) };
        at(&block.loads, place).store(load.pack(generation), Ordering::Release);
        block.set_gate(place, GATE_CLOSED);
        #[allow(clippy::cast_possible_truncation)]
        // A place is below 4,096, and of a generation the low bits are enough.
        Seat { block, place: place as u16, generation: generation as u8 }
    }

    /// Counts that a slot changes hands; to be called before it does.
    pub(crate) fn turn(&mut self, slot: u32) {
        let slot = slot as usize;
        let turnover = self.turnover.get_mut(slot / CHUNK).zip(self.blocks.get(slot / BLOCK));
        if let Some((turnover, block)) = turnover {
            *turnover = turnover.wrapping_add(1);
            at(&block.turnover, slot % BLOCK / CHUNK).store(*turnover, Ordering::Relaxed);
        }
    }

    /// The board as it is now.
    pub(crate) fn view(&self) -> BoardView {
        BoardView { blocks: self.blocks.clone(), turnover: self.turnover.clone() }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Seat {
        fn set_gate(&self, gate: u64) {
            self.block.set_gate(self.place.into(), gate);
        }

        fn update(&self, change: impl Fn(&mut Load)) {
            self.block.update(self.place.into(), self.generation, change);
        }
    }

    fn seated(board: &mut Board, slot: u32, generation: u32) -> Seat {
        board.seat(slot, generation, MemberId(u64::from(slot)), None)
    }

    #[test]
    fn a_chunk_is_due_when_the_first_of_its_gates_is() {
        let mut board = Board::default();
        let seats: Vec<_> = (0..300).map(|slot| seated(&mut board, slot, 0)).collect();
        let block = Arc::clone(&board.blocks[0]);
        assert_eq!((block.due(0), block.clear(0)), (GATE_SHUT, u64::MAX));
        seats[3].set_gate(70);
        seats[9].set_gate(50);
        seats[299].set_gate(20);
        assert_eq!((block.due(0), block.due(299)), (50, 20));
        assert_eq!(block.clear(0), !(1 << 3 | 1 << 9));
        assert_eq!([0, 20, 50, 69].map(|now| block.next_due(now)), [Some(20), Some(50), Some(70), Some(70)]);
        seats[9].set_gate(GATE_SHUT);
        assert_eq!((block.due(0), block.next_due(70)), (70, None));
        seats[3].set_gate(GATE_CLOSED);
        assert_eq!(block.due(0), GATE_SHUT);
        assert_eq!(block.clear(0), !(1 << 9));
    }

    #[test]
    fn who_left_cannot_write_over_who_came() {
        let mut board = Board::default();
        let old = seated(&mut board, 7, 0);
        old.update(Load::join);
        let new = seated(&mut board, 7, 1);
        old.update(|load| load.leave(0));
        new.update(|load| load.latency = Load::quantum(Duration::from_millis(1)));
        assert_eq!(board.blocks[0].load(7), Load { in_flight: 0, latency: 62 });
    }

    #[test]
    fn a_latency_is_never_zero_and_never_overflows() {
        assert_eq!(Load::quantum(Duration::ZERO), 1);
        let load = Load { in_flight: 3, latency: Load::quantum(Duration::from_secs(10_000)) };
        let kept = Load::unpack(load.pack(u32::MAX));
        assert_eq!((kept.in_flight, kept.latency), (3, 63 << 18));
    }

    proptest! {
        #[test]
        fn a_latency_is_kept_to_within_three_percent(latency in 0..=Load::LATENCY_MAX) {
            let kept = Load::lengthen(Load::shorten(latency));
            prop_assert!(kept <= latency && latency - kept <= latency / 32);
            prop_assert!(Load::shorten(latency) < 1 << Load::LATENCY_BITS);
        }
    }

    #[test]
    fn leases_beyond_the_count_are_counted_again_when_they_are_fewer() {
        let mut load = Load { in_flight: Load::FLIGHT_MAX - 1, latency: 0 };
        load.join();
        load.join();
        assert_eq!(load.in_flight, Load::FLIGHT_MAX);
        load.leave(Load::FLIGHT_MAX);
        assert_eq!(load.in_flight, Load::FLIGHT_MAX);
        load.leave(Load::FLIGHT_MAX - 1);
        load.leave(Load::FLIGHT_MAX - 2);
        assert_eq!(load.in_flight, Load::FLIGHT_MAX - 2);
    }

    #[test]
    fn a_slot_that_changes_hands_is_counted_by_its_chunk() {
        let mut board = Board::default();
        seated(&mut board, 0, 0);
        let view = board.view();
        seated(&mut board, 256, 0);
        assert_eq!(view.blocks[0].turnover(0), view.turnover[0]);
        assert_ne!(view.blocks[0].turnover(256), view.turnover[1]);
        board.turn(0);
        assert_ne!(view.blocks[0].turnover(0), view.turnover[0]);
    }
}
