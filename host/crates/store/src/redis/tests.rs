#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod keys;
mod loss;
mod told;

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
fn who_was_sealed_with_a_key_that_is_not_there_is_counted_and_stays_as_it_is() {
    let server = RedisServer::start(PLAIN);
    let [old, new] = [Keyring::generate().unwrap(), Keyring::generate().unwrap()];
    let open = |keys: &str| {
        let url = server.url().parse::<StoreUrl>().unwrap();
        url.open().unwrap().sealed(Some(Arc::new(Keyring::parse(keys).unwrap())), &url, ClearText::Expected).store
    };
    let url = "http://me:hunter2@1.1.1.1:1";
    let (mut one, mut rotated) = (open(&old), open(&format!("{}\n{}", new.as_str(), old.as_str())));
    one.save(&used(url, 5, 1)).unwrap();
    let again = rotated.load().unwrap();
    rotated.save(&Changes { upserts: again, ..Changes::default() }).unwrap();
    assert_eq!(one.news().unwrap().members, [], "it cannot be opened any more");
    rotated.news().unwrap();
    for (successes, password) in [(9, "hunter2"), (10, "hunter2-own")] {
        let own = used(&url.replace("hunter2", password), successes, successes);
        one.save(&Changes { updates: own.upserts, ..Changes::default() }).unwrap();
        let kept = rotated.load().unwrap().remove(0);
        assert_eq!((kept.endpoint.to_url().as_str(), kept.statistics.successes), (url, successes));
        assert_eq!(kept.statistics.last_used, at(successes));
    }
    assert_eq!(rotated.news().unwrap().members, [], "nothing of its row was written");
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
fn a_server_that_does_not_keep_what_it_has_is_found_out() {
    let (server, nodes) = (RedisServer::start(PLAIN), RedisServer::cluster());
    let forgets = |url: &str| Redis::open_though_away(&of(url)).unwrap().forgets();
    assert!(!forgets(&server.url()) && !forgets(&nodes[0].url()));
    for server in [&server].into_iter().chain(&nodes) {
        server.ask(&["CONFIG", "SET", "appendonly", "no"]);
    }
    assert!(forgets(&server.url()) && forgets(&nodes[0].url()));
    server.ask(&["ACL", "SETUSER", "shy", "on", ">secret", "~*", "+@all", "-info"]);
    let shy = server.url().replace("redis://", "redis://shy:secret@");
    assert!(!forgets(&shy), "of one that may not be asked nothing is said");
    open(&shy).save(&used("http://1.1.1.1:1", 1, 1)).unwrap();
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
    server.ask(&["SET", "{proxywhirl:alien}:members", "x"]);
    let told = Redis::open(&of(&pool("alien")), Access::Read).unwrap_err().to_string();
    assert!(told.contains("has keys of another program"), "{told}");
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
    assert!(told.starts_with("rediss://127.0.0.1:"), "{told}");
    assert!(told.ends_with("does not answer in time; where it speaks no TLS, the URL begins with redis://"), "{told}");
}

#[test]
fn a_server_that_stands_still_costs_all_that_ask_it_at_the_start_one_wait() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = Instant::now();
    let mut store = Redis::open_though_away(&of(&format!("redis://{}", silent.local_addr().unwrap()))).unwrap();
    let wait = asked.elapsed();
    let keys = store.key_values();
    assert!(store.load_sessions().is_err() && keys.get("p", "k", at(0)).is_err() && store.news().is_err());
    std::thread::sleep(wait);
    assert!(keys.get("p", "k", at(0)).is_err() && store.load_bans().is_err());
    // That it waits again is for later: twice as long as the wait was.
    assert!(asked.elapsed() < wait * 3, "{:?} after {wait:?}", asked.elapsed());
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_ok() && silent.accept().is_err(), "it was asked once");
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
