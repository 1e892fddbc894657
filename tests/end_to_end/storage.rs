//! Stores of every kind as people use them: a gateway that keeps its pool in one, copies, and what cannot be kept.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
            assert!(refused.stderr.contains("hint: `pool add`"), "{}", refused.stderr);
        }
        drop(served);
        let ran = done(&["add", "--db", &store, "http://1.2.3.4:80"]);
        assert_eq!(ran.stderr, "1 added, 0 known already, 0 rejected\n");
        assert_eq!(done(&["remove", "--db", &store, "1.2.3.4:80"]).stderr, "1 removed, 2 left\n");
        assert_eq!(rows(&store).len(), 2);
    }
}

/// The tags of each proxy but those of where it comes from, by its port.
fn labels(store: &str) -> Vec<String> {
    let label = |row: &Value| {
        let tags = row["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap());
        let own: Vec<&str> = tags.filter(|tag| !tag.starts_with("source:")).collect();
        format!("{} {}", row["url"].as_str().unwrap().rsplit(':').next().unwrap(), own.join(","))
    };
    let mut labels: Vec<String> = rows(store).iter().map(label).collect();
    labels.sort();
    labels
}

#[test]
fn a_tag_that_a_source_gives_no_more_leaves_its_proxies_over_a_reload_and_a_restart() {
    for store in STORES {
        let folder = folder();
        file(&folder, "own.txt", "192.0.2.1:1001\n192.0.2.1:1002\n");
        file(&folder, "more.txt", "192.0.2.1:1002\n192.0.2.1:1003\n");
        let store = at(&folder, store);
        let config = |own: &str, more: &str| {
            let source = |name: &str, tags: &str| {
                let list = folder.path().join(name).display().to_string();
                format!("[[sources]]\nname = \"{name}\"\nlocation = \"{list}.txt\"\ntrust = true\ntags = [{tags}]\n")
            };
            file(&folder, "proxywhirl.toml", source("own", own) + &source("more", more))
        };
        let start = |own: &str, more: &str| {
            Served::start(["--config", &config(own, more), "--db", &store, "--control", "off", "--no-watch"])
        };
        let becomes = |what: &str, expected: [&str; 3]| wait_until(what, || labels(&store) == expected);
        let served = start("\"paid\", \"eu\"", "\"paid\"");
        becomes("what sources say", ["1001 eu,paid", "1002 eu,paid", "1003 paid"]);
        // The other source still says that it is paid.
        config("\"cheap\", \"eu\"", "\"paid\"");
        served.hang_up();
        becomes("another word", ["1001 cheap,eu", "1002 cheap,eu,paid", "1003 paid"]);
        // Killed: what was said stays known.
        served.kill();
        // Who is listed no more has the tags of its source all the same.
        file(&folder, "own.txt", "192.0.2.1:1002\n");
        let served = start("\"cheap\"", "\"paid\", \"us\"");
        becomes("fewer words", ["1001 cheap", "1002 cheap,paid,us", "1003 paid,us"]);
        let (code, log) = served.stop();
        assert_eq!(code, Some(0), "{log}");
        // As it was: nobody has to say anything.
        let served = start("\"cheap\"", "\"paid\", \"us\"");
        let (code, log) = served.stop();
        assert!(code == Some(0) && !log.contains("sources give other tags"), "{log}");
        becomes("the same", ["1001 cheap", "1002 cheap,paid,us", "1003 paid,us"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_change_beside_a_gateway_stays_and_is_there_at_its_next_start() {
    let upstreams = (0..3).map(|_| UpstreamOptions::new(Protocol::Http).credentials("user", "old")).collect();
    let world = World::start(WorldPlan::new(upstreams)).await.unwrap();
    let (folder, url) = (folder(), world.origin().http_url("/"));
    let [stays, renewed, leaves] = &world.proxies()[..] else { panic!("{:?}", world.proxies()) };
    let list = file(&folder, "list.txt", world.proxies().join("\n"));
    let db = at(&folder, "sqlite:pool.db");
    let used = |served: &Served, times: usize| {
        for _ in 0..times {
            let ran = curl(["--fail", "--proxy", &format!("http://{}", served.address), &url]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        }
    };
    let served = Served::start(["--proxies", list.as_str(), "--db", &db]);
    used(&served, 3);
    wait_until("the uses are saved", || successes(&db) == 3);
    let told = "with --control SOCKET, or without --db\n";
    let ran = done(&["remove", "--db", &db, leaves]);
    assert!(ran.stderr.starts_with("1 removed, 2 left\n") && ran.stderr.ends_with(told), "{}", ran.stderr);
    let new = renewed.replace("user:old", "user:new");
    let ran = done(&["add", "--db", &db, "--tag", "mine", &new]);
    assert!(ran.stderr.contains("1 of them with another password") && ran.stderr.ends_with(told), "{}", ran.stderr);
    // All of them are used once more, with what the gateway knows.
    used(&served, 6);
    wait_until("those of who is left are saved", || successes(&db) == 6);
    drop(served);
    let kept = rows(&db);
    let mut urls: Vec<&str> = kept.iter().map(|row| row["url"].as_str().unwrap()).collect();
    urls.sort_unstable();
    let mut expected = [stays.as_str(), &new];
    expected.sort_unstable();
    assert_eq!(urls, expected);
    let renewed = kept.iter().find(|row| row["url"] == new.as_str()).unwrap();
    assert!(renewed["tags"].as_array().unwrap().contains(&Value::from("mine")), "{renewed}");
    assert_eq!(renewed["successes"], 3);
    let ran = done(&["remove", "--db", &db, stays]);
    assert_eq!(ran.stderr, "1 removed, 1 left\n", "nobody uses it");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_that_looks_into_the_database_of_a_gateway_loses_it_nothing() {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let (folder, url) = (folder(), world.origin().http_url("/"));
    let list = file(&folder, "list.txt", world.proxies().join("\n"));
    let db = at(&folder, "sqlite:pool.db");
    let served = Served::start(["--proxies", list.as_str(), "--db", &db]);
    for uses in 1..=3 {
        let ran = curl(["--fail", "--proxy", &format!("http://{}", served.address), &url]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        // Whoever closes a database last puts its log away.
        let program = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); print(db.execute('SELECT sum(successes) FROM members').fetchone()[0]); db.close()";
        let path = folder.path().join("pool.db");
        let seen = || run(Command::new("python3").args(["-c", program]).arg(&path)).stdout.trim().to_owned();
        wait_until("another program sees it", || seen() == uses.to_string());
    }
    assert_eq!(served.stop().0, Some(0));
    assert_eq!(successes(&db), 3);
}

#[test]
fn a_list_that_is_not_there_is_an_error_and_costs_no_other() {
    let folder = folder();
    let (db, none) = (at(&folder, "sqlite:pool.db"), folder.path().join("none.txt").display().to_string());
    let ran = pool(&["add", "--db", &db, "--from", &none]);
    assert!(ran.code == Some(3) && ran.stderr.contains("none.txt") && !ran.stderr.contains("added"), "{ran:?}");
    let ran = pool(&["add", "--db", &db, "--from", &none, "http://192.0.2.1:80"]);
    assert!(ran.code == Some(3) && ran.stderr.contains("none.txt"), "{ran:?}");
    assert!(ran.stderr.ends_with("1 added, 0 known already, 0 rejected\n"), "{ran:?}");
    let ran = pool(&["import", "--db", &at(&folder, "file:other.json"), db.split_once(':').unwrap().1]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains(&format!("pool export --db {db} --format jsonl")), "{ran:?}");
    let ran = run(&mut proxywhirl(["get", "-H", "Accept: text/html", "-H", "Bearer hunter2", "http://192.0.2.1/"]));
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("header field 2 has no colon") && !ran.stderr.contains("hunter2"), "{ran:?}");
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
        assert_eq!(
            ran.stderr,
            format!("2 proxies, 0 sessions, 0 bans, 0 keys of plugins, 0 logins: from {from} to {to}\n")
        );
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
        ("mysql://:hunter2@h", &first, "unknown store mysql: (known are memory:"),
    ] {
        let ran = pool(&["migrate", from, to]);
        assert!(ran.stderr.contains(reason) && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
        assert_ne!(ran.code, Some(0));
    }
}

/// Names of the files in a folder that begin with a dot.
fn hidden(folder: &TempDir) -> Vec<String> {
    let names =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).collect()
}

#[test]
fn a_copy_that_is_killed_leaves_the_store_as_it_was_or_as_it_is_to_be() {
    const KILLS: u32 = 10;
    let folder = folder();
    let [first, second] = ["1", "2"].map(|net| {
        let list: String =
            (0..1_000).map(|n| format!("http://me:hunter2@10.{net}.{}.{}:80\n", n / 250, n % 250)).collect();
        let store = at(&folder, &format!("sqlite:from-{net}.db"));
        done(&["import", "--db", &store, &file(&folder, &format!("list-{net}.txt"), list)]);
        store
    });
    let exported = |store: &str| done(&["export", "--db", store]).stdout;
    let whole = [exported(&first), exported(&second)];
    for store in STORES {
        let target = at(&folder, store);
        done(&["backup", "--db", &first, &target]);
        let started = Instant::now();
        done(&["backup", "--db", &second, &target, "--force"]);
        let time = started.elapsed();
        assert_eq!(hidden(&folder), Vec::<String>::new(), "{store}");
        assert_eq!(exported(&target), whole[1], "{store}");
        let mut cut = 0;
        for kill in 1..=KILLS {
            // Over the whole of what it takes, which ends with the copy in its place.
            let from = if kill % 2 == 0 { &second } else { &first };
            let mut copying = proxywhirl(["pool", "backup", "--db", from, &target, "--force"]);
            let mut copying = copying.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_secs_f64(time.as_secs_f64() * f64::from(kill) / f64::from(KILLS)));
            copying.kill().unwrap();
            cut += u32::from(!copying.wait().unwrap().success());
            let found = exported(&target);
            assert!(whole.contains(&found), "{store}: {} lines", found.lines().count());
        }
        assert!(cut > 0, "{store}: none was killed in time");
        // What they have left is in nobody's way.
        done(&["backup", "--db", &first, &target, "--force"]);
        assert_eq!(exported(&target), whole[0], "{store}");
        assert_eq!(hidden(&folder), Vec::<String>::new(), "{store}");
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

/// Proxies of every kind that forms have trouble with.
const MANY: [&str; 11] = [
    "http://192.0.2.1:8080",
    "http://me:se%20cr%23et@192.0.2.2:8080",
    "https://you:hunter2@gate.example:8443",
    "socks4://192.0.2.3:1080",
    "socks4a://192.0.2.4:1080",
    "socks5://me:secret@192.0.2.5:1080",
    "socks5h://192.0.2.6:1080",
    "http://[2001:db8::1]:3128",
    "http://me:secret@[2001:db8::2]:3128",
    "http://me:@192.0.2.7:80",
    "socks5://a:b@192.0.2.8:1080 -> http://c:d@192.0.2.9:80",
];

fn many() -> TempDir {
    let folder = folder();
    let first = at(&folder, "file:many.json");
    done(&[&["add", "--db", first.as_str()][..], &MANY].concat());
    folder
}

/// What comes back of an export, in the order of the pool, and what was told of it.
fn again(folder: &TempDir, format: &str) -> (Vec<String>, String) {
    let (first, second) = (at(folder, "file:many.json"), at(folder, &format!("file:{format}.json")));
    let out = folder.path().join(format!("out.{format}")).to_string_lossy().into_owned();
    let told = done(&["export", "--db", &first, "--format", format, "-o", &out]).stderr;
    let scheme = if format == "plain" { "http" } else { "socks5" };
    let added = done(&["import", "--db", &second, &out, "--scheme", scheme]);
    assert!(added.stderr.contains(" 0 rejected"), "{format}: {}", added.stderr);
    let listed = done(&["export", "--db", &second, "--format", "text"]).stdout;
    (listed.lines().map(str::to_owned).collect(), told)
}

#[test]
fn what_is_exported_is_read_again_and_what_a_form_cannot_say_is_told() {
    let folder = many();
    for format in ["text", "json", "jsonl", "csv"] {
        let (found, told) = again(&folder, format);
        assert_eq!(found, MANY, "{format}");
        assert!(!told.contains("left out"), "{told}");
    }
    for format in ["json", "jsonl", "csv"] {
        assert_eq!(
            rows(&at(&folder, &format!("file:{format}.json"))),
            rows(&at(&folder, "file:many.json")),
            "{format}"
        );
    }
    for format in ["curl", "env"] {
        let (found, told) = again(&folder, format);
        assert_eq!(found, MANY[..10], "{format}");
        assert!(told.contains("left out: 1 proxy, such as socks5://a:***@192.0.2.8:1080 -> http://c:***@"), "{told}");
    }
    let (found, told) = again(&folder, "proxychains");
    assert_eq!(found.len(), 7, "{found:?}");
    insta::assert_snapshot!(told, @"
    7 proxies
    left out: 2 proxies, such as http://me:***@192.0.2.2:8080: its user name or password has characters that divide fields, or is empty
    left out: 1 proxy, such as https://you:***@gate.example:8443: proxychains speaks no TLS to proxies
    left out: 1 proxy, such as socks5://a:***@192.0.2.8:1080 -> http://c:***@192.0.2.9:80: this form has no chains
    not in this form: tags and country of 7 proxies
    not in this form: that names are resolved by the proxy (socks4a) of 1 proxy
    not in this form: that names are resolved by the proxy (socks5h) of 1 proxy
    ");
    let (found, told) = again(&folder, "plain");
    assert_eq!(found.len(), 8, "{found:?}");
    insta::assert_snapshot!(told, @"
    8 proxies
    left out: 2 proxies, such as http://me:***@192.0.2.2:8080: its user name or password has characters that divide fields, or is empty
    left out: 1 proxy, such as socks5://a:***@192.0.2.8:1080 -> http://c:***@192.0.2.9:80: this form has no chains
    not in this form: protocol of 5 proxies
    not in this form: tags and country of 8 proxies
    ");
}

#[test]
fn configurations_of_other_programs_are_read_again_as_far_as_they_say() {
    let folder = many();
    let (found, told) = again(&folder, "clash");
    assert_eq!(found, [MANY[0], MANY[1], MANY[2], MANY[5], "socks5://192.0.2.6:1080", MANY[7], MANY[8], MANY[9]]);
    insta::assert_snapshot!(told, @"
    8 proxies
    left out: 2 proxies, such as socks4://192.0.2.3:1080: Clash speaks no SOCKS 4
    left out: 1 proxy, such as socks5://a:***@192.0.2.8:1080 -> http://c:***@192.0.2.9:80: this form has no chains
    not in this form: tags and country of 8 proxies
    not in this form: that names are resolved by the proxy (socks5h) of 1 proxy
    ");
    let (found, told) = again(&folder, "sing-box");
    assert_eq!(found, [&MANY[..6], &["socks5://192.0.2.6:1080"], &MANY[7..10]].concat());
    insta::assert_snapshot!(told, @"
    10 proxies
    left out: 1 proxy, such as socks5://a:***@192.0.2.8:1080 -> http://c:***@192.0.2.9:80: this form has no chains
    not in this form: tags and country of 10 proxies
    not in this form: that names are resolved by the proxy (socks5h) of 1 proxy
    ");
    let (found, told) = again(&folder, "squid");
    assert_eq!(found, [MANY[0], MANY[1], MANY[2], MANY[7], MANY[8], MANY[9]]);
    insta::assert_snapshot!(told, @"
    6 proxies
    left out: 4 proxies, such as socks4://192.0.2.3:1080: squid speaks no SOCKS to proxies
    left out: 1 proxy, such as socks5://a:***@192.0.2.8:1080 -> http://c:***@192.0.2.9:80: this form has no chains
    not in this form: tags and country of 6 proxies
    ");
    let (found, told) = again(&folder, "pac");
    assert_eq!(found.len(), 10, "{found:?}");
    insta::assert_snapshot!(told, @"
    10 proxies
    left out: 1 proxy, such as socks5://a:***@192.0.2.8:1080 -> http://c:***@192.0.2.9:80: this form has no chains
    not in this form: tags and country of 10 proxies
    not in this form: that names are resolved by the proxy (socks4a) of 1 proxy
    not in this form: that names are resolved by the proxy (socks5h) of 1 proxy
    not in this form: user name and password of 5 proxies
    ");
    let (found, told) = again(&folder, "haproxy");
    assert_eq!(found.len(), 10, "{found:?}");
    insta::assert_snapshot!(told, @"
    10 proxies
    left out: 1 proxy, such as socks5://a:***@192.0.2.8:1080 -> http://c:***@192.0.2.9:80: this form has no chains
    not in this form: protocol of 4 proxies
    not in this form: tags and country of 10 proxies
    not in this form: user name and password of 5 proxies
    ");
}

/// All that is kept of a pool, but when the document was written.
fn kept(folder: &TempDir, name: &str) -> Value {
    let mut document: Value = serde_json::from_str(&fs::read_to_string(folder.path().join(name)).unwrap()).unwrap();
    document["proxies"].take()
}

#[test]
fn an_export_comes_back_with_tags_statistics_and_times() {
    let folder = folder();
    let proxy = r#"{"url": "http://192.0.2.1:80", "username": "me", "password": "se,cr\"et", "source": "own", "tags": ["paid", "eu"],
        "health_status": "degraded", "total_successes": 41, "total_failures": 1, "average_response_time_ms": 123.456,
        "country": "DE", "anonymity": "elite", "created_at": "2025-01-02T03:04:05.000006Z", "last_used_at": "2025-02-03T04:05:06Z"}"#;
    let chain = r#"{"url": "socks5://a:b@192.0.2.2:1080 -> http://c:d@192.0.2.3:80", "tags": ["chained"], "created_at": "2025-03-04T05:06:07Z"}"#;
    file(&folder, "pool.json", format!("{{\"version\": 1, \"proxies\": [{proxy}, {chain}]}}"));
    let first = at(&folder, "file:pool.json");
    // Written once by us, so that everything stands there as we write it.
    done(&["add", "--db", &first, "http://192.0.2.9:80"]);
    for format in ["json", "jsonl", "csv"] {
        let out = file(&folder, &format!("out.{format}"), done(&["export", "--db", &first, "--format", format]).stdout);
        let name = format!("{format}.json");
        let second = at(&folder, &format!("file:{name}"));
        let ran = done(&["import", "--db", &second, &out]);
        assert!(ran.stderr.ends_with("3 added, 0 known already, 0 rejected\n"), "{}", ran.stderr);
        assert_eq!(kept(&folder, &name), kept(&folder, "pool.json"), "{format}");
        // Once more: what the pool knows stays, and what is said is added.
        let ran = done(&["import", "--db", &second, &out, "--tag", "again"]);
        assert!(ran.stderr.ends_with("0 added, 3 known already, 0 rejected\n"), "{}", ran.stderr);
        let row = kept(&folder, &name)[0].clone();
        assert_eq!(row["tags"], serde_json::json!(["again", "eu", "paid", "source:own"]));
        assert_eq!((&row["total_successes"], &row["created_at"]), (&41.into(), &"2025-01-02T03:04:05.000006Z".into()));
    }
    // A store of ours is a list of ours too; and who only adds a list gets no tags of it.
    let ran = done(&[
        "import",
        "--db",
        &at(&folder, "file:whole.json"),
        &folder.path().join("pool.json").display().to_string(),
    ]);
    assert!(ran.stderr.contains("pool.json (JSON, with tags): 3 proxies, 0 rejected"), "{}", ran.stderr);
    assert_eq!(kept(&folder, "whole.json"), kept(&folder, "pool.json"));
    let compressed = folder.path().join("backup.json.gz").display().to_string();
    done(&["backup", "--db", &at(&folder, "file:pool.json"), &format!("file:{compressed}")]);
    let ran = done(&["import", "--db", &at(&folder, "file:again.json"), &compressed]);
    assert!(ran.stderr.contains("backup.json.gz (JSON, with tags): 3 proxies, 0 rejected"), "{}", ran.stderr);
    assert_eq!(kept(&folder, "again.json"), kept(&folder, "pool.json"));
    let list = folder.path().join("out.json").display().to_string();
    done(&["add", "--db", &at(&folder, "file:listed.json"), "--from", &list]);
    assert_eq!(kept(&folder, "listed.json")[0]["tags"], serde_json::json!(["source:out.json", "source:user"]));
}

#[test]
fn a_row_that_cannot_be_imported_is_told_with_its_line_and_costs_no_other() {
    let folder = folder();
    let csv = "scheme,host,port,username,password,tags\nhttp,192.0.2.1,80,,,paid\nhttp,192.0.2.2,70000,me,hunter2,\n\
               http,192.0.2.3,80,me,sealed-1:0a0a0a0a:hunter2,x\n";
    let list = file(&folder, "list.csv", csv);
    let store = at(&folder, "file:pool.json");
    let ran = done(&["import", "--db", &store, &list]);
    let told = ran.stderr.replace(&list, "list.csv");
    insta::assert_snapshot!(told);
    assert_eq!(rows(&store).len(), 1);
    let cut =
        file(&folder, "cut.json", "[\n{\"url\": \"http://me:hunter2@192.0.2.1:80\", \"tags\": []},\n{\"url\": \"http");
    let ran = pool(&["import", "--db", &store, &cut]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("cut.json: line 3: ") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    let ran = pool(&["import", "--db", &store, "https://lists.example/proxies.json"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("is no file") && ran.stderr.contains("pool add --from"), "{}", ran.stderr);
}

#[test]
fn what_is_left_out_is_counted_whoever_names_it() {
    let folder = folder();
    let store = at(&folder, "file:pool.json");
    let list = "192.0.2.1:80\nhttp://me:one@192.0.2.2:80\nhttp://me:two@192.0.2.2:80\n192.0.2.1:80\n192.0.2.1:80\n";
    let list = file(&folder, "list.txt", list);
    let told = "2 added, 0 known already, 0 rejected, 3 named before\n";
    assert!(done(&["add", "--db", &store, "--from", &list]).stderr.ends_with(told));
    assert_eq!(rows(&store)[1]["url"], "http://me:one@192.0.2.2:80", "the first one counts");
    let ran = done(&["import", "--db", &store, &list, &list]);
    assert!(ran.stderr.ends_with("0 added, 2 known already, 0 rejected, 8 named before\n"), "{}", ran.stderr);
    let bad = file(&folder, "bad.txt", format!("192.0.2.3:80\nbücher.example:80\n{}", "nonsense\n".repeat(7)));
    for verb in [&["add", "--from"][..], &["import"]] {
        let ran = done(&[verb, &[&bad, "--db", &store]].concat());
        assert!(ran.stderr.contains("\n  and 3 more\n"), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("bücher.example; a name beyond ASCII is written in punycode (xn--…)"),
            "{}",
            ran.stderr
        );
    }
    let row = |port: u32| format!("{{\"url\": \"http://192.0.2.4:{port}\", \"tags\": []}}");
    let rest = "7, {\"url\": \"nonsense\"}, 7, 7, 7, 7";
    let one_line = file(&folder, "one.json", format!("[{}, {}, {}, {rest}]", row(80), row(80), row(70_000)));
    let ran = done(&["import", "--db", &store, &one_line]);
    for told in [
        "  row 3, line 1: port 70000 is not in 1..65535\n",
        "  row 4, line 1: not an object\n",
        "  row 5, line 1: no scheme: http, https, socks4, socks4a, socks5 or socks5h, with :// behind it\n",
        "  and 2 more\n1 added, 0 known already, 7 rejected, 1 named before\n",
    ] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
}

#[cfg(unix)]
#[test]
fn that_others_may_read_a_pool_is_told_once() {
    use std::os::unix::fs::PermissionsExt as _;
    for store in STORES {
        let folder = folder();
        let store = at(&folder, store);
        assert!(!done(&["add", "--db", &store, "192.0.2.1:80"]).stderr.contains("chmod"));
        let path = store.split_once(':').unwrap().1;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        for arguments in [&["list", "--db", &store][..], &["add", "--db", &store, "192.0.2.2:80"]] {
            let ran = done(arguments);
            assert_eq!(ran.stderr.matches("others may read the pool").count(), 1, "{arguments:?}: {}", ran.stderr);
        }
    }
}

#[test]
fn logins_with_blanks_are_left_out_where_nobody_fills_them_in() {
    let folder = folder();
    let store = at(&folder, "file:many.json");
    let template = "http://me[-cc-%7Bcountry%7D]-%7Bsession%7D:hunter2@gate.example:7777";
    done(&[
        "add",
        "--db",
        &store,
        "http://192.0.2.1:80",
        "http://me[-cc-{country}]-{session}:hunter2@gate.example:7777",
    ]);
    for format in ["plain", "proxychains", "clash", "sing-box", "squid", "curl", "env"] {
        let ran = done(&["export", "--db", &store, "--format", format]);
        assert!(!ran.stdout.contains("session") && ran.stdout.contains("192.0.2.1"), "{format}: {}", ran.stdout);
        let left_out =
            "left out: 1 proxy, such as http://me[-cc-{country}]-{session}:***@gate.example:7777: its login has blanks";
        assert!(ran.stderr.contains(left_out), "{format}: {}", ran.stderr);
    }
    for format in ["text", "json", "jsonl", "csv"] {
        let (found, told) = again(&folder, format);
        assert_eq!(found.len(), 2, "{format}: {found:?} {told}");
        assert_eq!(found[1], template.replace("[", "%5B").replace("]", "%5D"), "{format}");
    }
}
