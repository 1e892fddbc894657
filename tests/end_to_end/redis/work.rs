//! Gateways that share a pool, and what they divide among them: rates, sources, checks.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxywhirl_tests::{RedisServer, Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

use crate::limits::at_once;

/// Gateways of one pool, each with a control socket.
pub(super) struct Several {
    pub(super) world: World,
    folder: tempfile::TempDir,
    pub(super) gateways: Vec<Served>,
}

impl Several {
    /// Starts so many over upstreams of the world, of which all know, with this in their configuration.
    pub(super) async fn start(server: &RedisServer, gateways: usize, upstreams: usize, config: &str) -> Self {
        Self::over(server, world(upstreams).await, gateways, config)
    }

    fn over(server: &RedisServer, world: World, gateways: usize, config: &str) -> Self {
        let folder = folder();
        let list = file(&folder, "list.txt", world.proxies().join("\n"));
        let config = format!("[store]\nurl = \"{}\"\n{config}", server.url());
        let config = file(&folder, "proxywhirl.toml", config);
        let mut several = Self { world, folder, gateways: Vec::new() };
        for number in 0..gateways {
            let socket = several.socket(number);
            let served = Served::start(["--config", &config, "--proxies", &list, "--control", &socket]);
            several.gateways.push(served);
        }
        several
    }

    fn socket(&self, number: usize) -> String {
        self.folder.path().join(format!("run{number}/control.sock")).to_string_lossy().into_owned()
    }

    pub(super) fn status(&self, number: usize) -> Value {
        let ran = curl(["--fail", "--unix-socket", &self.socket(number), "http://gateway/v1/status"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// Requests that upstreams have had.
    fn requests(&self) -> u64 {
        self.world.upstreams().iter().map(|upstream| upstream.counters().requests()).sum()
    }

    /// Sends so many requests to each gateway at once; how long it takes until all are answered, which they are.
    fn ask(&self, counts: [usize; 3]) -> Duration {
        let (url, began) = (self.world.origin().http_url("/ip"), Instant::now());
        thread::scope(|scope| {
            for (gateway, count) in self.gateways.iter().zip(counts).filter(|(_, count)| *count > 0) {
                let url = &url;
                scope.spawn(move || {
                    assert_eq!(at_once(count, url, &gateway.proxy("http")), vec!["200"; count], "{}", gateway.log());
                });
            }
        });
        began.elapsed()
    }
}

async fn world(upstreams: usize) -> World {
    let plan = (0..upstreams).map(|_| UpstreamOptions::new(Protocol::Http)).collect();
    World::start(WorldPlan::new(plan)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_a_second_are_ten_a_second_for_three_gateways() {
    let server = RedisServer::start([""; 0]);
    // Five a second for each of two proxies, or ten for the site: both make ten.
    for limits in ["per_site = { rate = 10, burst = 2 }", "per_proxy = { rate = 5, burst = 1 }"] {
        server.ask(&["FLUSHALL"]);
        let config = format!("[limits]\n{limits}\nwait = \"30s\"\n");
        let several = Several::start(&server, 3, 2, &config).await;
        let (is_over, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let (even, uneven, seen) = thread::scope(|scope| {
            let counting = scope.spawn(|| {
                let mut seen = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    seen.push((began.elapsed().as_secs_f64(), several.requests()));
                    thread::sleep(Duration::from_millis(20));
                }
                seen
            });
            let even = several.ask([17, 17, 18]).as_secs_f64();
            // All of it at one of them; then at another one.
            let uneven = (several.ask([0, 30, 0]) + several.ask([10, 0, 0])).as_secs_f64();
            is_over.store(true, Ordering::Relaxed);
            (even, uneven, counting.join().unwrap())
        });
        // (52 - 2) / 10, and 40 / 10: no more and no less than a tenth.
        assert!((4.5..5.5).contains(&even) && (3.6..4.4).contains(&uneven), "{limits}: {even} s, {uneven} s");
        for (from, before) in &seen {
            for (to, after) in seen.iter().filter(|(to, _)| to - from > 2.0) {
                let most = (to - from) * 10.0 * 1.1 + 2.0;
                assert!((after - before) as f64 <= most, "{limits}: {} in {} s", after - before, to - from);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_each_gateways_own_while_the_server_is_away() {
    let mut server = RedisServer::start([""; 0]);
    let several =
        Several::start(&server, 3, 1, "[limits]\nper_site = { rate = 0.01, burst = 4 }\nwait = \"1s\"\n").await;
    let trouble = |number: usize| several.status(number)["sharing"]["limits_trouble"].clone();
    let (url, proxy) = (several.world.origin().http_url("/ip"), several.gateways[1].proxy("http"));
    several.ask([4, 0, 0]);
    assert_eq!(at_once(1, &url, &proxy), ["503"], "the first one has had all of it");
    assert!(trouble(1).is_null());
    server.kill();
    // The third one has asked for nothing yet.
    several.ask([0, 0, 4]);
    wait_until("it says so", || trouble(2)["error"].as_str().is_some_and(|told| told.contains("cannot be reached")));
    server.start_again();
    wait_until("it says that it is well again", || trouble(2).is_null());
    assert!(several.gateways[2].log().contains("limits are shared again"), "{}", several.gateways[2].log());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_is_read_by_one_gateway_and_by_another_one_when_that_dies() {
    let server = RedisServer::start([""; 0]);
    let world = world(2).await;
    let (names, proxies) = (["one", "other"], world.proxies());
    let mut config = "[pool]\nallow_private = true\n".to_owned();
    for (name, proxy) in names.iter().zip(&proxies) {
        world.origin().publish(&format!("{name}.txt"), "text/plain", proxy.clone());
        let url = world.origin().http_url(&format!("/lists/{name}.txt"));
        writeln!(config, "[[sources]]\nname = \"{name}\"\nlocation = \"{url}\"\ntrust = true\ninterval = \"10s\"")
            .unwrap();
    }
    let mut several = Several::over(&server, world, 3, &config);
    let read = |several: &Several| names.map(|name| several.world.origin().requests_for(&format!("/lists/{name}.txt")));
    assert_eq!(read(&several), [1, 1], "once each, whoever started");
    let path = several.folder.path().join("proxywhirl.toml");
    let list = |words: &[&str]| {
        let socket = several.socket(1);
        let named = ["sources", "list", "--control", &socket, "--config", path.to_str().unwrap()];
        run(&mut proxywhirl([&named[..], words].concat())).stdout
    };
    let holder = |several: &Several, number: usize, source: &str| {
        several.status(number)["sharing"]["work"]["sources"][source].as_str().map(str::to_owned)
    };
    let node = |several: &Several, number: usize| {
        several.status(number)["sharing"]["work"]["node"].as_str().unwrap().to_owned()
    };
    let nodes: Vec<String> = (0..3).map(|number| node(&several, number)).collect();
    let first = holder(&several, 2, "one").unwrap();
    let number = nodes.iter().position(|node| *node == first).unwrap();
    wait_until("the gateways know of each other", || {
        let rows: Value = serde_json::from_str(&list(&["--json"])).unwrap();
        let readers = rows.as_array().unwrap().iter().map(|row| row["reader"].as_str().unwrap_or_default().to_owned());
        readers.collect::<Vec<_>>() == [first.clone(), holder(&several, 1, "other").unwrap_or_default()]
    });
    assert!(list(&[]).contains("READ BY") && list(&[]).contains(&first), "{}", list(&[]));
    wait_until("the interval is over", || read(&several)[0] == 2);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(read(&several)[0], 2, "by one of them");
    several.gateways.remove(number).kill();
    let (began, left) = (Instant::now(), (number + 1) % 3);
    wait_until("somebody else reads it", || {
        holder(&several, left, "one").is_some_and(|holder| holder != first && nodes.contains(&holder))
    });
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    wait_until("it is read again", || read(&several)[0] == 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_are_configured_otherwise_in_what_has_to_be_the_same_say_so_once() {
    let server = RedisServer::start([""; 0]);
    let world = world(2).await;
    let of = |list: &str, rate: u32| {
        world.origin().publish(list, "text/plain", world.proxies()[0].clone());
        let url = world.origin().http_url(&format!("/lists/{list}"));
        let source = format!("[[sources]]\nname = \"list\"\nlocation = \"{url}\"\ntrust = true\n");
        format!("[pool]\nallow_private = true\n[limits]\nper_site = {{ rate = {rate} }}\n{source}")
    };
    let (one, other) = (of("a.txt", 10), of("b.txt", 5));
    let mut several = Several::over(&server, world, 1, &one);
    let text = format!("[store]\nurl = \"{}\"\n{other}", server.url());
    let config = file(&several.folder, "other.toml", text);
    let second = Served::start(["--config", &config, "--control", &several.socket(1)]);
    several.gateways.push(second);
    let differs = |number: usize| several.status(number)["sharing"]["work"]["differs"].clone();
    let node = |number: usize| several.status(number)["sharing"]["work"]["node"].clone();
    for (number, other) in [(0, 1), (1, 0)] {
        let expected = serde_json::json!({ "limits.per_site": [node(other)], "source list": [node(other)] });
        wait_until("the difference is told", || differs(number) == expected);
        several.gateways[number].wait_for_log("source list");
        let ran = run(&mut proxywhirl(["status", "--control", &several.socket(number)]));
        assert!(ran.stdout.contains("differs     source list is another one at "), "{ran:?}");
    }
    thread::sleep(Duration::from_secs(7));
    for gateway in &several.gateways {
        let told = gateway.log().lines().filter(|line| line.contains("configured otherwise")).count();
        assert_eq!(told, 2, "{}", gateway.log());
    }
    std::fs::write(&config, format!("[store]\nurl = \"{}\"\n{one}", server.url())).unwrap();
    assert_eq!(run(&mut proxywhirl(["reload", "--control", &several.socket(1)])).code, Some(0));
    wait_until("it is the same again", || [0, 1].iter().all(|number| differs(*number).is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_is_checked_by_one_gateway_and_all_hear_of_it() {
    let server = RedisServer::start([""; 0]);
    let again = "fresh = \"1s\"\nfresh_max = \"1s\"\nretry = \"200ms\"\nretry_max = \"500ms\"";
    let config = format!("[pool]\nallow_private = true\n[check]\nlevel = \"tcp\"\n{again}\n");
    let mut several = Several::start(&server, 3, 12, &config).await;
    let work = |several: &Several, number: usize| several.status(number)["sharing"]["work"].clone();
    let shards = |several: &Several, number: usize| -> u32 {
        let told = work(several, number)["checks"].as_str().unwrap().to_owned();
        told.strip_suffix("/64").unwrap().parse().unwrap()
    };
    let are_divided = |several: &Several, gateways: &[usize]| {
        let parts: Vec<u32> = gateways.iter().map(|number| shards(several, *number)).collect();
        parts.iter().all(|part| *part > 0 && *part < 64) && parts.iter().sum::<u32>() == 64
    };
    wait_until("the members are divided", || are_divided(&several, &[0, 1, 2]));
    let connections = |several: &Several| -> Vec<u64> {
        several.world.upstreams().iter().map(|upstream| upstream.counters().connections).collect()
    };
    let (before, span) = (connections(&several), Duration::from_secs(6));
    thread::sleep(span);
    // Once a second, a fifth more or less; three times that if each gateway did it.
    let checks: Vec<u64> = connections(&several).iter().zip(before).map(|(after, before)| after - before).collect();
    assert!(checks.iter().all(|checks| (3..=9).contains(checks)), "{checks:?}");

    several.world.upstreams()[0].set_behaviour(Behaviour::Dead).await.unwrap();
    let url = several.world.origin().http_url("/ip");
    let shut_out = |number: usize| {
        let explained = run(&mut proxywhirl(["explain", &url, "--control", &several.socket(number)]));
        explained.stdout.contains("  1 with an open breaker")
    };
    wait_until("all know that it is dead", || (0..3).all(shut_out));

    several.gateways.remove(1).kill();
    let began = Instant::now();
    wait_until("the others check its members", || are_divided(&several, &[0, 2]));
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_takes_no_work_from_those_who_serve() {
    let (server, world) = (RedisServer::start([""; 0]), world(1).await);
    let folder = folder();
    let list = "[[sources]]\nname = \"one\"\nlocation = \"http://127.0.0.1:1/one.txt\"\ntrust = true\n";
    let check = "[pool]\nallow_private = true\n[check]\nlevel = \"tcp\"\n";
    let config = format!("[store]\nurl = \"{}\"\n{check}{list}", server.url());
    let config = file(&folder, "proxywhirl.toml", config);
    // An origin that answers when a gateway that joins would have joined long ago.
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", origin.local_addr().unwrap());
    let held = thread::scope(|scope| {
        // With a strategy that hands over what it has learned.
        let proxy = &world.proxies()[0];
        let words = ["get", &url, "--config", &config, "--strategy", "least-used", "--proxies", proxy];
        let words = words.map(str::to_owned);
        let got = scope.spawn(move || run(&mut proxywhirl(words)));
        origin.set_nonblocking(true).unwrap();
        let mut accepted = None;
        wait_until("it asks the origin", || {
            accepted = origin.accept().ok();
            accepted.is_some()
        });
        let (mut client, _) = accepted.unwrap();
        client.set_nonblocking(false).unwrap();
        assert!(client.read(&mut [0; 4_096]).unwrap() > 0);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            assert_eq!(server.ask(&["EXISTS", "{proxywhirl:default}:lease:source:one"]), ":0\r\n+OK\r\n");
        }
        let held = server.ask(&["KEYS", "*"]);
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
        let got = got.join().unwrap();
        assert_eq!((got.code, got.stdout.as_str()), (Some(0), "ok"), "{}", got.stderr);
        held
    });
    assert!(held.contains(":layout") && !held.contains(":lease") && !held.contains(":checkers"), "{held}");
    let owners = server.ask(&["HKEYS", "{proxywhirl:default}:owners"]);
    assert!(!owners.contains("host/strategies"), "what is learned is left to those who serve: {owners}");
}
