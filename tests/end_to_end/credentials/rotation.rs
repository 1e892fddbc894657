//! Logins that are rotated: by command, by file, by an HTTP endpoint, by the environment, and when a proxy refuses them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run, run_with_input, wait_until};
use proxywhirl_world::{Protocol, Upstream, UpstreamOptions, World, WorldPlan};
use serde_json::Value;
use tempfile::TempDir;

/// A gateway with a configuration, over upstreams.
struct Rotating {
    world: World,
    folder: TempDir,
    served: Served,
    socket: String,
}

impl Rotating {
    /// Starts one whose proxies come with the login `old:hunter2-old`.
    async fn start(options: Vec<UpstreamOptions>, config: &str, files: &[(&str, &str)]) -> Self {
        let world = World::start(WorldPlan::new(options)).await.unwrap();
        let folder = folder();
        let old = |upstream: &Upstream| format!("{}://old:hunter2-old@{}", upstream.protocol(), upstream.addr());
        file(&folder, "list.txt", world.upstreams().iter().map(old).collect::<Vec<_>>().join("\n"));
        for (name, content) in files {
            file(&folder, name, content);
        }
        let source = "[[sources]]\nname = \"own\"\nlocation = \"list.txt\"\ntrust = true\n";
        let config = file(&folder, "proxywhirl.toml", format!("{source}{config}"));
        let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
        let served = serve(&folder, &config, &socket);
        Self { world, folder, served, socket }
    }

    /// Ends the gateway, and starts another one in its place.
    fn restarted(self) -> Self {
        let Self { world, folder, served, socket } = self;
        assert_eq!(served.stop().0, Some(0));
        let config = folder.path().join("proxywhirl.toml").to_string_lossy().into_owned();
        let served = serve(&folder, &config, &socket);
        Self { world, folder, served, socket }
    }

    /// The same without a key, where nothing but logins is sealed.
    fn restarted_with_sealed_logins(self) -> Self {
        let Self { world, folder, served, socket } = self;
        assert_eq!(served.stop().0, Some(0));
        let cleared =
            run(proxywhirl(["pool", "remove", "--db", "pool.db", "--tag", "source:own"]).current_dir(folder.path()));
        assert_eq!(cleared.code, Some(0), "{cleared:?}");
        let config = folder.path().join("proxywhirl.toml").to_string_lossy().into_owned();
        let served = serve(&folder, &config, &socket);
        Self { world, folder, served, socket }
    }

    /// Whether a request is served, and with what it logged in to the proxy.
    fn login_of_a_request(&self) -> (String, String) {
        assert!(self.is_served(), "{}", self.served.log());
        self.last_login()
    }

    fn command(&self, words: &[&str], input: &str) -> proxywhirl_tests::Ran {
        run_with_input(proxywhirl(words).env("PROXYWHIRL_CONTROL", &self.socket), input)
    }

    /// Whether a request is served.
    fn is_served(&self) -> bool {
        curl(["--fail", "--proxy", &self.served.proxy("http"), &self.world.origin().http_url("/ip")]).code == Some(0)
    }

    fn upstream(&self) -> &Upstream {
        &self.world.upstreams()[0]
    }

    fn last_login(&self) -> (String, String) {
        self.upstream().logins().pop().unwrap_or_default()
    }

    fn listed(&self) -> Value {
        serde_json::from_str(&self.command(&["credentials", "list", "--json"], "").stdout).unwrap()
    }
}

fn serve(folder: &TempDir, config: &str, socket: &str) -> Served {
    let mut serve = proxywhirl(["serve", "--listen", "127.0.0.1:0", "--config", config, "--control", socket]);
    Served::of(serve.current_dir(folder.path()))
}

/// The text of a file with a key.
fn key() -> String {
    let folder = folder();
    let path = folder.path().join("store.key");
    let made = run(&mut proxywhirl(["secrets", "init", &path.to_string_lossy()]));
    assert_eq!(made.code, Some(0), "{made:?}");
    fs::read_to_string(path).unwrap()
}

fn pair(user: &str, password: &str) -> (String, String) {
    (user.to_owned(), password.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gives_a_group_another_login_and_no_tunnel_notices() {
    let any = |protocol| UpstreamOptions::new(protocol).any_login();
    let gateway = Rotating::start(vec![any(Protocol::Http)], "", &[]).await;
    assert!(gateway.is_served());
    assert_eq!(gateway.last_login(), pair("old", "hunter2-old"));
    let mut tunnel = TcpStream::connect(&gateway.served.address).unwrap();
    tunnel.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let origin = gateway.world.origin().http_addr();
    write!(tunnel, "CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").unwrap();
    let mut answer = [0; 1_024];
    let read = tunnel.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));

    let ran = gateway.command(&["credentials", "set", "--source", "own", "--username", "new"], "hunter2-new\n");
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(0), "tag source:own: in force, for 1 proxy, until the gateway ends\n"),
        "{ran:?}"
    );
    let two =
        gateway.command(&["credentials", "set", "--source", "own", "--username", "new"], "hunter2-a\nhunter2-b\n");
    assert!(
        two.code == Some(2) && two.stderr.contains("more than a line") && !two.stderr.contains("hunter2"),
        "{two:?}"
    );
    assert!(gateway.is_served());
    assert_eq!(gateway.last_login(), pair("new", "hunter2-new"));
    write!(tunnel, "GET /ip HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    tunnel.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "the tunnel of before goes on: {text}");

    let requests = gateway.command(&["requests", "--json"], "");
    let requests: Value = serde_json::from_str(&requests.stdout).unwrap();
    let of = |place: usize| requests[place]["attempts"][0]["proxy"].as_str().unwrap_or_default().to_owned();
    assert!(of(0).contains("old:***@") && of(0) == of(1), "it is the same proxy: {requests}");
    let rows = gateway.listed();
    assert_eq!(
        (&rows[0]["username"], &rows[0]["proxies"], &rows[0]["from"]),
        (&"new".into(), &1.into(), &"a command, until the gateway ends".into())
    );
    let again = gateway.command(&["credentials", "set", "--source", "own", "--username", "new"], "hunter2-new\n");
    assert!(again.stderr.contains("as before"), "{again:?}");
    let odd = gateway.command(&["credentials", "set", "--source", "own", "--username", "a:b"], "hunter2-odd\n");
    assert!(odd.code == Some(0) && odd.stderr.contains("takes what follows the colon in the user name"), "{odd:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_has_the_file_read_again_and_begins_anew() {
    let options = UpstreamOptions::new(Protocol::Http).credentials("new", "hunter2-new");
    let config = "[[credentials]]\nname = \"vendor\"\nhost = \"127.0.0.1\"\nfile = \"login.txt\"\n";
    let gateway = Rotating::start(vec![options], config, &[("login.txt", "old:hunter2-old")]).await;
    assert!(!gateway.is_served(), "the login is wrong");
    file(&gateway.folder, "login.txt", "new:hunter2-new\n");
    wait_until("the new login", || gateway.is_served());
    assert_eq!(gateway.last_login(), pair("new", "hunter2-new"));
    let rows = gateway.listed();
    assert_eq!((&rows[0]["name"], &rows[0]["username"]), (&"vendor".into(), &"new".into()), "{rows}");
    assert!(rows[0]["problem"].is_null(), "{rows}");

    file(&gateway.folder, "login.txt", "");
    let ran = gateway.command(&["credentials", "refresh"], "");
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("vendor: not read, those before stay: ") && ran.stderr.contains("empty"), "{ran:?}");
    assert!(gateway.is_served());
    let ran = gateway.command(&["credentials", "refresh", "vendr"], "");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("there are no credentials \"vendr\"") && ran.stderr.contains("vendor"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_that_meets_the_refusal_is_served_with_the_new_login() {
    for (protocol, count) in [(Protocol::Http, 1), (Protocol::Http, 7), (Protocol::Socks5, 1)] {
        let options = || UpstreamOptions::new(protocol).credentials("new", "hunter2-new");
        let config = "[[credentials]]\nname = \"vendor\"\nhost = \"127.0.0.1\"\nfile = \"login.txt\"\n";
        let all = (0..count).map(|_| options()).collect();
        let gateway = Rotating::start(all, config, &[("login.txt", "old:hunter2-old")]).await;
        file(&gateway.folder, "login.txt", "new:hunter2-new\n");
        let (url, proxy) = (gateway.world.origin().http_url("/ip"), gateway.served.proxy("http"));
        let way = if count == 1 { "--proxytunnel" } else { "--no-progress-meter" };
        let ran = curl(["--fail", way, "--proxy", &proxy, "--data", "once", &url]);
        assert_eq!(ran.code, Some(0), "{protocol} {count}: {ran:?}\n{}", gateway.served.log());
        // Nobody reads it again so soon, so nobody waits.
        let changed = gateway.command(&["credentials", "set", "vendor", "--username", "old"], "hunter2-old\n");
        assert_eq!(changed.code, Some(0), "{changed:?}");
        let ran = curl(["--fail", "--max-time", "1.5", "--proxy", &proxy, &url]);
        assert_eq!(ran.code, Some(22), "{protocol} {count}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_asked_at_every_interval() {
    let said = Arc::new(Mutex::new("{\"data\": {\"username\": \"one\", \"password\": \"hunter2-one\"}}".to_owned()));
    let (place, heads) = endpoint(Arc::clone(&said));
    let config = format!(
        "[[credentials]]\nname = \"vault\"\nsource = \"own\"\nurl = \"http://{place}/login\"\ninterval = \"1s\"\n\
         headers = {{ X-Vault-Token = \"s3cret-token\" }}\n"
    );
    let gateway = Rotating::start(vec![UpstreamOptions::new(Protocol::Socks5).any_login()], &config, &[]).await;
    assert!(gateway.is_served());
    assert_eq!(gateway.last_login(), pair("one", "hunter2-one"));
    *said.lock().unwrap() = "{\"data\": {\"username\": \"two\", \"password\": \"hunter2-two\"}}".to_owned();
    wait_until("the second login", || gateway.is_served() && gateway.last_login() == pair("two", "hunter2-two"));
    assert!(heads.lock().unwrap().to_lowercase().contains("x-vault-token: s3cret-token"));
    // As often as is said, and not with a pause on top of it.
    let count = || heads.lock().unwrap().matches("GET /login").count();
    let (before, began) = (count(), Instant::now());
    wait_until("four more readings", || count() >= before + 4);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    *said.lock().unwrap() = "nothing".to_owned();
    wait_until("the problem", || !gateway.listed()[0]["problem"].is_null());
    assert!(gateway.is_served() && gateway.last_login() == pair("two", "hunter2-two"), "those before stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_read_again_by_command_and_a_reload_takes_over_what_is_new() {
    let config = "[[credentials]]\nname = \"env\"\nsource = \"own\"\npassword_env = \"VENDOR\"\nusername = \"me\"\n";
    let files = [(".env", "VENDOR=hunter2-one\n")];
    let gateway = Rotating::start(vec![UpstreamOptions::new(Protocol::Http).any_login()], config, &files).await;
    assert!(gateway.is_served());
    assert_eq!(gateway.last_login(), pair("me", "hunter2-one"));
    // The file is watched as well: whoever is quicker takes it over.
    file(&gateway.folder, ".env", "VENDOR=hunter2-two\n");
    let ran = gateway.command(&["credentials", "refresh", "env"], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(gateway.is_served());
    assert_eq!(gateway.last_login(), pair("me", "hunter2-two"));
    let path = gateway.folder.path().join("proxywhirl.toml");
    let text = fs::read_to_string(&path).unwrap().replace("username = \"me\"", "username = \"you\"");
    fs::write(&path, text).unwrap();
    let ran = gateway.command(&["reload"], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    wait_until("the new user", || gateway.is_served() && gateway.last_login() == pair("you", "hunter2-two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_has_set_outlives_the_gateway_until_it_is_taken_back() {
    for store in ["sqlite:pool.db", "file:pool.json", "file:pool.jsonl"] {
        let config = format!("[store]\nurl = \"{store}\"\nkey_file = \"store.key\"\n");
        let upstreams = vec![UpstreamOptions::new(Protocol::Http).any_login()];
        let gateway = Rotating::start(upstreams, &config, &[("store.key", &key())]).await;
        let set = ["credentials", "set", "--source", "own", "--username", "new"];
        let ran = gateway.command(&set, "hunter2-new\n");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.starts_with("tag source:own: in force, for 1 proxy, kept in "), "{ran:?}");
        assert_eq!(gateway.login_of_a_request(), pair("new", "hunter2-new"));

        let gateway = gateway.restarted();
        assert_eq!(gateway.login_of_a_request(), pair("new", "hunter2-new"), "{store}");
        let rows = gateway.listed();
        assert_eq!((&rows[0]["name"], &rows[0]["username"]), (&"tag source:own".into(), &"new".into()), "{rows}");
        assert!(rows[0]["from"].as_str().unwrap().starts_with("a command, kept in "), "{rows}");
        for entry in fs::read_dir(gateway.folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
            let is_pool = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pool."));
            let bytes = if is_pool { fs::read(entry).unwrap() } else { Vec::new() };
            assert!(!bytes.windows(7).any(|window| window == b"hunter2"), "{store}: it is sealed");
        }

        let ran = gateway.command(&["credentials", "unset", "--source", "own"], "");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "tag source:own: taken back, for 1 proxy\n"), "{ran:?}");
        assert_eq!(gateway.login_of_a_request(), pair("old", "hunter2-old"));
        let again = gateway.command(&["credentials", "unset", "tag source:own"], "");
        assert_eq!(again.code, Some(1), "{again:?}");
        let gateway = gateway.restarted();
        assert_eq!(gateway.login_of_a_request(), pair("old", "hunter2-old"), "{store}");
        assert_eq!(gateway.listed(), serde_json::json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_has_set_goes_before_the_configuration_and_says_so() {
    let config = "[store]\nurl = \"sqlite:pool.db\"\n\
                  [[credentials]]\nname = \"vendor\"\nhost = \"127.0.0.1\"\n\
                  [[credentials]]\nname = \"filed\"\nsource = \"own\"\nfile = \"login.txt\"\n";
    let upstreams = vec![UpstreamOptions::new(Protocol::Http).any_login()];
    let gateway = Rotating::start(upstreams, config, &[("login.txt", "filed:hunter2-filed")]).await;
    assert_eq!(gateway.login_of_a_request(), pair("filed", "hunter2-filed"));
    let set = |gateway: &Rotating, words: &[&str]| {
        let ran = gateway.command(&[&["credentials", "set", "--username", "me"], words].concat(), "hunter2-me\n");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stderr
    };
    // Of a section that is read from nowhere: kept. Of one that is read from a file: until that is read again.
    assert!(set(&gateway, &["vendor"]).contains("kept in sqlite:"));
    assert!(set(&gateway, &["filed"]).ends_with("login.txt is read again\n"));
    let refused = gateway.command(&["credentials", "unset", "filed"], "");
    assert!(refused.code == Some(2) && refused.stderr.contains("credentials refresh filed"), "{refused:?}");
    let gateway = gateway.restarted();
    let rows = gateway.listed();
    assert_eq!((&rows[0]["username"], &rows[1]["username"]), (&"me".into(), &"filed".into()), "{rows}");
    assert_eq!(gateway.login_of_a_request(), pair("me", "hunter2-me"), "the first section counts");
    assert_eq!(gateway.command(&["credentials", "unset", "vendor"], "").code, Some(0));
    assert_eq!(gateway.listed()[0]["from"], "nowhere yet");
    assert_eq!(gateway.login_of_a_request(), pair("filed", "hunter2-filed"));
    // For the same proxies as a section: it goes first, and both are told.
    set(&gateway, &["--source", "own"]);
    let gateway = gateway.restarted();
    assert_eq!(gateway.login_of_a_request(), pair("me", "hunter2-me"));
    let rows = gateway.listed();
    assert_eq!(
        (&rows[0]["name"], &rows[2]["problem"]),
        (&"tag source:own".into(), &"not used: tag source:own goes first".into()),
        "{rows}"
    );
    gateway.served.wait_for_log("credentials of the configuration are not used");
    // Whoever has another key than it is sealed with is told, and it stays.
    file(&gateway.folder, "store.key", key());
    let rotated = run(proxywhirl(["secrets", "rotate", "--db", "pool.db", "--key-file", "store.key"])
        .current_dir(gateway.folder.path()));
    assert!(rotated.stderr.contains("2 passwords sealed with the key"), "the proxy's and the login's: {rotated:?}");
    let gateway = gateway.restarted_with_sealed_logins();
    let rows = gateway.listed();
    let row = rows.as_array().unwrap().last().unwrap();
    assert!(row["problem"].as_str().unwrap().contains("no key is named"), "{rows}");
    assert_eq!(gateway.login_of_a_request(), pair("filed", "hunter2-filed"));
    assert_eq!(gateway.command(&["credentials", "unset", "tag source:own"], "").code, Some(0));
    assert_eq!(gateway.listed().as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_set_is_told() {
    let none = run(&mut proxywhirl(["credentials", "set", "vendor", "--username", "me", "--control", "nowhere.sock"]));
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.stderr.contains("there is no password on standard input"), "{none:?}");
    let set = |words: &[&str]| {
        run_with_input(proxywhirl(["credentials", "set"]).args(words).args(["--control", "nowhere.sock"]), "hunter2\n")
    };
    let nobody = set(&["--username", "me"]);
    assert_eq!(nobody.code, Some(2), "{nobody:?}");
    let blank = set(&["--tag", "x", "--username", "me-{sesion}"]);
    assert!(blank.stderr.contains("none of {session}"), "{blank:?}");
    let gone = set(&["vendor", "--username", "me"]);
    assert_eq!(gone.code, Some(4), "{gone:?}");
}

/// An HTTP server that says what it is told to, and the heads of the requests that it got.
fn endpoint(said: Arc<Mutex<String>>) -> (std::net::SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (place, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(String::new())));
    let heard = Arc::clone(&heads);
    // It ends with the process of the test.
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4_096];
            let read = client.read(&mut head).unwrap_or_default();
            heard.lock().unwrap().push_str(&String::from_utf8_lossy(&head[..read]));
            let body = said.lock().unwrap().clone();
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            drop(client.write_all(answer.as_bytes()));
        }
    });
    (place, heads)
}
