//! What there is to do for keys when the server is back: what was put off is written; and what it has lost is brought back, as far as
//! it is known.

use std::collections::HashMap;

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KvEntry, KvWrite};

use super::super::absence::{Known, Name, Waiting};
use super::super::link::Refusal;
use super::super::{REMEMBERED, command, script};
use super::{Held, RedisKeyValues, Server, expires};

/// Keys that are brought back with one command.
const BATCH: usize = 50;

/// Refusals of one plugin's keys after which no more of them are tried for now.
const FEW: usize = 3;

impl RedisKeyValues {
    /// The server has lost everything, and holds another pool now, or none: brings back what is known. Others may bring it too.
    pub(super) fn bring_back(&self, server: &mut Server, epoch: String, now: Timestamp) -> Result<(), Refusal> {
        server.absence.owe_all();
        server.newest.clear();
        server.epoch = epoch;
        self.bring_owed(server, now)
    }

    /// Brings back what the server has lost and was not asked to take back yet. What it refuses holds nothing else up, and is
    /// tried again later.
    fn bring_owed(&self, server: &mut Server, now: Timestamp) -> Result<(), Refusal> {
        for (owner, names) in server.absence.owed(false) {
            let brought = self.bring(server, &owner, &names, now)?;
            if let Err(refusal) = brought {
                let error = server.link.error(refusal);
                tracing::warn!(
                    plugin.name = owner,
                    keys = names.len(),
                    %error,
                    "keys that the store has lost cannot be brought back, and are tried again later"
                );
            } else {
                tracing::warn!(
                    plugin.name = owner,
                    keys = names.len(),
                    "the store has lost keys, and they are brought back"
                );
            }
        }
        Ok(())
    }

    /// Brings keys of an owner back, and why the server refuses some; after a few refusals the others count as refused.
    fn bring(
        &self,
        server: &mut Server,
        owner: &str,
        names: &[Name],
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, Refusal> {
        let (mut refused, mut refusals) = (Ok(()), 0);
        for batch in names.chunks(BATCH) {
            let brought = if refusals < FEW { self.bring_batch(server, owner, batch, now) } else { refused.clone() };
            match brought {
                Ok(()) => batch.iter().for_each(|name| server.absence.paid(name)),
                Err(refusal) if refusal.is_away => return Err(refusal),
                Err(refusal) => {
                    batch.iter().for_each(|name| server.absence.refuse_back(name));
                    (refused, refusals) = (Err(refusal), refusals + 1);
                }
            }
        }
        Ok(refused)
    }

    fn bring_batch(&self, server: &mut Server, owner: &str, names: &[Name], now: Timestamp) -> Result<(), Refusal> {
        let mut again = self.script(include_str!("../again.lua"), (owner, ("", 0)), now, &[]);
        again.arg(REMEMBERED);
        // Others were forgotten meanwhile.
        let known = names.iter().filter_map(|name| Some((name, server.absence.known(name)?)));
        for ((_, key), known) in known.filter(|(_, known)| !known.is_over(now) && known.version() > 0) {
            let held = known.held();
            again.arg(if held.is_some() { "held" } else { "gone" }).arg(known.version()).arg(key);
            again.arg(expires(held.and_then(|held| held.expires)));
            again.arg(held.map_or(&[][..], |held| &held.entry.value));
        }
        server.link.query_bulk::<(i64, u64, String)>(&again).map(drop)
    }

    /// Sees that the server has of a key what a plugin has read here: what waits or was lost is tried once more, and an error when
    /// it is refused.
    pub(super) fn settle(
        &self,
        server: &mut Server,
        (owner, key): (&str, &str),
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let name = (owner.to_owned(), key.to_owned());
        if server.absence.is_owed(&name) {
            self.bring(server, owner, std::slice::from_ref(&name), now)??;
        }
        if let Some(waiting) = server.absence.waiting(&name) {
            self.write_put_off(server, &name, waiting, now)?;
            server.absence.done(&name);
        }
        Ok(())
    }

    /// Brings back what the server has lost, if it has.
    pub(super) fn look(&self, server: &mut Server, now: Timestamp) -> Result<(), Refusal> {
        let layout = self.names.name("layout");
        let life: Vec<Option<String>> = server.link.query(&command("HMGET", [layout.as_str(), "epoch", "returned"]))?;
        self.see(server, life.into_iter().flatten().collect(), now).map(drop)
    }

    /// Whether the server still holds what it held, now that it has told which pool it is. What it has lost is brought back.
    pub(super) fn see(&self, server: &mut Server, epoch: String, now: Timestamp) -> Result<bool, Refusal> {
        let is_intact = server.epoch.is_empty() || server.epoch == epoch;
        if is_intact {
            server.epoch = epoch;
        } else if is_earlier(&epoch, &server.epoch) {
            // It has gone back to before it went back.
            self.begin_another_life(server, &epoch, now)?;
        } else {
            self.bring_back(server, epoch, now)?;
        }
        Ok(is_intact)
    }

    /// The server has gone back to what it held before in this life of the pool: another one begins, unless somebody else has begun it.
    pub(super) fn begin_another_life(&self, server: &mut Server, epoch: &str, now: Timestamp) -> Result<(), Refusal> {
        let names = ["layout", "owners"].map(|name| self.names.name(name));
        let name = format!("{:016x}", fastrand::u64(..));
        let begin =
            script(include_str!("../returned.lua"), &names.each_ref().map(String::as_str), &[epoch, name.as_str()]);
        let epoch = server.link.query(&begin)?;
        self.bring_back(server, epoch, now)
    }

    /// Brings back what was lost, and writes what was put off while the server was away. That goes before whatever else is asked for;
    /// but what the server refuses holds nothing else up.
    pub(super) fn catch_up(&self, server: &mut Server, now: Timestamp) -> Result<(), Refusal> {
        self.bring_owed(server, now)?;
        let names = server.absence.names(false);
        if let Err(refusal) = self.write_waiting(server, names, now)? {
            let (keys, error) = (server.absence.names(true).len(), server.link.error(refusal));
            tracing::warn!(
                keys,
                %error,
                "keys that were set while the server was away are refused, and tried again later"
            );
        }
        Ok(())
    }

    /// Writes some of what waits, and why the server refuses some of it. Whoever has a few refused is not tried on: each costs a way
    /// to the server, for which all plugins wait.
    fn write_waiting(
        &self,
        server: &mut Server,
        names: Vec<Name>,
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, Refusal> {
        let (mut refused, mut refusals) = (Ok(()), HashMap::<String, usize>::new());
        for name in names {
            let Some(waiting) = server.absence.waiting(&name) else { continue };
            if refusals.get(&name.0).is_some_and(|count| *count >= FEW) {
                server.absence.refuse(&name);
                continue;
            }
            match self.write_put_off(server, &name, waiting, now) {
                Ok(()) => server.absence.done(&name),
                Err(refusal) if refusal.is_away => return Err(refusal),
                Err(refusal) => {
                    server.absence.refuse(&name);
                    *refusals.entry(name.0).or_default() += 1;
                    refused = Err(refusal);
                }
            }
        }
        Ok(refused)
    }

    fn write_put_off(
        &self,
        server: &mut Server,
        name @ (owner, key): &Name,
        Waiting { value, expires, quota, .. }: Waiting,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if expires.is_some_and(|expires| expires <= now) {
            return Ok(());
        }
        let write = KvWrite { value: &value, expires, quota };
        let said = self.write(server, (owner, key), "", &write, now)?;
        let Ok(version) = u64::try_from(said) else {
            tracing::warn!(
                plugin.name = owner,
                key,
                "a key that was set while the server was away is beyond the quota"
            );
            // What it held before is there still.
            server.absence.forget(name);
            return Ok(());
        };
        server.absence.paid(name);
        server.absence.learn(owner, key, Known::Held(Held { entry: KvEntry { value, version }, expires }));
        Ok(())
    }

    /// Tries once more what the server has refused; why it refuses it still.
    pub(super) fn try_again(&self, server: &mut Server, now: Timestamp) -> Result<(), Refusal> {
        let mut result = Ok(());
        for (owner, names) in server.absence.owed(true) {
            result = self.bring(server, &owner, &names, now)?.and(result);
        }
        let names = server.absence.names(true);
        self.write_waiting(server, names, now)?.and(result)
    }
}

/// Whether one life of a pool was before another one of the same pool: how often it had gone back stands behind its epoch.
fn is_earlier(one: &str, other: &str) -> bool {
    let parts = |life: &str| -> Option<(String, u64)> {
        let (pool, returned) = life.split_once('+').unwrap_or((life, "0"));
        Some((pool.to_owned(), returned.split(':').next()?.parse().ok()?))
    };
    parts(one).zip(parts(other)).is_some_and(|(one, other)| one.0 == other.0 && one.1 < other.1)
}
