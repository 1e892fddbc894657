//! Upstreams that die and come back at random, under load: nobody's request fails that has a working upstream left.
//!
//! Ten seconds by default; `PROXYWHIRL_CHURN_SECONDS=300` makes it five minutes (by `cargo test`, because nextest ends what
//! takes so long), and `PROXYWHIRL_CHURN_SEED` chooses another course of events.

use std::time::{Duration, Instant};

use proxywhirl_tests::{Load, Served, file, folder};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};

const UPSTREAMS: usize = 20;
const CLIENTS: u32 = 50;
const RATE: u32 = 1_000;

/// Between one change and the next.
const PACE: Duration = Duration::from_millis(200);

/// The ways to be of no use.
const BAD: [Behaviour; 5] =
    [Behaviour::Dead, Behaviour::CloseAfterHead, Behaviour::Silent, Behaviour::GarbageReply, Behaviour::HeaderBomb];

/// A number from the environment.
fn set(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from(mixed >> 33).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_upstreams_die_and_come_back() {
    let plan = WorldPlan::new((0..UPSTREAMS).map(|_| UpstreamOptions::new(Protocol::Http)).collect());
    let world = World::start(plan).await.unwrap();
    let folder = folder();
    let list = file(&folder, "list", world.proxies().join("\n"));
    let served = Served::start(["--proxies", &list, "--connect-timeout", "1s"]);
    let load = Load::start(&served.address, &world.origin().http_url("/"), CLIENTS, RATE);
    let (began, length) = (Instant::now(), Duration::from_secs(set("PROXYWHIRL_CHURN_SECONDS", 10)));
    let mut seed = set("PROXYWHIRL_CHURN_SEED", 7);
    let mut changes = 0;
    while began.elapsed() < length {
        let upstream = &world.upstreams()[next(&mut seed) % UPSTREAMS];
        let bad = world.upstreams().iter().filter(|upstream| upstream.behaviour() != Behaviour::Healthy).count();
        // A third is bad at the most.
        let dies = upstream.behaviour() == Behaviour::Healthy && bad < UPSTREAMS / 3;
        let behaviour = if dies { BAD[next(&mut seed) % BAD.len()] } else { Behaviour::Healthy };
        upstream.set_behaviour(behaviour).await.unwrap();
        changes += 1;
        tokio::time::sleep(PACE).await;
    }
    let loaded = load.stop();
    println!("{changes} changes; {} of {} answered, {:.0} a second", loaded.answered, loaded.sent, loaded.rate());
    assert!(changes > 10 && loaded.sent > 100, "{changes} changes, {} requests", loaded.sent);
    assert_eq!(loaded.answered, loaded.sent, "{:?}\n{}", loaded.failures, served.log());
}
