//! What plugins keep, while the server is away, refuses, or has lost it.

use super::*;

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
fn keys_that_a_server_had_before_it_went_back_are_brought_and_the_newest_counts() {
    let mut server = RedisServer::start(["--appendonly", "no"]);
    let open_keys = || RedisKeyValues::new(&of(&server.url()));
    let value = |keys: &RedisKeyValues, key: &str| keys.get("p", key, at(1)).unwrap().map(|entry| entry.value);
    drop(open(&server.url()));
    let [one, other, newcomer] = [(); 3].map(|()| open_keys());
    for key in ["login", "deleted", "stays"] {
        one.set("p", key, &write(b"1"), at(0)).unwrap();
    }
    other.set("q", "k", &write(b"1"), at(0)).unwrap();
    server.ask(&["SAVE"]);
    one.set("p", "login", &write(b"2"), at(0)).unwrap();
    one.set("p", "new", &write(b"2"), at(0)).unwrap();
    assert!(one.delete("p", "deleted", at(0)).unwrap());
    other.set("p", "of the other", &write(b"2"), at(0)).unwrap();
    // Its owner has no other key since, which nobody could tell from one that was there.
    other.set("q", "k", &write(b"2"), at(0)).unwrap();
    server.kill();
    server.start_again();
    let told = server.ask(&["HGET", "{proxywhirl:default}:owners", "p"]);
    assert!(told.contains("\r\n3 "), "it went back: {told}");
    wait_until("it is there again", || one.get("p", "stays", at(1)).is_ok_and(|entry| entry.is_some()));
    assert_eq!(value(&one, "login").unwrap(), b"2");
    // In the new life this counts more than whatever was before.
    newcomer.set("p", "of the other", &write(b"3"), at(1)).unwrap();
    assert_eq!(other.get("q", "k", at(1)).unwrap().unwrap().value, b"2");
    for keys in [&other, &one, &newcomer] {
        let held = ["login", "new", "stays", "of the other"].map(|key| value(keys, key).unwrap());
        assert_eq!(held, [b"2", b"2", b"1", b"3"].map(Vec::from));
        assert_eq!(value(keys, "deleted"), None);
    }
    // It does so once more, to before it had gone back.
    server.kill();
    server.start_again();
    wait_until("it is there again", || other.get("p", "stays", at(1)).is_ok_and(|entry| entry.is_some()));
    assert_eq!(
        (value(&other, "login").unwrap(), value(&newcomer, "of the other").unwrap()),
        (b"2".into(), b"3".into())
    );
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

#[test]
fn a_server_without_memory_refuses_before_it_drops_what_was_there() {
    let server = RedisServer::start(PLAIN);
    let keys = RedisKeyValues::new(&of(&server.url()));
    let value = |key: &str| keys.get("p", key, at(10)).unwrap().map(|entry| entry.value);
    let owners = || server.ask(&["HGETALL", "{proxywhirl:default}:owners"]);
    keys.set("p", "key", &write(b"before"), at(0)).unwrap();
    let version = keys.set("p", "other", &write(b"other"), at(0)).unwrap();
    // One that has expired goes with the next script, and is no reason to let what follows pass.
    keys.set("p", "short", &KvWrite { expires: Some(at(5)), ..write(b"4") }, at(1)).unwrap();
    let before = owners();
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = |told: Result<(), KvError>| {
        let told = told.unwrap_err().to_string();
        assert!(told.contains("is out of memory"), "{told}");
    };
    refused(keys.set("p", "key", &write(b"after"), at(10)).map(drop));
    refused(keys.compare_and_swap("p", "other", version, &write(b"after"), at(10)).map(drop));
    refused(keys.set("nobody", "key", &write(b"after"), at(10)).map(drop));
    assert_eq!((value("key").unwrap(), value("other").unwrap()), (b"before".to_vec(), b"other".to_vec()));
    assert_eq!(owners(), before, "nothing was changed");
    assert!(keys.delete("p", "other", at(10)).unwrap(), "what makes room needs none");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    keys.set("p", "key", &write(b"after"), at(10)).unwrap();
    assert_eq!(value("key").unwrap(), b"after");
    // An owner of whom nothing was kept leaves nothing, when what it wants is not done.
    let tiny = KvWrite { quota: 1, ..write(b"too much") };
    assert!(matches!(keys.set("nobody", "key", &tiny, at(10)), Err(KvError::Quota(1))));
    assert!(!owners().contains("nobody"), "{}", owners());
}
