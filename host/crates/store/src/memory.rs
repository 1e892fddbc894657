//! A store that forgets when it is dropped: for a pool that nobody asked to keep.

pub(crate) mod key_values;

use std::collections::{BTreeMap, HashMap};

use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::store::{Changes, Store, StoreError, StoredMember, StoredSession};

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
}

impl Store for Memory {
    fn load(&mut self) -> Result<Vec<StoredMember>, StoreError> {
        Ok(self.members.values().cloned().collect())
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        let mut sessions: Vec<_> = self.sessions.values().copied().collect();
        sessions.sort_by_key(|session| (session.used, session.session));
        Ok(sessions)
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
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
        for session in &changes.forgotten {
            self.sessions.remove(session);
        }
        self.sessions.extend(changes.sessions.iter().map(|session| (session.session, *session)));
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
