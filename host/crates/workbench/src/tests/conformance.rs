//! Guests that are wrong in one way each are found out, by the right line.

use proxywhirl_guests::{BOMB, Guest, LOOP};

use super::{QUICK, check, failed, line, place, subject};
use crate::{Status, Subject};

/// A plan of one tier that draws from slot 0 to `count`, each with this weight; laid out at 2,048 and 2,304.
fn plan(count: u32, weight: f32) -> (String, String) {
    let bytes = |words: &[u32]| -> String {
        words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect()
    };
    let members: Vec<u32> = (0..count).flat_map(|slot| [slot, weight.to_bits()]).collect();
    // tiers; no sessions; not per site; no refresh. A tier: mode draw, these.
    let (tiers, tier) = (bytes(&[2_200, 1]), bytes(&[1, 1, 2_304, count]));
    let data = format!(
        "(data (i32.const 2048) \"{tiers}\") (data (i32.const 2200) \"{tier}\") (data (i32.const 2304) \"{}\")",
        bytes(&members)
    );
    (data, "i32.const 2048".to_owned())
}

fn planner(count: u32, weight: f32) -> Guest {
    let (data, body) = plan(count, weight);
    Guest::strategy("planner").extra(&data).with("make-plan", &body)
}

#[test]
fn what_is_no_plugin_says_why_and_asks_nothing_more() {
    for bytes in [b"1.2.3.4:80\n".to_vec(), Vec::new(), Guest::strategy("x").module()] {
        let report = crate::check(&Subject::from_bytes("file", bytes), &place(), &QUICK).unwrap();
        assert_eq!((report.lines.len(), report.passed()), (1, false));
        assert!(line(&report, "loads").detail.contains("hint: "), "{report}");
    }
}

#[test]
fn a_strategy_that_asks_to_be_asked_and_chooses_nobody_fits() {
    let report = check(&Guest::strategy("nobody"));
    for name in ["loads", "describes itself", "options: none", "empty pool", "large pool", "same seed, same answers"] {
        assert_eq!(line(&report, name).status, Status::Ok, "{report}");
    }
    assert_eq!(line(&report, "handover").status, Status::Skipped);
}

#[test]
fn a_schema_that_lets_misspelt_options_pass_is_found_out() {
    failed(&check(&Guest::strategy("lenient")), "options: unknown key", "additionalProperties");
}

#[test]
fn a_plan_that_names_who_is_not_there_is_found_out() {
    let report = check(&planner(3, 1.0));
    failed(&report, "empty pool", "slot 0 has no member");
    failed(&report, "one member", "slot 1 has no member");
    assert_eq!(line(&report, "large pool").status, Status::Ok, "{report}");
}

#[test]
fn weights_that_are_no_weights_are_found_out() {
    failed(&check(&planner(1, f32::NAN)), "one member", "weight NaN");
    failed(&check(&planner(1, -1.0)), "one member", "weight -1");
    failed(&check(&planner(1, 0.0)), "sensible plan", "everybody has the weight 0");
}

#[test]
fn a_slot_that_nobody_has_is_found_out() {
    let report = check(&Guest::strategy("wild").with("select", "i32.const 4000000"));
    failed(&report, "one member", "select answered slot 4000000");
    failed(&report, "nobody eligible", "4000000");
}

#[test]
fn whoever_never_answers_takes_too_much_or_traps_is_named_with_its_call() {
    failed(&check(&Guest::strategy("slow").with("observe", LOOP)), "empty pool", "deadline in observe");
    failed(&check(&Guest::strategy("fat").with("apply", BOMB)), "one member", "memory in apply");
    failed(&check(&Guest::strategy("trap").with("make-plan", "unreachable")), "one member", "trap in make-plan");
}

#[test]
fn answers_that_follow_from_nothing_are_found_out() {
    // Each instance answers by the number of its calls so far, which is fair, and by the host's random numbers, which
    // are the same for the same seed: only a different start gives a difference.
    let counting = Guest::strategy("counting").extra("(global $n (mut i32) (i32.const 0))").with(
        "select",
        "(global.set $n (i32.add (global.get $n) (i32.const 1))) (i32.rem_u (global.get $n) (i32.const 5))",
    );
    assert_eq!(line(&check(&counting), "same seed, same answers").status, Status::Ok);
}

#[test]
fn a_strategy_that_keeps_every_call_grows() {
    // What is told to it is never given back: the smallest allocator there is.
    failed(&check(&Guest::strategy("hoarder")), "memory stays flat", "it grows");
}

#[test]
fn a_parser_that_dies_of_a_document_is_found_out_and_the_document_is_kept() {
    // Traps when the body, its third argument, is longer than 40 bytes and is not about text/plain.
    let body = "(if (i32.and (i32.gt_u (local.get 5) (i32.const 40)) (i32.eq (local.get 3) (i32.const 9))) (then unreachable)) i32.const 16";
    let guest = Guest::parser("brittle").with("parse", body);
    let report = check(&guest);
    failed(&report, "mutated documents", "trap in parse");
    assert!(line(&report, "mutated documents").detail.contains("proxywhirl-brittle-breaks"), "{report}");
    let sure = check(&Guest::parser("sure").with("sniff", "i32.const 101"));
    failed(&sure, "odd documents", "sure to 101 of 100");
}

#[test]
fn a_parser_that_finds_nothing_fits() {
    let report = check(&Guest::parser("nothing"));
    for name in ["odd documents", "huge document", "mutated documents", "bounded answers", "same document, same answer"]
    {
        assert_eq!(line(&report, name).status, Status::Ok, "{report}");
    }
    assert_eq!(line(&report, "knows its own fixtures").status, Status::Skipped);
}

#[test]
fn a_hook_that_refuses_fits_and_one_that_traps_does_not() {
    // err(""): the discriminant 1 at 4,096.
    let refusing = Guest::hook("no").extra("(data (i32.const 4096) \"\\01\")").with("handle", "i32.const 4096");
    let report = check(&refusing);
    assert!(line(&report, "an event of each topic").detail.contains("14 refused"), "{report}");
    let report = check(&Guest::hook("dies").with("handle", "unreachable"));
    failed(&report, "an event of each topic", "trap in handle");
    failed(&report, "malformed payloads", "trap in handle");
}

#[test]
fn two_descriptions_of_the_same_component_are_one_too_many() {
    // A component that says another name the second time it is asked in the same instance does so in no fresh one, so
    // only its manifest can differ: see the unit tests of `about`. What can be seen here is that it answers at all.
    let report = check(&Guest::hook("bell"));
    assert!(line(&report, "describes itself").detail.starts_with("bell 1.0.0"), "{report}");
    assert!(crate::check(&subject(&Guest::hook("bell")), &place(), &QUICK).is_ok());
}
