//! `proxywhirl requests` and `proxywhirl explain`: how requests went, and how one would go.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use proxywhirl_tests::{curl, folder, password_hash, wait_until};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;

use crate::control::Commanded;

/// A gateway whose first upstream closes each connection, while the second one serves.
async fn one_of_two_is_bad() -> Commanded {
    let mut bad = UpstreamOptions::new(Protocol::Http);
    bad.behaviour = Behaviour::CloseAfterHead;
    let world = World::start(WorldPlan::new(vec![bad, UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    Commanded::start_over(world, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_explained_attempt_by_attempt() {
    let gateway = one_of_two_is_bad().await;
    let origin = gateway.world.origin().http_url("/ip");
    for _ in 0..2 {
        assert_eq!(gateway.request().code, Some(0));
    }
    let listed = gateway.command(&["requests", "127.0.0.1", "--json"]);
    let records: Value = serde_json::from_str(&listed.stdout).unwrap();
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records[0]["request"].as_u64() > records[1]["request"].as_u64(), "the newest is not first");
    // One of the two began with the upstream that closes.
    let failed_over = records.iter().find(|record| record["attempts"].as_array().unwrap().len() == 2).unwrap();
    let (first, second) = (&failed_over["attempts"][0], &failed_over["attempts"][1]);
    assert!(first["fault"].is_object() && first["latency_ms"].is_null() && first["counted"] == true, "{first}");
    assert!(second["fault"].is_null() && second["latency_ms"].as_f64() > Some(0.0), "{second}");
    assert_eq!((&failed_over["status"], &failed_over["method"]), (&Value::from(200), &Value::from("GET")));

    let number = failed_over["request"].to_string();
    let explained = gateway.command(&["explain", &number]);
    assert_eq!(explained.code, Some(0), "{explained:?}");
    for expected in ["attempt 1, by the plan for everybody", "failed, ", "attempt 2", "answered after", "  over"] {
        assert!(explained.stdout.contains(expected), "{expected}: {}", explained.stdout);
    }
    let german = gateway.command(&["explain", &origin, "--user", "anna-country-de"]);
    assert_eq!(german.code, Some(1), "{german:?}");
    assert!(german.stdout.contains("2 not what is wanted: country DE"), "{}", german.stdout);
    let mistaken = gateway.command(&["explain", &origin, "--user", "anna-contry-de"]);
    assert_eq!(mistaken.code, Some(2), "{mistaken:?}");
    assert!(mistaken.stderr.contains("contry"), "{}", mistaken.stderr);
    let would = gateway.command(&["explain", &origin]);
    assert_eq!(would.code, Some(0), "{would:?}");
    assert!(would.stdout.contains("2 in the pool") && would.stdout.contains("tier 1: cycle over 2 members"));
    assert!(would.stdout.contains("the last requests there:"), "{}", would.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_session_goes_and_where_nobody_may_go_is_said() {
    let world =
        World::start(WorldPlan::new([(); 3].map(|()| UpstreamOptions::new(Protocol::Http)).into())).await.unwrap();
    let folder = folder();
    let config = folder.path().join("proxywhirl.toml");
    let users = format!("[[users]]\nname = \"anna\"\npassword_hash = \"{}\"\n", password_hash("hunter2"));
    let access = "[access]\ndeny = [\"denied.example\"]\n";
    fs::write(&config, format!("{users}{access}[strategy]\nname = \"session\"\n")).unwrap();
    let gateway = Commanded::start_over(world, &["--config", config.to_str().unwrap()]);
    let origin = gateway.world.origin().http_url("/ip");
    let explained = |user: &str| {
        let told = gateway.command(&["explain", &origin, "--user", user, "--json"]);
        serde_json::from_str::<Value>(&told.stdout).unwrap()["bound_to"].clone()
    };
    assert_eq!(explained("anna-session-7"), Value::Null);
    let proxy = format!("http://anna-session-7:hunter2@{}", gateway.served.address);
    let ran = curl(["--fail", "--proxy", &proxy, "--proxy-header", "ProxyWhirl-Explain: 1", "--include", &origin]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let upstream =
        ran.stdout.lines().find_map(|line| line.strip_prefix("ProxyWhirl-Upstream: ")).unwrap().trim().to_owned();
    assert_eq!(explained("anna-session-7"), Value::from(upstream.clone()));
    assert_eq!((explained("anna-session-8"), explained("bert-session-7")), (Value::Null, Value::Null));
    let told = gateway.command(&["explain", &origin, "--user", "anna-session-7"]);
    assert!(told.stdout.contains(&format!("its session has {upstream}")), "{}", told.stdout);

    let denied = gateway.command(&["explain", "https://www.denied.example/"]);
    assert_eq!(denied.code, Some(1), "{denied:?}");
    assert!(denied.stdout.ends_with("refused: a rule of [access] forbids it\n"), "{}", denied.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_off_is_remembered_and_what_it_used_is_counted() {
    let gateway = Commanded::start(&[]).await;
    let mut client = TcpStream::connect(&gateway.served.address).unwrap();
    let origin = gateway.world.origin().http_url("/upload");
    write!(client, "POST {origin} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc").unwrap();
    drop(client);
    let failed = || gateway.command(&["requests", "--failed", "--json"]);
    wait_until("it is remembered", || failed().code == Some(0));
    let records: Value = serde_json::from_str(&failed().stdout).unwrap();
    let record = &records[0];
    assert_eq!((&record["method"], &record["fault"]["side"]), (&"POST".into(), &"client".into()), "{record}");
    assert!(
        origin.contains(record["target"].as_str().unwrap()) && record["attempts"] == Value::Array(vec![]),
        "{record}"
    );

    // Larger than what is kept, so that it was on its way through a proxy.
    let mut client = TcpStream::connect(&gateway.served.address).unwrap();
    write!(client, "POST {origin} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n").unwrap();
    client.write_all(&[b'x'; 300_000]).unwrap();
    let picks = || gateway.ask(&[], "/metrics").stdout.contains("proxywhirl_picks_total 1\n");
    wait_until("it is under way", picks);
    drop(client);
    let ended = "proxywhirl_attempts_total{outcome=\"ended\"} 1\n";
    wait_until("it is counted", || gateway.ask(&[], "/metrics").stdout.contains(ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_broke_off_is_listed_with_its_proxy() {
    let world = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let gateway = Commanded::start_over(world, &[]);
    let ran = curl(["--proxy", &gateway.served.proxy("http"), &gateway.world.origin().http_url("/close")]);
    assert_ne!(ran.code, Some(0), "it has all of it: {ran:?}");
    wait_until("it is remembered", || gateway.command(&["requests", "--failed"]).code == Some(0));
    let rows = gateway.command(&["requests"]).stdout;
    assert!(rows.contains(" at body") && rows.contains(&format!(" {} ", gateway.world.proxies()[0])), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_explained_is_said() {
    let gateway = one_of_two_is_bad().await;
    let none = gateway.command(&["requests"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{none:?}");
    let unknown = gateway.command(&["explain", "77"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("request 77 is not remembered"), "{}", unknown.stderr);
    let wrong = gateway.command(&["explain", "nonsense"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("no port") && wrong.stderr.contains("hint:"), "{}", wrong.stderr);
    let refused = gateway.ask(&["--write-out", "%{http_code}"], "/v1/explain?target=nonsense");
    assert!(refused.stdout.ends_with("400"), "{}", refused.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_hears_through_whom_an_answer_came_and_nobody_else_does() {
    let gateway = Commanded::start(&[]).await;
    let (proxy, origin) = (gateway.served.proxy("http"), gateway.world.origin());
    let head = |arguments: &[&str], url: &str| {
        let ran = curl([&["--include", "--silent", "--proxy", &proxy], arguments, &[url]].concat());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran.stdout.to_ascii_lowercase()
    };
    let (plain, upstreams) = (origin.http_url("/ip"), gateway.world.proxies());
    let names_one = |head: &str| upstreams.iter().any(|url| head.contains(&format!("proxywhirl-upstream: {url}\r\n")));
    let says_nothing = |head: &str| !head.contains("proxywhirl-upstream") && !head.contains("proxywhirl-attempts");
    assert!(says_nothing(&head(&[], &plain)));
    let told = head(&["-H", "ProxyWhirl-Explain: 1", "-H", "ProxyWhirl-Session: 7"], &plain);
    assert!(names_one(&told) && told.contains("proxywhirl-attempts: 1\r\n"), "{told}");
    let session = |head: &str| head.split("proxywhirl-session: ").nth(1).map(|rest| rest[..16].to_owned());
    let first = session(&told).unwrap();
    let again = head(&["-H", "ProxyWhirl-Explain: yes", "-H", "ProxyWhirl-Session: 7"], &plain);
    assert_eq!(session(&again), Some(first));
    // The origin sees nothing of it.
    let echoed = head(&["-H", "ProxyWhirl-Explain: 1"], &origin.http_url("/headers"));
    let (_, body) = echoed.split_once("\r\n\r\n").unwrap();
    assert!(body.contains("host") && !body.contains("explain"), "{body}");

    // CONNECT: Proxy-Status always, the rest for who asks.
    let tunnel = |arguments: &[&str]| head(&[&["--proxytunnel"], arguments].concat(), &plain);
    let quiet = tunnel(&[]);
    assert!(quiet.contains("\r\nproxy-status: proxywhirl\r\n") && says_nothing(&quiet), "{quiet}");
    let told = tunnel(&["--proxy-header", "ProxyWhirl-Explain: 1"]);
    assert!(names_one(&told) && told.contains("proxy-status: proxywhirl; next-hop=\"http://127.0.0.1:"), "{told}");

    // An error says how many were tried.
    let gone = head(&["-H", "ProxyWhirl-Explain: 1", "-H", "ProxyWhirl-Country: aq"], &plain);
    assert!(gone.starts_with("http/1.1 503 ") && gone.contains("proxywhirl-attempts: 0\r\n"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_remembered_with_its_reason_and_stages_are_timed() {
    let folder = folder();
    let config = "[access]\ndeny = [\"*:25\"]\n[gateway]\nexplain = true\n";
    fs::write(folder.path().join("proxywhirl.toml"), config).unwrap();
    let path = folder.path().join("proxywhirl.toml").to_string_lossy().into_owned();
    let gateway = Commanded::start_in(folder, &["--config", &path]).await;
    let proxy = gateway.served.proxy("http");
    assert!(curl(["--proxy", &proxy, "--include", "http://mail.example:25/"]).stdout.contains(" 403 "));
    assert_eq!(curl(["--proxy", &gateway.served.proxy("socks5h"), "http://mail.example:25/"]).code, Some(97));
    assert_eq!(gateway.request().code, Some(0));
    let failed = gateway.command(&["requests", "--failed"]);
    assert_eq!(failed.stdout.matches("refused: this gateway does not reach mail.example:25").count(), 2, "{failed:?}");
    let records: Value = serde_json::from_str(&gateway.command(&["requests", "--json"]).stdout).unwrap();
    assert_eq!((records.as_array().unwrap().len(), &records[0]["request"]), (3, &1.into()), "{records}");
    let went = gateway.command(&["explain", &records[2]["request"].to_string()]);
    assert!(went.stdout.contains("GET by http, 403") && went.stdout.contains("\n  refused: this gateway"), "{went:?}");

    let went = gateway.command(&["explain", "1"]);
    let at = |word: &str| {
        let line = went.stdout.lines().find(|line| line.ends_with(word)).unwrap_or_else(|| panic!("{word}: {went:?}"));
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    assert!(at("  dialled") <= at("  handshake over") && at("  handshake over") <= at("  sent"), "{went:?}");
    assert!(at("  sent") <= at("ms  over"), "{went:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_an_attempt_came_that_was_overtaken_is_told() {
    let silent = UpstreamOptions::new(Protocol::Http).behaviour(Behaviour::Silent);
    let world = World::start(WorldPlan::new(vec![silent, UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let folder = folder();
    fs::write(folder.path().join("proxywhirl.toml"), "[gateway]\nconnect_timeout = \"300ms\"\n").unwrap();
    let path = folder.path().join("proxywhirl.toml").to_string_lossy().into_owned();
    let gateway = Commanded::start_with(world, folder, &["--config", &path]);
    let two = wait_for_two(&gateway);
    let (first, second) = (&two["attempts"][0], &two["attempts"][1]);
    let time = |attempt: &Value, what: &str| attempt[what].as_f64().unwrap_or_else(|| panic!("{what}: {two}"));
    // It had got the request when the second one began, and was given up when that one was answered.
    assert!(time(first, "dialled_ms") <= time(first, "sent_ms"), "{two}");
    assert!(time(first, "sent_ms") < time(second, "picked_ms"), "{two}");
    assert!(time(first, "ended_ms") >= time(second, "sent_ms") && first["latency_ms"].is_null(), "{two}");
}

/// Asks until a request has had two attempts; its record.
fn wait_for_two(gateway: &Commanded) -> Value {
    for _ in 0..4 {
        assert_eq!(gateway.request().code, Some(0));
        let records: Value = serde_json::from_str(&gateway.command(&["requests", "--json"]).stdout).unwrap();
        let two = records.as_array().unwrap().iter().find(|it| it["attempts"].as_array().unwrap().len() == 2);
        if let Some(two) = two {
            return two.clone();
        }
    }
    panic!("no request met the silent one")
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_a_request_was_is_told() {
    let (folder, hash) = (folder(), password_hash("hunter2"));
    let users = ["anna", "bert"].map(|name| format!("[[users]]\nname = \"{name}\"\npassword_hash = \"{hash}\"\n"));
    fs::write(folder.path().join("proxywhirl.toml"), users.concat()).unwrap();
    let path = folder.path().join("proxywhirl.toml").to_string_lossy().into_owned();
    let events = folder.path().join("events.jsonl");
    let gateway = Commanded::start_in(folder, &["--config", &path, "--event-log", events.to_str().unwrap()]).await;
    let url = gateway.world.origin().http_url("/ip");
    for client in ["http://anna", "socks5h://bert"] {
        let proxy = format!("{client}:hunter2@{}", gateway.served.address);
        assert_eq!(curl(["--fail", "--proxy", &proxy, &url]).code, Some(0), "{client}");
    }
    let both = |text: &str| ["anna", "bert"].iter().all(|name| text.contains(&format!("\"user\":\"{name}\"")));
    wait_until("both requests", || both(&gateway.command(&["requests", "--json"]).stdout));
    wait_until("both events", || both(&fs::read_to_string(&events).unwrap_or_default()));
    let rows = gateway.command(&["requests"]).stdout;
    assert!(rows.contains(" USER ") && rows.contains(" anna ") && rows.contains(" bert "), "{rows}");
    let went = gateway.command(&["explain", "1"]).stdout;
    assert!(went.contains("GET by http, 200, of the user anna\n  from 127.0.0.1:"), "{went}");
    assert!(went.contains(&format!(" at {}\n", gateway.served.address)), "{went}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_log_in_is_remembered() {
    let folder = folder();
    let config = "[[users]]\nname = \"anna\"\npassword_hash = \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$\
                  8jyt0Hh1UqHvGrCNN5YRIhtHXy0fk4wPmiRsqfHfQHs\"\n";
    fs::write(folder.path().join("proxywhirl.toml"), config).unwrap();
    let path = folder.path().join("proxywhirl.toml").to_string_lossy().into_owned();
    let gateway = Commanded::start_in(folder, &["--config", &path]).await;
    assert_eq!(curl(["--proxy", &gateway.served.proxy("http"), "http://a.example/x?secret=1"]).code, Some(0));
    let rows = gateway.command(&["requests"]);
    assert!(rows.stdout.contains("refused: this gateway wants a user name and a password"), "{rows:?}");
    assert!(rows.stdout.contains(" a.example:80 ") && !rows.stdout.contains("secret"), "{rows:?}");
}
