//! A store that forgets when it is dropped: for a pool that nobody asked to keep.

pub(crate) mod key_values;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::store::{Changes, Page, Store, StoreError, StoredMember, StoredSession};

/// Members and sessions in memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// By the number of those who joined before.
    members: BTreeMap<u64, StoredMember>,
    numbers: HashMap<EndpointKey, u64>,
    joined: u64,
    sessions: HashMap<u64, StoredSession>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the changes.
    pub(crate) fn apply(&mut self, changes: &Changes) {
        for key in &changes.removed {
            if let Some(number) = self.numbers.remove(key) {
                self.members.remove(&number);
            }
        }
        for member in &changes.upserts {
            let number = *self.numbers.entry(member.endpoint.key()).or_insert_with(|| {
                self.joined += 1;
                self.joined
            });
            self.members.insert(number, member.clone());
        }
        for member in &changes.updates {
            if let Some(number) = self.numbers.get(&member.endpoint.key()) {
                self.members.insert(*number, member.clone());
            }
        }
        for session in &changes.forgotten {
            self.sessions.remove(session);
        }
        self.sessions.extend(changes.sessions.iter().map(|session| (session.session, *session)));
    }

    /// The members, in the order of joining.
    pub(crate) fn members(&self) -> impl Iterator<Item = &StoredMember> {
        self.members.values()
    }

    /// The same, for whoever needs nothing else.
    pub(crate) fn into_members(self) -> impl Iterator<Item = StoredMember> {
        self.members.into_values()
    }

    /// The sessions, the longest unused first.
    pub(crate) fn sessions(&self) -> Vec<StoredSession> {
        let mut sessions: Vec<_> = self.sessions.values().copied().collect();
        sessions.sort_by_key(|session| (session.used, session.session));
        sessions
    }

    /// How many members and sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.members.len() + self.sessions.len()
    }
}

impl Store for Memory {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.members.range((from, Bound::Unbounded));
        let (mut members, mut last) = (Vec::new(), None);
        for (number, member) in rest.by_ref().take(limit) {
            members.push(member.clone());
            last = Some(*number);
        }
        Ok(Page { members, next: last.filter(|_| rest.next().is_some()) })
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        Ok(self.sessions())
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.apply(changes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_a_store_must_keep() {
        crate::conformance::suite(&mut || Box::new(Memory::new()));
    }
}
