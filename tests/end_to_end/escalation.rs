//! Escalation: from no proxy at all to cheap ones to dear ones.

use std::net::{IpAddr, Ipv4Addr};

use proxywhirl_tests::{curl, file};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

use crate::control::Commanded;

/// A gateway with a cheap upstream, which comes out at 127.3.0.1, and a dear one, at 127.3.0.2.
async fn gateway(config: &str) -> Commanded {
    let out = |last| IpAddr::V4(Ipv4Addr::new(127, 3, 0, last));
    let options = [1, 2].map(|last| UpstreamOptions::new(Protocol::Http).egress(out(last)));
    let world = World::start(WorldPlan::new(options.into())).await.unwrap();
    let files = proxywhirl_tests::folder();
    let mut text =
        format!("[gateway.escalation]\ntiers = [\"direct\", \"tag:cheap\", \"tag:dear\"]\nattempts = 1\n{config}");
    for (name, proxy) in ["cheap", "dear"].iter().zip(world.proxies()) {
        let list = file(&files, &format!("{name}.txt"), proxy);
        text.push_str(&format!(
            "[[sources]]\nname = \"{name}\"\nlocation = \"{list}\"\ntrust = true\ntags = [\"{name}\"]\n"
        ));
    }
    let config = file(&files, "config.toml", text);
    let socket = files.path().join("run/control.sock").to_string_lossy().into_owned();
    let served = proxywhirl_tests::Served::start(["--config", &config, "--control", &socket]);
    Commanded { world, folder: files, served, socket }
}

/// Where the origin sees a request come from.
fn exit(gateway: &Commanded, scheme: &str, url: &str, arguments: &[&str]) -> String {
    let ca = file(&gateway.folder, "ca.pem", gateway.world.ca().ca_pem());
    let proxy = gateway.served.proxy(scheme);
    let ran = curl([&["--fail", "--cacert", &ca, "--proxy", &proxy, url], arguments].concat());
    assert_eq!(ran.code, Some(0), "{scheme} {url}: {ran:?}\n{}", gateway.served.log());
    ran.stdout.trim().to_owned()
}

/// The tiers of the last request's attempts, and the proxies.
fn attempts(gateway: &Commanded) -> Vec<(String, String)> {
    let records: Value = serde_json::from_str(&gateway.command(&["requests", "-n", "1", "--json"]).stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attempts = records[0]["attempts"].as_array().unwrap();
    attempts.iter().map(|attempt| (text(&attempt["tier"]), text(&attempt["proxy"]))).collect()
}

fn tiers(gateway: &Commanded) -> Vec<String> {
    attempts(gateway).into_iter().map(|(tier, _)| tier).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_is_used_where_none_is_needed_and_rules_hold_all_the_same() {
    let gateway = gateway("allow_private = true\n[access]\ndeny = [\"127.0.0.0/30\"]\n").await;
    // A rule is about where a name leads, too: the first proxy knows no such rule.
    let port = gateway.world.origin().http_addr().port();
    let named = format!("http://localhost:{port}/ip");
    assert_eq!(exit(&gateway, "http", &named, &[]), "127.3.0.1");
    assert_eq!(tiers(&gateway), ["direct", "tag:cheap"]);
    let failed = gateway.command(&["requests", "-n", "1", "--json"]).stdout;
    assert!(failed.contains("does not go straight to 127.0.0.1: a rule forbids it"), "{failed}");
    for same in ["0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]"] {
        let url = format!("http://{same}:{port}/ip");
        let ran = curl([
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--proxy",
            &gateway.served.proxy("http"),
            &url,
        ]);
        assert_eq!(ran.stdout, "403", "{url}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_served_without_a_proxy_unless_it_wants_one() {
    let gateway = gateway("allow_private = true\n").await;
    let (http, https) = (gateway.world.origin().http_url("/ip"), gateway.world.origin().https_url("/ip").unwrap());
    for (scheme, url) in [("http", &http), ("http", &https), ("socks5h", &http), ("socks4a", &https)] {
        assert_eq!(exit(&gateway, scheme, url, &[]), "127.0.0.1", "{scheme} {url}");
        assert_eq!(attempts(&gateway), [("direct".to_owned(), "direct".to_owned())]);
    }
    let upload = gateway.folder.path().join("upload");
    std::fs::write(&upload, vec![b'x'; 300_000]).unwrap();
    let upload = format!("@{}", upload.display());
    let ran = curl(["--fail", "--data-binary", &upload, "--proxy", &gateway.served.proxy("http"), &http]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(tiers(&gateway), ["direct"]);
    assert!(gateway.world.upstreams().iter().all(|upstream| upstream.counters().connections == 0));
    assert_eq!(exit(&gateway, "http", &http, &["--proxy-user", "x-tag-dear:"]), "127.3.0.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_refuses_gets_the_next_tier_and_begins_there() {
    let gateway = gateway("[[bans]]\nname = \"forbidden\"\nstatus = \"403\"\nretry = true\n").await;
    let (http, https) = (gateway.world.origin().http_url("/ip"), gateway.world.origin().https_url("/ip").unwrap());
    // The origin is on this machine, where nobody goes straight to.
    assert_eq!(exit(&gateway, "http", &http, &[]), "127.3.0.1");
    assert_eq!(tiers(&gateway), ["direct", "tag:cheap"]);
    let first = gateway.command(&["requests", "-n", "1", "--json"]).stdout;
    assert!(!first.contains("\"counted\":true"), "{first}");
    assert_eq!(exit(&gateway, "socks5h", &https, &[]), "127.3.0.1");
    assert_eq!(tiers(&gateway), ["tag:cheap"], "it was forgotten what the site needs");
    gateway.world.upstreams()[0].set_behaviour(Behaviour::AnswerStatus(403)).await.unwrap();
    assert_eq!(exit(&gateway, "http", &http, &[]), "127.3.0.2");
    assert_eq!(tiers(&gateway), ["tag:cheap", "tag:dear"]);
    let number: Value = serde_json::from_str(&gateway.command(&["requests", "-n", "1", "--json"]).stdout).unwrap();
    let explained = gateway.command(&["explain", &number[0]["request"].to_string()]).stdout;
    assert!(explained.contains("attempt 2, tier tag:dear, by "), "{explained}");
    assert!(!explained.contains("wants tag"), "it is the tier that wants it: {explained}");
    let would = gateway.command(&["explain", &http]).stdout;
    let begins = "\n    direct, 0 eligible: the gateway does not go straight to 127.0.0.1: loopback\n    tag:cheap, 1 eligible\n    tag:dear, 1 eligible; a request begins here for another 9m 5";
    assert!(would.contains(begins), "{would}");
    let elsewhere = gateway.command(&["explain", "https://elsewhere.example/"]).stdout;
    assert!(
        elsewhere.contains("\n    direct, 1 eligible; a request begins here\n    tag:cheap, 1 eligible\n"),
        "{elsewhere}"
    );
    let wanting = gateway.command(&["explain", &http, "--user", "x-tag-dear"]).stdout;
    assert!(wanting.contains("\n    direct, 0 eligible: it is no proxy as is wanted\n"), "{wanting}");
    assert_eq!(exit(&gateway, "http", &http, &[]), "127.3.0.2");
    assert_eq!(tiers(&gateway), ["tag:dear"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_tier_and_a_strict_one_fails_rather_than_go_up() {
    let gateway = gateway("remember = \"3s\"\n[[bans]]\nname = \"forbidden\"\nstatus = \"403\"\nretry = true\n").await;
    let url = gateway.world.origin().http_url("/ip");
    let of = |user: &str| exit(&gateway, "http", &url, &["--proxy-user", user]);
    assert_eq!(of("x-session-1-strict:"), "127.3.0.1");
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(4) {
        assert_eq!(of("x-session-2:"), "127.3.0.1");
        assert_eq!(of("x-session-1-strict:"), "127.3.0.1");
        assert_eq!(tiers(&gateway), ["tag:cheap"], "a session in use came down");
    }
    gateway.world.upstreams()[0].set_behaviour(Behaviour::AnswerStatus(403)).await.unwrap();
    let proxy = gateway.served.proxy("http");
    let strict = curl(["--proxy", &proxy, "--proxy-user", "x-session-1-strict:", "--write-out", "%{http_code}", &url]);
    assert!(strict.stdout.ends_with("403"), "{strict:?}");
    assert_eq!(tiers(&gateway), ["tag:cheap"]);
    assert_eq!(of("x-session-2:"), "127.3.0.2");
    assert_eq!(of("x-session-2:"), "127.3.0.2");
    assert_eq!(tiers(&gateway), ["tag:dear"]);
}
