//! The control socket: who can open it, what can be asked, and what a hostile client cannot do.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxywhirl_tests::{Ran, Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;
use tempfile::TempDir;

/// A gateway with a control socket of its own.
pub(super) struct Commanded {
    pub(super) world: World,
    pub(super) folder: TempDir,
    pub(super) served: Served,
    pub(super) socket: String,
}

pub(super) async fn world() -> World {
    World::start(WorldPlan::new((0..3).map(|_| UpstreamOptions::new(Protocol::Http)).collect())).await.unwrap()
}

impl Commanded {
    pub(super) async fn start(arguments: &[&str]) -> Self {
        Self::start_in(folder(), arguments).await
    }

    /// Starts one whose files are in a folder.
    pub(super) async fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        Self::start_with(world().await, folder, arguments)
    }

    /// Starts one over upstreams of the caller's.
    pub(super) fn start_over(world: World, arguments: &[&str]) -> Self {
        Self::start_with(world, folder(), arguments)
    }

    /// Starts one over upstreams of the caller's, whose files are in a folder.
    pub(super) fn start_with(world: World, folder: TempDir, arguments: &[&str]) -> Self {
        fs::write(folder.path().join("list"), world.proxies().join("\n")).unwrap();
        let list = folder.path().join("list").to_string_lossy().into_owned();
        let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
        let served = Served::start([&["--proxies", &list, "--control", &socket], arguments].concat());
        Self { world, folder, served, socket }
    }

    /// Asks at the socket.
    pub(super) fn ask(&self, arguments: &[&str], target: &str) -> Ran {
        let url = format!("http://gateway{target}");
        curl([&["--unix-socket", &self.socket], arguments, &[url.as_str()]].concat())
    }

    pub(super) fn get(&self, target: &str) -> Value {
        let ran = self.ask(&["--fail"], target);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{target}: {error}: {ran:?}"))
    }

    /// A command to this gateway.
    pub(super) fn command(&self, words: &[&str]) -> Ran {
        run(proxywhirl(words).env("PROXYWHIRL_CONTROL", &self.socket).current_dir(self.folder.path()))
    }

    /// One request through the gateway.
    pub(super) fn request(&self) -> Ran {
        curl(["--fail", "--proxy", &self.served.proxy("http"), &self.world.origin().http_url("/ip")])
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The digest of the component in force.
    pub(super) fn digest(&self) -> String {
        self.get("/v1/strategy")["plugin"]["digest"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_how_the_gateway_is_and_its_metrics() {
    let gateway = Commanded::start(&[]).await;
    let status = gateway.get("/v1/status");
    assert_eq!(
        (&status["members"], &status["listen"]),
        (&3.into(), &gateway.served.address.as_str().into()),
        "{status}"
    );
    assert_eq!(status["strategy"]["name"], "round-robin");
    assert_eq!(status["strategy"]["plugin"]["state"], "active", "{status}");
    assert_eq!(gateway.request().code, Some(0));
    let metrics = gateway.ask(&["--fail"], "/metrics").stdout;
    assert!(metrics.contains("# TYPE proxywhirl_") && metrics.contains("proxywhirl_requests_total"), "{metrics}");
    let plugins = gateway.get("/v1/plugins");
    let row = plugins.as_array().unwrap().iter().find(|row| row["name"] == "round-robin").unwrap();
    assert_eq!((&row["lock"], &row["status"]["faults"]), (&"bundled".into(), &0.into()), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_as_they_happen() {
    let gateway = Commanded::start(&[]).await;
    let mut stream = UnixStream::connect(&gateway.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /v1/events?topics=request-complete HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
    let mut heard = String::new();
    let mut hear_until = |text: &str| {
        let mut buffer = [0; 4_096];
        while !heard.contains(text) {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the stream ended: {heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    hear_until("200 OK");
    assert_eq!(gateway.request().code, Some(0));
    hear_until("\"topic\":\"request-complete\"");
    hear_until("\"status\":200");
    assert!(!heard.contains("proxy-selected"), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_with_a_reason() {
    let gateway = Commanded::start(&[]).await;
    let huge = "x".repeat(2_000_000);
    fs::write(gateway.path("huge"), huge).unwrap();
    let huge = format!("@{}", gateway.path("huge").display());
    for (arguments, target, status, told) in [
        (vec![], "/v1/nothing", "404", "nothing of that name"),
        (vec!["-X", "DELETE"], "/v1/status", "405", "not by this method"),
        (vec!["-d", "not json"], "/v1/strategy", "400", "not what was expected"),
        (vec!["-d", "{\"name\":\"random\",\"colour\":1}"], "/v1/strategy", "400", "unknown field `colour`"),
        (vec!["-d", "{\"name\":\"nobody\"}"], "/v1/strategy", "400", "no strategy named nobody"),
        (vec!["-d", huge.as_str()], "/v1/strategy", "413", "too large"),
        (vec!["-d", ""], "/v1/plugins/nobody/enable", "404", "no plugin named nobody runs"),
        (vec![], "/v1/events?topics=birthday", "400", "no topic"),
        (vec!["-d", "{\"proxies\":[]}"], "/v1/pool/add", "400", "there is none"),
        (vec!["-d", "{\"proxies\":[\"htp://u:hunter2@h:1\"]}"], "/v1/pool/add", "400", "number 1: unknown scheme"),
        (vec!["-d", "{\"proxies\":\"http://u:hunter2@h:1\"}"], "/v1/pool/add", "400", "not what was expected"),
        (vec!["-d", "{}"], "/v1/pool/remove", "400", "there is neither"),
        (vec!["-d", "{\"proxies\":[\"http://u:hunter2@h:x\"]}"], "/v1/pool/remove", "400", "is no proxy"),
    ] {
        let ran = gateway.ask(&[arguments.as_slice(), &["-w", " %{http_code}"]].concat(), target);
        assert!(ran.stdout.ends_with(status) && ran.stdout.contains(told), "{target}: {ran:?}");
    }
    assert_eq!(gateway.get("/v1/strategy")["name"], "round-robin");
    assert_eq!(gateway.get("/v1/status")["members"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_silence_and_crowds_at_the_socket_hurt_nobody() {
    let gateway = Commanded::start(&[]).await;
    let mut garbage = UnixStream::connect(&gateway.socket).unwrap();
    garbage.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    garbage.write_all(&[0xff; 4_096]).unwrap();
    // An answer or an end, but no silence.
    let mut answer = Vec::new();
    drop(garbage.read_to_end(&mut answer));
    let silent: Vec<_> = (0..100).filter_map(|_| UnixStream::connect(&gateway.socket).ok()).collect();
    assert_eq!(gateway.request().code, Some(0), "requests are served meanwhile");
    drop(silent);
    wait_until("the socket answers again", || gateway.ask(&["--fail"], "/v1/status").code == Some(0));
    assert_eq!(gateway.served.stop().0, Some(0));
}

/// A gateway that was asked to stop while a client has a tunnel, for which it gives it a minute; that tunnel.
async fn stopping() -> (Commanded, TcpStream) {
    let folder = folder();
    let config = "[gateway]\ndrain = \"1m\"\n[[listeners]]\nname = \"local\"\naddress = \"unix:in.sock\"\n";
    let config = file(&folder, "proxywhirl.toml", config);
    let gateway = Commanded::start_in(folder, &["--config", &config]).await;
    let url = gateway.world.origin().http_url("/ip");
    let origin = url.split('/').nth(2).unwrap();
    let listen = gateway.get("/v1/status")["listen"].as_str().unwrap().to_owned();
    let mut tunnel = TcpStream::connect(listen.split(", ").next().unwrap()).unwrap();
    tunnel.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(tunnel, "CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").unwrap();
    let mut answer = [0; 4_096];
    let read = tunnel.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
    gateway.served.ask_to_stop();
    wait_until("the gateway says that it is stopping", || gateway.get("/v1/status").get("stopping").is_some());
    (gateway, tunnel)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopping_says_so_and_until_when() {
    let (gateway, tunnel) = stopping().await;
    let stopping = &gateway.get("/v1/status")["stopping"];
    assert_eq!(stopping["connections"], 1, "{stopping}");
    wait_until("its own socket is taken away", || !gateway.path("in.sock").exists());
    let told = gateway.command(&["status"]);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(
        told.stdout.contains("1 connection is left, it is cut in ")
            && !told.stdout.contains("listens at")
            && !told.stdout.contains("in.sock"),
        "{told:?}"
    );
    drop(tunnel);
    assert_eq!(gateway.served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopping_takes_nothing_over() {
    let (gateway, tunnel) = stopping().await;
    let more = "[gateway]\ndrain = \"1m\"\n[[listeners]]\nname = \"more\"\nlisten = \"127.0.0.1:0\"\n";
    fs::write(gateway.path("proxywhirl.toml"), more).unwrap();
    let told = gateway.command(&["reload"]);
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(told.stderr.contains("the gateway is stopping"), "{told:?}");
    drop(tunnel);
    assert_eq!(gateway.served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_the_socket_of_one_that_is_stopping_hears_so() {
    let (gateway, tunnel) = stopping().await;
    let words = ["serve", "--listen", "127.0.0.1:0", "--proxies", "192.0.2.1:80", "--control", &gateway.socket];
    let second = run(&mut proxywhirl(words));
    assert_eq!(second.code, Some(4), "{second:?}");
    assert!(
        second.stderr.contains("another gateway has it") && second.stderr.contains("hint: that one is stopping"),
        "{}",
        second.stderr
    );
    drop(tunnel);
    assert_eq!(gateway.served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_hears_that_there_are_too_many_connections() {
    let gateway = Commanded::start(&[]).await;
    let followers: Vec<_> = (0..32)
        .map(|_| {
            let mut follower = UnixStream::connect(&gateway.socket).unwrap();
            follower.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            follower.write_all(b"GET /v1/events HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            follower.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            follower
        })
        .collect();
    for words in [["status"], ["reload"]] {
        let told = gateway.command(&words);
        assert_eq!(told.code, Some(4), "{told:?}");
        let stderr = &told.stderr;
        assert!(stderr.contains("32 control connections are open") && stderr.contains("hint: end some"), "{stderr}");
    }
    drop(followers);
    wait_until("there are places again", || gateway.command(&["status"]).code == Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_user_can_open_the_socket_and_it_goes_with_the_gateway() {
    let gateway = Commanded::start(&[]).await;
    let about = fs::metadata(&gateway.socket).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.mode() & 0o777, 0o600);
    assert_eq!(gateway.served.stop().0, Some(0));
    assert!(!Path::new(&gateway.socket).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_use_is_an_error_and_one_that_was_left_behind_is_replaced() {
    let gateway = Commanded::start(&[]).await;
    let second = run(&mut proxywhirl([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--proxies",
        "192.0.2.1:80",
        "--control",
        &gateway.socket,
    ]));
    assert_eq!(second.code, Some(4));
    assert!(second.stderr.contains("another gateway has it") && second.stderr.contains("hint: "), "{}", second.stderr);
    gateway.served.kill();
    assert!(Path::new(&gateway.socket).exists(), "a kill leaves it behind");
    let list = gateway.folder.path().join("list");
    let again = Served::start(["--proxies", list.to_str().unwrap(), "--control", &gateway.socket]);
    let status = curl(["--fail", "--unix-socket", &gateway.socket, "http://gateway/v1/status"]);
    assert!(status.stdout.contains(&again.address), "{status:?}");
}

#[test]
fn a_directory_that_others_can_enter_is_refused() {
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("control.sock");
    let ran = run(&mut proxywhirl([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--proxies",
        "192.0.2.1:80",
        "--control",
        socket.to_str().unwrap(),
    ]));
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains("it must be 0700"), "{}", ran.stderr);
}

#[test]
fn without_a_gateway_commands_say_so() {
    for words in [&["strategy", "show"][..], &["strategy", "set", "random"], &["reload"], &["plugin", "enable", "x"]] {
        let folder = folder();
        let ran = run(proxywhirl(words).env("XDG_RUNTIME_DIR", folder.path()));
        assert_eq!(ran.code, Some(4), "{words:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("no gateway of yours is running"), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_log_holds_what_happened() {
    let folder = folder();
    let events = folder.path().join("events.jsonl");
    let gateway = Commanded::start_in(folder, &["--event-log", events.to_str().unwrap()]).await;
    for _ in 0..3 {
        assert_eq!(gateway.request().code, Some(0));
    }
    let address = gateway.served.address.clone();
    assert_eq!(gateway.served.stop().0, Some(0));
    let text = fs::read_to_string(&events).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["sequence"], 1, "{text}");
    assert_eq!(lines[0]["payload"]["change"], "loaded", "{text}");
    let complete: Vec<_> = lines.iter().filter(|line| line["topic"] == "request-complete").collect();
    assert_eq!(complete.len(), 3, "{text}");
    assert!(complete.iter().all(|line| line["payload"]["status"] == 200), "{text}");
    assert!(complete.iter().all(|line| line["payload"]["listener"] == *address), "{text}");
    let came = |line: &Value| line["payload"]["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:"));
    assert!(complete.into_iter().all(came), "{text}");
    assert!(lines.windows(2).all(|pair| pair[0]["sequence"].as_u64() < pair[1]["sequence"].as_u64()));
}

/// A proxy that answers everything with this, and closes; its URL.
fn says(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = [0; 4_096];
            // Whether the gateway is still there is its own affair.
            client.read(&mut head).and_then(|_| client.write_all(answer.as_bytes())).ok();
            client.shutdown(Shutdown::Write).ok();
            drop(std::io::copy(&mut client, &mut std::io::sink()));
        }
    });
    url
}

#[test]
fn an_attempt_is_told_once_as_what_it_came_to() {
    for (answer, proxies, topic, code) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall", 1, "request-success", Value::Null),
        ("HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\nthe beginning", 1, "request-failure", Value::Null),
        // The second one confirms what the first one says, and the client gets it.
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", 2, "request-failure", Value::from(502)),
    ] {
        let folder = folder();
        let list = file(&folder, "list", (0..proxies).map(|_| says(answer) + "\n").collect::<String>());
        let events = folder.path().join("events.jsonl").to_string_lossy().into_owned();
        let served = Served::start(["--proxies", &list, "--event-log", &events]);
        let ran = curl(["--proxy", &served.proxy("http"), "http://origin.example/"]);
        assert_eq!(served.stop().0, Some(0), "{ran:?}");
        let text = fs::read_to_string(&events).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line["topic"] == "request-success" || line["topic"] == "request-failure")
            .map(|line| (&line["topic"], &line["payload"]["attempt"], &line["payload"]["fault"]["code"]))
            .collect();
        let (topic, attempts) = (Value::from(topic), (1..=proxies).map(Value::from).collect::<Vec<_>>());
        assert_eq!(told, attempts.iter().map(|number| (&topic, number, &code)).collect::<Vec<_>>(), "{answer} {text}");
    }
}

#[test]
fn a_proxy_that_asks_for_another_login_than_basic_is_told_as_that() {
    let answer = "HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\nContent-Length: 0\r\n\r\n";
    for url in ["http://origin.example/", "https://origin.example/"] {
        let folder = folder();
        let list = file(&folder, "list", says(answer) + "\n");
        let events = folder.path().join("events.jsonl").to_string_lossy().into_owned();
        let served = Served::start(["--proxies", &list, "--event-log", &events]);
        let ran = curl(["--proxy", &served.proxy("http"), url]);
        assert_eq!(served.stop().0, Some(0), "{ran:?}");
        let text = fs::read_to_string(&events).unwrap();
        assert!(text.contains("it asks for Digest, which is not supported: Basic only"), "{url}: {text}");
    }
}
