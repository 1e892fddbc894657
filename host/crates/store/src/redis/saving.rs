//! How the pool is saved: each save in one script, which finds its place among those before.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::SystemTime;

use proxywhirl_core::MemberId;
use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::store::{BanPlace, Changes, StoredBan};

use super::ledger::Held;
use super::link::Refusal;
use super::{Redis, TURNS, command, script};
use crate::bans;
use crate::file::Access;

/// How long the server remembers which save of a process was the last, in seconds: longer than any save is in doubt.
pub(super) const REMEMBERED: u64 = 24 * 60 * 60;

/// A save of which nobody knows whether it was done.
#[derive(Debug)]
pub(super) struct Doubtful {
    pub(super) turn: String,
    pub(super) held: Vec<(MemberId, Option<Held>)>,
    pub(super) steps: Steps,
}

/// What a save does that must not be done a second time: others may have put a member in again since, have set a ban anew, or lifted it.
#[derive(Debug, Default)]
pub(super) struct Steps {
    removed: HashSet<EndpointKey>,
    lifted: HashSet<BanPlace>,
    bans: Vec<StoredBan>,
}

impl Steps {
    fn of(changes: &Changes) -> Self {
        Self {
            removed: changes.removed.iter().cloned().collect(),
            lifted: changes.lifted.iter().cloned().collect(),
            bans: changes.bans.clone(),
        }
    }

    fn add(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.lifted.extend(other.lifted);
        self.bans.extend(other.bans);
    }

    /// The changes without those that are done.
    fn left_of<'a>(&self, changes: &'a Changes) -> Cow<'a, Changes> {
        if self.removed.is_empty() && self.lifted.is_empty() && self.bans.is_empty() {
            return Cow::Borrowed(changes);
        }
        let mut left = changes.clone();
        left.removed.retain(|key| !self.removed.contains(key));
        left.lifted.retain(|place| !self.lifted.contains(place));
        left.bans.retain(|ban| !self.bans.contains(ban));
        Cow::Owned(left)
    }
}

impl Redis {
    /// Saves, and finds its place among the saves before when it has to.
    pub(super) fn write(&mut self, changes: &Changes) -> Result<(), Refusal> {
        if self.access == Access::Read {
            return Err(Refusal::new("was opened to be read"));
        }
        self.found()?;
        for _ in 0..TURNS {
            self.settle()?;
            let done = std::mem::take(&mut self.done);
            let answer = self.try_to_write(&done.left_of(changes));
            if !answer.as_deref().is_ok_and(|word| word == "done") {
                self.done = done;
            }
            match answer?.as_str() {
                "done" => return Ok(()),
                "lost" => self.begin_anew()?,
                // It forgot who saved last; or it went back to what it was before, as a replica does that takes over.
                _ => {
                    self.go_back()?;
                    self.last = None;
                    self.has_missed = true;
                }
            }
        }
        Err(Refusal::new("has forgotten several times what was saved last; does it evict keys?"))
    }

    /// The server has lost the pool, or has another one: nothing is there of what was.
    fn begin_anew(&mut self) -> Result<(), Refusal> {
        self.find()?;
        self.ledger.lose();
        self.done = Steps::default();
        self.last = None;
        (self.has_lost, self.has_missed) = (true, true);
        Ok(())
    }

    /// The server is at what it was before: what came since may be lost, and is to be saved and read again.
    pub(super) fn go_back(&mut self) -> Result<(), Refusal> {
        self.find()?;
        self.ledger.go_back();
        self.done = Steps::default();
        self.has_lost = true;
        Ok(())
    }

    /// Whether it has everything still; what it has lost is told once.
    pub(super) fn look(&mut self) -> Result<bool, Refusal> {
        self.found()?;
        let layout = self.names.name("layout");
        let epoch: Option<String> = self.link.query(&command("HGET", [layout.as_str(), "epoch"]))?;
        if epoch.as_deref() != Some(self.epoch.as_str()) {
            self.begin_anew()?;
        } else if self.last.is_some() {
            // Whoever has nothing to save for long is not to be forgotten.
            let saved = self.names.name(&format!("saved:{}", self.node));
            self.link.query::<u64>(&command("EXPIRE", [saved.as_str(), &REMEMBERED.to_string()]))?;
        }
        Ok(!std::mem::take(&mut self.has_lost))
    }

    /// Sees that it is known which save was the last: one that is in doubt was done, or never will be.
    pub(super) fn settle(&mut self) -> Result<(), Refusal> {
        if self.last.is_some() && self.doubtful.is_none() {
            return Ok(());
        }
        let turn = self.turn();
        let in_doubt = self.doubtful.as_ref().map_or("", |doubtful| doubtful.turn.as_str());
        let saved = self.names.name(&format!("saved:{}", self.node));
        let last = self.last.as_deref().unwrap_or_default();
        let fence = script(include_str!("fence.lua"), &[&saved], &[in_doubt, &turn, &REMEMBERED.to_string(), last]);
        let word: String = self.link.query(&fence)?;
        if word == "back" {
            self.go_back()?;
            self.has_missed = true;
        }
        match self.doubtful.take() {
            Some(doubtful) if word == "done" => {
                self.last = Some(doubtful.turn);
                self.ledger.enter(doubtful.held);
                self.done.add(doubtful.steps);
            }
            _ => self.last = Some(turn),
        }
        Ok(())
    }

    pub(super) fn try_to_write(&mut self, changes: &Changes) -> Result<String, Refusal> {
        let turn = self.turn();
        let saved = format!("saved:{}", self.node);
        let kinds = [
            "layout",
            "members",
            "joined",
            "statistics",
            "sessions",
            "notices",
            &saved,
            "bans",
            "ban-ends",
            "restored",
            "lifts",
            "ban-begins",
        ];
        let names: Vec<String> = kinds.iter().map(|what| self.names.name(what)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let before = self.last.clone().unwrap_or_default();
        let written = self.ledger.write(changes);
        let mut save = script(
            include_str!("save.lua"),
            &names,
            &[
                &self.epoch,
                &self.node,
                &before,
                &turn,
                &REMEMBERED.to_string(),
                &now(),
                &bans::MOST.to_string(),
                &written.removed,
                &written.forgotten,
                &written.sessions,
                &written.lifted,
                &written.bans,
                &written.bans_again,
                &written.lifted_again,
                written.lost,
            ],
        );
        save.arg(&written.members);
        match self.link.query_bulk::<Vec<String>>(&save) {
            Ok(answer) => {
                let (word, sums) = answer.split_first().map_or(("", &[][..]), |(word, sums)| (word, sums));
                if word == "done" {
                    self.last = Some(turn);
                    self.ledger.enter(written.held);
                    self.ledger.enter_sums(changes, sums);
                    self.ledger.enter_sessions(changes);
                }
                Ok(word.to_owned())
            }
            Err(refusal) => {
                if refusal.is_in_doubt {
                    self.doubtful = Some(Doubtful { turn, held: written.held, steps: Steps::of(changes) });
                }
                Err(refusal)
            }
        }
    }

    /// A name for a save that no other has.
    fn turn(&mut self) -> String {
        self.turns += 1;
        self.turns.to_string()
    }
}

/// The time, in microseconds.
fn now() -> String {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros().to_string()
}
