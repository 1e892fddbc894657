//! What the server holds of members, as far as this process has read or written it: so that a save carries what came since.

use std::collections::HashMap;

use proxywhirl_core::store::{Changes, StoredMember};
use proxywhirl_core::{EndpointKey, MemberId};

use super::row;

/// Members in one argument of a save. A command has a million arguments at the most, and a pool may have more members.
const BATCH: usize = 1_000;

/// What the server holds.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By the identity of the member. Should two of them ever share one, they share their counts.
    members: HashMap<MemberId, Held>,
}

/// What the server holds of a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// The fingerprint of its row.
    row: u64,
    /// What of its successes and failures is counted there.
    successes: u64,
    failures: u64,
}

/// A save, as the server's script reads it, and what the server holds when it is done.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) removed: String,
    pub(super) forgotten: String,
    pub(super) sessions: String,
    pub(super) lifted: String,
    pub(super) bans: String,
    pub(super) members: Vec<String>,
    pub(super) held: Vec<(MemberId, Option<Held>)>,
}

impl Ledger {
    /// Notes a member that the server was found to hold. Of one that is known it is the row alone: others may have counted uses
    /// that this process does not know of.
    pub(super) fn meet(&mut self, member: &StoredMember) {
        let met = Held::of(member, &row::write(member));
        self.members.entry(id(member)).and_modify(|held| held.row = met.row).or_insert(met);
    }

    /// Forgets a member that another process has removed.
    pub(super) fn part(&mut self, key: &EndpointKey) {
        self.members.remove(&MemberId::of(key));
    }

    /// Enters what a save has brought about.
    pub(super) fn enter(&mut self, held: Vec<(MemberId, Option<Held>)>) {
        for (id, held) in held {
            match held {
                Some(held) => self.members.insert(id, held),
                None => self.members.remove(&id),
            };
        }
    }

    /// The server holds nothing.
    pub(super) fn clear(&mut self) {
        self.members.clear();
    }

    /// What is known of members may not be there any more; what was counted need not be brought.
    pub(super) fn forget_rows(&mut self) {
        self.members.values_mut().for_each(|held| held.row = Held::UNKNOWN);
    }

    /// What the server is to be told of changes.
    pub(super) fn write(&self, changes: &Changes) -> Written {
        let mut written = Written::default();
        for key in &changes.removed {
            written.removed.push_str(&format!("{key}\n"));
            written.held.push((MemberId::of(key), None));
        }
        for session in &changes.forgotten {
            written.forgotten.push_str(&format!("{}\n", row::session_name(*session)));
        }
        for session in &changes.sessions {
            let name = row::session_name(session.session);
            written.sessions.push_str(&format!("{name} {}\n", row::write_session(session)));
        }
        for place in &changes.lifted {
            written.lifted.push_str(&format!("{}\n", row::ban_name(place)));
        }
        for ban in &changes.bans {
            written.bans.push_str(&format!("{}\n{}\n", row::ban_name(&ban.place()), row::write_ban(ban)));
        }
        // Who leaves and comes back begins anew.
        let gone: HashMap<MemberId, Option<Held>> = written.held.iter().copied().collect();
        for batch in changes.upserts.chunks(BATCH) {
            let mut text = String::new();
            for member in batch {
                let id = id(member);
                let before = self.members.get(&id).filter(|_| !gone.contains_key(&id));
                let (line, held) = write_member(member, before);
                text.push_str(&line);
                written.held.push((id, Some(held)));
            }
            written.members.push(text);
        }
        written
    }
}

impl Held {
    /// The fingerprint of no row, or nearly.
    const UNKNOWN: u64 = 0;

    fn of(member: &StoredMember, row: &str) -> Self {
        let statistics = &member.statistics;
        Self { row: row::fingerprint(row), successes: statistics.successes, failures: statistics.failures }
    }
}

/// A member that changed: its row when it is another one than the server holds, and what came to its statistics since.
fn write_member(member: &StoredMember, before: Option<&Held>) -> (String, Held) {
    let row = row::write(member);
    let held = Held::of(member, &row);
    let (row, successes, failures) = match before {
        Some(before) => (
            if before.row == held.row { "" } else { row.as_str() },
            held.successes.saturating_sub(before.successes),
            held.failures.saturating_sub(before.failures),
        ),
        None => (row.as_str(), held.successes, held.failures),
    };
    let statistics = row::write_statistics(&member.statistics, successes, failures, member.health);
    (format!("{}\n{row}\n{statistics}\n", member.endpoint.key()), held)
}

fn id(member: &StoredMember) -> MemberId {
    MemberId::of(&member.endpoint.key())
}
