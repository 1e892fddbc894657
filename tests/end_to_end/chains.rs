//! Chains: proxies that are reached through other proxies.

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};

/// A SOCKS proxy with credentials, an HTTPS proxy, and an HTTP proxy with credentials.
async fn world() -> World {
    let plan = WorldPlan::new(vec![
        UpstreamOptions::new(Protocol::Socks5).credentials("first", "hunter1"),
        UpstreamOptions::new(Protocol::Https),
        UpstreamOptions::new(Protocol::Http).credentials("last", "hunter2"),
    ]);
    World::start(plan).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_goes_through_every_hop_and_no_password_is_shown() {
    let world = world().await;
    let files = folder();
    let ca = file(&files, "ca.pem", world.ca().ca_pem());
    let list = file(&files, "list", world.proxies().join(" -> "));
    let served = Served::start(["--proxies", &list, "--proxy-cacert", &ca, "--log", "debug"]);
    let (http, https) = (world.origin().http_url("/ip"), world.origin().https_url("/ip").unwrap());
    for (scheme, url) in [("http", &http), ("http", &https), ("socks5h", &http), ("socks5h", &https)] {
        let ran = curl(["--cacert", &ca, "--proxy", &served.proxy(scheme), "--fail", url]);
        assert_eq!(ran.code, Some(0), "{scheme} {url}: {ran:?}");
    }
    let next = |at: usize| format!("CONNECT {}", world.upstreams()[at].addr());
    assert!(world.upstreams()[0].seen().iter().all(|seen| *seen == next(1)));
    assert!(world.upstreams()[1].seen().iter().all(|seen| *seen == next(2)));
    let last = world.upstreams()[2].seen();
    assert!(last.len() == 4 && last.iter().any(|seen| seen.starts_with("GET http://")), "{last:?}");

    world.upstreams()[0].set_behaviour(Behaviour::RefuseConnect(503)).await.unwrap();
    let ran = curl(["--include", "--proxytunnel", "--proxy", &served.proxy("http"), &http]);
    let hop = format!("hop 1 of 3, socks5://{}: ", world.upstreams()[0].addr());
    assert!(ran.stdout.starts_with("HTTP/1.1 502 ") && ran.stdout.contains(&hop), "{ran:?}");
    world.upstreams()[0].set_behaviour(Behaviour::Healthy).await.unwrap();
    world.upstreams()[2].set_behaviour(Behaviour::Dead).await.unwrap();
    let ran = curl(["--include", "--proxytunnel", "--proxy", &served.proxy("http"), &http]);
    let dead = format!(": on the way to http://{}: ", world.upstreams()[2].addr());
    assert!(ran.stdout.contains("hop 2 of 3, https://") && ran.stdout.contains(&dead), "{ran:?}");
    let log = served.log();
    assert!(log.contains(" -> ") && !log.contains("hunter") && !ran.stdout.contains("hunter"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_fails_is_replaced_and_a_listener_may_be_bound_to_one() {
    let plan = WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http), UpstreamOptions::new(Protocol::Socks5h)]);
    let world = World::start(plan).await.unwrap();
    let proxies = world.proxies();
    let good = format!("{} -> {}", proxies[0], proxies[1]);
    let files = folder();
    let list = file(&files, "list", format!("{} -> http://127.0.0.1:1\n{good}\n", proxies[0]));
    let config = file(
        &files,
        "config.toml",
        format!("[[listeners]]\nname = \"bound\"\naddress = \"127.0.0.1:0\"\nproxy = \"{good}\"\n"),
    );
    let served = Served::start(["--config", &config, "--proxies", &list]);
    let bound = served.address.clone();
    for _ in 0..4 {
        let ran = curl(["--proxy", &format!("http://{bound}"), "--fail", &world.origin().http_url("/ip")]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
}

#[test]
fn a_pool_keeps_chains_and_tells_them_from_their_last_hops() {
    let files = folder();
    let db = files.path().join("pool.db").to_string_lossy().into_owned();
    let pool = |arguments: &[&str]| run(proxywhirl(["pool", arguments[0], "--db", &db]).args(&arguments[1..]));
    let chain = "socks5://u:hunter2@9.9.9.9:1080 -> http://8.8.8.8:8080";
    let ran = pool(&["add", chain, "http://8.8.8.8:8080", "http://8.8.8.8:8080 -> http://7.7.7.7:0"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("2 added, 0 known already, 1 rejected"), "{ran:?}");
    assert!(ran.stderr.contains("hop 2: port 0 is not in 1..65535"), "{ran:?}");
    assert!(pool(&["add", &chain.replace("hunter2", "new")]).stderr.contains("0 added, 1 known already"));
    let listed = pool(&["list"]).stdout;
    assert!(
        listed.contains("socks5://u:***@9.9.9.9:1080 -> http://8.8.8.8:8080") && !listed.contains("new"),
        "{listed}"
    );
    assert!(pool(&["list", "--json", "--show-passwords"]).stdout.contains("socks5://u:new@9.9.9.9:1080 -> http"));
    assert!(pool(&["remove", "8.8.8.8:8080"]).stderr.contains("1 removed, 1 left"));
    assert!(pool(&["remove", "socks5://9.9.9.9:1080 -> http://8.8.8.8:8080"]).stderr.contains("1 removed, 0 left"));
}

#[test]
fn a_list_with_chains_is_written_as_it_is_read() {
    let files = folder();
    let text = "http://7.7.7.7:1\nsocks5://u:pw@9.9.9.9:1080 -> http://8.8.8.8:8080\n";
    let list = file(&files, "list.txt", text);
    assert_eq!(run(&mut proxywhirl(["fetch", &list])).stdout, text);
    let row = run(&mut proxywhirl(["fetch", &list, "--format", "jsonl"])).stdout;
    let row: serde_json::Value = serde_json::from_str(row.lines().nth(1).unwrap()).unwrap();
    assert_eq!(row["url"], "socks5://u:pw@9.9.9.9:1080 -> http://8.8.8.8:8080");
    assert!(row["host"].is_null() && row["port"].is_null() && row["scheme"].is_null(), "{row}");
    // Whoever knows no chains must not take the last hop for the proxy.
    let table = run(&mut proxywhirl(["fetch", &list, "--format", "csv"])).stdout;
    assert!(table.contains("\n,socks5://u:pw@9.9.9.9:1080 -> http://8.8.8.8:8080,,"), "{table}");
    let again = run(&mut proxywhirl(["fetch", &file(&files, "again.csv", table)]));
    assert_eq!(again.stdout, text);
    // The same in base64, behind a byte order mark.
    let encoded =
        "77u/aHR0cDovLzcuNy43Ljc6MQpzb2NrczU6Ly91OnB3QDkuOS45Ljk6MTA4MCAtPiBodHRwOi8v\nOC44LjguODo4MDgwCg==\n";
    assert_eq!(run(&mut proxywhirl(["fetch", &file(&files, "encoded.txt", encoded)])).stdout, text);
}
