//! A site that refuses a proxy is asked through another one, and the proxy is kept away from it.

use proxywhirl_tests::{Served, curl, file, folder};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};

const RULE: &str =
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
