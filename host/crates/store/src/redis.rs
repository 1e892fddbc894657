//! Members and sessions in a Redis or Valkey server, which several processes may share. `host/docs/redis.md` says how they are
//! laid out, and how a save goes about.
//!
//! Invariants: a save is one script, done or not; it is counted once, though its answer may be lost; of statistics it carries
//! what came to them, so nobody overwrites what others have counted; a text that is no member is skipped and stays.

mod absence;
mod buckets;
mod key_values;
mod leases;
mod ledger;
mod link;
mod news;
mod places;
mod quotas;
mod row;
mod saving;
mod url;

use proxywhirl_core::store::{
    Changes, Everything, News, Page, Store, StoreError, StoredBan, StoredMember, StoredSession,
};
use redis::{Cmd, cmd};

pub use buckets::RedisBuckets;
pub use key_values::RedisKeyValues;
pub use leases::RedisLeases;
pub use places::RedisPlaces;
pub use quotas::RedisQuotas;
pub use url::RedisUrl;

use crate::file::Access;
use ledger::Ledger;
use link::{Limits, Link, Refusal};
use saving::{Doubtful, REMEMBERED, Steps};

/// The version of the layout that this program writes.
const LAYOUT: u32 = 1;

/// Members in one answer: some megabytes.
const PAGE: usize = 10_000;

/// How often a save is tried anew because the server knows another one, or another pool, than it follows.
const TURNS: usize = 3;

/// A pool in a Redis or Valkey server.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    names: Names,
    access: Access,
    /// Which pool it is; empty when there is none yet, and it is only read.
    epoch: String,
    /// Whether it is known which pool it is.
    is_found: bool,
    /// By whom saves are told apart from those of other processes.
    node: String,
    /// How many saves and fences were tried: each has a name of its own.
    turns: u64,
    /// The name of the last one that was done; none until the server has been told of this process.
    last: Option<String>,
    /// The save of which nobody knows whether it was done.
    doubtful: Option<Doubtful>,
    /// What saves that were in doubt have done, until one is done that is known to be.
    done: Steps,
    /// What the server holds, as far as this process has read or written it.
    ledger: Ledger,
    /// Whether it has lost something since that was told last.
    has_lost: bool,
    /// The number of the last notice that was heard.
    heard: u64,
    /// By what that notice is known among all that may ever have its number; empty when that is not known.
    mark: String,
    /// Whether there were others that were not.
    has_missed: bool,
    /// Whether it is to be told when the server does not keep what it has.
    warns: bool,
}

/// Names and texts.
type Hash = Vec<(Vec<u8>, Vec<u8>)>;

/// What is kept under a URL.
enum Found {
    Nobody,
    /// What is no member.
    Nonsense,
    Member(Box<StoredMember>),
}

/// The names of the keys.
#[derive(Debug, Clone)]
struct Names {
    prefix: String,
}

impl Names {
    fn of(url: &RedisUrl) -> Self {
        // What is in braces says which part of a cluster a key is in: the same for all of them.
        Self { prefix: format!("{{proxywhirl:{}}}", url.pool()) }
    }

    fn name(&self, what: &str) -> String {
        format!("{}:{what}", self.prefix)
    }
}

impl Redis {
    /// Connects to the server, and makes the pool in it when there is none and it is to be written.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, or the pool comes of a later version.
    pub fn open(url: &RedisUrl, access: Access) -> Result<Self, StoreError> {
        Self::open_within(url, access, Limits::default())
    }

    /// The same to write for long, and though the server cannot be reached now: then it is connected to when it is asked for.
    ///
    /// # Errors
    /// When the server is there and refuses, or the pool comes of a later version.
    pub fn open_though_away(url: &RedisUrl) -> Result<Self, StoreError> {
        let mut store = Self { warns: true, ..Self::at(url, Access::Write, Limits::default()) };
        match store.found() {
            Err(refusal) if !refusal.is_away => Err(store.link.error(refusal)),
            Ok(()) | Err(_) => Ok(store),
        }
    }

    fn open_within(url: &RedisUrl, access: Access, limits: Limits) -> Result<Self, StoreError> {
        let mut store = Self::at(url, access, limits);
        store.found().map_err(|refusal| store.link.error(refusal))?;
        Ok(store)
    }

    /// The keys and values in the same pool. When either finds that the server is away, the other need not wait for that too.
    #[must_use]
    pub fn key_values(&self) -> RedisKeyValues {
        RedisKeyValues::over(self.link.beside(), self.names.clone())
    }

    fn at(url: &RedisUrl, access: Access, limits: Limits) -> Self {
        Self {
            link: Link::new(url.clone(), limits),
            names: Names::of(url),
            access,
            epoch: String::new(),
            is_found: false,
            node: format!("{:016x}", fastrand::u64(..)),
            turns: 0,
            last: None,
            doubtful: None,
            done: Steps::default(),
            ledger: Ledger::default(),
            has_lost: false,
            heard: 0,
            mark: String::new(),
            has_missed: false,
            warns: false,
        }
    }

    /// Sees that it is known which pool it is.
    fn found(&mut self) -> Result<(), Refusal> {
        if self.is_found { Ok(()) } else { self.find() }
    }

    /// Finds out which pool it is, and makes it when there is none.
    fn find(&mut self) -> Result<(), Refusal> {
        let layout = self.names.name("layout");
        let find = match self.access {
            Access::Read => command("HMGET", [layout.as_str(), "version", "epoch", "notices"]),
            Access::Write => {
                let epoch = format!("{:016x}", fastrand::u64(..));
                script(include_str!("redis/open.lua"), &[&layout], &[&LAYOUT.to_string(), &epoch])
            }
        };
        let mut found = self.link.query::<Vec<Option<String>>>(&find)?.into_iter();
        let mut next = || found.next().flatten();
        let (version, epoch, notices) = (next().unwrap_or_default(), next(), next());
        if version.parse::<u32>().is_ok_and(|version| version > LAYOUT) {
            return Err(Refusal::new(format!(
                "was written by a later version of proxywhirl (layout {version}, this one knows up to {LAYOUT}); upgrade it"
            )));
        }
        if epoch.is_none() {
            // There is no pool, or what has its names is another program's.
            self.link.query::<u64>(&command("HLEN", [self.names.name("members").as_str()]))?;
        }
        self.epoch = epoch.unwrap_or_default();
        self.heard = notices.and_then(|number| number.parse().ok()).unwrap_or(0);
        self.mark.clear();
        self.is_found = true;
        if std::mem::take(&mut self.warns) && self.forgets() {
            tracing::warn!(
                store.pool = %self.names.prefix,
                "the server keeps no append-only file: after a crash it goes on with what it had some time before, and what was \
                 changed since may be undone; set `appendonly yes` there"
            );
        }
        Ok(())
    }

    /// Whether the server loses more than a moment when it crashes, as far as it may be asked.
    fn forgets(&mut self) -> bool {
        // In a script, which goes to the server that has the pool: a cluster has several.
        let layout = self.names.name("layout");
        let ask = script("return redis.call('INFO', 'persistence')", &[&layout], &[]);
        self.link.query::<String>(&ask).is_ok_and(|told| told.contains("aof_enabled:0"))
    }

    fn read(&mut self, after: Option<u64>, limit: usize) -> Result<Page, Refusal> {
        self.found()?;
        let limit = limit.min(PAGE);
        let from = after.map_or_else(|| "-inf".to_owned(), |after| format!("({after}"));
        let mut range = command("ZRANGEBYSCORE", [self.names.name("joined").as_str(), &from, "+inf", "WITHSCORES"]);
        range.arg("LIMIT").arg(0).arg(limit);
        let joined: Vec<(Vec<u8>, String)> = self.link.query(&range)?;
        let Some((_, last)) = joined.last() else { return Ok(Page::default()) };
        let next = last.parse().ok().filter(|_| joined.len() == limit);
        let urls: Vec<&[u8]> = joined.iter().map(|(url, _)| url.as_slice()).collect();
        let mut members = Vec::with_capacity(urls.len());
        for found in self.find_members(&urls)? {
            // Who was removed meanwhile has no row.
            if let Found::Member(member) = found {
                members.push(*member);
            }
        }
        Ok(Page { members, next })
    }

    fn read_sessions(&mut self) -> Result<Vec<StoredSession>, Refusal> {
        let held = self.all("sessions")?;
        let mut sessions: Vec<_> = held.iter().filter_map(|(name, held)| row::read_session(name, held)).collect();
        sessions.sort_by_key(|session| (session.used, session.session));
        Ok(sessions)
    }

    fn read_bans(&mut self) -> Result<Vec<StoredBan>, Refusal> {
        let held = self.all("bans")?;
        Ok(held.iter().filter_map(|(place, held)| row::read_ban(place, held)).collect())
    }

    /// Reads everything, and takes note of it when it is all there still: a save goes by what is known to be handed over.
    fn read_all(&mut self) -> Result<Option<Everything>, Refusal> {
        let mut all = Everything::default();
        let mut after = None;
        loop {
            let Page { members, next } = self.read(after, PAGE)?;
            all.members.extend(members);
            after = next;
            if after.is_none() {
                break;
            }
        }
        (all.sessions, all.bans) = (self.read_sessions()?, self.read_bans()?);
        if !self.look()? {
            return Ok(None);
        }
        self.ledger.meet_all(&all);
        Ok(Some(all))
    }

    /// What is kept under several URLs.
    fn find_members(&mut self, urls: &[&[u8]]) -> Result<Vec<Found>, Refusal> {
        let rows: Vec<Option<Vec<u8>>> = self.link.query(&many(&self.names.name("members"), urls))?;
        let counts: Vec<Option<Vec<u8>>> = self.link.query(&many(&self.names.name("statistics"), urls))?;
        let (mut skipped, mut reason) = (0_u64, None);
        let found = rows.into_iter().zip(counts).map(|(row, statistics)| {
            let Some(row) = row else { return Found::Nobody };
            row::read(&row, statistics.as_deref()).map_or_else(
                |error| {
                    skipped += 1;
                    reason.get_or_insert(error);
                    Found::Nonsense
                },
                |member| Found::Member(Box::new(member)),
            )
        });
        let found = found.collect();
        if let Some(reason) = reason {
            tracing::warn!(
                store.pool = %self.names.prefix, store.skipped = skipped, first.reason = %reason,
                "rows of the pool are no proxies and were skipped"
            );
        }
        Ok(found)
    }

    /// All that a hash holds.
    fn all(&mut self, hash: &str) -> Result<Hash, Refusal> {
        self.found()?;
        self.link.query_bulk(&command("HGETALL", [self.names.name(hash).as_str()]))
    }
}

impl Store for Redis {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        let page = self.read(after, limit).map_err(|refusal| self.link.error(refusal))?;
        if self.access == Access::Write {
            page.members.iter().for_each(|member| self.ledger.meet(member));
        }
        Ok(page)
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        let sessions = self.read_sessions().map_err(|refusal| self.link.error(refusal))?;
        if self.access == Access::Write {
            sessions.iter().for_each(|session| self.ledger.meet_session(session));
        }
        Ok(sessions)
    }

    fn load_bans(&mut self) -> Result<Vec<StoredBan>, StoreError> {
        self.read_bans().map_err(|refusal| self.link.error(refusal))
    }

    fn load_all(&mut self) -> Result<Option<Everything>, StoreError> {
        self.read_all().map_err(|refusal| self.link.error(refusal))
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if *changes == Changes::default() {
            return Ok(());
        }
        self.write(changes).map_err(|refusal| self.link.error(refusal))
    }

    fn is_intact(&mut self) -> Result<bool, StoreError> {
        self.look().map_err(|refusal| self.link.error(refusal))
    }

    fn is_reached(&self) -> bool {
        self.is_found
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn news(&mut self) -> Result<News, StoreError> {
        self.hear().map_err(|refusal| self.link.error(refusal))
    }
}

fn command<'a>(name: &str, arguments: impl IntoIterator<Item = &'a str>) -> Cmd {
    let mut command = cmd(name);
    for argument in arguments {
        command.arg(argument);
    }
    command
}

/// What a hash holds under several names.
fn many(hash: &str, names: &[&[u8]]) -> Cmd {
    let mut command = command("HMGET", [hash]);
    command.arg(names);
    command
}

/// A script with the keys that it changes and its arguments. Sent whole each time: the server knows those that it has seen by
/// their text, and one that was started anew needs no second attempt.
fn script(text: &str, keys: &[&str], arguments: &[&str]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text).arg(keys.len()).arg(keys).arg(arguments);
    command
}

#[cfg(test)]
mod tests;
