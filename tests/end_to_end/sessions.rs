//! Sessions stick: by user name and by header, while members leave and join, and over a restart.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use tempfile::TempDir;

const UPSTREAMS: u8 = 100;
const SESSIONS: usize = 300;

/// Upstreams that the origin tells apart by the address that they come from.
pub(super) async fn world(upstreams: u8) -> World {
    let options = (0..upstreams)
        .map(|n| UpstreamOptions::new(Protocol::Http).egress(IpAddr::V4(Ipv4Addr::new(127, 2, 0, n + 1))))
        .collect();
    World::start(WorldPlan::new(options)).await.unwrap()
}

/// Where each session's request came out.
pub(super) fn exits(
    folder: &TempDir,
    served: &Served,
    url: &str,
    sessions: std::ops::Range<usize>,
) -> BTreeMap<usize, String> {
    let config = sessions.clone().fold(String::new(), |mut text, n| {
        let address = &served.address;
        writeln!(text, "next\nfail\nsilent\nshow-error\nmax-time = 20\nnoproxy = \"\"\nurl = \"{url}\"").unwrap();
        writeln!(text, "proxy = \"http://user-session-s{n}:x@{address}\"\nwrite-out = \"\\n\"").unwrap();
        text
    });
    let config = config.trim_start_matches("next\n");
    let ran = curl(["--config", &file(folder, "curl", config)]);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stderr, served.log());
    let exits: Vec<String> = ran.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    assert_eq!(exits.len(), sessions.len(), "{}", ran.stdout);
    sessions.zip(exits).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_sessions_of_a_member_that_left_move_and_the_rest_survive_a_restart() {
    let world = world(UPSTREAMS).await;
    let folder = folder();
    let list = file(&folder, "list.txt", world.proxies().join("\n"));
    let db = folder.path().join("pool.db").to_string_lossy().into_owned();
    let url = world.origin().http_url("/ip");

    let served = Served::start(["--db", &db, "--proxies", &list, "--strategy", "session"]);
    let first = exits(&folder, &served, &url, 0..SESSIONS);
    assert_eq!(exits(&folder, &served, &url, 0..SESSIONS), first, "a session sticks");
    let used: std::collections::BTreeSet<&String> = first.values().collect();
    assert!(
        used.len() > 80,
        "{SESSIONS} sessions spread over {} of {UPSTREAMS}: {used:?}\n{}",
        used.len(),
        served.log()
    );
    assert_eq!(served.stop().0, Some(0));

    let gone = &world.upstreams()[7];
    let ran = run(&mut proxywhirl(["pool", "remove", "--db", &db, &gone.url()]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let served = Served::start(["--db", &db, "--strategy", "session"]);
    let second = exits(&folder, &served, &url, 0..SESSIONS);
    let left = "127.2.0.8";
    for (session, exit) in &first {
        let now = &second[session];
        assert!(now != left, "session {session} goes where nobody is");
        assert!(exit == left || exit == now, "session {session} moved from {exit} to {now}, and its member is there");
    }
    assert_eq!(served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_moves_nobody_not_even_over_a_restart() {
    let world = world(20).await;
    let folder = folder();
    let proxies = world.proxies();
    let list = file(&folder, "list.txt", proxies[..10].join("\n"));
    let db = folder.path().join("pool.db").to_string_lossy().into_owned();
    let url = world.origin().http_url("/ip");
    let served = Served::start(["--db", &db, "--proxies", &list, "--strategy", "session"]);
    let first = exits(&folder, &served, &url, 0..60);
    assert_eq!(served.stop().0, Some(0));
    let all = file(&folder, "all.txt", proxies.join("\n"));
    let served = Served::start(["--db", &db, "--proxies", &all, "--strategy", "session"]);
    assert_eq!(exits(&folder, &served, &url, 0..60), first);
    // New sessions go to the newcomers too.
    let others = exits(&folder, &served, &url, 60..160);
    assert!(others.values().any(|exit| first.values().all(|old| old != exit)), "{others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_named_by_header_or_by_user_name_over_http_connect_and_socks() {
    let world = world(20).await;
    let folder = folder();
    let list = file(&folder, "list.txt", world.proxies().join("\n"));
    let served = Served::start(["--proxies", &list, "--strategy", "session"]);
    let (url, address) = (world.origin().http_url("/ip"), &served.address);
    let exit = |arguments: &[&str]| {
        let ran = curl([&["--fail", url.as_str()], arguments].concat());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}\n{}", ran.stderr, served.log());
        ran.stdout
    };
    let user = exit(&["--proxy", &format!("http://any-session-one:x@{address}")]);
    for _ in 0..3 {
        assert_eq!(exit(&["--proxy", &served.proxy("http"), "--header", "ProxyWhirl-Session: one"]), user);
        let tunnelled =
            ["--proxytunnel", "--proxy", &served.proxy("http"), "--proxy-header", "ProxyWhirl-Session: one"];
        assert_eq!(exit(&tunnelled), user);
        assert_eq!(exit(&["--proxy", &format!("socks5h://any-sessid-one:x@{address}")]), user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_named_and_nothing_of_ours_reaches_the_origin() {
    let world = world(2).await;
    let folder = folder();
    let list = file(&folder, "list.txt", world.proxies().join("\n"));
    let served = Served::start(["--proxies", &list, "--strategy", "session"]);
    let address = &served.address;
    let asked = |arguments: &[&str]| curl([&["--include"], arguments].concat());
    let ran = asked(&["--proxy", &format!("http://user-sesion-one:x@{address}"), &world.origin().http_url("/")]);
    assert!(ran.stdout.starts_with("HTTP/1.1 407") && ran.stdout.contains("sesion"), "{}", ran.stdout);
    let with_header = ["--proxy", &served.proxy("http"), "--header", "ProxyWhirl-Sesion: one"];
    let ran = asked(&[&with_header[..], &[&world.origin().http_url("/")]].concat());
    assert!(ran.stdout.starts_with("HTTP/1.1 400") && ran.stdout.to_lowercase().contains("sesion"), "{}", ran.stdout);
    let echo = curl([
        "--fail",
        "--proxy",
        &format!("http://user-session-one:x@{address}"),
        "--header",
        "ProxyWhirl-Tag: source:user",
        &world.origin().http_url("/headers"),
    ]);
    assert_eq!(echo.code, Some(0), "{}", echo.stderr);
    let echo = echo.stdout.to_lowercase();
    assert!(!echo.contains("proxywhirl") && !echo.contains("proxy-authorization"), "{echo}");
}
