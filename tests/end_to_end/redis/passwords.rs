//! Passwords that a gateway has learned while it could not save them.

use std::collections::BTreeSet;
use std::path::Path;

use proxywhirl_tests::{Ran, RedisServer, Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;
use tempfile::TempDir;

use super::{PASSWORD, done, request, rows, server, urls};

/// A gateway, of whose source the test says what it names.
struct Gateway {
    served: Served,
    folder: TempDir,
    socket: String,
}

impl Gateway {
    /// Starts one that saves when it has to, and no sooner.
    fn start(store: &str, named: &str) -> Self {
        let folder = folder();
        file(&folder, "list.txt", named);
        let source = "[[sources]]\nname = \"own\"\nlocation = \"list.txt\"\ntrust = true\n";
        let store = format!("[store]\nurl = \"{store}\"\nsave_interval = \"1h\"\n");
        let config = file(&folder, "proxywhirl.toml", format!("{source}{store}"));
        let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
        let mut serve = proxywhirl(["serve", "--listen", "127.0.0.1:0", "--config", &config, "--control", &socket]);
        let served = Served::of(serve.current_dir(folder.path()));
        Self { served, folder, socket }
    }

    fn names(&self, named: &str) -> Ran {
        file(&self.folder, "list.txt", named);
        run(proxywhirl(["refresh"]).env("PROXYWHIRL_CONTROL", Path::new(&self.socket)))
    }

    fn status(&self) -> Value {
        let ran = curl(["--fail", "--unix-socket", &self.socket, "http://gateway/v1/status"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_could_not_be_saved_is_not_lost_to_what_others_have_changed() {
    let upstreams = vec![UpstreamOptions::new(Protocol::Http).any_login()];
    let (world, mut server) = (World::start(WorldPlan::new(upstreams)).await.unwrap(), server());
    let (store, _) = urls(&server);
    let acl = |server: &RedisServer, rule: &str| {
        let told =
            server.ask_all(&[&["AUTH", PASSWORD][..], &["ACL", "SETUSER", "one", "on", ">one", "~*", "&*", rule]]);
        assert!(!told.contains('-'), "{told}");
    };
    acl(&server, "+@all");
    let upstream = world.upstreams()[0].addr();
    let named = |password: &str| format!("http://us:{password}@{upstream}");
    let sent = |served: &Served| {
        request(&world, served);
        world.upstreams()[0].logins().pop().unwrap().1
    };
    let kept = || {
        let rows = rows(&store);
        let tags = rows[0]["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned());
        (rows[0]["url"].as_str().unwrap().to_owned(), tags.collect::<BTreeSet<_>>())
    };

    // For one of two, the server is away, and meanwhile the other's row changes there.
    let one = Gateway::start(&format!("redis://one:one@127.0.0.1:{}", server.port()), &named("first"));
    let other = Gateway::start(&store, "");
    wait_until("both have it", || other.status()["members"] == 1);
    acl(&server, "-@all");
    let ran = one.names(&named("second"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(sent(&one.served), "second", "{}", one.served.log());
    wait_until("trouble", || !one.status()["store"]["trouble"].is_null());
    done(&["add", "--db", &store, "--tag", "mine", &named("first")]);
    acl(&server, "+@all");
    wait_until("it is kept", || kept().0 == named("second"));
    assert!(kept().1.contains("mine"), "{:?}", kept());
    assert_eq!(sent(&one.served), "second");
    wait_until("the other has heard of it", || sent(&other.served) == "second");

    // One that begins without the server has heard of nothing, and knows a newer password.
    server.kill();
    let third = Gateway::start(&store, &named("third"));
    assert_eq!(sent(&third.served), "third");
    server.start_again();
    wait_until("it is kept", || kept().0 == named("third"));
    assert!(kept().1.contains("mine"), "{:?}", kept());
    assert_eq!(sent(&third.served), "third");
    wait_until("the other has heard of it", || sent(&other.served) == "third");
}
