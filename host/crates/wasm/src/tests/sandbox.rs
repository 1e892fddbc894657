//! What guests do wrong while they run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::endpoint::Scheme;
use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::live::{Live, Statistics};
use proxywhirl_core::member::{Member, MemberId};
use proxywhirl_core::plugin::{Document, FaultCause, PluginFault, Request, Strategy, View};
use proxywhirl_core::select::{Membership, Mode, Stickiness};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::tag::Labels;
use proxywhirl_core::time::Timestamp;
use proxywhirl_core::verdict::Anonymity;
use proxywhirl_guests::{BOMB, Guest, LOOP};

use super::library;
use crate::PluginError;

const NOW: Timestamp = Timestamp::from_micros(1);

fn strategy(guest: &Guest) -> Box<dyn Strategy> {
    let library = library(&[("guest.wasm", guest.build())]);
    library.strategy("guest", "").unwrap().instance().unwrap()
}

fn request() -> Request {
    Request { view: 0, site: Symbol(3), session: 4, attempt: 5, now: NOW, seed: 7 }
}

fn member(slot: u32) -> Arc<Member> {
    let endpoint: Endpoint = format!("http://user:hunter2@10.0.0.1:{}", slot + 1).parse().unwrap();
    Arc::new(Member {
        id: MemberId::of(&endpoint.key()),
        slot,
        generation: 0,
        joined: u64::from(slot),
        added: NOW,
        endpoint: Arc::new(endpoint),
        labels: Arc::new(Labels { symbols: [Symbol(slot + 100), Symbol(slot + 200)].into(), ..Labels::default() }),
        country: None,
        country_symbol: Symbol::NONE,
        anonymity: Anonymity::Elite,
        live: Arc::new(Live::restored(&Statistics::default())),
    })
}

fn document(body: &[u8]) -> Document {
    Document {
        url: "-".to_owned(),
        content_type: String::new(),
        body: body.into(),
        options: "{}".to_owned(),
        default_scheme: Scheme::Http,
    }
}

/// Checks what is said of a fault, and gives back how long it took.
fn assert_fault<T: std::fmt::Debug>(answer: Result<T, PluginFault>, export: &str, cause: FaultCause) -> PluginFault {
    let fault = answer.unwrap_err();
    assert_eq!((fault.export, fault.cause), (export, cause), "{fault}");
    assert_eq!((&*fault.plugin.name, &*fault.plugin.version), ("guest", "1.0.0"));
    fault
}

#[test]
fn a_guest_that_loops_is_stopped_in_every_export() {
    let started = Instant::now();
    let mut looping = strategy(
        &Guest::strategy("guest")
            .with("apply", LOOP)
            .with("observe", LOOP)
            .with("make-plan", LOOP)
            .with("select", LOOP),
    );
    let fault = assert_fault(looping.plan(&View::default(), NOW, 1), "make-plan", FaultCause::Deadline);
    assert!(fault.detail.starts_with("ran longer than 300ms"), "{fault}");
    let fault = assert_fault(looping.select(&request()), "select", FaultCause::Deadline);
    assert!(fault.detail.starts_with("ran longer than 100ms"), "{fault}");
    assert_fault(looping.apply(1, true, &[], &[]), "apply", FaultCause::Deadline);
    assert_fault(looping.observe(&[]), "observe", FaultCause::Deadline);
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_guest_that_loops_before_its_first_call_is_stopped() {
    let starting = Guest::strategy("guest").extra("(func $forever (loop $again (br $again))) (start $forever)");
    let library = library(&[("guest.wasm", starting.build())]);
    // It cannot even describe itself, so it is no plugin.
    let problem = &library.problems()[0];
    assert!(problem.reason.starts_with("deadline in instantiate"), "{problem}");

    let configuring = Guest::strategy("guest").with("configure", LOOP);
    let library = super::library(&[("guest.wasm", configuring.build())]);
    let error = library.strategy("guest", "").err().unwrap();
    let PluginError::Fault(fault) = error else { panic!("{error}") };
    assert_eq!((fault.export, fault.cause), ("configure", FaultCause::Deadline));
}

#[test]
fn a_parser_that_loops_is_stopped_and_sooner_while_it_only_looks() {
    let looping = Guest::parser("guest").with("sniff", LOOP).with("parse", LOOP);
    let library = library(&[("guest.wasm", looping.build())]);
    let parser = library.parser("guest").unwrap();
    let fault = assert_fault(parser.sniff(&document(b"x")), "sniff", FaultCause::Deadline);
    assert!(fault.detail.starts_with("ran longer than 100ms"), "{fault}");
    let fault = assert_fault(parser.parse(&document(b"x")), "parse", FaultCause::Deadline);
    assert!(fault.detail.starts_with("ran longer than 300ms"), "{fault}");
}

#[test]
fn a_guest_that_takes_all_memory_is_stopped_at_its_ceiling() {
    let mut bomb = strategy(&Guest::strategy("guest").with("make-plan", BOMB));
    let fault = assert_fault(bomb.plan(&View::default(), NOW, 1), "make-plan", FaultCause::Memory);
    assert!(fault.detail.contains("the limit is 8388608"), "{fault}");
}

#[test]
fn a_guest_that_wants_a_huge_table_is_stopped() {
    let tables = Guest::strategy("guest").extra("(table $t 1 funcref)").with(
        "make-plan",
        "(loop $again (drop (table.grow $t (ref.null func) (i32.const 50000))) (br $again)) unreachable",
    );
    assert_fault(strategy(&tables).plan(&View::default(), NOW, 1), "make-plan", FaultCause::Memory);
}

#[test]
fn a_trap_says_which_and_the_next_call_runs_on_a_fresh_instance() {
    // Traps at the second call of `observe`, which a fresh instance has not seen yet.
    let counting = Guest::strategy("guest").extra("(global $calls (mut i32) (i32.const 0))").with(
        "observe",
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (i32.eq (global.get $calls) (i32.const 2)) (then unreachable)) (i32.const 1)",
    );
    let mut guest = strategy(&counting);
    for _ in 0..3 {
        assert!(guest.observe(&[]).unwrap());
        let fault = assert_fault(guest.observe(&[]), "observe", FaultCause::Trap);
        assert!(fault.detail.contains("unreachable"), "{fault}");
    }
}

#[test]
fn an_endless_recursion_is_a_trap_and_not_the_end_of_the_process() {
    let recursive = Guest::strategy("guest")
        .extra("(func $down (param i32) (result i32) (i32.add (i32.const 1) (call $down (local.get 0))))")
        .with("select", "(call $down (i32.const 1))");
    let fault = assert_fault(strategy(&recursive).select(&request()), "select", FaultCause::Trap);
    assert!(fault.detail.contains("call stack exhausted"), "{fault}");
}

#[test]
fn an_answer_that_breaks_the_abi_is_invalid() {
    for (what, body) in [
        (
            "a pointer out of bounds",
            "(i32.store (i32.const 32) (i32.const 2000000000)) (i32.store (i32.const 36) (i32.const 5)) (i32.const 32)",
        ),
        (
            "a list longer than the memory",
            "(i32.store (i32.const 32) (i32.const 0)) (i32.store (i32.const 36) (i32.const 500000000)) (i32.const 32)",
        ),
        ("an unaligned pointer", "(i32.const 33)"),
        ("a return area out of bounds", "(i32.const -4)"),
        (
            "a mode that does not exist",
            "(i32.store (i32.const 32) (i32.const 64)) (i32.store (i32.const 36) (i32.const 1)) (i32.store8 (i32.const 64) (i32.const 99)) (i32.const 32)",
        ),
    ] {
        let mut guest = strategy(&Guest::strategy("guest").with("make-plan", body));
        let fault = guest.plan(&View::default(), NOW, 1).expect_err(what);
        assert_eq!(fault.cause, FaultCause::InvalidAnswer, "{what}: {fault}");
        assert!(!fault.detail.is_empty(), "{what}");
    }
}

#[test]
fn text_that_is_not_utf8_is_invalid() {
    let bad = Guest::parser("guest").with(
        "parse",
        "(i32.store8 (i32.const 32) (i32.const 1)) (i32.store (i32.const 36) (i32.const 64))
         (i32.store (i32.const 40) (i32.const 1)) (i32.store8 (i32.const 64) (i32.const 255)) (i32.const 32)",
    );
    let library = library(&[("guest.wasm", bad.build())]);
    let parser = library.parser("guest").unwrap();
    assert_fault(parser.parse(&document(b"x")), "parse", FaultCause::InvalidAnswer);
    assert_eq!(parser.sniff(&document(b"x")), Ok(50));
}

#[test]
fn a_parser_more_than_certain_is_invalid() {
    let library = library(&[("guest.wasm", Guest::parser("guest").with("sniff", "i32.const 101").build())]);
    let parser = library.parser("guest").unwrap();
    assert_fault(parser.sniff(&document(b"x")), "sniff", FaultCause::InvalidAnswer);
}

#[test]
fn a_document_larger_than_the_parsers_memory_is_a_memory_fault() {
    let library = library(&[("guest.wasm", Guest::parser("guest").build())]);
    let parser = library.parser("guest").unwrap();
    assert!(parser.parse(&document(&[b'x'; 1024 * 1024])).is_ok());
    assert_fault(parser.parse(&document(&vec![b'x'; 9 * 1024 * 1024])), "parse", FaultCause::Memory);
}

#[test]
fn a_plan_arrives_as_it_was_made() {
    // One tier: least-loaded, these: (slot 7, weight 0.5). Strict sessions, idle for a minute. Per site. A refresh after 5 µs.
    let planning = Guest::strategy("guest").with(
        "make-plan",
        "(i32.store (i32.const 32) (i32.const 128)) (i32.store (i32.const 36) (i32.const 1))
         (i32.store8 (i32.const 128) (i32.const 3)) (i32.store8 (i32.const 132) (i32.const 1))
         (i32.store (i32.const 136) (i32.const 160)) (i32.store (i32.const 140) (i32.const 1))
         (i32.store (i32.const 160) (i32.const 7)) (f32.store (i32.const 164) (f32.const 0.5))
         (i32.store8 (i32.const 40) (i32.const 1)) (i64.store (i32.const 48) (i64.const 60000000))
         (i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 5000000))
         (i32.store8 (i32.const 72) (i32.const 1)) (i64.store (i32.const 80) (i64.const 5))
         (i32.const 32)",
    );
    let plan = strategy(&planning).plan(&View::default(), NOW, 1).unwrap();
    assert_eq!((plan.tiers.len(), plan.tiers[0].mode), (1, Mode::LeastLoaded));
    let Membership::These(these) = &plan.tiers[0].members else { panic!("{plan:?}") };
    assert_eq!((these.len(), these[0].slot), (1, 7));
    assert!((these[0].weight - 0.5).abs() < f32::EPSILON);
    let sessions = plan.sessions.unwrap();
    assert_eq!((sessions.idle, sessions.lifetime), (Some(Duration::from_secs(60)), None));
    assert_eq!((sessions.strict, sessions.capacity), (true, Stickiness::MAX_CAPACITY), "capped");
    assert!(plan.per_site);
    assert_eq!(plan.refresh, Some(Duration::from_millis(100)), "no more often than that");
}

#[test]
fn a_request_arrives_as_integers_and_the_largest_slot_is_none() {
    let echo = Guest::strategy("guest").with("select", "(i32.add (local.get 1) (local.get 3))");
    assert_eq!(strategy(&echo).select(&request()), Ok(Some(8)));
    assert_eq!(strategy(&Guest::strategy("guest")).select(&request()), Ok(None));
}

#[test]
fn members_arrive_with_their_own_tags_and_without_their_secrets() {
    // Adds up slot and first tag of each row of 72 bytes, and looks for the password's first letters.
    let reading = Guest::strategy("guest")
        .extra("(global $sum (mut i32) (i32.const 0))")
        .with(
            "apply",
            "(local $end i32)
             (local.set $end (i32.add (local.get 2) (i32.mul (local.get 3) (i32.const 64))))
             (block $done (loop $next
                (br_if $done (i32.ge_u (local.get 2) (local.get $end)))
                (global.set $sum (i32.add (global.get $sum) (i32.load (local.get 2))))
                (global.set $sum (i32.add (global.get $sum) (i32.load (i32.load offset=32 (local.get 2)))))
                (local.set 2 (i32.add (local.get 2) (i32.const 64)))
                (br $next)))
             (local.set $end (i32.const 65536))
             (block $clean (loop $scan
                (br_if $clean (i32.ge_u (local.get $end) (global.get $heap)))
                (if (i32.eq (i32.load (local.get $end)) (i32.const 0x746e7568)) (then unreachable))
                (local.set $end (i32.add (local.get $end) (i32.const 1)))
                (br $scan)))",
        )
        .with("select", "global.get $sum");
    let mut guest = strategy(&reading);
    let members: Vec<_> = (0..10).map(member).collect();
    guest.apply(1, true, &members, &[]).unwrap();
    assert_eq!(guest.select(&request()), Ok(Some(45 + 45 + 1_000)));
}

#[test]
fn options_arrive_and_a_refusal_is_the_plugins_own() {
    let refusing = Guest::strategy("guest").with(
        "configure",
        "(i32.store8 (i32.const 32) (i32.const 1)) (i32.store (i32.const 36) (local.get 0))
         (i32.store (i32.const 40) (local.get 1)) (i32.const 32)",
    );
    let library = library(&[("guest.wasm", refusing.build())]);
    let PluginError::Fault(fault) = library.strategy("guest", r#"{"a":1}"#).err().unwrap() else {
        panic!("a fault was expected")
    };
    assert_eq!((fault.cause, &*fault.detail), (FaultCause::Refused, r#"{"a":1}"#));
    assert!(matches!(library.strategy("guest", "[]"), Err(PluginError::Options(_))));
}

#[test]
fn what_a_guest_said_before_it_trapped_is_in_the_report() {
    let talking = Guest::strategy("guest")
        .import(r#"(import "proxywhirl:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))"#)
        .extra(r#"(data (i32.const 512) "panicked at src/lib.rs:7")"#)
        .with("select", "(call $write (i32.const 4) (i32.const 512) (i32.const 24)) unreachable");
    let fault = assert_fault(strategy(&talking).select(&request()), "select", FaultCause::Trap);
    assert_eq!(&*fault.scene.log, ["panicked at src/lib.rs:7".into()]);
    assert!(!fault.to_string().contains("panicked"), "the particulars are for the report: {fault}");
}

#[test]
fn a_report_tells_where_the_guest_was_and_what_it_had_used() {
    let guest = Guest::strategy("guest")
        .extra(
            "(func $fastest::weigh::h0123456789abcdef unreachable)
             (func $_ZN7fastest4plan17h0123456789abcdefE (call $fastest::weigh::h0123456789abcdef))",
        )
        .with(
            "make-plan",
            "(drop (memory.grow (i32.const 3))) (call $_ZN7fastest4plan17h0123456789abcdefE) (i32.const 16)",
        );
    let fault = assert_fault(strategy(&guest).plan(&View::default(), NOW, 1), "make-plan", FaultCause::Trap);
    assert!(fault.scene.backtrace.len() >= 3, "{fault:?}");
    assert_eq!((&*fault.scene.backtrace[0], &*fault.scene.backtrace[1]), ("fastest::weigh", "fastest::plan"));
    assert_eq!(fault.scene.memory, 5 * 65_536);
    assert!(fault.scene.elapsed > Duration::ZERO);
    assert!(!fault.detail.contains("fastest") && !fault.detail.contains('\n'), "{fault}");
    assert_eq!(fault.plugin.digest.len(), 64);
}

#[test]
fn a_report_without_names_numbers_the_functions() {
    let fault = assert_fault(
        strategy(&Guest::strategy("guest").with("select", "unreachable")).select(&request()),
        "select",
        FaultCause::Trap,
    );
    assert!(fault.scene.backtrace[0].starts_with("function "), "{fault:?}");
}

#[test]
fn instances_know_nothing_of_each_other() {
    let counting = Guest::strategy("guest")
        .extra("(global $calls (mut i32) (i32.const 0))")
        .with("select", "(global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls)");
    let library = library(&[("guest.wasm", counting.build())]);
    let factory = library.strategy("guest", "").unwrap();
    let (mut one, mut two) = (factory.instance().unwrap(), factory.instance().unwrap());
    assert_eq!(one.select(&request()), Ok(Some(1)));
    assert_eq!(one.select(&request()), Ok(Some(2)));
    assert_eq!(two.select(&request()), Ok(Some(1)));
}

#[test]
fn a_hook_hears_and_its_error_is_a_refusal_that_it_survives() {
    // Errs on a batch of more than one event, and counts how often it was called.
    let hearing = Guest::hook("guest").with(
        "handle",
        "(i32.store8 (i32.const 32) (i32.gt_u (local.get 1) (i32.const 1)))
         (i32.store (i32.const 36) (i32.const 64)) (i32.store (i32.const 40) (i32.const 2))
         (i32.store16 (i32.const 64) (i32.const 0x6f6e)) (i32.const 32)",
    );
    let library = library(&[("guest.wasm", hearing.build())]);
    let mut hook = library.hook("guest", "{}").unwrap();
    assert!(hook.topics().is_empty());
    let event = Event { sequence: 1, at: NOW, topic: Topic::PoolEmpty, payload: "{}".into() };
    assert_eq!(hook.handle(std::slice::from_ref(&event)), Ok(()));
    let fault = assert_fault(hook.handle(&[event.clone(), event.clone()]), "handle", FaultCause::Refused);
    assert_eq!(&*fault.detail, "no");
    assert_eq!(hook.handle(&[event]), Ok(()));
}

/// Sleeps for an hour in the host, where no epoch reaches it.
fn sleeper() -> Guest {
    Guest::strategy("guest")
        .wasi()
        .import(r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe (param i64) (result i32)))"#)
        .import(r#"(import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))"#)
        .with("select", "(call $block (call $subscribe (i64.const 3600000000000))) (i32.const 1)")
        .with("observe", "(call $block (call $subscribe (i64.const 1000000))) (i32.const 1)")
}

#[test]
fn a_guest_that_sleeps_in_wasi_is_stopped_and_a_short_sleep_is_not() {
    let mut guest = strategy(&sleeper());
    let started = Instant::now();
    assert_fault(guest.select(&request()), "select", FaultCause::Deadline);
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(guest.observe(&[]), Ok(true));
}

#[test]
fn a_guest_with_wasi_may_be_called_inside_a_worker() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let called = tokio::spawn(async { strategy(&sleeper()).observe(&[]) });
        assert_eq!(called.await.unwrap(), Ok(true));
    });
}

#[test]
fn what_a_guest_prints_becomes_lines_of_its_log() {
    let printing = Guest::strategy("guest")
        .wasi()
        .import(r#"(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))"#)
        .import(r#"(import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-and-flush" (func $print (param i32 i32 i32 i32)))"#)
        .extra(r#"(data (i32.const 512) "out of cheese\n")"#)
        .with("select", "(call $print (call $stdout) (i32.const 512) (i32.const 14) (i32.const 32)) unreachable");
    let fault = assert_fault(strategy(&printing).select(&request()), "select", FaultCause::Trap);
    assert_eq!(&*fault.scene.log, ["out of cheese".into()]);
}

#[test]
fn equal_seeds_replay_a_run() {
    let drawing = Guest::strategy("guest")
        .import(r#"(import "proxywhirl:plugin/random@0.1.0" "next" (func $next (result i64)))"#)
        .with("select", "(i32.and (i32.wrap_i64 (call $next)) (i32.const 0x7fffffff))");
    let run = || {
        let mut guest = strategy(&drawing);
        [guest.select(&request()).unwrap(), guest.select(&request()).unwrap()]
    };
    let first = run();
    assert_eq!(first, run());
    assert_ne!(first[0], first[1]);
}
