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
        number,
        target,
        site: Symbol::NONE,
        session: None,
        stick: Stick::default(),
        filter: None,
        tried: &[],
        hedge: false,
        tier: None,
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
    history.over(&completion(1, None));

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
fn the_last_are_remembered_the_newest_first_and_none_is_mistaken_for_another() {
    let history = History::new(4);
    for request in 1..=10 {
        history.picked(&attempt(request, 1), &endpoint(1), Way::Plan, at(request), at(request));
    }
    // Long under way, and its place is another's.
    history.failed(&attempt(3, 1), &fault(), true, at(100));
    history.picked(&attempt(3, 2), &endpoint(2), Way::Plan, at(100), at(100));
    history.over(&completion(3, Some(&fault())));
    let numbers = |query: Query| history.last(10, &query).iter().map(|it| it.request).collect::<Vec<_>>();
    let all = Query { limit: 100, ..Query::default() };
    assert_eq!(numbers(all.clone()), [10, 9, 8, 7]);
    assert_eq!(numbers(Query { limit: 2, ..all.clone() }), [10, 9]);
    assert!(history.last(10, &all).iter().all(|it| it.attempts.len() == 1 && it.fault.is_none()));
    history.over(&completion(8, Some(&fault())));
    assert_eq!(numbers(Query { failed: true, ..all.clone() }), [8]);
    let to = |host: &str| numbers(Query { host: Some(host.to_owned()), ..all.clone() }).len();
    assert_eq!((to("Origin.Example"), to("example")), (4, 0));
}

#[test]
fn nothing_is_remembered_if_that_is_what_is_wanted() {
    let history = History::new(0);
    history.picked(&attempt(1, 1), &endpoint(1), Way::Plan, at(0), at(0));
    history.failed(&attempt(1, 1), &fault(), true, at(1));
    history.over(&completion(1, None));
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
