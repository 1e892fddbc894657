//! Users with passwords and limits, destinations, and what keeps a gateway from being everybody's.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use proxywhirl_tests::{Served, curl, file, folder, password_hash, proxywhirl, run, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};

use super::{Scene, exit_in, python};
use crate::control::Commanded;

#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_and_the_others_are_refused_in_each_protocol() {
    let hash = password_hash("hunter2");
    let scene = Scene::new(&format!("[[users]]\nname = \"anna\"\npassword_hash = \"{hash}\"\n")).await;
    let address = scene.served.address.clone();
    let ran = scene.curl(&scene.served.proxy("http"), &["--include"]);
    assert!(
        ran.stdout.starts_with("HTTP/1.1 407 ") && ran.stdout.contains("Proxy-Authenticate: Basic "),
        "{}",
        ran.stdout
    );
    for scheme in ["http", "socks5h"] {
        let exit = scene.exit(&format!("{scheme}://anna-country-fr:hunter2@{address}"), &[]);
        assert!([2, 3].contains(&exit), "{scheme} {exit}");
        for wrong in ["anna:wrong", "anna:", "bert:hunter2", "anna-country-fr:Secret"] {
            let ran = scene.curl(&format!("{scheme}://{wrong}@{address}"), &[]);
            assert!(exit_in(&ran.stdout).is_none(), "{scheme} {wrong}: {}", ran.stdout);
            assert!(ran.stdout.contains("password") || ran.code == Some(97), "{ran:?}");
        }
    }
    for scheme in ["socks5h", "socks4a"] {
        let ran = scene.curl(&format!("{scheme}://{address}"), &[]);
        assert_eq!((ran.code, exit_in(&ran.stdout)), (Some(97), None), "{scheme}: {ran:?}");
    }
    let ran = scene.curl(&format!("http://anna:hunter2@{address}"), &["--proxytunnel"]);
    assert!(exit_in(&ran.stdout).is_some() && ran.stdout.ends_with("200 200"), "{}", ran.stdout);
    // Many connections cost one hash: two hundred of them would take seconds.
    let program = "
import http.client, sys, base64, time
host, port = sys.argv[1].rsplit(':', 1)
field = {'Proxy-Authorization': 'Basic ' + base64.b64encode(b'anna:hunter2').decode()}
for _ in range(100):
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    for _ in range(2):
        connection.request('GET', sys.argv[2], headers=field)
        print(connection.getresponse().read().decode().strip())
    connection.close()
";
    assert_eq!(scene.python(program, &[&address, &scene.url()]).len(), 200);
    assert!(!scene.served.log().contains("hunter2"), "{}", scene.served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_logged_in_has_done_so_for_the_connection_unless_each_request_has_to() {
    let hash = password_hash("hunter2");
    let users = format!("[[users]]\nname = \"anna\"\npassword_hash = \"{hash}\"\n");
    // With credentials, without, with the session's name alone, without, with wrong ones, on a connection of its own without.
    let program = "
import base64, http.client, sys
host, port = sys.argv[1].rsplit(':', 1)
def ask(connection, user):
    headers = {'Proxy-Authorization': 'Basic ' + base64.b64encode(user.encode()).decode()} if user else {}
    connection.request('GET', sys.argv[2], headers=headers)
    answer = connection.getresponse()
    print(answer.status, answer.read().decode().strip())
connection = http.client.HTTPConnection(host, int(port), timeout=20)
for user in ['anna-country-de:hunter2', None, 'anna-country-fr:hunter2', None, 'anna:wrong']:
    ask(connection, user)
ask(http.client.HTTPConnection(host, int(port), timeout=20), None)
";
    for (login, statuses) in
        [("", "200 200 200 200 407 407"), ("[access]\nlogin = \"request\"\n", "200 407 200 407 407 407")]
    {
        let scene = Scene::new(&format!("{login}{users}")).await;
        let ran = python(program, &[&scene.served.address, &scene.url()]);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let got: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(got.join(" "), statuses, "{login}: {ran:?}\n{}", scene.served.log());
        for (n, exits) in [(0, [0, 1]), (1, [0, 1]), (2, [2, 3]), (3, [2, 3])] {
            assert!(
                !lines[n].starts_with("200") || exit_in(lines[n]).is_some_and(|exit| exits.contains(&exit)),
                "{lines:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_a_rate_a_number_of_requests_at_once_and_bytes() {
    let hash = password_hash("hunter2");
    let user =
        |name: &str, limits: &str| format!("[[users]]\nname = \"{name}\"\npassword_hash = \"{hash}\"\n{limits}\n");
    let config = [
        user("often", "rate = 0.01\nburst = 2"),
        user("much", "quota = \"100kB\"\nquota_period = \"1h\""),
        user("wide", "concurrency = 1"),
    ];
    let scene = Scene::new(&config.concat()).await;
    let address = scene.served.address.clone();
    let proxy = |user: &str| format!("http://{user}:hunter2@{address}");
    assert!(!scene.exits(&proxy("often"), 2).is_empty());
    let ran = scene.curl(&proxy("often"), &["--include"]);
    assert!(ran.stdout.starts_with("HTTP/1.1 429 ") && ran.stdout.contains("Retry-After: "), "{}", ran.stdout);

    let large = scene.world.origin().http_url("/bytes/1000000");
    let ran = curl(["--proxy", &proxy("much"), &large, "--output", "/dev/null", "--write-out", "%{size_download}"]);
    let loaded: u64 = ran.stdout.trim().parse().unwrap();
    assert!(ran.code != Some(0) && loaded < 200_000, "a transfer ends where the bytes do: {ran:?}");
    let ran = scene.curl(&proxy("much"), &["--include"]);
    assert!(ran.stdout.starts_with("HTTP/1.1 429 ") && ran.stdout.contains("used up"), "{}", ran.stdout);

    // While a tunnel is open, another request is one too many; when it has ended, the next one is not.
    let program = "
import base64, http.client, socket, sys, time
host, port = sys.argv[1].rsplit(':', 1)
field = 'Basic ' + base64.b64encode(b'wide:hunter2').decode()
tunnel = socket.create_connection((host, int(port)), timeout=20)
origin = sys.argv[2].split('/')[2]
tunnel.sendall(f'CONNECT {origin} HTTP/1.1\\r\\nHost: {origin}\\r\\nProxy-Authorization: {field}\\r\\n\\r\\n'.encode())
print(tunnel.recv(4096).decode().split(' ')[1])
def ask():
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request('GET', sys.argv[2], headers={'Proxy-Authorization': field})
    return connection.getresponse().status
# A place is free again as soon as the gateway has seen what its client has seen.
def when_free(ask, seconds=20):
    end = time.monotonic() + seconds
    while (status := ask()) == 429 and time.monotonic() < end:
        pass
    return status
print(ask())
tunnel.close()
print(when_free(ask))
# One that nobody opens takes no place, although its client has not left yet, nor has the gateway, which waits for that for two seconds.
def refused():
    clients.append(socket.create_connection((host, int(port)), timeout=20))
    clients[-1].sendall(f'CONNECT 127.0.0.1:1 HTTP/1.1\\r\\nHost: 127.0.0.1:1\\r\\nProxy-Authorization: {field}\\r\\n\\r\\n'.encode())
    return int(clients[-1].recv(4096).decode().split(' ')[1])
clients = []
print(when_free(refused) // 100)
print(when_free(ask, 1))
";
    let ran = python(program, &[&address, &scene.url()]);
    assert_eq!(ran.stdout.split_whitespace().collect::<Vec<_>>(), ["200", "429", "200", "5", "200"], "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_what_each_user_has_used() {
    let (files, hash) = (folder(), password_hash("hunter2"));
    let user =
        |name: &str, limits: &str| format!("[[users]]\nname = \"{name}\"\npassword_hash = \"{hash}\"\n{limits}\n");
    let limits = "rate = 50\nconcurrency = 7\nquota = \"1MB\"\nquota_period = \"1h\"";
    let config = file(&files, "proxywhirl.toml", [user("bert", ""), user("anna", limits)].concat());
    let gateway = Commanded::start_in(files, &["--config", &config]).await;
    let address = gateway.served.address.clone();
    let url = gateway.world.origin().http_url("/bytes/10000");
    let ran = curl(["--fail", "--proxy", &format!("http://anna:hunter2@{address}"), &url, "--output", "/dev/null"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // Her place is free again as soon as the gateway has seen what her client has seen.
    wait_until("nothing under way", || gateway.get("/v1/users")[0]["open"] == 0);
    let users = gateway.get("/v1/users");
    let [anna, bert] = users.as_array().unwrap().as_slice() else { panic!("{users}") };
    assert_eq!((&anna["name"], &anna["concurrency"], &anna["quota"]), (&"anna".into(), &7.into(), &1_000_000.into()));
    assert!(anna["rate"] == 50.0 && anna["period_ends"].as_u64().is_some(), "{anna}");
    assert!((10_000..20_000).contains(&anna["bytes"].as_u64().unwrap()), "{anna}");
    assert!(bert["name"] == "bert" && bert["open"] == 0 && bert["bytes"].is_null(), "{bert}");
    let told = gateway.command(&["users"]);
    assert!(told.code == Some(0) && told.stdout.contains("0 of 7") && told.stdout.contains("of 1.0 MB"), "{told:?}");
    let told = gateway.command(&["users", "--json"]);
    assert!(told.stdout.contains("\"name\":\"bert\"") && !told.stdout.contains(&hash), "{told:?}");

    let told = gateway.command(&["explain", &url, "--user", "anna-session-7"]).stdout;
    let used = told.lines().find_map(|line| line.strip_prefix("  the user anna: 0 of 7 requests under way, ")).unwrap();
    assert!(
        used.contains(" kB of 1.0 MB used, the period ends in ") && used.ends_with("at most 50 requests a second"),
        "{told}"
    );
    let half = gateway.world.origin().http_url("/bytes/500000");
    wait_until("a quota that is used up", || {
        drop(curl(["--proxy", &format!("http://anna:hunter2@{address}"), &half, "--output", "/dev/null"]));
        !gateway.get("/v1/users")[0]["refused"].is_null()
    });
    let told = gateway.command(&["explain", &url, "--user", "anna"]);
    assert!(
        told.code == Some(1) && told.stdout.contains("\nrefused: the user anna has used up its bytes\n"),
        "{told:?}"
    );
    for (proxy, protocol) in [("http", "http"), ("socks5h", "socks5")] {
        drop(curl(["--proxy", &format!("{proxy}://anna:hunter2@{address}"), &url]));
        let requests = gateway.get("/v1/requests?limit=1");
        let refused = &requests[0];
        assert_eq!((&refused["user"], &refused["protocol"]), (&"anna".into(), &protocol.into()), "{refused}");
        assert!(refused["refused"].is_string(), "{refused}");
    }

    let gateway = Commanded::start(&[]).await;
    let told = gateway.command(&["users"]);
    assert!(told.code == Some(1) && told.stderr.contains("nobody has to log in"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_say_who_is_served_and_what_is_reached() {
    let scene = Scene::new("[access]\ndeny = [\"*:25\", \"169.254.0.0/16\", \"internal\"]\n").await;
    let proxy = scene.served.proxy("http");
    assert!(scene.exit(&proxy, &[]) < 6);
    for url in ["http://example.com:25/", "http://169.254.169.254/latest", "http://db.internal/"] {
        let ran = curl(["--proxy", &proxy, "--include", url]);
        assert!(
            ran.stdout.starts_with("HTTP/1.1 403 ") && ran.stdout.contains("Proxy-Status"),
            "{url}: {}",
            ran.stdout
        );
        let ran = curl(["--proxy", &scene.served.proxy("socks5h"), url]);
        assert!(ran.code == Some(97) && ran.stderr.contains("(2)"), "{url}: {ran:?}");
    }
    let scene = Scene::new("[access]\nclients = [\"10.0.0.0/8\"]\n").await;
    let ran = scene.curl(&scene.served.proxy("http"), &[]);
    assert!(ran.code == Some(52) || ran.code == Some(56), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_counted_by_its_reason() {
    let (files, hash) = (folder(), password_hash("hunter2"));
    let user = format!("[[users]]\nname = \"anna\"\npassword_hash = \"{hash}\"\nrate = 0.01\nburst = 1\n");
    let config = file(&files, "proxywhirl.toml", format!("[access]\ndeny = [\"*:25\"]\n{user}"));
    let gateway = Commanded::start_in(files, &["--config", &config]).await;
    let (address, url) = (gateway.served.address.clone(), gateway.world.origin().http_url("/ip"));
    for (client, url) in [
        ("http://", "http://example.com/"),
        ("socks5h://anna:wrong@", "http://example.com/"),
        ("http://anna-contry-de:hunter2@", "http://example.com/"),
        ("socks5h://anna:hunter2@", "http://example.com:25/"),
        ("http://anna:hunter2@", url.as_str()),
        ("http://anna:hunter2@", url.as_str()),
        ("socks5h://anna:hunter2@", url.as_str()),
    ] {
        drop(curl(["--proxy", &format!("{client}{address}"), url]));
    }
    let mut malformed = TcpStream::connect(&address).unwrap();
    malformed.write_all(b"GET\r\n\r\n").unwrap();
    malformed.read_to_end(&mut Vec::new()).unwrap();
    let mut over_tls = TcpStream::connect(&address).unwrap();
    over_tls.write_all(&[0x16, 3, 1, 0, 4, 1, 0, 0, 0]).unwrap();
    over_tls.read_to_end(&mut Vec::new()).unwrap();
    let metrics = gateway.ask(&[], "/metrics").stdout;
    for (reason, count) in [
        ("login", 2),
        ("words", 1),
        ("rule", 1),
        ("rate", 2),
        ("malformed", 1),
        ("tls", 1),
        ("quota", 0),
        ("client", 0),
    ] {
        let line = format!("proxywhirl_requests_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }

    let files = folder();
    let config = file(&files, "proxywhirl.toml", "[access]\nclients = [\"10.0.0.0/8\"]\n");
    let gateway = Commanded::start_in(files, &["--config", &config]).await;
    assert_ne!(gateway.request().code, Some(0));
    let metrics = gateway.ask(&[], "/metrics").stdout;
    assert!(metrics.contains("proxywhirl_requests_refused_total{reason=\"client\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_gateway_looks_up_itself_is_under_the_rules_for_addresses() {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Socks5)])).await.unwrap();
    let folder = folder();
    let url = world.origin().http_url("/ip").replace("127.0.0.1", "localhost");
    let mut codes = Vec::new();
    for deny in ["", "[access]\ndeny = [\"127.0.0.0/8\"]\n"] {
        let config = file(&folder, "proxywhirl.toml", deny);
        let proxies = file(&folder, "list", world.proxies().join("\n"));
        let served = Served::start(["--config", &config, "--proxies", &proxies]);
        let ran = curl(["--include", "--proxy", &served.proxy("http"), &url]);
        assert!(deny.is_empty() || ran.stdout.contains("which a rule forbids"), "{ran:?}");
        codes.push(ran.stdout.split(' ').nth(1).unwrap_or_default().to_owned());
        let ran = curl(["--include", "--proxytunnel", "--proxy", &served.proxy("http"), &url]);
        assert!(deny.is_empty() || ran.stdout.starts_with("HTTP/1.1 403 "), "{ran:?}");
        let ran = curl(["--proxy", &served.proxy("socks5h"), &url]);
        assert!(deny.is_empty() || ran.stderr.contains("(2)"), "{ran:?}");
    }
    assert_eq!(codes, ["200", "403"]);
}

#[test]
fn what_other_machines_reach_wants_users_or_to_be_told() {
    let serve =
        |more: &[&str]| run(proxywhirl(["serve", "--listen", "0.0.0.0:0", "--control", "off", "--proxies"]).args(more));
    let ran = serve(&["http://127.0.0.1:9"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("nobody would have to log in") && ran.stderr.contains("--insecure"), "{}", ran.stderr);
    // It gets past that, and ends because there is nothing to serve.
    let ran = serve(&["/dev/null", "--insecure"]);
    assert!(ran.code != Some(2) && ran.stderr.contains("nobody has to log in"), "{ran:?}");
}
