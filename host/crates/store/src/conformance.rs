//! What every store must do, as tests over `dyn Store`.
#![allow(clippy::unwrap_used)]

pub(crate) mod key_values;

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::MemberId;
use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::store::{Changes, Store, StoredBan, StoredMember, StoredSession};
use proxywhirl_core::time::Timestamp;
use proxywhirl_core::verdict::Anonymity;

/// A member with every field filled.
pub(crate) fn member(url: &str) -> StoredMember {
    StoredMember {
        endpoint: url.parse::<Endpoint>().unwrap(),
        tags: ["source:user", "eu"].iter().map(|tag| tag.parse().unwrap()).collect(),
        country: Some("DE".parse().unwrap()),
        anonymity: Anonymity::Elite,
        added: Timestamp::from_micros(1_750_000_000_000_001),
        statistics: Statistics {
            successes: 7,
            failures: 3,
            latency: Some(Duration::from_micros(123_456)),
            last_used: Timestamp::from_micros(1_750_000_000_000_002),
        },
        health: Health::Degraded,
    }
}

/// A change that adds members.
pub(crate) fn upserts(urls: &[&str]) -> Changes {
    Changes { upserts: urls.iter().map(|url| member(url)).collect(), ..Changes::default() }
}

/// The URLs of what is kept, with passwords.
pub(crate) fn urls(store: &mut dyn Store) -> Vec<String> {
    store.load().unwrap().iter().map(|member| member.endpoint.to_url()).collect()
}

/// Runs every test, each on a store of its own that is empty.
pub(crate) fn suite(fresh: &mut dyn FnMut() -> Box<dyn Store>) {
    an_empty_store_is_empty(&mut *fresh());
    every_field_comes_back(&mut *fresh());
    members_keep_their_order_when_they_change(&mut *fresh());
    the_key_is_all_but_the_password(&mut *fresh());
    what_is_removed_is_gone(&mut *fresh());
    who_left_and_came_back_is_there_and_last(&mut *fresh());
    sessions_come_back_the_longest_unused_first(&mut *fresh());
    a_session_is_changed_and_forgotten(&mut *fresh());
    pages_have_everybody_once_and_in_order(&mut *fresh());
    who_is_changed_is_changed(&mut *fresh());
}

fn an_empty_store_is_empty(store: &mut dyn Store) {
    assert_eq!(store.load().unwrap(), []);
    store.save(&Changes::default()).unwrap();
    assert_eq!(store.load().unwrap(), []);
}

fn every_field_comes_back(store: &mut dyn Store) {
    let full = member("socks5h://us%3Aer:p%40ss@[fe80::1%eth0]:1081");
    let mut bare = member("http://gate.example:80");
    bare.tags = std::iter::empty().collect();
    bare.country = None;
    bare.anonymity = Anonymity::Unknown;
    bare.statistics = Statistics::default();
    bare.health = Health::Unknown;
    let chain = member("socks5://u:p@a.example:1080 -> https://v:q@b.example:443 -> http://1.2.3.4:8080");
    let members = vec![full, bare, member("https://1.2.3.4:65535"), chain];
    store.save(&Changes { upserts: members.clone(), ..Changes::default() }).unwrap();
    assert_eq!(store.load().unwrap(), members);
}

fn members_keep_their_order_when_they_change(store: &mut dyn Store) {
    store.save(&upserts(&["http://1.1.1.1:1", "http://1.1.1.2:1", "http://1.1.1.3:1"])).unwrap();
    let mut changed = member("http://1.1.1.1:1");
    changed.statistics.successes = 99;
    store.save(&Changes { upserts: vec![changed], ..Changes::default() }).unwrap();
    assert_eq!(urls(store), ["http://1.1.1.1:1", "http://1.1.1.2:1", "http://1.1.1.3:1"]);
    assert_eq!(store.load().unwrap().first().unwrap().statistics.successes, 99);
}

fn who_is_changed_is_changed(store: &mut dyn Store) {
    store.save(&upserts(&["http://u:p@1.1.1.1:1", "http://1.1.1.2:1"])).unwrap();
    let mut changed = member("http://u:new@1.1.1.1:1");
    changed.tags.insert("mine".parse().unwrap());
    (changed.country, changed.anonymity) = (Some("FR".parse().unwrap()), Anonymity::Transparent);
    changed.statistics.successes += 92;
    changed.health = Health::Healthy;
    store.save(&Changes { updates: vec![changed.clone()], ..Changes::default() }).unwrap();
    assert_eq!(store.load().unwrap(), [changed, member("http://1.1.1.2:1")]);
}

fn the_key_is_all_but_the_password(store: &mut dyn Store) {
    let different = [
        "http://1.1.1.1:1",
        // An empty user name is a user name.
        "http://:@1.1.1.1:1",
        "http://a:x@1.1.1.1:1",
        "http://b:x@1.1.1.1:1",
        "http://a:x@1.1.1.1:2",
        "socks5://a:x@1.1.1.1:1",
        "socks5://a:x@2.2.2.2:2 -> http://1.1.1.1:1",
        "socks5://b:x@2.2.2.2:2 -> http://1.1.1.1:1",
    ];
    store.save(&upserts(&different)).unwrap();
    assert_eq!(urls(store), different);
    store.save(&upserts(&["http://a:new@1.1.1.1:1"])).unwrap();
    assert_eq!(urls(store).get(2).unwrap(), "http://a:new@1.1.1.1:1");
    store.save(&upserts(&["socks5://a:new@2.2.2.2:2 -> http://1.1.1.1:1"])).unwrap();
    assert_eq!(urls(store).get(6).unwrap(), "socks5://a:new@2.2.2.2:2 -> http://1.1.1.1:1");
    assert_eq!(urls(store).len(), different.len());
    let removed = vec![different.get(1).unwrap().parse::<Endpoint>().unwrap().key()];
    store.save(&Changes { removed, ..Changes::default() }).unwrap();
    assert_eq!(urls(store).first().unwrap(), "http://1.1.1.1:1");
    assert_eq!(urls(store).len(), different.len() - 1);
}

fn what_is_removed_is_gone(store: &mut dyn Store) {
    store.save(&upserts(&["http://1.1.1.1:1", "http://u:p@1.1.1.1:1"])).unwrap();
    let unknown = member("http://9.9.9.9:9").endpoint.key();
    let removed = vec![member("http://u:other@1.1.1.1:1").endpoint.key(), unknown];
    store.save(&Changes { removed, ..Changes::default() }).unwrap();
    assert_eq!(urls(store), ["http://1.1.1.1:1"]);
}

fn who_left_and_came_back_is_there_and_last(store: &mut dyn Store) {
    store.save(&upserts(&["http://1.1.1.1:1", "http://1.1.1.2:1"])).unwrap();
    let back = member("http://1.1.1.1:1");
    store.save(&Changes { removed: vec![back.endpoint.key()], upserts: vec![back], ..Changes::default() }).unwrap();
    assert_eq!(urls(store), ["http://1.1.1.2:1", "http://1.1.1.1:1"]);
}

/// A session, and when it was last used.
fn session(session: u64, used: u64) -> StoredSession {
    let time = |micros| Timestamp::from_micros(1_750_000_000_000_000 + micros);
    StoredSession { session, member: MemberId(u64::MAX - session), began: time(0), used: time(used), life: 3 }
}

fn sessions_come_back_the_longest_unused_first(store: &mut dyn Store) {
    assert_eq!(store.load_sessions().unwrap(), []);
    // Numbers from the whole range of 64 bits.
    let sessions = vec![session(7, 2), session(u64::MAX, 1), session(0, 3)];
    store.save(&Changes { sessions, ..Changes::default() }).unwrap();
    assert_eq!(store.load_sessions().unwrap(), [session(u64::MAX, 1), session(7, 2), session(0, 3)]);
    assert_eq!(store.load().unwrap(), []);
}

fn a_session_is_changed_and_forgotten(store: &mut dyn Store) {
    let sessions = vec![session(1, 1), session(2, 2), session(3, 3)];
    store.save(&Changes { sessions, ..Changes::default() }).unwrap();
    let moved = StoredSession { member: MemberId(5), life: 4, ..session(1, 9) };
    // One that was forgotten and came back is there.
    let changes = Changes { sessions: vec![moved, session(3, 3)], forgotten: vec![2, 3, 99], ..Changes::default() };
    store.save(&changes).unwrap();
    assert_eq!(store.load_sessions().unwrap(), [session(3, 3), moved]);
}

/// A ban that lasts so many seconds into the year 2100.
pub(crate) fn ban(site: &str, member: u64, second: u64) -> StoredBan {
    let until = Timestamp::from_micros(4_102_444_800_000_000 + second * 1_000_000);
    StoredBan { site: site.to_owned(), member: MemberId(member), until, rule: "no more".into() }
}

/// The bans that are kept, by what they are about.
pub(crate) fn bans(store: &mut dyn Store) -> Vec<StoredBan> {
    let mut bans = store.load_bans().unwrap();
    bans.sort_by_key(StoredBan::place);
    bans
}

/// Bans of a store that is empty, and that is opened several times.
pub(crate) fn bans_are_kept(open: &mut dyn FnMut() -> Box<dyn Store>) {
    assert_eq!(bans(&mut *open()), []);
    let [one, session] = [ban("a.example", u64::MAX, 5), ban("session 00000000000000ff", 7, 5)];
    let everywhere = StoredBan { rule: Arc::from("ümlaut \"rule\""), ..ban("*", 1, 5) };
    let set = vec![everywhere.clone(), one.clone(), session.clone()];
    open().save(&Changes { bans: set, ..Changes::default() }).unwrap();
    assert_eq!(bans(&mut *open()), [everywhere.clone(), one.clone(), session.clone()]);
    // The later end counts, unless the ban was lifted before.
    let set = vec![ban("a.example", u64::MAX, 4), ban("*", 1, 9), ban("session 00000000000000ff", 7, 1)];
    let lifted = vec![session.place(), ban("b.example", 1, 1).place()];
    open().save(&Changes { bans: set, lifted, ..Changes::default() }).unwrap();
    let expected = [ban("*", 1, 9), one, ban("session 00000000000000ff", 7, 1)];
    assert_eq!(bans(&mut *open()), expected);
    open().save(&Changes { lifted: expected.iter().map(StoredBan::place).collect(), ..Changes::default() }).unwrap();
    assert_eq!(bans(&mut *open()), []);
    // What is over goes when another one comes.
    let over = StoredBan { until: Timestamp::from_micros(1), ..ban("a.example", 1, 0) };
    let mut store = open();
    store.save(&Changes { bans: vec![over], ..Changes::default() }).unwrap();
    store.save(&Changes { bans: vec![everywhere.clone()], ..Changes::default() }).unwrap();
    assert_eq!(bans(&mut *store), [everywhere]);
}

fn pages_have_everybody_once_and_in_order(store: &mut dyn Store) {
    let all: Vec<String> = (1..=25).map(|port| format!("http://1.1.1.1:{port}")).collect();
    store.save(&upserts(&all.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    for limit in [1, 7, 25, 26] {
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = store.page(after, limit).unwrap();
            assert!(page.members.len() <= limit);
            found.extend(page.members.iter().map(|member| member.endpoint.to_url()));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, all);
        assert!(pages >= 25 / limit);
    }
}
