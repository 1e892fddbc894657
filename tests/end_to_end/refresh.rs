//! Sources that are read again, and members that are checked again.

use std::fs;
use std::time::Duration;

use proxywhirl_tests::{Served, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

/// A gateway whose source is a list in its folder that nobody vouches for, and a judge.
struct Kept {
    world: World,
    folder: tempfile::TempDir,
    _judge: Served,
    gateway: Served,
}

impl Kept {
    async fn start(upstreams: usize, listed: usize, check: &str) -> Self {
        let plan = (0..upstreams).map(|_| UpstreamOptions::new(Protocol::Http)).collect();
        let world = World::start(WorldPlan::new(plan)).await.unwrap();
        let (folder, judge) = (folder(), Served::judge());
        let configuration = format!(
            "[pool]\nallow_private = true\n[check]\njudge = \"http://{}/\"\n{check}\n\
             [[sources]]\nname = \"own\"\nlocation = \"list.txt\"\n",
            judge.address
        );
        fs::write(folder.path().join("list.txt"), world.proxies()[..listed].join("\n")).unwrap();
        let path = folder.path().join("proxywhirl.toml");
        fs::write(&path, configuration).unwrap();
        let socket = folder.path().join("run/control.sock");
        let gateway = Served::start(["--config", &path.to_string_lossy(), "--control", &socket.to_string_lossy()]);
        let kept = Self { world, folder, _judge: judge, gateway };
        kept.until_members(listed);
        kept
    }

    fn command(&self, words: &[&str]) -> Value {
        let socket = self.folder.path().join("run/control.sock");
        let ran = run(proxywhirl(words).args(["--json", "--control"]).arg(socket));
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}\n{}", self.gateway.log()))
    }

    fn members(&self) -> u64 {
        let socket = self.folder.path().join("run/control.sock");
        let ran = proxywhirl_tests::curl(["--unix-socket", &socket.to_string_lossy(), "http://gateway/v1/status"]);
        serde_json::from_str::<Value>(&ran.stdout).ok().and_then(|status| status["members"].as_u64()).unwrap_or(0)
    }

    fn until_members(&self, count: usize) {
        wait_until("the pool to be as large as it should", || self.members() == count as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_reads_the_sources_again_and_asks_of_the_fresh_nothing() {
    let kept = Kept::start(4, 2, "").await;
    fs::write(kept.folder.path().join("list.txt"), kept.world.proxies().join("\n") + "\nnonsense here\n").unwrap();
    let report = kept.command(&["refresh"]);
    let of = |key: &str| report[key].as_u64();
    assert_eq!(
        [of("found"), of("rejected"), of("fresh"), of("alive"), of("new")],
        [4, 1, 2, 2, 2].map(Some),
        "{report}"
    );
    assert_eq!((&report["passed"]["http"], report["sources"][0]["name"].as_str()), (&Value::from(2), Some("own")));
    assert_eq!(kept.members(), 4);
    let socket = kept.folder.path().join("run/control.sock");
    let unknown = run(proxywhirl(["refresh", "other", "--control"]).arg(socket));
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("there is no source \"other\"") && unknown.stderr.contains("own"),
        "{}",
        unknown.stderr
    );
    let socket = kept.folder.path().join("run/control.sock").to_string_lossy().into_owned();
    let named = ["--write-out", "\n%{http_code}", "--data", "{\"sources\": [\"own\", \"other\"]}"];
    let ran =
        proxywhirl_tests::curl([&["--unix-socket", &socket], &named[..], &["http://gateway/v1/refresh"]].concat());
    assert!(ran.stdout.starts_with("{\"error\":") && ran.stdout.ends_with("\n400"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_leave_if_that_is_wanted_and_come_back_when_they_live() {
    let often = "fresh = \"100ms\"\nfresh_max = \"200ms\"\nretry = \"100ms\"\nretry_max = \"200ms\"\ngive_up = 4\nremove_dead = true";
    let kept = Kept::start(2, 2, often).await;
    let dying = &kept.world.upstreams()[1];
    dying.set_behaviour(Behaviour::Dead).await.unwrap();
    kept.until_members(1);
    dying.set_behaviour(Behaviour::Healthy).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    kept.command(&["refresh", "own"]);
    kept.until_members(2);
}
