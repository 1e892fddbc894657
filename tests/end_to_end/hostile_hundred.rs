//! A hundred hostile components at a thousand requests a second: every request is answered, resident memory stays flat,
//! and each component is reported with what it did.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use proxywhirl_guests::{BOMB, Guest, LOOP};
use proxywhirl_tests::{Load, Served, file, folder, proxywhirl, run};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

/// Requests a second that the clients send, if the machine manages.
const RATE: u32 = 1_000;

/// What the server's memory may grow by while the components come and go: allocators keep pages, and the compiled code
/// of some fifty components that were loaded stays mapped. One leaked instance of each bomb would be gigabytes.
const GROWTH: u64 = 96 * 1024 * 1024;

/// Calls itself until the stack is used up.
const DEEP: &str = "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))";
const DIVE: &str = "(call $deep (i32.const 0))";

/// A component, and the words of which one must be in its report.
struct Hostile {
    name: String,
    bytes: Vec<u8>,
    causes: &'static [&'static str],
}

impl Hostile {
    fn new(
        name: String,
        guest: impl FnOnce(Guest) -> Guest,
        kind: fn(&str) -> Guest,
        causes: &'static [&'static str],
    ) -> Self {
        let bytes = guest(kind(&name)).build();
        Self { name, bytes, causes }
    }
}

/// How to misbehave in a function whose result is this: the body, what else the module needs, and the cause.
fn misdeeds(returns: bool) -> [(&'static str, String, &'static str, &'static [&'static str]); 4] {
    let dive = if returns { DIVE.to_owned() } else { format!("(drop {DIVE})") };
    [
        ("loops", LOOP.to_owned(), "", &["deadline"]),
        ("bombs", BOMB.to_owned(), "", &["memory"]),
        ("traps", "unreachable".to_owned(), "", &["trap"]),
        ("dives", dive, DEEP, &["trap"]),
    ]
}

fn in_every_export(kind: fn(&str) -> Guest, exports: &[(&str, bool)], prefix: &str) -> Vec<Hostile> {
    let mut all = Vec::new();
    for (export, returns) in exports {
        for (deed, body, extra, causes) in misdeeds(*returns) {
            let name = format!("{prefix}-{deed}-in-{export}");
            // Somebody for `select` to name, so that a strategy that is at peace in a call serves.
            let peaceful =
                |guest: Guest| if prefix == "strategy" { guest.with("select", "i32.const 0") } else { guest };
            all.push(Hostile::new(name, |guest| peaceful(guest).with(export, &body).extra(extra), kind, causes));
        }
    }
    all
}

/// The body of `make-plan`: one tier, by a mode, of so many members of which the first has a weight.
fn plan(mode: u8, members: u32, slot: u32, weight: &str) -> String {
    format!(
        "(i32.store (i32.const 32) (i32.const 64)) (i32.store (i32.const 36) (i32.const 1))
         (i32.store8 (i32.const 64) (i32.const {mode})) (i32.store8 (i32.const 68) (i32.const 1))
         (i32.store (i32.const 72) (i32.const 128)) (i32.store (i32.const 76) (i32.const {members}))
         (i32.store (i32.const 128) (i32.const {slot})) (f32.store (i32.const 132) (f32.const {weight}))
         (i32.const 32)"
    )
}

fn strategies() -> Vec<Hostile> {
    let exports = [("configure", true), ("apply", false), ("observe", true), ("make-plan", true), ("select", true)];
    let mut all = in_every_export(Guest::strategy, &exports, "strategy");
    for (name, body) in [
        ("nan", plan(1, 1, 0, "nan")),
        ("negative", plan(1, 1, 0, "-1")),
        ("stranger", plan(1, 1, 4_711, "1")),
        ("mode", plan(99, 1, 0, "1")),
        ("huge", plan(1, 0x0fff_ffff, 0, "1")),
        ("outside", "(i32.const -4)".to_owned()),
    ] {
        let name = format!("strategy-plans-{name}");
        all.push(Hostile::new(name, |guest| guest.with("make-plan", &body), Guest::strategy, &["invalid-answer"]));
    }
    all.push(Hostile::new(
        "strategy-selects-a-stranger".to_owned(),
        |guest| guest.with("select", "i32.const 4711"),
        Guest::strategy,
        &["invalid-answer"],
    ));
    for (name, extra) in [
        ("loops", "(func $begin (loop $again (br $again))) (start $begin)"),
        ("traps", "(func $begin unreachable) (start $begin)"),
    ] {
        let name = format!("strategy-{name}-at-start");
        all.push(Hostile::new(name, |guest| guest.extra(extra), Guest::strategy, &["deadline", "trap", "instantiate"]));
    }
    all.push(Hostile::new("strategy-of-tomorrow".to_owned(), |g| g.contract("0.9.0"), Guest::strategy, &["0.9.0"]));
    all
}

/// A component that is cut off after every kilobyte, up to so many pieces.
fn cut_off(whole: &[u8]) -> Vec<Hostile> {
    let lengths = (1..).map(|kilobytes| kilobytes * 1024).take_while(|length| *length < whole.len()).take(60);
    lengths
        .map(|length| Hostile {
            name: format!("cut-at-{length}"),
            bytes: whole[..length].to_vec(),
            causes: &["ends in the middle", "component", "WebAssembly", "unexpected", "malformed"],
        })
        .collect()
}

fn bundled(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    fs::read(folder.join(format!("{name}.wasm"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_hostile_components_hurt_no_request() {
    let upstreams = (0..3).map(|_| UpstreamOptions::new(Protocol::Http)).collect();
    let world = World::start(WorldPlan::new(upstreams)).await.unwrap();
    let folder = folder();
    let list = file(&folder, "list", world.proxies().join("\n"));
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let strategies = strategies();
    let hooks = in_every_export(Guest::hook, &[("configure", true), ("topics", true), ("handle", true)], "hook");
    let parsers = in_every_export(Guest::parser, &[("sniff", true), ("parse", true)], "parser");
    let cut = cut_off(&bundled("html-table"));
    for hostile in strategies.iter().chain(&hooks).chain(&parsers).chain(&cut) {
        fs::write(plugins.join(format!("{}.wasm", hostile.name)), &hostile.bytes).unwrap();
    }
    let count = strategies.len() + hooks.len() + parsers.len() + cut.len();
    assert!(count >= 100, "only {count} components");

    let control = folder.path().join("control");
    fs::DirBuilder::new().mode(0o700).create(&control).unwrap();
    let socket = control.join("control.sock").to_string_lossy().into_owned();
    let directory = plugins.to_string_lossy().into_owned();
    // A hook that cannot be started would be refused: those that begin well are in force from the start.
    let heard: Vec<&Hostile> = hooks.iter().filter(|hook| hook.name.ends_with("handle")).collect();
    let config: String = heard.iter().map(|hook| format!("[[hooks]]\nname = {:?}\n", hook.name)).collect();
    let config = file(&folder, "proxywhirl.toml", config);
    let served =
        Served::start(["--config", &config, "--proxies", &list, "--plugins", &directory, "--control", &socket]);
    let load = Load::start(&served.address, &world.origin().http_url("/"), 4, RATE);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let before = served.resident();
    let reports = try_all(strategies.iter().chain(&cut), &served, &socket);
    let set = run(&mut proxywhirl(["strategy", "set", "round-robin", "--control", &socket]));
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let after = served.resident();
    let loaded = load.stop();
    println!(
        "{count} components, {} requests at {:.0} a second, {} answered",
        loaded.sent,
        loaded.rate(),
        loaded.answered
    );
    println!("resident memory: {} MB before, {} MB after", before >> 20, after >> 20);
    assert_eq!(loaded.answered, loaded.sent, "{:?}\n{}", loaded.failures, served.log());
    assert!(after < before + GROWTH, "resident memory grew from {before} to {after} bytes");

    let log = served.log();
    for hostile in strategies.iter().chain(heard).chain(&cut) {
        let told: String = log.lines().filter(|line| line.contains(&hostile.name)).collect();
        let told = told + reports.get(&hostile.name).map_or("", String::as_str);
        assert!(
            hostile.causes.iter().any(|cause| told.contains(cause)),
            "{}: {:?}: {told}",
            hostile.name,
            hostile.causes
        );
    }
    // What no server runs, the doctor finds; and parsers are met by whoever reads a list.
    let hooks: Vec<Hostile> = hooks.into_iter().filter(|hook| !hook.name.ends_with("handle")).collect();
    are_found_by_the_doctor(&hooks, &directory);
    are_found_by_readers(&parsers, &list, &directory);
}

/// Puts each in force, one after the other; what the command said of each.
fn try_all<'h>(
    strategies: impl Iterator<Item = &'h Hostile>,
    served: &Served,
    socket: &str,
) -> BTreeMap<&'h String, String> {
    let mut reports = BTreeMap::new();
    for strategy in strategies {
        let set = run(&mut proxywhirl(["strategy", "set", &strategy.name, "--control", socket]));
        reports.insert(&strategy.name, set.stderr + &set.stdout);
        if set.code == Some(0) {
            // It began well. What it does wrong, it does when requests come or when it hears how they went.
            let told = || served.log().lines().any(|line| line.contains("fault") && line.contains(&strategy.name));
            proxywhirl_tests::wait_until(&format!("the fault of {}", strategy.name), told);
        }
    }
    reports
}

fn are_found_by_readers(parsers: &[Hostile], list: &str, directory: &str) {
    let sniffed = run(&mut proxywhirl(["fetch", list, "--plugins", directory]));
    assert_eq!(sniffed.code, Some(0), "{}", sniffed.stderr);
    for parser in parsers {
        let told = if parser.name.ends_with("sniff") {
            sniffed.stderr.clone()
        } else {
            run(&mut proxywhirl(["fetch", list, "--plugins", directory, "--parser", &parser.name])).stderr
        };
        let line = told.lines().find(|line| line.contains(&parser.name)).unwrap_or_default();
        assert!(parser.causes.iter().any(|cause| line.contains(cause)), "{}: {told}", parser.name);
    }
}

fn are_found_by_the_doctor(all: &[Hostile], directory: &str) {
    let doctor = run(&mut proxywhirl(["plugin", "doctor", "--plugins", directory, "--json", "--offline"]));
    let report: Value = serde_json::from_str(&doctor.stdout).unwrap_or_else(|error| panic!("{error}: {doctor:?}"));
    for hostile in all {
        let told = report["plugins"].as_array().unwrap().iter().find(|row| row["name"] == hostile.name.as_str());
        let told = told.unwrap_or_else(|| panic!("{} is not in {report}", hostile.name)).to_string();
        assert!(hostile.causes.iter().any(|cause| told.contains(cause)), "{}: {told}", hostile.name);
    }
}
