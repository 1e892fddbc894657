//! Logins that commands have set in place of those that members came with, among the keys of plugins of any store.
//!
//! Each is one key, so that two that are set at the same time do not undo each other. Its password is sealed as those of members are,
//! with the name of the key in the tag: it cannot be put in the place of another's.

use std::sync::Arc;

use proxywhirl_core::kv::{KeyRecord, KeyValues, KvError, KvWrite};
use proxywhirl_core::secret::SEALED;
use proxywhirl_core::{Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::keyring::{self, KeyId, Keyring};

/// Whose keys they are: no plugin can have this name.
const OWNER: &str = "host/logins";

/// As many are kept: whoever sets more names members by tags.
const MOST: usize = 256;

/// A login as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLogin {
    /// What it is called.
    pub name: String,
    /// Whom it is for; none for those whom the configuration names for it.
    pub covers: Option<Covers>,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// When it was set.
    pub at: Timestamp,
}

/// Whom a login is for, as texts: all that is said must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Covers {
    /// The tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The key of one member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

/// A login that cannot be made out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadLogin {
    /// The key that it is kept under.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// The value of a key.
#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    covers: Option<Covers>,
    username: String,
    #[serde(serialize_with = "exposed")]
    password: Secret,
    /// Microseconds since the Unix epoch.
    at: u64,
}

/// A key, and what it holds; or why that is none.
type Found = (String, Result<Row, String>);

fn exposed<S: serde::Serializer>(password: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(password.expose())
}

/// The logins in a store.
pub struct StoredLogins {
    keys: Arc<dyn KeyValues>,
    keyring: Option<Arc<Keyring>>,
}

impl std::fmt::Debug for StoredLogins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredLogins").finish_non_exhaustive()
    }
}

impl StoredLogins {
    /// Those among these keys, sealed with the first of the keyring and opened with any; as they are when there is none.
    #[must_use]
    pub fn new(keys: Arc<dyn KeyValues>, keyring: Option<Arc<Keyring>>) -> Self {
        Self { keys, keyring }
    }

    /// All of them, the newest first, and those that cannot be made out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn all(&self) -> Result<(Vec<StoredLogin>, Vec<UnreadLogin>), KvError> {
        let (mut logins, mut unread) = (Vec::new(), Vec::new());
        for (key, row) in self.rows()? {
            match row.and_then(|row| opened(self.keyring.as_deref(), &key, row)) {
                Ok(login) => logins.push(login),
                Err(reason) => unread.push(UnreadLogin { name: shown(&key).to_owned(), reason }),
            }
        }
        logins.sort_by(|one, other| (other.at, &one.name).cmp(&(one.at, &other.name)));
        Ok((logins, unread))
    }

    /// Keeps a login, in place of the one of the same name.
    ///
    /// # Errors
    /// When there are too many, or the store cannot be written.
    pub fn keep(&self, login: &StoredLogin) -> Result<(), KvError> {
        let key = key(&login.name, login.covers.is_some());
        let keys = self.keys()?;
        if keys.len() >= MOST && !keys.contains(&key) {
            return Err(KvError::Unavailable(format!(
                "there are {MOST} logins that commands have set: take some back"
            )));
        }
        self.write(&key, login)
    }

    /// Keeps no login of this name any more; whether there was one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget(&self, name: &str, has_covers: bool) -> Result<bool, KvError> {
        let was_there = self.keys.delete(OWNER, &key(name, has_covers), Timestamp::default())?;
        self.keys.sync()?;
        Ok(was_there)
    }

    /// Seals all of them with the first key; how many, and those that cannot be opened, which stay as they are.
    ///
    /// # Errors
    /// When the store cannot be read and written.
    pub fn seal(&self) -> Result<(usize, Vec<UnreadLogin>), KvError> {
        let (logins, unread) = self.all()?;
        for login in &logins {
            self.write(&key(&login.name, login.covers.is_some()), login)?;
        }
        Ok((logins.iter().filter(|login| !login.password.is_empty()).count(), unread))
    }

    /// The key that each password is sealed with; none for one in clear text.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn sealed_with(&self) -> Result<Vec<Option<KeyId>>, KvError> {
        let rows = self.rows()?.into_iter().filter_map(|(_, row)| row.ok());
        Ok(rows.filter(|row| !row.password.is_empty()).map(|row| keyring::sealed_with(&row.password)).collect())
    }

    fn keys(&self) -> Result<Vec<String>, KvError> {
        // Nothing of it expires.
        self.keys.keys(OWNER, "", "", MOST, Timestamp::default())
    }

    fn rows(&self) -> Result<Vec<Found>, KvError> {
        let mut rows = Vec::new();
        for key in self.keys()? {
            // One that is taken back meanwhile is none.
            if let Some(entry) = self.keys.get(OWNER, &key, Timestamp::default())? {
                // What is wrong with it is told without its text.
                let row = serde_json::from_slice(&entry.value).map_err(|_| "what is kept is no login".to_owned());
                rows.push((key, row));
            }
        }
        Ok(rows)
    }

    fn write(&self, name: &str, login: &StoredLogin) -> Result<(), KvError> {
        let value = written(self.keyring.as_deref(), name, login).map_err(KvError::Unavailable)?;
        let write = KvWrite { value: &value, expires: None, quota: u64::MAX };
        self.keys.set(OWNER, name, &write, Timestamp::default())?;
        self.keys.sync()
    }
}

/// The value of a login, its password sealed with the first of these keys.
fn written(keyring: Option<&Keyring>, key: &str, login: &StoredLogin) -> Result<Vec<u8>, String> {
    let StoredLogin { name, covers, username, at, .. } = login;
    let password = match keyring {
        Some(keys) if !login.password.is_empty() => keys.seal(&login.password, &owner(key))?,
        _ => login.password.clone(),
    };
    let (name, covers, username) = (name.clone(), covers.clone(), username.clone());
    serde_json::to_vec(&Row { name, covers, username, password, at: at.as_micros() }).map_err(|error| error.to_string())
}

fn opened(keyring: Option<&Keyring>, key: &str, row: Row) -> Result<StoredLogin, String> {
    let password = match (keyring, keyring::sealed_with(&row.password)) {
        (_, None) if row.password.expose().starts_with(SEALED) => {
            return Err("its password is sealed, and damaged".to_owned());
        }
        (_, None) => row.password,
        (None, Some(id)) => {
            return Err(format!("its password is sealed with the key {id}, and no key is named (store.key_file)"));
        }
        (Some(keys), Some(_)) => keys.open(&row.password, &owner(key)).map_err(|error| error.to_string())?,
    };
    let at = Timestamp::from_micros(row.at);
    Ok(StoredLogin { name: row.name, covers: row.covers, username: row.username, password, at })
}

/// The key of a login: one that the configuration names is another than one that is called after whom it is for.
fn key(name: &str, has_covers: bool) -> String {
    format!("{} {name}", if has_covers { "for" } else { "section" })
}

/// The name that a login is known by, of its key.
fn shown(key: &str) -> &str {
    key.split_once(' ').map_or(key, |(_, name)| name)
}

/// Whose password it is, for its seal.
fn owner(key: &str) -> String {
    format!("login {key}")
}

/// The same record, when it is a login: with its password sealed with the first of these keys. What is no login that can be made out stays
/// as it is; one whose password cannot be opened is an error, in words for people.
pub(crate) fn sealed(record: &KeyRecord, keys: &Keyring) -> Option<Result<KeyRecord, String>> {
    let (key, value) = (record.key.as_ref()?, record.value.as_ref()?);
    let row = are_logins(&record.owner).then(|| serde_json::from_slice::<Row>(value).ok()).flatten()?;
    if row.password.is_empty() {
        return None;
    }
    let sealed = opened(Some(keys), key, row).and_then(|login| written(Some(keys), key, &login));
    let sealed = sealed.map_err(|reason| format!("login {}: {reason}", shown(key)));
    Some(sealed.map(|value| KeyRecord { value: Some(value), ..record.clone() }))
}

/// Whether keys are those in which logins are kept.
pub(crate) fn are_logins(owner: &str) -> bool {
    owner == OWNER
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{MemoryKeyValues, StoreUrl};

    fn login(name: &str, password: &str, at: u64) -> StoredLogin {
        let covers = Some(Covers { tag: Some("paid".to_owned()), ..Covers::default() });
        StoredLogin {
            name: name.to_owned(),
            covers,
            username: "me".to_owned(),
            password: Secret::new(password),
            at: Timestamp::from_micros(at),
        }
    }

    fn keys() -> Arc<Keyring> {
        Arc::new(Keyring::parse(&Keyring::generate().unwrap()).unwrap())
    }

    #[test]
    fn every_store_keeps_them_sealed_and_the_newest_goes_first() {
        for store in ["sqlite:pool.db", "file:pool.json", "file:pool.jsonl", "file:pool.json.gz"] {
            let folder = tempfile::tempdir().unwrap();
            let url = store.parse::<StoreUrl>().unwrap().within(folder.path());
            let keyring = keys();
            let open = |keyring: Option<&Arc<Keyring>>| StoredLogins::new(url.open().unwrap().keys, keyring.cloned());
            let section = StoredLogin { covers: None, ..login("vendor", "hunter2-c", 2) };
            let all = [login("tag b", "hunter2-b", 3), section, login("tag a", "hunter2-a", 1)];
            all.iter().rev().for_each(|login| open(Some(&keyring)).keep(login).unwrap());
            assert_eq!(open(Some(&keyring)).all().unwrap(), (all.to_vec(), Vec::new()), "{store}");
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{store}");
            }
            let (none, unread) = open(None).all().unwrap();
            assert_eq!((none.len(), unread.len()), (0, 3));
            assert!(unread[0].reason.contains(&keyring.ids().next().unwrap().to_string()), "{unread:?}");
            assert!(open(Some(&keys())).all().unwrap().1[0].reason.contains("not among those"), "{store}");
            assert!(open(None).forget("vendor", false).unwrap() && !open(None).forget("vendor", false).unwrap());
            assert_eq!(open(Some(&keyring)).all().unwrap().0.len(), 2, "{store}");
        }
    }

    #[test]
    fn one_is_not_put_in_the_place_of_another_and_what_is_none_stays() {
        let (store, keyring) = (Arc::new(MemoryKeyValues::new()), keys());
        let logins = StoredLogins::new(Arc::clone(&store) as _, Some(Arc::clone(&keyring)));
        logins.keep(&login("tag a", "hunter2", 1)).unwrap();
        let stolen = store.get(OWNER, "for tag a", Timestamp::default()).unwrap().unwrap().value;
        for (key, value) in [("for tag b", stolen.as_slice()), ("for tag c", b"hunter2")] {
            store.set(OWNER, key, &KvWrite { value, expires: None, quota: u64::MAX }, Timestamp::default()).unwrap();
        }
        let (all, unread) = logins.all().unwrap();
        assert_eq!((all.len(), unread.len()), (1, 2));
        assert!(unread.iter().all(|unread| !unread.reason.contains("hunter2")), "{unread:?}");
        assert_eq!(logins.seal().unwrap().0, 1);
        assert_eq!(logins.keys().unwrap().len(), 3, "what cannot be opened stays");
    }

    #[test]
    fn there_are_not_more_than_anybody_sets() {
        let logins = StoredLogins::new(Arc::new(MemoryKeyValues::new()), None);
        (0..MOST).for_each(|number| logins.keep(&login(&number.to_string(), "x", 1)).unwrap());
        assert!(logins.keep(&login("one more", "x", 1)).is_err());
        logins.keep(&login("7", "y", 2)).unwrap();
        assert_eq!(logins.all().unwrap().0[0].password.expose(), "y");
    }
}
