//! State for each member, found by slot.
//!
//! Slots are used again, so the state carries the identity of the member that it belongs to: the next
//! member of a slot begins anew. A `reset` of the host's table forgets nobody who is still told of
//! afterwards, and neither does a new version of the plugin that was handed the state of the old one.
//!
//! Invariant: an entry's identity is that of the member in the table's slot.

use proxywhirl_plugin_sdk::Slot;
use proxywhirl_plugin_sdk::strategy::{Delta, Member, Table};
use std::collections::HashMap;

/// States that wait for their member to be told of. As many as a guest's memory has members for.
const MAX_WAITING: usize = 1 << 20;

/// State for each member.
#[derive(Debug)]
pub struct PerSlot<T> {
    entries: Vec<Option<Entry<T>>>,
    waiting: HashMap<u64, T>,
}

#[derive(Debug)]
struct Entry<T> {
    id: u64,
    value: T,
}

impl<T> PerSlot<T> {
    /// Of nobody.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: Vec::new(), waiting: HashMap::new() }
    }

    /// Follows the table, as it is after a change: those who left lose their state, those who came
    /// get one by `make`, and those who stayed keep theirs.
    pub fn update(&mut self, table: &Table, delta: &Delta, mut make: impl FnMut(&Member) -> T) {
        if delta.reset {
            let known = std::mem::take(&mut self.entries);
            self.adopt(known.into_iter().flatten().map(|entry| (entry.id, entry.value)));
        }
        for &slot in &delta.removed {
            if table.get(slot).is_none()
                && let Some(entry) = self.entry(slot)
            {
                *entry = None;
            }
        }
        for &slot in &delta.upserted {
            let (Some(member), Ok(place)) = (table.get(slot), usize::try_from(slot)) else { continue };
            if self.entries.len() <= place {
                self.entries.resize_with(place + 1, || None);
            }
            let Some(entry) = self.entries.get_mut(place) else { continue };
            if entry.as_ref().is_none_or(|entry| entry.id != member.id) {
                let value = self.waiting.remove(&member.id).unwrap_or_else(|| make(member));
                *entry = Some(Entry { id: member.id, value });
            }
        }
    }

    /// Takes over states by identity, for members that have not been told of yet.
    pub fn adopt(&mut self, states: impl IntoIterator<Item = (u64, T)>) {
        for (id, value) in states {
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.clear();
            }
            self.waiting.insert(id, value);
        }
    }

    /// The state of the member at a slot.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        let entry = self.entries.get(usize::try_from(slot).ok()?)?;
        entry.as_ref().map(|entry| &entry.value)
    }

    /// The state of the member at a slot, to be changed.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        self.entry(slot)?.as_mut().map(|entry| &mut entry.value)
    }

    /// All states, with slot and identity, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, u64, &T)> {
        let entries = (0..).zip(&self.entries);
        entries.filter_map(|(slot, entry)| entry.as_ref().map(|entry| (slot, entry.id, &entry.value)))
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Option<Entry<T>>> {
        self.entries.get_mut(usize::try_from(slot).ok()?)
    }
}

impl<T> Default for PerSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxywhirl_plugin_sdk::testing::member;

    /// A table with states that are the identity of their member.
    #[derive(Default)]
    struct World {
        table: Table,
        states: PerSlot<u64>,
    }

    impl World {
        fn apply(&mut self, reset: bool, upserts: Vec<Member>, removed: Vec<Slot>) {
            let delta = self.table.apply(1, reset, upserts, removed);
            self.states.update(&self.table, &delta, |member| member.id);
        }
    }

    #[test]
    fn a_slot_that_is_used_again_begins_anew() {
        let mut world = World::default();
        world.apply(true, vec![member(0, 0)], vec![]);
        *world.states.get_mut(0).unwrap() = 7;
        world.apply(false, vec![member(0, 0)], vec![]);
        assert_eq!(world.states.get(0), Some(&7), "the same member with a new row");
        world.apply(false, vec![member(0, 9)], vec![0]);
        assert_eq!(world.states.get(0), Some(&1_000_009));
        world.apply(false, vec![], vec![0]);
        assert_eq!(world.states.get(0), None);
    }

    #[test]
    fn a_reset_that_comes_in_parts_forgets_nobody_who_is_still_there() {
        let mut world = World::default();
        world.apply(true, vec![member(0, 0), member(1, 1), member(2, 2)], vec![]);
        (0..3).for_each(|slot| *world.states.get_mut(slot).unwrap() = 7);
        world.apply(true, vec![member(0, 0)], vec![]);
        world.apply(false, vec![member(1, 1), member(2, 5)], vec![]);
        let states: Vec<_> = world.states.iter().map(|(slot, _, state)| (slot, *state)).collect();
        assert_eq!(states, [(0, 7), (1, 7), (2, 1_000_005)]);
    }

    #[test]
    fn what_was_handed_over_waits_for_its_member() {
        let mut world = World::default();
        world.states.adopt([(1_000_001, 7), (5, 8)]);
        world.apply(true, vec![member(0, 0), member(1, 1)], vec![]);
        assert_eq!(world.states.get(0), Some(&1_000_000));
        assert_eq!(world.states.get(1), Some(&7));
    }

    proptest! {
        #[test]
        fn every_state_is_that_of_the_member_in_the_slot(
            steps in prop::collection::vec((any::<bool>(), prop::collection::vec((0_u32..8, 0_u64..20), 0..6),
                prop::collection::vec(0_u32..8, 0..4)), 0..40),
        ) {
            let mut world = World::default();
            for (reset, upserts, removed) in steps {
                world.apply(reset, upserts.into_iter().map(|(slot, joined)| member(slot, joined)).collect(), removed);
                let mut members: Vec<_> = world.table.iter().map(|member| (member.slot, member.id, member.id)).collect();
                members.sort_unstable();
                let states: Vec<_> = world.states.iter().map(|(slot, id, state)| (slot, id, *state)).collect();
                prop_assert_eq!(states, members);
            }
        }
    }
}
