//! A store that keeps passwords sealed, whatever store it is.
//!
//! What is above it has passwords, what is below has sealed texts: whole files, backups and other processes see no password.
//! Without keys it changes nothing, and says once that passwords are kept in clear text. User names stay as they are: they are
//! what tells members apart.
//!
//! Each hop of a chain is sealed for itself, under the name of that hop.
//!
//! A member whose password cannot be opened hides no other: it is left out, [told](Store::unopened), and left as it is, whatever is
//! saved of a member that is known by the same. Whoever has its key finds it again. Where several share a store, one may have sealed anew
//! whom another one has in use: the uses of that one count all the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use proxywhirl_core::endpoint::{Credentials, Endpoint, EndpointKey};
use proxywhirl_core::secret::SEALED;
use proxywhirl_core::store::{
    Changes, Everything, News, Page, Store, StoreError, StoredBan, StoredMember, StoredSession,
};

use crate::keyring::{self, Keyring};

/// What becomes of it that there are passwords in clear text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClearText {
    /// It is told, once.
    Told,
    /// Nothing: whoever opened the store looks after it.
    Expected,
}

/// A store whose passwords are sealed.
pub struct Sealing {
    below: Box<dyn Store>,
    keys: Option<Arc<Keyring>>,
    /// What it is, for messages.
    place: String,
    /// Whether it was said that there are passwords in clear text.
    is_told: bool,
    /// Members that were read and could not be opened.
    closed: HashMap<EndpointKey, Closed>,
    /// Whether it was said that what is new of those is not saved, since there is another one.
    is_left_told: bool,
}

/// A member that cannot be opened.
struct Closed {
    /// Why.
    reason: Arc<str>,
    /// As it was read.
    member: StoredMember,
}

/// What to do about passwords that cannot be opened.
const FIND_THE_KEY: &str = "they stay as they are; put the key that they are sealed with into the key file, behind the others \
                            (`proxywhirl secrets status` counts passwords by their keys), or take them out with `proxywhirl pool remove`";

impl Sealing {
    /// Seals what is kept in `below` with the first of these keys, and opens it with any.
    #[must_use]
    pub fn new(below: Box<dyn Store>, keys: Option<Arc<Keyring>>, place: String, clear: ClearText) -> Self {
        Self { below, keys, place, is_told: clear == ClearText::Expected, closed: HashMap::new(), is_left_told: false }
    }

    fn sealed(&self, member: &StoredMember) -> Result<StoredMember, StoreError> {
        let Some(keys) = &self.keys else { return Ok(member.clone()) };
        let seal = |credentials: &Credentials, owner: &str| -> Result<Credentials, String> {
            if credentials.password.is_empty() {
                return Ok(credentials.clone());
            }
            let password = keys.seal(&credentials.password, owner)?;
            Ok(Credentials { username: credentials.username.clone(), password })
        };
        let endpoint = each_hop(&member.endpoint, &seal).map_err(|reason| self.failed(&member.endpoint, reason))?;
        Ok(StoredMember { endpoint, ..member.clone() })
    }

    /// The member with its password; none when that cannot be opened, which is noted.
    fn opened(&mut self, member: StoredMember) -> Option<StoredMember> {
        self.look_at(&member.endpoint);
        let keys = self.keys.clone();
        let open = |credentials: &Credentials, owner: &str| -> Result<Credentials, String> {
            if !credentials.password.expose().starts_with(SEALED) {
                return Ok(credentials.clone());
            }
            let Some(keys) = &keys else {
                let id = keyring::sealed_with(&credentials.password)
                    .map_or_else(String::new, |id| format!(" with the key {id}"));
                return Err(format!("it is sealed{id}, and no key is named (store.key_file)"));
            };
            let password = keys.open(&credentials.password, owner).map_err(|error| error.to_string())?;
            Ok(Credentials { username: credentials.username.clone(), password })
        };
        match each_hop(&member.endpoint, &open) {
            Ok(endpoint) => {
                if !self.closed.is_empty() {
                    self.closed.remove(&member.endpoint.key());
                }
                Some(StoredMember { endpoint, ..member })
            }
            Err(reason) => {
                // The same text for all that have the same reason: there may be many.
                let known = self.closed.values().find(|known| *known.reason == *reason);
                let reason = known.map_or_else(|| reason.into(), |known| Arc::clone(&known.reason));
                let before = self.closed.insert(member.endpoint.key(), Closed { reason, member });
                self.is_left_told &= before.is_some();
                None
            }
        }
    }

    fn all_opened(&mut self, members: Vec<StoredMember>) -> Vec<StoredMember> {
        members.into_iter().filter_map(|member| self.opened(member)).collect()
    }

    /// The changes without those of members that are here and cannot be opened, and the latter as they were read, with the uses that
    /// are new; none when there are no such.
    fn without_closed(&mut self, changes: &Changes) -> Option<(Changes, Vec<StoredMember>)> {
        let closed = &self.closed;
        let is_closed = |member: &StoredMember| closed.contains_key(&member.endpoint.key());
        let is_member_closed = || changes.upserts.iter().chain(&changes.updates).any(is_closed);
        if closed.is_empty() || !(is_member_closed() || changes.removed.iter().any(|key| closed.contains_key(key))) {
            return None;
        }
        let used = |member: &StoredMember| {
            let (statistics, health) = (member.statistics, member.health);
            closed.get(&member.endpoint.key()).map(|it| StoredMember { statistics, health, ..it.member.clone() })
        };
        // Elsewhere the counts that are there were another's, whom one knows by its name alone.
        let used = if self.below.is_shared() { changes.updates.iter().filter_map(used).collect() } else { Vec::new() };
        let mut kept = changes.clone();
        kept.upserts.retain(|member| !is_closed(member));
        kept.updates.retain(|member| !is_closed(member));
        kept.removed.retain(|key| !closed.contains_key(key));
        if !std::mem::replace(&mut self.is_left_told, true) {
            tracing::warn!(
                store = self.place,
                store.closed = self.closed.len(),
                "what is new of proxies whose passwords cannot be opened is not saved, but for their uses; {FIND_THE_KEY}"
            );
        }
        Some((kept, used))
    }

    /// Says once that there is a password in clear text.
    fn look_at(&mut self, endpoint: &Endpoint) {
        if self.is_told || !endpoint.hops().iter().any(|hop| is_clear(hop)) {
            return;
        }
        self.is_told = true;
        match self.keys {
            Some(_) => tracing::warn!(
                store = self.place,
                "some passwords are still kept in clear text; `proxywhirl secrets rotate` seals them"
            ),
            None => tracing::warn!(
                store = self.place,
                "passwords are kept in clear text; `proxywhirl secrets init` makes a key to seal them with"
            ),
        }
    }

    fn failed(&self, endpoint: &Endpoint, reason: String) -> StoreError {
        StoreError { place: self.place.clone(), reason: format!("{}: {reason}", endpoint.key()) }
    }
}

fn is_clear(hop: &Endpoint) -> bool {
    hop.credentials.as_deref().is_some_and(|credentials| {
        !credentials.password.is_empty() && !credentials.password.expose().starts_with(SEALED)
    })
}

/// An endpoint whose hops have other credentials.
fn each_hop(
    endpoint: &Endpoint,
    change: &impl Fn(&Credentials, &str) -> Result<Credentials, String>,
) -> Result<Endpoint, String> {
    // The hop alone: a chain that is built anew around it keeps its password.
    let owner = Endpoint { via: None, ..endpoint.clone() }.key().to_string();
    Ok(Endpoint {
        scheme: endpoint.scheme,
        host: endpoint.host.clone(),
        port: endpoint.port,
        credentials: endpoint.credentials.as_deref().map(|login| change(login, &owner).map(Box::new)).transpose()?,
        via: endpoint.via.as_ref().map(|via| each_hop(via, change).map(Box::new)).transpose()?,
    })
}

impl Store for Sealing {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        let Page { members, next } = self.below.page(after, limit)?;
        Ok(Page { members: self.all_opened(members), next })
    }

    fn load_all(&mut self) -> Result<Option<Everything>, StoreError> {
        let all = self.below.load_all()?;
        Ok(all.map(|all| Everything { members: self.all_opened(all.members), ..all }))
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        self.below.load_sessions()
    }

    fn load_bans(&mut self) -> Result<Vec<StoredBan>, StoreError> {
        self.below.load_bans()
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let without = self.without_closed(changes);
        let (changes, used) = without.as_ref().map_or((changes, &[][..]), |(kept, used)| (kept, used.as_slice()));
        if self.keys.is_none() {
            changes.upserts.iter().chain(&changes.updates).for_each(|member| self.look_at(&member.endpoint));
            if used.is_empty() {
                return self.below.save(changes);
            }
        }
        let sealed =
            |members: &[StoredMember]| members.iter().map(|member| self.sealed(member)).collect::<Result<Vec<_>, _>>();
        let (upserts, mut updates) = (sealed(&changes.upserts)?, sealed(&changes.updates)?);
        updates.extend_from_slice(used);
        // All but the members is passed on as it is: they are many, and not copied twice.
        let Changes { upserts: _, updates: _, untagged, removed, sessions, forgotten, .. } = changes;
        let Changes { bans, bans_again, lifted, lifted_again, .. } = changes;
        self.below.save(&Changes {
            upserts,
            updates,
            untagged: untagged.clone(),
            removed: removed.clone(),
            sessions: sessions.clone(),
            forgotten: forgotten.clone(),
            bans: bans.clone(),
            bans_again: bans_again.clone(),
            lifted: lifted.clone(),
            lifted_again: lifted_again.clone(),
        })
    }

    fn is_intact(&mut self) -> Result<bool, StoreError> {
        self.below.is_intact()
    }

    fn is_reached(&self) -> bool {
        self.below.is_reached()
    }

    fn is_shared(&self) -> bool {
        self.below.is_shared()
    }

    fn news(&mut self) -> Result<News, StoreError> {
        let mut news = self.below.news()?;
        // Whom somebody has taken out comes in again as a stranger.
        news.left.iter().for_each(|key| drop(self.closed.remove(key)));
        // One that another gateway has sealed with a key that is not here is no reason to miss the others.
        let members = std::mem::take(&mut news.members);
        let (before, number) = (self.closed.len(), members.len());
        news.members = self.all_opened(members);
        let is_new = news.members.len() < number && self.closed.len() > before;
        if let Some(error) = self.unopened().filter(|_| is_new) {
            tracing::warn!(%error, "what others say of proxies cannot be read");
        }
        Ok(news)
    }

    fn is_unopened(&self, key: &EndpointKey) -> bool {
        self.closed.contains_key(key)
    }

    fn unopened(&self) -> Option<StoreError> {
        let mut reasons: BTreeMap<&str, (usize, &EndpointKey)> = BTreeMap::new();
        for (key, Closed { reason, .. }) in &self.closed {
            let (number, first) = reasons.entry(reason).or_insert((0, key));
            // The same one each time that it is told.
            (*number, *first) = (*number + 1, key.min(*first));
        }
        let told: Vec<String> = reasons
            .iter()
            .map(|(reason, (number, first))| match number {
                1 => format!("the password of 1 proxy, {first}, cannot be opened: {reason}"),
                _ => format!("the passwords of {number} proxies, such as {first}, cannot be opened: {reason}"),
            })
            .collect();
        let reason = format!("{}; {FIND_THE_KEY}", told.join("; "));
        (!told.is_empty()).then(|| StoreError { place: self.place.clone(), reason })
    }

    fn purge(&mut self) -> Result<(), StoreError> {
        self.below.purge()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::conformance::{self, member, upserts, urls};
    use crate::{Memory, StoreUrl};

    thread_local! {
        /// The lines of the keys that were made: a key shows itself to nobody.
        static LINES: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
    }

    fn keys() -> Arc<Keyring> {
        let line = Keyring::generate().unwrap();
        LINES.with_borrow_mut(|lines| lines.push(line.to_string()));
        Arc::new(Keyring::parse(&line).unwrap())
    }

    fn line(keys: &Keyring) -> String {
        let is_it = |line: &&String| Keyring::parse(line).unwrap().ids().eq(keys.ids());
        LINES.with_borrow(|lines| lines.iter().find(is_it).unwrap().clone())
    }

    fn url(folder: &Path, store: &str) -> StoreUrl {
        store.parse::<StoreUrl>().unwrap().within(folder)
    }

    fn open(url: &StoreUrl, keys: Option<&Arc<Keyring>>) -> Box<dyn Store> {
        url.open().unwrap().sealed(keys.cloned(), url, ClearText::Told).store
    }

    const STORES: [&str; 4] = ["sqlite:pool.db", "file:pool.json", "file:pool.jsonl", "file:pool.json.gz"];

    const CHAIN: &str = "socks5://u:hunter2@a.example:1080 -> http://v:hunter2-too@b.example:80";

    #[test]
    fn every_store_does_what_it_must_when_it_is_sealed() {
        for store in STORES {
            let mut folders = Vec::new();
            let keys = keys();
            conformance::suite(&mut || {
                let folder = tempfile::tempdir().unwrap();
                let opened = open(&url(folder.path(), store), Some(&keys));
                folders.push(folder);
                opened
            });
        }
        conformance::suite(&mut || {
            Box::new(Sealing::new(Box::new(Memory::new()), Some(keys()), String::new(), ClearText::Told))
        });
    }

    #[test]
    fn no_file_holds_a_password_and_every_hop_comes_back() {
        for store in STORES {
            let folder = tempfile::tempdir().unwrap();
            let (url, keys) = (url(folder.path(), store), keys());
            let longest = format!("http://me:{}@c.example:80", "hunter2".repeat(585));
            let all = ["http://me:hunter2@1.2.3.4:80", CHAIN, &longest, "http://me:@1.2.3.5:80", "http://1.2.3.6:80"];
            let mut opened = open(&url, Some(&keys));
            opened.save(&upserts(&all)).unwrap();
            assert_eq!(urls(&mut *opened), all, "{store}");
            drop(opened);
            for entry in fs::read_dir(folder.path()).unwrap() {
                let bytes = fs::read(entry.unwrap().path()).unwrap();
                assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{store}");
            }
            assert_eq!(urls(&mut *open(&url, Some(&keys))), all, "{store}");
            let mut without = open(&url, None);
            // An empty password is none to seal.
            assert_eq!(urls(&mut *without), all[3..], "{store}");
            let error = without.unopened().unwrap().to_string();
            assert!(error.contains("the passwords of 3 proxies, such as "), "{error}");
            let id = keys.ids().next().unwrap();
            assert!(error.contains(&format!("sealed with the key {id}, and no key is named")), "{error}");
            drop(without);
            let mut stranger = open(&url, Some(&super::tests::keys()));
            assert_eq!(urls(&mut *stranger), all[3..], "{store}");
            let error = stranger.unopened().unwrap().to_string();
            assert!(
                error.contains(&format!("sealed with the key {id}, which is not among those that there are")),
                "{error}"
            );
            drop(stranger);
        }
    }

    #[test]
    fn a_password_of_another_is_not_opened() {
        let keys = keys();
        let mut below = Memory::new();
        let sealing = Sealing::new(Box::new(Memory::new()), Some(Arc::clone(&keys)), "x".to_owned(), ClearText::Told);
        let stolen = sealing.sealed(&member("http://me:hunter2@1.1.1.1:80")).unwrap().endpoint.credentials;
        let mut other = member("http://me:x@2.2.2.2:80");
        other.endpoint.credentials = stolen;
        below.save(&Changes { upserts: vec![other], ..Changes::default() }).unwrap();
        let mut sealing = Sealing::new(Box::new(below), Some(keys), "x".to_owned(), ClearText::Told);
        assert_eq!(sealing.load().unwrap(), []);
        let error = sealing.unopened().unwrap().to_string();
        assert!(error.contains("the password of another proxy"), "{error}");
    }

    #[test]
    fn who_cannot_be_opened_hides_no_other_and_is_lost_by_nothing_that_is_saved() {
        for store in STORES {
            let folder = tempfile::tempdir().unwrap();
            let (url, one, other) = (url(folder.path(), store), keys(), keys());
            let mut first = open(&url, Some(&one));
            let theirs = ["http://me:hunter2@1.1.1.1:80", CHAIN];
            first.save(&upserts(&theirs)).unwrap();
            drop(first);
            let mut second = open(&url, Some(&other));
            second.save(&upserts(&["http://me:own@3.3.3.3:80"])).unwrap();
            assert_eq!(urls(&mut *second), ["http://me:own@3.3.3.3:80"], "{store}");
            assert!(second.unopened().unwrap().reason.contains("2 proxies"), "{store}");
            // A list brings the same proxy with another password, and another that is new; the chain is taken for dead.
            let removed = vec![CHAIN.parse::<Endpoint>().unwrap().key()];
            let brought = ["http://me:new@1.1.1.1:80", "http://me:own@4.4.4.4:80"];
            second.save(&Changes { removed, ..upserts(&brought) }).unwrap();
            second.purge().unwrap();
            drop(second);
            let both = format!("{}\n{}", line(&other), line(&one));
            let mut all = open(&url, Some(&Arc::new(Keyring::parse(&both).unwrap())));
            let expected = [&theirs[..], &["http://me:own@3.3.3.3:80", "http://me:own@4.4.4.4:80"]].concat();
            assert_eq!(urls(&mut *all), expected, "{store}");
            assert!(all.unopened().is_none(), "{store}");
        }
    }

    #[test]
    fn nothing_is_left_of_what_was_in_clear_text() {
        for store in STORES {
            let folder = tempfile::tempdir().unwrap();
            let (url, keys) = (url(folder.path(), store), keys());
            let all: Vec<String> = (1..=200).map(|n| format!("http://me:hunter2-{n}@10.0.0.{n}:80")).collect();
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            url.open().unwrap().store.save(&upserts(&all)).unwrap();
            let mut opened = open(&url, Some(&keys));
            let upserts = opened.load().unwrap();
            opened.save(&Changes { upserts, ..Changes::default() }).unwrap();
            opened.purge().unwrap();
            assert_eq!(urls(&mut *opened), all, "{store}");
            drop(opened);
            for entry in fs::read_dir(folder.path()).unwrap() {
                let bytes = fs::read(entry.unwrap().path()).unwrap();
                assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{store}");
            }
        }
    }

    #[test]
    fn clear_text_is_read_and_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let url = url(folder.path(), "file:pool.json");
        url.open().unwrap().store.save(&upserts(&["http://1.1.1.1:1", "http://me:hunter2@2.2.2.2:2"])).unwrap();
        for keys in [None, Some(keys())] {
            let mut sealing = Sealing::new(url.open().unwrap().store, keys, "x".to_owned(), ClearText::Told);
            assert_eq!(sealing.load().unwrap().len(), 2);
            assert!(sealing.is_told);
        }
        let mut silent = Sealing::new(Box::new(Memory::new()), None, "x".to_owned(), ClearText::Told);
        silent.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
        assert!(!silent.is_told);
        silent.save(&upserts(&["http://me:hunter2@2.2.2.2:2"])).unwrap();
        assert!(silent.is_told);
    }
}
