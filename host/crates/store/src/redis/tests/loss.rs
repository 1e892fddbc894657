//! Saves whose answers are late or lost, and servers that have forgotten, went back, or were away.

use super::*;

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
fn a_server_that_is_back_at_what_it_was_is_noticed_by_who_saves_nothing() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    for port in 2..9 {
        one.save(&upserts(&[&format!("http://1.1.1.1:{port}")])).unwrap();
    }
    assert_eq!(other.news().unwrap().members.len(), 8);
    // As from a picture of before, with the same pool in it.
    let name = |what: &str| one.names.name(what);
    let [layout, members, joined, notices] = ["layout", "members", "joined", "notices"].map(name);
    for port in 2..9 {
        let url = format!("http://1.1.1.1:{port}");
        server.ask(&["HDEL", &members, &url]);
        server.ask(&["ZREM", &joined, &url]);
    }
    server.ask(&["HSET", &layout, "notices", "1"]);
    server.ask(&["XTRIM", &notices, "MAXLEN", "1"]);
    assert!(other.is_intact().unwrap(), "nobody has seen it yet");
    assert!(other.news().unwrap().is_cut);
    assert!(!other.is_intact().unwrap(), "all that is known here is to be saved again");
    // What is told from then on is heard, under numbers that were heard before.
    server.ask(&["DEL", &notices]);
    one.save(&upserts(&["http://2.2.2.2:2"])).unwrap();
    assert_eq!(other.news().unwrap().members, vec![member("http://2.2.2.2:2")]);
}

#[test]
fn a_server_that_is_back_is_noticed_also_when_others_have_told_as_much_since() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    let keys = server.ask(&["KEYS", "*"]);
    let keys: Vec<&str> = keys.lines().filter(|line| line.starts_with('{')).collect();
    // A picture of now.
    let kept = |key: &str| format!("{key}:kept");
    keys.iter().for_each(|key| drop(server.ask(&["COPY", key, &kept(key)])));
    assert_eq!(other.news().unwrap().members.len(), 1);
    for more in 1..3 {
        one.save(&upserts(&[&format!("http://2.2.2.{more}:2")])).unwrap();
        assert_eq!(other.news().unwrap().members.len(), 1);
        // Back, and another one tells as much as was told meanwhile.
        keys.iter().for_each(|key| drop(server.ask(&["COPY", &kept(key), key, "REPLACE"])));
        let mut third = open(&server.url());
        for told in 1..=more {
            third.save(&upserts(&[&format!("http://3.3.3.{told}:3")])).unwrap();
        }
        assert!(other.news().unwrap().is_cut, "{more}");
        assert!(!other.is_intact().unwrap(), "all that is known here is to be saved again");
        third.save(&upserts(&["http://4.4.4.4:4"])).unwrap();
        assert_eq!(other.news().unwrap().members, vec![member("http://4.4.4.4:4")]);
        one = open(&server.url());
    }
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
            wait_until("it is saved", || store.save(&used("http://1.1.1.1:1", round, round)).is_ok());
        }
    }
    wait_until("it is saved", || store.save(&used("http://1.1.1.1:1", 21, 21)).is_ok());
    assert_eq!(successes(&mut store), [21]);
    assert!(lost > 0);
}

#[test]
fn what_a_save_has_done_whose_answer_is_lost_is_not_done_again() {
    let server = RedisServer::start(PLAIN);
    let [connect, answer, bulk, pause] = [200, 2_000, 300, 0].map(Duration::from_millis);
    let mut one =
        Redis::open_within(&of(&server.url()), Access::Write, Limits { connect, answer, bulk, pause }).unwrap();
    let mut other = open(&server.url());
    let (lifted, set) = (ban("lifted.example", 1, 5), ban("set.example", 2, 5));
    let url = "http://1.1.1.1:1";
    one.save(&Changes { bans: vec![lifted.clone()], ..upserts(&[url, "http://2.2.2.2:2"]) }).unwrap();
    let key = member(url).endpoint.key();
    let changes = Changes {
        removed: vec![key.clone()],
        lifted: vec![lifted.place()],
        bans: vec![set.clone()],
        ..Changes::default()
    };
    server.stand_still(true);
    one.save(&changes).unwrap_err();
    server.stand_still(false);
    assert!(one.doubtful.is_some());
    wait_until("it is done", || urls(&mut other) == ["http://2.2.2.2:2"]);
    // Others go on from there: one is in again, one is banned anew, one is banned no more.
    let anew = Changes { bans: vec![lifted.clone()], lifted: vec![set.place()], ..upserts(&[url]) };
    other.save(&anew).unwrap();
    wait_until("it is saved", || one.save(&changes).is_ok());
    assert_eq!(urls(&mut other), ["http://2.2.2.2:2", url]);
    assert_eq!(other.load_bans().unwrap(), vec![lifted]);
    // Until it is heard of that, and done once more.
    one.save(&changes).unwrap();
    assert_eq!((urls(&mut other), other.load_bans().unwrap()), (vec!["http://2.2.2.2:2".to_owned()], vec![set]));
}

#[test]
fn a_save_that_comes_too_late_is_not_done() {
    let server = RedisServer::start(PLAIN);
    let mut store = open(&server.url());
    store.save(&used("http://1.1.1.1:1", 1, 1)).unwrap();
    let before = store.last.clone().unwrap();
    // One that is still on its way when the next one is tried.
    store.doubtful = Some(Doubtful { turn: "late".to_owned(), held: Vec::new(), steps: Steps::default() });
    store.save(&used("http://1.1.1.1:1", 2, 2)).unwrap();
    store.last = Some(before);
    let late = store.try_to_write(&used("http://1.1.1.1:1", 50, 50)).unwrap();
    assert_eq!((late.as_str(), successes(&mut store)), ("turn", vec![2]));
    // A fence that comes late takes no turn from the saves after it.
    let saved = store.names.name(&format!("saved:{}", store.node));
    let held = server.ask(&["GET", &saved]);
    let fence = script(include_str!("../fence.lua"), &[&saved], &["late", "1", "60", ""]);
    assert_eq!(store.link.query::<String>(&fence).unwrap(), "undone");
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
fn what_was_read_in_vain_undoes_nothing_that_others_have_saved() {
    let server = RedisServer::start(PLAIN);
    let (old, new) = ("http://u:old@1.1.1.1:1", "http://u:new@1.1.1.1:1");
    let session = StoredSession { session: 1, member: MemberId(5), began: at(1), used: at(1), life: 0 };
    let break_sessions = || {
        let sessions = "{proxywhirl:default}:sessions";
        server.ask_all(&[&["DEL", sessions][..], &["SET", sessions, "x"]]);
    };
    for what in ["news", "everything", "lost"] {
        server.ask(&["FLUSHALL"]);
        let (mut one, mut other) = (open(&server.url()), open(&server.url()));
        one.save(&upserts(&[old])).unwrap();
        assert_eq!(other.load_all().unwrap().unwrap().members, upserts(&[old]).upserts);
        if what == "lost" {
            server.ask(&["FLUSHALL"]);
            assert!(!one.is_intact().unwrap());
        }
        one.save(&Changes { sessions: vec![session], ..upserts(&[new]) }).unwrap();
        // Rows are read, and what comes after them cannot be; or it turns out that they are not all.
        match what {
            "news" => {
                break_sessions();
                other.news().unwrap_err();
            }
            "everything" => {
                break_sessions();
                other.load_all().unwrap_err();
            }
            _ => assert_eq!(other.load_all().unwrap(), None),
        }
        // It goes on with what it knew before, and uses it.
        other.save(&used(old, 8, 1)).unwrap();
        assert_eq!(urls(&mut one), [new], "{what}");
    }
}

#[test]
fn who_was_removed_and_comes_back_counts_anew() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    one.save(&used("http://1.1.1.1:1", 10, 1)).unwrap();
    let removed = vec![member("http://1.1.1.1:1").endpoint.key()];
    other.save(&Changes { removed, ..Changes::default() }).unwrap();
    // Of which the first one hears nothing but that it was missing from all that is kept.
    assert_eq!(one.load_all().unwrap().unwrap().members, []);
    other.save(&again(2, 2)).unwrap();
    assert_eq!(successes(&mut one), [2]);
    one.save(&again(5, 3)).unwrap();
    assert_eq!(successes(&mut one), [5]);
}

/// A use of one that was removed and has come back, at a later time than it was there first.
fn again(successes: u64, second: u64) -> Changes {
    let mut again = used("http://1.1.1.1:1", successes, second);
    again.upserts[0].added = at(2);
    again
}

#[test]
fn whoever_has_not_heard_that_one_left_and_came_back_counts_what_comes_and_nothing_of_before() {
    let server = RedisServer::start(PLAIN);
    for is_lost in [false, true] {
        server.ask(&["FLUSHALL"]);
        let (mut one, mut other) = (open(&server.url()), open(&server.url()));
        one.save(&used("http://1.1.1.1:1", 1_000, 1)).unwrap();
        assert_eq!(successes(&mut other), [1_000]);
        one.save(&Changes { removed: vec![member("http://1.1.1.1:1").endpoint.key()], ..Changes::default() }).unwrap();
        one.save(&again(3, 2)).unwrap();
        assert_eq!(other.news().unwrap().members, again(3, 2).upserts, "to whom it has only changed");
        if is_lost {
            server.ask(&["FLUSHALL"]);
        }
        other.save(&used("http://1.1.1.1:1", 1_001, 3)).unwrap();
        assert_eq!(successes(&mut one), [4], "{is_lost}");
    }
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
fn a_server_that_went_back_counts_what_those_know_who_have_heard_of_most() {
    let mut server = RedisServer::start(["--appendonly", "no"]);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    let url = "http://1.1.1.1:1";
    one.save(&used(url, 100, 1)).unwrap();
    assert_eq!(successes(&mut other), [100]);
    server.ask(&["SAVE"]);
    one.save(&used(url, 130, 2)).unwrap();
    other.save(&used(url, 120, 3)).unwrap();
    assert_eq!(successes(&mut one), [150]);
    server.kill();
    server.start_again();
    wait_until("it is saved again", || one.save(&used(url, 131, 4)).is_ok());
    assert!(!one.is_intact().unwrap(), "so that whoever saves there saves everything");
    assert_eq!(successes(&mut one), [151], "as much as this one had heard, and one more");
    wait_until("the other one saves again", || other.save(&used(url, 121, 5)).is_ok());
    assert_eq!(successes(&mut one), [152]);
    // From then on it is added as ever.
    one.save(&used(url, 134, 6)).unwrap();
    assert_eq!(successes(&mut other), [155]);
}
