//! What happened in the last so-and-so long: a sliding window, made of parts.
//!
//! A ring of parts holds what each came to; adding is constant time, and what a part came to leaves
//! as a whole when the window has moved past it. So a window of `N` parts looks back between
//! `(N − 1) ÷ N` of its span and all of it, and its memory does not depend on what happens.

use std::iter::Sum;
use std::ops::AddAssign;

/// How time is cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    length: u64,
}

impl Parts {
    /// Of a window of so many microseconds, cut into so many parts.
    #[must_use]
    pub const fn of(window: u64, parts: u64) -> Self {
        let parts = if parts == 0 { 1 } else { parts };
        let length = window / parts;
        Self { length: if length == 0 { 1 } else { length } }
    }

    /// The number of the part in which a moment lies.
    #[must_use]
    pub const fn number(self, now: u64) -> u64 {
        now / self.length
    }

    /// Microseconds that a part takes.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.length
    }
}

/// What the last `N` parts came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ring<V, const N: usize> {
    parts: [V; N],
    newest: u64,
}

impl<V: Copy + Default + AddAssign + Sum, const N: usize> Ring<V, N> {
    /// Of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { parts: [V::default(); N], newest: 0 }
    }

    /// Adds to a part; to the newest if it is older, because time does not go backwards.
    pub fn add(&mut self, number: u64, value: V) {
        let passed = usize::try_from(number.saturating_sub(self.newest)).unwrap_or(N).min(N);
        let first = self.newest + 1;
        for stale in (first..).take(passed) {
            self.place(if passed == N { stale - first } else { stale }, |part| *part = V::default());
        }
        self.newest = self.newest.max(number);
        self.place(self.newest, |part| *part += value);
    }

    /// What the window that ends with a part comes to.
    #[must_use]
    pub fn total(&self, number: u64) -> V {
        self.iter().filter(|&(part, _)| part + N as u64 > number).map(|(_, value)| value).sum()
    }

    /// The parts, with their numbers, the newest first; the same again for one who reads them into another
    /// ring by [`Ring::add`] from the last to the first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, V)> {
        let back = self.newest.min(N as u64 - 1);
        (0..=back).filter_map(|age| {
            let number = self.newest - age;
            Some((number, *self.parts.get(usize::try_from(number % N as u64).ok()?)?))
        })
    }

    fn place(&mut self, number: u64, change: impl FnOnce(&mut V)) {
        let place = usize::try_from(number % N as u64).ok();
        if let Some(part) = place.and_then(|place| self.parts.get_mut(place)) {
            change(part);
        }
    }
}

impl<V: Copy + Default + AddAssign + Sum, const N: usize> Default for Ring<V, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_part_leaves_when_the_window_has_moved_past_it() {
        let mut ring = Ring::<u32, 4>::new();
        ring.add(10, 5);
        ring.add(12, 1);
        assert_eq!([ring.total(12), ring.total(13), ring.total(14), ring.total(16)], [6, 6, 1, 0]);
        ring.add(14, 2);
        assert_eq!(ring.total(14), 3);
        ring.add(13, 3);
        assert_eq!(ring.total(14), 6, "what comes late counts as the newest");
    }

    #[test]
    fn a_window_shorter_than_its_parts_still_has_parts() {
        assert_eq!(Parts::of(0, 8).length(), 1);
        assert_eq!(Parts::of(80, 8).number(79), 7);
    }

    proptest! {
        #[test]
        fn the_total_is_what_a_list_of_all_would_say(steps in prop::collection::vec((0_u64..7, 1_u32..5), 0..60)) {
            let mut ring = Ring::<u32, 5>::new();
            let (mut now, mut all) = (0, Vec::new());
            for (wait, value) in steps {
                now += wait;
                ring.add(now, value);
                all.push((now, value));
                let expected: u32 = all.iter().filter(|(at, _)| at + 5 > now).map(|(_, value)| value).sum();
                prop_assert_eq!(ring.total(now), expected);
                let mut copy = Ring::<u32, 5>::new();
                for (number, value) in ring.iter().rev() {
                    copy.add(number, value);
                }
                prop_assert_eq!(copy, ring);
            }
        }
    }
}
