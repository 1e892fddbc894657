#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::hook::Running;
use proxywhirl_plugin_sdk::http::{self, Error, Request, Response};
use proxywhirl_plugin_sdk::{clock, kv, log, metrics, random};
use serde_json::{Value, json};
use std::time::Duration;

const BEGINNING: u64 = 1_700_000_000_000_000;

/// The hook, with a server and a store that are as new.
struct Scene {
    running: Running<Webhook>,
    now: u64,
    sequence: u64,
}

impl Scene {
    fn new(options: &Value) -> Self {
        http::fake::reset();
        http::fake::answer_always(Ok(Response::of_status(200)));
        kv::fake::reset();
        metrics::fake::reset();
        random::seed(1);
        drop(log::take());
        Self::again(options)
    }

    /// After a restart: the store is what it was.
    fn again(options: &Value) -> Self {
        clock::set(BEGINNING);
        let mut all = json!({ "url": "https://hooks.example/in", "batch": 2, "max_age": "5s" });
        for (key, value) in options.as_object().unwrap() {
            all[key] = value.clone();
        }
        let mut running = Running::new();
        running.configure(&all.to_string()).unwrap();
        Self { running, now: BEGINNING, sequence: 0 }
    }

    fn events(&mut self, count: u64) -> Vec<Event> {
        (0..count)
            .map(|_| {
                self.sequence += 1;
                let payload = format!(r#"{{"request":{}}}"#, self.sequence);
                Event { sequence: self.sequence, at: self.now, topic: "request-failure".to_owned(), payload }
            })
            .collect()
    }

    /// Tells of so many events, and answers with the requests that follow.
    fn tell(&mut self, events: u64) -> Vec<Request> {
        let events = self.events(events);
        self.running.handle(&events).unwrap();
        http::fake::take()
    }

    /// Time passes; then the host calls without events.
    fn pass(&mut self, time: Duration) -> Vec<Request> {
        self.now += u64::try_from(time.as_micros()).unwrap();
        clock::set(self.now);
        self.tell(0)
    }

    fn pass_seconds(&mut self, seconds: u64) -> Vec<Request> {
        self.pass(Duration::from_secs(seconds))
    }
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn sequences(requests: &[Request]) -> Vec<Vec<u64>> {
    let of = |request: &Request| {
        let events = body(request)["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect()
    };
    requests.iter().map(of).collect()
}

fn status(status: u16) -> Result<Response, Error> {
    Ok(Response::of_status(status))
}

#[test]
fn a_full_batch_is_sent_at_once_and_looks_as_documented() {
    let mut scene = Scene::new(&json!({ "headers": { "Authorization": "Bearer x" } }));
    let requests = scene.tell(2);
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://hooks.example/in"));
    assert_eq!(header(request, "Content-Type"), Some("application/json"));
    assert_eq!(header(request, "Authorization"), Some("Bearer x"));
    assert_eq!(header(request, "ProxyWhirl-Attempt"), Some("1"));
    assert_eq!(header(request, "ProxyWhirl-Signature"), None);
    let event = |sequence: u64| json!({ "sequence": sequence, "at": BEGINNING, "topic": "request-failure", "payload": { "request": sequence } });
    let id = header(request, "ProxyWhirl-Delivery").unwrap();
    assert_eq!(body(request), json!({ "version": 1, "id": id, "events": [event(1), event(2)] }));
    assert_eq!(metrics::fake::counter("events_sent_total", &[]), 2);
    assert_eq!(metrics::fake::observed("request_duration_seconds", &[]).len(), 1);
}

#[test]
fn a_batch_that_is_not_full_waits_for_its_age() {
    let mut scene = Scene::new(&json!({ "batch": 10 }));
    assert!(scene.tell(1).is_empty());
    clock::set(BEGINNING + 4_999_999);
    assert!(scene.tell(1).is_empty());
    clock::set(BEGINNING + 5_000_000);
    assert_eq!(sequences(&scene.tell(1)), [[1, 2, 3]]);
}

#[test]
fn what_waits_is_sent_when_nothing_happens_so_that_none_is_lost_at_the_end() {
    let mut scene = Scene::new(&json!({ "batch": 10 }));
    assert!(scene.tell(3).is_empty());
    assert_eq!(sequences(&scene.tell(0)), [[1, 2, 3]]);
    assert!(scene.tell(0).is_empty());
}

#[test]
fn many_events_become_several_batches_in_order_and_no_burst() {
    let mut scene = Scene::new(&json!({}));
    let first = sequences(&scene.tell(30));
    assert_eq!((first.len(), &first[0], &first[9]), (10, &vec![1, 2], &vec![19, 20]));
    assert_eq!(sequences(&scene.tell(0)).concat(), (21..=30).collect::<Vec<_>>());
}

#[test]
fn a_signature_covers_time_and_body_of_each_attempt() {
    let mut scene = Scene::new(&json!({ "secret": "s3cret" }));
    http::fake::answer_next(status(503));
    let first = scene.tell(2).remove(0);
    let second = scene.pass_seconds(2).remove(0);
    for (request, seconds) in [(&first, 1_700_000_000), (&second, 1_700_000_002)] {
        let expected = sign::header("s3cret", seconds, &request.body).unwrap();
        assert_eq!(header(request, "ProxyWhirl-Signature"), Some(expected.as_str()));
    }
    assert_eq!(first.body, second.body);
}

#[test]
fn a_failure_is_tried_again_with_the_same_id_while_later_events_wait() {
    let mut scene = Scene::new(&json!({}));
    http::fake::answer_next(Err(Error::Timeout));
    http::fake::answer_next(status(502));
    let first = scene.tell(2);
    assert!(scene.tell(2).is_empty());
    let second = scene.pass_seconds(2);
    let third = scene.pass_seconds(4);
    assert_eq!(sequences(&third), [[1, 2], [3, 4]]);
    let ids: Vec<_> = [&first[0], &second[0], &third[0]].map(|request| header(request, "ProxyWhirl-Delivery")).into();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && header(&third[1], "ProxyWhirl-Delivery") != ids[0]);
    let attempts = [&first[0], &second[0], &third[0]].map(|request| header(request, "ProxyWhirl-Attempt").unwrap());
    assert_eq!(attempts, ["1", "2", "3"]);
    let lines = log::take();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].1.starts_with("https://hooks.example cannot be told: no answer in time; again in "));
    assert_eq!(lines[1].1, "https://hooks.example is told again");
}

#[test]
fn retries_back_off_exponentially_with_jitter_up_to_the_longest() {
    let mut scene = Scene::new(&json!({ "retries": 20, "backoff": "1s", "max_backoff": "10s" }));
    http::fake::answer_always(status(500));
    scene.tell(2);
    let mut gaps = Vec::new();
    let mut gap = 0;
    while gaps.len() < 12 {
        gap += 1;
        if !scene.pass(Duration::from_millis(10)).is_empty() {
            gaps.push(gap * 10);
            gap = 0;
        }
    }
    for (failed, gap) in (0..).zip(&gaps) {
        let full = (1_000 << failed).min(10_000);
        assert!((full / 2..=full + 10).contains(gap), "{gaps:?}");
    }
    assert!(gaps[6..].iter().any(|gap| *gap != gaps[5]), "{gaps:?}");
}

#[test]
fn a_server_that_says_when_is_heard_but_not_beyond_the_longest() {
    for (seconds, waits) in [("7", 7), ("100000", 60), ("soon", 1)] {
        let mut scene = Scene::new(&json!({}));
        let mut busy = Response::of_status(429);
        busy.headers.push(("retry-after".to_owned(), seconds.to_owned()));
        http::fake::answer_next(Ok(busy));
        scene.tell(2);
        assert!(waits == 1 || scene.pass_seconds(waits - 1).is_empty(), "{seconds}");
        assert_eq!(scene.pass_seconds(1).len(), 1, "{seconds}");
    }
}

#[test]
fn what_is_given_up_becomes_a_dead_letter_and_comes_after_the_next_success() {
    let mut scene = Scene::new(&json!({ "retries": 1 }));
    http::fake::answer_next(status(500));
    http::fake::answer_next(status(500));
    let dead = scene.tell(2).remove(0);
    scene.pass_seconds(60);
    assert_eq!(metrics::fake::counter("batches_dead_total", &[]), 1);
    assert_eq!(metrics::fake::gauged("dead_letters", &[]), Some(1.0));
    assert!(scene.pass_seconds(60).is_empty());
    let requests = scene.tell(2);
    assert_eq!(sequences(&requests), [[3, 4], [1, 2]]);
    assert_eq!((&requests[1].body, header(&requests[1], "ProxyWhirl-Attempt")), (&dead.body, Some("0")));
    assert_eq!(metrics::fake::gauged("dead_letters", &[]), Some(0.0));
    assert_eq!(metrics::fake::counter("batches_replayed_total", &[]), 1);
    assert_eq!(kv::fake::used(), 0);
}

#[test]
fn dead_letters_survive_a_restart_and_stay_when_the_replay_fails() {
    let mut scene = Scene::new(&json!({ "retries": 0 }));
    http::fake::answer_next(status(500));
    http::fake::answer_next(status(500));
    scene.tell(4);
    let mut scene = Scene::again(&json!({}));
    scene.sequence = 10;
    http::fake::answer_next(status(200));
    http::fake::answer_next(status(503));
    assert_eq!(sequences(&scene.tell(2)), [[11, 12], [1, 2]]);
    assert!(scene.pass_seconds(600).is_empty());
    assert_eq!(sequences(&scene.tell(2)), [[13, 14], [1, 2], [3, 4]]);
}

#[test]
fn what_the_server_refuses_is_not_tried_again() {
    let mut scene = Scene::new(&json!({}));
    http::fake::answer_next(status(400));
    assert_eq!(sequences(&scene.tell(4)), [[1, 2], [3, 4], [1, 2]]);
    // The dead letter came at once after the next success; refused again, it is dropped for good.
    http::fake::answer_next(status(422));
    http::fake::answer_next(status(200));
    http::fake::answer_next(status(422));
    assert_eq!(sequences(&scene.tell(4)), [[5, 6], [7, 8], [5, 6]]);
    assert_eq!(metrics::fake::counter("letters_dropped_total", &[]), 1);
    assert_eq!(metrics::fake::counter("requests_failed_total", &[("reason", "client_error")]), 3);
    assert_eq!(kv::fake::used(), 0);
}

#[test]
fn the_oldest_dead_letters_leave_by_number_and_by_quota() {
    for (options, quota) in [(json!({ "dead_letters": 3, "retries": 0 }), 1_000_000), (json!({ "retries": 0 }), 700)] {
        let mut scene = Scene::new(&options);
        kv::fake::set_quota(quota);
        http::fake::answer_always(status(500));
        for _ in 0..10 {
            scene.tell(2);
            scene.pass_seconds(1);
        }
        let kept = kv::keys("dead/", "").unwrap();
        assert!((2..=3).contains(&kept.len()), "{kept:?}");
        let dropped = metrics::fake::counter("letters_dropped_total", &[]);
        assert_eq!(dropped + kept.len() as u64, 10);
        let newest: Value = serde_json::from_slice(&kv::get(&kept[kept.len() - 1]).unwrap().unwrap().value).unwrap();
        assert_eq!(newest["events"][1]["sequence"], 20);
    }
}

#[test]
fn without_kv_what_is_given_up_is_dropped_and_told() {
    let mut scene = Scene::new(&json!({ "retries": 0 }));
    kv::fake::fail_with(Some(kv::Error::Denied));
    http::fake::answer_next(status(500));
    scene.tell(2);
    assert_eq!(metrics::fake::counter("events_dropped_total", &[]), 2);
    assert!(log::take().iter().any(|(_, line)| line.ends_with("cannot be kept: kv was not granted")));
    assert_eq!(sequences(&scene.tell(2)), [[3, 4]]);
}

#[test]
fn too_many_requests_for_the_host_are_a_pause_and_no_attempt() {
    let mut scene = Scene::new(&json!({ "retries": 0 }));
    http::fake::answer_next(Err(Error::Rate));
    scene.tell(2);
    let requests = scene.pass_seconds(1);
    assert_eq!(header(&requests[0], "ProxyWhirl-Attempt"), Some("1"));
    assert_eq!(metrics::fake::counter("batches_dead_total", &[]), 0);
}

#[test]
fn events_that_wait_are_bounded_and_the_oldest_are_dropped() {
    let mut scene = Scene::new(&json!({ "retries": 100, "batch": 1000 }));
    http::fake::answer_always(Err(Error::Timeout));
    let large = |sequence| Event {
        sequence,
        at: 0,
        topic: "request-failure".to_owned(),
        payload: format!("{{\"detail\":\"{}\"}}", "x".repeat(50_000)),
    };
    for sequence in 0..200 {
        scene.running.handle(&[large(sequence)]).unwrap();
    }
    let dropped = metrics::fake::counter("events_dropped_total", &[]);
    assert!((100..190).contains(&dropped), "{dropped}");
    let biggest = http::fake::take().iter().map(|request| request.body.len()).max().unwrap();
    assert!(biggest < kv::MAX_VALUE, "{biggest}");
}

#[test]
fn an_event_that_fits_into_no_batch_or_is_no_json_is_dropped_alone() {
    let mut scene = Scene::new(&json!({ "batch": 1 }));
    let event = |payload: String| Event { sequence: 1, at: 0, topic: "pool-empty".to_owned(), payload };
    let huge = format!("\"{}\"", "x".repeat(300_000));
    scene.running.handle(&[event(huge), event("{".to_owned()), event("{}".to_owned())]).unwrap();
    assert_eq!(http::fake::take().len(), 1);
    assert_eq!(metrics::fake::counter("events_dropped_total", &[]), 2);
}

#[test]
fn what_waits_is_handed_over() {
    let mut old = Scene::new(&json!({}));
    http::fake::answer_next(Err(Error::Unreachable("refused".to_owned())));
    old.tell(3);
    let state = old.running.save();
    let mut new = Scene::again(&json!({}));
    new.running.restore(&state).unwrap();
    assert_eq!(sequences(&new.pass_seconds(6)), [vec![1, 2], vec![3]]);
    for nonsense in [&b"nonsense"[..], br#"{"version":2,"batch":null,"waiting":[]}"#] {
        assert!(new.running.restore(nonsense).is_err());
    }
}

#[test]
fn a_state_that_is_too_large_keeps_the_newer_events() {
    let mut scene = Scene::new(&json!({ "batch": 1000, "max_age": "1h" }));
    http::fake::answer_always(Err(Error::Timeout));
    let quotes = |sequence| Event {
        sequence,
        at: 0,
        topic: "request-failure".to_owned(),
        payload: format!("\"{}\"", "\\\"".repeat(25_000)),
    };
    for sequence in 0..60 {
        scene.running.handle(&[quotes(sequence)]).unwrap();
    }
    let state = scene.running.save();
    assert!(state.len() <= 4 << 20, "{}", state.len());
    assert!(String::from_utf8_lossy(&state).contains(r#"\"sequence\":59"#));
}

#[test]
fn it_subscribes_to_the_topics_of_its_options() {
    assert_eq!(Scene::new(&json!({ "topics": ["pool-empty"] })).running.topics(), ["pool-empty"]);
    assert!(Scene::new(&json!({})).running.topics().is_empty());
}

#[test]
fn no_log_line_holds_the_path_of_the_url_or_the_secret() {
    let mut scene =
        Scene::new(&json!({ "url": "https://hooks.example/T0/S3CR3T?key=K3Y", "secret": "sign", "retries": 0 }));
    for answer in [status(500), status(404), Err(Error::Timeout)] {
        http::fake::answer_next(answer);
        scene.tell(2);
    }
    let lines = log::take();
    assert!(lines.len() >= 3);
    for (_, line) in lines {
        assert!(!line.contains("S3CR3T") && !line.contains("K3Y") && !line.contains("sign"), "{line}");
    }
}

#[test]
fn options_that_cannot_work_are_refused() {
    for (options, expected) in [
        (json!({}), "url: not an http or https URL"),
        (json!({ "url": "ftp://a.example" }), "url: not an http or https URL"),
        (json!({ "url": "https:///in" }), "url: not an http or https URL"),
        (
            json!({ "url": "https://me:pw@a.example" }),
            "url: user name and password belong into an Authorization header",
        ),
        (json!({ "url": "https://a.example/a b" }), "url: has white space in it"),
        (
            json!({ "url": "https://a.example", "headers": { "Host": "b" } }),
            "headers: Host is set by the hook or the host",
        ),
        (
            json!({ "url": "https://a.example", "headers": { "ProxyWhirl-Signature": "x" } }),
            "headers: ProxyWhirl-Signature is set by the hook or the host",
        ),
        (
            json!({ "url": "https://a.example", "headers": { "X-A": "b\r\nX-B: c" } }),
            "headers: the value of X-A has a line break",
        ),
    ] {
        let mut running = Running::<Webhook>::new();
        assert_eq!(running.configure(&options.to_string()).unwrap_err(), expected);
    }
}

#[test]
fn the_schema_says_the_defaults_and_its_examples_are_accepted() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let defaults: serde_json::Map<_, _> =
        properties.iter().filter_map(|(name, it)| Some((name.clone(), it.get("default")?.clone()))).collect();
    let defaults: Options = serde_json::from_value(defaults.into()).unwrap();
    assert_eq!(format!("{defaults:?}"), format!("{:?}", Options::default()));
    for example in schema["examples"].as_array().unwrap() {
        assert_eq!(Running::<Webhook>::new().configure(&example.to_string()), Ok(()), "{example}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_event_is_delivered_once_in_order_kept_as_a_dead_letter_or_counted(
        calls in prop::collection::vec((0_u64..6, 0_u16..4, 0_u64..30), 1..40),
    ) {
        let mut scene = Scene::new(&json!({ "retries": 2, "dead_letters": 1000 }));
        let mut delivered: Vec<u64> = Vec::new();
        let mut fresh: Vec<u64> = Vec::new();
        for (events, kind, seconds) in calls {
            let answer = [status(200), status(500), status(404), Err(Error::Timeout)][usize::from(kind)].clone();
            http::fake::answer_always(answer.clone());
            let mut requests = scene.tell(events);
            requests.extend(scene.pass_seconds(seconds));
            if answer.is_ok_and(|answer| answer.is_success()) {
                for request in &requests {
                    let all = sequences(std::slice::from_ref(request)).concat();
                    if header(request, "ProxyWhirl-Attempt") != Some("0") {
                        fresh.extend(&all);
                    }
                    delivered.extend(all);
                }
            }
        }
        prop_assert!(fresh.is_sorted(), "{fresh:?}");
        http::fake::answer_always(status(200));
        for _ in 0..30 {
            delivered.extend(sequences(&scene.pass_seconds(60)).concat());
        }
        let requests = scene.tell(2);
        delivered.extend(sequences(&requests).concat());
        for _ in 0..20 {
            delivered.extend(sequences(&scene.tell(0)).concat());
        }
        delivered.sort_unstable();
        // A dead letter that is refused again, of two events at the most, is dropped and counted.
        let dropped = 2 * metrics::fake::counter("letters_dropped_total", &[]);
        let missing = scene.sequence - delivered.len() as u64;
        prop_assert!(missing <= dropped, "{missing} of {} missing, {dropped} dropped", scene.sequence);
        delivered.dedup();
        prop_assert_eq!(delivered.len() as u64 + missing, scene.sequence);
    }
}
