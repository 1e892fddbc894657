//! Which store, and where: `sqlite:pool.db`, `file:pool.json`, `redis://127.0.0.1`, `memory:`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use proxywhirl_core::kv::KeyArchive;
use proxywhirl_core::shared::{Buckets, Leases, Places, Quotas};
use proxywhirl_core::store::{Store, StoreError};

use crate::bans::WithBans;
use crate::file::{self, Access, FileForm};
use crate::sqlite;
use crate::{
    ClearText, Keyring, Memory, MemoryKeyValues, Redis, RedisBuckets, RedisLeases, RedisPlaces, RedisQuotas, RedisUrl,
    Sealing, Sqlite, SqliteKeyValues,
};

/// Which store, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StoreUrl {
    /// Nowhere: forgotten when the process ends.
    Memory,
    /// A JSON or JSON Lines file.
    File(PathBuf, FileForm),
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A Redis or Valkey server.
    Redis(RedisUrl),
}

/// A text names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAStore {
    /// Its scheme is unknown.
    #[error(
        "unknown store {0} (known are memory:, file:pool.json, file:pool.json.gz, file:pool.jsonl, sqlite:pool.db and redis://host)"
    )]
    Scheme(String),
    /// Its file has an ending that says nothing about its form.
    #[error("file:{0} ends with none of .json, .json.gz and .jsonl, which say how it is written")]
    Ending(String),
    /// It names no file, or one on another machine.
    #[error("{0} names no file on this machine; a file is written sqlite:pool.db or file:pool.json")]
    Path(String),
    /// It names no server.
    #[error("the URL of the server {0}; it is written redis://USER:PASSWORD@HOST:PORT/DATABASE?pool=NAME")]
    Server(String),
}

/// An open store, and the keys of plugins in it.
pub struct Opened {
    /// Members and sessions.
    pub store: Box<dyn Store>,
    /// Keys and values of plugins.
    pub keys: Arc<dyn KeyArchive>,
    /// How many members are best written at once: a JSON document is written whole each time.
    pub(crate) batch: usize,
}

impl Opened {
    fn of_server(store: Redis) -> Self {
        let keys = Arc::new(store.key_values());
        Self { store: Box::new(store), keys, batch: 10_000 }
    }

    pub(crate) fn with_bans(store: impl Store + 'static, keys: Arc<dyn KeyArchive>, batch: usize) -> Self {
        Self { store: Box::new(WithBans::new(store, Arc::clone(&keys))), keys, batch }
    }

    /// The same, whose passwords are sealed with the first of these keys and opened with any; with none, only that there are
    /// passwords in clear text is told, if that is wanted. `place` names the store in messages.
    #[must_use]
    pub fn sealed(self, keys: Option<Arc<Keyring>>, place: &StoreUrl, clear: ClearText) -> Self {
        if !place.is_lasting() {
            // It keeps nothing.
            return self;
        }
        Self { store: Box::new(Sealing::new(self.store, keys, place.to_string(), clear)), ..self }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

impl StoreUrl {
    /// The same, with a relative path as seen from a folder.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::Memory => Self::Memory,
            Self::File(path, form) => Self::File(folder.join(path), form),
            Self::Sqlite(path) => Self::Sqlite(folder.join(path)),
            Self::Redis(url) => Self::Redis(url),
        }
    }

    /// The URL with the password in it, for whoever opens it later; as it is shown, it is masked.
    #[must_use]
    pub fn exposed(&self) -> String {
        match self {
            Self::Redis(url) => url.exposed(),
            Self::Memory | Self::File(..) | Self::Sqlite(_) => self.to_string(),
        }
    }

    /// Whether what is kept in it outlives the process.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        !matches!(self, Self::Memory)
    }

    /// Whether it is the same store as another, however they are written.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let real = |url: &Self| url.path().and_then(|path| path.canonicalize().ok());
        match (self, other) {
            (Self::Redis(one), Self::Redis(other)) => one.is_same_pool(other),
            _ => self == other || real(self).is_some_and(|path| real(other) == Some(path)),
        }
    }

    /// What divides work among those who share the store; none when nobody can. `node` is the name of this gateway, which no
    /// other one may have.
    #[must_use]
    pub fn leases(&self, node: &str) -> Option<Box<dyn Leases>> {
        match self {
            Self::Redis(url) => Some(Box::new(RedisLeases::new(url, node))),
            Self::Memory | Self::File(..) | Self::Sqlite(_) => None,
        }
    }

    /// The token buckets of those who share the store; none when nobody can.
    #[must_use]
    pub fn buckets(&self) -> Option<Box<dyn Buckets>> {
        match self {
            Self::Redis(url) => Some(Box::new(RedisBuckets::new(url))),
            Self::Memory | Self::File(..) | Self::Sqlite(_) => None,
        }
    }

    /// The counters of what users have used, of those who share the store; none when nobody can.
    #[must_use]
    pub fn quotas(&self) -> Option<Box<dyn Quotas>> {
        match self {
            Self::Redis(url) => Some(Box::new(RedisQuotas::new(url))),
            Self::Memory | Self::File(..) | Self::Sqlite(_) => None,
        }
    }

    /// The places of users, of those who share the store; none when nobody can.
    #[must_use]
    pub fn places(&self) -> Option<Box<dyn Places>> {
        match self {
            Self::Redis(url) => Some(Box::new(RedisPlaces::new(url))),
            Self::Memory | Self::File(..) | Self::Sqlite(_) => None,
        }
    }

    /// The file; none when there is none.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory | Self::Redis(_) => None,
            Self::File(path, _) | Self::Sqlite(path) => Some(path),
        }
    }

    /// Whether there is something to read.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path().is_none_or(Path::exists)
    }

    /// What it is, in a word for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File(..) => "file",
            Self::Sqlite(_) => "database",
            Self::Redis(_) => "server",
        }
    }

    /// Opens it to be read and written, and makes it when it is missing.
    ///
    /// # Errors
    /// When it cannot be opened, is none, comes of a later version, or is written by another process.
    pub fn open(&self) -> Result<Opened, StoreError> {
        self.open_for(Access::Write)
    }

    /// Opens it as [`open`](Self::open) does, and a server also when it cannot be reached now: it is asked again whenever something is
    /// read or written.
    ///
    /// # Errors
    /// As for [`open`](Self::open), but for a server that is away.
    pub fn open_though_away(&self) -> Result<Opened, StoreError> {
        match self {
            Self::Redis(url) => Ok(Opened::of_server(Redis::open_though_away(url)?)),
            Self::Memory | Self::File(..) | Self::Sqlite(_) => self.open(),
        }
    }

    /// Whether a process has opened it to write it: what it has in memory it goes on saving, whatever becomes of the store. Others may
    /// write a database too, and no file. Those that share a server hear of each other.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::File(path, _) => file::disk::Share::is_held(path),
            Self::Sqlite(path) => sqlite::is_in_use(path),
            Self::Memory | Self::Redis(_) => false,
        }
    }

    /// Opens it to be read, whoever writes it meanwhile.
    ///
    /// # Errors
    /// When it cannot be opened, is none, or comes of a later version.
    pub fn open_to_read(&self) -> Result<Opened, StoreError> {
        self.open_for(Access::Read)
    }

    fn open_for(&self, access: Access) -> Result<Opened, StoreError> {
        // Here, since a store is opened once, and a database for the pool and for the keys.
        self.path().into_iter().for_each(crate::warn_when_open_to_others);
        Ok(match self {
            Self::Memory => Opened::with_bans(Memory::new(), Arc::new(MemoryKeyValues::new()), usize::MAX),
            Self::File(path, form) => {
                let (store, keys) = file::open(path, *form, access)?;
                Opened::with_bans(store, Arc::new(keys), usize::MAX)
            }
            // Readers and writers of a database are in nobody's way.
            Self::Sqlite(path) => {
                let (store, keys) = match access {
                    Access::Read => (Sqlite::open_to_read(path)?, SqliteKeyValues::open_to_read(path)?),
                    Access::Write => (Sqlite::open_to_write(path)?, SqliteKeyValues::open(path)?),
                };
                Opened::with_bans(store, Arc::new(keys), 10_000)
            }
            Self::Redis(url) => Opened::of_server(Redis::open(url, access)?),
        })
    }
}

impl FromStr for StoreUrl {
    type Err = NotAStore;

    /// Reads `memory:`, `file:PATH`, `sqlite:PATH`, `redis://HOST`, or a path alone, which is an SQLite file.
    fn from_str(text: &str) -> Result<Self, NotAStore> {
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            return match text {
                "" => Err(NotAStore::Path("an empty text".to_owned())),
                path => Ok(Self::Sqlite(path.into())),
            };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "memory" if matches!(rest, "" | "//") => Ok(Self::Memory),
            "file" => {
                let path = path(text, rest)?;
                let form = form(&path).ok_or_else(|| NotAStore::Ending(path.display().to_string()))?;
                Ok(Self::File(path, form))
            }
            "sqlite" => path(text, rest).map(Self::Sqlite),
            "redis" | "valkey" => RedisUrl::parse(false, rest).map(Self::Redis).map_err(NotAStore::Server),
            "rediss" | "valkeys" => RedisUrl::parse(true, rest).map(Self::Redis).map_err(NotAStore::Server),
            // What follows may hold a password.
            _ => Err(NotAStore::Scheme(format!("{scheme}:"))),
        }
    }
}

/// Whether it is a scheme and not the beginning of a path: one letter is a drive.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// `pool.json`, `/var/pool.json`, and `///var/pool.json`: two slashes begin a machine's name, which is ours when it is empty.
fn path(text: &str, rest: &str) -> Result<PathBuf, NotAStore> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        // What follows may hold a password.
        Some(_) => return Err(NotAStore::Path(format!("what follows {}", begins(text)))),
        None => rest,
    };
    if path.is_empty() { Err(NotAStore::Path(text.to_owned())) } else { Ok(path.into()) }
}

/// The scheme of a URL with its slashes.
fn begins(text: &str) -> &str {
    text.split_inclusive("//").next().unwrap_or_default()
}

fn form(path: &Path) -> Option<FileForm> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    [
        (".json", FileForm::Json),
        (".json.gz", FileForm::JsonGzip),
        (".jsonl", FileForm::JsonLines),
        (".ndjson", FileForm::JsonLines),
    ]
    .into_iter()
    .find_map(|(ending, form)| name.ends_with(ending).then_some(form))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::File(path, _) => write!(f, "file:{}", path.display()),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(url) => write!(f, "{url}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StoreUrl, String> {
        text.parse().map_err(|error: NotAStore| error.to_string())
    }

    #[test]
    fn a_store_is_known_by_its_url() {
        let file = |path: &str, form| Ok(StoreUrl::File(path.into(), form));
        assert_eq!(read("memory:"), Ok(StoreUrl::Memory));
        assert_eq!(read("file:pool.json"), file("pool.json", FileForm::Json));
        assert_eq!(read("FILE:a b/Pool.JSON.gz"), file("a b/Pool.JSON.gz", FileForm::JsonGzip));
        assert_eq!(read("file:///var/pool.jsonl"), file("/var/pool.jsonl", FileForm::JsonLines));
        assert_eq!(read("sqlite:/var/pool.db"), Ok(StoreUrl::Sqlite("/var/pool.db".into())));
        // A path alone is what it always was, whatever its ending.
        for path in ["pool.db", "./a:b.db", "C:\\pool.db", "/var/pool.json"] {
            assert_eq!(read(path), Ok(StoreUrl::Sqlite(path.into())), "{path}");
        }
    }

    #[test]
    fn what_is_no_store_is_told_with_what_is() {
        let known =
            "(known are memory:, file:pool.json, file:pool.json.gz, file:pool.jsonl, sqlite:pool.db and redis://host)";
        assert_eq!(read("mysql://:hunter2@h:3306/0"), Err(format!("unknown store mysql: {known}")));
        assert!(
            read("redis::hunter2@h").unwrap_err().starts_with("the URL of the server has no // before its host; it")
        );
        assert!(read("memory:pool").unwrap_err().starts_with("unknown store memory:"));
        assert!(read("file:pool.db").unwrap_err().contains("none of .json, .json.gz and .jsonl"));
        for text in ["file://host/pool.json", "sqlite://user:hunter2@h/x"] {
            let (error, scheme) = (read(text).unwrap_err(), text.split_once("//").unwrap().0);
            assert!(error.starts_with(&format!("what follows {scheme}// names no file on this machine")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        for text in ["file:", "sqlite:", "sqlite://", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_comes_back_from_its_text_and_is_seen_from_a_folder() {
        for text in ["memory:", "file:pool.json", "file:/var/pool.jsonl", "sqlite:pool.db", "rediss://a:1,b:2/3?pool=c"]
        {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        let within = |text: &str| read(text).unwrap().within(Path::new("/etc")).to_string();
        assert_eq!(within("file:pool.json"), "file:/etc/pool.json");
        assert_eq!(within("pool.db"), "sqlite:/etc/pool.db");
        assert_eq!(within("sqlite:/var/pool.db"), "sqlite:/var/pool.db");
        assert_eq!(within("Valkeys://h"), "rediss://h:6379");
    }

    #[test]
    fn a_password_is_masked_unless_somebody_asks_for_it() {
        let url = read("redis://me:hunter2@h").unwrap();
        assert_eq!(
            (url.to_string(), url.exposed()),
            ("redis://me:***@h:6379".into(), "redis://me:hunter2@h:6379".into())
        );
        assert!(!format!("{url:?}").contains("hunter2"));
        assert!(url.is_same(&read("redis://h/0").unwrap()));
        assert!(!url.is_same(&read("redis://h/1").unwrap()) && !url.is_same(&StoreUrl::Memory));
    }
}
