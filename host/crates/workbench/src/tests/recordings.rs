//! Recorded events: what a hook makes of them is compared, and mistakes are told.

use proxywhirl_guests::Guest;

use super::{line, project, test};
use crate::Status;

fn run(guest: &Guest, text: &str, events: &str) -> (bool, String) {
    let folder = project(&guest.build(), &[("story.toml", text), ("story.jsonl", events)]);
    let report = test(folder.path());
    let line = line(&report, "story");
    (line.status == Status::Ok, line.detail.clone())
}

/// A hook that logs "heard" at level info for each batch.
fn heard() -> Guest {
    Guest::hook("guest")
        .import("(import \"proxywhirl:plugin/log@0.1.0\" \"write\" (func $write (param i32 i32 i32)))")
        .extra("(data (i32.const 4096) \"heard\")")
        .with("handle", "(call $write (i32.const 2) (i32.const 4096) (i32.const 5)) i32.const 16")
}

const EVENTS: &str = "{\"topic\":\"proxy-added\",\"payload\":{\"proxy\":\"http://203.0.113.7:80\"}}\n\n\
                      {\"topic\":\"pool-empty\",\"at\":7,\"sequence\":3}\n";

#[test]
fn lines_of_the_log_are_expected_or_missed() {
    let text = |expect: &str| {
        format!("about = \"a story\"\nevents = \"story.jsonl\"\nbatch = 1\ncalls = 2\n[expect]\n{expect}")
    };
    let (passed, detail) = run(&heard(), &text("log = [\"hear\"]\ntopics = []\nrequests = []\nkv = {}"), EVENTS);
    assert!(passed && detail.contains("2 events, 0 requests, 4 log lines"), "{detail}");
    let (passed, detail) = run(&heard(), &text("log = [\"seen\"]"), EVENTS);
    assert!(!passed && detail.contains("it logged: info heard"), "{detail}");
    let (passed, detail) = run(&heard(), &text("metrics = [{ name = \"x\", value = 1.0 }]"), EVENTS);
    assert!(!passed && detail.contains("no metric proxywhirl_plugin_x"), "{detail}");
    let (passed, detail) = run(&heard(), &text("requests = [{ method = \"POST\" }]"), EVENTS);
    assert!(!passed && detail.contains("0 requests arrived, expected are 1"), "{detail}");
    let (passed, detail) = run(&heard(), &text("kv = { a = \"b\" }"), EVENTS);
    assert!(!passed && detail.contains("kv has no key: \"a\""), "{detail}");
}

#[test]
fn a_refusal_must_be_expected_and_an_expected_one_must_come() {
    let refusing = Guest::hook("guest")
        .extra("(data (i32.const 4096) \"\\01\\00\\00\\00\\10\\10\\00\\00\\02\\00\\00\\00\") (data (i32.const 4112) \"no\")")
        .with("handle", "i32.const 4096");
    let story = "[[event]]\ntopic = \"pool-empty\"\n";
    assert!(run(&refusing, story, "").1.contains("`handle` ended with an error: no"));
    assert!(run(&refusing, &format!("{story}[expect]\nrefused = \"no\""), "").0);
    let (passed, detail) = run(&heard(), &format!("{story}[expect]\nrefused = \"no\""), "");
    assert!(!passed && detail.contains("no call of `handle`"), "{detail}");
    let (passed, detail) = run(&Guest::hook("guest").with("handle", "unreachable"), story, "");
    assert!(!passed && detail.contains("trap in handle"), "{detail}");
}

#[test]
fn a_mistake_in_a_recording_is_named() {
    for (text, part) in [
        ("[[event]]\ntopic = \"tea-time\"", "there is no topic \"tea-time\""),
        ("evenst = 1", "unknown field `evenst`"),
        ("events = \"story.jsonl\"", "event 1: "),
        ("error = \"no\"", "must be refused"),
    ] {
        let (passed, detail) = run(&heard(), text, "no JSON");
        assert!(!passed && detail.contains(part), "{detail}");
    }
}
