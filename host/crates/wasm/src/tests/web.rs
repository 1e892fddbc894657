//! Requests of plugins, against servers on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proxywhirl_core::event::{Event, Topic};
use proxywhirl_core::plugin::FaultCause;
use proxywhirl_core::time::Timestamp;
use proxywhirl_guests::Guest;
use proxywhirl_world::TestCa;

use super::{config, state, write};
use crate::bindings::shared::proxywhirl::plugin::http::{Error, Host as _, Request, Response};
use crate::capability::http::Web;
use crate::state::State;
use crate::{PluginSettings, Plugins, PluginsConfig};

/// A server that answers each connection with what is returned for the request's head, and remembers the requests.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let own = Arc::clone(&heard);
        // It ends with the process: a test that fails must not wait for it.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                own.lock().unwrap().push(request.clone());
                let answer = answer(&request);
                // The client may have had enough before the end.
                drop(stream.write_all(&answer));
            }
        });
        Self { port, heard }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// Head and body, by Content-Length.
fn read_request(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Answer: yes\r\nConnection: close\r\n\r\n{body}", body.len())
        .into()
}

fn redirect(status: u16, location: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into()
}

/// A hook that was granted these, in a call that has ten seconds left.
fn granted(grants: &[&str]) -> State {
    let mut state = state(&["http"], &["http:*"], grants);
    state.deadline = Some(Instant::now() + Duration::from_secs(10));
    state
}

fn request(method: &str, url: &str) -> Request {
    Request { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body: Vec::new(), timeout: 0 }
}

fn get(state: &mut State, url: &str) -> Result<Response, Error> {
    state.send(request("GET", url))
}

fn denial(answer: Result<Response, Error>) -> String {
    match answer {
        Err(Error::Denied(text)) => text,
        other => panic!("a denial was expected, not {other:?}"),
    }
}

#[test]
fn a_server_that_was_granted_gets_the_request_and_the_plugin_the_answer() {
    let server = Server::start(|_| ok("hello"));
    let mut state = granted(&[&format!("http:http://127.0.0.1:{}+private", server.port)]);
    let mut post = request("POST", &server.url("/a?b=c"));
    post.headers = vec![("X-Signature".to_owned(), "s".to_owned())];
    post.body = b"payload".to_vec();
    let answer = state.send(post).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"hello".as_slice()));
    assert!(answer.headers.contains(&("x-answer".to_owned(), "yes".to_owned())), "{:?}", answer.headers);
    let heard = &server.heard()[0];
    assert!(heard.starts_with("POST /a?b=c HTTP/1.1\r\n") && heard.ends_with("\r\n\r\npayload"), "{heard}");
    assert!(heard.contains("x-signature: s") && heard.contains("user-agent: proxywhirl/"), "{heard}");
}

#[test]
fn what_was_not_granted_is_never_connected_to() {
    let server = Server::start(|_| ok(""));
    let other = format!("http:http://127.0.0.1:{}+private", server.port ^ 1);
    assert!(denial(get(&mut granted(&[]), &server.url("/"))).ends_with("do not grant this server"));
    assert!(denial(get(&mut granted(&[&other]), &server.url("/"))).ends_with("do not grant this server"));
    assert_eq!(server.heard(), [] as [String; 0]);
}

#[test]
fn a_private_address_needs_more_than_a_grant_however_it_is_written() {
    let server = Server::start(|_| ok(""));
    let port = server.port;
    let mut anywhere = granted(&["http:*"]);
    for host in [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "0.0.0.0",
    ] {
        let text = denial(get(&mut anywhere, &format!("http://{host}:{port}/")));
        assert!(text.contains("loopback") || text.contains("unspecified"), "{host}: {text}");
    }
    let mut named = granted(&[&format!("http:http://localhost:{port}+private")]);
    assert_eq!(get(&mut named, &format!("http://localhost:{port}/")).unwrap().status, 200);
    assert_eq!(server.heard().len(), 1);
}

#[test]
fn a_redirect_is_checked_as_if_it_were_the_request() {
    let inner = Server::start(|_| ok("secret"));
    let location = inner.url("/secret");
    let outer = Server::start(move |_| redirect(302, &location));
    let mut state = granted(&[&format!("http:http://127.0.0.1:{}+private", outer.port)]);
    assert!(denial(get(&mut state, &outer.url("/"))).contains("do not grant"));
    // Granted, but not as a private one.
    let mut state = granted(&[
        &format!("http:http://127.0.0.1:{}+private", outer.port),
        &format!("http:http://127.0.0.1:{}", inner.port),
    ]);
    assert!(denial(get(&mut state, &outer.url("/"))).contains("loopback"));
    assert_eq!(inner.heard(), [] as [String; 0]);
}

#[test]
fn redirects_are_followed_by_the_rules_and_not_for_ever() {
    let server = Server::start(|request| match request.split(' ').nth(1).unwrap() {
        "/see-other" => redirect(303, "/end"),
        "/again" => redirect(307, "/end"),
        "/around" => redirect(302, "/around"),
        "/file" => redirect(302, "file:///etc/passwd"),
        "/user" => redirect(302, "http://user:pass@127.0.0.1/"),
        _ => ok("end"),
    });
    let mut state = granted(&[&format!("http:http://127.0.0.1:{}+private", server.port)]);
    let mut post = |path: &str| {
        let url = server.url(path);
        state.send(Request { body: b"b".to_vec(), ..request("POST", &url) })
    };
    assert_eq!(post("/see-other").unwrap().body, b"end");
    assert_eq!(post("/again").unwrap().body, b"end");
    for path in ["/file", "/user", "/around"] {
        let error = post(path).unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{path}: {error:?}");
    }
    let methods: Vec<String> =
        server.heard().iter().take(4).map(|it| it.split('\r').next().unwrap().to_owned()).collect();
    assert_eq!(
        methods,
        ["POST /see-other HTTP/1.1", "GET /end HTTP/1.1", "POST /again HTTP/1.1", "POST /end HTTP/1.1"]
    );
    assert_eq!(server.heard().len(), 4 + 2 + 6, "the last one was asked six times");
}

#[test]
fn credentials_stay_with_the_server_that_they_are_for() {
    let end = Server::start(|_| ok(""));
    let location = end.url("/");
    let first = Server::start(move |_| redirect(307, &location));
    let mut state = granted(&[
        &format!("http:http://127.0.0.1:{}+private", end.port),
        &format!("http:http://127.0.0.1:{}+private", first.port),
    ]);
    let mut order = request("GET", &first.url("/"));
    order.headers = [("authorization", "Bearer t"), ("cookie", "c=1"), ("x-kept", "1")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    state.send(order).unwrap();
    assert!(first.heard()[0].contains("authorization") && first.heard()[0].contains("cookie"));
    let second = &end.heard()[0];
    assert!(!second.contains("authorization") && !second.contains("cookie") && second.contains("x-kept"), "{second}");
}

#[test]
fn an_answer_larger_than_allowed_is_not_read_to_its_end() {
    let announced = Server::start(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n".to_vec());
    let endless = Server::start(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        answer.resize(answer.len() + 2 * 1_048_576, b'x');
        answer
    });
    for server in [announced, endless] {
        let mut state = granted(&[&format!("http:http://127.0.0.1:{}+private", server.port)]);
        assert!(matches!(get(&mut state, &server.url("/")), Err(Error::Size)));
    }
}

#[test]
fn a_server_that_says_nothing_costs_the_time_that_the_plugin_gave_it() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut state = granted(&[&format!("http:http://127.0.0.1:{port}+private")]);
    let url = format!("http://127.0.0.1:{port}/");
    assert!(matches!(state.send(Request { timeout: 50, ..request("GET", &url) }), Err(Error::Timeout)));
    // The call's own deadline is nearer than what the plugin would wait.
    state.deadline = Some(Instant::now() + Duration::from_millis(100));
    let began = Instant::now();
    assert!(matches!(state.send(Request { timeout: 3_600_000, ..request("GET", &url) }), Err(Error::Timeout)));
    assert!(began.elapsed() < Duration::from_secs(30));
    drop(silent);
    state.deadline = Some(Instant::now() + Duration::from_secs(10));
    assert!(matches!(get(&mut state, &url), Err(Error::Unreachable(_))));
}

#[test]
fn a_plugin_sends_so_many_requests_and_no_more() {
    let server = Server::start(|_| ok(""));
    let mut state = granted(&[&format!("http:http://127.0.0.1:{}+private", server.port)]);
    // The limit is on the plugin, whatever becomes of its requests; refused methods do not count.
    let mut sent = 0;
    while get(&mut state, &server.url("/")).is_ok() {
        sent += 1;
        assert!(sent < 1_000);
    }
    assert!(sent >= 20, "{sent}");
    assert!(matches!(get(&mut state, &server.url("/")), Err(Error::Rate)));
}

#[test]
fn a_certificate_counts_only_if_somebody_who_is_trusted_vouches_for_it() {
    let authority = TestCa::new().unwrap();
    let port = tls_server(authority.server_config(&[]).unwrap());
    let grant = format!("http:https://127.0.0.1:{port}+private");
    let url = format!("https://127.0.0.1:{port}/");
    let answer = get(&mut granted(&[&grant]), &url);
    let Err(Error::Unreachable(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("certificate"), "{reason}");
    let mut trusting = granted(&[&grant]);
    trusting.web = Arc::new(Web::new(Some(authority.client_config().unwrap())));
    assert_eq!(get(&mut trusting, &url).unwrap().body, b"hello");
}

/// Speaks TLS, and answers `hello` to whoever gets so far; its port.
fn tls_server(config: Arc<rustls::ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut buffer = [0; 4096];
            // Whoever does not trust the certificate leaves before the first byte.
            if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                drop(stream.write_all(&ok("hello")));
                stream.conn.send_close_notify();
                drop(stream.flush());
            }
        }
    });
    port
}

#[test]
fn a_request_may_be_sent_inside_a_worker() {
    let server = Server::start(|_| ok("hello"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut state = granted(&[&format!("http:http://127.0.0.1:{}+private", server.port)]);
        assert_eq!(get(&mut state, &server.url("/")).unwrap().body, b"hello");
    });
}

/// A component that sends a request to that URL for each batch, and hands on the first letter of what went wrong.
fn sender(url: &str) -> Vec<u8> {
    Guest::hook("guest")
        .wants("http:*")
        .import(
            r#"(import "proxywhirl:plugin/http@0.1.0" "send"
                (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#,
        )
        .extra(&format!(r#"(data (i32.const 512) "GET") (data (i32.const 520) "{url}")"#))
        .with(
            "handle",
            &format!(
                "(call $send (i32.const 512) (i32.const 3) (i32.const 520) (i32.const {}) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 256))
                 (i32.store8 (i32.const 32) (i32.load8_u (i32.const 256)))
                 (i32.store (i32.const 36) (i32.const 64)) (i32.store (i32.const 40) (i32.const 1))
                 (i32.store8 (i32.const 64) (i32.add (i32.const 48) (i32.load8_u (i32.const 260))))
                 (i32.const 32)",
                url.len()
            ),
        )
        .build()
}

#[test]
fn a_component_gets_what_it_was_granted_while_it_runs_and_loses_it_so() {
    let server = Server::start(|_| ok("hello"));
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "guest.wasm", &sender(&server.url("/")));
    let library = Plugins::load(PluginsConfig { directory: Some(directory.path().to_owned()), ..config() }).unwrap();
    assert_eq!(library.info("guest").unwrap().capabilities, ["http:*"]);
    let mut hook = library.hook("guest", "").unwrap();
    let event = Event { sequence: 1, at: Timestamp::from_micros(1), topic: Topic::PoolEmpty, payload: "{}".into() };
    let fault = hook.handle(std::slice::from_ref(&event)).unwrap_err();
    assert_eq!((fault.cause, &*fault.detail), (FaultCause::Refused, "0"), "denied is the first case");
    let grants = vec![format!("http:http://127.0.0.1:{}+private", server.port).parse().unwrap()];
    assert!(library.set_settings("guest", PluginSettings { grants, ..PluginSettings::default() }));
    assert_eq!(hook.handle(std::slice::from_ref(&event)), Ok(()));
    assert_eq!(library.info("guest").unwrap().access[0].standing().as_str(), "granted");
    assert!(library.set_settings("guest", PluginSettings::default()));
    assert!(hook.handle(&[event]).is_err());
    assert_eq!(server.heard().len(), 1);
}
