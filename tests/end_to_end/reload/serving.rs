//! How clients are served changes while they are there: listeners, users, rules and limits.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use proxywhirl_tests::{Load, Ran, curl, folder, password_hash, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};

use super::replace;
use crate::control::Commanded;

/// `anna:hunter2`
const ANNA: &str = "Proxy-Authorization: Basic YW5uYTpodW50ZXIy\r\n";

const LIMIT: Duration = Duration::from_secs(20);

fn user(name: &str, hash: &str, more: &str) -> String {
    format!("[[users]]\nname = \"{name}\"\npassword_hash = \"{hash}\"\n{more}\n")
}

fn listener(name: &str, more: &str) -> String {
    format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n{more}\n")
}

/// A gateway whose configuration is read when it is told to.
struct Scene {
    gateway: Commanded,
    config: PathBuf,
}

impl Scene {
    async fn new(config: &str) -> Self {
        let folder = folder();
        let path = folder.path().join("proxywhirl.toml");
        fs::write(&path, config).unwrap();
        let gateway = Commanded::start_in(folder, &["--config", path.to_str().unwrap(), "--no-watch"]).await;
        Self { gateway, config: path }
    }

    fn reload(&self, config: &str) -> Ran {
        replace(&self.config, config);
        self.gateway.command(&["reload"])
    }

    /// Reloads what is right, and says what has changed.
    fn reloaded(&self, config: &str) -> String {
        let ran = self.reload(config);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}\n{}", self.gateway.served.log());
        ran.stdout
    }

    /// Where it listens, in the order of the configuration; first of all where every test does.
    fn places(&self) -> Vec<String> {
        let status = self.gateway.get("/v1/status");
        status["listen"].as_str().unwrap().split(", ").map(str::to_owned).collect()
    }

    fn origin(&self) -> String {
        self.gateway.world.origin().http_url("/ip")
    }
}

/// A client with one connection that stays open.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a head and reads an answer: its status, or none when the connection has ended.
    fn ask(&mut self, first: &str, fields: &str) -> Option<u16> {
        write!(self.0.get_mut(), "{first} HTTP/1.1\r\nHost: origin\r\n{fields}\r\n").ok()?;
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let begin = head.len();
            if self.0.read_line(&mut head).ok()? == 0 {
                return None;
            }
            if let Some(value) = head[begin..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        self.0.read_exact(&mut vec![0; length]).ok()?;
        head.get(9..12)?.parse().ok()
    }
}

/// A tunnel in which one request follows the other, until it is told to stop.
struct Tunnel {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Tunnel {
    fn open(address: &str, origin: &str, fields: &str) -> Self {
        let mut client = Client::new(address);
        let authority = origin.split('/').nth(2).unwrap();
        assert_eq!(client.ask(&format!("CONNECT {authority}"), fields), Some(200));
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&answers));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                assert_eq!(client.ask("GET /ip", ""), Some(200), "the tunnel has ended");
                counted.fetch_add(1, Relaxed);
            }
        });
        Self { stop, answers, thread }
    }

    fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// Data has flowed until now.
    fn close(self) {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_reloads_under_load_fail_no_request_and_end_no_tunnel() {
    let (anna, bert) = (password_hash("hunter2"), password_hash("other"));
    let config = |round: u32| {
        let mut text = format!(
            "[gateway]\nattempts = {}\nidle_timeout = \"{}s\"\nconnect_timeout = \"{}s\"\n\
             [gateway.retry]\nminimum = {}\n[history]\nrequests = {}\n[health]\nfailures = {}\n\
             [pool]\nmax_banned = 0.{}\n[access]\ndeny = [\"*:{}\"]\n\
             [[bans]]\nname = \"rule {round}\"\nstatus = \"403\"\nban = \"1m\"\n",
            2 + round % 3,
            30 + round,
            3 + round % 4,
            50 + round,
            100 * (1 + round % 5),
            4 + round % 3,
            3 + round % 4,
            20_000 + round,
        );
        text.push_str(&user("anna", &anna, &format!("rate = {}\nburst = 5000", 100_000 + round)));
        text.push_str(&listener("stays", &format!("words = {{ attempts = {} }}", 1 + round % 2)));
        if round % 2 == 1 {
            text.push_str(&user("bert", &bert, ""));
            text.push_str(&listener("comes and goes", "rotation = \"connection\""));
        }
        text
    };
    let scene = Scene::new(&config(0)).await;
    let places = scene.places();
    let load = Load::with_fields(&places[0], &scene.origin(), 8, 1_000, ANNA);
    let other = Load::with_fields(&places[1], &scene.origin(), 2, 50, ANNA);
    let tunnel = Tunnel::open(&places[1], &scene.origin(), ANNA);
    wait_until("the first answers", || load.answered() > 100 && other.answered() > 0);
    for round in 1..=20 {
        let (served, carried) = (load.answered(), tunnel.answers());
        let changed = scene.reloaded(&config(round));
        for word in ["gateway", "access", "bans", "user anna", "listener stays", "health", "history", "pool"] {
            assert!(changed.contains(&format!("changed: {word}\n")), "{round}: {word}: {changed}");
        }
        assert!(changed.contains("comes and goes") && changed.contains("bert"), "{round}: {changed}");
        assert_eq!(scene.places().len(), if round % 2 == 1 { 3 } else { 2 }, "{round}");
        assert_eq!(scene.places()[..2], places, "{round}");
        wait_until("more of both", || load.answered() > served + 20 && tunnel.answers() > carried);
    }
    tunnel.close();
    for load in [load, other] {
        let loaded = load.stop();
        let log = scene.gateway.served.log();
        assert_eq!((loaded.answered, loaded.failures.as_slice()), (loaded.sent, [].as_slice()), "{log}");
    }
    assert_eq!(scene.gateway.get("/v1/status")["needs_restart"], serde_json::json!([]));
    assert_eq!(scene.gateway.served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_file_has_no_further_request_and_keeps_the_tunnel() {
    let (anna, bert) = (password_hash("hunter2"), password_hash("other"));
    let scene = Scene::new(&(user("anna", &anna, "") + &user("bert", &bert, ""))).await;
    let (place, get) = (scene.places()[0].clone(), format!("GET {}", scene.origin()));
    let mut client = Client::new(&place);
    assert_eq!(client.ask(&get, ANNA), Some(200));
    let tunnel = Tunnel::open(&place, &scene.origin(), ANNA);
    assert_eq!(scene.reloaded(&user("bert", &bert, "")), "changed: user anna is gone\n");
    assert_eq!(client.ask(&get, ANNA), Some(407), "{}", scene.gateway.served.log());
    let before = tunnel.answers();
    wait_until("data in the tunnel", || tunnel.answers() > before + 10);
    tunnel.close();

    // A destination, and then a client's network, are forbidden for the next request of a connection that is open.
    let bert_too = "Proxy-Authorization: Basic YmVydDpvdGhlcg==\r\n";
    let mut client = Client::new(&place);
    assert_eq!(client.ask(&get, bert_too), Some(200));
    assert_eq!(scene.reloaded(&(user("bert", &bert, "") + "[access]\ndeny = [\"127.0.0.1\"]\n")), "changed: access\n");
    assert_eq!(client.ask(&get, bert_too), Some(403));
    scene.reloaded(&user("bert", &bert, ""));
    let mut client = Client::new(&place);
    assert_eq!(client.ask(&get, bert_too), Some(200));
    scene.reloaded(&(user("bert", &bert, "") + "[access]\nclients = [\"10.0.0.0/8\"]\n"));
    assert_eq!(client.ask(&get, bert_too), None);
    assert_eq!(Client::new(&place).ask(&get, bert_too), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_a_user_is_given_begins_with_its_burst() {
    let anna = password_hash("hunter2");
    let scene = Scene::new(&user("anna", &anna, "")).await;
    let (place, get) = (scene.places()[0].clone(), format!("GET {}", scene.origin()));
    let mut client = Client::new(&place);
    assert_eq!(client.ask(&get, ANNA), Some(200));
    assert_eq!(scene.reloaded(&user("anna", &anna, "rate = 0.001\nburst = 3")), "changed: user anna\n");
    let asked = [(); 4].map(|()| client.ask(&get, ANNA));
    assert_eq!(asked, [Some(200), Some(200), Some(200), Some(429)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_has_used_counts_on_and_nobody_logs_in_anew() {
    let anna = password_hash("hunter2");
    let scene = Scene::new(&user("anna", &anna, "rate = 0.001\nburst = 3")).await;
    let (place, get) = (scene.places()[0].clone(), format!("GET {}", scene.origin()));
    let mut client = Client::new(&place);
    assert_eq!([client.ask(&get, ANNA), client.ask(&get, ANNA)], [Some(200); 2]);
    assert_eq!(scene.reloaded(&user("anna", &anna, "rate = 0.002\nburst = 3")), "changed: user anna\n");
    assert_eq!([client.ask(&get, ANNA), client.ask(&get, ANNA)], [Some(200), Some(429)]);
    // Who gets a quota is counted from the next connection on, which the client is told to open.
    scene.reloaded(&user("anna", &anna, ""));
    let mut client = Client::new(&place);
    assert_eq!(client.ask(&get, ANNA), Some(200));
    scene.reloaded(&user("anna", &anna, "quota = 250"));
    assert_eq!(client.ask(&get, ANNA), Some(200));
    assert_eq!(client.ask(&get, ANNA), None);
    // The first request is less than that, and more together with its answer.
    assert_eq!(Client::new(&place).ask(&get, ANNA), Some(200));
    // The answer may be with the client before it is counted.
    wait_until("that is counted", || Client::new(&place).ask(&get, ANNA) == Some(429));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_goes_lets_nobody_in_and_who_is_there_goes_on() {
    let scene = Scene::new(&(listener("a", "") + &listener("b", ""))).await;
    let get = format!("GET {}", scene.origin());
    let [first, a, b] = <[String; 3]>::try_from(scene.places()).unwrap();
    let mut client = Client::new(&a);
    assert_eq!(client.ask(&get, ""), Some(200));
    let tunnel = Tunnel::open(&a, &scene.origin(), "");
    assert_eq!(
        scene.reloaded(&listener("b", "rotation = \"failure\"")),
        "changed: listener a is gone\nchanged: listener b\n"
    );
    assert_eq!(scene.places(), [first.clone(), b.clone()]);
    wait_until("the end of the listener", || TcpStream::connect(&a).is_err());
    assert_eq!([client.ask(&get, ""), client.ask(&get, "")], [Some(200); 2]);
    let before = tunnel.answers();
    wait_until("data in the tunnel", || tunnel.answers() > before + 10);
    // Rotation by failure is one proxy for all: it holds for those who come now.
    let turned = scene.gateway.command(&["rotate", "b"]);
    assert_eq!(turned.code, Some(0), "{turned:?}");

    // It comes back at the port that it had.
    let again = format!("{}[[listeners]]\nname = \"a\"\naddress = \"{a}\"\n", listener("b", ""));
    scene.reloaded(&again);
    assert_eq!(Client::new(&a).ask(&get, ""), Some(200));
    tunnel.close();
    // A listener of which others are still there stops with the gateway.
    scene.reloaded(&listener("b", ""));
    assert_eq!(scene.gateway.served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_was_removed_is_told_and_made_anew_at_the_next_reload() {
    let config = "[[listeners]]\nname = \"local\"\naddress = \"unix:in.sock\"\n";
    let scene = Scene::new(config).await;
    let socket = scene.gateway.path("in.sock");
    let status = || scene.gateway.command(&["status"]);
    let is_served = || {
        let mut client = UnixStream::connect(&socket).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        write!(client, "GET {} HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n", scene.origin()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200 ")
    };
    assert!(is_served());
    assert_eq!((scene.reloaded(config).as_str(), status().code), ("nothing has changed\n", Some(0)));
    // A socket that nobody listens at is in nobody's way.
    for left_behind in [false, true] {
        fs::remove_file(&socket).unwrap();
        if left_behind {
            drop(UnixListener::bind(&socket).unwrap());
        }
        let ran = status();
        assert!(ran.code == Some(3) && ran.stdout.contains("listener    local: its socket "), "{ran:?}");
        let told = "changed: listener local listens anew, its socket was gone\n";
        assert_eq!((scene.reloaded(config).as_str(), is_served(), status().code), (told, true, Some(0)));
    }
    // That of another process is neither taken from it nor removed.
    fs::remove_file(&socket).unwrap();
    let another = UnixListener::bind(&socket).unwrap();
    assert!(status().stdout.contains("in.sock has been replaced by another one; "), "{:?}", status());
    let ran = scene.reload(config);
    assert!(ran.code == Some(4) && ran.stderr.contains("in.sock: Address already in use"), "{ran:?}");
    let Scene { gateway, .. } = scene;
    let (code, log) = gateway.served.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(UnixStream::connect(gateway.folder.path().join("in.sock")).is_ok(), "it is the other one's");
    drop(another);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_renewed_is_read_at_the_next_reload() {
    let folder = folder();
    let renew = |folder: &std::path::Path| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    let first = renew(folder.path());
    let config = listener("tls", "tls = { certificate = \"cert.pem\", key = \"key.pem\" }");
    let path = folder.path().join("proxywhirl.toml");
    fs::write(&path, &config).unwrap();
    let gateway = Commanded::start_in(folder, &["--config", path.to_str().unwrap(), "--no-watch"]).await;
    let scene = Scene { gateway, config: path };
    let place = format!("https://{}", scene.places()[1]);
    let trusting = |certificate: &str| {
        let file = scene.gateway.path("trusted.pem");
        fs::write(&file, certificate).unwrap();
        curl(["--fail", "--proxy", &place, "--proxy-cacert", file.to_str().unwrap(), &scene.origin()]).code
    };
    assert_eq!(trusting(&first), Some(0));
    let second = renew(scene.gateway.folder.path());
    assert_eq!(scene.reloaded(&config), "changed: certificate of listener tls\n");
    assert_eq!((trusting(&second), trusting(&first)), (Some(0), Some(60)));
    assert_eq!(scene.reloaded(&config), "nothing has changed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_proxies_that_were_changed_in_their_file_are_read_at_the_next_reload() {
    let https = UpstreamOptions::new(Protocol::Https);
    let world = World::start(WorldPlan::new(vec![https])).await.unwrap();
    let (right, folder) = (world.ca().ca_pem(), folder());
    let other = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap().cert.pem();
    let authorities = folder.path().join("ca.pem");
    fs::write(&authorities, &other).unwrap();
    let path = folder.path().join("proxywhirl.toml");
    let config = "[upstream]\nca_file = \"ca.pem\"\n[health]\nfailures = 1000\n";
    fs::write(&path, config).unwrap();
    let gateway = Commanded::start_with(world, folder, &["--config", path.to_str().unwrap(), "--no-watch"]);
    let scene = Scene { gateway, config: path };
    assert_ne!(scene.gateway.request().code, Some(0));
    fs::write(&authorities, &right).unwrap();
    assert_eq!(scene.reloaded(config), "changed: certificates in upstream.ca_file\n");
    assert_eq!(scene.gateway.request().code, Some(0), "{}", scene.gateway.served.log());
    assert_eq!(scene.reloaded(config), "nothing has changed\n");
    // What is not trusted any more is not used, either: connections that wait are closed.
    fs::write(&authorities, &other).unwrap();
    assert_eq!(scene.reloaded(config), "changed: certificates in upstream.ca_file\n");
    assert_ne!(scene.gateway.request().code, Some(0));
    fs::remove_file(&authorities).unwrap();
    let ran = scene.reload(config);
    assert!(ran.code == Some(3) && ran.stderr.contains("ca.pem cannot be read"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changes_nothing_of_it_and_says_where() {
    let scene = Scene::new(&listener("a", "")).await;
    let places = scene.places();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let occupied = format!("[[listeners]]\naddress = \"{taken}\"\n");
    let deny = "[access]\ndeny = [\"127.0.0.1\"]\n";
    for (text, told) in [
        (format!("{deny}{occupied}"), format!("cannot listen at {taken}")),
        (format!("{deny}[[listeners]]\naddress = \"0.0.0.0:0\"\n"), "nobody would have to log in".to_owned()),
        (format!("{deny}[strategy]\nname = \"nobody\"\n"), "no strategy named nobody".to_owned()),
        (
            format!("{deny}[gateway]\nattempts = 0\n"),
            "proxywhirl.toml:4:12: gateway.attempts must be at least 1".to_owned(),
        ),
        (format!("{deny}[upstream]\nca_file = \"nowhere.pem\"\n"), "nowhere.pem cannot be read".to_owned()),
        (
            format!("{deny}{}", listener("a", "tls = { certificate = \"x.pem\", key = \"x.pem\" }")),
            "x.pem cannot be used for TLS".to_owned(),
        ),
    ] {
        let ran = scene.reload(&text);
        assert!(ran.code.is_some_and(|code| code > 0) && ran.stderr.contains(&told), "{text}: {ran:?}");
        assert_eq!(scene.places(), places, "{text}");
        let ran = curl(["--fail", "--proxy", &format!("http://{}", places[1]), &scene.origin()]);
        assert_eq!(ran.code, Some(0), "{text}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_whose_proxy_is_not_in_the_pool_is_told_until_it_is() {
    let bound = |port: u16| listener("bound", &format!("proxy = \"http://127.0.0.1:{port}\""));
    let scene = Scene::new(&bound(9)).await;
    let told = "the proxy of a listener is not in the pool: nobody is served there";
    scene.gateway.served.wait_for_log(told);
    let lines = || scene.gateway.served.log().lines().filter(|line| line.contains(told)).count();
    let status = scene.gateway.get("/v1/status");
    let trouble = serde_json::json!([{ "name": "bound", "proxy": "http://127.0.0.1:9" }]);
    assert_eq!(status["listener_troubles"], trouble);
    let ran = scene.gateway.command(&["status"]);
    assert!(ran.stdout.contains("listener    bound: its proxy http://127.0.0.1:9 is not in the pool"), "{ran:?}");
    let through = |place: &str| curl(["--include", "--proxy", &format!("http://{place}"), &scene.origin()]).stdout;
    let refused = through(&scene.places()[1]);
    assert!(refused.contains("(demanded: the one proxy of this port, which is not in the pool)"), "{refused}");
    assert!(!refused.contains("127.0.0.1:9\""), "who comes in there need not know which: {refused}");
    // Another one is not either, which is told again; one that is ends it.
    scene.reloaded(&bound(10));
    wait_until("another warning", || lines() == 2);
    let port = scene.gateway.world.proxies()[0].rsplit(':').next().unwrap().parse().unwrap();
    scene.reloaded(&bound(port));
    assert_eq!(scene.gateway.get("/v1/status")["listener_troubles"], serde_json::Value::Null);
    assert!(through(&scene.places()[1]).starts_with("HTTP/1.1 200"), "{}", scene.gateway.served.log());
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lines(), 2, "{}", scene.gateway.served.log());
}
