//! Logins that are rotated: by command, by file, by an HTTP endpoint, by the environment, and when a proxy refuses them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
        let mut serve = proxywhirl(["serve", "--listen", "127.0.0.1:0", "--config", &config, "--control", &socket]);
        let served = Served::of(serve.current_dir(folder.path()));
        Self { world, folder, served, socket }
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
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "tag source:own: in force, for 1 proxy\n"), "{ran:?}");
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
        (&"new".into(), &1.into(), &"a command".into())
    );
    let again = gateway.command(&["credentials", "set", "--source", "own", "--username", "new"], "hunter2-new\n");
    assert!(again.stderr.contains("as before"), "{again:?}");
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
