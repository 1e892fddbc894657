//! `proxywhirl get`.

use proxywhirl_tests::{file, folder, proxywhirl, run};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan, pattern};

async fn world(behaviours: &[Behaviour]) -> World {
    let upstreams = behaviours.iter().map(|behaviour| UpstreamOptions::new(Protocol::Http).behaviour(*behaviour));
    World::start(WorldPlan::new(upstreams.collect())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_prints_the_body_whatever_the_status() {
    let world = world(&[Behaviour::Healthy]).await;
    let proxy = world.proxies().remove(0);
    for (path, body) in [("/ip", "127.0.0.1"), ("/status/404", "")] {
        let ran = run(&mut proxywhirl(["get", &world.origin().http_url(path), "--proxies", &proxy]));
        assert_eq!(ran.code, Some(0), "{path}: {}", ran.stderr);
        assert!(ran.stdout.starts_with(body), "{path}: {}", ran.stdout);
        assert_eq!(ran.stderr, "", "without -v it says nothing");
    }
    assert_eq!(world.upstreams()[0].counters().requests(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_goes_to_a_file_whole() {
    let world = world(&[Behaviour::Healthy]).await;
    let folder = folder();
    let out = folder.path().join("body");
    let url = world.origin().http_url("/chunked/3000000");
    let ran = run(&mut proxywhirl(["get", &url, "--proxies", &world.proxies()[0], "-o", out.to_str().unwrap()]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
    let got = std::fs::read(out).unwrap();
    assert_eq!(got.len(), 3_000_000);
    assert!(got == pattern(0, 3_000_000), "the bytes are not those of the origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_makes_it_a_post_and_headers_arrive() {
    let world = world(&[Behaviour::Healthy]).await;
    let echo = world.origin().http_url("/echo");
    let proxy = &world.proxies()[0];
    let ran = run(&mut proxywhirl(["get", &echo, "-d", "a=1", "-H", "X-Colour: blue", "--proxies", proxy]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let seen = super::json(&ran);
    assert_eq!((&seen["method"], &seen["body_length"]), (&"POST".into(), &3.into()), "{seen}");
    assert!(ran.stdout.to_ascii_lowercase().contains("x-colour"), "{seen}");
    let ran = run(&mut proxywhirl(["get", &echo, "-X", "PUT", "-d", "a=1", "--proxies", proxy]));
    assert_eq!(super::json(&ran)["method"], "PUT");
    let folder = folder();
    let body = format!("@{}", file(&folder, "body", "from a file"));
    let ran = run(&mut proxywhirl(["get", &echo, "-d", &body, "--proxies", proxy]));
    assert_eq!(super::json(&ran)["body_length"], 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_told_when_one_asks() {
    let world = World::start(WorldPlan::new(vec![
        UpstreamOptions::new(Protocol::Http).credentials("user", "hunter2").behaviour(Behaviour::Dead),
        UpstreamOptions::new(Protocol::Http),
    ]))
    .await
    .unwrap();
    let url = world.origin().http_url("/");
    let folder = folder();
    let list = file(&folder, "list", world.proxies().join("\n"));
    let ran = run(&mut proxywhirl(["get", "-v", &url, "--proxies", &list]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let masked = ran.stderr.replace(&world.upstreams()[0].addr().to_string(), "FIRST");
    let masked = masked.replace(&world.upstreams()[1].addr().to_string(), "SECOND");
    let masked = masked.replace(&world.origin().http_addr().to_string(), "ORIGIN");
    let told: Vec<String> = masked.lines().filter(|line| line.starts_with("* ")).map(without_times).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    * attempt 1: http://user:***@FIRST to ORIGIN
    * attempt 1: failed at connect, refused (upstream): FIRST: Connection refused (os error 111)
    * attempt 2: http://SECOND to ORIGIN
    * attempt 2: first byte after N ms
    ");
    assert!(masked.contains("< HTTP/1.1 200 OK"), "{masked}");
    assert!(!masked.contains("hunter2"));
}

/// The line without the number before ` ms`.
fn without_times(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_time = |place: usize| words.get(place + 1) == Some(&"ms");
    words.iter().enumerate().map(|(place, word)| if is_time(place) { "N" } else { word }).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_verified_from_end_to_end() {
    let world = world(&[Behaviour::Healthy]).await;
    let folder = folder();
    let ca = file(&folder, "ca.pem", world.ca().ca_pem());
    let url = world.origin().https_url("/ip").unwrap();
    let proxy = &world.proxies()[0];
    let ran = run(&mut proxywhirl(["get", &url, "--proxies", proxy, "--cacert", &ca]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "127.0.0.1\n"), "{}", ran.stderr);
    let ran = run(&mut proxywhirl(["get", &url, "--proxies", proxy]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.to_ascii_lowercase().contains("certificate"), "{}", ran.stderr);
    let ran = run(&mut proxywhirl(["get", &url, "--proxies", proxy, "--insecure"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_answers_the_error_says_why() {
    let world = world(&[Behaviour::Dead, Behaviour::Dead]).await;
    let folder = folder();
    let list = file(&folder, "list", world.proxies().join("\n"));
    let ran = run(&mut proxywhirl(["get", &world.origin().http_url("/"), "--proxies", &list]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("refused"), "{}", ran.stderr);
    let ran = run(&mut proxywhirl(["get", &world.origin().https_url("/").unwrap(), "--proxies", &list]));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("refused"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_no_success() {
    let world = world(&[Behaviour::Healthy]).await;
    let ran = run(&mut proxywhirl(["get", &world.origin().http_url("/close"), "--proxies", &world.proxies()[0]]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!ran.stdout.is_empty() && ran.stderr.contains("broke off"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_is_used_and_a_pool_may_come_from_a_database() {
    let world = world(&[Behaviour::Healthy, Behaviour::Healthy]).await;
    let folder = folder();
    let db = folder.path().join("pool.db");
    let db = db.to_str().unwrap();
    let added = run(proxywhirl(["pool", "add", "--db", db]).args(world.proxies()));
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    for strategy in ["round-robin", "random", "weighted"] {
        let url = world.origin().http_url("/");
        let ran = run(&mut proxywhirl(["get", &url, "--db", db, "--strategy", strategy]));
        assert_eq!(ran.code, Some(0), "{strategy}: {}", ran.stderr);
    }
    let served: u64 = world.upstreams().iter().map(|upstream| upstream.counters().requests()).sum();
    assert_eq!(served, 3);
}
