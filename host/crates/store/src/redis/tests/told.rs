//! What one process hears of what others have done: of members, bans and sessions.

use std::time::SystemTime;

use proxywhirl_core::Timestamp;

use super::*;

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

#[test]
fn a_lift_that_was_lost_with_the_server_ends_what_others_have_brought_back_and_not_what_was_set_since() {
    let server = RedisServer::start(PLAIN);
    let (mut one, mut other) = (open(&server.url()), open(&server.url()));
    let old = [1, 2, 3].map(|member| ban("a.example", member, 5));
    let places = || old.iter().map(StoredBan::place);
    one.save(&Changes { bans: old.to_vec(), ..Changes::default() }).unwrap();
    // In a moment of now, as bans are set.
    let now = || Timestamp::default() + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    one.save(&Changes { lifted: places().collect(), ..Changes::default() }).unwrap();
    let lifted = now();
    server.ask(&["FLUSHALL"]);
    // Who has not heard of the lifts brings the bans back, before and after these are told again; one is set since.
    let again = |bans: &[StoredBan]| Changes { bans_again: bans.to_vec(), ..Changes::default() };
    other.save(&again(&old[..1])).unwrap();
    other.save(&Changes { bans: vec![old[2].clone()], ..Changes::default() }).unwrap();
    assert!(other.news().unwrap().is_cut);
    let told = Changes { lifted_again: places().map(|place| (place, lifted)).collect(), ..Changes::default() };
    one.save(&told).unwrap();
    assert_eq!(other.news().unwrap().lifted, [old[0].place()], "who brought it hears of it");
    other.save(&again(&old[1..2])).unwrap();
    assert_eq!(other.load_bans().unwrap(), old[2..]);
    // A server that went back to what it was before the lift is told of it as well.
    one.save(&Changes { lifted: vec![old[2].place()], ..Changes::default() }).unwrap();
    other.save(&Changes { bans: vec![old[2].clone()], ..Changes::default() }).unwrap();
    one.save(&Changes { lifted_again: vec![(old[2].place(), now())], ..Changes::default() }).unwrap();
    assert!(other.load_bans().unwrap().is_empty());
    assert_eq!(
        server.ask(&["EXISTS", "{proxywhirl:default}:ban-begins"]),
        ":0\r\n+OK\r\n",
        "nothing stays of bans that are over"
    );
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
fn whoever_knows_what_a_session_is_may_move_it_and_uses_are_news() {
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
    let used = StoredSession { used: at(30), ..moved };
    one.save(&bound(vec![used])).unwrap();
    assert_eq!(other.news().unwrap().sessions, [used]);
    // An older use is none, whoever tells of it.
    other.save(&bound(vec![moved])).unwrap();
    other.save(&bound(vec![StoredSession { used: at(25), ..session(9, 40, 0) }])).unwrap();
    let held = StoredSession { used: at(30), ..session(9, 40, 0) };
    assert_eq!((one.news().unwrap().sessions, one.load_sessions().unwrap()), (vec![held], vec![held]));
    one.save(&bound((0..2_500).map(|number| StoredSession { session: number, ..session(7, 40, 2) }).collect()))
        .unwrap();
    assert_eq!(other.news().unwrap().sessions.len(), 2_500, "very many are told, all the same");
}
