//! Hedging: another upstream is asked when the first one is slower than it nearly always is.

use std::process::Command;
use std::time::Duration;

use proxywhirl_tests::{file, folder, run};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

use crate::control::Commanded;

const REQUESTS: u64 = 600;
const SLOW: Duration = Duration::from_millis(700);

/// Opens tunnels one after the other; prints the milliseconds that each took, the shortest first.
const TUNNELS: &str = "
import socket, sys, time
host, port = sys.argv[1].rsplit(':', 1)
took = []
for _ in range(int(sys.argv[3])):
    began = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(f'CONNECT {sys.argv[2]} HTTP/1.1\\r\\n{sys.argv[4]}\\r\\n'.encode())
        answer = client.recv(4096)
        assert answer.startswith(b'HTTP/1.1 200 '), answer
    took.append(round((time.monotonic() - began) * 1000))
print(*sorted(took))
";

/// A gateway over four upstreams, of which the first one is slow in one connection of ten.
async fn gateway(arguments: &[&str]) -> Commanded {
    let healthy = || UpstreamOptions::new(Protocol::Http);
    let slow = healthy().behaviour(Behaviour::Sluggish { every: 10, wait: SLOW });
    let world = World::start(WorldPlan::new(vec![slow, healthy(), healthy(), healthy()])).await.unwrap();
    Commanded::start_over(world, arguments)
}

/// The 99th percentile of the times to open a tunnel, in milliseconds, and how many connections upstreams got.
fn tunnels(gateway: &Commanded, field: &str) -> (u64, u64) {
    let origin = gateway.world.origin().http_addr().to_string();
    let words = [TUNNELS, &gateway.served.address, origin.as_str(), &REQUESTS.to_string(), field];
    let ran = run(Command::new("python3").arg("-c").args(words));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let took: Vec<u64> = ran.stdout.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let connections = gateway.world.upstreams().iter().map(|upstream| upstream.counters().connections).sum();
    (took[took.len() * 99 / 100], connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_it_does_not_feel_an_upstream_that_is_slow_now_and_then() {
    let gateway = gateway(&[]).await;
    let (slow, connections) = tunnels(&gateway, "");
    assert!(slow >= 700 && connections == REQUESTS, "{slow} ms, {connections} connections");
    let (quick, all) = tunnels(&gateway, "ProxyWhirl-Hedge: yes\r\n");
    let extra = all - connections - REQUESTS;
    assert!(quick < 500, "{quick} ms with {extra} hedges");
    assert!((4..=REQUESTS / 10 + 30).contains(&extra), "{extra} hedges");
    let metrics = gateway.ask(&["--fail"], "/metrics").stdout;
    let counted = |result: &str| {
        let name = format!("proxywhirl_hedges_total{{result=\"{result}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap()
    };
    // One may be given up before its upstream has accepted it.
    let begun = counted("won") + counted("lost");
    assert!((extra..=extra + 3).contains(&begun), "{begun} of {extra}: {metrics}");
    assert!(counted("won") >= 4, "{metrics}");

    let records: Value = serde_json::from_str(&gateway.command(&["requests", "-n", "600", "--json"]).stdout).unwrap();
    let is_hedged = |record: &&Value| record["attempts"].as_array().unwrap().iter().any(|it| it["hedge"] == true);
    let hedged: Vec<_> = records.as_array().unwrap().iter().filter(is_hedged).collect();
    assert_eq!(hedged.len() as u64, begun);
    // Nobody pays: neither who was slow nor who was slower.
    assert!(hedged.iter().all(|record| record["attempts"].as_array().unwrap().iter().all(|it| it["counted"] == false)));
    let explained = gateway.command(&["explain", &hedged[0]["request"].to_string()]).stdout;
    assert!(explained.contains("attempt 2, because the one before was slow, by "), "{explained}");
    assert!(explained.contains("given up: another one was answered"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_may_hedge_for_all_and_a_request_can_still_decline() {
    let files = folder();
    let config = file(&files, "config.toml", "[gateway.hedge]\nalways = true\nshare = 0.05\nminimum = 5\n");
    let gateway = gateway(&["--config", &config]).await;
    let (quick, connections) = tunnels(&gateway, "");
    let extra = connections - REQUESTS;
    assert!(quick < 500 && extra <= REQUESTS / 20 + 15, "{quick} ms with {extra} hedges");
    let (_, all) = tunnels(&gateway, "ProxyWhirl-Hedge: no\r\n");
    assert_eq!(all - connections, REQUESTS);
}
