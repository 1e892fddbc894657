//! Listeners: dialects, filters, one proxy, ranges of ports, sockets, TLS, IPv6; and rotation.

use std::collections::BTreeSet;
use std::net::TcpStream;

use proxywhirl_tests::{curl, file, proxywhirl, run, wait_until};
use tempfile::TempDir;

use super::Scene;

/// Requests over one connection that is kept alive, as many as the third argument says.
const KEEP_ALIVE: &str = "
import http.client, sys
host, port = sys.argv[1].rsplit(':', 1)
connection = http.client.HTTPConnection(host, int(port), timeout=20)
for _ in range(int(sys.argv[3])):
    connection.request('GET', sys.argv[2])
    print(connection.getresponse().read().decode().strip())
";

/// A request over a Unix socket.
const OVER_UNIX: &str = "
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(sys.argv[1])
client.sendall(f'GET {sys.argv[2]} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'.encode())
answer = b''
while piece := client.recv(4096):
    answer += piece
print(answer.decode().split('\\r\\n\\r\\n')[1].strip())
";

/// A control socket in a folder, which is the user's alone from now on.
fn control_socket_in(folder: &TempDir) -> String {
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(folder.path(), own).unwrap();
    folder.path().join("control.sock").to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_speaks_its_dialect_and_gives_what_it_is_bound_to() {
    let config = [
        "dialect = \"oxylabs\"",
        "dialect = \"iproyal\"",
        "separator = \";\"\nassignment = \"=\"",
        "words = { country = \"us\", pool = \"fast\" }",
        "words = { session = \"checkout\", attempts = 2 }",
        "dialect = \"g3\"",
    ];
    let listener = |(n, more)| format!("[[listeners]]\nname = \"{n}\"\naddress = \"127.0.0.1:0\"\n{more}\n");
    let config: Vec<String> = config.into_iter().enumerate().map(listener).collect();
    let scene = Scene::new(&config.concat()).await;
    let places = scene.places();
    let within = |proxy: &str, exits: &[usize]| {
        let seen = scene.exits(proxy, 4);
        assert!(seen.iter().all(|exit| exits.contains(exit)), "{proxy}: {seen:?}");
    };
    within(&format!("http://customer-x-cc-DE-sessid-abc:p@{}", places[1]), &[0, 1]);
    within(&format!("socks5h://x:pass_country-fr_session-sgn34f3e_lifetime-10m@{}", places[2]), &[2, 3]);
    within(&format!("http://team-a;country=de;tag=slow:p@{}", places[3]), &[1]);
    within(&format!("http://{}", places[4]), &[4]);
    within(&format!("http://x-tag-fast:p@{}", places[4]), &[4]);
    assert_eq!(scene.exits(&format!("http://{}", places[5]), 5).len(), 1);
    within(&format!("http://user+country=us+sticky=60s+session_id=a:p@{}", places[6]), &[4, 5]);
    let ran = scene.curl(&format!("http://x-country-de:p@{}", places[4]), &["--include"]);
    assert!(ran.stdout.starts_with("HTTP/1.1 400 ") && ran.stdout.contains("ask for less"), "{}", ran.stdout);
    let ran = scene.curl(&format!("http://x:pass_contry-de@{}", places[2]), &["--include"]);
    assert!(ran.stdout.starts_with("HTTP/1.1 407 ") && ran.stdout.contains("contry"), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_has_a_strategy_of_its_own() {
    // Addresses that no other test has, so that each is known after a reload.
    let listener = |port: u16, strategy: &str| format!("[[listeners]]\naddress = \"127.9.0.8:{port}\"\n{strategy}");
    let weighted = |tag: &str, other: &str| {
        format!("strategy = {{ name = \"weighted\", options = {{ by_tag = {{ {tag} = 1, {other} = 0 }} }} }}\n")
    };
    let all = |first: &str| {
        let fast = weighted("fast", "slow");
        listener(24_201, first) + &listener(24_202, &fast) + &listener(24_203, &fast) + &listener(24_204, "")
    };
    let scene = Scene::new(&all(&weighted("slow", "fast"))).await;
    let exits = |port: u16| scene.exits(&format!("http://127.9.0.8:{port}"), 12).into_iter().collect::<Vec<_>>();
    let becomes = |port: u16, expected: &[usize]| {
        proxywhirl_tests::wait_until("the strategy of a listener", || exits(port) == expected);
    };
    // Its first plan comes a moment after the start.
    becomes(24_201, &[1, 3, 5]);
    becomes(24_202, &[0, 2, 4]);
    becomes(24_203, &[0, 2, 4]);
    assert_eq!(exits(24_204), [0, 1, 2, 3, 4, 5], "that of the gateway");
    // A session is the same one, wherever it comes in, if the strategy there has its proxy.
    for session in 0..4 {
        let bound = |port: u16| scene.exit(&format!("http://x-session-{session}:p@127.9.0.8:{port}"), &[]);
        assert_eq!(bound(24_202), bound(24_204));
    }
    // Others, of which one is the gateway's, while it runs; what stays as it is goes on.
    let path = scene.files.path().join("proxywhirl.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    let after = before.replace(&all(&weighted("slow", "fast")), &all(""));
    assert_ne!(before, after);
    std::fs::write(&path, after).unwrap();
    becomes(24_201, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(exits(24_202), [0, 2, 4]);
    // One that is not there, or has nothing to choose from, is a mistake.
    for (wrong, told) in [
        ("strategy = { name = \"wieghted\" }\n", "wieghted"),
        ("strategy = { options = {} }\n", "it has no name"),
        ("strategy = { name = \"random\" }\nproxy = \"http://127.0.0.1:1\"\n", "`proxy` is one"),
        (
            "strategy = { name = \"weighted\", options = { by = \"chance\" } }\n",
            "strategy.options: options of weighted",
        ),
    ] {
        let folder = proxywhirl_tests::folder();
        let config = file(&folder, "proxywhirl.toml", listener(24_209, wrong));
        let ran = run(&mut proxywhirl(["config", "check", "--config", &config]));
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(told), "{wrong}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strategy_of_a_listener_is_told() {
    let config = "[control]\nsocket = \"run/control.sock\"\n\
                  [[listeners]]\nname = \"german\"\naddress = \"127.9.0.9:24301\"\nwords = { country = \"de\" }\n\
                  strategy = { name = \"performance\", options = { sharpness = 3 } }\n";
    let scene = Scene::new(config).await;
    assert!(scene.exit("http://127.9.0.9:24301", &[]) < 2);
    let config = scene.files.path().join("proxywhirl.toml");
    let command = |words: &[&str]| run(proxywhirl(words).env("PROXYWHIRL_CONFIG", &config));
    let (status, went) = (command(&["status"]), command(&["explain", "1"]));
    assert!(status.stdout.contains("\nlistener    german: strategy performance\n"), "{status:?}");
    assert!(went.stdout.contains("\n  by strategy performance, that of its listener\n"), "{went:?}");
    let url = scene.url();
    for (words, strategy, eligible) in [
        (&[][..], "strategy round-robin ", "  6 eligible"),
        (&["--listener", "german"], "strategy performance ", "  2 eligible"),
        (&["--listener", "127.9.0.9:24301"], "strategy performance ", "  2 eligible"),
    ] {
        // Its first plan comes a moment after the start.
        proxywhirl_tests::wait_until("that it is told", || {
            let told = command(&[&["explain", &url], words].concat());
            [strategy, eligible].iter().all(|text| told.stdout.lines().any(|line| line.starts_with(text)))
        });
    }
    let nowhere = command(&["explain", &url, "--listener", "french"]);
    assert!(nowhere.code == Some(1) && nowhere.stderr.contains("there is no listener french"), "{nowhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_ports_is_as_many_sessions() {
    // An address that no other test has.
    let config = "[[listeners]]\naddress = \"127.9.0.7:24000-24029\"\n\
                  [[listeners]]\naddress = \"127.9.0.7:24100-24101\"\nwords = { session = \"one\" }\n";
    let scene = Scene::new(config).await;
    assert_eq!(scene.places()[1], "127.9.0.7:24000-24029");
    let first: Vec<usize> = (24_000..24_030).map(|port| scene.exit(&format!("http://127.9.0.7:{port}"), &[])).collect();
    let again: Vec<usize> = (24_000..24_030).map(|port| scene.exit(&format!("http://127.9.0.7:{port}"), &[])).collect();
    assert_eq!(first, again);
    assert!(first.iter().collect::<BTreeSet<_>>().len() > 3, "{first:?}");
    assert_eq!(scene.exit("http://127.9.0.7:24100", &[]), scene.exit("http://127.9.0.7:24101", &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_of_a_range_rotate_as_they_are_told() {
    // An address that no other test has.
    let control = proxywhirl_tests::folder();
    let socket = control_socket_in(&control);
    let config = "[[listeners]]\nname = \"plain\"\naddress = \"127.9.0.8:24000-24002\"\n\
                  [[listeners]]\nname = \"three\"\naddress = \"127.9.0.8:24100-24101\"\nrotation = \"3 requests\"\n";
    let scene = Scene::new(&format!("control.socket = \"{socket}\"\n{config}")).await;
    let exits = |port: u16, count: usize| -> Vec<usize> {
        (0..count).map(|_| scene.exit(&format!("http://127.9.0.8:{port}"), &[])).collect()
    };
    let rotate = |name: &str| run(proxywhirl(["rotate", "--control", &socket]).arg(name)).stdout;
    let before = [24_000, 24_001].map(|port| exits(port, 2));
    assert!(rotate("plain").ends_with("at plain\n"), "the name, once");
    let after = [24_000, 24_001].map(|port| exits(port, 2));
    for (before, after) in before.iter().zip(&after) {
        assert!(before[0] == before[1] && after[0] == after[1] && before[0] != after[0], "{before:?} {after:?}");
    }
    assert!(rotate("127.9.0.8:24001").ends_with("at 127.9.0.8:24001\n"), "one port");
    assert_eq!(exits(24_000, 1)[0], after[0][0]);
    assert_ne!(exits(24_001, 1)[0], after[1][0]);
    for port in [24_100, 24_101] {
        let exits = exits(port, 7);
        let changes: Vec<usize> = (1..exits.len()).filter(|&n| exits[n] != exits[n - 1]).collect();
        assert_eq!(changes, [3, 6], "{exits:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_over_ipv6_tls_and_a_unix_socket() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let files = proxywhirl_tests::folder();
    let certificate = file(&files, "cert.pem", made.cert.pem());
    let key = file(&files, "key.pem", made.signing_key.serialize_pem());
    let socket = files.path().join("in.sock").to_string_lossy().into_owned();
    let control = control_socket_in(&files);
    let config = format!(
        "control.socket = \"{control}\"\n\
         [[listeners]]\naddress = \"[::1]:0\"\n\
         [[listeners]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = \"{certificate}\", key = \"{key}\" }}\n\
         [[listeners]]\naddress = \"unix:{socket}\"\n"
    );
    let scene = Scene::new(&config).await;
    let places = scene.places();
    assert!(scene.exit(&format!("http://{}", places[1]), &[]) < 6);
    let over_tls = format!("https://{}", places[2]);
    assert!(scene.exit(&over_tls, &["--proxy-cacert", &certificate]) < 6);
    assert!(scene.exit(&over_tls, &["--proxy-cacert", &certificate, "--proxytunnel"]) < 6);
    // Who only looks whether the port is open is not counted.
    drop(TcpStream::connect(&places[2]).unwrap());
    for proxy in ["http://", "https://"] {
        let ran = scene.curl(&format!("{proxy}{}", places[2]), &[]);
        assert_ne!(ran.code, Some(0), "{ran:?}");
    }
    let refused = || {
        let metrics = curl(["--unix-socket", &control, "http://gateway/metrics"]).stdout;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("proxywhirl_requests_refused_total{reason=\"tls\"} "));
        line.and_then(|count| count.parse::<u32>().ok()).unwrap_or_default()
    };
    wait_until("both are counted", || refused() >= 2);
    assert_eq!(refused(), 2);
    assert_eq!(scene.python(OVER_UNIX, &[&socket, &scene.url()]).len(), 1);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(scene.served.stop().0, Some(0));
    assert!(!std::path::Path::new(&socket).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_rotates_by_requests_connections_time_or_command_under_keep_alive() {
    let listener = |rotation: &str| {
        format!("[[listeners]]\nname = \"{rotation}\"\naddress = \"127.0.0.1:0\"\nrotation = \"{rotation}\"\n")
    };
    let config = ["request", "3 requests", "connection", "failure", "1s", "client", "destination"].map(listener);
    let control = proxywhirl_tests::folder();
    let socket = control_socket_in(&control);
    let scene = Scene::new(&format!("control.socket = \"{socket}\"\n{}", config.concat())).await;
    let places = scene.places();
    let asked = |place: &str, requests: usize| scene.python(KEEP_ALIVE, &[place, &scene.url(), &requests.to_string()]);
    let changes = |exits: &[usize]| (1..exits.len()).filter(|&n| exits[n] != exits[n - 1]).collect::<Vec<_>>();
    assert_eq!(changes(&asked(&places[1], 6)), [1, 2, 3, 4, 5]);
    assert_eq!(changes(&asked(&places[2], 9)), [3, 6]);
    let connections: Vec<Vec<usize>> = (0..8).map(|_| asked(&places[3], 5)).collect();
    assert!(connections.iter().all(|exits| changes(exits).is_empty()), "{connections:?}");
    assert!(connections.iter().map(|exits| exits[0]).collect::<BTreeSet<_>>().len() > 1, "{connections:?}");

    let first = asked(&places[4], 5);
    assert!(changes(&first).is_empty(), "{first:?}");
    let rotate = |arguments: &[&str]| run(proxywhirl(["rotate", "--control", &socket]).args(arguments));
    let ran = rotate(&["failure"]);
    assert_eq!((ran.code, ran.stdout.contains("another proxy at failure\n")), (Some(0), true), "{ran:?}");
    let second = asked(&places[4], 5);
    assert!(changes(&second).is_empty() && second[0] != first[0], "{first:?} {second:?}");
    // A name that there is not is answered with those that there are: one without a name is called by the port that it has.
    let ran = rotate(&["nosuch"]);
    assert!(ran.code != Some(0) && ran.stderr.contains(&format!("there are {}, request, ", places[0])), "{ran:?}");

    for (kind, place) in [("client", &places[6]), ("destination", &places[7])] {
        let [first, again] = [asked(place, 3), asked(place, 3)];
        assert!(changes(&[first.clone(), again].concat()).is_empty(), "{kind}: {first:?}");
        assert_eq!(rotate(&[kind]).code, Some(0));
        let [second, again] = [asked(place, 3), asked(place, 3)];
        assert!(changes(&[second.clone(), again].concat()).is_empty(), "{kind}: {second:?}");
        assert_ne!(first[0], second[0], "{kind}");
    }
    assert!(rotate(&["request"]).stdout.contains("anyhow"));
    let ran = rotate(&["nobody"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("3 requests"), "{ran:?}");

    // A member that fails is replaced at once, and the request does not fail.
    let world = &scene.world;
    world.upstreams()[second[0]].set_behaviour(proxywhirl_world::Behaviour::Dead).await.unwrap();
    let third = asked(&places[4], 4);
    assert!(changes(&third).is_empty() && third[0] != second[0], "{second:?} {third:?}");

    let start = std::time::Instant::now();
    let mut exits = vec![scene.exit(&format!("http://{}", places[5]), &[])];
    proxywhirl_tests::wait_until("another proxy after a second", || {
        exits.push(scene.exit(&format!("http://{}", places[5]), &[]));
        changes(&exits).len() == 2
    });
    assert!(start.elapsed() > std::time::Duration::from_millis(900), "twice in {:?}", start.elapsed());
}
