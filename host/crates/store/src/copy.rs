//! Copies a pool from one store to another, whatever they are.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use proxywhirl_core::kv::{KeyRecord, KvError};
use proxywhirl_core::store::{BanPlace, Changes, StoreError, StoredBan};
use proxywhirl_core::{EndpointKey, Timestamp};

use crate::{ClearText, Keyring, Opened, StoreUrl, bans, file, logins, sqlite};

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Members.
    pub members: u64,
    /// Sessions.
    pub sessions: u64,
    /// Bans that are not over.
    pub bans: u64,
    /// Keys of plugins.
    pub keys: u64,
    /// Logins that commands have set.
    pub logins: u64,
}

impl Copied {
    fn count_keys<'a>(&mut self, records: impl Iterator<Item = &'a KeyRecord>) {
        for record in records.filter(|record| record.key.is_some()) {
            let is_login = logins::are_logins(&record.owner);
            *(if is_login { &mut self.logins } else { &mut self.keys }) += 1;
        }
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let words = [
            named(self.members, "proxy", "proxies"),
            named(self.sessions, "session", "sessions"),
            named(self.bans, "ban", "bans"),
            named(self.keys, "key of plugins", "keys of plugins"),
            named(self.logins, "login", "logins"),
        ];
        f.write_str(&words.join(", "))
    }
}

/// What a copy may take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Of nothing: the other store must be empty.
    Nothing,
    /// Of whatever is in it.
    Everything,
}

/// Puts a copy of everything in place of what is in a store, and counts what is there; none when it had to be empty and is not.
///
/// A file and a database are as they were until the copy is complete, and then have it, whatever ends the process. In a server,
/// what is copied comes first, and then what else was there goes: whoever uses it meanwhile has one or the other of each proxy.
///
/// # Errors
/// When one of them cannot be read, also in part, the other cannot be written, or what was written is not what is there.
pub fn replace(
    from: &mut Opened,
    to: &StoreUrl,
    keys: Option<&Arc<Keyring>>,
    over: Over,
) -> Result<Option<Copied>, StoreError> {
    let sealed = |opened: Opened| opened.sealed(keys.cloned(), to, ClearText::Expected);
    match to {
        StoreUrl::Memory => {
            Err(StoreError { place: to.to_string(), reason: "is gone when the command ends".to_owned() })
        }
        StoreUrl::File(path, form) => {
            let draft = file::draft::Draft::begin(path, *form)?;
            if draft.is_over_something && over == Over::Nothing {
                return Ok(None);
            }
            let (store, of_plugins) = draft.opened();
            let copied = copy(from, &mut sealed(Opened::with_bans(store, Arc::new(of_plugins), usize::MAX)), keys)?;
            draft.commit()?;
            Ok(Some(copied))
        }
        StoreUrl::Sqlite(path) => {
            if over == Over::Nothing && path.exists() && !is_empty(&mut to.open_to_read()?)? {
                return Ok(None);
            }
            let draft = sqlite::draft::Draft::begin(path)?;
            let url = StoreUrl::Sqlite(draft.path().to_owned());
            let copied = copy(from, &mut sealed(url.open()?), keys)?;
            Ok(draft.commit(over == Over::Everything)?.then_some(copied))
        }
        StoreUrl::Redis(_) => {
            // As it is kept: what cannot be opened is there, too, and no key is needed to take it out.
            let mut there = to.open()?;
            if over == Over::Nothing && !is_empty(&mut there)? {
                return Ok(None);
            }
            // Before anything is written.
            from.store.load()?;
            is_whole(from)?;
            let before = Before::of(&mut there)?;
            copy_into(from, &mut sealed(to.open()?), keys, &before)?;
            prune(from, &mut there, &before)?;
            verified_among_others(from, &mut there).map(Some)
        }
    }
}

/// Copies everything into a store, and counts what is in it afterwards.
fn copy(from: &mut Opened, to: &mut Opened, keys: Option<&Arc<Keyring>>) -> Result<Copied, StoreError> {
    copy_into(from, to, keys, &Before::default())?;
    is_whole(from)?;
    verified(from, to)
}

/// What was in a store.
#[derive(Default)]
struct Before {
    members: HashSet<EndpointKey>,
    sessions: Vec<u64>,
    bans: Vec<BanPlace>,
}

impl Before {
    fn of(opened: &mut Opened) -> Result<Self, StoreError> {
        Ok(Self {
            members: opened.store.load()?.iter().map(|member| member.endpoint.key()).collect(),
            sessions: opened.store.load_sessions()?.iter().map(|session| session.session).collect(),
            bans: opened.store.load_bans()?.iter().map(StoredBan::place).collect(),
        })
    }
}

/// Copies everything into a store, passwords sealed with the first of these keys. What is there of the same goes in the same save: a
/// server would make one of both.
fn copy_into(
    from: &mut Opened,
    to: &mut Opened,
    keys: Option<&Arc<Keyring>>,
    before: &Before,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = from.store.page(after, to.batch)?;
        let removed = page.members.iter().map(|member| member.endpoint.key());
        let removed = removed.filter(|key| before.members.contains(key)).collect();
        to.store.save(&Changes { upserts: page.members, removed, ..Changes::default() })?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let sessions = from.store.load_sessions()?;
    let bans = from.store.load_bans()?;
    let (forgotten, lifted) = (before.sessions.clone(), before.bans.clone());
    to.store.save(&Changes { sessions, bans, forgotten, lifted, ..Changes::default() })?;
    for record in records(from)? {
        let sealed = keys.and_then(|keys| logins::sealed(&record, keys)).transpose();
        let sealed = sealed.map_err(|reason| StoreError { place: "the logins of commands".to_owned(), reason })?;
        to.keys.restore(sealed.as_ref().unwrap_or(&record)).map_err(unreadable)?;
    }
    to.keys.sync().map_err(unreadable)
}

/// An error when some of what was read cannot be opened: a copy without it would not be one.
fn is_whole(from: &Opened) -> Result<(), StoreError> {
    from.store.unopened().map_or(Ok(()), Err)
}

/// How much was copied, if that is what is there.
fn verified(from: &mut Opened, to: &mut Opened) -> Result<Copied, StoreError> {
    let now = now();
    let expected = count(from, now)?;
    complete(count(to, now)?, expected)
}

/// How much was copied, if all of it is there, whatever else is: those who use a server go on with it.
fn verified_among_others(from: &mut Opened, there: &mut Opened) -> Result<Copied, StoreError> {
    let now = now();
    let Before { members, sessions, bans } = Before::of(there)?;
    let (sessions, bans): (HashSet<_>, HashSet<_>) = (sessions.into_iter().collect(), bans.into_iter().collect());
    let keys: HashSet<_> = records(there)?.into_iter().map(|record| (record.owner, record.key)).collect();
    let is_there = |record: &&KeyRecord| keys.contains(&(record.owner.clone(), record.key.clone()));
    let lasting = from.store.load_bans()?.into_iter().filter(|own| own.until > now);
    let mut found = Copied {
        members: from.store.load()?.iter().filter(|own| members.contains(&own.endpoint.key())).count() as u64,
        sessions: from.store.load_sessions()?.iter().filter(|own| sessions.contains(&own.session)).count() as u64,
        bans: lasting.filter(|own| bans.contains(&own.place())).count() as u64,
        ..Copied::default()
    };
    found.count_keys(records(from)?.iter().filter(is_there));
    complete(found, count(from, now)?)
}

fn complete(found: Copied, expected: Copied) -> Result<Copied, StoreError> {
    if found == expected {
        return Ok(found);
    }
    Err(StoreError { place: "the copy".to_owned(), reason: format!("holds {found}, and not {expected}") })
}

/// For all stores the same: bans that are over by then may be gone from one of them.
fn now() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Forgets who was in one store and is not in the other, and keys of which that is so.
fn prune(from: &mut Opened, there: &mut Opened, before: &Before) -> Result<(), StoreError> {
    let kept: HashSet<EndpointKey> = from.store.load()?.iter().map(|member| member.endpoint.key()).collect();
    let removed = before.members.difference(&kept).cloned().collect();
    there.store.save(&Changes { removed, ..Changes::default() })?;
    let kept: HashSet<_> = records(from)?.into_iter().map(|record| (record.owner, record.key)).collect();
    for record in records(there)? {
        if record.key.is_some() && !kept.contains(&(record.owner.clone(), record.key.clone())) {
            there.keys.restore(&KeyRecord { value: None, ..record }).map_err(unreadable)?;
        }
    }
    there.keys.sync().map_err(unreadable)
}

/// Whether nothing is kept.
fn is_empty(opened: &mut Opened) -> Result<bool, StoreError> {
    Ok(opened.store.page(None, 1)?.members.is_empty()
        && opened.store.load_sessions()?.is_empty()
        && opened.store.load_bans()?.is_empty()
        && !records(opened)?.iter().any(|record| record.key.is_some()))
}

fn count(opened: &mut Opened, now: Timestamp) -> Result<Copied, StoreError> {
    let mut count = Copied::default();
    let mut after = None;
    loop {
        let page = opened.store.page(after, opened.batch)?;
        count.members += page.members.len() as u64;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    count.sessions = opened.store.load_sessions()?.len() as u64;
    count.bans = opened.store.load_bans()?.iter().filter(|ban| ban.until > now).count() as u64;
    count.count_keys(records(opened)?.iter());
    Ok(count)
}

/// What plugins keep, without the bans that some stores keep there.
fn records(opened: &Opened) -> Result<Vec<KeyRecord>, StoreError> {
    let mut records = opened.keys.records().map_err(unreadable)?;
    records.retain(|record| !bans::are_bans(&record.owner));
    Ok(records)
}

fn unreadable(error: KvError) -> StoreError {
    StoreError { place: "the keys of plugins".to_owned(), reason: error.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proxywhirl_core::MemberId;
    use proxywhirl_core::kv::KvWrite;
    use proxywhirl_core::store::StoredSession;
    use proxywhirl_tests::RedisServer;

    use super::*;
    use crate::conformance::key_values::{at, write};
    use crate::conformance::{ban, bans, member, upserts};
    use crate::{StoreUrl, StoredLogin, StoredLogins};

    #[test]
    fn everything_goes_from_any_store_to_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::start([""; 0]);
        let first = server.url();
        let urls = ["sqlite:pool.db", "file:pool.json", "file:pool.jsonl", "file:pool.json.gz", &first, "memory:"];
        let urls = urls.map(|url| url.parse::<StoreUrl>().unwrap().within(folder.path()));
        let expected = {
            let mut first = urls[0].open().unwrap();
            first
                .store
                .save(&upserts(&["http://u:p@1.1.1.1:1", "socks5://a:b@2.2.2.2:2 -> http://3.3.3.3:3"]))
                .unwrap();
            let session = StoredSession { session: u64::MAX, member: MemberId(7), began: at(1), used: at(2), life: 3 };
            let bans = vec![ban("a.example", 7, 1)];
            first.store.save(&Changes { sessions: vec![session], bans, ..Changes::default() }).unwrap();
            first.keys.set("p", "k", &write(b"\0v\xff"), at(0)).unwrap();
            first.keys.set("p", "e", &KvWrite { expires: Some(at(9)), ..write(b"e") }, at(0)).unwrap();
            first.keys.set("q", "gone", &write(b"g"), at(0)).unwrap();
            first.keys.delete("q", "gone", at(0)).unwrap();
            first.keys.set("host/logins", "for tag a", &write(b"{}"), at(0)).unwrap();
            content(&mut first)
        };
        for from in urls.iter().filter(|url| url.is_lasting()) {
            for (number, to) in urls.iter().enumerate() {
                let to = match to {
                    StoreUrl::Memory => StoreUrl::Memory,
                    StoreUrl::File(path, form) => {
                        let name = format!("{number}-{}", path.file_name().unwrap().to_str().unwrap());
                        StoreUrl::File(path.with_file_name(name), *form)
                    }
                    StoreUrl::Sqlite(path) => StoreUrl::Sqlite(path.with_file_name("other.db")),
                    StoreUrl::Redis(_) => format!("{}?pool=other", server.url()).parse().unwrap(),
                };
                // The first round fills those from which the next ones go on.
                let mut source = if from.exists() { from.open_to_read() } else { continue }.unwrap();
                if to == StoreUrl::Memory {
                    assert!(replace(&mut source, &to, None, Over::Everything).is_err());
                    continue;
                }
                // Something is there, which goes, whatever it is.
                something_else(&to);
                assert_eq!(replace(&mut source, &to, None, Over::Nothing).unwrap(), None, "{from} to {to}");
                let copied = replace(&mut source, &to, None, Over::Everything).unwrap();
                assert_eq!(
                    copied,
                    Some(Copied { members: 2, sessions: 1, bans: 1, keys: 2, logins: 1 }),
                    "{from} to {to}"
                );
                assert_eq!(content(&mut to.open_to_read().unwrap()), expected, "{from} to {to}");
                if from == &urls[0] {
                    let copied = replace(&mut to.open_to_read().unwrap(), &urls[number], None, Over::Everything);
                    assert!(copied.unwrap().is_some(), "{to} to {}", urls[number]);
                }
                let left: Vec<_> =
                    std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
            }
        }
    }

    #[test]
    fn what_those_who_use_a_server_add_meanwhile_is_no_reason_to_refuse_a_copy_and_what_is_missing_is() {
        let (server, folder) = (RedisServer::start([""; 0]), tempfile::tempdir().unwrap());
        let first = "file:pool.json".parse::<StoreUrl>().unwrap().within(folder.path());
        let there = server.url().parse::<StoreUrl>().unwrap();
        something_else(&first);
        let (mut from, mut there) = (first.open_to_read().unwrap(), there.open().unwrap());
        copy_into(&mut from, &mut there, None, &Before::default()).unwrap();
        let session = StoredSession { session: 6, member: MemberId(7), began: at(1), used: at(2), life: 0 };
        let bans = vec![ban("c.example", 8, 1)];
        let added = Changes { sessions: vec![session], bans, ..upserts(&["http://8.8.8.8:8"]) };
        there.store.save(&added).unwrap();
        there.keys.set("s", "new", &write(b"n"), at(0)).unwrap();
        let expected = Copied { members: 2, sessions: 1, bans: 1, keys: 1, logins: 0 };
        assert_eq!(verified_among_others(&mut from, &mut there).unwrap(), expected);
        there
            .store
            .save(&Changes { removed: vec![member("http://9.9.9.9:9").endpoint.key()], ..Changes::default() })
            .unwrap();
        let told = verified_among_others(&mut from, &mut there).unwrap_err().to_string();
        assert!(told.contains("holds 1 proxy, 1 session,") && told.contains("and not 2 proxies"), "{told}");
    }

    #[test]
    fn a_copy_has_all_passwords_sealed_when_there_is_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| name.parse::<StoreUrl>().unwrap().within(folder.path());
        let [first, second, third] = ["sqlite:pool.db", "file:sealed.json", "file:again.jsonl"].map(at);
        let login = StoredLogin {
            name: "tag a".to_owned(),
            covers: Some(crate::Covers { tag: Some("a".to_owned()), ..crate::Covers::default() }),
            username: "me".to_owned(),
            password: proxywhirl_core::Secret::new("hunter2"),
            at: Timestamp::from_micros(7),
        };
        let mut opened = first.open().unwrap();
        opened.store.save(&upserts(&["http://u:hunter2@1.1.1.1:1"])).unwrap();
        StoredLogins::new(Arc::clone(&opened.keys) as _, None).keep(&login).unwrap();
        let [old, new] = [(); 2].map(|()| Keyring::generate().unwrap());
        let old_ring = Arc::new(Keyring::parse(&old).unwrap());
        let both = Arc::new(Keyring::parse(&format!("{}\n{}", *new, *old)).unwrap());
        let copied = replace(&mut opened, &second, Some(&old_ring), Over::Nothing).unwrap().unwrap();
        assert_eq!(copied.to_string(), "1 proxy, 0 sessions, 0 bans, 0 keys of plugins, 1 login");
        let read = |url: &StoreUrl, ring: &Arc<Keyring>| {
            let opened = url.open_to_read().unwrap();
            let logins = StoredLogins::new(opened.keys, Some(Arc::clone(ring)));
            (logins.all().unwrap(), logins.sealed_with().unwrap())
        };
        assert_eq!(read(&second, &old_ring), ((vec![login.clone()], Vec::new()), vec![old_ring.ids().next()]));
        // With the newest key, as the passwords of members.
        let mut from = second.open_to_read().unwrap().sealed(Some(Arc::clone(&both)), &second, ClearText::Expected);
        replace(&mut from, &third, Some(&both), Over::Nothing).unwrap().unwrap();
        assert_eq!(read(&third, &both), ((vec![login], Vec::new()), vec![both.ids().next()]));
        // One that cannot be opened is no reason to leave out what else there is: there is no copy at all.
        let other = Arc::new(Keyring::parse(&Keyring::generate().unwrap()).unwrap());
        let mut from = third.open_to_read().unwrap();
        let member = "http://u@1.1.1.1:1".parse::<proxywhirl_core::Endpoint>().unwrap().key();
        let mut without = third.open().unwrap();
        without.store.save(&Changes { removed: vec![member], ..Changes::default() }).unwrap();
        drop(without);
        let refused = replace(&mut from, &at("file:none.json"), Some(&other), Over::Nothing).unwrap_err().to_string();
        assert!(refused.contains("login tag a: ") && !folder.path().join("none.json").exists(), "{refused}");
    }

    fn something_else(store: &StoreUrl) {
        let mut before = store.open().unwrap();
        before.store.save(&upserts(&["http://u:other@1.1.1.1:1", "http://9.9.9.9:9"])).unwrap();
        let session = StoredSession { session: 5, member: MemberId(7), began: at(1), used: at(2), life: 3 };
        let bans = vec![ban("b.example", 8, 1)];
        before.store.save(&Changes { sessions: vec![session], bans, ..Changes::default() }).unwrap();
        before.keys.set("r", "old", &write(b"o"), at(0)).unwrap();
        before.keys.sync().unwrap();
    }

    type Content = (Vec<String>, Vec<StoredSession>, Vec<StoredBan>, Vec<KeyRecord>);

    fn content(opened: &mut Opened) -> Content {
        let members = opened.store.load().unwrap();
        assert_eq!(members.first(), Some(&member("http://u:p@1.1.1.1:1")));
        let urls = members.iter().map(|member| member.endpoint.to_url()).collect();
        let bans = bans(&mut *opened.store);
        let mut records = records(opened).unwrap();
        // A server goes on with the versions of an owner whose keys are gone.
        records.retain(|record| record.owner != "r" || record.key.is_some());
        (urls, opened.store.load_sessions().unwrap(), bans, records)
    }
}
