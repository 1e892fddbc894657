//! Scenarios find out what does not hold, and let pass what does.

use proxywhirl_guests::Guest;

use super::{line, project, test};
use crate::{Status, TestRequest, WorkbenchError};

/// A plan of one tier over everyone in the mode of this number: 0 cycle, 1 draw, 2 affinity, 3 least-loaded.
fn everyone(mode: u32) -> Guest {
    let tier = format!("\\{mode:02x}\\00\\00\\00\\00\\00\\00\\00");
    Guest::strategy("guest")
        .extra("(data (i32.const 2048) \"\\98\\08\\00\\00\\01\\00\\00\\00\")")
        .extra(&format!("(data (i32.const 2200) \"{tier}\")"))
        .with("make-plan", "i32.const 2048")
}

/// What a scenario comes to: the detail, and whether it passed.
fn run(guest: &Guest, text: &str) -> (bool, String) {
    let folder = project(&guest.build(), &[("story.toml", text)]);
    let report = test(folder.path());
    let line = line(&report, "story");
    (line.status == Status::Ok, line.detail.clone())
}

fn passes(guest: &Guest, text: &str) {
    let (passed, detail) = run(guest, text);
    assert!(passed, "{detail}\n{text}");
}

fn fails(guest: &Guest, text: &str, part: &str) {
    let (passed, detail) = run(guest, text);
    assert!(!passed && detail.contains(part), "must fail with {part:?}, but: {detail}\n{text}");
}

const FOUR: &str = r#"
seed = 7
[[members]]
name = "m"
count = 4
tags = ["eu"]
"#;

#[test]
fn a_cycle_is_exact_in_order_and_survives_changes_of_the_pool() {
    passes(
        &everyone(0),
        &format!(
            r#"about = "in turn"
{FOUR}
[[steps]]
plan = {{ modes = ["cycle"], tiers = [["*"]], asks = false, sessions = false, per_site = false, refresh = "0s" }}
[[steps]]
pick = 402
expect = {{ even = ["*"], exact = true, order = ["m-1", "m-2", "m-3", "m-4", "m-1"], each = ["*"] }}
[[steps]]
leave = ["m-2"]
[[steps]]
pick = 300
expect = {{ never = ["m-2"], even = ["m"], exact = true }}
[[steps]]
join = [{{ name = "late", country = "DE", tags = ["us"] }}]
[[steps]]
pick = 4
expect = {{ each = ["late"], shares = {{ "country:DE" = 0.25 }}, within = 0.01 }}
[[steps]]
down = ["tag:eu"]
[[steps]]
pick = 10
expect = {{ only = ["late"] }}
[[steps]]
up = ["m-1"]
[[steps]]
pick = 10
expect = {{ even = ["m-1", "late"], exact = true }}
"#
        ),
    );
}

#[test]
fn draws_fit_their_shares_and_others_are_refused_with_the_figures() {
    let picks = |expect: &str| format!("{FOUR}\n[[steps]]\npick = 8000\nexpect = {{ {expect} }}\n");
    passes(&everyone(1), &picks(r#"even = ["*"]"#));
    passes(&everyone(1), &picks(r#"shares = { "m-1" = 0.25, "m-2" = 0.25 }"#));
    passes(&everyone(1), &picks(r#"shares = { "m-1" = 0.25 }, within = 0.03, at_least = { "m-2" = 0.2 }"#));
    fails(&everyone(1), &picks(r#"shares = { "m-1" = 0.4 }"#), "chi-squared");
    fails(&everyone(1), &picks(r#"shares = { "m-1" = 0.4 }, within = 0.05"#), "expected 0.4");
    fails(&everyone(1), &picks(r#"even = ["*"], exact = true"#), "expected are equal counts");
    fails(&everyone(1), &picks(r#"at_most = { "tag:eu" = 0.5 }"#), "at most 0.5");
    fails(&everyone(1), &picks(r#"never = ["m-3"]"#), "picked, though in `never`: m-3");
    fails(&everyone(1), &picks(r#"only = ["m-3"]"#), "m-1");
    fails(&everyone(1), &picks(r#"order = ["m-1", "m-1", "m-1", "m-1", "m-1", "m-1"]"#), "expected is");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    // The message shows the picks: as many as there are expected ones.
    let order = vec!["\"m\""; 30].join(", ");
    let text = format!("{FOUR}\n[[steps]]\npick = 50\nexpect = {{ order = [{order}] }}\n");
    let (one, other) = (run(&everyone(1), &text), run(&everyone(1), &text));
    assert_eq!(one, other);
    assert_ne!(one, run(&everyone(1), &text.replace("seed = 7", "seed = 8")));
}

#[test]
fn sessions_stay_and_only_those_of_a_member_that_left_move() {
    let text = |after: &str| {
        format!(
            r#"
[[members]]
name = "m"
count = 10
[[steps]]
pick = 2000
sessions = 200
expect = {{ sticky = true }}
[[steps]]
leave = ["m-4"]
[[steps]]
pick = 400
sessions = 200
expect = {{ {after} }}
"#
        )
    };
    passes(&everyone(2), &text(r#"sticky = true, moved_from = ["m-4"], moved_at_most = 60, never = ["m-4"]"#));
    fails(&everyone(2), &text("moved = 0"), "sessions moved, expected are 0");
    fails(&everyone(2), &text(r#"moved_from = ["m-5"]"#), "is not in `moved_from`");
    fails(&everyone(0), &text("sticky = true"), "sessions moved, one of them through");
}

#[test]
fn requests_are_bound_tried_and_held_as_they_say() {
    let rest = r#"
[[members]]
name = "de"
count = 2
country = "DE"
scheme = "socks5"
[[steps]]
pick = 100
country = ["DE"]
expect = { only = ["scheme:socks5"], each = ["de"] }
[[steps]]
pick = 10
attempts = 6
expect = { even = ["*"], exact = true }
[[steps]]
pick = 10
attempts = 7
expect = { none = 10 }
[[steps]]
pick = 10
tags = ["nobody-has-it"]
expect = { none = 10 }
[[steps]]
wait = "10m"
[[steps]]
swap = true
[[steps]]
pick = 60
hold = true
every = "1s"
sites = ["a.example", "b.example"]
[[steps]]
observe = [{ of = "de", successes = 3, failures = 2, latency = "80ms", site = "a.example" }, { of = ["m-1", "m-2"], failures = 1 }]
[[steps]]
pick = 100
settle = true
"#;
    passes(&everyone(0), &format!("{FOUR}{rest}"));
    fails(&everyone(0), &format!("{FOUR}\n[[steps]]\npick = 1\ntags = [\"x\"]"), "1 picks found nobody");
}

#[test]
fn a_strategy_that_is_asked_is_asked() {
    let guest = Guest::strategy("guest").with("select", "i32.const 2");
    passes(
        &guest,
        &format!("{FOUR}\n[[steps]]\nplan = {{ asks = true }}\n[[steps]]\npick = 9\nexpect = {{ only = [\"m-3\"] }}"),
    );
    fails(
        &guest,
        &format!("{FOUR}\n[[steps]]\nleave = [\"m-3\"]\n[[steps]]\npick = 1"),
        "slot 2, at which there is no member",
    );
}

#[test]
fn options_that_must_be_refused_are_tried() {
    // err("no"): at 4,096, its text at 4,112.
    let refusing = Guest::strategy("guest")
        .extra("(data (i32.const 4096) \"\\01\\00\\00\\00\\10\\10\\00\\00\\02\\00\\00\\00\") (data (i32.const 4112) \"no\")")
        .with("configure", "i32.const 4096");
    passes(&refusing, "error = \"no\"\noptions = { x = 1 }\nrefuses = [{ options = {}, error = \"no\" }]");
    fails(&refusing, "error = \"never\"", "without saying \"never\"");
    fails(&refusing, "accepts = [{}]", "must be accepted");
    fails(&Guest::strategy("guest"), "error = \"no\"", "must be refused");
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_place() {
    for (text, part) in [
        ("sede = 1", "unknown field `sede`"),
        ("[[steps]]\npick = 1\nleave = [\"m\"]", "step 1: is not exactly one of"),
        ("[[steps]]\nevery = \"1s\"", "has no `pick`"),
        ("[[steps]]\nwait = \"soon\"", "\"soon\""),
        ("[[steps]]\nleave = [\"m-9\"]", "step 1: `m-9` means nobody"),
        ("[[steps]]\nleave = [\"colour:red\"]", "begins with none of"),
        ("[[members]]\nname = \"m\"\nsucceeds = 2.0", "is a share from 0 to 1"),
        ("[[steps]]\npick = 100000000", "the limit is"),
    ] {
        fails(&everyone(0), text, part);
    }
}

#[test]
fn a_fault_ends_the_story_with_the_call_and_the_cause() {
    fails(
        &everyone(0).with("observe", "unreachable"),
        &format!("{FOUR}\n[[steps]]\nobserve = [{{ of = \"m\" , failures = 1 }}]"),
        "trap in observe",
    );
}

#[test]
fn a_filter_runs_only_what_it_names_and_no_test_is_an_error() {
    let pick = "[[members]]\nname = \"m\"\n[[steps]]\npick = 1";
    let folder = project(&everyone(0).build(), &[("one.toml", pick), ("two.toml", pick), ("notes.txt", "")]);
    let filter = |text: &str| TestRequest { filter: Some(text.to_owned()), ..TestRequest::default() };
    let report = crate::test(folder.path(), &super::place(), &filter("wo")).unwrap();
    assert_eq!((report.lines.len(), &*report.lines[0].name), (1, "two"));
    let none = crate::test(folder.path(), &super::place(), &filter("three"));
    assert!(matches!(none, Err(WorkbenchError::NoTests(_))));
}
