//! Stores of every kind as people use them: a gateway that keeps its pool in one, copies, and what cannot be kept.

use std::fs;

use proxywhirl_tests::{Ran, Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;
use tempfile::TempDir;

use super::control::Commanded;

const STORES: [&str; 4] = ["sqlite:pool.db", "file:pool.json", "file:pool.json.gz", "file:pool.jsonl"];

fn at(folder: &TempDir, store: &str) -> String {
    let (scheme, name) = store.split_once(':').unwrap();
    format!("{scheme}:{}", folder.path().join(name).display())
}

fn pool(arguments: &[&str]) -> Ran {
    run(&mut proxywhirl([&["pool"], arguments].concat()))
}

fn done(arguments: &[&str]) -> Ran {
    let ran = pool(arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    ran
}

fn rows(store: &str) -> Vec<Value> {
    let ran = done(&["list", "--db", store, "--json", "--show-passwords"]);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn successes(store: &str) -> u64 {
    rows(store).iter().map(|row| row["successes"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_goes_on_with_its_pool_whatever_it_is_kept_in() {
    let upstreams = vec![
        UpstreamOptions::new(Protocol::Http).credentials("user", "p@ss:wörd"),
        UpstreamOptions::new(Protocol::Socks5h).credentials("other", "hunter2"),
    ];
    let world = World::start(WorldPlan::new(upstreams)).await.unwrap();
    let url = world.origin().http_url("/");
    for store in STORES {
        let folder = folder();
        let list = file(&folder, "list.txt", world.proxies().join("\n"));
        let store = at(&folder, store);
        let served = Served::start(["--proxies", list.as_str(), "--db", &store]);
        for _ in 0..4 {
            let ran = curl(["--fail", "--proxy", &format!("http://{}", served.address), &url]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        }
        // One reads while the gateway writes.
        wait_until("the uses are saved", || successes(&store) == 4);
        drop(served);
        let served = Served::start(["--store", store.as_str()]);
        let ran = curl(["--fail", "--proxy", &format!("http://{}", served.address), &url]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        wait_until("the next one too", || successes(&store) == 5);
        if store.starts_with("file:") {
            let refused = pool(&["add", "--db", &store, "http://1.2.3.4:80"]);
            assert_eq!(refused.code, Some(4));
            assert!(refused.stderr.contains("is written by another process ("), "{}", refused.stderr);
        }
        drop(served);
        let ran = done(&["add", "--db", &store, "http://1.2.3.4:80"]);
        assert_eq!(ran.stderr, "1 added, 0 known already, 0 rejected\n");
        assert_eq!(done(&["remove", "--db", &store, "1.2.3.4:80"]).stderr, "1 removed, 2 left\n");
        assert_eq!(rows(&store).len(), 2);
    }
}

#[test]
fn a_pool_goes_from_any_store_to_any_other_and_back() {
    let folder = folder();
    let first = at(&folder, "sqlite:first.db");
    let chain = "socks5://a:b@192.0.2.2:1080 -> http://192.0.2.3:80";
    done(&["add", "--db", &first, "--tag", "mine", "http://u:p@192.0.2.1:80", chain]);
    let expected = rows(&first);
    let mut from = first.clone();
    for store in STORES {
        let to = at(&folder, store);
        let ran = done(&["migrate", &from, &to]);
        assert_eq!(ran.stderr, format!("2 proxies, 0 sessions, 0 keys of plugins: from {from} to {to}\n"));
        assert_eq!(rows(&to), expected, "{to}");
        let refused = pool(&["migrate", &from, &to]);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("is not empty"), "{}", refused.stderr);
        from = to;
    }
    let backup = at(&folder, "file:backup.json.gz");
    done(&["backup", "--db", &first, &backup]);
    done(&["remove", "--db", &first, "--tag", "mine"]);
    done(&["add", "--db", &first, "http://192.0.2.9:80"]);
    assert_eq!(pool(&["restore", "--db", &first, &backup]).code, Some(2));
    done(&["restore", "--db", &first, &backup, "--force"]);
    assert_eq!(rows(&first), expected);
    for (from, to, reason) in [
        (first.as_str(), first.as_str(), "are the same store"),
        (&first, "memory:", "memory: is gone when the command ends"),
        ("file:/nowhere/pool.json", &first, "file /nowhere/pool.json does not exist"),
        ("redis://h", &first, "unknown store redis:: known are memory:"),
    ] {
        let ran = pool(&["migrate", from, to]);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
        assert_ne!(ran.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_cannot_be_saved_is_served_and_saved_later() {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let folder = folder();
    let path = folder.path().join("pool.json");
    let store = at(&folder, "file:pool.json");
    // A folder where the next save is to be written: even root cannot write there.
    let obstacle = folder.path().join(".pool.json.tmp");
    let gateway = Commanded::start_with(world, folder, &["--db", &store]);
    let request = || {
        let url = gateway.world.origin().http_url("/");
        curl(["--fail", "--proxy", &format!("http://{}", gateway.served.address), &url]).code
    };
    assert_eq!(gateway.get("/v1/status")["store"], serde_json::json!({"url": store, "trouble": null}));
    wait_until("the first save", || !obstacle.exists() && fs::read_to_string(&path).unwrap().contains("\"url\""));
    while fs::create_dir(&obstacle).is_err() {}
    assert_eq!(request(), Some(0));
    wait_until("trouble", || !gateway.get("/v1/status")["store"]["trouble"].is_null());
    let told = gateway.get("/v1/status")["store"]["trouble"]["error"].as_str().unwrap().to_owned();
    assert!(told.contains("pool.json: cannot be read or written (Is a directory"), "{told}");
    assert!(gateway.ask(&[], "/metrics").stdout.contains("proxywhirl_store_failing 1"));
    assert_eq!(request(), Some(0), "it serves meanwhile");
    fs::remove_dir(&obstacle).unwrap();
    wait_until("that it is well again", || gateway.get("/v1/status")["store"]["trouble"].is_null());
    assert_eq!(successes(&store), 2);
    assert!(gateway.ask(&[], "/metrics").stdout.contains("proxywhirl_store_failing 0"));
}
