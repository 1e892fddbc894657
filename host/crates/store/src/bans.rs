//! A store whose bans are one value among the keys of plugins, for stores that one process writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use proxywhirl_core::kv::{KeyArchive, KvError, KvWrite};
use proxywhirl_core::store::{BanPlace, Changes, Page, Store, StoreError, StoredBan, StoredMember, StoredSession};
use proxywhirl_core::{MemberId, Timestamp};
use serde::{Deserialize, Serialize};

/// Whose keys they are: no plugin can have this name.
const OWNER: &str = "host/bans";

/// All of them.
const KEY: &str = "bans";

/// Bans that are kept at the most, in any store: those that last longest.
pub(crate) const MOST: usize = 16_384;

/// How often bans are written anew because somebody else was quicker.
const TRIES: usize = 10;

/// A ban in the store.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    site: String,
    member: u64,
    /// Microseconds since the Unix epoch.
    until: u64,
    rule: String,
}

/// A store that keeps bans, over one that does not.
pub(crate) struct WithBans<S> {
    below: S,
    keys: Arc<dyn KeyArchive>,
}

impl<S: Store> WithBans<S> {
    /// Keeps bans among these keys.
    pub(crate) fn new(below: S, keys: Arc<dyn KeyArchive>) -> Self {
        Self { below, keys }
    }

    /// What is kept, and the version of it.
    fn read(&self) -> Result<(HashMap<BanPlace, StoredBan>, u64), StoreError> {
        // Nothing of it expires as other keys do.
        let entry = self.keys.get(OWNER, KEY, Timestamp::default()).map_err(failed)?;
        let version = entry.as_ref().map_or(0, |entry| entry.version);
        let kept = entry.map_or_else(Vec::new, |entry| {
            serde_json::from_slice::<Vec<Kept>>(&entry.value).unwrap_or_else(|error| {
                tracing::warn!(%error, "the bans of before cannot be understood");
                Vec::new()
            })
        });
        Ok((kept.into_iter().map(StoredBan::from).map(|ban| (ban.place(), ban)).collect(), version))
    }

    fn keep(&mut self, changes: &Changes) -> Result<(), StoreError> {
        // Nothing of it is ever lost alone, so no lift is told again.
        let Changes { bans, bans_again, lifted, .. } = changes;
        if bans.is_empty() && bans_again.is_empty() && lifted.is_empty() {
            return Ok(());
        }
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for _ in 0..TRIES {
            // Of a database several may write: what they have set since is among it.
            let (mut known, version) = self.read()?;
            for place in lifted {
                known.remove(place);
            }
            for ban in bans.iter().chain(bans_again) {
                let held = known.entry(ban.place()).or_insert_with(|| ban.clone());
                if held.until < ban.until {
                    *held = ban.clone();
                }
            }
            known.retain(|_, ban| ban.until > Timestamp::default() + since_epoch);
            let mut all: Vec<&StoredBan> = known.values().collect();
            all.sort_unstable_by_key(|ban| std::cmp::Reverse(ban.until));
            let kept: Vec<Kept> = all.into_iter().take(MOST).map(Kept::from).collect();
            // Texts and numbers alone: there is nothing that cannot be written.
            let value = serde_json::to_vec(&kept).unwrap_or_default();
            let write = KvWrite { value: &value, expires: None, quota: u64::MAX };
            let written = self.keys.compare_and_swap(OWNER, KEY, version, &write, Timestamp::default());
            if written.map_err(failed)?.is_some() {
                return self.keys.sync().map_err(failed);
            }
        }
        Err(StoreError { place: "the bans".to_owned(), reason: "others change them all the time".to_owned() })
    }
}

impl From<Kept> for StoredBan {
    fn from(Kept { site, member, until, rule }: Kept) -> Self {
        Self { site, member: MemberId(member), until: Timestamp::from_micros(until), rule: rule.into() }
    }
}

impl From<&StoredBan> for Kept {
    fn from(StoredBan { site, member, until, rule }: &StoredBan) -> Self {
        Self { site: site.clone(), member: member.0, until: until.as_micros(), rule: rule.to_string() }
    }
}

impl<S: Store> Store for WithBans<S> {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        self.below.page(after, limit)
    }

    fn load(&mut self) -> Result<Vec<StoredMember>, StoreError> {
        self.below.load()
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        self.below.load_sessions()
    }

    fn load_bans(&mut self) -> Result<Vec<StoredBan>, StoreError> {
        Ok(self.read()?.0.into_values().collect())
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.below.save(changes)?;
        self.keep(changes)
    }

    fn is_intact(&mut self) -> Result<bool, StoreError> {
        self.below.is_intact()
    }

    fn purge(&mut self) -> Result<(), StoreError> {
        self.below.purge()
    }
}

/// Whether keys are those in which bans are kept.
pub(crate) fn are_bans(owner: &str) -> bool {
    owner == OWNER
}

fn failed(error: KvError) -> StoreError {
    StoreError { place: "the bans".to_owned(), reason: error.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proxywhirl_core::kv::KeyValues;

    use super::*;
    use crate::conformance::{ban, bans, bans_are_kept};
    use crate::{Memory, MemoryKeyValues, StoreUrl};

    #[test]
    fn every_store_keeps_bans() {
        for store in ["sqlite:pool.db", "file:pool.json", "file:pool.jsonl", "file:pool.json.gz"] {
            let folder = tempfile::tempdir().unwrap();
            let url = store.parse::<StoreUrl>().unwrap().within(folder.path());
            bans_are_kept(&mut || url.open().unwrap().store);
        }
        let keys = Arc::new(MemoryKeyValues::new());
        bans_are_kept(&mut || Box::new(WithBans::new(Memory::new(), Arc::clone(&keys) as _)));
    }

    #[test]
    fn several_who_use_a_database_lose_nobodys_bans() {
        let folder = tempfile::tempdir().unwrap();
        let url = "sqlite:pool.db".parse::<StoreUrl>().unwrap().within(folder.path());
        let [mut one, mut other] = [(); 2].map(|()| url.open().unwrap().store);
        let set = |site: &str| Changes { bans: vec![ban(site, 1, 1)], ..Changes::default() };
        assert!(bans(&mut *one).is_empty() && bans(&mut *other).is_empty());
        one.save(&set("a.example")).unwrap();
        other.save(&set("b.example")).unwrap();
        one.save(&set("c.example")).unwrap();
        assert_eq!(bans(&mut *other), ["a", "b", "c"].map(|name| ban(&format!("{name}.example"), 1, 1)));
        one.save(&Changes { lifted: vec![ban("b.example", 1, 1).place()], ..Changes::default() }).unwrap();
        other.save(&set("d.example")).unwrap();
        assert_eq!(bans(&mut *one), ["a", "c", "d"].map(|name| ban(&format!("{name}.example"), 1, 1)));
    }

    #[test]
    fn those_that_last_longest_are_kept_and_what_is_broken_is_not() {
        let keys = Arc::new(MemoryKeyValues::new());
        let open = || WithBans::new(Memory::new(), Arc::clone(&keys) as _);
        let all = (0..20_000).map(|number| ban(&format!("s{number}.example"), 1, number)).collect();
        open().save(&Changes { bans: all, ..Changes::default() }).unwrap();
        let kept = bans(&mut open());
        assert_eq!(kept.len(), MOST);
        assert!(kept.iter().all(|ban| ban.until >= super::super::conformance::ban("", 0, 20_000 - 16_384).until));
        let write = KvWrite { value: b"{", expires: None, quota: u64::MAX };
        keys.set(OWNER, KEY, &write, Timestamp::default()).unwrap();
        assert_eq!(bans(&mut open()), []);
    }
}
