//! What the server holds of members and sessions, as far as this process has read or written it: so that a save carries what came since.

use std::collections::{HashMap, HashSet};

use proxywhirl_core::MemberId;
use proxywhirl_core::store::{Changes, Everything, News, StoredMember, StoredSession};

use super::row::{self, Fingerprint};

/// Members in one argument of a save. A command has a million arguments at the most, and a pool may have more members.
const BATCH: usize = 1_000;

/// What the server holds.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By the identity of the member. Should two of them ever share one, they share their counts.
    members: HashMap<MemberId, Held>,
    /// Who a session was bound to, and in which of its lives, when it was read or written last.
    sessions: HashMap<u64, (MemberId, u32)>,
    /// Whether what the server has lost since is what came after a time to which it went back.
    went_back: bool,
}

/// What the server holds of a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// The fingerprint of its row, as it was there when it was read or written last.
    row: Fingerprint,
    /// Whether it is there still, as far as is known.
    is_there: bool,
    /// What of the successes and failures that this process knows is counted there.
    counted: Counts,
    /// What is counted there in all, when it was heard of last.
    total: Counts,
    /// Whether the server has lost that since.
    is_lost: bool,
}

/// Successes and failures.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
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
    pub(super) lifted_again: String,
    pub(super) bans: String,
    pub(super) bans_again: String,
    /// How the server takes what it has lost of counts: `bring` what was there before, or `raise` what is there to it.
    pub(super) lost: &'static str,
    pub(super) members: Vec<String>,
    pub(super) held: Vec<(MemberId, Option<Held>)>,
}

impl Ledger {
    /// Notes a member that the server was found to hold. Of one that is known it is the row alone: others may have counted uses
    /// that this process does not know of. When less is counted than was before, and its row is another, it has left and come back, of which
    /// this process has not heard: what it has counted before is of no use to anybody, and not counted again; unless the server went back
    /// to what it was.
    pub(super) fn meet(&mut self, member: &StoredMember) {
        let met = Held::of(member, &row::write(member));
        let known = |held: &mut Held| {
            let is_another = held.is_there && held.row != met.row;
            let is_anew = is_another && met.total.is_below(held.total);
            (held.row, held.is_there) = (met.row, true);
            // What is counted since a loss is not of what was lost: this process would bring it back once more.
            if !held.is_lost {
                held.total = if is_anew { met.total } else { held.total.most(met.total) };
            }
        };
        self.members.entry(id(member)).and_modify(known).or_insert(met);
    }

    /// Notes everything that the server was found to hold. Who was there, and is not among it, has left: should it come back, it is a stranger.
    pub(super) fn meet_all(&mut self, all: &Everything) {
        let there: HashSet<MemberId> = all.members.iter().map(id).collect();
        self.members.retain(|id, held| !held.is_there || there.contains(id));
        all.members.iter().for_each(|member| self.meet(member));
        all.sessions.iter().for_each(|session| self.meet_session(session));
    }

    /// Notes what other processes have changed.
    pub(super) fn hear(&mut self, news: &News) {
        news.members.iter().for_each(|member| self.meet(member));
        for key in &news.left {
            self.members.remove(&MemberId::of(key));
        }
        news.sessions.iter().for_each(|session| self.meet_session(session));
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

    /// Notes a session that the server was found to hold.
    pub(super) fn meet_session(&mut self, session: &StoredSession) {
        self.sessions.insert(session.session, (session.member, session.life));
    }

    /// Enters what a save has brought about of sessions. Some may be held by who counts more: that is heard of.
    pub(super) fn enter_sessions(&mut self, changes: &Changes) {
        for session in &changes.forgotten {
            self.sessions.remove(session);
        }
        changes.sessions.iter().for_each(|session| self.meet_session(session));
    }

    /// Enters what the server counts of members now, as its script answers.
    pub(super) fn enter_sums(&mut self, changes: &Changes, sums: &[String]) {
        let members = changes.upserts.iter().chain(&changes.updates);
        for (member, sum) in members.zip(sums.iter().flat_map(|batch| batch.lines())) {
            if let (Some(held), Some(total)) = (self.members.get_mut(&id(member)), Counts::read(sum)) {
                held.total = total;
            }
        }
    }

    /// The server has lost everything. What it counted is brought back by all who know of it, and whoever knows most is right.
    pub(super) fn lose(&mut self) {
        self.went_back = false;
        self.members.values_mut().for_each(|held| (held.is_there, held.is_lost) = (false, true));
        self.sessions.clear();
    }

    /// The server went back to what it held before. What it counted is at least what anybody knows of.
    pub(super) fn go_back(&mut self) {
        self.lose();
        self.went_back = true;
    }

    /// What the server is to be told of changes.
    pub(super) fn write(&self, changes: &Changes) -> Written {
        let lost = if self.went_back { "raise" } else { "bring" };
        let mut written = Written { lost, ..Written::default() };
        for key in &changes.removed {
            written.removed.push_str(&format!("{key}\n"));
            written.held.push((MemberId::of(key), None));
        }
        for session in &changes.forgotten {
            written.forgotten.push_str(&format!("{}\n", row::session_name(*session)));
        }
        for session in &changes.sessions {
            let name = row::session_name(session.session);
            let known = self.sessions.get(&session.session).map(|(member, life)| row::write_known(*member, *life));
            let known = known.as_deref().unwrap_or("-");
            written.sessions.push_str(&format!("{name} {} {known}\n", row::write_session(session)));
        }
        for place in &changes.lifted {
            written.lifted.push_str(&format!("{}\n", row::ban_name(place)));
        }
        for (place, at) in &changes.lifted_again {
            written.lifted_again.push_str(&format!("{}\n{}\n", row::ban_name(place), at.as_micros().min(row::MOST)));
        }
        for (bans, into) in [(&changes.bans, &mut written.bans), (&changes.bans_again, &mut written.bans_again)] {
            for ban in bans {
                into.push_str(&format!("{}\n{}\n", row::ban_name(&ban.place()), row::write_ban(ban)));
            }
        }
        // Who leaves and comes back begins anew.
        let gone: HashMap<MemberId, Option<Held>> = written.held.iter().copied().collect();
        let mut members = changes.upserts.iter().chain(&changes.updates).peekable();
        while members.peek().is_some() {
            let mut text = String::new();
            for member in members.by_ref().take(BATCH) {
                let id = id(member);
                let before = self.members.get(&id).filter(|_| !gone.contains_key(&id));
                let (line, held) = write_member(member, before, self.went_back);
                text.push_str(&line);
                written.held.push((id, Some(held)));
            }
            written.members.push(text);
        }
        written
    }
}

impl Held {
    fn of(member: &StoredMember, row: &str) -> Self {
        let counted = Counts::of(member);
        Self { row: Fingerprint::of(row), is_there: true, counted, total: counted, is_lost: false }
    }
}

impl Counts {
    fn of(member: &StoredMember) -> Self {
        Self { successes: member.statistics.successes, failures: member.statistics.failures }
    }

    /// `successes failures`; none when there is nobody to count.
    fn read(sum: &str) -> Option<Self> {
        let (successes, failures) = sum.split_once(' ')?;
        Some(Self { successes: successes.parse().ok()?, failures: failures.parse().ok()? })
    }

    fn since(self, before: Self) -> Self {
        Self {
            successes: self.successes.saturating_sub(before.successes),
            failures: self.failures.saturating_sub(before.failures),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            successes: self.successes.saturating_add(other.successes),
            failures: self.failures.saturating_add(other.failures),
        }
    }

    const fn is_below(self, other: Self) -> bool {
        self.successes < other.successes || self.failures < other.failures
    }

    fn most(self, other: Self) -> Self {
        Self { successes: self.successes.max(other.successes), failures: self.failures.max(other.failures) }
    }
}

/// A member that changed: its row when it is another one than the server holds, and what of it this process has not changed, so that
/// what another one has made of it stays; what came to its statistics since, and what the server has lost of them.
fn write_member(member: &StoredMember, before: Option<&Held>, went_back: bool) -> (String, Held) {
    let row = row::write(member);
    let mut held = Held::of(member, &row);
    let (mut row, mut stays, mut new, mut lost) = (row.as_str(), "", held.counted, Counts::default());
    if let Some(before) = before {
        if before.is_there && before.row == held.row {
            row = "";
        }
        // Of a row that the server may have gone back to, nothing stays: this process is the one that knows.
        let may_stay = before.is_there || before.is_lost && !went_back;
        stays = if may_stay { before.row.what_stays(held.row) } else { "" };
        new = held.counted.since(before.counted);
        held.total = before.total.and(new);
        if before.is_lost {
            lost = before.total;
        }
    }
    let counts = [new.successes, new.failures, lost.successes, lost.failures];
    let statistics = row::write_statistics(&member.statistics, counts, member.health);
    (format!("{}\n{stays}\n{row}\n{statistics}\n", member.endpoint.key()), held)
}

fn id(member: &StoredMember) -> MemberId {
    MemberId::of(&member.endpoint.key())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::conformance::member;

    fn counted(successes: u64) -> StoredMember {
        let mut member = member("http://192.0.2.1:80");
        (member.statistics.successes, member.statistics.failures) = (successes, 0);
        member
    }

    #[test]
    fn what_others_count_after_a_loss_is_not_brought_back_as_lost() {
        let mut ledger = Ledger::default();
        ledger.meet(&counted(10));
        ledger.lose();
        // Another process has brought those ten, and counted three more.
        ledger.meet(&counted(13));
        let written = ledger.write(&Changes { upserts: vec![counted(12)], ..Changes::default() });
        let [batch] = &written.members[..] else { panic!("{:?}", written.members) };
        let statistics = batch.lines().nth(3).unwrap();
        assert!(statistics.starts_with("2 0 10 0 "), "{statistics}");
    }
}
