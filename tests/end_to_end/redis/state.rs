//! What gateways that share a server know of each other: sessions and bans, and what becomes of it while the server is away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proxywhirl_tests::{Load, RedisServer, Served, curl, file, folder, proxywhirl, run, run_with_input, wait_until};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::bans::RULE;
use super::super::sessions::{exits, world};
use super::{PASSWORD, done, rows, server, successes, urls};

/// What a gateway does is to be known at the others within this time.
const SOON: Duration = Duration::from_secs(1);

/// One of several gateways.
struct Gateway {
    served: Served,
    folder: TempDir,
    socket: String,
}

impl Gateway {
    fn start(url: &str, (save_interval, config): (&str, &str), proxies: &[String]) -> Self {
        let folder = folder();
        let store = format!("[store]\nurl = \"{url}\"\nsave_interval = \"{save_interval}\"\n");
        let config = file(&folder, "proxywhirl.toml", format!("{config}{store}"));
        let list = file(&folder, "list", proxies.join("\n"));
        let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
        let words = ["--config", &config, "--control", &socket, "--strategy", "session"];
        let served = match proxies {
            [] => Served::start(words),
            _ => Served::start([&words[..], &["--proxies", &list]].concat()),
        };
        Self { served, folder, socket }
    }

    fn text(&self, target: &str) -> String {
        let ran = curl(["--fail", "--unix-socket", &self.socket, &format!("http://gateway{target}")]);
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.stderr, self.served.log());
        ran.stdout
    }

    fn get(&self, target: &str) -> Value {
        serde_json::from_str(&self.text(target)).unwrap()
    }

    fn trouble(&self) -> Value {
        self.get("/v1/status")["store"]["trouble"].clone()
    }

    fn members(&self) -> u64 {
        self.get("/v1/status")["members"].as_u64().unwrap()
    }

    /// Sites that have bans, and who is banned there.
    fn bans(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let bans = self.get("/v1/bans");
        bans.as_array().unwrap().iter().map(|ban| (text(&ban["site"]), text(&ban["proxy"]))).collect()
    }

    fn lift(&self) {
        let ran = run(proxywhirl(["bans", "lift", "--all"]).env("PROXYWHIRL_CONTROL", &self.socket));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }

    /// How many sessions it remembers, as it told last.
    fn sessions(&self) -> u64 {
        let metrics = self.text("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix("proxywhirl_sessions "));
        line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
    }

    fn exits(&self, url: &str, sessions: std::ops::Range<usize>) -> BTreeMap<usize, String> {
        exits(&self.folder, &self.served, url, sessions)
    }

    fn request(&self, url: &str) {
        let ran = curl(["--fail", "--proxy", &self.served.proxy("http"), url]);
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.stderr, self.served.log());
    }
}

/// The user names of the logins that a gateway has in place of others.
fn logins(gateway: &Gateway) -> Vec<String> {
    let rows = gateway.get("/v1/credentials");
    rows.as_array().unwrap().iter().map(|row| row["username"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_set_at_one_gateway_is_known_at_the_others_and_outlives_them_all() {
    let (server, world) = (server(), world(1).await);
    let (url, _) = urls(&server);
    let gateways = three(&url, ("1s", ""), &world.proxies());
    let command = |gateway: &Gateway, words: &[&str], input: &str| {
        let words = [&["credentials"], words].concat();
        let ran = run_with_input(proxywhirl(&words).env("PROXYWHIRL_CONTROL", &gateway.socket), input);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stderr
    };
    let soon = |gateways: &[Gateway], expected: &[&str]| {
        let began = Instant::now();
        wait_until("all of them know it", || gateways.iter().all(|gateway| logins(gateway) == expected));
        assert!(began.elapsed() < SOON * 2, "{:?}", began.elapsed());
    };
    let told = command(&gateways[0], &["set", "--host", "127.0.0.1", "--username", "one"], "hunter2-one\n");
    assert!(told.contains("kept in redis://") && !told.contains("hunter2"), "{told}");
    soon(&gateways, &["one"]);
    command(&gateways[1], &["set", "--host", "127.0.0.1", "--username", "two"], "hunter2-two\n");
    soon(&gateways, &["two"]);
    drop(gateways);
    let gateways = three(&url, ("1s", ""), &[]);
    assert!(gateways.iter().all(|gateway| logins(gateway) == ["two"]));
    command(&gateways[2], &["unset", "--host", "127.0.0.1"], "");
    soon(&gateways, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_set_while_the_server_is_away_is_not_undone_when_it_is_back() {
    let (server, world) = (server(), world(1).await);
    let (url, _) = urls(&server);
    let [one, other] = [(); 2].map(|()| Gateway::start(&url, ("1s", ""), &world.proxies()));
    let set = |user: &str| {
        let words = ["credentials", "set", "--host", "127.0.0.1", "--username", user];
        run_with_input(proxywhirl(words).env("PROXYWHIRL_CONTROL", &one.socket), "hunter2\n")
    };
    assert_eq!(set("old").code, Some(0));
    wait_until("both know it", || [&one, &other].iter().all(|gateway| logins(gateway) == ["old"]));
    server.stand_still(true);
    let told = set("new");
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(
        told.stderr.contains("until the gateway ends, or redis://") && !told.stderr.contains("hunter2"),
        "{told:?}"
    );
    assert_eq!(logins(&one), ["new"]);
    server.stand_still(false);
    let is_new = |gateway: &Gateway| {
        let users = logins(gateway);
        assert!(users == ["new"] || !std::ptr::eq(gateway, &one), "what was set is undone: {users:?}");
        users == ["new"]
    };
    wait_until("it is kept, and known to the other", || is_new(&one) && is_new(&other));
    drop((one, other));
    assert_eq!(logins(&Gateway::start(&url, ("1s", ""), &[])), ["new"]);
}

/// Three gateways over one server.
fn three(url: &str, config: (&str, &str), proxies: &[String]) -> [Gateway; 3] {
    [(); 3].map(|()| Gateway::start(url, config, proxies))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sticks_over_three_gateways() {
    let (world, server) = (world(20).await, server());
    let (store, _) = urls(&server);
    let (url, proxies) = (world.origin().http_url("/ip"), world.proxies());
    let gateways = three(&store, ("1s", ""), &proxies[..10]);
    // One after the other, while newcomers would take their share of those that are not known.
    let first = gateways[0].exits(&url, 0..50);
    done(&[&["add", "--db", &store], &proxies[10..].iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    wait_until("all know the newcomers and the sessions", || {
        gateways.iter().all(|gateway| gateway.members() == 20 && gateway.sessions() == 50)
    });
    for gateway in &gateways {
        assert_eq!(gateway.exits(&url, 0..50), first);
    }
    // At once, over all three.
    let at_once: Vec<_> = std::thread::scope(|scope| {
        let clients = gateways.each_ref().map(|gateway| scope.spawn(|| gateway.exits(&url, 50..100)));
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(at_once.iter().all(|exits| *exits == at_once[0]), "{at_once:?}");
    // Where a member leaves, its sessions move, to the same one at all of them, and the others stay.
    let left = first[&0].clone();
    let place = left.rsplit('.').next().unwrap().parse::<usize>().unwrap() - 1;
    done(&["remove", "--db", &store, &world.upstreams()[place].url()]);
    wait_until("all know that one has left", || gateways.iter().all(|gateway| gateway.members() == 19));
    let after = gateways[1].exits(&url, 0..100);
    for (session, exit) in first.iter().chain(&at_once[0]) {
        assert!(after[session] != left && (*exit == left || after[session] == *exit), "{session}: {exit}, {after:?}");
    }
    for gateway in &gateways {
        assert_eq!(gateway.exits(&url, 0..100), after);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_and_its_end_are_known_at_all_gateways_within_a_second() {
    let http = || UpstreamOptions::new(Protocol::Http);
    let refused = http().behaviour(Behaviour::AnswerStatus(403));
    let world = World::start(WorldPlan::new(vec![http(), refused, http(), http()])).await.unwrap();
    let (server, url) = (server(), world.origin().http_url("/"));
    let (store, _) = urls(&server);
    // However seldom statistics are saved.
    let gateways = three(&store, ("30s", RULE), &world.proxies());
    let within_a_second = |what: &str, holds: &dyn Fn(&Gateway) -> bool| {
        let start = Instant::now();
        wait_until(what, || gateways.iter().all(holds));
        assert!(start.elapsed() < SOON, "{what}: after {:?}", start.elapsed());
    };
    let banned = || {
        while gateways[0].bans().is_empty() {
            gateways[0].request(&url);
        }
    };
    banned();
    within_a_second("all know the ban", &|gateway| gateway.bans().len() == 1);
    let seen = world.upstreams()[1].seen().len();
    (0..8).for_each(|_| gateways.iter().for_each(|gateway| gateway.request(&url)));
    assert_eq!(world.upstreams()[1].seen().len(), seen, "nobody goes there");
    gateways[2].lift();
    within_a_second("all know that it is over", &|gateway| gateway.bans().is_empty());
    // The next one is known again.
    banned();
    within_a_second("all know the next ban", &|gateway| gateway.bans().len() == 1);
    // And so does who comes later.
    assert_eq!(Gateway::start(&store, ("30s", RULE), &[]).bans().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_fails_no_request_and_nothing_is_lost() {
    let http = || UpstreamOptions::new(Protocol::Http);
    let refused = http().behaviour(Behaviour::AnswerStatus(403));
    let world = World::start(WorldPlan::new(vec![http(), http(), refused, http(), http()])).await.unwrap();
    let (mut server, url) = (server(), world.origin().http_url("/ip"));
    let (store, shown) = urls(&server);
    let gateways = three(&store, ("1s", RULE), &world.proxies());
    while gateways[0].bans().is_empty() {
        gateways[0].request(&url);
    }
    let sessions = gateways[0].exits(&url, 0..20);
    wait_until("all know what one has done", || {
        gateways.iter().all(|gateway| gateway.bans().len() == 1 && gateway.sessions() == 20)
    });
    wait_until("it is saved", || successes(&store) > 0 && gateways.iter().all(|gateway| gateway.trouble().is_null()));
    let before = counted(&world);
    wait_until("the uses are counted", || successes(&store) == before);
    for loses_all in [false, true] {
        let load: Vec<_> = gateways.iter().map(|gateway| Load::start(&gateway.served.address, &url, 4, 100)).collect();
        wait_until("the load runs", || load.iter().all(|load| load.answered() > 20));
        if loses_all {
            server.ask_all(&[&["AUTH", PASSWORD][..], &["FLUSHALL"]]);
        }
        server.kill();
        wait_until("all say so", || gateways.iter().all(|gateway| !gateway.trouble().is_null()));
        let told = gateways[1].trouble()["error"].as_str().unwrap().to_owned();
        assert!(told.starts_with(&format!("{shown}: cannot be reached (")), "{told}");
        let so_far: u64 = load.iter().map(Load::answered).sum();
        wait_until("they serve on", || load.iter().map(Load::answered).sum::<u64>() > so_far + 600);
        server.start_again();
        wait_until("all are well again", || gateways.iter().all(|gateway| gateway.trouble().is_null()));
        for load in load {
            let loaded = load.stop();
            assert!(loaded.failures.is_empty() && loaded.answered == loaded.sent, "{loaded:?}");
        }
        // Members, uses, bans and sessions.
        let expected = counted(&world);
        wait_until("every use is counted", || successes(&store) == expected);
        assert_eq!(rows(&store).len(), 5);
        let kept = |hash: &str| {
            let name = format!("{{proxywhirl:default}}:{hash}");
            server.ask_all(&[&["AUTH", PASSWORD][..], &["HLEN", &name]])
        };
        wait_until("bans and sessions are kept", || {
            kept("bans").contains(":1\r\n") && kept("sessions").contains(":20\r\n")
        });
        for gateway in &gateways {
            assert_eq!((gateway.bans().len(), gateway.exits(&url, 0..20)), (1, sessions.clone()));
        }
        let expected = counted(&world);
        wait_until("these uses too", || successes(&store) == expected);
    }
    a_ban_is_lifted_while_the_server_loses_it(&mut server, &gateways);
    for Gateway { served, .. } in gateways {
        let (code, log) = served.stop();
        assert_eq!(code, Some(0), "{log}");
    }
}

/// Of a ban that one of them lifts meanwhile the others know nothing, and yet bring it back to nobody.
fn a_ban_is_lifted_while_the_server_loses_it(server: &mut RedisServer, gateways: &[Gateway]) {
    server.ask_all(&[&["AUTH", PASSWORD][..], &["FLUSHALL"]]);
    server.kill();
    wait_until("all say so", || gateways.iter().all(|gateway| !gateway.trouble().is_null()));
    gateways[0].lift();
    server.start_again();
    wait_until("all are well again", || gateways.iter().all(|gateway| gateway.trouble().is_null()));
    wait_until("the ban is over", || gateways.iter().all(|gateway| gateway.bans().is_empty()));
    let kept = server.ask_all(&[&["AUTH", PASSWORD][..], &["HLEN", "{proxywhirl:default}:bans"]]);
    assert!(kept.contains(":0\r\n"), "{kept}");
}

/// Requests that have gone through upstreams that let them.
fn counted(world: &World) -> u64 {
    let upstreams = world.upstreams().iter().enumerate().filter(|(place, _)| *place != 2);
    upstreams.map(|(_, upstream)| upstream.seen().len() as u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_begins_without_its_server_and_has_the_pool_when_it_is_there() {
    let (world, mut server) = (world(4).await, server());
    let (store, shown) = urls(&server);
    let (url, proxies) = (world.origin().http_url("/ip"), world.proxies());
    // What was there before: two members that have been used, and a session.
    let before = Gateway::start(&store, ("1s", ""), &proxies[..2]);
    let sessions = before.exits(&url, 0..1);
    (0..5).for_each(|_| before.request(&url));
    assert_eq!(before.served.stop().0, Some(0));
    assert_eq!(successes(&store), 6);
    let added = rows(&store)[0]["added"].clone();
    server.kill();

    let gateway = Gateway::start(&store, ("1s", ""), &proxies[1..3]);
    assert_eq!(gateway.members(), 2);
    let told = gateway.trouble()["error"].as_str().unwrap().to_owned();
    assert!(told.starts_with(&format!("{shown}: cannot be reached (")), "{told}");
    assert_eq!(gateway.served.log().matches("the store cannot be reached").count(), 1, "{}", gateway.served.log());
    assert!(gateway.text("/metrics").contains("proxywhirl_store_failing 1"));
    (0..4).for_each(|_| gateway.request(&url));
    // One that has nobody to serve with yet begins, too.
    let other = Gateway::start(&store, ("1s", ""), &[]);
    assert_eq!(other.members(), 0);
    server.start_again();
    wait_until("the pool has come in", || gateway.members() == 3 && gateway.trouble().is_null());
    wait_until("at both", || other.members() == 3 && other.trouble().is_null());
    assert_eq!(gateway.exits(&url, 0..1), sessions, "and the session");
    wait_until("uses of before and of meanwhile are one", || successes(&store) == 11);
    assert_eq!((rows(&store).len(), &rows(&store)[0]["added"]), (3, &added));
    other.request(&url);
    assert!(!gateway.served.log().contains("hunter2"), "{}", gateway.served.log());
    // What time does not mend is an error as before.
    let wrong = store.replace("hunter2", "hunter3");
    let ran = run(&mut proxywhirl(["serve", "--listen", "127.0.0.1:0", "--db", &wrong]));
    assert_eq!(ran.code, Some(4));
    assert!(ran.stderr.contains("does not accept the user name and password"), "{}", ran.stderr);
    server.ask_all(&[&["AUTH", PASSWORD][..], &["HSET", "{proxywhirl:later}:layout", "version", "99"]]);
    let ran = run(&mut proxywhirl(["serve", "--listen", "127.0.0.1:0", "--db", &format!("{store}?pool=later")]));
    assert!(ran.code == Some(4) && ran.stderr.contains("later version"), "{}", ran.stderr);
    assert_eq!(gateway.get("/v1/status")["store"], json!({"url": shown, "trouble": null}));
}
