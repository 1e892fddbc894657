//! Copies a pool from one store to another, whatever they are.

use std::fmt;

use proxywhirl_core::kv::{KeyRecord, KvError};
use proxywhirl_core::store::{Changes, StoreError, StoredBan};

use crate::{Opened, bans};

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Members.
    pub members: u64,
    /// Sessions.
    pub sessions: u64,
    /// Keys of plugins.
    pub keys: u64,
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let (members, sessions) =
            (named(self.members, "proxy", "proxies"), named(self.sessions, "session", "sessions"));
        write!(f, "{members}, {sessions}, {}", named(self.keys, "key of plugins", "keys of plugins"))
    }
}

/// Copies everything into a store, and counts what is in it afterwards.
///
/// # Errors
/// When one of them cannot be read, the other cannot be written, or what was written is not what is there.
pub fn copy(from: &mut Opened, to: &mut Opened) -> Result<Copied, StoreError> {
    let mut copied = Copied::default();
    let mut after = None;
    loop {
        let page = from.store.page(after, to.batch)?;
        copied.members += page.members.len() as u64;
        to.store.save(&Changes { upserts: page.members, ..Changes::default() })?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let sessions = from.store.load_sessions()?;
    copied.sessions = sessions.len() as u64;
    let bans = from.store.load_bans()?;
    to.store.save(&Changes { sessions, bans, ..Changes::default() })?;
    for record in records(from)? {
        copied.keys += u64::from(record.key.is_some());
        to.keys.restore(&record).map_err(unreadable)?;
    }
    to.keys.sync().map_err(unreadable)?;
    let found = count(to)?;
    if found != copied {
        return Err(StoreError { place: "the copy".to_owned(), reason: format!("holds {found}, and not {copied}") });
    }
    Ok(copied)
}

/// Forgets everything that is kept.
///
/// # Errors
/// When it cannot be read or written.
pub fn clear(opened: &mut Opened) -> Result<(), StoreError> {
    let removed = opened.store.load()?.iter().map(|member| member.endpoint.key()).collect();
    let forgotten = opened.store.load_sessions()?.iter().map(|session| session.session).collect();
    let lifted = opened.store.load_bans()?.iter().map(StoredBan::place).collect();
    opened.store.save(&Changes { removed, forgotten, lifted, ..Changes::default() })?;
    for record in records(opened)? {
        opened.keys.restore(&KeyRecord { value: None, ..record }).map_err(unreadable)?;
    }
    opened.keys.sync().map_err(unreadable)
}

/// Whether nothing is kept.
///
/// # Errors
/// When it cannot be read.
pub fn is_empty(opened: &mut Opened) -> Result<bool, StoreError> {
    Ok(opened.store.page(None, 1)?.members.is_empty()
        && opened.store.load_sessions()?.is_empty()
        && opened.store.load_bans()?.is_empty()
        && !records(opened)?.iter().any(|record| record.key.is_some()))
}

fn count(opened: &mut Opened) -> Result<Copied, StoreError> {
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
    count.keys = records(opened)?.iter().filter(|record| record.key.is_some()).count() as u64;
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
    use crate::StoreUrl;
    use crate::conformance::key_values::{at, write};
    use crate::conformance::{ban, bans, member, upserts};

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
                let mut target = to.open().unwrap();
                clear(&mut target).unwrap();
                assert!(is_empty(&mut target).unwrap());
                let copied = copy(&mut source, &mut target).unwrap();
                assert_eq!(copied, Copied { members: 2, sessions: 1, keys: 2 }, "{from} to {to}");
                assert_eq!(content(&mut target), expected, "{from} to {to}");
                if to.is_lasting() {
                    drop(target);
                    assert_eq!(content(&mut to.open_to_read().unwrap()), expected, "{from} to {to}, read again");
                }
                if from == &urls[0] && to.is_lasting() {
                    let mut same = urls[number].open().unwrap();
                    clear(&mut same).unwrap();
                    copy(&mut to.open_to_read().unwrap(), &mut same).unwrap();
                }
            }
        }
    }

    type Content = (Vec<String>, Vec<StoredSession>, Vec<StoredBan>, Vec<KeyRecord>);

    fn content(opened: &mut Opened) -> Content {
        let members = opened.store.load().unwrap();
        assert_eq!(members.first(), Some(&member("http://u:p@1.1.1.1:1")));
        let urls = members.iter().map(|member| member.endpoint.to_url()).collect();
        let bans = bans(&mut *opened.store);
        (urls, opened.store.load_sessions().unwrap(), bans, records(opened).unwrap())
    }
}
