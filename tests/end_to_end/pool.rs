//! A pool that is changed while its gateway serves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

use super::control::{Commanded, world};

/// `host:port` of a proxy.
fn address(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

impl Commanded {
    /// Changes the pool: what is told, and the exit code.
    fn pool(&self, words: &[&str]) -> (String, Option<i32>) {
        let ran = self.command(&[&["pool"], words].concat());
        let told = ran.stderr.strip_prefix(&format!("the gateway at {}: ", self.socket));
        (told.unwrap_or_else(|| panic!("{ran:?}")).to_owned(), ran.code)
    }

    /// How many of six requests the first upstream serves.
    fn served_by_the_first(&self) -> u64 {
        let before = self.world.upstreams()[0].counters().requests();
        for _ in 0..6 {
            assert_eq!(self.request().code, Some(0));
        }
        self.world.upstreams()[0].counters().requests() - before
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_is_used_no_more_and_comes_back_by_command_alone() {
    let gateway = Commanded::start(&[]).await;
    let first = gateway.world.proxies()[0].clone();
    assert_eq!(gateway.served_by_the_first(), 2);
    let (told, code) = gateway.pool(&["remove", address(&first), "203.0.113.9:1"]);
    assert!(told.starts_with("1 removed, 2 left\nno source brings them back there") && code == Some(0), "{told}");
    assert_eq!(gateway.served_by_the_first(), 0);
    let refreshed = |new: u64, known: u64, kept_out: u64| {
        let report: Value = serde_json::from_str(&gateway.command(&["refresh", "--json"]).stdout).unwrap();
        let counted = ["new", "known", "kept_out"].map(|key| report[key].as_u64().unwrap());
        assert_eq!(counted, [new, known, kept_out], "{report}");
    };
    refreshed(0, 2, 1);
    assert_eq!(gateway.served_by_the_first(), 0, "its list names it still");
    assert_eq!(gateway.pool(&["remove", address(&first)]), ("0 removed, 2 left\n".to_owned(), Some(1)));
    let (told, code) = gateway.pool(&["add", &first, &gateway.world.proxies()[1], "--tag", "mine"]);
    assert_eq!((told.as_str(), code), ("1 added, 1 known already, 0 rejected\n", Some(0)));
    assert_eq!(gateway.served_by_the_first(), 2);
    refreshed(0, 3, 0);
    assert!(gateway.pool(&["remove", "--tag", "mine"]).0.starts_with("2 removed, 1 left\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_of_a_gateway_without_a_store_is_listed_and_counted() {
    let gateway = Commanded::start(&[]).await;
    assert_eq!(gateway.request().code, Some(0));
    assert_eq!(gateway.pool(&["add", "socks5://me:hunter2@203.0.113.9:1", "--tag", "mine"]).1, Some(0));
    let rows = |words: &[&str]| -> Vec<Value> {
        let ran = gateway.command(&[&["pool", "list", "--json"], words].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    };
    let [mine] = &rows(&["--tag", "mine"])[..] else { panic!("{:?}", rows(&[])) };
    assert_eq!((&mine["url"], &mine["last_used_at"]), (&Value::from("socks5://me:***@203.0.113.9:1"), &Value::Null));
    let all = rows(&[]);
    assert_eq!(all.iter().filter_map(|row| row["successes"].as_u64()).sum::<u64>(), 1, "{all:?}");
    let table = gateway.command(&["pool", "list"]);
    assert!(table.stdout.starts_with("PROXY ") && table.stdout.contains(" ago"), "{table:?}");
    let stats: Value = serde_json::from_str(&gateway.command(&["pool", "stats", "--json"]).stdout).unwrap();
    let counted = ["members", "never_used", "successes", "failures"].map(|key| stats[key].as_u64());
    assert_eq!(counted, [4, 3, 1, 0].map(Some), "{stats}");
    assert_eq!(stats["by_scheme"], serde_json::json!({ "http": 3, "socks5": 1 }));
    let mut places = vec!["/v1/pool?limit=3".to_owned()];
    let first = gateway.get(&places[0]);
    places.push(format!("/v1/pool?limit=3&after={}", first["next"]));
    let parts = places.iter().flat_map(|place| gateway.get(place)["proxies"].as_array().unwrap().clone());
    assert_eq!(parts.collect::<Vec<_>>(), all);
    assert_eq!((&first["members"], &gateway.get(&places[1])["next"]), (&Value::from(4), &Value::Null));
    let refused = gateway.command(&["pool", "list", "--show-passwords"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("--db STORE"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_goes_on_through_a_proxy_that_is_taken_out() {
    let gateway = Commanded::start(&[]).await;
    let url = gateway.world.origin().http_url("/ip");
    let origin = url.split('/').nth(2).unwrap();
    let mut tunnel = TcpStream::connect(&gateway.served.address).unwrap();
    tunnel.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut ask = |request: &str| {
        write!(tunnel, "{request} HTTP/1.1\r\nHost: {origin}\r\n\r\n").unwrap();
        let mut answer = [0; 4_096];
        let read = tunnel.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    let opened = ask(&format!("CONNECT {origin}"));
    assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
    assert!(gateway.pool(&["remove", "--tag", "source:user"]).0.starts_with("3 removed, 0 left\n"));
    assert_ne!(gateway.request().code, Some(0), "nobody is there");
    let answered = ask("GET /ip");
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_of_a_gateway_is_gone_from_its_store_too() {
    let upstreams = (0..2).map(|_| UpstreamOptions::new(Protocol::Http)).collect();
    let world = World::start(WorldPlan::new(upstreams)).await.unwrap();
    let [leaves, stays] = &world.proxies()[..] else { panic!("{:?}", world.proxies()) };
    for store in ["sqlite:pool.db", "file:pool.json"] {
        let folder = folder();
        let (scheme, name) = store.split_once(':').unwrap();
        let store = format!("{scheme}:{}", folder.path().join(name).display());
        let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
        let pool = |words: &[&str]| {
            let ran = run(proxywhirl([&["pool"], words].concat())
                .current_dir(folder.path())
                // As it is where both are set for the service.
                .env("PROXYWHIRL_CONTROL", &socket)
                .env("PROXYWHIRL_DB", &store));
            (ran.stderr, ran.code)
        };
        let members = || {
            let ran = run(&mut proxywhirl(["pool", "list", "--db", &store, "--json"]));
            let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
            rows.iter().map(|row| row["url"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        // Nobody uses the store.
        let (told, code) = pool(&["add", leaves, stays]);
        assert_eq!((told.as_str(), code), ("2 added, 0 known already, 0 rejected\n", Some(0)));
        let serve = || Served::start(["--db", &store, "--control", &socket]);
        let served = serve();
        let (told, code) = pool(&["remove", address(leaves)]);
        let expected = format!("the gateway at {socket}: 1 removed, 1 left\n");
        assert!(told.starts_with(&expected) && code == Some(0), "{told}");
        assert_eq!(members(), [stays.as_str()], "it is saved before the command is answered");
        for _ in 0..3 {
            let url = world.origin().http_url("/ip");
            assert_eq!(curl(["--fail", "--proxy", &served.proxy("http"), &url]).code, Some(0));
        }
        assert_eq!(world.upstreams()[0].counters().requests(), 0);
        assert_eq!(served.stop().0, Some(0));
        let served = serve();
        assert_eq!(members(), [stays.as_str()]);
        // What is typed counts: the store itself is meant, which is in use.
        let (told, _) = pool(&["add", "--db", &format!("{scheme}:{name}"), leaves]);
        assert!(told.contains("with --control SOCKET, or without --db"), "{told}");
        assert_eq!(served.stop().0, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_passed_its_check_yet_is_kept_out_too() {
    let folder = folder();
    // Nobody is there: it is being checked, or was turned away and would be asked again.
    file(&folder, "free", "http://127.0.0.1:9\n");
    let text = "check.level = \"tcp\"\npool.allow_private = true\n[[sources]]\nname = \"free\"\nlocation = \"free\"\n";
    let config = file(&folder, "gateway.toml", text);
    let gateway = Commanded::start_in(folder, &["--config", &config]).await;
    let mut told = String::new();
    wait_until("that it is known", || {
        let (words, code) = gateway.pool(&["remove", "127.0.0.1:9"]);
        told = words;
        code == Some(0)
    });
    let expected =
        "0 removed, 3 left\n1 more kept out, which had not passed their check yet\nno source brings them back";
    assert!(told.starts_with(expected), "{told}");
    let report: Value = serde_json::from_str(&gateway.command(&["refresh", "free", "--json"]).stdout).unwrap();
    assert_eq!((&report["kept_out"], &report["dead"]), (&1.into(), &0.into()), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_gateway_of_their_configuration_whatever_else_runs() {
    let (world, folder) = (world().await, folder());
    let list = file(&folder, "list", world.proxies().join("\n"));
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let serve = |name: &str, more: &str| {
        let text = format!("listen = \"127.0.0.1:0\"\nstore.url = \"{name}.db\"\n{more}");
        let config = file(&folder, name, text);
        let mut command = proxywhirl(["serve", "--config", &config, "--proxies", &list]);
        (Served::of(command.env("XDG_RUNTIME_DIR", folder.path())), config)
    };
    let named = serve("a.toml", "control.socket = \"run/a.sock\"\n");
    let [first, second] = ["b.toml", "c.toml"].map(|name| serve(name, ""));
    let command = |words: &[&str], config: &str| {
        let mut command = proxywhirl(words);
        run(command.env("XDG_RUNTIME_DIR", folder.path()).env("PROXYWHIRL_CONFIG", config))
    };
    let places = ["run/a.sock", "proxywhirl/control.sock", "proxywhirl/control-2.sock"];
    for ((served, config), place) in [&named, &first, &second].into_iter().zip(places) {
        let removed = command(&["pool", "remove", "--config", config, address(&world.proxies()[0])], &named.1);
        let told = format!("the gateway at {}: 1 removed, 2 left\n", at(place));
        assert!(removed.stderr.starts_with(&told), "{removed:?}");
        let status: Value = serde_json::from_str(&command(&["status", "--json"], config).stdout).unwrap();
        assert_eq!(status["listen"], served.address.as_str());
    }
    let other = file(&folder, "d.toml", "");
    let unknown = command(&["status"], &other);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("hint: say which: --control SOCKET"), "{unknown:?}");
    assert!(places[1..].iter().all(|place| unknown.stderr.contains(&at(place))), "{unknown:?}");
    // A mistake elsewhere does not matter; who cannot know which one is meant, or is told that it has no socket, takes no other.
    let mistaken = file(&folder, "e.toml", "control.socket = \"run/a.sock\"\nlisten_at = 1\n");
    let status: Value = serde_json::from_str(&command(&["status", "--json"], &mistaken).stdout).unwrap();
    assert_eq!(status["listen"], named.0.address.as_str());
    assert_eq!(second.0.stop().0, Some(0));
    for (text, code, why) in [
        ("control.socket = [\n", 2, "error: the configuration cannot be read: "),
        ("control.soket = \"run/a.sock\"\n", 2, "error: the configuration cannot be read: "),
        ("control.socket = false\n", 4, "or it has no control socket"),
    ] {
        let told = command(&["status"], &file(&folder, "f.toml", text));
        assert!(told.code == Some(code) && told.stderr.contains(why), "{text}: {told:?}");
        assert!(told.stderr.contains("--control SOCKET"), "{text}: {told:?}");
    }
    for lacking in [at("g.toml"), file(&folder, "h.toml", "")] {
        let status: Value = serde_json::from_str(&command(&["status", "--json"], &lacking).stdout).unwrap();
        assert_eq!(status["listen"], first.0.address.as_str(), "the only one in the user's own directory");
    }
    assert_eq!(named.0.stop().0, Some(0));
}
