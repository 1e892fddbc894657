//! Every way in which a component can be hostile, in every export, and what is left of it afterwards.

use proxywhirl_core::endpoint::Scheme;
use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::plugin::{Document, FaultCause, PluginFault, PluginKind, Request, View};
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::time::Timestamp;
use proxywhirl_guests::{BOMB, Guest, LOOP};

use super::library;
use crate::manifest::Manifest;
use crate::{PluginError, Plugins};

const NOW: Timestamp = Timestamp::from_micros(1);

/// Calls itself without end.
const DEEP: &str = "(func $down (param i32) (result i32) (i32.add (i32.const 1) (call $down (local.get 0))))";

/// What may be in an export: a name, the body of the function, and what it is a fault of.
const ATTACKS: [(&str, &str, FaultCause); 4] = [
    ("loop", LOOP, FaultCause::Deadline),
    ("bomb", BOMB, FaultCause::Memory),
    ("stack", "(drop (call $down (i32.const 1))) unreachable", FaultCause::Trap),
    ("trap", "(drop (i32.div_u (i32.const 1) (i32.const 0))) unreachable", FaultCause::Trap),
];

/// Calls an export, whatever it takes to get there. None when the plugin does not even load.
fn call(library: &Plugins, kind: PluginKind, export: &str) -> Option<Result<(), PluginFault>> {
    if library.info("guest").is_none_or(|info| info.problem.is_some()) {
        return None;
    }
    let start = |error: PluginError| match error {
        PluginError::Fault(fault) => fault,
        error @ (PluginError::Unknown { .. } | PluginError::Options(_)) => panic!("{error}"),
    };
    Some(match kind {
        PluginKind::Strategy => library.strategy("guest", "").map_err(start).and_then(|factory| {
            let mut it = factory.instance()?;
            match export {
                "apply" => it.apply(1, true, &[], &[]),
                "observe" => it.observe(&[]).map(drop),
                "make-plan" => it.plan(&View::default(), NOW, 1).map(drop),
                "select" => {
                    let request = Request { view: 0, site: Symbol::NONE, session: 0, attempt: 1, now: NOW, seed: 0 };
                    it.select(&request).map(drop)
                }
                "save" => it.save().map(drop),
                "restore" => it.restore(b"state").map(drop),
                _ => Ok(()),
            }
        }),
        PluginKind::Parser => {
            let document = Document {
                url: "-".to_owned(),
                content_type: String::new(),
                body: b"x".as_slice().into(),
                options: "{}".to_owned(),
                default_scheme: Scheme::Http,
            };
            let parser = library.parser("guest").unwrap();
            if export == "sniff" { parser.sniff(&document).map(drop) } else { parser.parse(&document).map(drop) }
        }
        PluginKind::Hook => library.hook("guest", "").map_err(start).and_then(|mut it| match export {
            "handle" => it.handle(&[Event { sequence: 1, at: NOW, topic: Topic::PoolEmpty, payload: "{}".into() }]),
            "save" => it.save().map(drop),
            "restore" => it.restore(b"state").map(drop),
            _ => Ok(()),
        }),
    })
}

fn guest(kind: PluginKind) -> Guest {
    match kind {
        PluginKind::Strategy => Guest::strategy("guest").handover(),
        PluginKind::Parser => Guest::parser("guest"),
        PluginKind::Hook => Guest::hook("guest").handover(),
    }
}

/// Every export, by kind.
const EXPORTS: [(PluginKind, &[&str]); 3] = [
    (PluginKind::Strategy, &["describe", "configure", "apply", "observe", "make-plan", "select", "save", "restore"]),
    (PluginKind::Parser, &["describe", "sniff", "parse"]),
    (PluginKind::Hook, &["describe", "configure", "topics", "handle", "save", "restore"]),
];

#[test]
fn every_attack_in_every_export_is_a_fault_with_its_cause() {
    for (kind, exports) in EXPORTS {
        for export in exports {
            for (attack, body, cause) in ATTACKS {
                let what = format!("{attack} in {export} of a {kind}");
                let component = guest(kind).extra(DEEP).with(export, body).build();
                let library = library(&[("guest.wasm", component)]);
                match call(&library, kind, export) {
                    None => {
                        assert_eq!(*export, "describe", "{what}");
                        let reason = &library.problems()[0].reason;
                        assert!(reason.starts_with(&format!("{} in describe", cause.as_str())), "{what}: {reason}");
                    }
                    Some(answer) => {
                        let fault = answer.expect_err(&what);
                        assert_eq!((fault.export, fault.cause), (*export, cause), "{what}: {fault}");
                        assert!(!fault.detail.is_empty() && !fault.detail.contains('\n'), "{what}: {fault:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_start_function_cannot_do_more_than_an_export() {
    for (attack, body, cause) in ATTACKS {
        let start = format!("{DEEP} (func $begin {body}) (start $begin)");
        let library = library(&[("guest.wasm", Guest::strategy("guest").extra(&start).build())]);
        let reason = library.problems()[0].reason.clone();
        // A trap says nothing more than that it was one.
        let cause = if cause == FaultCause::Trap { FaultCause::Instantiate } else { cause };
        assert!(reason.starts_with(&format!("{} in instantiate", cause.as_str())), "{attack}: {reason}");
    }
}

#[test]
fn a_result_as_large_as_the_memory_is_refused_before_it_is_copied() {
    // Each list says that it has sixty million elements, of memory that is not there.
    let list =
        "(i32.store (i32.const 32) (i32.const 65536)) (i32.store (i32.const 36) (i32.const 60000000)) (i32.const 32)";
    let parsed = format!(
        "(i32.store8 (i32.const 28) (i32.const 0)) (drop (memory.grow (i32.const 60))) {list} (drop) (i32.const 28)"
    );
    for (kind, export, body) in [
        (PluginKind::Strategy, "make-plan", list),
        (PluginKind::Strategy, "save", list),
        (PluginKind::Parser, "parse", &parsed),
        (PluginKind::Hook, "topics", list),
    ] {
        let library = library(&[("guest.wasm", guest(kind).with(export, body).build())]);
        let fault = call(&library, kind, export).unwrap().unwrap_err();
        assert_eq!((fault.export, fault.cause), (export, FaultCause::InvalidAnswer), "{fault}");
    }
}

#[test]
fn an_import_that_its_world_has_not_is_named_with_what_to_do() {
    for (guest, import, hint) in [
        (Guest::strategy("guest").contract("0.2.0"), "0.2.0", "update the host"),
        (Guest::strategy("guest").contract("0.0.7"), "0.0.7", "update the plugin"),
    ] {
        let library = library(&[("guest.wasm", guest.build())]);
        let problem = &library.problems()[0];
        assert!(problem.reason.contains(import) && problem.reason.contains("0.1.0"), "{problem}");
        assert!(problem.hint.starts_with(hint), "{}", problem.hint);
    }
}

/// A component by hand, whose interfaces are what they are called and nothing of what they should be.
fn impostor(imports: &str) -> Vec<u8> {
    let mut component = wat::parse_str(format!(
        "(component {imports} (instance $empty)
            (export \"proxywhirl:plugin/about@0.1.0\" (instance $empty))
            (export \"proxywhirl:plugin/strategy@0.1.0\" (instance $empty)))"
    ))
    .unwrap();
    let manifest = Manifest {
        name: "guest".to_owned(),
        version: "1.0.0".to_owned(),
        kind: "strategy".to_owned(),
        contract: "0.1.0".to_owned(),
        summary: String::new(),
        options_schema: "{}".to_owned(),
        capabilities: Vec::new(),
        sources: String::new(),
    };
    manifest.append_to(&mut component).unwrap();
    component
}

#[test]
fn interfaces_of_other_types_than_the_contracts_are_a_fault_that_says_what_to_do() {
    let shout = r#"(import "proxywhirl:plugin/log@0.1.0" (instance (export "shout" (func))))"#;
    let wrong = r#"(import "proxywhirl:plugin/log@0.1.0" (instance (export "write" (func (param "a" u64)))))"#;
    for (imports, says) in [("", "rebuild the plugin with the SDK"), (shout, "shout"), (wrong, "write")] {
        let library = library(&[("guest.wasm", impostor(imports))]);
        let Err(PluginError::Fault(fault)) = library.strategy("guest", "") else { panic!("a fault was expected") };
        assert_eq!(fault.cause, FaultCause::Instantiate, "{fault}");
        assert!(fault.detail.contains(says) && fault.detail.contains("0.1.0"), "{fault}");
        assert!(fault.detail.contains("rebuild the plugin"), "{fault}");
    }
}

/// Pages of memory that the process has resident.
#[cfg(target_os = "linux")]
fn resident() -> i64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_thousand_faults_leave_no_memory_behind() {
    // Each instance writes to all of six mebibytes before it traps.
    let greedy = Guest::strategy("guest").with(
        "select",
        "(local $at i32) (drop (memory.grow (i32.const 96)))
         (local.set $at (i32.const 65536))
         (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $at) (i32.const 6291456)))
            (i32.store (local.get $at) (i32.const 1))
            (local.set $at (i32.add (local.get $at) (i32.const 4096)))
            (br $next)))
         unreachable",
    );
    let library = library(&[("guest.wasm", greedy.build())]);
    let mut strategy = library.strategy("guest", "").unwrap().instance().unwrap();
    let request = Request { view: 0, site: Symbol::NONE, session: 0, attempt: 1, now: NOW, seed: 0 };
    let mut faults = |count: usize| (0..count).for_each(|_| assert!(strategy.select(&request).is_err()));
    faults(50);
    let before = resident();
    faults(1_000);
    // Other tests run at the same time: 1,000 instances would be six gigabytes, so this leaves room for them.
    let grown = (resident() - before) * 4_096;
    assert!(grown < 600 * 1024 * 1024, "{grown} bytes");
    assert_eq!(library.memory("guest"), Some(0), "no instance is left after a fault");
}
