//! A store that forgets when it is dropped: for a pool that nobody asked to keep.

use std::collections::{BTreeMap, HashMap};

use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::store::{Changes, Store, StoreError, StoredMember};

/// Members in memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// By the number of those who joined before.
    members: BTreeMap<u64, StoredMember>,
    numbers: HashMap<EndpointKey, u64>,
    joined: u64,
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
