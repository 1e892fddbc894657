//! Connections to proxies are used again by the next request, whoever sends it.

use proxywhirl_tests::{Served, curl, file, folder};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};

/// How many connections five requests need, each by a curl of its own, with this configuration.
async fn connections(config: &str) -> u64 {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let folder = folder();
    let config = file(&folder, "proxywhirl.toml", config);
    let list = file(&folder, "list", world.proxies().join("\n"));
    let served = Served::start(["--config", &config, "--proxies", &list]);
    for length in [0, 5, 300_000, 1, 70_000] {
        let url = world.origin().http_url(&format!("/bytes/{length}"));
        let ran = curl(["--proxy", &served.proxy("http"), "--fail", &url]);
        assert_eq!((ran.code, ran.stdout.len() >= length), (Some(0), true), "{ran:?}");
    }
    let counters = world.upstreams()[0].counters();
    assert_eq!(counters.forwards, 5);
    counters.connections
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection_unless_told_not_to() {
    assert_eq!(connections("").await, 1);
    assert_eq!(connections("[upstream]\nidle_per_proxy = 0\n").await, 5);
}
