//! `proxywhirl plugin info`, `doctor`, `add`, `remove`, `lock`.

use std::fs;

use proxywhirl_guests::Guest;
use proxywhirl_tests::{Ran, folder, proxywhirl, run};
use serde_json::Value;
use tempfile::TempDir;

use super::control::Commanded;

/// Runs a command about the folder `plugins` in a folder.
fn plugin(folder: &TempDir, words: &[&str]) -> Ran {
    let words = [&["plugin"], words].concat();
    run(proxywhirl(words).env("PROXYWHIRL_PLUGINS", "plugins").current_dir(folder.path()))
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

const CLOCK: &str = "(import \"proxywhirl:plugin/clock@0.1.0\" \"now\" (func $now (result i64)))";

#[test]
fn a_plugin_is_added_locked_updated_and_removed() {
    let folder = folder();
    let put = |name: &str, guest: &Guest| fs::write(folder.path().join(name), guest.build()).unwrap();
    put("first.wasm", &Guest::hook("bell"));
    let ran = plugin(&folder, &["add", "first.wasm"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("added bell 1.0.0 as plugins/bell.wasm"), "{ran:?}");
    let info = json(&plugin(&folder, &["info", "bell", "--json"]));
    assert_eq!((&info["lock"], &info["kind"]), (&"locked".into(), &"hook".into()), "{info}");

    put("second.wasm", &Guest::hook("bell").import(CLOCK));
    let ran = plugin(&folder, &["add", "second.wasm"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("bell asks for more than was accepted: import proxywhirl:plugin/clock"), "{ran:?}");
    assert_eq!(json(&plugin(&folder, &["info", "bell", "--json"]))["sha256"], info["sha256"], "the first one stays");
    let ran = plugin(&folder, &["add", "second.wasm", "--accept"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let updated = json(&plugin(&folder, &["info", "bell", "--json"]));
    assert!(updated["sha256"] != info["sha256"] && updated["lock"] == "locked", "{updated}");

    let ran = plugin(&folder, &["remove", "bell"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "removed plugins/bell.wasm\n"));
    assert!(!folder.path().join("plugins/bell.wasm").exists());
    assert_eq!(plugin(&folder, &["remove", "bell"]).code, Some(2));
    let left: Vec<_> = fs::read_dir(folder.path().join("plugins")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["plugins.lock"]);
}

#[test]
fn what_is_no_plugin_or_does_not_start_is_not_added() {
    let folder = folder();
    fs::write(folder.path().join("notes.wasm"), "notes").unwrap();
    fs::write(folder.path().join("clumsy.wasm"), Guest::strategy("clumsy").with("configure", "unreachable").build())
        .unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (from, told) in [
        ("notes.wasm", "not WebAssembly"),
        ("clumsy.wasm", "trap in configure"),
        ("nowhere.wasm", "No such file"),
        ("empty", "no component (*.wasm)"),
        ("http://127.0.0.1:1/a.wasm", "http://127.0.0.1:1/a.wasm"),
    ] {
        let ran = plugin(&folder, &["add", from]);
        assert_eq!(ran.code, Some(3), "{from}: {ran:?}");
        assert!(ran.stderr.contains(told), "{from}: {ran:?}");
    }
    let added = fs::read_dir(folder.path().join("plugins")).map(Iterator::count).unwrap_or_default();
    assert_eq!(added, 0, "nothing is left behind");
}

#[test]
fn a_file_that_asks_for_more_than_the_lock_is_not_used() {
    let folder = folder();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    let file = folder.path().join("plugins/bell.wasm");
    fs::write(&file, Guest::hook("bell").build()).unwrap();
    assert_eq!(plugin(&folder, &["lock"]).code, Some(0));
    fs::write(&file, Guest::hook("bell").import(CLOCK).build()).unwrap();
    let ran = plugin(&folder, &["info", "bell", "--json"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let info = json(&ran);
    assert_eq!(info["lock"], "refused");
    assert_eq!(info["asks_more"], serde_json::json!(["import proxywhirl:plugin/clock"]));
    let listed = plugin(&folder, &["list"]);
    assert_eq!(listed.code, Some(3));
    assert!(listed.stdout.contains("NOT USABLE"), "{listed:?}");
}

#[test]
fn info_tells_what_a_plugin_is_and_takes() {
    let folder = folder();
    let ran = run(&mut proxywhirl(["plugin", "info", "weighted"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for text in
        ["weighted ", "a strategy", "contract", "proxywhirl:plugin@0.1.0", "limits", "on fault", "OPTION", "DEFAULT"]
    {
        assert!(ran.stdout.contains(text), "no {text:?} in {}", ran.stdout);
    }
    fs::create_dir(folder.path().join("plugins")).unwrap();
    let ran = plugin(&folder, &["info", "nobody"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("no plugin named nobody"), "{ran:?}");
}

#[test]
fn without_a_gateway_the_doctor_starts_every_plugin() {
    let folder = folder();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    let ran = plugin(&folder, &["doctor", "--offline", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report = json(&ran);
    let plugins = report["plugins"].as_array().unwrap();
    assert!(plugins.len() > 5 && plugins.iter().all(|row| row["started_ms"].is_u64()), "{report}");
    fs::write(
        folder.path().join("plugins/clumsy.wasm"),
        Guest::hook("clumsy").with("configure", "unreachable").build(),
    )
    .unwrap();
    let ran = plugin(&folder, &["doctor", "--offline"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("clumsy") && ran.stderr.contains("trap in configure"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_shows_backtrace_and_log_of_a_plugin_that_faults() {
    let folder = folder();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    // Says "ouch" at level error, then traps in a function with a name.
    let guest = Guest::strategy("clumsy")
        .import("(import \"proxywhirl:plugin/log@0.1.0\" \"write\" (func $log (param i32 i32 i32)))")
        .extra("(data (i32.const 8192) \"ouch\") (func $stumbles unreachable)")
        .with("make-plan", "(call $log (i32.const 4) (i32.const 8192) (i32.const 4)) (call $stumbles) (unreachable)");
    fs::write(plugins.join("clumsy.wasm"), guest.build()).unwrap();
    let gateway = Commanded::start_in(folder, &["--plugins", plugins.to_str().unwrap(), "--strategy", "clumsy"]).await;
    gateway.served.wait_for_log("plugin fault");
    assert_eq!(gateway.request().code, Some(0), "the fallback serves");
    let ran = gateway.command(&["plugin", "doctor"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    for text in ["clumsy 1.0.0: trap in make-plan", "backtrace:", "stumbles", "log:", "ouch", "of memory"] {
        assert!(ran.stdout.contains(text), "no {text:?} in {}\n{}", ran.stdout, ran.stderr);
    }
    let rows = json(&gateway.command(&["plugin", "doctor", "--json"]));
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "clumsy").unwrap();
    assert!(row["status"]["faults"].as_u64() >= Some(1) && row["status"]["state"] != "active", "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_plugins_directory_there_is_nothing_to_develop_in() {
    let gateway = Commanded::start(&[]).await;
    let ran = gateway.command(&["plugin", "dev", ".", "--once"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("no plugins directory"), "{ran:?}");
}
