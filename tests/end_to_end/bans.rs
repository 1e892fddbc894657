//! A site that refuses a proxy is asked through another one, and the proxy is kept away from it.

use proxywhirl_tests::{Served, curl, file, folder};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};

use super::control::Commanded;

pub(super) const RULE: &str =
    "[[bans]]\nname = \"forbidden\"\nsites = [\"127.0.0.1\"]\nstatus = \"403\"\nretry = true\nban = \"10m\"\n";

/// What nine requests get, and how many of them reached the proxy that is refused.
async fn nine(config: &str) -> (Vec<String>, usize) {
    let http = || UpstreamOptions::new(Protocol::Http);
    let refused = http().behaviour(Behaviour::AnswerStatus(403));
    let world = World::start(WorldPlan::new(vec![http(), refused, http()])).await.unwrap();
    let folder = folder();
    let list = file(&folder, "list", world.proxies().join("\n"));
    let served = Served::start(["--config", &file(&folder, "proxywhirl.toml", config), "--proxies", &list]);
    let url = world.origin().http_url("/");
    let ask = || {
        curl(["--output", "/dev/null", "--write-out", "%{http_code}", "--proxy", &served.proxy("http"), &url]).stdout
    };
    let statuses = (0..9).map(|_| ask()).collect();
    (statuses, world.upstreams()[1].seen().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_seen_by_nobody_and_comes_once() {
    assert_eq!(nine(RULE).await, (vec!["200".to_owned(); 9], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_a_refusal_is_an_answer() {
    let (statuses, asked) = nine("").await;
    assert_eq!((statuses.iter().filter(|status| *status == "403").count(), asked), (3, 3), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_for_another_site_does_nothing() {
    let (statuses, asked) = nine(&RULE.replace("127.0.0.1", "*.shop.example")).await;
    assert_eq!((statuses.iter().filter(|status| *status == "403").count(), asked), (3, 3), "{statuses:?}");
}

/// Which upstream a request of a session goes through, by its place, and the answer's status.
fn through(gateway: &Commanded, session: &str) -> (usize, String) {
    let field = format!("ProxyWhirl-Session: {session}");
    let url = gateway.world.origin().http_url("/ip");
    let proxy = gateway.served.proxy("http");
    let ran = curl(["--include", "--proxy", &proxy, "-H", "ProxyWhirl-Explain: 1", "-H", &field, &url]);
    let upstream = ran.stdout.lines().find_map(|line| line.strip_prefix("ProxyWhirl-Upstream: "));
    let upstream = upstream.unwrap_or_else(|| panic!("{ran:?}")).trim();
    let place = gateway.world.proxies().iter().position(|url| url == upstream).unwrap();
    (place, ran.stdout[9..12].to_owned())
}

/// Three upstreams that are refused by every site, behind a gateway with one rule.
async fn refused_everywhere(rule: &str, more: &[&str]) -> Commanded {
    let refused = || UpstreamOptions::new(Protocol::Http).behaviour(Behaviour::AnswerStatus(403));
    let world = World::start(WorldPlan::new(vec![refused(), refused(), refused(), refused()])).await.unwrap();
    let folder = folder();
    let path = file(&folder, "proxywhirl.toml", format!("[[bans]]\nname = \"forbidden\"\nstatus = \"403\"\n{rule}\n"));
    Commanded::start_with(world, folder, &[&["--config", path.as_str()], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_rotated_goes_through_another_proxy_next_time() {
    let gateway = refused_everywhere("rotate = true", &[]).await;
    let mut before = through(&gateway, "7").0;
    for turn in 0..10 {
        let (now, status) = through(&gateway, "7");
        assert_eq!(status, "403");
        assert_ne!(now, before, "{turn}");
        before = now;
    }
    assert_eq!(gateway.command(&["bans", "list"]).code, Some(1), "nobody is banned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marked_session_alone_avoids_the_proxy_and_the_guard_leaves_it_some() {
    let gateway = refused_everywhere("mark = \"10m\"", &[]).await;
    let (first, _) = through(&gateway, "7");
    let (second, _) = through(&gateway, "7");
    assert_ne!(first, second);
    // Two of four are marked, and the guard lets no more be: the third one serves this session from now on.
    let third: Vec<usize> = (0..5).map(|_| through(&gateway, "7").0).collect();
    assert!(third.iter().all(|place| *place == third[0] && ![first, second].contains(place)), "{third:?}");
    let rows = gateway.command(&["bans", "list"]);
    assert_eq!(rows.stdout.matches("session ").count(), 2, "{rows:?}");
    let last = gateway.command(&["requests", "-n", "1", "--json"]);
    let record: serde_json::Value = serde_json::from_str(&last.stdout).unwrap();
    let went = gateway.command(&["explain", &record[0]["request"].to_string()]);
    assert!(went.stdout.contains("is not banned at session ") && went.stdout.contains("the guard"), "{went:?}");
    // Of the others, each has its own.
    let others = (0..40).map(|session| through(&gateway, &format!("other{session}")).0);
    assert!(others.collect::<std::collections::BTreeSet<_>>().contains(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn bans_survive_a_restart_are_listed_and_lifted() {
    let files = folder();
    let database = files.path().join("pool.db").to_string_lossy().into_owned();
    let gateway = refused_everywhere("ban = \"10m\"\neject = \"1h\"\nretry = true", &["--db", &database]).await;
    through(&gateway, "1");
    let listed = |gateway: &Commanded| gateway.command(&["bans", "list", "--json"]).stdout;
    let before = listed(&gateway);
    let rows: serde_json::Value = serde_json::from_str(&before).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 4, "two of four, at the site and everywhere: {before}");
    assert_eq!(
        (&rows[0]["site"], &rows[3]["site"], &rows[0]["rule"]),
        (&"127.0.0.1".into(), &"*".into(), &"forbidden".into())
    );
    let Commanded { world, folder, served, .. } = gateway;
    assert_eq!(served.stop().0, Some(0));
    let path = folder.path().join("proxywhirl.toml").to_string_lossy().into_owned();
    let gateway = Commanded::start_with(world, folder, &["--config", &path, "--db", &database]);
    assert_eq!(listed(&gateway), before);

    let proxy = rows[0]["proxy"].as_str().unwrap();
    let ran = gateway.command(&["bans", "lift", "--site", "127.0.0.1", "--proxy", proxy]);
    assert_eq!((ran.code, ran.stderr.trim()), (Some(0), "1 ban lifted"));
    let ran = gateway.command(&["bans", "lift", "--all", "--json"]);
    assert_eq!(ran.stdout.trim(), "{\"lifted\":3}", "{ran:?}");
    assert_eq!(gateway.command(&["bans", "list"]).code, Some(1));
    let ran = gateway.command(&["bans", "lift"]);
    assert_eq!(ran.code, Some(2), "what is meant has to be said: {ran:?}");
}
