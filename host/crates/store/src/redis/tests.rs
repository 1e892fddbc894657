#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use proxywhirl_core::MemberId;
use proxywhirl_core::kv::{KeyArchive, KeyValues, KvError, KvWrite};
use proxywhirl_tests::{RedisServer, wait_until};

use super::*;
use crate::conformance::key_values::{at, write};
use crate::conformance::{ban, bans_are_kept, member, suite, upserts, urls};
use crate::{ClearText, Keyring, StoreUrl};

const PLAIN: [&str; 0] = [];

fn of(text: &str) -> RedisUrl {
    let StoreUrl::Redis(url) = text.parse().unwrap() else { panic!("{text}") };
    url
}

fn open(url: &str) -> Redis {
    let [connect, answer, bulk, pause] = [2_000, 2_000, 2_000, 10].map(Duration::from_millis);
    Redis::open_within(&of(url), Access::Write, Limits { connect, answer, bulk, pause }).unwrap()
}

fn error(url: &str) -> String {
    Redis::open(&of(url), Access::Write).unwrap_err().to_string()
}

fn successes(store: &mut Redis) -> Vec<u64> {
    store.load().unwrap().iter().map(|member| member.statistics.successes).collect()
}

fn used(url: &str, successes: u64, second: u64) -> Changes {
    let mut member = member(url);
    member.statistics.successes = successes;
    member.statistics.last_used = at(second);
    Changes { upserts: vec![member], ..Changes::default() }
}

fn conforms(url: &str) {
    let mut count = 0;
    suite(&mut || {
        count += 1;
        Box::new(Redis::open(&of(&format!("{url}?pool=s{count}")), Access::Write).unwrap())
    });
    bans_are_kept(&mut || Box::new(Redis::open(&of(&format!("{url}?pool=bans")), Access::Write).unwrap()));
    crate::conformance::key_values::suite(&mut || {
        count += 1;
        Box::new(RedisKeyValues::new(&of(&format!("{url}?pool=k{count}"))))
    });
}

#[test]
fn it_keeps_what_a_store_must_keep() {
    conforms(&RedisServer::start(PLAIN).url());
}

#[test]
fn sealed_it_keeps_it_too_holds_no_password_and_tells_nobody_of_a_row_that_stays() {
    let server = RedisServer::start(PLAIN);
    let keys = Arc::new(Keyring::parse(&Keyring::generate().unwrap()).unwrap());
    let sealed = |pool: &str| {
        let url = format!("{}?pool={pool}", server.url()).parse::<StoreUrl>().unwrap();
        url.open().unwrap().sealed(Some(Arc::clone(&keys)), &url, ClearText::Expected).store
    };
    let mut count = 0;
    suite(&mut || {
        count += 1;
        sealed(&format!("s{count}"))
    });
    let (mut one, mut other) = (sealed("both"), sealed("both"));
    let url = "http://me:hunter2@1.1.1.1:1";
    one.save(&used(url, 1, 1)).unwrap();
    assert_eq!(other.news().unwrap().members, used(url, 1, 1).upserts, "it is opened for the other one");
    one.save(&used(url, 2, 2)).unwrap();
    other.save(&used(url, 1, 3)).unwrap();
    for store in [&mut one, &mut other] {
        assert_eq!(store.news().unwrap().members, [], "a use is no news");
    }
    assert_eq!(urls(&mut *sealed("both")), [url]);
    let held = server.ask(&["HGETALL", "{proxywhirl:both}:members"]);
    assert!(held.contains("sealed-1") && !held.contains("hunter2"), "{held}");
}

#[test]
fn a_cluster_keeps_it_too() {
    let nodes = RedisServer::cluster();
    // The pools are spread over the nodes, wherever one asks first.
    for node in &nodes {
        let mut store = open(&format!("{}?pool=shared", node.url()));
        let before = successes(&mut store).first().copied().unwrap_or(0);
        store.save(&used("http://1.1.1.1:1", before + 1, before)).unwrap();
    }
    assert_eq!(successes(&mut open(&format!("{}?pool=shared", nodes[0].url()))), [3]);
    let ports: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    // Any of them may be away.
    conforms(&format!("redis://127.0.0.1:1,{}", ports.join(",")));
    let told = error(&format!("{}/1", nodes[0].url()));
    assert!(told.contains("is a cluster, which has database 0 alone"), "{told}");
}

#[test]
fn a_user_who_may_do_what_the_documentation_says_may_do_enough() {
    let server = RedisServer::start(PLAIN);
    let page = include_str!("../../../../docs/redis.md");
    let rule = page.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER proxywhirl on >secret ")).unwrap();
    let rule = rule.replace("{proxywhirl:default}", "{proxywhirl:*}");
    let words: Vec<&str> =
        ["ACL", "SETUSER", "proxywhirl", "on", ">secret"].into_iter().chain(rule.split(' ')).collect();
    assert_eq!(server.ask(&words), "+OK\r\n+OK\r\n");
    let port = server.port();
    conforms(&format!("redis://proxywhirl:secret@127.0.0.1:{port}"));
    for login in ["proxywhirl:hunter2", ":hunter2"] {
        let told = error(&format!("redis://{login}@127.0.0.1:{port}"));
        assert!(told.contains("does not accept the user name and password") && !told.contains("hunter2"), "{told}");
    }
    server.ask(&["CONFIG", "SET", "requirepass", "p@ss"]);
    assert!(error(&server.url()).contains("does not accept the user name and password"));
    assert_eq!(urls(&mut open(&format!("redis://:p%40ss@127.0.0.1:{port}"))), [""; 0]);
    let allowed = ["ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+@connection", "+info"];
    server.ask_all(&[&["AUTH", "p@ss"][..], &allowed]);
    let reader = format!("redis://reader:secret@127.0.0.1:{port}");
    assert!(error(&reader).contains("does not allow it to the user"), "{}", error(&reader));
    assert_eq!(urls(&mut Redis::open(&of(&reader), Access::Read).unwrap()), [""; 0], "and reading is enough to read");
}

#[test]
fn uses_that_several_count_add_up() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&used("http://u:p@1.1.1.1:1", 10, 1)).unwrap();
    assert_eq!(successes(&mut other), [10]);
    for round in 1..=5 {
        one.save(&used("http://u:p@1.1.1.1:1", 10 + round, 10 + round)).unwrap();
        // It counts what it knew, and what came to it since.
        other.save(&used("http://u:p@1.1.1.1:1", 10 + 2 * round, round)).unwrap();
    }
    assert_eq!(successes(&mut one), [25]);
    let kept = one.load().unwrap().remove(0);
    assert_eq!(kept.statistics.last_used, at(15), "of the latest use, whoever saved last");
    // What nobody has changed is not written: another may have.
    let mut labelled = member("http://u:new@1.1.1.1:1");
    labelled.tags.insert("mine".parse().unwrap());
    labelled.statistics.successes = 15;
    labelled.statistics.last_used = at(15);
    one.save(&Changes { upserts: vec![labelled.clone()], ..Changes::default() }).unwrap();
    other.save(&used("http://u:p@1.1.1.1:1", 21, 20)).unwrap();
    let kept = other.load().unwrap().remove(0);
    assert_eq!((kept.endpoint, kept.tags, kept.statistics.successes), (labelled.endpoint, labelled.tags, 26));
}

#[test]
fn of_two_who_change_a_row_at_once_each_changes_what_it_means() {
    let server = RedisServer::start(PLAIN);
    let kept = |store: &mut Redis| {
        let kept = store.load().unwrap().remove(0);
        (kept.endpoint.to_url(), kept.tags.iter().any(|tag| tag.to_string() == "mine"), kept.added)
    };
    let added = member("http://u:old@1.1.1.1:1").added;
    for is_lost in [false, true] {
        for is_password_first in [false, true] {
            server.ask(&["FLUSHALL"]);
            let (mut one, mut other) = (open(&server.url()), open(&server.url()));
            one.save(&upserts(&["http://u:old@1.1.1.1:1"])).unwrap();
            other.load().unwrap();
            let password = upserts(&["http://u:n%22ew@1.1.1.1:1"]);
            let mut tag = upserts(&["http://u:old@1.1.1.1:1"]);
            tag.upserts[0].tags.insert("mine".parse().unwrap());
            if is_lost {
                server.ask(&["FLUSHALL"]);
                // Somebody brings back what there was.
                open(&server.url()).save(&upserts(&["http://u:old@1.1.1.1:1"])).unwrap();
            }
            let mut saves = [(&mut one, password), (&mut other, tag)];
            if !is_password_first {
                saves.reverse();
            }
            for (store, changes) in &mut saves {
                store.save(changes).unwrap();
            }
            assert_eq!(kept(&mut one), ("http://u:n%22ew@1.1.1.1:1".to_owned(), true, added), "{is_lost}");
            let all = one.load().unwrap();
            for store in [&mut one, &mut other] {
                let news = store.news().unwrap();
                assert!(news.is_cut == is_lost && (is_lost || news.members == all), "both hear of it: {news:?}");
            }
        }
    }
    // What somebody else wrote there is no row of which something stays.
    let mut one = open(&server.url());
    one.load().unwrap();
    server.ask(&["HSET", "{proxywhirl:default}:members", "http://u@1.1.1.1:1", "rubbish"]);
    one.save(&upserts(&["http://u:newest@1.1.1.1:1"])).unwrap();
    assert_eq!(urls(&mut one), ["http://u:newest@1.1.1.1:1"]);
}

#[test]
fn a_row_that_a_server_has_gone_back_to_is_written_anew() {
    let server = RedisServer::start(PLAIN);
    let mut one = open(&server.url());
    let (old, new) = (upserts(&["http://u:old@1.1.1.1:1"]), upserts(&["http://u:new@1.1.1.1:1"]));
    one.save(&old).unwrap();
    let held_url = || open(&server.url()).load().unwrap()[0].endpoint.to_url();
    let members = one.names.name("members");
    let held = server.ask(&["HGET", &members, "http://u@1.1.1.1:1"]);
    let row = held.lines().nth(1).unwrap().to_owned();
    one.save(&new).unwrap();
    assert!(one.is_intact().unwrap());
    // As a replica does that takes over, and has not heard of the last save.
    server.ask(&["HSET", &members, "http://u@1.1.1.1:1", &row]);
    server.ask(&["SET", &one.names.name(&format!("saved:{}", one.node)), "1"]);
    assert_eq!(held_url(), "http://u:old@1.1.1.1:1");
    // The first save that finds it brings what it is about, and all else comes after it.
    one.save(&used("http://u:new@1.1.1.1:1", 1, 1)).unwrap();
    assert!(!one.is_intact().unwrap());
    assert_eq!(held_url(), "http://u:new@1.1.1.1:1");
}

#[test]
fn who_was_removed_by_another_does_not_come_back_by_being_used() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&upserts(&["http://1.1.1.1:1", "http://1.1.1.2:1"])).unwrap();
    other.load().unwrap();
    other.save(&Changes { removed: vec![member("http://1.1.1.1:1").endpoint.key()], ..Changes::default() }).unwrap();
    one.save(&used("http://1.1.1.1:1", 9, 1)).unwrap();
    assert_eq!(urls(&mut one), ["http://1.1.1.2:1"]);
    assert_eq!(server.ask(&["HLEN", "{proxywhirl:default}:statistics"]), ":1\r\n+OK\r\n");
}

#[test]
fn a_save_counts_once_though_its_answer_is_lost() {
    let server = RedisServer::start(PLAIN);
    let [connect, answer, bulk, pause] = [200, 2_000, 100, 0].map(Duration::from_millis);
    let limits = Limits { connect, answer, bulk, pause };
    let mut store = Redis::open_within(&of(&server.url()), Access::Write, limits).unwrap();
    store.save(&used("http://1.1.1.1:1", 1, 1)).unwrap();
    let mut lost = 0;
    for round in 2..=20 {
        server.stand_still(true);
        let told = store.save(&used("http://1.1.1.1:1", round, round)).unwrap_err().to_string();
        assert!(told.contains("does not answer in time"), "{told}");
        server.stand_still(false);
        lost += u64::from(store.doubtful.is_some());
        if round % 2 == 0 {
            store.save(&used("http://1.1.1.1:1", round, round)).unwrap();
        }
    }
    store.save(&used("http://1.1.1.1:1", 21, 21)).unwrap();
    assert_eq!(successes(&mut store), [21]);
    assert!(lost > 0);
}

#[test]
fn a_save_that_comes_too_late_is_not_done() {
    let server = RedisServer::start(PLAIN);
    let mut store = open(&server.url());
    store.save(&used("http://1.1.1.1:1", 1, 1)).unwrap();
    let before = store.last.clone().unwrap();
    // One that is still on its way when the next one is tried.
    store.doubtful = Some(Doubtful { turn: "late".to_owned(), held: Vec::new() });
    store.save(&used("http://1.1.1.1:1", 2, 2)).unwrap();
    store.last = Some(before);
    let late = store.try_to_write(&used("http://1.1.1.1:1", 50, 50)).unwrap();
    assert_eq!((late.as_str(), successes(&mut store)), ("turn", vec![2]));
    // A fence that comes late takes no turn from the saves after it.
    let saved = store.names.name(&format!("saved:{}", store.node));
    let held = server.ask(&["GET", &saved]);
    let fence = script(include_str!("fence.lua"), &[&saved], &["late", "1", "60"]);
    assert!(!store.link.query::<bool>(&fence).unwrap());
    assert_eq!(server.ask(&["GET", &saved]), held);
    // One that comes twice is done once.
    store.last = None;
    store.settle().unwrap();
    let (turns, last) = (store.turns, store.last.clone());
    store.try_to_write(&used("http://1.1.1.1:1", 3, 3)).unwrap();
    (store.turns, store.last) = (turns, last);
    store.ledger = Ledger::default();
    assert_eq!(store.try_to_write(&used("http://1.1.1.1:1", 3, 3)).unwrap(), "done");
    assert_eq!(successes(&mut store), [3]);
}

#[test]
fn a_server_that_has_forgotten_is_told_again() {
    let server = RedisServer::start(PLAIN);
    let mut store = open(&server.url());
    store.save(&used("http://1.1.1.1:1", 5, 1)).unwrap();
    // Who saved last.
    let saved = format!("{{proxywhirl:default}}:saved:{}", store.node);
    assert!(server.ask(&["DEL", &saved]).starts_with(":1"));
    assert!(store.is_intact().unwrap(), "nobody has seen yet what is missing");
    store.save(&used("http://1.1.1.1:1", 6, 2)).unwrap();
    assert_eq!(successes(&mut store), [6]);
    assert_eq!((store.is_intact().unwrap(), store.is_intact().unwrap()), (false, true), "told once");
    // Everything.
    server.ask(&["FLUSHALL"]);
    assert_eq!((store.is_intact().unwrap(), store.is_intact().unwrap()), (false, true));
    server.ask(&["FLUSHALL"]);
    store.save(&used("http://1.1.1.1:1", 7, 3)).unwrap();
    assert_eq!(successes(&mut store), [7]);
    store.save(&used("http://1.1.1.1:1", 8, 4)).unwrap();
    assert_eq!(successes(&mut store), [8]);
    assert_eq!((store.is_intact().unwrap(), store.is_intact().unwrap()), (false, true));
}

#[test]
fn who_saves_nothing_for_long_is_not_forgotten() {
    let server = RedisServer::start(PLAIN);
    let mut store = open(&server.url());
    store.save(&used("http://1.1.1.1:1", 1, 1)).unwrap();
    let saved = store.names.name(&format!("saved:{}", store.node));
    assert!(server.ask(&["EXPIRE", &saved, "10"]).starts_with(":1"));
    assert!(store.is_intact().unwrap());
    let left: u64 = store.link.query(&command("TTL", [saved.as_str()])).unwrap();
    assert!(left > REMEMBERED - 60, "{left}");
}

#[test]
fn who_was_removed_and_comes_back_counts_anew() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&used("http://1.1.1.1:1", 10, 1)).unwrap();
    let removed = vec![member("http://1.1.1.1:1").endpoint.key()];
    other.save(&Changes { removed, ..Changes::default() }).unwrap();
    // Of which the first one hears nothing but that it was missing from all that is kept.
    assert_eq!(urls(&mut one), [""; 0]);
    let again = |successes, second| {
        let mut again = used("http://1.1.1.1:1", successes, second);
        again.upserts[0].added = at(2);
        again
    };
    other.save(&again(2, 2)).unwrap();
    assert_eq!(successes(&mut one), [2]);
    one.save(&again(5, 3)).unwrap();
    assert_eq!(successes(&mut one), [5]);
}

#[test]
fn several_put_back_what_a_server_has_lost_and_it_counts_once() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&used("http://1.1.1.1:1", 100, 1)).unwrap();
    assert_eq!(successes(&mut other), [100]);
    other.save(&used("http://1.1.1.1:1", 105, 2)).unwrap();
    server.ask(&["FLUSHALL"]);
    // Somebody else was quicker to make the pool, and knows nothing of it.
    open(&server.url()).save(&upserts(&["http://1.1.1.2:1"])).unwrap();
    assert_eq!((other.is_intact().unwrap(), one.is_intact().unwrap()), (false, false));
    one.save(&used("http://1.1.1.1:1", 103, 4)).unwrap();
    other.save(&used("http://1.1.1.1:1", 106, 3)).unwrap();
    assert_eq!(urls(&mut one), ["http://1.1.1.2:1", "http://1.1.1.1:1"]);
    assert_eq!(successes(&mut one), [7, 109]);
}

#[test]
fn a_server_that_was_away_is_saved_to_when_it_is_back() {
    let mut server = RedisServer::start(PLAIN);
    let mut store = open(&server.url());
    let keys = RedisKeyValues::new(&of(&server.url()));
    store.save(&used("http://1.1.1.1:1", 1, 1)).unwrap();
    keys.set("p", "k", &write(b"v"), at(0)).unwrap();
    server.kill();
    let told = store.save(&used("http://1.1.1.1:1", 2, 2)).unwrap_err().to_string();
    assert!(told.starts_with(&format!("{}: cannot be reached (", server.url())), "{told}");
    assert!(
        matches!(keys.get("p", "unread", at(0)), Err(KvError::Unavailable(told)) if told.contains("cannot be reached"))
    );
    // Those who ask right after wait for nothing.
    let asked = Instant::now();
    for _ in 0..100 {
        keys.get("p", "unread", at(0)).unwrap_err();
    }
    assert!(asked.elapsed() < Duration::from_millis(900), "{:?}", asked.elapsed());
    server.start_again();
    proxywhirl_tests::wait_until("it is saved again", || store.save(&used("http://1.1.1.1:1", 3, 3)).is_ok());
    assert_eq!(successes(&mut store), [3]);
    proxywhirl_tests::wait_until("keys are there again", || keys.get("p", "k", at(0)).is_ok());
    assert_eq!(keys.get("p", "k", at(0)).unwrap().unwrap().value, b"v");
}

#[test]
fn what_a_server_refuses_is_told_and_leaves_what_was_kept() {
    let server = RedisServer::start(PLAIN);
    let mut store = open(&server.url());
    store.save(&used("http://1.1.1.1:1", 1, 1)).unwrap();
    let mut refused = |command: &[&str], reason: &str, undo: &[&str]| {
        server.ask(command);
        let told = store.save(&used("http://1.1.1.1:1", 2, 2)).unwrap_err().to_string();
        assert!(told.contains(reason), "{told}");
        server.ask(undo);
        assert_eq!(successes(&mut store), [1]);
    };
    refused(&["CONFIG", "SET", "maxmemory", "1"], "is out of memory", &["CONFIG", "SET", "maxmemory", "0"]);
    refused(&["REPLICAOF", "127.0.0.1", "1"], "is a replica and takes no writes", &["REPLICAOF", "NO", "ONE"]);
    store.save(&used("http://1.1.1.1:1", 2, 2)).unwrap();
    assert_eq!(successes(&mut store), [2]);
    let pool = |name: &str| format!("{}?pool={name}", server.url());
    server.ask(&["SET", "{proxywhirl:other}:layout", "x"]);
    assert!(error(&pool("other")).contains("has keys of another program"), "{}", error(&pool("other")));
    server.ask(&["HSET", "{proxywhirl:later}:layout", "version", "2"]);
    assert!(error(&pool("later")).contains("later version of proxywhirl (layout 2, this one knows up to 1)"));
    assert!(
        error(&format!("{}/99", server.url())).contains("refuses it"),
        "{}",
        error(&format!("{}/99", server.url()))
    );
    assert!(error(&format!("{},127.0.0.1:{}", server.url(), server.port())).contains("is no cluster; name one host"));
}

#[test]
fn what_is_no_server_is_told_within_its_time() {
    // One that accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = Instant::now();
    let told = error(&format!("redis://:hunter2@{}", silent.local_addr().unwrap()));
    assert!(told.contains("does not answer in time") && !told.contains("hunter2"), "{told}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let told = error("redis://no.such.host.invalid");
    assert!(told.starts_with("redis://no.such.host.invalid:6379: cannot be reached ("), "{told}");
    // One that speaks something else.
    let server = RedisServer::start(PLAIN);
    let told = error(&server.url().replace("redis:", "rediss:"));
    assert!(told.starts_with("rediss://127.0.0.1:") && told.contains("does not answer in time"), "{told}");
}

#[test]
fn reading_makes_nothing_and_writes_nothing() {
    let server = RedisServer::start(PLAIN);
    let url = of(&server.url());
    let mut reader = Redis::open(&url, Access::Read).unwrap();
    assert_eq!(urls(&mut reader), [""; 0]);
    assert_eq!(reader.load_sessions().unwrap(), []);
    assert_eq!(RedisKeyValues::new(&url).records().unwrap(), []);
    assert_eq!(server.ask(&["DBSIZE"]), ":0\r\n+OK\r\n");
    let told = reader.save(&upserts(&["http://1.1.1.1:1"])).unwrap_err().to_string();
    assert!(told.ends_with("was opened to be read"), "{told}");
    open(&server.url()).save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    assert_eq!(urls(&mut reader), ["http://1.1.1.1:1"]);
}

#[test]
fn rows_that_are_no_members_are_skipped_and_stay() {
    let server = RedisServer::start(PLAIN);
    let mut store = open(&server.url());
    store.save(&upserts(&["http://1.1.1.1:1", "http://1.1.1.2:1", "http://1.1.1.3:1"])).unwrap();
    server.ask(&["HSET", "{proxywhirl:default}:members", "http://1.1.1.2:1", "rubbish"]);
    server.ask(&["HSET", "{proxywhirl:default}:statistics", "http://1.1.1.3:1", "rubbish"]);
    server.ask(&["HSET", "{proxywhirl:default}:sessions", "rubbish", "rubbish"]);
    server.ask(&["HSET", "{proxywhirl:default}:keys:p", "rubbish", "rubbish"]);
    assert_eq!(urls(&mut store), ["http://1.1.1.1:1", "http://1.1.1.3:1"]);
    assert_eq!(successes(&mut store), [7, 0]);
    assert_eq!(store.load_sessions().unwrap(), []);
    assert_eq!(RedisKeyValues::new(&of(&server.url())).get("p", "rubbish", at(0)).unwrap(), None);
    assert_eq!(server.ask(&["HLEN", "{proxywhirl:default}:members"]), ":3\r\n+OK\r\n");
    // And its statistics begin anew, with what comes.
    store.save(&used("http://1.1.1.3:1", 9, 1)).unwrap();
    assert_eq!(successes(&mut store), [7, 2]);
}

#[test]
fn others_hear_who_joins_who_changes_and_who_leaves() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    let nothing = News::default();
    assert!(one.is_shared() && one.news().unwrap() == nothing);
    one.save(&upserts(&["http://1.1.1.1:1", "socks5://a:b@2.2.2.2:2 -> http://1.1.1.2:1"])).unwrap();
    let news = other.news().unwrap();
    assert_eq!(news.members, one.load().unwrap());
    assert_eq!((other.news().unwrap(), one.news().unwrap()), (nothing.clone(), nothing.clone()), "once, and by others");
    // Uses are no news; those of whom one has heard add up.
    one.save(&used("http://1.1.1.1:1", 8, 1)).unwrap();
    other.save(&used("http://1.1.1.1:1", 9, 2)).unwrap();
    assert_eq!((other.news().unwrap(), one.news().unwrap()), (nothing.clone(), nothing.clone()));
    assert_eq!(successes(&mut other), [10, 7]);
    let key = member("http://1.1.1.1:1").endpoint.key();
    one.save(&Changes { removed: vec![key.clone()], ..upserts(&["http://1.1.1.3:1"]) }).unwrap();
    let news = other.news().unwrap();
    assert_eq!((news.left, news.members), (vec![key.clone()], vec![member("http://1.1.1.3:1")]));
    // Whoever comes back comes with whole counts.
    other.save(&used("http://1.1.1.1:1", 20, 3)).unwrap();
    assert_eq!(one.news().unwrap().members[0].statistics.successes, 20);
    // Too many to be named, and some that were missed.
    let many: Vec<String> = (1..1_100).map(|port| format!("http://3.3.3.3:{port}")).collect();
    one.save(&upserts(&many.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    assert!(other.news().unwrap().is_cut);
    one.save(&upserts(&["http://1.1.1.4:1"])).unwrap();
    server.ask(&["DEL", "{proxywhirl:default}:notices"]);
    assert_eq!(other.news().unwrap(), nothing);
    one.save(&upserts(&["http://1.1.1.5:1"])).unwrap();
    assert!(other.news().unwrap().is_cut);
    assert_eq!(other.news().unwrap(), nothing);
    // A pool that is lost has none until somebody looks for it.
    server.ask(&["FLUSHALL"]);
    assert_eq!(other.news().unwrap(), nothing);
    assert!(!other.is_intact().unwrap());
    assert!(other.news().unwrap().is_cut);
}

#[test]
fn many_come_in_several_answers_and_go_in_one_save() {
    let server = RedisServer::start(PLAIN);
    let mut store = open(&server.url());
    let all: Vec<String> = (0..25_000).map(|n| format!("http://10.{}.{}.1:80", n / 250, n % 250)).collect();
    store.save(&upserts(&all.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    assert_eq!(urls(&mut open(&server.url())), all);
    let removed = all[10..].iter().map(|url| member(url).endpoint.key()).collect();
    store.save(&Changes { removed, ..Changes::default() }).unwrap();
    assert_eq!(urls(&mut open(&server.url())), all[..10]);
}

#[test]
fn a_ban_is_told_to_others_and_a_lift_is_the_end_of_it() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    let set = |bans: Vec<StoredBan>| Changes { bans, ..Changes::default() };
    one.save(&set(vec![ban("a.example", 1, 5), ban("*", 2, 5)])).unwrap();
    let news = other.news().unwrap();
    assert_eq!((news.bans, news.lifted), (vec![ban("a.example", 1, 5), ban("*", 2, 5)], vec![]));
    assert_eq!(one.news().unwrap(), News::default(), "nobody hears of what it did itself");
    // One that ends earlier changes nothing.
    one.save(&set(vec![ban("a.example", 1, 4)])).unwrap();
    assert_eq!(other.news().unwrap(), News::default());
    let place = ban("a.example", 1, 0).place();
    other.save(&Changes { lifted: vec![place.clone()], ..Changes::default() }).unwrap();
    other.save(&set(vec![ban("*", 2, 9)])).unwrap();
    let news = one.news().unwrap();
    assert_eq!((news.bans, news.lifted), (vec![ban("*", 2, 9)], vec![place]));
    // Very many are told, all the same.
    one.save(&set((0..2_500).map(|member| ban("many.example", member, 1)).collect())).unwrap();
    assert_eq!(other.news().unwrap().bans.len(), 2_500);
}

#[test]
fn a_ban_that_was_lifted_before_another_brings_it_back_stays_lifted() {
    let server = RedisServer::start(PLAIN);
    let set = |bans: Vec<StoredBan>| Changes { bans, ..Changes::default() };
    let again = |bans: Vec<StoredBan>| Changes { bans_again: bans, ..Changes::default() };
    let (old, other_old) = (ban("a.example", 1, 5), ban("*", 2, 5));
    let lift = || Changes { lifted: vec![old.place()], ..Changes::default() };
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&set(vec![old.clone(), other_old.clone()])).unwrap();
    other.news().unwrap();
    server.ask(&["FLUSHALL"]);
    // Which the server never held, as far as it knows.
    one.save(&lift()).unwrap();
    other.save(&again(vec![old.clone(), other_old.clone()])).unwrap();
    assert_eq!(other.load_bans().unwrap(), std::slice::from_ref(&other_old));
    // Who brought it hears that it is over, as the others do.
    assert!(other.news().unwrap().is_cut, "of what was before it was lost");
    other.save(&again(vec![old.clone()])).unwrap();
    assert_eq!(other.news().unwrap().lifted, [old.place()]);
    assert_eq!((one.news().unwrap().is_cut, one.news().unwrap().lifted), (true, vec![old.place()]));
    // What is set since is in force, and may be brought back.
    other.save(&set(vec![old.clone()])).unwrap();
    one.save(&again(vec![old.clone()])).unwrap();
    assert_eq!(one.load_bans().unwrap().len(), 2);
    // The server remembers that for its time, and not for ever.
    one.save(&lift()).unwrap();
    let lifts = one.names.name("lifts");
    let left: u64 = one.link.query(&command("TTL", [lifts.as_str()])).unwrap();
    assert!(left > REMEMBERED - 60, "{left}");
    server.ask(&["ZADD", &lifts, "1", "1 b.example"]);
    one.save(&lift()).unwrap();
    assert_eq!(server.ask(&["ZCARD", &lifts]), ":1\r\n+OK\r\n");
}

fn session(member: u64, began: u64, life: u32) -> StoredSession {
    StoredSession { session: 1, member: MemberId(member), began: at(began), used: at(began), life }
}

fn bound(sessions: Vec<StoredSession>) -> Changes {
    Changes { sessions, ..Changes::default() }
}

#[test]
fn of_two_who_make_something_of_a_session_at_once_the_same_one_counts_whoever_comes_last() {
    for (winner, loser) in [
        (session(7, 9, 0), session(5, 10, 0)),
        (session(5, 9, 0), session(7, 9, 0)),
        (session(7, 11, 1), session(5, 10, 0)),
        (session(7, 10, 10), session(5, 10, 9)),
    ] {
        for (first, last) in [(winner, loser), (loser, winner)] {
            let server = RedisServer::start(PLAIN);
            let (mut one, mut other) = (open(&server.url()), open(&server.url()));
            one.save(&bound(vec![first])).unwrap();
            other.save(&bound(vec![last])).unwrap();
            let held = one.load_sessions().unwrap();
            assert_eq!((held[0].member, held[0].began, held[0].life), (winner.member, winner.began, winner.life));
            // Who lost hears of it, and who won has nothing to hear but what was overwritten.
            let heard = other.news().unwrap().sessions;
            assert!(last == winner || heard.first().is_some_and(|heard| heard.member == winner.member), "{heard:?}");
        }
    }
}

#[test]
fn whoever_knows_what_a_session_is_may_move_it_and_uses_are_no_news() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&bound(vec![session(5, 10, 0)])).unwrap();
    assert_eq!(other.news().unwrap().sessions, [session(5, 10, 0)]);
    // To a larger one, in the same life: it knows that it was 5.
    other.save(&bound(vec![session(7, 10, 0)])).unwrap();
    // A use at one that has not heard of that moves it back to nobody.
    one.save(&bound(vec![StoredSession { used: at(20), ..session(8, 10, 0) }])).unwrap();
    let moved = StoredSession { used: at(20), ..session(7, 10, 0) };
    assert_eq!(one.load_sessions().unwrap(), [moved]);
    assert_eq!(one.news().unwrap().sessions, [moved]);
    assert_eq!(other.news().unwrap(), News::default());
    one.save(&bound(vec![StoredSession { used: at(30), ..moved }])).unwrap();
    assert_eq!(other.news().unwrap(), News::default(), "a use is no news");
    assert_eq!(other.load_sessions().unwrap()[0].used, at(30));
    one.save(&bound((0..2_500).map(|number| StoredSession { session: number, ..session(7, 40, 2) }).collect()))
        .unwrap();
    assert_eq!(other.news().unwrap().sessions.len(), 2_500, "very many are told, all the same");
}

#[test]
fn plugins_go_on_while_the_server_is_away_and_what_they_set_is_written_later() {
    let mut server = RedisServer::start(PLAIN);
    let [connect, answer, bulk, pause] = [2_000, 2_000, 2_000, 10].map(Duration::from_millis);
    let keys = RedisKeyValues::within(&of(&server.url()), Limits { connect, answer, bulk, pause });
    let value = |key: &str| keys.get("p", key, at(1)).map(|entry| entry.map(|entry| entry.value));
    keys.set("p", "written", &write(b"1"), at(0)).unwrap();
    keys.set("p", "gone", &write(b"1"), at(0)).unwrap();
    keys.delete("p", "gone", at(0)).unwrap();
    let version = keys.set("p", "swapped", &write(b"1"), at(0)).unwrap();
    assert_eq!(value("nothing").unwrap(), None);
    server.kill();
    assert_eq!(value("written").unwrap().unwrap(), b"1");
    assert_eq!((value("gone").unwrap(), value("nothing").unwrap()), (None, None));
    assert!(matches!(value("unread"), Err(KvError::Unavailable(reason)) if reason.contains("cannot be reached")));
    let swapped = keys.compare_and_swap("p", "swapped", version, &write(b"2"), at(1));
    assert!(matches!(swapped, Err(KvError::Unavailable(_))), "only the server knows what is there");
    assert!(keys.delete("p", "written", at(1)).is_err() && keys.keys("p", "", "", 9, at(1)).is_err());
    let (one, two) = (keys.set("p", "new", &write(b"1"), at(1)), keys.set("p", "new", &write(b"2"), at(1)));
    assert!(one.unwrap() < two.unwrap());
    keys.set("p", "written", &write(b"3"), at(1)).unwrap();
    keys.set("p", "short", &KvWrite { expires: Some(at(2)), ..write(b"4") }, at(1)).unwrap();
    assert_eq!((value("new").unwrap().unwrap(), value("short").unwrap().unwrap()), (b"2".to_vec(), b"4".to_vec()));
    assert_eq!(keys.get("p", "short", at(3)).unwrap(), None, "it expires, too");
    let tiny = KvWrite { quota: 3, ..write(b"4") };
    assert!(matches!(keys.set("p", "new", &KvWrite { value: b"too much", ..tiny }, at(1)), Err(KvError::Quota(3))));
    // Not more than some megabytes.
    let large = vec![0; 1 << 20];
    let large = KvWrite { quota: u64::MAX, ..write(&large) };
    let put_off = (0..8).take_while(|n| keys.set("q", &format!("large{n}"), &large, at(1)).is_ok()).count();
    assert_eq!(put_off, 3);
    assert!(keys.sync().is_err());

    server.start_again();
    wait_until("it is written", || keys.sync().is_ok());
    let other = RedisKeyValues::new(&of(&server.url()));
    let of_other = |key: &str| other.get("p", key, at(1)).unwrap().map(|entry| entry.value);
    assert_eq!((of_other("new").unwrap(), of_other("written").unwrap()), (b"2".to_vec(), b"3".to_vec()));
    assert_eq!(of_other("short"), None, "what has expired meanwhile is not written");
    assert_eq!(other.keys("q", "", "", 9, at(1)).unwrap().len(), 3);
    let version = keys.get("p", "new", at(1)).unwrap().unwrap().version;
    assert!(keys.compare_and_swap("p", "new", version, &write(b"5"), at(1)).unwrap().is_some());
}

#[test]
fn keys_that_a_server_has_lost_are_brought_back_and_the_newest_counts() {
    let server = RedisServer::start(PLAIN);
    let open_keys = || RedisKeyValues::new(&of(&server.url()));
    let value = |keys: &RedisKeyValues, key: &str| keys.get("p", key, at(1)).unwrap().map(|entry| entry.value);
    for is_older_first in [false, true] {
        server.ask(&["FLUSHALL"]);
        let mut pool = open(&server.url());
        pool.save(&used("http://1.1.1.1:1", 1, 1)).unwrap();
        let (one, other) = (open_keys(), open_keys());
        for key in ["old", "deleted", "swapped", "set since"] {
            one.set("p", key, &write(b"1"), at(0)).unwrap();
            assert_eq!(value(&other, key).unwrap(), b"1");
        }
        one.set("q", "k", &write(b"q"), at(0)).unwrap();
        one.set("p", "short", &KvWrite { expires: Some(at(1)), ..write(b"1") }, at(0)).unwrap();
        one.set("p", "old", &write(b"2"), at(0)).unwrap();
        assert!(one.delete("p", "deleted", at(0)).unwrap());
        let version = one.set("p", "swapped", &write(b"2"), at(0)).unwrap();
        assert_eq!(server.ask(&["FLUSHALL"]), "+OK\r\n+OK\r\n");
        // By one that knows of nothing.
        let newcomer = open_keys();
        newcomer.set("p", "set since", &write(b"3"), at(1)).unwrap();
        let mut gateways = [&one, &other];
        if is_older_first {
            gateways.reverse();
        }
        for keys in gateways {
            keys.sync().unwrap();
        }
        assert!(!pool.is_intact().unwrap(), "with the pool or without");
        for keys in [&newcomer, &one, &other] {
            assert_eq!(value(keys, "old").unwrap(), b"2", "{is_older_first}");
            assert_eq!(value(keys, "set since").unwrap(), b"3", "{is_older_first}");
            assert_eq!(value(keys, "short"), None);
            assert_eq!(keys.get("q", "k", at(1)).unwrap().unwrap().value, b"q");
        }
        assert_eq!(value(&newcomer, "deleted"), None);
        // The versions of before hold.
        assert!(other.compare_and_swap("p", "swapped", version, &write(b"4"), at(1)).unwrap().unwrap() > version);
    }
    // Whatever is asked for first.
    let keys = open_keys();
    keys.set("p", "k", &write(b"5"), at(1)).unwrap();
    let flushed = || {
        open(&server.url());
        keys.get("p", "k", at(1)).unwrap();
        server.ask(&["FLUSHALL"]);
    };
    flushed();
    assert_eq!(value(&keys, "k").unwrap(), b"5");
    flushed();
    assert_eq!(keys.keys("p", "", "", 9, at(1)).unwrap(), ["k"]);
    flushed();
    assert!(keys.delete("p", "k", at(1)).unwrap());
    flushed();
    assert!(!keys.delete("p", "k", at(1)).unwrap(), "who was deleted stays so");
}

#[test]
fn a_write_that_waits_and_is_refused_holds_nothing_up() {
    let mut server = RedisServer::start(PLAIN);
    let [connect, answer, bulk, pause] = [2_000, 2_000, 2_000, 10].map(Duration::from_millis);
    let keys = RedisKeyValues::within(&of(&server.url()), Limits { connect, answer, bulk, pause });
    let value = |owner: &str, key: &str| keys.get(owner, key, at(1)).map(|entry| entry.map(|entry| entry.value));
    keys.set("q", "k", &write(b"1"), at(0)).unwrap();
    keys.set("p", "k", &write(b"1"), at(0)).unwrap();
    server.kill();
    keys.set("p", "k", &write(b"2"), at(1)).unwrap();
    keys.set("q", "k", &write(b"2"), at(1)).unwrap();
    keys.set("q", "other", &write(b"2"), at(1)).unwrap();
    server.start_again();
    // Something else has taken the place of the keys of one of them.
    server.ask_all(&[&["DEL", "{proxywhirl:default}:order:p"][..], &["SET", "{proxywhirl:default}:order:p", "x"]]);
    wait_until("the others are written", || keys.sync().is_err() && value("q", "other").is_ok());
    let other = RedisKeyValues::new(&of(&server.url()));
    let of_other = |owner: &str, key: &str| other.get(owner, key, at(1)).unwrap().map(|entry| entry.value);
    assert_eq!((of_other("q", "k").unwrap(), of_other("q", "other").unwrap()), (b"2".to_vec(), b"2".to_vec()));
    assert_eq!(value("p", "k").unwrap().unwrap(), b"2", "as it was set");
    assert_eq!(of_other("p", "k").unwrap(), b"1");
    let told = keys.sync().unwrap_err().to_string();
    assert!(told.contains("has keys of another program"), "{told}");
    server.ask(&["DEL", "{proxywhirl:default}:order:p"]);
    keys.sync().unwrap();
    assert_eq!(of_other("p", "k").unwrap(), b"2");
    // What is set after it is not overwritten by it.
    server.kill();
    keys.set("p", "k", &write(b"3"), at(1)).unwrap();
    server.start_again();
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    wait_until("it is refused", || keys.sync().is_err_and(|told| told.to_string().contains("is a replica")));
    assert_eq!((value("p", "k").unwrap().unwrap(), value("q", "k").unwrap().unwrap()), (b"3".to_vec(), b"2".to_vec()));
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    keys.set("p", "k", &write(b"4"), at(1)).unwrap();
    keys.sync().unwrap();
    let other = RedisKeyValues::new(&of(&server.url()));
    assert_eq!(other.get("p", "k", at(1)).unwrap().unwrap().value, b"4");
}

#[test]
fn a_deletion_comes_back_before_what_was_deleted_whoever_brings_it_first() {
    let server = RedisServer::start(PLAIN);
    for is_deleted_first in [true, false] {
        server.ask(&["FLUSHALL"]);
        open(&server.url());
        let (one, other) = (RedisKeyValues::new(&of(&server.url())), RedisKeyValues::new(&of(&server.url())));
        // The newest write of the plugin.
        one.set("p", "k", &write(b"1"), at(0)).unwrap();
        one.set("p", "k", &write(b"2"), at(0)).unwrap();
        other.get("p", "k", at(0)).unwrap().unwrap();
        assert!(one.delete("p", "k", at(0)).unwrap());
        assert_eq!(one.get("p", "k", at(0)).unwrap(), None, "and who looks for it knows it still");
        server.ask(&["FLUSHALL"]);
        let mut gateways = [&one, &other];
        if !is_deleted_first {
            gateways.reverse();
        }
        for keys in gateways {
            keys.sync().unwrap();
        }
        for keys in [&one, &other, &RedisKeyValues::new(&of(&server.url()))] {
            assert_eq!(keys.get("p", "k", at(1)).unwrap(), None, "{is_deleted_first}");
        }
    }
}

#[test]
fn what_a_server_refuses_to_take_back_for_a_while_is_brought_back_later() {
    let server = RedisServer::start(PLAIN);
    open(&server.url());
    let keys = RedisKeyValues::new(&of(&server.url()));
    for key in ["k", "l", "m"] {
        keys.set("p", key, &write(b"1"), at(0)).unwrap();
    }
    let known = keys.get("p", "l", at(0)).unwrap().unwrap();
    server.ask(&["FLUSHALL"]);
    open(&server.url());
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    for _ in 0..2 {
        assert_eq!(keys.get("p", "k", at(1)).unwrap().unwrap().value, b"1", "as it is known");
        let told = keys.sync().unwrap_err().to_string();
        assert!(told.contains("is a replica"), "{told}");
    }
    assert_eq!(keys.keys("p", "", "", 2, at(1)).unwrap(), ["k", "l"]);
    assert_eq!(keys.keys("p", "", "l", 2, at(1)).unwrap(), ["m"]);
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    // It goes by the version that was read.
    assert!(keys.compare_and_swap("p", "l", known.version, &write(b"2"), at(1)).unwrap().is_some());
    assert!(keys.delete("p", "m", at(1)).unwrap());
    keys.sync().unwrap();
    let other = RedisKeyValues::new(&of(&server.url()));
    let of_other = |key: &str| other.get("p", key, at(1)).unwrap().map(|entry| entry.value);
    assert_eq!((of_other("k").unwrap(), of_other("l").unwrap(), of_other("m")), (b"1".to_vec(), b"2".to_vec(), None));
}

#[test]
fn while_a_write_is_refused_nothing_is_swapped_lists_have_it_and_few_are_tried() {
    let mut server = RedisServer::start(PLAIN);
    let [connect, answer, bulk, pause] = [2_000, 2_000, 2_000, 10].map(Duration::from_millis);
    let keys = RedisKeyValues::within(&of(&server.url()), Limits { connect, answer, bulk, pause });
    let version = keys.set("p", "k", &write(b"1"), at(0)).unwrap();
    server.kill();
    keys.set("p", "k", &write(b"2"), at(1)).unwrap();
    for number in 0..100 {
        keys.set("q", &format!("{number:02}"), &write(b"2"), at(1)).unwrap();
    }
    server.start_again();
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    wait_until("it is refused", || keys.sync().is_err_and(|told| told.to_string().contains("is a replica")));
    assert_eq!(keys.keys("q", "", "", 200, at(1)).unwrap().len(), 100, "as they were set");
    assert_eq!(keys.keys("q", "1", "17", 9, at(1)).unwrap(), ["18", "19"]);
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    // Something else has taken the place of the keys of both of them.
    for owner in ["p", "q"] {
        let place = format!("{{proxywhirl:default}}:expiry:{owner}");
        server.ask(&["SET", &place, "x"]);
    }
    let tries = || {
        server.ask(&["CONFIG", "RESETSTAT"]);
        assert!(keys.sync().is_err());
        let told = server.ask(&["INFO", "commandstats"]);
        let calls = told.split("cmdstat_eval:calls=").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        calls.parse::<usize>().unwrap()
    };
    wait_until("it is there", || keys.sync().is_err_and(|told| told.to_string().contains("another program")));
    assert!((2..=8).contains(&tries()));
    let swap = || keys.compare_and_swap("p", "k", version, &write(b"3"), at(1));
    server.ask(&["DEL", "{proxywhirl:default}:expiry:p"]);
    // What the plugin reads is what it has set, not what is there.
    assert_eq!(keys.get("p", "k", at(1)).unwrap().unwrap().value, b"2");
    assert_eq!(swap().unwrap(), None);
    let stuck = keys.compare_and_swap("q", "07", 0, &write(b"3"), at(1));
    assert!(matches!(stuck, Err(KvError::Unavailable(_))), "{stuck:?}");
    server.ask(&["DEL", "{proxywhirl:default}:expiry:q"]);
    keys.sync().unwrap();
    assert_eq!(keys.keys("q", "", "", 200, at(1)).unwrap().len(), 100);
}

#[test]
fn a_write_beyond_the_quota_leaves_what_was_there() {
    let mut server = RedisServer::start(PLAIN);
    let [connect, answer, bulk, pause] = [2_000, 2_000, 2_000, 10].map(Duration::from_millis);
    let keys = RedisKeyValues::within(&of(&server.url()), Limits { connect, answer, bulk, pause });
    let tight = |value| KvWrite { quota: 10, ..write(value) };
    keys.set("p", "k", &tight(b"1"), at(0)).unwrap();
    keys.set("p", "l", &tight(b"1234"), at(0)).unwrap();
    server.kill();
    keys.set("p", "k", &tight(b"1234567"), at(1)).unwrap();
    server.start_again();
    wait_until("it is tried", || keys.sync().is_ok());
    server.kill();
    let told = keys.get("p", "k", at(1));
    assert!(matches!(told, Err(KvError::Unavailable(_))), "nobody knows: {told:?}");
    server.start_again();
    wait_until("it is there", || keys.get("p", "k", at(1)).is_ok_and(|entry| entry.unwrap().value == b"1"));
}
