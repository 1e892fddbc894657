//! `proxywhirl plugin`.

use std::fs;

use proxywhirl_guests::Guest;
use proxywhirl_tests::{folder, proxywhirl, run};
use serde_json::Value;

use super::{json, run_in};

#[test]
fn the_bundled_plugins_are_listed() {
    let ran = run(&mut proxywhirl(["plugin", "list", "--json"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let rows = json(&ran);
    let names: Vec<(&str, &str)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["kind"].as_str().unwrap(), row["name"].as_str().unwrap()))
        .collect();
    for expected in [
        ("strategy", "round-robin"),
        ("strategy", "random"),
        ("strategy", "weighted"),
        ("parser", "text"),
        ("parser", "json"),
        ("parser", "csv"),
        ("parser", "html-table"),
        ("parser", "clash"),
        ("parser", "pac"),
        ("parser", "proxychains"),
        ("parser", "squid"),
        ("hook", "log-events"),
    ] {
        assert!(names.contains(&expected), "{expected:?} is not among {names:?}");
    }
    for row in rows.as_array().unwrap() {
        assert_eq!((&row["origin"], &row["problem"]), (&"bundled".into(), &Value::Null), "{row}");
        assert!(row["options_schema"].is_object() && row["sha256"].as_str().unwrap().len() == 64, "{row}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_and_keeps_no_other_from_loading() {
    let folder = folder();
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let good = Guest::strategy("mine").build();
    for (name, bytes) in [
        ("a-list.wasm", b"192.0.2.1:8080\n".to_vec()),
        ("core-module.wasm", Guest::strategy("core").module()),
        ("cut.wasm", good[..1_000].to_vec()),
        ("from-the-future.wasm", Guest::strategy("future").contract("0.9.0").build()),
        ("mine.wasm", good),
    ] {
        fs::write(plugins.join(name), bytes).unwrap();
    }
    let ran = run_in(&folder, &["plugin", "list", "--plugins", "plugins", "--json"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let rows = json(&ran);
    let rows = rows.as_array().unwrap();
    let told: Vec<String> = rows
        .iter()
        .filter(|row| !row["problem"].is_null())
        .map(|row| format!("{}\n  {}\n  {}", row["origin"], row["problem"], row["hint"]))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    "plugins/a-list.wasm"
      "not WebAssembly"
      "build it with `proxywhirl plugin build`, or see the documentation of your language's toolchain"
    "plugins/core-module.wasm"
      "a core WebAssembly module, not a component"
      "make a component of it: `proxywhirl plugin build` does for Rust, `wasm-tools component new` for others"
    "plugins/cut.wasm"
      "the file ends in the middle, after 1000 bytes"
      "copy or download it again"
    "plugins/from-the-future.wasm"
      "built for version 0.9.0 of the contract (strategy), but this host speaks version 0.1.0"
      "update the host: the plugin is newer"
    "#);
    let usable: Vec<&Value> = rows.iter().filter(|row| row["problem"].is_null()).map(|row| &row["name"]).collect();
    assert!(usable.contains(&&"mine".into()) && usable.contains(&&"round-robin".into()), "{usable:?}");
}

#[test]
fn a_file_replaces_the_bundled_plugin_of_its_name() {
    let folder = folder();
    fs::write(folder.path().join("mine.wasm"), Guest::strategy("round-robin").build()).unwrap();
    let ran = run_in(&folder, &["plugin", "list", "--plugins", ".", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rows = json(&ran);
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "round-robin").unwrap();
    assert_eq!((&row["overrides_bundled"], &row["version"]), (&true.into(), &"1.0.0".into()), "{row}");
    assert!(row["origin"].as_str().unwrap().ends_with("mine.wasm"), "{row}");
}
