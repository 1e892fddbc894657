//! `proxywhirl check`.

use std::collections::BTreeMap;
use std::time::Duration;

use proxywhirl_tests::{Ran, Served, file, folder, proxywhirl, run, run_with_input};
use proxywhirl_world::{Anonymity, Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

use super::json;

/// One of each trouble, with what the check has to say of it: nothing if it works.
async fn mixed() -> (World, Vec<(String, Option<&'static str>)>) {
    let http = |behaviour| UpstreamOptions::new(Protocol::Http).behaviour(behaviour);
    let mut plan: Vec<(UpstreamOptions, Option<&str>)> =
        Protocol::ALL.into_iter().map(|protocol| (UpstreamOptions::new(protocol), None)).collect();
    plan.extend([
        (UpstreamOptions::new(Protocol::Http).credentials("user", "hunter2"), None),
        (UpstreamOptions::new(Protocol::Socks5h).credentials("user", "hunter2"), None),
        (http(Behaviour::Dead), Some("refused at connect")),
        (http(Behaviour::CloseAfterHead), Some("closed at first-byte")),
        (http(Behaviour::Silent), Some("timeout at")),
        (http(Behaviour::AlwaysOk), Some("unexpected at first-byte: the answer is not the judge's")),
        (http(Behaviour::GarbageReply), Some("protocol at")),
        (http(Behaviour::HeaderBomb), Some("too-large at")),
        (UpstreamOptions::new(Protocol::Socks5).behaviour(Behaviour::RefuseConnect(503)), Some("refused at handshake")),
        (UpstreamOptions::new(Protocol::Socks4).behaviour(Behaviour::GarbageReply), Some("protocol at handshake")),
    ]);
    let (options, expected): (Vec<_>, Vec<_>) = plan.into_iter().unzip();
    let world = World::start(WorldPlan::new(options)).await.unwrap();
    let mut proxies: Vec<_> = world.proxies().into_iter().zip(expected).collect();
    // A password that is wrong, for an upstream that works with the right one.
    proxies.push((proxies[6].0.replace("hunter2", "wrong"), Some("unauthorized at auth")));
    // The same user at the same place is the same proxy, so another name.
    proxies.last_mut().unwrap().0 = proxies[6].0.replace("user:hunter2", "nobody:wrong");
    (world, proxies)
}

fn rows(ran: &Ran) -> BTreeMap<String, Value> {
    let rows = json(ran);
    rows.as_array().unwrap().iter().map(|row| (row["url"].as_str().unwrap().to_owned(), row.clone())).collect()
}

fn assert_as_expected(ran: &Ran, proxies: &[(String, Option<&str>)]) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rows = rows(ran);
    assert_eq!(rows.len(), proxies.len());
    for (url, trouble) in proxies {
        let row = &rows[url];
        assert_eq!(row["alive"], trouble.is_none(), "{row}");
        match trouble {
            None => {
                assert_eq!((&row["level"], &row["fault"]), (&Value::from("http"), &Value::Null), "{row}");
                assert!(row["latency_ms"].as_f64().unwrap() > 0.0, "{row}");
            }
            Some(trouble) => assert!(row["fault"].as_str().unwrap().contains(trouble), "not {trouble:?}: {row}"),
        }
    }
    let dead = proxies.iter().filter(|(_, trouble)| trouble.is_some()).count();
    let summary = format!("{} alive, {dead} dead", proxies.len() - dead);
    assert!(ran.stderr.contains(&summary), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_who_is_alive_and_why_the_others_are_not() {
    let (world, proxies) = mixed().await;
    let folder = folder();
    let ca = file(&folder, "ca.pem", world.ca().ca_pem());
    let list = proxies.iter().map(|(url, _)| format!("{url}\n")).collect::<String>();
    let arguments = ["check", "-", "--json", "--timeout", "2s", "--proxy-cacert", &ca];
    assert_as_expected(&run_with_input(&mut proxywhirl(arguments), &list), &proxies);
    // The same against a judge that is another process.
    let judge = Served::judge();
    let url = format!("http://{}/", judge.address);
    let ran = run_with_input(proxywhirl(arguments).args(["--judge", &url]), &list);
    assert_as_expected(&ran, &proxies);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_goes_as_far_as_it_is_told() {
    let of = |behaviour| UpstreamOptions::new(Protocol::Http).behaviour(behaviour);
    let world = World::start(WorldPlan::new(vec![of(Behaviour::CloseAfterHead), of(Behaviour::Dead)])).await.unwrap();
    let folder = folder();
    let list = file(&folder, "list", world.proxies().join("\n"));
    let alive = |level: &str| {
        let ran = run(&mut proxywhirl(["check", &list, "--level", level, "--json"]));
        let count = rows(&ran).values().filter(|row| row["alive"] == true).count();
        (ran.code, count)
    };
    assert_eq!(alive("format"), (Some(0), 2));
    assert_eq!(alive("tcp"), (Some(0), 1));
    assert_eq!(alive("http"), (Some(1), 0), "none alive is no result");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_table_with_the_living_first_and_no_password() {
    let world = World::start(WorldPlan::new(vec![
        UpstreamOptions::new(Protocol::Http).behaviour(Behaviour::Dead),
        UpstreamOptions::new(Protocol::Socks5).credentials("user", "hunter2"),
    ]))
    .await
    .unwrap();
    let ran = run_with_input(&mut proxywhirl(["check"]), &world.proxies().join("\n"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("PROXY") && lines[0].contains("WHY NOT"), "{}", ran.stdout);
    assert!(lines[1].starts_with("socks5://user:***@") && lines[1].contains("alive"), "{}", ran.stdout);
    assert!(lines[2].starts_with("http://") && lines[2].contains("dead"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"));
}

/// What a check says of each of these: the deepest level that was passed, what the judge saw, and whether it is alive.
async fn seen(plan: Vec<UpstreamOptions>, arguments: &[&str]) -> Vec<(String, String, bool)> {
    let world = World::start(WorldPlan::new(plan)).await.unwrap();
    let list = world.proxies();
    let ran = run_with_input(proxywhirl(["check", "-", "--json", "--timeout", "5s"]).args(arguments), &list.join("\n"));
    let rows = rows(&ran);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |url: &String| (word(&rows[url]["level"]), word(&rows[url]["anonymity"]), rows[url]["alive"] == true);
    list.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_proxy_gets_the_verdict_that_it_deserves() {
    let http = |told| UpstreamOptions::new(Protocol::Http).anonymity(told);
    let lies = |behaviour| UpstreamOptions::new(Protocol::Http).behaviour(behaviour);
    let plan = vec![
        http(Anonymity::Transparent),
        http(Anonymity::Anonymous),
        http(Anonymity::Marked),
        http(Anonymity::Elite),
        lies(Behaviour::ResignTls),
        lies(Behaviour::GarbageAfterConnect),
        lies(Behaviour::AlwaysOk),
        lies(Behaviour::Slow(Duration::from_secs(2))),
        UpstreamOptions::new(Protocol::Socks5),
    ];
    let found = seen(plan, &["--level", "anonymity", "--anonymity", "anonymous"]).await;
    let expected = [
        ("tls", "transparent", false),
        ("anonymity", "anonymous", true),
        ("anonymity", "anonymous", true),
        ("anonymity", "elite", true),
        ("http", "elite", false),
        ("http", "elite", false),
        ("protocol", "unknown", false),
        ("anonymity", "elite", true),
        ("anonymity", "elite", true),
    ];
    assert_eq!(found, expected.map(|(level, seen, alive)| (level.to_owned(), seen.to_owned(), alive)));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_list_names_no_protocol_it_is_found_out() {
    let protocols = [Protocol::Http, Protocol::Socks5, Protocol::Socks4];
    let world = World::start(WorldPlan::new(protocols.map(UpstreamOptions::new).into())).await.unwrap();
    let bare: String = world.upstreams().iter().map(|upstream| format!("{}\n", upstream.addr())).collect();
    let ran = run_with_input(&mut proxywhirl(["check", "-", "--json"]), &bare);
    let found: Vec<_> = rows(&ran).into_keys().collect();
    let mut expected: Vec<_> = world.proxies();
    expected.sort();
    assert_eq!(found, expected, "{}", ran.stderr);
    let ran = run_with_input(&mut proxywhirl(["check", "-", "--json", "--no-detect"]), &bare);
    assert_eq!(rows(&ran).values().filter(|row| row["alive"] == true).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_own_url_has_the_last_word() {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let (url, list) = (world.origin().http_url("/"), world.proxies().join("\n"));
    let check = |more: &[&str]| {
        let arguments = ["check", "-", "--json", "--level", "target", "--target", &url];
        run_with_input(proxywhirl(arguments).args(more), &list)
    };
    assert_eq!(check(&[]).code, Some(0));
    let ran = check(&["--expect-body", "no such words"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("the target's body does not match no such words"), "{}", ran.stdout);
    assert_eq!(check(&["--expect-status", "404"]).code, Some(1));
    let bad = check(&["--expect-status", "fine"]);
    assert_eq!(bad.code, Some(2), "{}", bad.stderr);
    let without = run_with_input(&mut proxywhirl(["check", "-", "--level", "target"]), &list);
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("--target URL"), "{}", without.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_judge_that_answers_nobody_is_declared_dead() {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let list = world.proxies().join("\n");
    let ran =
        run_with_input(&mut proxywhirl(["check", "-", "--judge", "http://127.0.0.1:9/", "--timeout", "1s"]), &list);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("does not answer") && !ran.stdout.contains("dead"), "{}", ran.stderr);
    // One of two is enough.
    let judge = Served::judge();
    let url = format!("http://{}/", judge.address);
    let arguments = ["check", "-", "--judge", "http://127.0.0.1:9/", "--judge", &url, "--level", "tls"];
    assert_eq!(run_with_input(&mut proxywhirl(arguments), &list).code, Some(0));
}
