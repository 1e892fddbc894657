//! Credentials: logins that each request fills in, and passwords that nobody gets to see.

mod at_rest;
mod dumps;
mod races;
mod rotation;

use std::collections::BTreeSet;
use std::fs;

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run, secrets, wait_until};
use proxywhirl_world::{Behaviour, Protocol, Upstream, UpstreamOptions, World, WorldPlan};

/// One gateway of a vendor that lets everybody in, and a list that names it with these blanks.
async fn vendor(login: &str) -> (World, String) {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http).any_login()])).await.unwrap();
    let url = format!("http://{login}@{}", vendor_of(&world).addr());
    (world, url)
}

fn vendor_of(world: &World) -> &Upstream {
    &world.upstreams()[0]
}

fn users(world: &World) -> Vec<String> {
    vendor_of(world).logins().into_iter().map(|(user, _)| user).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_gateway_of_a_vendor_serves_many_sessions_and_countries_and_keeps_them_over_a_restart() {
    let (world, url) = vendor("me[-cc-{country}][-city-{city}][-sessid-{session=8}]:hunter2").await;
    let folder = folder();
    let (list, db) = (file(&folder, "list.txt", &url), folder.path().join("pool.db").to_string_lossy().into_owned());
    let origin = world.origin();
    let ask = |served: &Served, scheme: &str, user: &str| {
        let proxy = format!("{scheme}://{user}:x@{}", served.address);
        let ran = curl(["--fail", "--proxy", &proxy, &origin.http_url("/ip")]);
        assert_eq!(ran.code, Some(0), "{user}: {}\n{}", ran.stderr, served.log());
    };
    let served = Served::start(["--db", &db, "--proxies", &list, "--strategy", "session"]);
    for user in ["anna-session-1", "anna-session-2", "anna-session-1", "anna", "anna-country-de-session-1"] {
        ask(&served, "http", user);
    }
    ask(&served, "socks5h", "anna-city-new_york");
    let before = users(&world);
    let [one, two, again, none, german, city] = before.as_slice() else { panic!("{before:?}") };
    assert!(one.starts_with("me-sessid-") && one.len() == "me-sessid-".len() + 8, "{before:?}");
    assert!(one == again && one != two, "{before:?}");
    assert_eq!((none.as_str(), city.as_str()), ("me", "me-city-new_york"));
    // Where another place is asked for, the same name is another session.
    let session = one.rsplit('-').next().unwrap();
    assert!(german.starts_with("me-cc-de-sessid-") && !german.ends_with(session), "{before:?}");
    ask(&served, "http", "anna-session-1-rotate");
    ask(&served, "http", "anna-session-1");
    let rotated = users(&world);
    assert!(rotated[6] == rotated[7] && rotated[6] != *one, "{rotated:?}");
    assert_eq!(served.stop().0, Some(0));

    let served = Served::start(["--db", &db, "--strategy", "session"]);
    ask(&served, "http", "anna-session-1");
    assert_eq!(users(&world)[8], rotated[7], "a session goes on where it was");
    let listed = run(&mut proxywhirl(["pool", "list", "--db", &db]));
    assert!(listed.stdout.contains("http://me[-cc-{country}][-city-{city}][-sessid-{session=8}]:***@"), "{listed:?}");
    assert_eq!(listed.stdout.matches("http://").count(), 1, "{}", listed.stdout);
    // The password of no exit is another one: that of the vendor is sent, and shown to nobody.
    assert!(vendor_of(&world).logins().iter().all(|(_, password)| password == "hunter2"));
}

/// How many connections to a port of this machine are open, by what the system says of those who opened them.
fn open_connections(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let (remote, established) = (format!("0100007F:{port:04X}"), "01");
    let is_one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(2) == Some(&remote.as_str()) && words.get(3) == Some(&established)
    };
    table.lines().filter(|line| is_one(line)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_login_cannot_come_again_does_not_wait() {
    for (login, is_kept) in [("me-{rand}", false), ("me-{session}", false), ("me[-{session}]", true)] {
        let (world, url) = vendor(&format!("{login}:hunter2")).await;
        let folder = folder();
        let list = file(&folder, "list.txt", &url);
        let served = Served::start(["--proxies", &list, "--strategy", "session"]);
        let port = vendor_of(&world).addr().port();
        let ask = |user: &str| {
            let proxy = format!("http://{user}:x@{}", served.address);
            let ran = curl(["--fail", "--proxy", &proxy, &world.origin().http_url("/ip")]);
            assert_eq!(ran.code, Some(0), "{user}: {}\n{}", ran.stderr, served.log());
        };
        (0..3).for_each(|_| ask("anna"));
        // It would be there for 30 seconds.
        wait_until("those that are of no use are closed", || open_connections(port) == usize::from(is_kept));
        if login == "me-{session}" {
            (0..3).for_each(|_| ask("anna-session-1"));
            assert_eq!(open_connections(port), 1, "a session uses its own again");
            ask("anna-session-1-rotate");
            wait_until("that of the life before is closed", || open_connections(port) == 1);
        }
        if is_kept {
            (0..3).for_each(|_| ask("anna"));
            assert_eq!(open_connections(port), 1, "they log in alike");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_check_has_a_session_of_its_own_and_what_cannot_be_filled_is_an_error() {
    let (world, url) = vendor("me-{session}:hunter2").await;
    let judge = Served::judge();
    let check = |url: &str| {
        let judge = format!("http://{}/", judge.address);
        run(&mut proxywhirl(["check", "--level", "http", "--judge", &judge, url]))
    };
    for _ in 0..2 {
        let ran = check(&url);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let sessions: BTreeSet<_> = users(&world).into_iter().collect();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    let ran = check(&url.replace("{session}", "{sesion}"));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("none of {session}, {rand}"), "{}", ran.stderr);
    let ran = check(&url.replace("{session}", "{country}"));
    assert!(ran.stderr.contains("must stand in brackets, as in [-country-{country}]"), "{}", ran.stderr);
}

/// Everything that can be said is said, at the level of the log that says most; what is looked through is all of it, as in
/// every other test.
#[allow(clippy::too_many_lines, reason = "one scene, and all that can be asked of it")]
#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_told_in_any_log_event_answer_or_error() {
    let right = |protocol| UpstreamOptions::new(protocol).credentials("user", "hunter2-right");
    let world = World::start(WorldPlan::new(vec![
        right(Protocol::Http),
        right(Protocol::Socks5h),
        right(Protocol::Http).behaviour(Behaviour::Dead),
        right(Protocol::Http).behaviour(Behaviour::CloseAfterHead),
        right(Protocol::Socks5),
    ]))
    .await
    .unwrap();
    let folder = folder();
    let (list, wrong) = (world.complete_list(), world.proxies()[4].replace("right", "wrong"));
    let chain = format!("{} -> {}", world.proxies()[1], world.proxies()[0]);
    let proxies = file(&folder, "proxies.txt", [wrong.as_str(), chain.as_str()].join("\n"));
    let config = format!(
        "[events]\nfile = \"events.jsonl\"\n[[users]]\nname = \"anna\"\npassword_env = \"ANNA\"\n\
         [[sources]]\nname = \"own\"\nlocation = \"{list}?token=s3cret-query\"\nusername = \"me\"\npassword = \"s3cret\"\n\
         headers = {{ X-Key = \"s3cret-key\" }}\ntrust = true\n"
    );
    let config = file(&folder, "proxywhirl.toml", config);
    let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
    let mut serve = proxywhirl(["serve", "--listen", "127.0.0.1:0", "--log", "trace", "--config", &config]);
    serve.args(["--proxies", &proxies, "--control", &socket]).env("ANNA", "hunter2-anna");
    let served = Served::of(&mut serve);
    served.wait_for_log("own");
    let target = world.origin().http_url("/headers");
    for user in
        ["anna:hunter2-anna", "anna:hunter2-wrong", "anna-contry-de:hunter2-anna", "anna-session-1:hunter2-anna"]
    {
        for more in [&[][..], &["--proxytunnel"], &["--header", "ProxyWhirl-Explain: yes", "--include"]] {
            let proxy = format!("http://{user}@{}", served.address);
            drop(curl([&["--proxy", &proxy, &target], more].concat()));
        }
        drop(curl(["--proxy", &format!("socks5h://{user}@{}", served.address), &target]));
    }
    let command = |words: &[&str]| {
        run(proxywhirl(words).env("PROXYWHIRL_CONTROL", &socket).env("ANNA", "hunter2-anna").current_dir(folder.path()))
    };
    let requests = command(&["requests", "--json"]);
    assert!(requests.stdout.contains("user:***@"), "{requests:?}");
    let explained = command(&["explain", &target]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
    for words in [
        &["requests"][..],
        &["explain", "1"],
        &["bans", "list"],
        &["sites"],
        &["strategy"],
        &["refresh"],
        &["reload"],
        &["config", "show", "--origin"],
        &["config", "check"],
    ] {
        drop(command(words));
    }
    for place in ["/metrics", "/v1/status", "/v1/requests", "/v1/plugins", "/v1/sites", "/v1/bans", "/v1/users"] {
        let ran = curl(["--unix-socket", &socket, &format!("http://gateway{place}")]);
        assert!(ran.code == Some(0) && !ran.stdout.is_empty(), "{place}: {ran:?}");
    }
    let events = || fs::read_to_string(folder.path().join("events.jsonl")).unwrap_or_default();
    wait_until("a failure among the events", || events().contains("request-failure") || events().contains("\"fault\""));
    assert!(events().contains("user:***@"), "{}", events());
    secrets::refuse("the log of events", &events());
    let (code, log) = served.stop();
    assert_eq!(code, Some(0));
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "the log says all that it can");
}
