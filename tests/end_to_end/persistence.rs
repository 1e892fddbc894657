//! Killed with `kill -9` in mid-traffic and started again, the pool is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

/// What `pool list` reads in a database, by URL with password.
fn pool(db: &str) -> BTreeMap<String, Value> {
    let ran = run(&mut proxywhirl(["pool", "list", "--db", db, "--json", "--show-passwords"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    rows.into_iter().map(|row| (row["url"].as_str().unwrap().to_owned(), row)).collect()
}

fn successes(pool: &BTreeMap<String, Value>) -> u64 {
    pool.values().map(|row| row["successes"].as_u64().unwrap()).sum()
}

fn tags(row: &Value) -> Vec<&str> {
    row["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect()
}

/// Clients that send one request after the other until they are told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn start(proxy: &str, url: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..3).map(|_| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let (proxy, url) = (proxy.to_owned(), url.to_owned());
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let ran = curl(["--fail", "--proxy", &proxy, &url]);
                    answered.fetch_add(u64::from(ran.code == Some(0)), Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { stop, answered, clients }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    fn stop(self) {
        self.stop.store(true, Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_survives_being_killed_in_mid_traffic_again_and_again() {
    let world = World::start(WorldPlan::new(vec![
        UpstreamOptions::new(Protocol::Http),
        UpstreamOptions::new(Protocol::Http).credentials("user", "p@ss:wörd"),
        UpstreamOptions::new(Protocol::Socks5h).credentials("other", "hunter2"),
        UpstreamOptions::new(Protocol::Socks5).behaviour(Behaviour::Flaky { every: 4 }),
    ]))
    .await
    .unwrap();
    let folder = folder();
    let list = file(&folder, "list.txt", world.proxies().join("\n"));
    let db = folder.path().join("pool.db").to_string_lossy().into_owned();
    let url = world.origin().http_url("/");
    let mut saved = 0;
    for life in 0..4 {
        let served =
            if life == 0 { Served::start(["--db", &db, "--proxies", &list]) } else { Served::start(["--db", &db]) };
        let traffic = Traffic::start(&served.proxy("http"), &url);
        wait_until("traffic flows", || traffic.answered() >= 20);
        let known = saved + traffic.answered();
        // Statistics are saved once a second, in mid-traffic; whatever was saved is there after the end.
        wait_until("what was known is saved", || successes(&pool(&db)) >= known);
        served.kill();
        traffic.stop();
        let pool = pool(&db);
        assert_eq!(pool.keys().cloned().collect::<Vec<_>>(), sorted(world.proxies()), "life {life}");
        assert!(pool.values().all(|row| tags(row) == ["source:list.txt", "source:user"]), "life {life}: {pool:?}");
        let now = successes(&pool);
        assert!(now >= known, "life {life}: {now} kept of {known}");
        saved = now;
    }
    let integrity = rusqlite::Connection::open(&db).unwrap();
    let verdict: String = integrity.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_loses_nothing() {
    let world = World::start(WorldPlan::healthy(2)).await.unwrap();
    let folder = folder();
    let ca = file(&folder, "ca.pem", world.ca().ca_pem());
    let list = file(&folder, "list.txt", world.proxies().join("\n"));
    let db = folder.path().join("pool.db").to_string_lossy().into_owned();
    let served = Served::start(["--db", &db, "--proxies", &list, "--proxy-cacert", &ca]);
    for _ in 0..10 {
        let ran = curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/")]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    let pool = pool(&db);
    assert_eq!(successes(&pool), 10);
    assert!(pool.values().all(|row| row["latency_ms"].as_f64().unwrap() > 0.0 && !row["last_used_at"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changed_is_merged_with_what_was_kept() {
    let world = World::start(WorldPlan::new((0..3).map(|_| UpstreamOptions::new(Protocol::Http)).collect()));
    let world = world.await.unwrap();
    let proxies = world.proxies();
    let folder = folder();
    let db = folder.path().join("pool.db").to_string_lossy().into_owned();
    let one = file(&folder, "one.txt", proxies[..2].join("\n"));
    let two = file(&folder, "two.txt", proxies[1..].join("\n"));
    let url = world.origin().http_url("/");
    let served = Served::start(["--db", &db, "--proxies", &one]);
    for _ in 0..4 {
        assert_eq!(curl(["--fail", "--proxy", &served.proxy("http"), &url]).code, Some(0));
    }
    assert_eq!(served.stop().0, Some(0));
    let served = Served::start(["--db", &db, "--proxies", &two]);
    for _ in 0..3 {
        assert_eq!(curl(["--fail", "--proxy", &served.proxy("http"), &url]).code, Some(0));
    }
    assert_eq!(served.stop().0, Some(0));
    let pool = pool(&db);
    let seen = |place: usize| {
        let row = &pool[&proxies[place]];
        (tags(row).join(" "), row["successes"].as_u64().unwrap())
    };
    assert_eq!(pool.len(), 3);
    assert_eq!(seen(0), ("source:one.txt source:user".to_owned(), 3));
    assert_eq!(seen(1), ("source:one.txt source:two.txt source:user".to_owned(), 3));
    assert_eq!(seen(2), ("source:two.txt source:user".to_owned(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_kept_and_told_only_when_one_asks() {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http).credentials("user", "hunter2")]));
    let world = world.await.unwrap();
    let folder = folder();
    let db = folder.path().join("pool.db").to_string_lossy().into_owned();
    let url = world.origin().http_url("/");
    Served::start(["--db", &db, "--proxies", &world.proxies()[0]]).kill();
    let served = Served::start(["--db", &db, "--log", "trace"]);
    let ran = curl(["--fail", "--proxy", &served.proxy("http"), &url]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let (_, log) = served.stop();
    assert!(!log.contains("hunter2"), "{log}");
    let masked = run(&mut proxywhirl(["pool", "list", "--db", &db]));
    assert!(masked.stdout.contains("http://user:***@") && !masked.stdout.contains("hunter2"), "{}", masked.stdout);
    let shown = run(&mut proxywhirl(["pool", "list", "--db", &db, "--show-passwords"]));
    assert!(shown.stdout.contains("http://user:hunter2@"), "{}", shown.stdout);
}
