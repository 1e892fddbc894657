//! Keys and values of plugins in the server. Each change is one script.
//!
//! While the server is away, what is known answers, and what is set waits (`absence`). When it has lost everything, as the epoch of
//! the pool tells with each command, or has gone back to what it held before, as versions tell that were newer, what is known is
//! brought back before anything else is done.
//!
//! A connection of its own, so that a plugin does not wait for a save of the pool.

mod catching_up;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyArchive, KeyRecord, KeyValues, KvEntry, KvError, KvWrite};
use redis::{Cmd, FromRedisValue};

use super::absence::{Absence, Known};
use super::link::{Limits, Link, Refusal};
use super::url::RedisUrl;
use super::{Names, TURNS, command, script};

/// Digits of a version, and of a time.
const DIGITS: usize = 20;

/// Keys in one answer.
const PAGE: usize = 1_000;

/// What a script says when the server has lost everything.
const LOST: i64 = -2;

/// What it says when the server has gone back to what it held before.
const BACK: i64 = -3;

/// Keys and values in a Redis or Valkey server.
#[derive(Debug)]
pub struct RedisKeyValues {
    /// Held for one command, or for a few that read.
    server: Mutex<Server>,
    names: Names,
}

/// The server, and what is done while it is away.
#[derive(Debug)]
struct Server {
    link: Link,
    absence: Absence,
    /// Which pool the keys are in, and in which of its lives; empty when that is not known, or there is none.
    epoch: String,
    /// The newest version of any key of an owner, as far as it was heard.
    newest: HashMap<String, u64>,
}

impl RedisKeyValues {
    /// Those in the pool of a server. It is connected to when the first of them is asked for.
    #[must_use]
    pub fn new(url: &RedisUrl) -> Self {
        Self::within(url, Limits::default())
    }

    pub(super) fn within(url: &RedisUrl, limits: Limits) -> Self {
        Self::over(Link::new(url.clone(), limits), Names::of(url))
    }

    /// Those over a connection of their own.
    pub(super) fn over(link: Link, names: Names) -> Self {
        let server = Server { link, absence: Absence::default(), epoch: String::new(), newest: HashMap::new() };
        Self { server: Mutex::new(server), names }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, KvError> {
        let mut server = self.server();
        server.link.query(command).map_err(|refusal| server.unavailable(refusal))
    }

    /// The script that changes keys of an owner, of whose keys this is the newest version that was heard of in this life of the pool.
    fn script(&self, text: &str, (owner, life): (&str, (&str, u64)), now: Timestamp, arguments: &[&[u8]]) -> Cmd {
        let kinds = ["owners", "keys", "order", "expiry", "layout", "brought"];
        let name = |kind: &&str| match *kind {
            "owners" | "layout" => self.names.name(kind),
            kind => self.names.name(&of(kind, owner)),
        };
        let keys: Vec<String> = kinds.iter().map(name).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let text = format!("{}\n{text}", include_str!("keys.lua"));
        let known = format!("{} {}", life.0, life.1);
        let mut change = script(&text, &keys, &[owner, &now.as_micros().to_string(), &known]);
        change.arg(arguments);
        change
    }

    /// Carries out a script over the keys of an owner: what it says, and the newest version of any of them. What the server has lost
    /// is brought back before.
    fn change(
        &self,
        server: &mut Server,
        (text, owner): (&str, &str),
        now: Timestamp,
        arguments: &[&[u8]],
    ) -> Result<(i64, u64), Refusal> {
        for _ in 0..TURNS {
            let change = self.script(text, (owner, (&server.epoch, server.heard_of(owner))), now, arguments);
            let (said, version, epoch): (i64, u64, String) = server.link.query(&change)?;
            match said {
                LOST => self.see(server, epoch, now).map(drop)?,
                BACK => self.begin_another_life(server, &epoch, now)?,
                said => {
                    server.epoch = epoch;
                    server.hear_of(owner, version);
                    return Ok((said, version));
                }
            }
        }
        Err(Refusal::new("has lost everything several times while keys were written"))
    }

    /// Sets a key, if it has the expected version when one is expected; what the script says.
    fn write(
        &self,
        server: &mut Server,
        (owner, key): (&str, &str),
        expected: &str,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<i64, Refusal> {
        let (quota, expires) = (write.quota.to_string(), expires(write.expires));
        let arguments = [key.as_bytes(), expected.as_bytes(), quota.as_bytes(), expires.as_bytes(), write.value];
        self.change(server, (include_str!("set.lua"), owner), now, &arguments).map(|(said, _)| said)
    }

    /// What a key holds in the server.
    fn read(&self, server: &mut Server, (owner, key): (&str, &str), now: Timestamp) -> Result<Option<Held>, Refusal> {
        let names = ["layout", &of("keys", owner), "owners"].map(|name| self.names.name(name));
        let get = script(include_str!("get.lua"), &names.each_ref().map(String::as_str), &[key, owner]);
        for _ in 0..TURNS {
            let (epoch, held, owned): (String, Option<Vec<u8>>, Option<String>) = server.link.query(&get)?;
            if !self.see(server, epoch.clone(), now)? {
                continue;
            }
            let newest = owned.and_then(|owned| owned.split(' ').next()?.parse().ok()).unwrap_or(0);
            if newest >= server.heard_of(owner) {
                server.hear_of(owner, newest);
                return Ok(held.as_deref().and_then(Held::read));
            }
            self.begin_another_life(server, &epoch, now)?;
        }
        Err(Refusal::new("has lost everything several times while a key was read"))
    }

    fn hash(&self, name: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, KvError> {
        let mut server = self.server();
        let all = command("HGETALL", [self.names.name(name).as_str()]);
        server.link.query_bulk(&all).map_err(|refusal| server.unavailable(refusal))
    }
}

impl Server {
    /// The newest version of any key of an owner that was heard of; 0 for none.
    fn heard_of(&self, owner: &str) -> u64 {
        self.newest.get(owner).copied().unwrap_or(0)
    }

    fn hear_of(&mut self, owner: &str, version: u64) {
        match self.newest.get_mut(owner) {
            Some(newest) => *newest = version,
            None => drop(self.newest.insert(owner.to_owned(), version)),
        }
    }

    /// A key was written, after whatever waited, and whatever was there before.
    fn has_written(&mut self, (owner, key): (&str, &str), known: Known) {
        let name = (owner.to_owned(), key.to_owned());
        self.absence.done(&name);
        self.absence.paid(&name);
        self.absence.learn(owner, key, known);
    }

    fn unavailable(&self, refusal: Refusal) -> KvError {
        KvError::Unavailable(self.link.error(refusal).to_string())
    }
}

impl KeyValues for RedisKeyValues {
    fn get(&self, owner: &str, key: &str, now: Timestamp) -> Result<Option<KvEntry>, KvError> {
        let name = (owner.to_owned(), key.to_owned());
        let mut server = self.server();
        let asked = self.catch_up(&mut server, now).and_then(|()| self.read(&mut server, (owner, key), now));
        let held = match asked {
            // What the server has refused so far.
            Ok(_) if server.absence.waits(&name).is_some() => server.absence.waits(&name),
            // What it has lost, and was not brought back yet.
            Ok(None) if server.absence.is_owed(&name) => server.absence.recall(owner, key).flatten(),
            Ok(None) => {
                server.absence.learn_nothing(owner, key);
                None
            }
            Ok(Some(held)) => {
                server.absence.paid(&name);
                server.absence.learn(owner, key, Known::Held(held.clone()));
                Some(held)
            }
            Err(refusal) => match server.absence.recall(owner, key).filter(|_| refusal.is_away) {
                Some(held) => held,
                None => return Err(server.unavailable(refusal)),
            },
        };
        Ok(held.filter(|held| held.expires.is_none_or(|expires| expires > now)).map(|held| held.entry))
    }

    fn set(&self, owner: &str, key: &str, write: &KvWrite<'_>, now: Timestamp) -> Result<u64, KvError> {
        let mut server = self.server();
        let asked =
            self.catch_up(&mut server, now).and_then(|()| self.write(&mut server, (owner, key), "", write, now));
        match asked {
            Ok(version) => {
                // Only a quota makes it less than nothing.
                let version = u64::try_from(version).map_err(|_| KvError::Quota(write.quota))?;
                server.has_written((owner, key), Known::Held(Held::of(write, version)));
                Ok(version)
            }
            Err(refusal) if refusal.is_away => {
                let version = server.absence.put_off(owner, key, write)?;
                version.ok_or_else(|| server.unavailable(refusal))
            }
            Err(refusal) => Err(server.unavailable(refusal)),
        }
    }

    /// Only the server knows what is there: while it is away, nothing is swapped.
    fn compare_and_swap(
        &self,
        owner: &str,
        key: &str,
        expected: u64,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, KvError> {
        let mut server = self.server();
        let expected = expected.to_string();
        let asked = self
            .catch_up(&mut server, now)
            .and_then(|()| self.settle(&mut server, (owner, key), now))
            .and_then(|()| self.write(&mut server, (owner, key), &expected, write, now));
        let version = asked.map_err(|refusal| server.unavailable(refusal))?;
        let version = u64::try_from(version).map_err(|_| KvError::Quota(write.quota))?;
        if version == 0 {
            return Ok(None);
        }
        server.has_written((owner, key), Known::Held(Held::of(write, version)));
        Ok(Some(version))
    }

    fn delete(&self, owner: &str, key: &str, now: Timestamp) -> Result<bool, KvError> {
        let mut server = self.server();
        let delete = (include_str!("delete.lua"), owner);
        let asked = self
            .catch_up(&mut server, now)
            .and_then(|()| self.settle(&mut server, (owner, key), now))
            .and_then(|()| self.change(&mut server, delete, now, &[key.as_bytes()]));
        let (deleted, version) = asked.map_err(|refusal| server.unavailable(refusal))?;
        server.has_written((owner, key), Known::Gone(version));
        Ok(deleted == 1)
    }

    fn sync(&self) -> Result<(), KvError> {
        let mut server = self.server();
        if server.absence.is_empty() {
            return Ok(());
        }
        let now = Timestamp::default() + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let synced = self
            .look(&mut server, now)
            .and_then(|()| self.catch_up(&mut server, now))
            .and_then(|()| self.try_again(&mut server, now));
        synced.map_err(|refusal| server.unavailable(refusal))
    }

    fn keys(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        limit: usize,
        at: Timestamp,
    ) -> Result<Vec<String>, KvError> {
        let mut server = self.server();
        let looked = self.look(&mut server, at).and_then(|()| self.catch_up(&mut server, at));
        looked.map_err(|refusal| server.unavailable(refusal))?;
        let unlisted = server.absence.unlisted(owner, at);
        drop(server);
        let (order, expiry) = (self.names.name(&of("order", owner)), self.names.name(&of("expiry", owner)));
        let now = at.as_micros().to_string();
        let expired: HashSet<Vec<u8>> = self.query(&command("ZRANGEBYSCORE", [expiry.as_str(), "-inf", &now]))?;
        let mut from = if !after.is_empty() && after >= prefix { format!("({after}") } else { format!("[{prefix}") };
        let mut keys = Vec::new();
        while keys.len() < limit {
            let mut range = command("ZRANGEBYLEX", [order.as_str(), &from, "+", "LIMIT", "0"]);
            range.arg(PAGE);
            let page: Vec<String> = self.query(&range)?;
            let (count, last) = (page.len(), page.last().cloned());
            // Keys are ordered by their bytes: the first that does not begin with it ends those that do.
            let beginning: Vec<String> = page.into_iter().take_while(|key| key.starts_with(prefix)).collect();
            let is_over = count < PAGE || beginning.len() < count;
            keys.extend(beginning.into_iter().filter(|key| !expired.contains(key.as_bytes())));
            let Some(last) = last.filter(|_| !is_over) else { break };
            from = format!("({last}");
        }
        let follows = |key: &String| key.starts_with(prefix) && (after.is_empty() || key.as_str() > after);
        let unlisted = unlisted.into_iter().filter(follows);
        let keys: BTreeSet<String> = keys.into_iter().chain(unlisted).collect();
        Ok(keys.into_iter().take(limit).collect())
    }
}

impl KeyArchive for RedisKeyValues {
    fn records(&self) -> Result<Vec<KeyRecord>, KvError> {
        let mut records = Vec::new();
        for (owner, held) in self.hash("owners")? {
            // Whatever is no text was written by somebody else.
            let Ok(owner) = String::from_utf8(owner) else { continue };
            let version = String::from_utf8_lossy(&held).split(' ').next().and_then(|word| word.parse().ok());
            let newest = KeyRecord { owner, version: version.unwrap_or(0), key: None, value: None, expires: None };
            let keys = self.hash(&of("keys", &newest.owner))?;
            records.push(newest.clone());
            records.extend(keys.into_iter().filter_map(|(key, held)| {
                let Held { entry, expires } = Held::read(&held)?;
                let (key, value) = (Some(String::from_utf8(key).ok()?), Some(entry.value));
                Some(KeyRecord { version: entry.version, key, value, expires, owner: newest.owner.clone() })
            }));
        }
        Ok(records)
    }

    fn restore(&self, record: &KeyRecord) -> Result<(), KvError> {
        let kind = match (&record.key, &record.value) {
            (None, _) => "owner",
            (Some(_), None) => "gone",
            (Some(_), Some(_)) => "held",
        };
        let (version, expires) = (record.version.to_string(), expires(record.expires));
        let key = record.key.as_deref().unwrap_or_default();
        let value = record.value.as_deref().unwrap_or_default();
        let arguments = [kind.as_bytes(), version.as_bytes(), key.as_bytes(), expires.as_bytes(), value];
        // Nothing expires while it is copied.
        let restore = (include_str!("restore.lua"), record.owner.as_str());
        let mut server = self.server();
        let restored = self.change(&mut server, restore, Timestamp::default(), &arguments);
        restored.map(drop).map_err(|refusal| server.unavailable(refusal))
    }
}

/// What a key holds: its version, when it expires, and the value.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) entry: KvEntry,
    pub(super) expires: Option<Timestamp>,
}

impl Held {
    fn of(write: &KvWrite<'_>, version: u64) -> Self {
        Self { entry: KvEntry { value: write.value.to_vec(), version }, expires: write.expires }
    }

    /// None for what somebody else wrote there.
    fn read(held: &[u8]) -> Option<Self> {
        let (version, rest) = held.split_at_checked(DIGITS)?;
        let (expires, value) = rest.split_at_checked(DIGITS)?;
        let number = |digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
        let expires = Some(number(expires)?).filter(|micros| *micros != 0).map(Timestamp::from_micros);
        Some(Self { entry: KvEntry { value: value.to_vec(), version: number(version)? }, expires })
    }
}

/// When a key expires, in as many digits as there always are; 0 for never, so the epoch itself is a moment later.
fn expires(at: Option<Timestamp>) -> String {
    format!("{:020}", at.map_or(0, |at| at.as_micros().max(1)))
}

fn of(what: &str, owner: &str) -> String {
    format!("{what}:{owner}")
}
