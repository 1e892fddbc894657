//! A new upstream for each request.

use std::fmt::Write as _;

use proxywhirl_tests::{Served, curl, file, folder};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};

async fn ten_upstreams() -> World {
    World::start(WorldPlan::new((0..10).map(|_| UpstreamOptions::new(Protocol::Http)).collect())).await.unwrap()
}

fn spread(world: &World) -> Vec<u64> {
    world.upstreams().iter().map(|upstream| upstream.counters().requests()).collect()
}

/// A configuration for curl that sends the same request many times.
fn requests(count: usize, url: &str, proxy: &str) -> String {
    (0..count).fold(String::new(), |mut text, _| {
        writeln!(
            text,
            "url = \"{url}\"\nproxy = \"{proxy}\"\noutput = \"/dev/null\"\nwrite-out = \"%{{http_code}}\\n\""
        )
        .unwrap();
        text
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_in_parallel_are_shared_exactly() {
    let world = ten_upstreams().await;
    let folder = folder();
    let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
    let config = requests(1_000, &world.origin().http_url("/"), &served.proxy("http"));
    let ran = curl(["--parallel", "--parallel-max", "50", "--config", &file(&folder, "curl", config)]);
    assert_eq!(ran.stdout.lines().filter(|line| *line == "200").count(), 1_000, "{}", ran.stderr);
    assert_eq!(spread(&world), [100; 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_over_one_connection_are_shared_exactly() {
    let world = ten_upstreams().await;
    let folder = folder();
    let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
    let config = requests(1_000, &world.origin().http_url("/"), &served.proxy("http"))
        .replace("%{http_code}", "%{http_code} %{num_connects}");
    let ran = curl(["--max-time", "120", "--config", &file(&folder, "curl", config)]);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 1_000, "{}", ran.stderr);
    assert_eq!(lines[0], "200 1");
    assert!(lines[1..].iter().all(|line| *line == "200 0"), "the connection was not kept");
    assert_eq!(spread(&world), [100; 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_leads_through_every_kind_of_upstream() {
    let world = World::start(WorldPlan::healthy(6)).await.unwrap();
    let folder = folder();
    let ca = file(&folder, "ca.pem", world.ca().ca_pem());
    let list = file(&folder, "list", world.proxies().join("\n"));
    let served = Served::start(["--proxies", &list, "--proxy-cacert", &ca]);
    let (http, https) = (world.origin().http_url("/ip"), world.origin().https_url("/ip").unwrap());
    for (scheme, url) in [
        ("http", &http),
        ("http", &https),
        ("socks4", &http),
        ("socks4a", &https),
        ("socks5", &http),
        ("socks5h", &https),
    ] {
        for _ in 0..6 {
            let ran = curl(["--cacert", &ca, "--proxy", &served.proxy(scheme), "--fail", url]);
            assert_eq!(ran.code, Some(0), "{scheme} {url}: {}\n{}", ran.stderr, served.log());
        }
    }
    assert_eq!(spread(&world), [6; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_share_requests_by_their_weights() {
    let world = ten_upstreams().await;
    let folder = folder();
    let proxies = world.proxies();
    let (paid, free) = proxies.split_at(5);
    let list = |name: &str, proxies: &[String], weight: &str| {
        let path = file(&folder, name, proxies.join("\n"));
        format!("[[sources]]\nname = \"{name}\"\nlocation = \"{path}\"\ntrust = true\nweight = {weight}\n")
    };
    let config = format!("[strategy]\nname = \"weighted\"\n{}{}", list("paid", paid, "4"), list("free", free, "0.5"));
    let served = Served::start(["--config", &file(&folder, "proxywhirl.toml", config)]);
    let requests = requests(900, &world.origin().http_url("/"), &served.proxy("http"));
    let ran = curl(["--parallel", "--parallel-max", "20", "--config", &file(&folder, "curl", requests)]);
    assert_eq!(ran.stdout.lines().filter(|line| *line == "200").count(), 900, "{}", ran.stderr);
    // Eight of nine: 800, and six standard deviations of 9.4.
    let paid: u64 = spread(&world)[..5].iter().sum();
    assert!((743..=857).contains(&paid), "{paid} of 900");
}
