//! When which proxy is checked again.
//!
//! A verdict is believed for a while, and the longer the more of them in a row were good; a proxy that fails is asked again
//! soon, then less and less often. Times are spread by chance, so that what was found together is not checked together for
//! ever. Who is given up is for others to say.
//!
//! Strangers are known by their keys ([`Schedule`]), members by their slots ([`Timetable`]).
//!
//! A state machine without a clock and without chance of its own: both are arguments. Invariants: whoever is known is due
//! at some time or under way; nobody is under way twice.

mod timetable;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use proxywhirl_core::Timestamp;
pub use timetable::Timetable;

/// The longest row of failures that is told apart.
pub const MOST_FAILURES: u32 = (1 << 11) - 1;

/// How often proxies are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// How long the first good verdict is believed.
    pub fresh: Duration,
    /// How long a verdict is believed at the most: each good one in a row doubles the time.
    pub fresh_max: Duration,
    /// When a proxy is asked again after its first failure.
    pub retry: Duration,
    /// The longest pause between two failures: each in a row doubles it.
    pub retry_max: Duration,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            fresh: Duration::from_mins(5),
            fresh_max: Duration::from_hours(1),
            retry: Duration::from_secs(10),
            retry_max: Duration::from_hours(6),
        }
    }
}

impl ScheduleConfig {
    /// How long until the next check, a fifth more or less by chance (0 to 1).
    fn pause(&self, streak: Streak, chance: f64) -> Duration {
        let (first, most, count) = match streak {
            Streak::Good(count) => (self.fresh, self.fresh_max, count),
            Streak::Bad(count) => (self.retry, self.retry_max, count),
        };
        let doubled = first.saturating_mul(1 << count.saturating_sub(1).min(20));
        doubled.min(most.max(first)).mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
    }
}

/// What follows from a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// When it is due again.
    pub due: Timestamp,
    /// Failures in a row.
    pub failures: u32,
}

/// Who is due when.
#[derive(Debug)]
pub struct Schedule<K> {
    config: ScheduleConfig,
    known: HashMap<K, Course>,
    /// May hold times that are not true any more: the course knows.
    queue: BinaryHeap<Reverse<(Timestamp, K)>>,
}

/// How it went with a proxy. In eight bytes, because a million proxies have one each: the streak in the lower 12 bits, and
/// above them when it is due, in microseconds since 1970, which last until 2112; all of them while it is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Course(u64);

impl Course {
    const STREAK_BITS: u32 = 12;
    /// The bit of a streak that says that it is a bad one.
    const BAD: u64 = MOST_FAILURES as u64 + 1;
    /// The longest streak that is told apart.
    const LONGEST: u32 = MOST_FAILURES;
    const UNDER_WAY: u64 = u64::MAX >> Self::STREAK_BITS;
    /// The course of nobody: never due, and a streak of none, which no course has.
    const NOBODY: Self = Self(Self::UNDER_WAY << Self::STREAK_BITS);

    fn new(due: Timestamp, streak: Streak) -> Self {
        let streak = match streak {
            Streak::Good(count) => u64::from(count.min(Self::LONGEST)),
            Streak::Bad(count) => u64::from(count.min(Self::LONGEST)) | Self::BAD,
        };
        Self(due.as_micros().min(Self::UNDER_WAY - 1) << Self::STREAK_BITS | streak)
    }

    /// When it is due; none while it is under way.
    fn due(self) -> Option<Timestamp> {
        let due = self.0 >> Self::STREAK_BITS;
        (due != Self::UNDER_WAY).then(|| Timestamp::from_micros(due))
    }

    const fn under_way(self) -> Self {
        Self(self.0 | Self::UNDER_WAY << Self::STREAK_BITS)
    }

    fn streak(self) -> Streak {
        let count = u32::try_from(self.0 & (Self::BAD - 1)).unwrap_or(Self::LONGEST);
        if self.0 & Self::BAD == 0 { Streak::Good(count) } else { Streak::Bad(count) }
    }
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Course").field("due", &self.due()).field("streak", &self.streak()).finish()
    }
}

/// Verdicts in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streak {
    Good(u32),
    Bad(u32),
}

impl Streak {
    /// The streak with one verdict more.
    const fn after(before: Option<Self>, is_alive: bool) -> Self {
        match (before, is_alive) {
            (Some(Self::Good(count)), true) => Self::Good(count.saturating_add(1)),
            (_, true) => Self::Good(1),
            (Some(Self::Bad(count)), false) => Self::Bad(count.saturating_add(1)),
            (_, false) => Self::Bad(1),
        }
    }

    const fn failures(self) -> u32 {
        match self {
            Self::Good(_) => 0,
            Self::Bad(count) => count,
        }
    }
}

impl<K: Ord + Hash + Clone> Schedule<K> {
    /// Nobody is known.
    #[must_use]
    pub fn new(config: ScheduleConfig) -> Self {
        Self { config, known: HashMap::new(), queue: BinaryHeap::new() }
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether somebody is known.
    #[must_use]
    pub fn knows(&self, key: &K) -> bool {
        self.known.contains_key(key)
    }

    /// Takes a verdict about somebody, known or not.
    pub fn judged(&mut self, key: K, is_alive: bool, now: Timestamp, chance: f64) -> Next {
        let streak = Streak::after(self.known.get(&key).map(|course| course.streak()), is_alive);
        Next { due: self.put(key, streak, now, chance), failures: streak.failures() }
    }

    /// Forgets somebody.
    pub fn forget(&mut self, key: &K) {
        self.known.remove(key);
    }

    /// Takes those who are due, the longest due first, so many at the most. They are under way until their verdict comes.
    pub fn take_due(&mut self, now: Timestamp, most: usize) -> Vec<K> {
        let mut taken = Vec::new();
        while taken.len() < most && self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse((_, key))) = self.queue.pop() else { break };
            if let Some(course) = self.known.get_mut(&key) {
                *course = course.under_way();
                taken.push(key);
            }
        }
        taken
    }

    /// When the next one is due.
    pub fn next_due(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((due, key))) = self.queue.peek() {
            if self.known.get(key).is_some_and(|course| course.due() == Some(*due)) {
                return Some(*due);
            }
            // It was forgotten, or is due at another time.
            self.queue.pop();
        }
        None
    }

    fn put(&mut self, key: K, streak: Streak, now: Timestamp, chance: f64) -> Timestamp {
        let due = now + self.config.pause(streak, chance);
        self.known.insert(key.clone(), Course::new(due, streak));
        self.queue.push(Reverse((due, key)));
        // Times that are not true any more leave when it is their turn, or here.
        if self.queue.len() > 2 * self.known.len() + 64 {
            let known = &self.known;
            self.queue.retain(|Reverse((due, key))| known.get(key).is_some_and(|course| course.due() == Some(*due)));
        }
        due
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    pub(super) const CONFIG: ScheduleConfig = ScheduleConfig {
        fresh: Duration::from_secs(100),
        fresh_max: Duration::from_secs(400),
        retry: Duration::from_secs(10),
        retry_max: Duration::from_secs(40),
    };

    pub(super) fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn pauses(verdicts: &[bool]) -> Vec<u64> {
        let mut schedule = Schedule::new(CONFIG);
        let next = |verdict: &bool| schedule.judged("a", *verdict, at(0), 0.5).due.as_secs();
        verdicts.iter().map(next).collect()
    }

    #[test]
    fn the_reliable_are_believed_longer_and_the_dead_are_asked_less_and_less() {
        assert_eq!(pauses(&[true, true, true, true]), [100, 200, 400, 400]);
        assert_eq!(pauses(&[false, false, false, false, false]), [10, 20, 40, 40, 40]);
        assert_eq!(pauses(&[true, true, false, true, false]), [100, 200, 10, 100, 10]);
    }

    #[test]
    fn who_was_found_together_is_spread() {
        let mut schedule = Schedule::new(CONFIG);
        for n in 0..=100_u32 {
            schedule.judged(n, true, at(0), f64::from(n) / 100.0);
        }
        assert_eq!(schedule.next_due(), Some(at(80)));
        assert_eq!(schedule.take_due(at(100), 1_000).len(), 51);
        assert_eq!(schedule.take_due(at(120), 1_000).len(), 50);
        assert_eq!(schedule.next_due(), None, "all are under way");
    }

    #[test]
    fn a_course_is_eight_bytes_and_keeps_what_it_was_given() {
        assert_eq!(size_of::<Course>(), 8);
        for due in [0, 1, 1_795_000_000_000_000, Course::UNDER_WAY - 1] {
            for streak in [Streak::Good(1), Streak::Good(2_047), Streak::Bad(1), Streak::Bad(2_047)] {
                let course = Course::new(Timestamp::from_micros(due), streak);
                assert_eq!((course.due(), course.streak()), (Some(Timestamp::from_micros(due)), streak));
                assert_eq!((course.under_way().due(), course.under_way().streak()), (None, streak));
            }
        }
        assert_eq!(Course::new(at(1), Streak::Bad(9_999)).streak(), Streak::Bad(Course::LONGEST));
    }

    #[test]
    fn the_longest_due_come_first_and_nobody_twice() {
        let mut schedule = Schedule::new(CONFIG);
        schedule.judged("late", false, at(5), 0.5);
        schedule.judged("early", false, at(0), 0.5);
        assert_eq!(schedule.take_due(at(100), 1), ["early"]);
        assert_eq!(schedule.take_due(at(100), 10), ["late"]);
        assert!(schedule.take_due(at(1_000), 10).is_empty());
        schedule.forget(&"late");
        assert_eq!((schedule.knows(&"late"), schedule.len()), (false, 1));
    }

    proptest! {
        /// Whatever happens in whatever order: whoever is known is due or under way, and the queue stays small.
        #[test]
        fn everybody_who_is_known_has_a_turn(
            steps in prop::collection::vec((1..5_u8, 0..12_u8, 0..60_u64, 0.0..1.0_f64), 0..300),
        ) {
            let mut schedule = Schedule::new(CONFIG);
            let (mut now, mut under_way) = (0, BTreeSet::new());
            let mut failures: BTreeMap<u8, u32> = BTreeMap::new();
            for (step, key, pause, chance) in steps {
                now += pause;
                match step {
                    1 => {
                        schedule.forget(&key);
                        under_way.remove(&key);
                        failures.remove(&key);
                    }
                    2 | 3 => {
                        let is_alive = step == 2;
                        let count = failures.entry(key).or_default();
                        *count = if is_alive { 0 } else { *count + 1 };
                        let next = schedule.judged(key, is_alive, at(now), chance);
                        under_way.remove(&key);
                        prop_assert_eq!(next.failures, *count);
                        prop_assert!(next.due > at(now));
                    }
                    _ => {
                        for key in schedule.take_due(at(now), 3) {
                            prop_assert!(under_way.insert(key), "{} is under way twice", key);
                        }
                    }
                }
                prop_assert!(schedule.queue.len() <= 2 * schedule.known.len() + 64);
            }
            let known: BTreeSet<u8> = schedule.known.keys().copied().collect();
            let mut turns: BTreeSet<u8> = schedule.take_due(at(now + 10_000), usize::MAX).into_iter().collect();
            prop_assert!(turns.is_disjoint(&under_way));
            turns.extend(under_way);
            prop_assert_eq!(turns, known);
        }
    }
}
