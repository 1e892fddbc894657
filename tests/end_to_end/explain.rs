//! `proxywhirl requests` and `proxywhirl explain`: how requests went, and how one would go.

use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

use crate::control::Commanded;

/// A gateway whose first upstream closes each connection, while the second one serves.
async fn one_of_two_is_bad() -> Commanded {
    let mut bad = UpstreamOptions::new(Protocol::Http);
    bad.behaviour = Behaviour::CloseAfterHead;
    let world = World::start(WorldPlan::new(vec![bad, UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    Commanded::start_over(world, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_explained_attempt_by_attempt() {
    let gateway = one_of_two_is_bad().await;
    let origin = gateway.world.origin().http_url("/ip");
    for _ in 0..2 {
        assert_eq!(gateway.request().code, Some(0));
    }
    let listed = gateway.command(&["requests", "127.0.0.1", "--json"]);
    let records: Value = serde_json::from_str(&listed.stdout).unwrap();
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records[0]["request"].as_u64() > records[1]["request"].as_u64(), "the newest is not first");
    // One of the two began with the upstream that closes.
    let failed_over = records.iter().find(|record| record["attempts"].as_array().unwrap().len() == 2).unwrap();
    let (first, second) = (&failed_over["attempts"][0], &failed_over["attempts"][1]);
    assert!(first["fault"].is_object() && first["latency_ms"].is_null() && first["counted"] == true, "{first}");
    assert!(second["fault"].is_null() && second["latency_ms"].as_f64() > Some(0.0), "{second}");
    assert_eq!((&failed_over["status"], &failed_over["method"]), (&Value::from(200), &Value::from("GET")));

    let number = failed_over["request"].to_string();
    let explained = gateway.command(&["explain", &number]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
    for expected in ["attempt 1, by the plan for everybody", "failed, ", "attempt 2", "answered after", "  over"] {
        assert!(explained.stdout.contains(expected), "{expected}: {}", explained.stdout);
    }
    let german = gateway.command(&["explain", &origin, "--user", "anna-country-de"]);
    assert_eq!(german.code, Some(1), "{german:?}");
    assert!(german.stdout.contains("2 not what is wanted: country DE"), "{}", german.stdout);
    let mistaken = gateway.command(&["explain", &origin, "--user", "anna-contry-de"]);
    assert_eq!(mistaken.code, Some(2), "{mistaken:?}");
    assert!(mistaken.stderr.contains("contry"), "{}", mistaken.stderr);
    let would = gateway.command(&["explain", &origin]);
    assert_eq!(would.code, Some(0), "{would:?}");
    assert!(would.stdout.contains("2 in the pool") && would.stdout.contains("tier 1: cycle over 2 members"));
    assert!(would.stdout.contains("the last requests there:"), "{}", would.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_explained_is_said() {
    let gateway = one_of_two_is_bad().await;
    let none = gateway.command(&["requests"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{none:?}");
    let unknown = gateway.command(&["explain", "77"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("request 77 is not remembered"), "{}", unknown.stderr);
    let wrong = gateway.command(&["explain", "nonsense"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("no port") && wrong.stderr.contains("hint:"), "{}", wrong.stderr);
    let refused = gateway.ask(&["--write-out", "%{http_code}"], "/v1/explain?target=nonsense");
    assert!(refused.stdout.ends_with("400"), "{}", refused.stdout);
}
