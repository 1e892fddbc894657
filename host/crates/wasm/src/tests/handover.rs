//! What one version of a plugin hands over to the next.

use proxywhirl_core::plugin::{FaultCause, Request, Strategy};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::time::Timestamp;
use proxywhirl_guests::{Guest, LOOP};

use super::library;

/// A strategy that counts its calls of `select`, and hands the number over.
fn counting() -> Guest {
    Guest::strategy("guest")
        .handover()
        .extra("(global $calls (mut i32) (i32.const 0))")
        .with("select", "(global.set $calls (i32.add (global.get $calls) (i32.const 1))) (global.get $calls)")
        .with(
            "save",
            "(i32.store (i32.const 64) (global.get $calls)) (i32.store (i32.const 32) (i32.const 64))
             (i32.store (i32.const 36) (select (i32.const 4) (i32.const 0) (global.get $calls))) (i32.const 32)",
        )
        .with("restore", "(global.set $calls (i32.load (local.get 0))) (i32.const 16)")
}

fn strategy(guest: &Guest) -> Box<dyn Strategy> {
    library(&[("guest.wasm", guest.build())]).strategy("guest", "").unwrap().instance().unwrap()
}

fn select(strategy: &mut dyn Strategy) -> u32 {
    let now = Timestamp::from_micros(1);
    let request = Request { view: 0, site: Symbol::NONE, session: 0, attempt: 1, now, seed: 0 };
    strategy.select(&request).unwrap().unwrap()
}

#[test]
fn a_successor_goes_on_where_its_predecessor_stopped() {
    let (mut old, mut new) = (strategy(&counting()), strategy(&counting()));
    assert_eq!(old.save().unwrap(), None, "nothing was learned yet");
    assert_eq!((select(&mut *old), select(&mut *old)), (1, 2));
    let state = old.save().unwrap().unwrap();
    assert_eq!(state, 2_u32.to_le_bytes());
    assert_eq!(select(&mut *old), 3, "a successor that does not start leaves it in force");
    assert_eq!(new.restore(&state), Ok(true));
    assert_eq!(select(&mut *new), 3);
}

#[test]
fn a_plugin_without_a_handover_begins_anew() {
    let mut plain = strategy(&Guest::strategy("guest"));
    assert_eq!((plain.save().unwrap(), plain.restore(b"state")), (None, Ok(false)));
}

#[test]
fn a_hook_hands_over_too_and_takes_over_before_it_is_asked_anything() {
    // Traps when it was asked for its topics before.
    let guest = Guest::hook("guest")
        .handover()
        .extra("(global $asked (mut i32) (i32.const 0))")
        .with("topics", "(global.set $asked (i32.const 1)) (i32.const 16)")
        .with("restore", "(if (global.get $asked) (then unreachable)) (i32.const 16)");
    let mut hook = library(&[("guest.wasm", guest.build())]).hook("guest", "").unwrap();
    assert_eq!(hook.restore(b"state"), Ok(true));
}

#[test]
fn what_goes_wrong_in_a_handover_is_a_fault_and_the_next_call_runs_on_a_fresh_instance() {
    // A state of five mebibytes, and a refusal in the guest's words.
    let huge = "(drop (memory.grow (i32.const 100))) (i32.store (i32.const 32) (i32.const 0))
                (i32.store (i32.const 36) (i32.const 5242880)) (i32.const 32)";
    let no = "(i32.store8 (i32.const 32) (i32.const 1)) (i32.store (i32.const 36) (i32.const 64))
              (i32.store (i32.const 40) (i32.const 2)) (i32.store16 (i32.const 64) (i32.const 0x6f6e)) (i32.const 32)";
    for (save, cause) in
        [(LOOP, FaultCause::Deadline), ("unreachable", FaultCause::Trap), (huge, FaultCause::InvalidAnswer)]
    {
        let mut guest = strategy(&counting().with("save", save));
        select(&mut *guest);
        let fault = guest.save().unwrap_err();
        assert_eq!((fault.export, fault.cause), ("save", cause), "{fault}");
        assert_eq!(select(&mut *guest), 1);
    }
    for (restore, cause) in [(LOOP, FaultCause::Deadline), ("unreachable", FaultCause::Trap), (no, FaultCause::Refused)]
    {
        let mut guest = strategy(&counting().with("restore", restore));
        let fault = guest.restore(b"abcd").unwrap_err();
        assert_eq!((fault.export, fault.cause), ("restore", cause), "{fault}");
        assert_eq!(select(&mut *guest), 1);
    }
    let mut guest = strategy(&counting());
    assert_eq!(guest.restore(&vec![0; 4 * 1024 * 1024 + 1]).unwrap_err().cause, FaultCause::Refused);
}
