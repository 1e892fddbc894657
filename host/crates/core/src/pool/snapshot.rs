//! An immutable picture of the pool.

use std::sync::Arc;

use super::table::Table;
use crate::member::Member;

/// All members at one time. Cheap to make, cheap to share; the members' live state stays live.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    table: Table,
    /// How many members there are before each chunk of the table; the last is how many there are.
    before: Vec<u32>,
    epoch: u64,
}

impl Snapshot {
    pub(super) fn new(table: Table, epoch: u64) -> Self {
        let mut before = vec![0];
        let mut sum = 0;
        for occupied in table.occupation() {
            sum += occupied;
            before.push(sum);
        }
        Self { table, before, epoch }
    }

    /// Its number, growing by one.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before.last().map_or(0, |count| *count as usize)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first slot that was never used.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.table.end()
    }

    /// The member at a slot.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&Arc<Member>> {
        self.table.get(slot)
    }

    /// The member that comes as number `rank` when all are counted by slot. Takes the logarithm of
    /// the number of chunks.
    #[must_use]
    pub fn nth(&self, rank: usize) -> Option<&Arc<Member>> {
        let rank = u32::try_from(rank).ok()?;
        let chunk = self.before.partition_point(|before| *before <= rank).checked_sub(1)?;
        let within = rank - self.before.get(chunk)?;
        self.table.ranked(chunk, within as usize)
    }

    /// Every member, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.table.iter()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{candidate, join, pool_of};

    #[test]
    fn nth_counts_members_and_not_holes() {
        let mut pool = pool_of(1_000);
        for n in (0..1_000u32).filter(|n| n % 3 == 0) {
            let host = std::net::Ipv4Addr::from(0x0a00_0000 + n);
            pool.remove(&candidate(&format!("http://{host}:80")).endpoint.key()).unwrap();
        }
        let (snapshot, _) = pool.publish();
        assert_eq!(snapshot.len(), 666);
        for (rank, member) in snapshot.iter().enumerate() {
            assert_eq!(snapshot.nth(rank).unwrap().id, member.id);
        }
        assert!(snapshot.nth(666).is_none());
    }

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
}
