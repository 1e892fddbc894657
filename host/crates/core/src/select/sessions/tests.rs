#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const FOREVER: Stickiness = Stickiness { idle: None, lifetime: None, strict: false, capacity: 1 };

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000 + second * 1_000_000)
}

fn pin(member: u64) -> Pin {
    Pin { member: MemberId(member), slot: 0 }
}

/// A request of a session that gets this member if it has none.
fn request(sessions: &Sessions, session: u64, member: u64, second: u64) {
    let known = sessions.find(session, &FOREVER, at(second));
    if known.pin.is_none() {
        sessions.bind(session, &known, pin(member), at(second));
    }
}

fn told(sessions: &Sessions) -> BTreeSet<u64> {
    sessions.changes().sessions.iter().map(|session| session.session).collect()
}

#[test]
fn the_longest_unused_is_forgotten_first() {
    let sessions = Sessions::new(3);
    for (second, session) in [1, 2, 3, 1, 4, 5].into_iter().enumerate() {
        request(&sessions, session, session, second as u64);
    }
    // The third was used before the first was used again.
    for (session, is_there) in [(1, true), (2, false), (3, false), (4, true), (5, true)] {
        assert_eq!(sessions.member_of(session).is_some(), is_there, "{session}");
    }
    assert_eq!(sessions.len(), 3);
}

#[test]
fn a_table_of_nothing_remembers_nobody() {
    let sessions = Sessions::default();
    request(&sessions, 1, 1, 0);
    assert!(sessions.is_empty());
    assert_eq!(sessions.changes(), SessionChanges::default());
}

#[test]
fn of_two_who_bind_the_first_wins() {
    let sessions = Sessions::new(10);
    let known = sessions.find(1, &FOREVER, at(0));
    assert_eq!(sessions.bind(1, &known, pin(5), at(0)), pin(5));
    assert_eq!(sessions.bind(1, &known, pin(6), at(0)), pin(5));
    let known = sessions.find(1, &FOREVER, at(0));
    assert_eq!(sessions.bind(1, &known, pin(6), at(0)), pin(6), "a session may be moved by who knows where it is");
}

#[test]
fn a_session_in_use_is_not_unused() {
    let idle = Stickiness { idle: Some(Duration::from_secs(2)), ..FOREVER };
    let sessions = Sessions::new(10);
    assert_eq!(sessions.opened(1), None, "it is not known");
    request(&sessions, 1, 5, 0);
    assert_eq!([sessions.opened(1), sessions.opened(1)], [Some(0); 2]);
    assert_eq!(sessions.find(1, &idle, at(100)).pin, Some(pin(5)));
    sessions.closed(1, 0, at(200));
    assert_eq!(sessions.find(1, &idle, at(300)).pin, Some(pin(5)), "it is used still");
    sessions.closed(1, 0, at(400));
    assert_eq!(sessions.find(1, &idle, at(402)).pin, Some(pin(5)));
    assert_eq!(sessions.find(1, &idle, at(405)).pin, None);
    // Its time is over all the same.
    let short = Stickiness { lifetime: Some(Duration::from_secs(10)), ..FOREVER };
    assert_eq!(sessions.opened(1), Some(0));
    assert_eq!(sessions.find(1, &short, at(411)).pin, None);
    // Who needs room has that of others.
    let full = Sessions::new(3);
    request(&full, 1, 5, 0);
    assert!(full.opened(1).is_some());
    (2..6).for_each(|session| request(&full, session, 5, session));
    assert!(full.member_of(1).is_some() && full.member_of(2).is_none());
}

#[test]
fn a_session_that_has_come_to_nothing_begins_anew_unless_others_use_it() {
    let sessions = Sessions::new(10);
    assert!(sessions.begins(1));
    request(&sessions, 1, 5, 0);
    let life = sessions.opened(1).unwrap();
    sessions.forsake(1, MemberId(6));
    assert!(!sessions.begins(1), "it is bound to another one");
    assert!(sessions.opened(1).is_some());
    sessions.forsake(1, MemberId(5));
    assert!(!sessions.begins(1), "somebody else uses it");
    sessions.closed(1, life, at(1));
    sessions.forsake(1, MemberId(5));
    assert!(sessions.begins(1));
    let known = sessions.find(1, &FOREVER, at(2));
    assert_eq!((known.pin, known.life), (None, 1));
    sessions.bind(1, &known, pin(7), at(2));
    assert_eq!((sessions.begins(1), sessions.member_of(1)), (false, Some(MemberId(7))));
    // A use of the life before does not end one of this.
    let idle = Stickiness { idle: Some(Duration::from_secs(2)), ..FOREVER };
    assert_eq!(sessions.opened(1), Some(1));
    sessions.closed(1, life, at(3));
    assert_eq!(sessions.find(1, &idle, at(100)).pin, Some(pin(7)));
}

#[test]
fn each_life_has_its_number_and_its_beginning() {
    let hour = Stickiness { lifetime: Some(Duration::from_secs(3_600)), ..FOREVER };
    let sessions = Sessions::new(10);
    for (life, second) in [(0, 0), (1, 3_601), (2, 10_000)] {
        let known = sessions.find(1, &hour, at(second));
        assert_eq!((known.life, known.pin), (life, None));
        // Nobody was eligible: the life that begins next is still the same.
        assert_eq!(sessions.find(1, &hour, at(second)).life, life);
        sessions.bind(1, &known, pin(5), at(second));
        assert_eq!(sessions.find(1, &hour, at(second + 3_600)).pin, Some(pin(5)));
        let stored = &sessions.changes().sessions[0];
        assert_eq!((stored.life, stored.began), (life, at(second)));
    }
}

#[test]
fn what_changed_is_told_once() {
    let sessions = Sessions::new(5_000);
    for session in 0..1_000 {
        request(&sessions, session, 7, 0);
    }
    assert_eq!(told(&sessions).len(), 1_000);
    assert_eq!(sessions.changes(), SessionChanges::default());
    request(&sessions, 5, 7, 59);
    assert_eq!(told(&sessions), BTreeSet::new(), "a use is told when a minute is over");
    request(&sessions, 5, 7, 60);
    request(&sessions, 6, 7, 61);
    request(&sessions, 6, 7, 62);
    let changes = sessions.changes();
    assert_eq!(changes.sessions.len(), 2);
    assert!(changes.sessions.iter().all(|session| session.used == at(if session.session == 5 { 60 } else { 62 })));
    sessions.unsaved(changes);
    assert_eq!(told(&sessions), [5, 6].into());
}

#[test]
fn a_session_that_is_used_at_another_process_is_used_here_too() {
    let idle = Stickiness { idle: Some(Duration::from_secs(16)), ..FOREVER };
    let both = [Sessions::new(2), Sessions::new(2)];
    let mut told_times = 0;
    let known = both[0].find(1, &idle, at(0));
    both[0].bind(1, &known, pin(5), at(0));
    for second in 0..100 {
        assert_eq!(both[0].find(1, &idle, at(second)).pin, Some(pin(5)));
        let told = both[0].changes().sessions;
        told_times += told.len();
        both[1].hear(&told, &|_| true);
    }
    let known = both[1].find(1, &idle, at(113));
    assert_eq!((known.life, known.pin.map(|pin| pin.member)), (0, Some(MemberId(5))), "it is not over there");
    assert_eq!(told_times, 50, "each eighth of its time");
    assert_eq!(both[1].changes().sessions.len(), 1);
    // Of what somebody else has told, nothing is told again.
    both[1].hear(&[StoredSession { used: at(120), ..heard(1, 5, 0, 0) }], &|_| true);
    assert!(both[1].find(1, &idle, at(121)).pin.is_some());
    assert_eq!(both[1].changes(), SessionChanges::default());
    // And others are forgotten before it.
    request(&both[1], 2, 6, 122);
    both[1].hear(&[StoredSession { used: at(123), ..heard(1, 5, 0, 0) }], &|_| true);
    request(&both[1], 3, 7, 124);
    assert_eq!([1, 2, 3].map(|session| both[1].member_of(session).is_some()), [true, false, true]);
}

#[test]
fn only_what_a_store_may_hold_is_told_as_forgotten() {
    let sessions = Sessions::new(2);
    for session in [1, 2, 3] {
        request(&sessions, session, 7, session);
    }
    let changes = sessions.changes();
    assert_eq!(changes.forgotten, [0; 0], "the first was never told");
    request(&sessions, 4, 7, 4);
    let changes = sessions.changes();
    assert_eq!((changes.forgotten.as_slice(), changes.sessions[0].session), (&[2][..], 4));
    // That could not be saved. Then the fourth is forgotten as well, and the second comes back.
    sessions.unsaved(changes);
    request(&sessions, 5, 7, 5);
    request(&sessions, 2, 7, 6);
    let changes = sessions.changes();
    assert_eq!(changes.forgotten.iter().copied().collect::<BTreeSet<_>>(), [3, 4].into());
    assert_eq!(changes.sessions.iter().map(|session| session.session).collect::<BTreeSet<_>>(), [2, 5].into());
}

#[test]
fn of_what_was_stored_those_that_were_used_last_are_loaded() {
    let stored =
        |session| StoredSession { session, member: MemberId(session), began: at(0), used: at(session), life: 3 };
    let sessions = Sessions::new(3);
    sessions.load([4, 1, 5, 3, 2].map(stored).into());
    let changes = sessions.changes();
    assert_eq!(changes.sessions, []);
    assert_eq!(changes.forgotten.iter().copied().collect::<BTreeSet<_>>(), [1, 2].into());
    assert_eq!(sessions.find(4, &FOREVER, at(9)).pin.unwrap().member, MemberId(4));
    assert_eq!(sessions.find(4, &FOREVER, at(9)).life, 3);
}

#[test]
fn a_table_of_another_size_holds_those_that_were_used_last_and_what_is_unsaved() {
    let sessions = Sessions::new(10_000);
    for session in 0..5_000 {
        request(&sessions, session, session, session);
    }
    assert_eq!(sessions.changes().sessions.len(), 5_000);
    request(&sessions, 1, 1, 6_000);
    let larger = sessions.resized(20_000);
    assert_eq!((larger.len(), told(&larger)), (5_000, [1].into()));
    let smaller = sessions.resized(10);
    assert_eq!(smaller.len(), 10);
    assert!((4_991..5_000).chain([1]).all(|session| smaller.member_of(session) == Some(MemberId(session))));
    assert_eq!(smaller.changes().forgotten.len(), 4_990);
}

#[test]
fn what_a_store_has_lost_is_told_again_and_once() {
    let sessions = Sessions::new(10_000);
    for session in 0..5_000 {
        request(&sessions, session, session, session);
    }
    assert_eq!(sessions.changes().sessions.len(), 5_000);
    request(&sessions, 1, 1, 6_000);
    sessions.all_unsaved();
    assert_eq!(sessions.changes().sessions.len(), 5_000);
    assert_eq!(sessions.changes(), SessionChanges::default());
}

fn heard(session: u64, member: u64, began: u64, life: u32) -> StoredSession {
    StoredSession { session, member: MemberId(member), began: at(began), used: at(began), life }
}

#[test]
fn what_another_process_made_of_a_session_is_taken_over_in_one_order() {
    let everybody = |_: MemberId| true;
    let sessions = Sessions::new(10);
    sessions.hear(&[heard(1, 5, 10, 0)], &everybody);
    assert_eq!(sessions.member_of(1), Some(MemberId(5)), "who is unknown is as they say");
    assert_eq!(told(&sessions), [].into(), "and not told again");
    // (what another one made of session 2, which began here at 10 with member 5, and who it is bound to then)
    for (theirs, untold, told) in [
        (heard(2, 7, 9, 0), 7, 7),
        (heard(2, 4, 10, 0), 4, 4),
        (heard(2, 7, 9, 1), 7, 7),
        (heard(2, 7, 10, 0), 5, 7),
        (heard(2, 7, 11, 0), 5, 7),
        (heard(2, 5, 9, 0), 5, 5),
    ] {
        for (is_told, expected) in [(false, untold), (true, told)] {
            let sessions = Sessions::new(10);
            request(&sessions, 2, 5, 10);
            if is_told {
                assert_eq!(sessions.changes().sessions.len(), 1);
            }
            sessions.hear(&[theirs], &everybody);
            assert_eq!(sessions.member_of(2), Some(MemberId(expected)), "{theirs:?} {is_told}");
            if !is_told && expected != theirs.member.0 {
                let told = sessions.changes().sessions;
                assert_eq!((told[0].member, told[0].began), (MemberId(5), at(10)), "what stays is told");
            }
        }
    }
    // Who is not here is no use, unless nobody else is either.
    for (members, expected) in [(vec![5], 5), (vec![5, 7], 7), (vec![], 7)] {
        let sessions = Sessions::new(10);
        request(&sessions, 2, 5, 10);
        sessions.hear(&[heard(2, 7, 9, 0)], &|member| members.contains(&member.0));
        assert_eq!(sessions.member_of(2), Some(MemberId(expected)), "{members:?}");
    }
    let nobody = Sessions::default();
    nobody.hear(&[heard(1, 5, 10, 0)], &everybody);
    assert_eq!(nobody.changes(), SessionChanges::default(), "whoever remembers nobody has nobody forgotten by others");
}

proptest! {
    /// Two processes that tell each other what they do come to the same, whatever they did before.
    #[test]
    fn two_that_hear_of_each_other_agree(
        steps in prop::collection::vec((0..2usize, 0..4u64, 0..6u64, 0..3u8), 1..60),
    ) {
        let both = [Sessions::new(100), Sessions::new(100)];
        let mut store: BTreeMap<u64, StoredSession> = BTreeMap::new();
        let mut known: [BTreeMap<u64, StoredSession>; 2] = Default::default();
        // What the server's script does, with what each of them knows of it.
        let mut save = |who: usize, known: &mut [BTreeMap<u64, StoredSession>; 2]| {
            for ours in both[who].changes().sessions {
                let held = store.get(&ours.session).copied();
                let is_known = |held: &StoredSession| {
                    known[who].get(&ours.session).is_some_and(|known| (known.member, known.life) == (held.member, held.life))
                };
                if held.is_none_or(|held| is_known(&held) || ours.wins_over(&held)) {
                    store.insert(ours.session, ours);
                }
                known[who].insert(ours.session, ours);
            }
            let news: Vec<StoredSession> = store.values().copied().collect();
            both[who].hear(&news, &|_| true);
            known[who].extend(news.iter().map(|session| (session.session, *session)));
        };
        for (second, (who, session, member, what)) in steps.into_iter().enumerate() {
            let second = second as u64;
            let known_there = both[who].find(session, &FOREVER, at(second));
            let life = known_there.life + u32::from(what == 2);
            both[who].bind(session, &Known { life, ..known_there }, pin(member), at(second));
            if what > 0 {
                save(who, &mut known);
            }
        }
        for who in [0, 1, 0, 1] {
            save(who, &mut known);
        }
        for session in 0..4 {
            prop_assert_eq!(both[0].member_of(session), both[1].member_of(session));
        }
    }
}

#[test]
fn many_threads_may_use_it_at_once() {
    let sessions = Sessions::new(2_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sessions = &sessions;
            scope.spawn(move || {
                for n in 0..5_000u64 {
                    request(sessions, mix(n % 3_000 + thread), n, n);
                    if n % 100 == 0 {
                        let changes = sessions.changes();
                        sessions.unsaved(changes);
                    }
                }
            });
        }
    });
    assert!(sessions.len() <= 2_000);
}

proptest! {
    /// Against a model: a list by last use.
    #[test]
    fn the_capacity_is_never_exceeded_and_the_order_is_that_of_use(
        capacity in 1..12u32,
        steps in prop::collection::vec((0..30u64, 0..4u64), 1..300),
    ) {
        let sessions = Sessions::new(capacity);
        let mut model: Vec<(u64, u64)> = Vec::new();
        for (second, (session, member)) in steps.into_iter().enumerate() {
            request(&sessions, session, member, second as u64);
            let bound = model.iter().position(|(other, _)| *other == session).map(|index| model.remove(index));
            model.push(bound.unwrap_or((session, member)));
            if model.len() > capacity as usize {
                model.remove(0);
            }
            prop_assert_eq!(sessions.len(), model.len());
            for (session, member) in &model {
                prop_assert_eq!(sessions.member_of(*session), Some(MemberId(*member)));
            }
        }
    }

    /// A store that is told everything, now and then failing, holds what the table holds.
    #[test]
    fn a_store_that_follows_the_changes_holds_the_same(
        capacity in 1..12u32,
        steps in prop::collection::vec((0..30u64, 0..4u64, 0..10u8), 1..300),
    ) {
        let sessions = Sessions::new(capacity);
        let mut store = BTreeMap::new();
        let save = |store: &mut BTreeMap<u64, MemberId>| {
            let changes = sessions.changes();
            for session in changes.forgotten {
                store.remove(&session);
            }
            store.extend(changes.sessions.iter().map(|session| (session.session, session.member)));
        };
        for (second, (session, member, fate)) in steps.into_iter().enumerate() {
            request(&sessions, session, member, second as u64);
            match fate {
                0 => save(&mut store),
                1 => sessions.unsaved(sessions.changes()),
                _ => {}
            }
            prop_assert!(sessions.len() <= capacity as usize);
        }
        save(&mut store);
        prop_assert_eq!(store.len(), sessions.len());
        for (session, member) in store {
            prop_assert_eq!(sessions.member_of(session), Some(member));
        }
    }
}
