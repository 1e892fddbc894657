//! Plugins that misbehave in every way that the limits are for. Whatever a plugin does, every request is answered, and
//! the log says which plugin, which call, which limit.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use proxywhirl_guests::{BOMB, Guest, LOOP};
use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use tempfile::TempDir;

const REQUESTS: usize = 60;
const UPSTREAMS: usize = 3;

async fn world() -> World {
    let upstreams = (0..UPSTREAMS).map(|_| UpstreamOptions::new(Protocol::Http)).collect();
    World::start(WorldPlan::new(upstreams)).await.unwrap()
}

/// A folder with a plugin in `plugins/NAME.wasm`.
fn with_plugin(name: &str, component: &[u8]) -> (TempDir, String) {
    let folder = folder();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::write(plugins.join(format!("{name}.wasm")), component).unwrap();
    let plugins = plugins.to_string_lossy().into_owned();
    (folder, plugins)
}

/// Sends requests one after the other; how many were answered.
fn requests(folder: &TempDir, served: &Served, url: &str) -> usize {
    let config = (0..REQUESTS).fold(String::new(), |mut text, _| {
        let proxy = served.proxy("http");
        writeln!(
            text,
            "url = \"{url}\"\nproxy = \"{proxy}\"\noutput = \"/dev/null\"\nwrite-out = \"%{{http_code}}\\n\""
        )
        .unwrap();
        text
    });
    let ran = curl(["--config", &file(folder, "curl", config)]);
    ran.stdout.lines().filter(|line| *line == "200").count()
}

/// Serves under a strategy: every request is answered, by everybody in turn, and the log holds these texts.
async fn is_survived(name: &str, component: &[u8], told: &[&str]) {
    let world = world().await;
    let (folder, plugins) = with_plugin(name, component);
    let list = file(&folder, "list", world.proxies().join("\n"));
    let served = Served::start(["--proxies", &list, "--plugins", &plugins, "--strategy", name]);
    let answered = requests(&folder, &served, &world.origin().http_url("/"));
    assert_eq!(answered, REQUESTS, "{}", served.log());
    for upstream in world.upstreams() {
        assert_eq!(upstream.counters().requests() as usize, REQUESTS / UPSTREAMS, "{}", served.log());
    }
    let line = served.log().lines().find(|line| line.contains("plugin fault")).unwrap_or_default().to_owned();
    for text in told.iter().copied().chain([name]) {
        assert!(line.contains(text), "no {text:?} in the line of the fault: {line:?}\n{}", served.log());
    }
    assert_eq!(served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_plans_for_ever() {
    let guest = Guest::strategy("endless").with("make-plan", LOOP);
    is_survived("endless", &guest.build(), &["make-plan", "deadline", "ran longer than 1s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_hears_for_ever() {
    let guest = Guest::strategy("endless").with("apply", LOOP);
    is_survived("endless", &guest.build(), &["apply", "deadline", "ran longer than 1s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_selects_for_ever() {
    let guest = Guest::strategy("endless").with("select", LOOP);
    is_survived("endless", &guest.build(), &["select", "deadline", "ran longer than 10ms"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_is_configured_for_ever() {
    let guest = Guest::strategy("endless").with("configure", LOOP);
    is_survived("endless", &guest.build(), &["configure", "deadline", "ran longer than 1s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_starts_for_ever() {
    let guest = Guest::strategy("endless").extra("(func $forever (loop $again (br $again))) (start $forever)");
    is_survived("endless", &guest.build(), &["instantiate", "deadline", "ran longer than 1s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_takes_all_memory() {
    for export in ["make-plan", "select"] {
        let guest = Guest::strategy("greedy").with(export, BOMB);
        // 64 MiB, and 256 bytes for each of three proxies.
        is_survived("greedy", &guest.build(), &[export, "memory", "the limit is 67109632"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_traps() {
    for export in ["make-plan", "select", "apply", "configure"] {
        let guest = Guest::strategy("clumsy").with(export, "unreachable");
        is_survived("clumsy", &guest.build(), &[export, "trap", "unreachable"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_names_a_slot_that_nobody_has() {
    let guest = Guest::strategy("liar").with("select", "i32.const 4711");
    is_survived("liar", &guest.build(), &["select", "invalid-answer", "4711"]).await;
}

/// The body of `make-plan`: one tier, by a mode, of one member with a weight.
fn plan(mode: u8, slot: u32, weight: &str) -> String {
    format!(
        "(i32.store (i32.const 32) (i32.const 64)) (i32.store (i32.const 36) (i32.const 1))
         (i32.store8 (i32.const 64) (i32.const {mode})) (i32.store8 (i32.const 68) (i32.const 1))
         (i32.store (i32.const 72) (i32.const 96)) (i32.store (i32.const 76) (i32.const 1))
         (i32.store (i32.const 96) (i32.const {slot})) (f32.store (i32.const 100) (f32.const {weight}))
         (i32.const 32)"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_whose_plan_is_nonsense() {
    for (body, told) in [
        (plan(1, 0, "nan"), "weight"),
        (plan(1, 0, "-1"), "weight"),
        (plan(1, 4_711, "1"), "4711"),
        (plan(99, 0, "1"), "invalid"),
        ("(i32.const -4)".to_owned(), "invalid-answer"),
    ] {
        let guest = Guest::strategy("liar").with("make-plan", &body);
        is_survived("liar", &guest.build(), &["plan", "invalid-answer", told]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_of_a_contract_that_is_not_known() {
    let guest = Guest::strategy("future").contract("0.9.0");
    is_survived("future", &guest.build(), &["0.9.0", "this host speaks version 0.1.0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_that_is_cut_off() {
    let whole = Guest::strategy("cut").build();
    is_survived("cut", &whole[..1_000], &["ends in the middle"]).await;
}

/// Fetches a list with a hostile parser beside the bundled ones.
fn fetched(guest: &Guest) -> proxywhirl_tests::Ran {
    let (folder, plugins) = with_plugin("hostile", &guest.build());
    let list = file(&folder, "list.txt", "http://192.0.2.1:8080\nhttp://192.0.2.2:8080\n");
    run(&mut proxywhirl(["fetch", &list, "--plugins", &plugins]))
}

#[test]
fn a_parser_that_fails_leaves_the_document_to_the_next() {
    let sure = || Guest::parser("hostile").with("sniff", "i32.const 100");
    for (guest, told) in [
        (sure().with("sniff", "unreachable"), "trap in sniff"),
        (sure().with("parse", "unreachable"), "trap in parse"),
        (sure().with("parse", BOMB), "memory in parse"),
        (sure().with("parse", "(i32.const -4)"), "invalid-answer in parse"),
        (sure().with("sniff", "i32.const 200"), "invalid-answer in sniff"),
    ] {
        let ran = fetched(&guest);
        assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 2), "{told}: {}", ran.stderr);
        assert!(ran.stderr.contains("plugin hostile 1.0.0") && ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
}

#[test]
fn a_parser_that_looks_for_ever_is_stopped() {
    let ran = fetched(&Guest::parser("hostile").with("sniff", LOOP));
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 2), "{}", ran.stderr);
    assert!(ran.stderr.contains("deadline in sniff: ran longer than"), "{}", ran.stderr);
}

#[test]
fn a_parser_that_one_asked_for_and_that_fails_is_a_clear_error() {
    let (folder, plugins) = with_plugin("hostile", &Guest::parser("hostile").with("parse", "unreachable").build());
    let list = file(&folder, "list.txt", "http://192.0.2.1:8080\n");
    let ran = run(&mut proxywhirl(["fetch", &list, "--plugins", &plugins, "--parser", "hostile"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""));
    let error = ran.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains("list.txt") && error.contains("plugin hostile 1.0.0: trap in parse"), "{}", ran.stderr);
}

/// Serves with a hostile hook that hears everything.
async fn is_not_slowed(guest: Guest, told: &[&str]) {
    let world = world().await;
    let (folder, plugins) = with_plugin("hostile", &guest.build());
    let list = file(&folder, "list", world.proxies().join("\n"));
    let config = file(&folder, "proxywhirl.toml", "[[hooks]]\nname = \"hostile\"\n");
    let served = Served::start(["--config", &config, "--proxies", &list, "--plugins", &plugins]);
    let start = Instant::now();
    let answered = requests(&folder, &served, &world.origin().http_url("/"));
    assert_eq!(answered, REQUESTS, "{}", served.log());
    // The hook has five seconds for each call: if a request waited for it, all of them took minutes.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    served.wait_for_log("plugin fault");
    let log = served.log();
    let line = log.lines().find(|line| line.contains("plugin fault")).unwrap_or_default();
    for text in told.iter().chain(&["hostile", "handle"]) {
        assert!(line.contains(text), "no {text:?} in {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hears_for_ever_slows_no_request() {
    is_not_slowed(Guest::hook("hostile").with("handle", LOOP), &["deadline", "ran longer than 5s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_traps_or_takes_all_memory_slows_no_request() {
    is_not_slowed(Guest::hook("hostile").with("handle", "unreachable"), &["trap"]).await;
    is_not_slowed(Guest::hook("hostile").with("handle", BOMB), &["memory", "the limit is 67108864"]).await;
}
