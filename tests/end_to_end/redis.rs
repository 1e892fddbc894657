//! A pool in a Redis server, as people use it.

mod passwords;
mod secrets;
mod state;
mod users;
mod work;

use std::fs;
use std::net::TcpListener;

use proxywhirl_tests::{Ran, RedisServer, Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::{Value, json};

use super::control::Commanded;

/// The password of every server here: nobody may ever see it.
const PASSWORD: &str = "hunter2/?x";

fn server() -> RedisServer {
    RedisServer::start(["--requirepass", PASSWORD])
}

/// The URL with its password, and as it is shown.
fn urls(server: &RedisServer) -> (String, String) {
    let port = server.port();
    (format!("redis://:{PASSWORD}@127.0.0.1:{port}"), format!("redis://:***@127.0.0.1:{port}"))
}

fn pool(arguments: &[&str]) -> Ran {
    run(&mut proxywhirl([&["pool"], arguments].concat()))
}

fn done(arguments: &[&str]) -> Ran {
    let ran = pool(arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("hunter2/"), "{ran:?}");
    ran
}

/// The members in a store; none is told with a code of its own.
fn rows(store: &str) -> Vec<Value> {
    let ran = pool(&["list", "--db", store, "--json", "--show-passwords"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{store}: {}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn successes(store: &str) -> u64 {
    rows(store).iter().map(|row| row["successes"].as_u64().unwrap()).sum()
}

async fn world() -> World {
    let upstreams = vec![
        UpstreamOptions::new(Protocol::Http).credentials("user", "p@ss:wörd"),
        UpstreamOptions::new(Protocol::Socks5h).credentials("other", "secret"),
    ];
    World::start(WorldPlan::new(upstreams)).await.unwrap()
}

fn request(world: &World, served: &Served) {
    let ran = curl(["--fail", "--proxy", &format!("http://{}", served.address), &world.origin().http_url("/")]);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stderr, served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_goes_on_with_its_pool_in_a_server() {
    let (world, folder, server) = (world().await, folder(), server());
    let (url, _) = urls(&server);
    let list = file(&folder, "list.txt", world.proxies().join("\n"));
    let config = file(&folder, "proxywhirl.toml", format!("[store]\nurl = \"{url}\"\n"));
    let served = Served::start(["--config", &config, "--proxies", &list]);
    (0..4).for_each(|_| request(&world, &served));
    wait_until("the uses are saved", || successes(&url) == 4);
    assert!(!served.log().contains("hunter2"), "{}", served.log());
    drop(served);
    // By a variable, as by the configuration: no list is needed any more.
    let served = Served::of(proxywhirl(["serve", "--listen", "127.0.0.1:0"]).env("PROXYWHIRL_DB", &url));
    request(&world, &served);
    wait_until("the next one too", || successes(&url) == 5);
    // Others may write meanwhile.
    assert_eq!(done(&["add", "--db", &url, "http://1.2.3.4:80"]).stderr, "1 added, 0 known already, 0 rejected\n");
    request(&world, &served);
    wait_until("both are there", || successes(&url) == 6 && rows(&url).len() == 3);
    assert_eq!(done(&["remove", "--db", &url, "1.2.3.4:80"]).stderr, "1 removed, 2 left\n");
}

#[test]
fn a_pool_goes_to_a_server_and_back_and_no_password_is_shown() {
    let (folder, server) = (folder(), server());
    let (url, shown) = urls(&server);
    let first = format!("sqlite:{}", folder.path().join("first.db").display());
    let chain = "socks5://a:b@192.0.2.2:1080 -> http://192.0.2.3:80";
    done(&["add", "--db", &first, "--tag", "mine", "http://u:p@192.0.2.1:80", chain]);
    let expected = rows(&first);
    let ran = done(&["migrate", &first, &url]);
    assert_eq!(
        ran.stderr,
        format!("2 proxies, 0 sessions, 0 bans, 0 keys of plugins, 0 logins: from {first} to {shown}\n")
    );
    assert_eq!(rows(&url), expected);
    let other = format!("{url}/3?pool=other");
    done(&["migrate", &url, &other]);
    let backup = format!("file:{}", folder.path().join("backup.json.gz").display());
    done(&["backup", "--db", &other, &backup]);
    done(&["remove", "--db", &url, "--tag", "mine"]);
    assert_eq!(rows(&other), expected, "another pool is another pool");
    done(&["restore", "--store", &url, &backup]);
    assert_eq!(rows(&url), expected);
    let config = file(&folder, "proxywhirl.toml", format!("[store]\nurl = \"{url}\"\n"));
    let ran = run(&mut proxywhirl(["config", "show", "--config", &config]));
    assert!(ran.stdout.contains(&shown) && !ran.stdout.contains("hunter2"), "{}", ran.stdout);
    let wrong = url.replace("hunter2", "hunter3");
    let port = server.port();
    for (from, to, code, reason) in [
        (&url, &format!("redis://127.0.0.1:{port}/0"), 2, "are the same store"),
        (&url, &other, 2, "/3?pool=other is not empty"),
        (&wrong, &first, 4, "does not accept the user name and password"),
        (
            &format!("redis://:{PASSWORD}@127.0.0.1:1"),
            &first,
            4,
            "redis://:***@127.0.0.1:1: cannot be reached (Connection",
        ),
        (&format!("{url}?x"), &first, 2, "the URL of the server has behind its ? something else than pool=NAME"),
    ] {
        let ran = pool(&["migrate", from, to]);
        assert!(ran.stderr.contains(reason) && !ran.stderr.contains("hunter"), "{}", ran.stderr);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_loses_its_server_serves_on_and_saves_later() {
    let mut server = server();
    let (url, shown) = urls(&server);
    let gateway = Commanded::start_with(world().await, folder(), &["--db", &url]);
    let request = || request(&gateway.world, &gateway.served);
    let trouble = || gateway.get("/v1/status")["store"]["trouble"].clone();
    assert_eq!(gateway.get("/v1/status")["store"], json!({"url": shown, "trouble": null}));
    request();
    wait_until("the use is saved", || successes(&url) == 1);
    server.kill();
    request();
    wait_until("trouble", || !trouble().is_null());
    let told = trouble()["error"].as_str().unwrap().to_owned();
    assert!(told.starts_with(&format!("{shown}: cannot be reached (")), "{told}");
    let status = gateway.command(&["status"]);
    assert!(status.code == Some(3) && status.stdout.contains("store       not saved for "), "{status:?}");
    (0..4).for_each(|_| request());
    server.start_again();
    wait_until("that it is well again", || trouble().is_null());
    wait_until("that all is well", || gateway.command(&["status"]).code == Some(0));
    assert_eq!(successes(&url), 6);
    // One that is there, and stands still, is no better.
    server.stand_still(true);
    (0..4).for_each(|_| request());
    server.stand_still(false);
    wait_until("all are saved", || successes(&url) == 10);
    request();
    wait_until("the last one too", || successes(&url) == 11);
    // And one that has lost everything is given it again, though nobody asks for anything.
    server.ask_all(&[&["AUTH", PASSWORD][..], &["FLUSHALL"]]);
    wait_until("everything is back", || successes(&url) == 11 && rows(&url).len() == 2);
    assert!(!gateway.served.log().contains("hunter2"), "{}", gateway.served.log());
    let (code, log) = gateway.served.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_server_is_spoken_to_in_tls_and_its_certificate_is_verified() {
    let folder = folder();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = file(&folder, "server.pem", certified.cert.pem());
    let key = file(&folder, "server.key", certified.signing_key.serialize_pem());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tls = ["--tls-port", &port.to_string(), "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let server = RedisServer::start([&tls[..], &["--tls-auth-clients", "no"]].concat());
    let add = |url: &str, trusted: &str| {
        let arguments = ["pool", "add", "--db", url, "http://192.0.2.1:80"];
        run(proxywhirl(arguments).env("SSL_CERT_FILE", trusted))
    };
    let url = format!("rediss://localhost:{port}");
    let ran = add(&url, &certificate);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "1 added, 0 known already, 0 rejected\n"));
    let plain = server.url();
    assert_eq!(rows(&plain).len(), 1, "it is the same pool");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = file(&folder, "other.pem", other.cert.pem());
    let mut authority = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = authority.self_signed(&certified.signing_key).unwrap();
    let authority = file(&folder, "authority.pem", authority.pem());
    let own = ["--tls-port", "PORT", "--tls-cert-file", &authority, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let own_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let _own = RedisServer::start(own.map(|word| if word == "PORT" { own_port.as_str() } else { word }));
    for (url, trusted, reason) in [
        (&url, &other, "shows a certificate that nobody has signed who is trusted here"),
        (&format!("rediss://127.0.0.1:{port}"), &certificate, "shows a certificate of another host ("),
        (&format!("rediss://localhost:{own_port}"), &authority, "shows a certificate that is an authority's"),
        (&format!("redis://localhost:{port}"), &certificate, "; where it speaks TLS, the URL begins with rediss://"),
    ] {
        let ran = add(url, trusted);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
        assert_eq!(ran.code, Some(4));
    }
    fs::remove_file(certificate).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_share_a_pool_know_at_once_who_joins_and_who_leaves() {
    let (world, server) = (world().await, server());
    let (url, _) = urls(&server);
    let proxies = world.proxies();
    let lone = Commanded::start_with(world, folder(), &["--db", &url]);
    let (folder, other) = (folder(), folder());
    let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
    let shared = Served::start(["--db", &url, "--control", &socket]);
    let members = || {
        let ran = curl(["--fail", "--unix-socket", &socket, "http://gateway/v1/status"]);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["members"].as_u64().unwrap()
    };
    assert_eq!(members(), 2, "it has the pool of the other one");
    // Uses of both add up.
    for _ in 0..5 {
        request(&lone.world, &lone.served);
        request(&lone.world, &shared);
    }
    wait_until("all uses are counted", || successes(&url) == 10);
    done(&["add", "--db", &url, "http://192.0.2.1:80", "http://192.0.2.2:80"]);
    let both = |count: u64| members() == count && lone.get("/v1/status")["members"] == json!(count);
    wait_until("both know those who joined", || both(4));
    done(&["remove", "--db", &url, "192.0.2.1:80"]);
    wait_until("both know that one has left", || both(3));
    // Who was away meanwhile, too.
    drop(shared);
    done(&["remove", "--db", &url, "192.0.2.2:80"]);
    let list = file(&other, "list.txt", proxies.join("\n"));
    let shared = Served::start(["--db", &url, "--control", &socket, "--proxies", &list]);
    wait_until("it has what is there", || both(2));
    request(&lone.world, &shared);
    wait_until("the use is counted", || successes(&url) == 11);
}
