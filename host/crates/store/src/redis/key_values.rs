//! Keys and values of plugins in the server. Each change is one script.
//!
//! A connection of its own, so that a plugin does not wait for a save of the pool.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyArchive, KeyRecord, KeyValues, KvEntry, KvError, KvWrite};
use redis::{Cmd, FromRedisValue};

use super::link::{Limits, Link};
use super::url::RedisUrl;
use super::{Names, command, script};

/// Digits of a version, and of a time.
const DIGITS: usize = 20;

/// Keys in one answer.
const PAGE: usize = 1_000;

/// Keys and values in a Redis or Valkey server.
#[derive(Debug)]
pub struct RedisKeyValues {
    /// Held for one command, or for a few that read.
    link: Mutex<Link>,
    names: Names,
}

impl RedisKeyValues {
    /// Those in the pool of a server. It is connected to when the first of them is asked for.
    #[must_use]
    pub fn new(url: &RedisUrl) -> Self {
        Self { link: Mutex::new(Link::new(url.clone(), Limits::default())), names: Names::of(url) }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, KvError> {
        let mut link = self.link();
        link.query(command).map_err(|refusal| KvError::Unavailable(link.error(refusal).to_string()))
    }

    /// Carries out a script over the keys of an owner.
    fn change(&self, text: &str, owner: &str, now: Timestamp, arguments: &[&[u8]]) -> Result<i64, KvError> {
        let keys = ["owners".to_owned(), of("keys", owner), of("order", owner), of("expiry", owner)];
        let keys: Vec<String> = keys.iter().map(|what| self.names.name(what)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let text = format!("{}\n{text}", include_str!("keys.lua"));
        let mut change = script(&text, &keys, &[owner, &now.as_micros().to_string()]);
        change.arg(arguments);
        self.query(&change)
    }

    fn write(
        &self,
        owner: &str,
        key: &str,
        expected: &str,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<u64, KvError> {
        let (quota, expires) = (write.quota.to_string(), expires(write.expires));
        let arguments = [key.as_bytes(), expected.as_bytes(), quota.as_bytes(), expires.as_bytes(), write.value];
        let version = self.change(include_str!("set.lua"), owner, now, &arguments)?;
        // Only a quota makes it less than nothing.
        u64::try_from(version).map_err(|_| KvError::Quota(write.quota))
    }

    fn hash(&self, name: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, KvError> {
        let mut link = self.link();
        let all = command("HGETALL", [self.names.name(name).as_str()]);
        link.query_bulk(&all).map_err(|refusal| KvError::Unavailable(link.error(refusal).to_string()))
    }
}

impl KeyValues for RedisKeyValues {
    fn get(&self, owner: &str, key: &str, now: Timestamp) -> Result<Option<KvEntry>, KvError> {
        let get = command("HGET", [self.names.name(&of("keys", owner)).as_str(), key]);
        let held: Option<Vec<u8>> = self.query(&get)?;
        let held = held.as_deref().and_then(Held::read);
        Ok(held.filter(|held| held.expires.is_none_or(|expires| expires > now)).map(|held| held.entry))
    }

    fn set(&self, owner: &str, key: &str, write: &KvWrite<'_>, now: Timestamp) -> Result<u64, KvError> {
        self.write(owner, key, "", write, now)
    }

    fn compare_and_swap(
        &self,
        owner: &str,
        key: &str,
        expected: u64,
        write: &KvWrite<'_>,
        now: Timestamp,
    ) -> Result<Option<u64>, KvError> {
        let version = self.write(owner, key, &expected.to_string(), write, now)?;
        Ok(Some(version).filter(|version| *version != 0))
    }

    fn delete(&self, owner: &str, key: &str, now: Timestamp) -> Result<bool, KvError> {
        Ok(self.change(include_str!("delete.lua"), owner, now, &[key.as_bytes()])? == 1)
    }

    fn keys(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<String>, KvError> {
        let (order, expiry) = (self.names.name(&of("order", owner)), self.names.name(&of("expiry", owner)));
        let now = now.as_micros().to_string();
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
        keys.truncate(limit);
        Ok(keys)
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
        self.change(include_str!("restore.lua"), &record.owner, Timestamp::default(), &arguments).map(drop)
    }
}

/// What a key holds: its version, when it expires, and the value.
struct Held {
    entry: KvEntry,
    expires: Option<Timestamp>,
}

impl Held {
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
