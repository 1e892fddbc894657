//! The components in `plugins/dist` are what the sources say, and work. When `PROXYWHIRL_TEST_PLUGINS` names a
//! directory of components that were just built, it is those that are tried.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run};
use proxywhirl_wasm::build::source_digest;
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

/// The directory whose components are tried.
fn components() -> String {
    let directory = std::env::var_os("PROXYWHIRL_TEST_PLUGINS").map_or_else(|| plugins().join("dist"), PathBuf::from);
    directory.to_string_lossy().into_owned()
}

/// The crates of plugins, by name.
fn crates() -> BTreeMap<String, PathBuf> {
    let kinds = ["strategies", "parsers", "hooks"].map(|kind| fs::read_dir(plugins().join(kind)).unwrap());
    let folders = kinds.into_iter().flatten().map(|entry| entry.unwrap().path());
    folders.map(|folder| (folder.file_name().unwrap().to_string_lossy().into_owned(), folder)).collect()
}

/// What `plugin list` tells, by name.
fn listed(arguments: &[&str]) -> BTreeMap<String, Value> {
    let ran = run(proxywhirl(["plugin", "list", "--json"]).args(arguments));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    rows.into_iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row)).collect()
}

/// That there is a component of each crate and no other, each built from the crate as it is now.
fn are_of_the_sources(rows: &BTreeMap<String, Value>) {
    let crates = crates();
    assert!(rows.keys().eq(crates.keys()), "crates: {:?}, components: {:?}", crates.keys(), rows.keys());
    let digest = |name: &String| source_digest(&crates[name]).unwrap();
    let stale: Vec<_> =
        rows.iter().filter(|(name, row)| row["sources"] != digest(name)).map(|(name, _)| name).collect();
    assert!(stale.is_empty(), "{stale:?} were built from other sources: run `proxywhirl plugin build plugins`");
}

#[test]
fn the_binary_carries_components_of_the_sources_as_they_are() {
    let rows = listed(&[]);
    assert!(rows.values().all(|row| row["origin"] == "bundled"));
    are_of_the_sources(&rows);
}

#[test]
fn the_directory_holds_components_of_the_sources_as_they_are() {
    let rows = listed(&["--plugins", &components()]);
    assert!(rows.values().all(|row| row["overrides_bundled"] == true), "{rows:?}");
    are_of_the_sources(&rows);
}

#[test]
fn what_is_committed_is_what_the_binary_carries() {
    let bundled = listed(&[]);
    let directory = listed(&["--plugins", &plugins().join("dist").to_string_lossy()]);
    for (name, row) in &bundled {
        assert_eq!(row["sha256"], directory[name]["sha256"], "{name}");
    }
}

#[test]
fn each_parser_reads_its_format() {
    let folder = folder();
    let expected = "http://192.0.2.1:8080\nsocks5://192.0.2.2:1080\n";
    for (parser, content) in [
        ("text", "http://192.0.2.1:8080\nsocks5://192.0.2.2:1080\n"),
        (
            "json",
            r#"[{"ip":"192.0.2.1","port":8080,"protocol":"http"},{"ip":"192.0.2.2","port":"1080","protocol":"socks5"}]"#,
        ),
        ("csv", "ip,port,protocol\n192.0.2.1,8080,http\n192.0.2.2,1080,socks5\n"),
        (
            "html-table",
            "<table><tr><th>IP</th><th>Port</th><th>Protocol</th></tr>\
             <tr><td>192.0.2.1</td><td>8080</td><td>HTTP</td></tr>\
             <tr><td>192.0.2.2</td><td>1080</td><td>SOCKS5</td></tr></table>",
        ),
        (
            "clash",
            "proxies:\n  - {name: a, type: http, server: 192.0.2.1, port: 8080}\n  \
             - name: b\n    type: socks5\n    server: 192.0.2.2\n    port: 1080\n",
        ),
        ("pac", "function FindProxyForURL(url, host) { return 'PROXY 192.0.2.1:8080; SOCKS5 192.0.2.2:1080'; }\n"),
        ("proxychains", "[ProxyList]\nhttp 192.0.2.1 8080\nsocks5 192.0.2.2 1080\n"),
        ("squid", "cache_peer 192.0.2.1 parent 8080 0\nparent 1000 socks5 192.0.2.2 1080\n"),
    ] {
        let list = file(&folder, parser, content);
        for chosen in [vec![], vec!["--parser", parser]] {
            let ran = run(proxywhirl(["fetch", &list, "--plugins", &components()]).args(chosen));
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), expected), "{parser}: {}", ran.stderr);
            assert!(ran.stderr.contains(&format!("({parser})")), "{}", ran.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_strategy_chooses_and_the_hook_hears() {
    let world = World::start(WorldPlan::new((0..2).map(|_| UpstreamOptions::new(Protocol::Http)).collect()));
    let world = world.await.unwrap();
    let folder = folder();
    let list = file(&folder, "list", world.proxies().join("\n"));
    let config = file(&folder, "proxywhirl.toml", "[[hooks]]\nname = \"log-events\"\n");
    let components = components();
    for strategy in ["round-robin", "random", "weighted"] {
        let arguments = ["--config", &config, "--proxies", &list, "--plugins", &components, "--strategy", strategy];
        let served = Served::start(arguments);
        for _ in 0..10 {
            let ran = curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/")]);
            assert_eq!(ran.code, Some(0), "{strategy}: {}\n{}", ran.stderr, served.log());
        }
        served.wait_for_log("request-complete");
        let (code, log) = served.stop();
        assert_eq!(code, Some(0), "{strategy}: {log}");
        assert!(!log.contains("plugin fault"), "{strategy}: {log}");
    }
    let served: u64 = world.upstreams().iter().map(|upstream| upstream.counters().requests()).sum();
    assert_eq!(served, 30);
}
