#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proxywhirl_core::select::Stick;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::{Kind, Side, Stage};

use super::*;
use crate::strategy::selection::Reason;

fn attempt(request: u64, number: u32) -> Attempt<'static> {
    let target = "origin.example:80";
    Attempt {
        request,
        whose: 0,
        number,
        target,
        site: Symbol::NONE,
        session: None,
        stick: Stick::default(),
        filter: None,
        tried: &[],
        is_late: false,
        is_once: false,
        is_unproven: false,
        hedge: false,
        tier: None,
        by: None,
    }
}

fn endpoint(number: u8) -> Arc<Endpoint> {
    Arc::new(format!("http://me:secret@10.0.0.{number}:80").parse().unwrap())
}

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000 + micros)
}

fn fault() -> Fault {
    Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "no")
}

fn completion(request: u64, fault: Option<&Fault>) -> Completion<'_> {
    Completion {
        request,
        protocol: "http",
        method: "GET",
        target: "origin.example:80",
        user: None,
        client: None,
        listener: None,
        status: Some(200),
        attempts: 1,
        upstream: None,
        duration: Duration::from_millis(9),
        fault,
    }
}

#[test]
fn a_request_is_told_with_its_attempts_and_without_passwords() {
    let history = History::new(10);
    history.picked(&attempt(1, 1), &endpoint(1), Way::Plan, at(0), at(2));
    history.failed(&attempt(1, 1), &fault(), false, at(1_000));
    history.picked(&attempt(1, 2), &endpoint(2), Way::Fallback(Reason::Busy), at(1_010), at(1_020));
    history.answered(&attempt(1, 2), Duration::from_millis(5), at(6_020));
    history.convicted(&attempt(1, 1));
    let open = history.get(1).unwrap();
    assert_eq!((open.duration_ms, open.protocol.as_str(), open.attempts.len()), (None, "", 2));
    history.over(&completion(1, None), || at(9_000));

    let record = history.get(1).unwrap();
    assert_eq!((record.method.as_str(), record.status, record.duration_ms), ("GET", Some(200), Some(9.0)));
    let [first, second] = record.attempts.as_slice() else { panic!("{record:?}") };
    assert_eq!((first.picked_ms, first.ended_ms, first.latency_ms, first.counted), (0.002, Some(1.0), None, true));
    assert_eq!(first.fault.as_ref().unwrap().kind, "refused");
    assert_eq!((second.picked_by.as_str(), second.latency_ms), ("fallback-busy", Some(5.0)));
    let written = serde_json::to_string(&record).unwrap();
    assert!(written.contains("10.0.0.2") && !written.contains("secret"), "{written}");
    assert_eq!(serde_json::from_str::<RequestRecord>(&written).unwrap(), record);
}

#[test]
fn whose_a_request_was_is_told_and_whose_the_next_one_is_in_its_place() {
    let (history, name) = (History::new(1), Arc::<str>::from("anna"));
    history.over(&Completion { user: Some(&name), ..completion(1, None) }, || at(9_000));
    assert_eq!(history.get(1).unwrap().user.as_deref(), Some("anna"));
    history.over(&completion(2, None), || at(9_000));
    assert_eq!(history.get(2).unwrap().user, None);
}

#[test]
fn where_a_request_came_from_and_came_in_is_told() {
    let (history, listener) = (History::new(1), Arc::<str>::from("127.0.0.1:8080"));
    let client = "192.0.2.7:4711".parse().ok();
    history.over(&Completion { client, listener: Some(&listener), ..completion(1, None) }, || at(9_000));
    let record = history.get(1).unwrap();
    assert_eq!((record.client, record.listener.as_deref()), (client, Some("127.0.0.1:8080")));
    history.over(&completion(2, None), || at(9_000));
    let record = history.get(2).unwrap();
    assert_eq!((record.client, record.listener), (None, None));
}

#[test]
fn stages_bans_and_refusals_are_told() {
    let history = History::new(10);
    let member = endpoint(1);
    history.picked(&attempt(1, 1), &member, Way::Plan, at(0), at(1_000));
    let stages = Stages {
        dialled: Some(Duration::from_millis(2)),
        ready: Some(Duration::from_millis(3)),
        sent: Some(Duration::from_millis(4)),
    };
    history.measured(1, 2, stages);
    assert_eq!(history.get(1).unwrap().attempts[0].sent_ms, None, "of somebody else");
    history.measured(1, 1, stages);
    let ban = |banned| BanRecord {
        rule: "captcha".to_owned(),
        proxy: member.to_string(),
        site: "origin.example".to_owned(),
        banned,
    };
    history.banned(1, || ban(false));
    let record = history.get(1).unwrap();
    let first = &record.attempts[0];
    assert_eq!((first.dialled_ms, first.ready_ms, first.sent_ms), (Some(3.0), Some(4.0), Some(5.0)));
    assert_eq!(record.bans, [ban(false)]);
    let anna: Arc<str> = "anna".into();
    let refusal = Refusal {
        protocol: "http",
        method: "GET",
        target: "origin.example:80",
        user: Some(&anna),
        client: "192.0.2.7:4711".parse().ok(),
        listener: None,
        status: Some(407),
        reason: "the user name or the password is wrong",
    };
    // A flood of them pushes out nobody but each other.
    (0..2 * REFUSED as u64).for_each(|_| history.refused(&refusal, at(9)));
    assert_eq!(history.get(1), Some(record));
    let both = history.last(1, &Query { limit: 3, ..Query::default() });
    let newest = FIRST_REFUSED + 2 * REFUSED as u64 - 1;
    assert_eq!(both.iter().map(|it| it.request).collect::<Vec<_>>(), [newest, newest - 1, newest - 2]);
    assert_eq!((history.get(newest).unwrap().status, history.get(newest - 100)), (Some(407), None));
    let failed = history.last(1, &Query { limit: 1, failed: true, ..Query::default() });
    let [record] = failed.as_slice() else { panic!("{failed:?}") };
    assert_eq!((record.status, record.attempts.len(), record.bans.len()), (Some(407), 0, 0));
    assert_eq!(record.refused.as_deref(), Some("the user name or the password is wrong"));
    assert_eq!((record.client, record.user.as_deref()), (refusal.client, Some("anna")));
}

#[test]
fn the_last_are_remembered_the_newest_first_and_none_is_mistaken_for_another() {
    let history = History::new(4);
    for request in 1..=10 {
        history.picked(&attempt(request, 1), &endpoint(1), Way::Plan, at(request), at(request));
    }
    // Long under way, and its place is another's.
    history.failed(&attempt(3, 1), &fault(), true, at(100));
    history.picked(&attempt(3, 2), &endpoint(2), Way::Plan, at(100), at(100));
    history.over(&completion(3, Some(&fault())), || at(9_000));
    let numbers = |query: Query| history.last(10, &query).iter().map(|it| it.request).collect::<Vec<_>>();
    let all = Query { limit: 100, ..Query::default() };
    assert_eq!(numbers(all.clone()), [10, 9, 8, 7]);
    assert_eq!(numbers(Query { limit: 2, ..all.clone() }), [10, 9]);
    assert!(history.last(10, &all).iter().all(|it| it.attempts.len() == 1 && it.fault.is_none()));
    history.over(&completion(8, Some(&fault())), || at(9_000));
    assert_eq!(numbers(Query { failed: true, ..all.clone() }), [8]);
    let to = |host: &str| numbers(Query { host: Some(host.to_owned()), ..all.clone() }).len();
    assert_eq!((to("Origin.Example"), to("example")), (4, 0));
}

#[test]
fn attempts_through_one_member_are_told_apart() {
    let history = History::new(4);
    let member = endpoint(1);
    for number in 1..=2 {
        history.picked(&attempt(1, number), &member, Way::Plan, at(0), at(0));
    }
    for (number, millis) in [(1, 3), (2, 5)] {
        let dialled = Some(Duration::from_millis(millis));
        history.measured(1, number, Stages { dialled, ..Stages::default() });
        let attempts = history.get(1).unwrap().attempts;
        let dialled: Vec<_> = attempts.iter().map(|it| it.dialled_ms).collect();
        assert_eq!(dialled, [Some(3.0), (number == 2).then_some(5.0)]);
    }
}

#[test]
fn who_was_given_up_has_an_end_and_who_has_one_keeps_it() {
    let history = History::new(4);
    history.picked(&attempt(1, 1), &endpoint(1), Way::Plan, at(0), at(0));
    history.picked(&attempt(1, 2), &endpoint(2), Way::Plan, at(0), at(1));
    history.answered(&attempt(1, 2), Duration::from_millis(1), at(2));
    (1..=2).for_each(|number| history.ended(&attempt(1, number), at(7)));
    let attempts = history.get(1).unwrap().attempts;
    let ends: Vec<_> = attempts.iter().map(|it| (it.ended_ms, it.latency_ms, it.fault.is_none())).collect();
    assert_eq!(ends, [(Some(0.007), None, true), (Some(0.002), Some(1.0), true)]);
}

#[test]
fn an_answer_that_breaks_off_was_one() {
    let history = History::new(4);
    history.picked(&attempt(1, 1), &endpoint(1), Way::Plan, at(0), at(0));
    history.answered(&attempt(1, 1), Duration::from_millis(1), at(2));
    history.failed(&attempt(1, 1), &fault(), false, at(7));
    history.convicted(&attempt(1, 1));
    let attempts = history.get(1).unwrap().attempts;
    let ends: Vec<_> = attempts.iter().map(|it| (it.ended_ms, it.latency_ms, it.fault.is_some(), it.counted)).collect();
    assert_eq!(ends, [(Some(0.007), Some(1.0), true, true)]);
}

#[test]
fn who_was_asked_for_nobody_is_remembered_with_the_end() {
    let history = History::new(4);
    history.over(&completion(1, Some(&fault())), || at(9_000));
    let record = history.get(1).unwrap();
    assert_eq!(
        (record.target.as_str(), record.began, record.attempts.len()),
        ("origin.example:80", at(0).as_micros(), 0)
    );
    assert_eq!(record.fault.unwrap().kind, "refused");
}

#[test]
fn nothing_is_remembered_if_that_is_what_is_wanted() {
    let history = History::new(0);
    history.picked(&attempt(1, 1), &endpoint(1), Way::Plan, at(0), at(0));
    history.failed(&attempt(1, 1), &fault(), true, at(1));
    history.over(&completion(1, None), || at(9_000));
    assert!(history.get(1).is_none() && history.last(1, &Query { limit: 9, ..Query::default() }).is_empty());
}

#[test]
fn what_a_client_says_is_cut() {
    let history = History::new(2);
    let target = "é".repeat(LONGEST);
    history.picked(&Attempt { target: &target, ..attempt(1, 1) }, &endpoint(1), Way::Plan, at(0), at(0));
    for number in 2..100 {
        history.picked(&attempt(1, number), &endpoint(1), Way::Plan, at(0), at(0));
    }
    let record = history.get(1).unwrap();
    assert_eq!((record.target.len(), record.attempts.len()), (LONGEST, ATTEMPTS));
}

#[test]
fn another_length_keeps_the_last_ones_and_a_request_under_way_goes_on() {
    let history = History::new(4);
    let begin = |request: u64| history.picked(&attempt(request, 1), &endpoint(1), Way::Plan, at(request), at(request));
    (1..=6).for_each(begin);
    let all = Query { limit: 100, ..Query::default() };
    let numbers = |newest: u64| history.last(newest, &all).iter().map(|record| record.request).collect::<Vec<_>>();
    assert_eq!(numbers(6), [6, 5, 4, 3]);
    history.resize(3);
    assert_eq!(numbers(6), [6, 5, 4]);
    history.answered(&attempt(6, 1), Duration::from_millis(5), at(9_000));
    assert_eq!(history.get(6).unwrap().attempts[0].latency_ms, Some(5.0));
    history.resize(8);
    (7..=9).for_each(begin);
    assert_eq!(numbers(9), [9, 8, 7, 6, 5, 4]);
    history.resize(0);
    begin(10);
    assert!(numbers(10).is_empty());
}
