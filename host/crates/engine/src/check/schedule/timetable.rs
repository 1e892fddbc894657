//! When which member is checked again: what a [`Schedule`](super::Schedule) is to strangers, by slot.
//!
//! There may be a million members, and they have places already. So a member takes eight bytes for its course and four that
//! say whose course it is, and there is neither a table to find it in nor a queue: who is due is looked for chunk by chunk,
//! and each chunk knows until when nobody in it is.
//!
//! Invariants: nobody in a chunk is due before the chunk is; nobody is under way twice.

use std::collections::BinaryHeap;

use proxywhirl_core::{MemberId, Timestamp};

use super::{Course, Next, ScheduleConfig, Streak};

/// Slots in a chunk, which takes 4 KiB then: a million members have 3,000 of them to look at, and one is looked through in
/// 100 nanoseconds.
const CHUNK: usize = 340;

/// When a chunk is due in which nobody is.
const NEVER: Timestamp = Timestamp::from_micros(u64::MAX);

/// Which members are due when.
#[derive(Debug)]
pub struct Timetable {
    config: ScheduleConfig,
    /// Slots in their order.
    #[expect(clippy::vec_box, reason = "in boxes a pool that grows moves no chunk, and leaves nothing behind")]
    chunks: Vec<Box<Chunk>>,
}

/// The members at some slots.
#[derive(Debug, Clone)]
struct Chunk {
    /// Nobody is due before that.
    due: Timestamp,
    courses: [Course; CHUNK],
    /// Whose they are: half of an identity, which is enough to tell who comes from who was there before.
    owners: [u32; CHUNK],
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half")]
const fn half(id: MemberId) -> u32 {
    id.0 as u32
}

/// A slot as chunk and place in it. Slots are 32 bits wide, and so is `usize` at the least.
const fn divide(slot: u32) -> (usize, usize) {
    (slot as usize / CHUNK, slot as usize % CHUNK)
}

impl Chunk {
    const EMPTY: Self = Self { due: NEVER, courses: [Course::NOBODY; CHUNK], owners: [0; CHUNK] };

    /// Finds out when it is due.
    fn look_through(&mut self) {
        self.due = self.courses.iter().filter_map(|course| course.due()).min().unwrap_or(NEVER);
    }
}

impl Timetable {
    /// Nobody is known.
    #[must_use]
    pub const fn new(config: ScheduleConfig) -> Self {
        Self { config, chunks: Vec::new() }
    }

    /// Whether the member at a slot is known.
    #[must_use]
    pub fn knows(&self, slot: u32, id: MemberId) -> bool {
        self.course(slot, id).is_some()
    }

    /// Gets to know the member at a slot, who has just passed a check, or whom the user vouches for, and forgets who was there
    /// before. Nothing changes for whom it knows.
    pub fn welcome(&mut self, slot: u32, id: MemberId, now: Timestamp, chance: f64) {
        if self.knows(slot, id) {
            return;
        }
        let (index, place) = divide(slot);
        while self.chunks.len() <= index {
            self.chunks.push(Box::new(Chunk::EMPTY));
        }
        if let Some(owner) = self.chunks.get_mut(index).and_then(|chunk| chunk.owners.get_mut(place)) {
            *owner = half(id);
        }
        self.put(slot, Streak::Good(1), now, chance);
    }

    /// Takes a verdict about the member at a slot. None, and nothing happens, when that member is not known.
    pub fn judged(&mut self, slot: u32, id: MemberId, is_alive: bool, now: Timestamp, chance: f64) -> Option<Next> {
        let streak = Streak::after(Some(self.course(slot, id)?.streak()), is_alive);
        Some(Next { due: self.put(slot, streak, now, chance), failures: streak.failures() })
    }

    /// Puts a member off who was taken, because others see to it: as long as after a verdict like its last one.
    pub fn put_off(&mut self, slot: u32, id: MemberId, now: Timestamp, chance: f64) {
        if let Some(course) = self.course(slot, id) {
            self.put(slot, course.streak(), now, chance);
        }
    }

    /// Forgets who is at a slot.
    pub fn forget(&mut self, slot: u32) {
        let (index, place) = divide(slot);
        if let Some(course) = self.chunks.get_mut(index).and_then(|chunk| chunk.courses.get_mut(place)) {
            *course = Course::NOBODY;
        }
    }

    /// Takes the slots of those who are due, the longest due first, so many at the most. They are under way until their
    /// verdict comes.
    pub fn take_due(&mut self, now: Timestamp, most: usize) -> Vec<u32> {
        // The one on top is the last one that is still among them.
        let mut first: BinaryHeap<(Timestamp, u32)> = BinaryHeap::new();
        for (begin, chunk) in (0..).step_by(CHUNK).zip(&mut self.chunks) {
            if chunk.due > now {
                continue;
            }
            // It may be somebody's who was forgotten or is due later by now.
            chunk.look_through();
            for (slot, course) in (begin..).zip(&chunk.courses) {
                let Some(time) = course.due().filter(|time| *time <= now) else { continue };
                if first.len() < most || first.peek().is_some_and(|last| (time, slot) < *last) {
                    first.push((time, slot));
                    if first.len() > most {
                        first.pop();
                    }
                }
            }
        }
        let taken: Vec<u32> = first.into_sorted_vec().into_iter().map(|(_, slot)| slot).collect();
        for slot in &taken {
            let (index, place) = divide(*slot);
            let Some(chunk) = self.chunks.get_mut(index) else { continue };
            if let Some(course) = chunk.courses.get_mut(place) {
                *course = course.under_way();
            }
            chunk.look_through();
        }
        taken
    }

    /// A time before which nobody is due; none when nobody is at all.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.chunks.iter().map(|chunk| chunk.due).min().filter(|due| *due != NEVER)
    }

    fn course(&self, slot: u32, id: MemberId) -> Option<Course> {
        let (index, place) = divide(slot);
        let chunk = self.chunks.get(index)?;
        let (course, owner) = chunk.courses.get(place).zip(chunk.owners.get(place))?;
        (*course != Course::NOBODY && *owner == half(id)).then_some(*course)
    }

    fn put(&mut self, slot: u32, streak: Streak, now: Timestamp, chance: f64) -> Timestamp {
        let (due, (index, place)) = (now + self.config.pause(streak, chance), divide(slot));
        if let Some(chunk) = self.chunks.get_mut(index) {
            chunk.due = due.min(chunk.due);
            if let Some(course) = chunk.courses.get_mut(place) {
                *course = Course::new(due, streak);
            }
        }
        due
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::tests::{CONFIG, at};
    use super::*;

    const A: MemberId = MemberId(7);
    const B: MemberId = MemberId(8);

    #[test]
    fn a_million_members_take_twelve_bytes_each() {
        let mut timetable = Timetable::new(CONFIG);
        timetable.welcome(999_999, A, at(0), 0.5);
        // The allocator has a class of 4,096 bytes.
        assert_eq!((size_of::<Chunk>(), timetable.chunks.len()), (4_088, 2_942));
        assert_eq!(timetable.take_due(at(100), 10), [999_999]);
    }

    #[test]
    fn who_comes_to_a_slot_begins_anew_and_who_was_there_is_heard_of_no_more() {
        let mut timetable = Timetable::new(CONFIG);
        timetable.welcome(3, A, at(0), 0.5);
        assert_eq!(timetable.judged(3, A, false, at(0), 0.5), Some(Next { due: at(10), failures: 1 }));
        timetable.welcome(3, A, at(5), 0.5);
        assert_eq!(timetable.next_due(), Some(at(10)), "it is known already");
        timetable.welcome(3, B, at(5), 0.5);
        assert!(timetable.knows(3, B) && !timetable.knows(3, A));
        assert_eq!(timetable.judged(3, A, false, at(5), 0.5), None);
        assert_eq!(timetable.take_due(at(104), 10), Vec::<u32>::new());
        timetable.forget(3);
        assert!(!timetable.knows(3, B) && !timetable.knows(9_999, B));
        assert!(timetable.take_due(at(1_000), 10).is_empty());
        assert_eq!(timetable.next_due(), None);
    }

    #[test]
    fn who_is_put_off_is_due_again_as_after_its_last_verdict() {
        let mut timetable = Timetable::new(CONFIG);
        timetable.welcome(0, A, at(0), 0.5);
        timetable.judged(0, A, true, at(0), 0.5);
        assert_eq!(timetable.take_due(at(200), 1), [0]);
        timetable.put_off(0, A, at(200), 0.5);
        timetable.put_off(0, B, at(300), 0.5);
        assert_eq!(timetable.next_due(), Some(at(400)));
    }

    proptest! {
        /// Whatever happens in whatever order: those are taken who are due, the longest due first, and nobody twice.
        #[test]
        fn it_is_as_a_plain_list_would_be(
            steps in prop::collection::vec((0..6_u8, 0..12_u32, 0..60_u64, 0.0..1.0_f64), 0..300),
        ) {
            let mut timetable = Timetable::new(CONFIG);
            let mut due: BTreeMap<u32, Option<Timestamp>> = BTreeMap::new();
            let mut now = 0;
            for (step, place, pause, chance) in steps {
                now += pause;
                // Three in each of four chunks.
                let (slot, id) = (place % 3 + place / 3 * u32::try_from(CHUNK).unwrap(), MemberId(u64::from(place)));
                match step {
                    0 | 1 => {
                        timetable.welcome(slot, id, at(now), chance);
                        due.entry(slot).or_insert(Some(at(now) + CONFIG.pause(Streak::Good(1), chance)));
                    }
                    2 => {
                        timetable.forget(slot);
                        due.remove(&slot);
                    }
                    3 => {
                        let next = timetable.judged(slot, id, chance < 0.5, at(now), chance);
                        prop_assert_eq!(next.is_some(), due.contains_key(&slot));
                        due.entry(slot).and_modify(|due| *due = next.map(|next| next.due));
                    }
                    _ => {
                        let most = usize::from(step) * 2 - 6;
                        let mut expected: Vec<_> =
                            due.iter().filter_map(|(slot, due)| Some(((*due)?, *slot))).filter(|(due, _)| *due <= at(now)).collect();
                        expected.sort_unstable();
                        expected.truncate(most);
                        let expected: Vec<u32> = expected.into_iter().map(|(_, slot)| slot).collect();
                        prop_assert_eq!(timetable.take_due(at(now), most), expected.clone());
                        expected.iter().for_each(|slot| _ = due.insert(*slot, None));
                    }
                }
                let earliest = due.values().flatten().min().copied();
                prop_assert!(earliest.is_none_or(|earliest| timetable.next_due().is_some_and(|next| next <= earliest)));
            }
            timetable.take_due(at(now + 1_000), usize::MAX);
            prop_assert_eq!(timetable.next_due(), None, "all are under way");
        }
    }
}
