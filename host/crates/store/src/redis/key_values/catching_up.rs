//! What there is to do for keys when the server is back: what was put off is written; and what it has lost is brought back, as far as
//! it is known.

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KvEntry, KvWrite};

use super::super::absence::{Known, Name, Waiting};
use super::super::link::Refusal;
use super::super::{REMEMBERED, command};
use super::{Held, RedisKeyValues, Server, expires};

/// Keys that are brought back with one command.
const BATCH: usize = 50;

impl RedisKeyValues {
    /// The server has lost everything, and holds another pool now, or none: brings back what is known. Others may bring it too.
    pub(super) fn bring_back(&self, server: &mut Server, epoch: String, now: Timestamp) -> Result<(), Refusal> {
        let mut count = 0;
        for (owner, known) in server.absence.all() {
            let kept: Vec<_> = known.into_iter().filter(|(_, known)| !known.is_over(now)).collect();
            for batch in kept.chunks(BATCH) {
                let mut again = self.script(include_str!("../again.lua"), (owner, ""), now, &[]);
                again.arg(REMEMBERED);
                for (key, known) in batch {
                    let held = known.held();
                    again.arg(if held.is_some() { "held" } else { "gone" }).arg(known.version()).arg(key);
                    again.arg(expires(held.and_then(|held| held.expires)));
                    again.arg(held.map_or(&[][..], |held| &held.entry.value));
                }
                match server.link.query_bulk::<(i64, u64, String)>(&again) {
                    Ok(_) => count += batch.len(),
                    Err(refusal) if refusal.is_away => return Err(refusal),
                    // Others go on, and what is known stays known.
                    Err(refusal) => {
                        let error = server.link.error(refusal);
                        tracing::warn!(plugin.name = owner, %error, "keys that the store has lost cannot be brought back");
                    }
                }
            }
        }
        server.epoch = epoch;
        if count > 0 {
            tracing::warn!(
                keys = count,
                "the store has lost what plugins keep, and what is known of it is brought back"
            );
        }
        Ok(())
    }

    /// Brings back what the server has lost, if it has.
    pub(super) fn look(&self, server: &mut Server, now: Timestamp) -> Result<(), Refusal> {
        let layout = self.names.name("layout");
        let epoch: Option<String> = server.link.query(&command("HGET", [layout.as_str(), "epoch"]))?;
        self.see(server, epoch.unwrap_or_default(), now).map(drop)
    }

    /// Whether the server still holds what it held, now that it has told which pool it is. What it has lost is brought back.
    pub(super) fn see(&self, server: &mut Server, epoch: String, now: Timestamp) -> Result<bool, Refusal> {
        let is_intact = server.epoch.is_empty() || server.epoch == epoch;
        if is_intact {
            server.epoch = epoch;
        } else {
            self.bring_back(server, epoch, now)?;
        }
        Ok(is_intact)
    }

    /// Writes what was put off while the server was away. What waits goes before whatever else is asked for; but what the server
    /// refuses holds nothing else up.
    pub(super) fn catch_up(&self, server: &mut Server, now: Timestamp) -> Result<(), Refusal> {
        while let Some((name, waiting)) = server.absence.next() {
            match self.write_put_off(server, &name, waiting, now) {
                Ok(()) => server.absence.done(&name),
                Err(refusal) if refusal.is_away => return Err(refusal),
                Err(refusal) => {
                    server.absence.refuse(&name);
                    let error = server.link.error(refusal);
                    tracing::warn!(
                        plugin.name = name.0,
                        key = name.1,
                        %error,
                        "a key that was set while the server was away is refused, and tried again later"
                    );
                }
            }
        }
        Ok(())
    }

    fn write_put_off(
        &self,
        server: &mut Server,
        (owner, key): &Name,
        Waiting { value, expires, quota, .. }: Waiting,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if expires.is_some_and(|expires| expires <= now) {
            return Ok(());
        }
        let write = KvWrite { value: &value, expires, quota };
        let said = self.write(server, (owner, key), "", &write, now)?;
        let held =
            u64::try_from(said).ok().map(|version| Known::Held(Held { entry: KvEntry { value, version }, expires }));
        if held.is_none() {
            tracing::warn!(
                plugin.name = owner,
                key,
                "a key that was set while the server was away is beyond the quota"
            );
        }
        server.absence.learn(owner, key, held.unwrap_or(Known::Gone(0)));
        Ok(())
    }

    /// Tries once more what the server has refused; why it refuses it still.
    pub(super) fn try_again(&self, server: &mut Server, now: Timestamp) -> Result<(), Refusal> {
        let mut result = Ok(());
        for name in server.absence.refused() {
            let Some(waiting) = server.absence.waiting(&name) else { continue };
            match self.write_put_off(server, &name, waiting, now) {
                Ok(()) => server.absence.done(&name),
                Err(refusal) if refusal.is_away => return Err(refusal),
                Err(refusal) => result = Err(refusal),
            }
        }
        result
    }
}
