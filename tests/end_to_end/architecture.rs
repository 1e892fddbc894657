//! The arrows between packages, as `host/docs/architecture.md` §3 draws them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use proxywhirl_tests::run;
use serde_json::Value;

/// What cargo knows of the workspace and of all that this platform's build takes: the rest need not have been downloaded.
fn metadata() -> Value {
    let version = run(Command::new(env!("CARGO")).args(["--version", "--verbose"])).stdout;
    let platform = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let ran = run(Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest])
        .args(["--filter-platform", platform]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The normal dependencies of each package.
fn arrows(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap();
            let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
            let names = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

#[test]
fn packages_depend_on_each_other_only_as_the_architecture_says() {
    let allowed: BTreeMap<&str, &[&str]> = [
        ("proxywhirl-core", &[][..]),
        ("proxywhirl-net", &["proxywhirl-core"]),
        ("proxywhirl-store", &["proxywhirl-core"]),
        ("proxywhirl-wasm", &["proxywhirl-core"]),
        ("proxywhirl-workbench", &["proxywhirl-core", "proxywhirl-wasm"]),
        ("proxywhirl-engine", &["proxywhirl-core", "proxywhirl-net"]),
        ("proxywhirl-browser", &["proxywhirl-core", "proxywhirl-engine"]),
        ("proxywhirl-gateway", &["proxywhirl-core", "proxywhirl-engine", "proxywhirl-net"]),
        (
            "proxywhirl",
            &[
                "proxywhirl-browser",
                "proxywhirl-core",
                "proxywhirl-engine",
                "proxywhirl-gateway",
                "proxywhirl-net",
                "proxywhirl-store",
                "proxywhirl-wasm",
                "proxywhirl-workbench",
                "proxywhirl-world",
            ],
        ),
        ("proxywhirl-plugin-sdk", &[]),
        ("proxywhirl-world", &[]),
        ("proxywhirl-guests", &[]),
        ("proxywhirl-tests", &["proxywhirl-world"]),
    ]
    .into();
    let arrows = arrows(&metadata());
    let ours: BTreeSet<&str> =
        arrows.keys().map(String::as_str).filter(|name| name.starts_with("proxywhirl")).collect();
    assert_eq!(ours, allowed.keys().copied().collect());
    for (package, allowed) in allowed {
        let drawn: Vec<&str> =
            arrows[package].iter().map(String::as_str).filter(|name| name.starts_with("proxywhirl")).collect();
        for arrow in &drawn {
            assert!(allowed.contains(arrow), "{package} depends on {arrow}, which the architecture does not allow");
        }
    }
}

#[test]
fn one_crate_runs_webassembly_one_speaks_to_databases_and_one_drives_a_browser() {
    let arrows = arrows(&metadata());
    let users = |dependency: &str| -> Vec<&str> {
        let ours = arrows.iter().filter(|(name, _)| name.starts_with("proxywhirl"));
        ours.filter(|(_, names)| names.contains(dependency)).map(|(name, _)| name.as_str()).collect()
    };
    assert_eq!(users("wasmtime"), ["proxywhirl-wasm"]);
    assert_eq!(users("wasmtime-wasi"), ["proxywhirl-wasm"]);
    assert_eq!(users("rusqlite"), ["proxywhirl-store"]);
    assert_eq!(users("redis"), ["proxywhirl-store"]);
    assert_eq!(users("chromiumoxide"), ["proxywhirl-browser"]);
}

#[test]
fn the_core_has_no_runtime_no_sockets_and_no_randomness() {
    let arrows = arrows(&metadata());
    for forbidden in ["tokio", "fastrand", "rand", "reqwest", "hyper", "socket2", "tracing"] {
        assert!(!arrows["proxywhirl-core"].contains(forbidden), "the core depends on {forbidden}");
    }
}

#[test]
fn every_dependency_has_a_licence_that_we_may_ship() {
    let allowed = [
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Unicode-3.0",
        "Zlib",
        "CC0-1.0",
        "MIT-0",
        "CDLA-Permissive-2.0",
        "0BSD",
        "BSL-1.0",
        "Unlicense",
    ];
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
        // One alternative is enough, and all parts of it are needed; an exception only adds rights.
        let is_free = licence.split(" OR ").any(|alternative| {
            alternative.split(" AND ").all(|part| {
                let part = part.trim_matches(['(', ')', ' ']).split(" WITH ").next().unwrap_or_default();
                allowed.contains(&part)
            })
        });
        assert!(is_free, "{} has the licence {licence:?}", package["name"]);
    }
}
