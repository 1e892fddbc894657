//! A store that keeps passwords sealed, whatever store it is.
//!
//! What is above it has passwords, what is below has sealed texts: whole files, backups and other processes see no password.
//! Without keys it changes nothing, and says once that passwords are kept in clear text. User names stay as they are: they are
//! what tells members apart.
//!
//! Each hop of a chain is sealed for itself, under the name of that hop.

use std::sync::Arc;

use proxywhirl_core::endpoint::{Credentials, Endpoint};
use proxywhirl_core::secret::SEALED;
use proxywhirl_core::store::{Changes, News, Page, Store, StoreError, StoredBan, StoredMember, StoredSession};

use crate::keyring::Keyring;

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
}

impl Sealing {
    /// Seals what is kept in `below` with the first of these keys, and opens it with any.
    #[must_use]
    pub fn new(below: Box<dyn Store>, keys: Option<Arc<Keyring>>, place: String, clear: ClearText) -> Self {
        Self { below, keys, place, is_told: clear == ClearText::Expected }
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

    fn opened(&mut self, member: StoredMember) -> Result<StoredMember, StoreError> {
        self.look_at(&member.endpoint);
        let keys = self.keys.clone();
        let open = |credentials: &Credentials, owner: &str| -> Result<Credentials, String> {
            if !credentials.password.expose().starts_with(SEALED) {
                return Ok(credentials.clone());
            }
            let keys = keys.as_ref().ok_or("its password is sealed, and no key is named (store.key_file)")?;
            let password = keys.open(&credentials.password, owner).map_err(|error| error.to_string())?;
            Ok(Credentials { username: credentials.username.clone(), password })
        };
        let endpoint = each_hop(&member.endpoint, &open).map_err(|reason| self.failed(&member.endpoint, reason))?;
        Ok(StoredMember { endpoint, ..member })
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
        let members = members.into_iter().map(|member| self.opened(member)).collect::<Result<_, _>>()?;
        Ok(Page { members, next })
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        self.below.load_sessions()
    }

    fn load_bans(&mut self) -> Result<Vec<StoredBan>, StoreError> {
        self.below.load_bans()
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if self.keys.is_none() {
            changes.upserts.iter().for_each(|member| self.look_at(&member.endpoint));
            return self.below.save(changes);
        }
        let upserts = changes.upserts.iter().map(|member| self.sealed(member)).collect::<Result<_, _>>()?;
        // All but the members is passed on as it is: they are many, and not copied twice.
        let Changes { upserts: _, removed, sessions, forgotten, bans, bans_again, lifted, lifted_again } = changes;
        self.below.save(&Changes {
            upserts,
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
        let members = std::mem::take(&mut news.members);
        // One that another gateway has sealed with a key that is not here is no reason to miss the others.
        let skipped = |error: &StoreError| tracing::warn!(%error, "what others say of a proxy cannot be read");
        news.members = members.into_iter().filter_map(|member| self.opened(member).inspect_err(skipped).ok()).collect();
        Ok(news)
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

    fn keys() -> Arc<Keyring> {
        Arc::new(Keyring::parse(&Keyring::generate().unwrap()).unwrap())
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
            let longest = format!("http://me:{}@c.example:80", "hunter2".repeat(36));
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
            let error = open(&url, None).load().unwrap_err().to_string();
            assert!(error.contains("sealed, and no key is named") && error.contains("http://me@1.2.3.4:80"), "{error}");
            let error = open(&url, Some(&super::tests::keys())).load().unwrap_err().to_string();
            assert!(error.contains("which is not among those that there are"), "{error}");
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
        let error =
            Sealing::new(Box::new(below), Some(keys), "x".to_owned(), ClearText::Told).load().unwrap_err().to_string();
        assert!(error.contains("the password of another proxy"), "{error}");
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
