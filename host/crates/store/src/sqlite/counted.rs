//! What was counted of each member when its row was read or written last, so that a save adds what came since. A pool may have
//! a million members, so that is kept in 16 bytes each, in many short lists: they grow in room that others have left.

use std::collections::HashMap;

use proxywhirl_core::MemberId;
use proxywhirl_core::store::StoredMember;

/// Bits of an identity, which is a hash, that say in which list it is.
const BITS: u32 = 10;

/// What is counted of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) successes: u64,
    pub(super) failures: u64,
}

impl Counts {
    pub(super) const fn of(member: &StoredMember) -> Self {
        Self { successes: member.statistics.successes, failures: member.statistics.failures }
    }
}

/// The counts of members; of one who has never been used, nothing.
#[derive(Debug)]
pub(super) struct Counted {
    /// Each in the order of the identities.
    lists: Box<[Vec<(MemberId, u32, u32)>]>,
    /// Counts of more than four billion.
    large: HashMap<MemberId, Counts>,
}

impl Default for Counted {
    fn default() -> Self {
        Self { lists: (0..1_u32 << BITS).map(|_| Vec::new()).collect(), large: HashMap::new() }
    }
}

impl Counted {
    /// What is counted of a member.
    pub(super) fn get(&self, id: MemberId) -> Counts {
        if let Some(large) = self.large.get(&id) {
            return *large;
        }
        let list = self.lists.get(list_of(id)).map_or(&[][..], Vec::as_slice);
        let found = place(list, id).ok().and_then(|place| list.get(place));
        found.map_or_else(Counts::default, |(_, successes, failures)| Counts {
            successes: u64::from(*successes),
            failures: u64::from(*failures),
        })
    }

    /// Notes what is counted of a member; nothing of who has left.
    pub(super) fn note(&mut self, id: MemberId, counts: Counts) {
        self.large.remove(&id);
        let small = u32::try_from(counts.successes).ok().zip(u32::try_from(counts.failures).ok());
        let Some(list) = self.lists.get_mut(list_of(id)) else { return };
        match (place(list, id), small) {
            (Ok(place), Some((successes, failures))) if counts != Counts::default() => {
                if let Some(known) = list.get_mut(place) {
                    *known = (id, successes, failures);
                }
            }
            (Ok(place), _) => drop(list.remove(place)),
            (Err(place), Some((successes, failures))) if counts != Counts::default() => {
                list.insert(place, (id, successes, failures));
            }
            (Err(_), _) => {}
        }
        if small.is_none() {
            self.large.insert(id, counts);
        }
    }
}

const fn list_of(id: MemberId) -> usize {
    (id.0 >> (u64::BITS - BITS)) as usize
}

fn place(list: &[(MemberId, u32, u32)], id: MemberId) -> Result<usize, usize> {
    list.binary_search_by_key(&id, |(id, ..)| *id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_noted_last_is_what_is_counted(
            noted in prop::collection::vec((0..40_u64, prop_oneof![Just(0), 1..9_u64, Just(1 << 40)], 0..3_u64), 0..400),
        ) {
            // In two lists.
            let spread = |id: u64| MemberId(id << 49);
            let (mut counted, mut expected) = (Counted::default(), HashMap::new());
            for (id, successes, failures) in noted {
                let counts = Counts { successes, failures };
                counted.note(spread(id), counts);
                expected.insert(id, counts);
                for id in 0..40 {
                    prop_assert_eq!(counted.get(spread(id)), expected.get(&id).copied().unwrap_or_default());
                }
            }
        }
    }

    #[test]
    fn a_million_take_little_more_than_sixteen_bytes_each() {
        let mut counted = Counted::default();
        for id in 1..=1_000_000_u64 {
            counted.note(MemberId(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)), Counts { successes: id, failures: 1 });
        }
        let room: usize = counted.lists.iter().map(Vec::capacity).sum();
        assert!(room * size_of::<(MemberId, u32, u32)>() <= 33_000_000 && counted.large.is_empty(), "{room}");
        let never = MemberId(7);
        counted.note(never, Counts::default());
        assert_eq!(counted.lists.iter().map(Vec::len).sum::<usize>(), 1_000_000, "who was never used takes nothing");
    }
}
