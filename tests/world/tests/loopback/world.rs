use proxywhirl_world::{Behaviour, Protocol, World, WorldPlan};

use crate::client::talk;

async fn fetch(world: &World, url: &str) -> String {
    let path = url.strip_prefix(&world.origin().http_url("")).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = talk(world.origin().http_addr(), request).await;
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn every_upstream_of_a_world_is_on_its_lists() {
    let world = World::start(WorldPlan::mixed(12, 1)).await.unwrap();
    let complete = fetch(&world, &world.complete_list()).await;
    assert_eq!(complete.lines().collect::<Vec<_>>(), world.proxies());
    let mut lists = Vec::new();
    for url in world.lists() {
        lists.push(fetch(&world, &url).await);
    }
    assert_eq!(lists.len(), 4);
    for upstream in world.upstreams() {
        let port = upstream.addr().port().to_string();
        let on = lists.iter().filter(|list| list.contains(&port)).count();
        assert!((1..=2).contains(&on), "{} is on {on} lists", upstream.url());
        if let Some(credentials) = upstream.credentials() {
            assert!(!lists[3].contains(&port));
            assert!(lists.iter().any(|list| list.contains(&credentials.password)));
        }
    }
    assert!(lists[0].contains(":70000"));
    assert!(lists[1].starts_with(r#"[{"protocol":""#));
    assert!(lists[2].starts_with("protocol,ip,port,"));
    assert!(lists[3].contains("<td>127.0.0.1</td>"));
}

#[tokio::test]
async fn a_worlds_names_lead_to_its_origin_and_each_upstream_leaves_on_its_own() {
    let world = World::start(WorldPlan::healthy(7)).await.unwrap();
    let http: Vec<_> = world.upstreams().iter().filter(|upstream| upstream.protocol() == Protocol::Http).collect();
    assert_eq!(http.len(), 2);
    let mut seen = Vec::new();
    for upstream in http {
        assert_eq!(upstream.behaviour(), Behaviour::Healthy);
        assert!(world.upstream_at(upstream.addr()).is_some());
        let request = "GET http://origin.test/ip HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        seen.push(talk(upstream.addr(), request).await);
    }
    assert!(seen[0].starts_with("HTTP/1.1 200 "), "{}", seen[0]);
    if cfg!(target_os = "linux") {
        assert_ne!(seen[0], seen[1]);
    }
}
