//! The clients of Python that most people use, requests and aiohttp: rotation, sessions, limits, bans, failover.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use proxywhirl_tests::{Ran, binary, file, folder, proxywhirl, run, run_with_input};
use proxywhirl_world::Behaviour;

use super::{Scene, exit_in};

const CLIENTS: [&str; 2] = ["requests", "aiohttp"];

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("end_to_end/ingress/clients")
}

/// A Python that has the clients, made by the first test that wants it, for all of them.
pub(crate) fn python() -> PathBuf {
    let wanted = std::fs::read_to_string(here().join("requirements.txt")).unwrap();
    let made = binary().with_file_name("end-to-end-cache").join("python-clients");
    std::fs::create_dir_all(&made).unwrap();
    // Each test is a process of its own.
    let lock = std::fs::File::create(made.join("lock")).unwrap();
    lock.lock().unwrap();
    let stamp = made.join("installed");
    let python = made.join("bin/python");
    if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        let ran = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(made.join(".")));
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        let ran = run(install.arg(here().join("requirements.txt")));
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        std::fs::write(&stamp, &wanted).unwrap();
    }
    python
}

/// A scene, and Python to look at it with.
struct Seen {
    scene: Scene,
    python: PathBuf,
    ca: String,
    _files: tempfile::TempDir,
}

impl Seen {
    async fn new(config: &str) -> Self {
        let python = python();
        let scene = Scene::new(config).await;
        let files = folder();
        let ca = file(&files, "ca.pem", scene.world.ca().ca_pem());
        Self { scene, python, ca, _files: files }
    }

    fn http(&self) -> String {
        self.scene.url()
    }

    fn https(&self) -> String {
        self.scene.world.origin().https_url("/ip").unwrap()
    }

    /// The lines of a client's errand: `in_turn` or `together`.
    fn asked(&self, client: &str, errand: &str, proxy: &str, url: &str, count: usize) -> Vec<String> {
        let mut command = Command::new(&self.python);
        command.arg(here().join("client.py")).args([client, errand, proxy, url, &count.to_string()]);
        let ran: Ran = run(command.env("CLIENT_CA", &self.ca));
        assert_eq!(ran.code, Some(0), "{client}: {}\n{}", ran.stderr, self.scene.served.log());
        let lines: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), count, "{client}: {}", ran.stdout);
        lines
    }

    /// Which upstreams answered: all of them with 200.
    fn exits(&self, client: &str, errand: &str, proxy: &str, url: &str, count: usize) -> Vec<usize> {
        let exit = |line: &String| line.starts_with("200 ").then(|| exit_in(line)).flatten();
        let lines = self.asked(client, errand, proxy, url, count);
        lines
            .iter()
            .map(|line| {
                exit(line).unwrap_or_else(|| panic!("{client} {proxy} {url}: {lines:?}\n{}", self.scene.served.log()))
            })
            .collect()
    }
}

fn distinct(exits: &[usize]) -> usize {
    exits.iter().collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_rotate_for_each_request_and_each_tunnel() {
    let seen = Seen::new("").await;
    for client in CLIENTS {
        let mut exits = seen.exits(client, "in_turn", &seen.scene.served.proxy("http"), &seen.http(), 12);
        exits.sort_unstable();
        assert_eq!(exits, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], "{client}");
        for (scheme, url) in [("http", seen.https()), ("socks5h", seen.http()), ("socks5h", seen.https())] {
            let proxy = seen.scene.served.proxy(scheme);
            let tunnels = seen.exits(client, "together", &proxy, &url, 8);
            assert!(distinct(&tunnels) > 1, "{client} {scheme} {url}: {tunnels:?}");
            // A tunnel is kept by the client: all that it asks in turn goes the same way.
            let kept = seen.exits(client, "in_turn", &proxy, &url, 5);
            assert_eq!(distinct(&kept), 1, "{client} {scheme} {url}: {kept:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_one_proxy_for_all_clients_and_protocols() {
    let seen = Seen::new("").await;
    let address = &seen.scene.served.address;
    let mut exits = Vec::new();
    for client in CLIENTS {
        for scheme in ["http", "socks5h"] {
            let proxy = format!("{scheme}://anna-country-fr-session-cart:x@{address}");
            for url in [seen.http(), seen.https()] {
                exits.extend(seen.exits(client, "together", &proxy, &url, 4));
            }
        }
    }
    assert!(distinct(&exits) == 1 && [2, 3].contains(&exits[0]), "{exits:?}");
    // aiohttp says its user name once for each connection, and it goes on to hold.
    for client in CLIENTS {
        let proxy = format!("http://anna-country-fr-session-cart:x@{address}");
        exits.extend(seen.exits(client, "in_turn", &proxy, &seen.http(), 6));
        assert_eq!(distinct(&exits), 1, "{client}: {exits:?}");
    }
    // What nobody understands is an error that names it.
    for client in CLIENTS {
        let proxy = format!("http://anna-contry-fr:x@{address}");
        let plain = seen.asked(client, "in_turn", &proxy, &seen.http(), 1);
        assert!(plain[0].starts_with("407 ") && plain[0].contains("contry"), "{plain:?}");
        let tunnel = seen.asked(client, "in_turn", &proxy, &seen.https(), 1);
        assert!(tunnel[0].starts_with("error ") && tunnel[0].contains("407"), "{tunnel:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_and_quotas_of_users_hold() {
    let ran = run_with_input(&mut proxywhirl(["user", "hash"]), "hunter2\n");
    let user = |name: &str, limits: &str| {
        format!("[[users]]\nname = \"{name}\"\npassword_hash = \"{}\"\n{limits}\n", ran.stdout.trim())
    };
    let mut config = String::new();
    for client in CLIENTS {
        config += &user(&format!("{client}1"), "rate = 0.01\nburst = 3");
        config += &user(&format!("{client}2"), "quota = \"20kB\"\nquota_period = \"1h\"");
    }
    config += &user("tunnels", "quota = \"20kB\"\nquota_period = \"1h\"");
    let seen = Seen::new(&config).await;
    let address = &seen.scene.served.address;
    // A tunnel ends where the bytes do, and not when it has been silent for long.
    let (proxy, page) = (format!("http://tunnels:hunter2@{address}"), seen.https().replace("/ip", "/bytes/3000000"));
    let began = std::time::Instant::now();
    let told =
        ["--silent", "--insecure", "--max-time", "60", "--output", "/dev/null", "--write-out", "%{size_download}"];
    let ran = run(Command::new("curl").args(told).args(["--proxy", &proxy, &page]));
    assert!(ran.code != Some(0) && ran.stdout.parse::<u64>().unwrap() < 1_000_000, "{ran:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
    for client in CLIENTS {
        let proxy = format!("http://{client}1:hunter2@{address}");
        let lines = seen.asked(client, "together", &proxy, &seen.http(), 10);
        let of = |status: &str| lines.iter().filter(|line| line.starts_with(status)).count();
        assert_eq!((of("200 "), of("429 ")), (3, 7), "{client}: {lines:?}");
        let tunnel = seen.asked(client, "in_turn", &proxy, &seen.https(), 1);
        assert!(tunnel[0].starts_with("error ") && tunnel[0].contains("429"), "{client}: {tunnel:?}");

        // As many answers of 2,000 bytes as its bytes are for, heads and requests included.
        let proxy = format!("http://{client}2:hunter2@{address}");
        let lines = seen.asked(client, "in_turn", &proxy, &seen.scene.world.origin().http_url("/bytes/2000"), 12);
        let good = lines.iter().take_while(|line| line.starts_with("200 ")).count();
        assert!((5..=10).contains(&good), "{client}: {good} {lines:?}");
        assert!(lines[good + 1..].iter().all(|line| line.starts_with("429 ")), "{client}: {lines:?}");
        let wrong = seen.asked(client, "in_turn", &format!("http://{client}2:wrong@{address}"), &seen.http(), 1);
        assert!(wrong[0].starts_with("407 "), "{client}: {wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_dead_is_seen_by_none_of_them() {
    let rule = "[[bans]]\nname = \"forbidden\"\nstatus = \"403\"\nretry = true\nban = \"10m\"\n";
    let seen = Seen::new(rule).await;
    let upstreams = seen.scene.world.upstreams();
    upstreams[1].set_behaviour(Behaviour::AnswerStatus(403)).await.unwrap();
    upstreams[3].set_behaviour(Behaviour::Dead).await.unwrap();
    let proxy = seen.scene.served.proxy("http");
    for client in CLIENTS {
        let exits = seen.exits(client, "in_turn", &proxy, &seen.http(), 18);
        assert!(exits.iter().all(|exit| ![1, 3].contains(exit)), "{client}: {exits:?}");
    }
    assert_eq!(upstreams[1].seen().len(), 1, "a proxy that was refused is asked again");
    for client in CLIENTS {
        for (scheme, url) in [("http", seen.https()), ("socks5h", seen.http()), ("socks5h", seen.https())] {
            seen.exits(client, "together", &seen.scene.served.proxy(scheme), &url, 8);
        }
    }
}
