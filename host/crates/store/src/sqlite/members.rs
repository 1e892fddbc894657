//! How members are saved: what is new here is written, and what other processes have made of a row meanwhile stays.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use proxywhirl_core::MemberId;
use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::store::{Changes, StoredMember};
use rusqlite::{CachedStatement, Transaction};

use super::counted::{Counted, Counts};
use super::row;

/// What this process has read or written of the rows last.
#[derive(Debug, Default)]
pub(super) struct Known {
    counted: Counted,
    /// Fingerprints of their logins, of those that have one: most of a large pool come from public lists, and have none.
    logins: HashMap<MemberId, u64>,
}

/// What was read or written of one row; nothing of one that is not there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    counts: Counts,
    login: Option<u64>,
}

impl Seen {
    fn of(member: &StoredMember) -> Self {
        let Endpoint { credentials, via, .. } = &member.endpoint;
        let password = credentials.as_deref().map_or("", |credentials| credentials.password.expose());
        let via = via.as_deref().map(Endpoint::to_url);
        Self { counts: Counts::of(member), login: fingerprint(password, via.as_deref()) }
    }
}

/// What tells a login from another, the passwords of the hops before it among it; none without any.
pub(super) fn fingerprint(password: &str, via: Option<&str>) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    (password, via).hash(&mut hasher);
    (!password.is_empty() || via.is_some()).then(|| hasher.finish())
}

impl Known {
    /// Notes a member that was read.
    pub(super) fn meet(&mut self, member: &StoredMember) {
        self.note(MemberId::of(&member.endpoint.key()), Seen::of(member));
    }

    /// Notes what a save has written.
    pub(super) fn enter(&mut self, written: HashMap<MemberId, Seen>) {
        written.into_iter().for_each(|(id, seen)| self.note(id, seen));
    }

    fn note(&mut self, id: MemberId, Seen { counts, login }: Seen) {
        self.counted.note(id, counts);
        match login {
            Some(login) => self.logins.insert(id, login),
            None => self.logins.remove(&id),
        };
    }

    fn of(&self, id: MemberId) -> Seen {
        Seen { counts: self.counted.get(id), login: self.logins.get(&id).copied() }
    }
}

/// Writes members that left, are new, and are changed; what is known of their rows when the transaction has ended well.
pub(super) fn save(
    transaction: &Transaction<'_>,
    changes: &Changes,
    known: &Known,
) -> rusqlite::Result<HashMap<MemberId, Seen>> {
    let mut written: HashMap<MemberId, Seen> = HashMap::with_capacity(changes.upserts.len() + changes.updates.len());
    let mut delete = transaction.prepare_cached(row::DELETE)?;
    for key in &changes.removed {
        row::delete(&mut delete, key)?;
        // Who comes back begins anew.
        written.insert(MemberId::of(key), Seen::default());
    }
    let mut upsert = transaction.prepare_cached(row::UPSERT)?;
    for member in &changes.upserts {
        let id = MemberId::of(&member.endpoint.key());
        let before = written.get(&id).copied().unwrap_or_else(|| known.of(id));
        row::upsert(&mut upsert, member, before.counts)?;
        written.insert(id, Seen::of(member));
    }
    let mut untag = transaction.prepare_cached(row::UNTAG)?;
    for (key, tags) in &changes.untagged {
        row::untag(&mut untag, key, tags)?;
    }
    let mut update = Update::new(transaction)?;
    for member in &changes.updates {
        let id = MemberId::of(&member.endpoint.key());
        let before = written.get(&id).copied().unwrap_or_else(|| known.of(id));
        let seen = Seen::of(member);
        update.write(member, before, seen)?;
        written.insert(id, seen);
    }
    Ok(written)
}

/// The statements that change a row which is there.
struct Update<'a> {
    row: CachedStatement<'a>,
    held: CachedStatement<'a>,
    login: CachedStatement<'a>,
}

impl<'a> Update<'a> {
    fn new(transaction: &'a Transaction<'_>) -> rusqlite::Result<Self> {
        let prepare = |text| transaction.prepare_cached(text);
        Ok(Self { row: prepare(row::UPDATE)?, held: prepare(row::SELECT_LOGIN)?, login: prepare(row::UPDATE_LOGIN)? })
    }

    /// A login that is as it was stays as it is there; and so does one that another process has changed meanwhile, though it was changed
    /// here, too: who did it by hand knew why.
    fn write(&mut self, member: &StoredMember, before: Seen, now: Seen) -> rusqlite::Result<()> {
        let is_there = row::update(&mut self.row, member, before.counts)?;
        if is_there && before.login != now.login && row::login(&mut self.held, member)? == before.login {
            row::update_login(&mut self.login, member)?;
        }
        Ok(())
    }
}
