//! Where clients come in: what they say in user names, who they are, listeners of all kinds, rotation.

mod access;
pub(crate) mod clients;
mod listeners;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use proxywhirl_tests::{Ran, Served, curl, file, folder, run};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use tempfile::TempDir;

/// Upstreams that the origin tells apart by the address that they come from, a gateway in front of them, and its files.
struct Scene {
    world: World,
    /// Its configuration is there; gone with the scene.
    files: TempDir,
    served: Served,
}

impl Scene {
    /// Six upstreams: two in Germany, two in France, two in the United States, of which one each has the tag `fast`.
    async fn new(config: &str) -> Self {
        let options = (0..6)
            .map(|n| UpstreamOptions::new(Protocol::Http).egress(IpAddr::V4(Ipv4Addr::new(127, 3, 0, n + 1))))
            .collect();
        let world = World::start(WorldPlan::new(options)).await.unwrap();
        let folder = folder();
        let mut sources = String::new();
        for (name, tags, upstreams) in [("fast", "[\"fast\"]", [0, 2, 4]), ("slow", "[\"slow\"]", [1, 3, 5])] {
            let rows: Vec<String> = upstreams
                .iter()
                .map(|&n| {
                    let address = world.proxies()[n].trim_start_matches("http://").to_owned();
                    let (host, port) = address.rsplit_once(':').unwrap();
                    let country = ["DE", "FR", "US"][n / 2];
                    format!(
                        "{{\"ip\": \"{host}\", \"port\": {port}, \"protocol\": \"http\", \"country\": \"{country}\"}}"
                    )
                })
                .collect();
            let list = file(&folder, &format!("{name}.json"), format!("[{}]", rows.join(",")));
            sources.push_str(&format!(
                "[[sources]]\nname = \"{name}\"\nlocation = \"{list}\"\ntrust = true\ntags = {tags}\n"
            ));
        }
        let config = file(&folder, "proxywhirl.toml", format!("{config}\n{sources}"));
        let served = Served::start(["--config", &config]);
        Self { world, files: folder, served }
    }

    fn url(&self) -> String {
        self.world.origin().http_url("/ip")
    }

    /// Where it listens, in the order of the configuration; first of all where every test does.
    fn places(&self) -> Vec<String> {
        self.served.wait_for_log("SOCKS5 at ");
        let log = self.served.log();
        let (_, rest) = log.split_once("SOCKS5 at ").unwrap();
        rest.split(';').next().unwrap().split(", ").map(str::to_owned).collect()
    }

    /// What curl gets through a proxy, with the status at the end.
    fn curl(&self, proxy: &str, arguments: &[&str]) -> Ran {
        let url = self.url();
        curl([&["--proxy", proxy, "--write-out", "%{http_code} %{http_connect}", url.as_str()], arguments].concat())
    }

    /// Which upstream a request goes through: 0 to 5.
    fn exit(&self, proxy: &str, arguments: &[&str]) -> usize {
        let ran = self.curl(proxy, arguments);
        assert_eq!(ran.code, Some(0), "{proxy} {arguments:?}: {}\n{}", ran.stderr, self.served.log());
        exit_in(&ran.stdout).unwrap_or_else(|| panic!("{proxy}: {}\n{}", ran.stdout, self.served.log()))
    }

    /// Which upstreams requests go through.
    fn exits(&self, proxy: &str, requests: usize) -> BTreeSet<usize> {
        (0..requests).map(|_| self.exit(proxy, &[])).collect()
    }

    /// Which upstreams a program of Python comes out of, one a line.
    fn python(&self, program: &str, arguments: &[&str]) -> Vec<usize> {
        let ran = python(program, arguments);
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.stderr, self.served.log());
        ran.stdout.lines().map(|line| exit_in(line).unwrap_or_else(|| panic!("{line}"))).collect()
    }
}

fn exit_in(answer: &str) -> Option<usize> {
    let (_, rest) = answer.split_once("127.3.0.")?;
    let number: usize = rest.get(..1)?.parse().ok()?;
    number.checked_sub(1)
}

fn python(program: &str, arguments: &[&str]) -> Ran {
    run(Command::new("python3").args(["-c", program]).args(arguments))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_in_its_user_name_or_in_fields_what_it_wants() {
    let scene = Scene::new("").await;
    let address = scene.served.address.clone();
    for (user, exits) in [
        ("anna-country-de", vec![0, 1]),
        ("anna-cc-de,fr-tag-fast", vec![0, 2]),
        ("anna-!country-de-!tag-slow", vec![2, 4]),
        ("brd-customer-x-zone-slow-country-us", vec![5]),
        ("customer-x-cc-US-pool-fast-sessid-abc-sesstime-10", vec![4]),
    ] {
        for scheme in ["http", "socks5h", "socks4a"] {
            let proxy = format!("{scheme}://{user}:x@{address}");
            assert!((0..4).all(|_| exits.contains(&scene.exit(&proxy, &[]))), "{proxy}");
        }
    }
    let plain = scene.served.proxy("http");
    let fields = ["--header", "ProxyWhirl-Country: !de, !fr", "--header", "ProxyWhirl-Pool: fast"];
    assert_eq!(scene.exit(&plain, &fields), 4);
    // The default strategy knows nothing of sessions: they stick all the same, until one is begun anew.
    let session = format!("http://anna-session-7:x@{address}");
    let first = scene.exit(&session, &[]);
    assert!((0..5).all(|_| scene.exit(&session, &[]) == first));
    let second = scene.exit(&session, &["--header", "ProxyWhirl-Rotate: 1"]);
    assert_ne!(second, first);
    assert_eq!(scene.exits(&session, 3), BTreeSet::from([second]));
    for (user, named) in [("anna-contry-de", "contry"), ("anna-attempts-9", "1 to 5"), ("anna-lifetime-x", "lifetime")]
    {
        let ran = scene.curl(&format!("http://{user}:x@{address}"), &["--include"]);
        assert!(ran.stdout.starts_with("HTTP/1.1 407 ") && ran.stdout.contains(named), "{}", ran.stdout);
        assert!(ran.stdout.contains("Proxy-Status: proxywhirl; error=http_request_denied"), "{}", ran.stdout);
    }
    let ran = scene.curl(&format!("http://anna-timeout-1ms-country-jp:x@{address}"), &["--include"]);
    assert!(ran.stdout.starts_with("HTTP/1.1 503 "), "{}", ran.stdout);
}
