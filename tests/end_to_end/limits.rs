//! Limits of proxies and sites, as clients meet them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run_with_input, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::control::{Commanded, world};

async fn limited(limits: &str) -> Commanded {
    limited_over(world().await, limits)
}

fn limited_over(world: World, limits: &str) -> Commanded {
    let folder = folder();
    // Read once, at the start: the folder may go.
    let config = file(&folder, "proxywhirl.toml", limits);
    Commanded::start_over(world, &["--config", &config])
}

/// Sends requests at once; their statuses.
pub(super) fn at_once(count: usize, url: &str, proxy: &str) -> Vec<String> {
    let folder = folder();
    let config = (0..count).fold(String::new(), |mut text, _| {
        writeln!(
            text,
            "url = \"{url}\"\nproxy = \"{proxy}\"\noutput = \"/dev/null\"\nwrite-out = \"%{{http_code}}\\n\""
        )
        .unwrap();
        text
    });
    let config = file(&folder, "curl", config);
    let ran = curl(["--parallel", "--parallel-immediate", "--parallel-max", "300", "--config", &config]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_with_a_burst_holds_for_a_site_and_for_each_proxy() {
    // Three proxies with a third of the rate each, or all of them together for the site: forty requests a second.
    for limits in ["per_proxy = { rate = 13.333, burst = 3 }", "per_site = { rate = 40, burst = 9 }"] {
        let gateway = limited(&format!("[limits]\n{limits}\n")).await;
        let url = gateway.world.origin().http_url("/ip");
        let began = Instant::now();
        let statuses = at_once(129, &url, &gateway.served.proxy("http"));
        let took = began.elapsed().as_secs_f64();
        assert_eq!(statuses, vec!["200"; 129], "{limits}");
        // (129 - 9) / 40: three seconds, within a tenth.
        assert!((2.95..3.3).contains(&took), "{limits}: {took} s");
        let spread: Vec<u64> =
            gateway.world.upstreams().iter().map(|upstream| upstream.counters().requests()).collect();
        assert!(spread.iter().all(|served| (38..=48).contains(served)), "{limits}: {spread:?}");
    }
}

/// An HTTP proxy that answers everything after some time, and counts how many wait for that.
async fn counting() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, most) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (counted, open) = (Arc::clone(&most), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (most, open) = (Arc::clone(&counted), Arc::clone(&open));
            tokio::spawn(async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut head = [0; 4096];
                if client.read(&mut head).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    // Before the answer: whoever has read it may send another request at once.
                    open.fetch_sub(1, Ordering::SeqCst);
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                    drop(client.write_all(answer).await);
                }
            });
        }
    });
    (format!("http://{address}"), most)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_has_more_requests_at_a_time_than_it_may() {
    let (paid, free) = (counting().await, counting().await);
    let folder = folder();
    let source = |name: &str, proxy: &str| {
        let list = file(&folder, name, proxy);
        format!("[[sources]]\nname = \"{name}\"\nlocation = \"{list}\"\ntrust = true\n")
    };
    let config = format!(
        "[limits]\nper_proxy = {{ concurrency = 2 }}\n[[limits.proxies]]\nsource = \"paid\"\nconcurrency = 5\n{}{}",
        source("paid", &paid.0),
        source("free", &free.0)
    );
    let served = Served::start(["--config", &file(&folder, "proxywhirl.toml", config)]);
    let statuses = at_once(100, "http://origin.example/", &served.proxy("http"));
    assert_eq!(statuses, vec!["200"; 100], "{}", served.log());
    assert_eq!((paid.1.load(Ordering::SeqCst), free.1.load(Ordering::SeqCst)), (5, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_served_in_time_is_told_when_to_come_again() {
    let one = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let gateway = limited_over(one, "[limits]\nper_proxy = { rate = 0.05, burst = 2 }\nwait = \"2s\"\n");
    let (url, proxy) = (gateway.world.origin().http_url("/ip"), gateway.served.proxy("http"));
    assert_eq!(at_once(2, &url, &proxy), ["200", "200"]);
    let ran = curl(["--include", "--proxy", &proxy, &url]);
    assert!(ran.stdout.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{}", ran.stdout);
    // A token in twenty seconds, of which not one has passed.
    assert!(ran.stdout.contains("\r\nRetry-After: 20\r\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\r\nProxy-Status: proxywhirl; error=connection_limit_reached; "), "{}", ran.stdout);
    assert!(ran.stdout.contains("1 at their limit"), "{}", ran.stdout);
    let socks = curl(["--proxy", &gateway.served.proxy("socks5h"), &url]);
    assert!(socks.code == Some(97) && socks.stderr.contains("(1)"), "{socks:?}");

    let explained = gateway.command(&["explain", &url]);
    assert!(explained.stdout.contains("  1 at their limit\n  0 eligible"), "{}", explained.stdout);
    assert_eq!(explained.code, Some(1));
    let last = gateway.command(&["explain", "3"]);
    assert!(last.stdout.contains("which is too late"), "{}", last.stdout);
    let metrics = gateway.ask(&[], "/metrics").stdout;
    for expected in ["proxywhirl_refusals_total{reason=\"queue-late\"} 2", "proxywhirl_limited_total{by=\"member\"} 2"]
    {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_seen_and_a_full_line_sends_away() {
    let gateway = limited("[limits]\nper_site = { concurrency = 1 }\nqueue = 1\nwait = \"20s\"\n").await;
    let (origin, proxy) = (gateway.world.origin().http_url("/delay/3000"), gateway.served.proxy("http"));
    let ask = |url: String, proxy: String| {
        std::thread::spawn(move || {
            curl(["--write-out", "%{http_code}", "--output", "/dev/null", "--proxy", &proxy, &url])
        })
    };
    let first = ask(origin, proxy.clone());
    let url = gateway.world.origin().http_url("/ip");
    let metric = |text: &str| gateway.ask(&[], "/metrics").stdout.contains(text);
    wait_until("the first request is under way", || {
        gateway.command(&["explain", &url]).stdout.contains("the site is at")
    });
    let second = ask(url.clone(), proxy.clone());
    wait_until("the second request waits", || metric("proxywhirl_requests_waiting 1"));
    let third = curl(["--include", "--proxy", &proxy, &url]);
    assert!(
        third.stdout.starts_with("HTTP/1.1 503 ") && third.stdout.contains("Retry-After: 1\r\n"),
        "{}",
        third.stdout
    );
    assert!(third.stdout.contains("the site 127.0.0.1 is at its limit; 1 request waits already"), "{}", third.stdout);
    let explained = gateway.command(&["explain", &url]).stdout;
    assert!(explained.contains("  1 request waits for its turn"), "{explained}");
    assert_eq!((first.join().unwrap().stdout, second.join().unwrap().stdout), ("200".to_owned(), "200".to_owned()));
    assert!(metric("proxywhirl_requests_waiting 0") && metric("proxywhirl_wait_seconds_count 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_turn_before_the_gateway_ends_is_told_to_come_again() {
    let one = World::start(WorldPlan::new(vec![UpstreamOptions::new(Protocol::Http)])).await.unwrap();
    let limits = "[gateway]\ndrain = \"2s\"\n[limits]\nper_proxy = { rate = 0.05, burst = 1 }\nwait = \"1m\"\n";
    let gateway = limited_over(one, limits);
    let (url, proxy) = (gateway.world.origin().http_url("/ip"), gateway.served.proxy("http"));
    assert_eq!(at_once(1, &url, &proxy), ["200"]);
    let waits = std::thread::spawn(move || curl(["--include", "--proxy", &proxy, &url]));
    wait_until("it waits", || gateway.ask(&[], "/metrics").stdout.contains("proxywhirl_requests_waiting 1"));
    assert_eq!(gateway.served.stop().0, Some(0));
    let ran = waits.join().unwrap();
    assert!(ran.stdout.starts_with("HTTP/1.1 503 ") && ran.stdout.contains("\r\nRetry-After: "), "{ran:?}");
    assert!(ran.stdout.to_ascii_lowercase().contains("connection: close"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_with_many_requests_does_not_keep_another_one_waiting() {
    let hash = run_with_input(&mut proxywhirl(["user", "hash"]), "hunter2\n").stdout;
    let user = |name: &str| format!("[[users]]\nname = \"{name}\"\npassword_hash = \"{}\"\n", hash.trim());
    let limits = "[limits]\nper_site = { rate = 8, burst = 1 }\nwait = \"1m\"\nqueue = 60\n";
    let gateway = limited(&format!("{limits}{}{}", user("anna"), user("bert"))).await;
    let url = gateway.world.origin().http_url("/ip");
    let proxy = |name: &str| format!("http://{name}:hunter2@{}", gateway.served.address);
    // Both have proven who they are, so that this takes no time later.
    assert_eq!(at_once(1, &url, &proxy("anna")), ["200"]);
    assert_eq!(at_once(1, &url, &proxy("bert")), ["200"]);
    let many = {
        let (url, proxy) = (url.clone(), proxy("anna"));
        std::thread::spawn(move || at_once(80, &url, &proxy))
    };
    let waiting = || {
        let metrics = gateway.ask(&[], "/metrics").stdout;
        let line = metrics.lines().find_map(|line| line.strip_prefix("proxywhirl_requests_waiting "));
        line.and_then(|count| count.parse::<u32>().ok()).unwrap_or(0)
    };
    // More than five seconds' worth of one user.
    wait_until("a long line", || waiting() > 45);
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(at_once(1, &url, &proxy("bert")), ["200"]);
        // Two turns at the most, of an eighth of a second.
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    assert!(waiting() > 0, "nobody waits any more");
    let statuses = many.join().unwrap();
    let served = statuses.iter().filter(|status| *status == "200").count();
    // The line's sixty, but for those who made room.
    assert!(served >= 55 && statuses.iter().all(|status| status == "200" || status == "503"), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_requests_wait_for_them() {
    let folder = folder();
    let path = file(&folder, "proxywhirl.toml", "[limits]\nper_site = { rate = 0.02, burst = 2 }\nwait = \"1m\"\n");
    let gateway = Commanded::start_in(folder, &["--config", &path, "--no-watch"]).await;
    let (origin, proxy) = (gateway.world.origin(), gateway.served.proxy("http"));
    let reload = |limits: &str| {
        std::fs::write(&path, format!("[limits]\n{limits}\n")).unwrap();
        let ran = gateway.command(&["reload"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "changed: limits\n"), "{limits}: {ran:?}");
    };
    let ask = |count: usize, path: &str| {
        let (url, proxy) = (origin.http_url(path), proxy.clone());
        std::thread::spawn(move || at_once(count, &url, &proxy))
    };
    let are_waiting = |count: usize| {
        let line = format!("\nproxywhirl_requests_waiting {count}\n");
        gateway.ask(&[], "/metrics").stdout.contains(&line)
    };
    let fail = |code: &str| {
        let ran = curl(["--include", "--proxy", &proxy, &origin.http_url("/ip")]);
        assert!(ran.stdout.contains(&format!("HTTP/1.1 {code} ")), "{}", ran.stdout);
    };
    assert_eq!(ask(2, "/ip").join().unwrap(), ["200", "200"]);
    // The next token comes after fifty seconds; what was used counts on when the burst is another one.
    let third = ask(1, "/ip");
    wait_until("the third request waits", || are_waiting(1));
    reload("per_site = { rate = 0.02, burst = 1 }\nwait = \"1s\"");
    fail("503");
    assert!(are_waiting(1));
    let lifted = Instant::now();
    reload("");
    assert_eq!(third.join().unwrap(), ["200"]);
    assert!(lifted.elapsed() < Duration::from_secs(20), "it waited on for a token that nobody wants any more");

    // From none to one at a time, with requests under way; a place is left when the first of them is over.
    let slow = ask(3, "/delay/2000");
    wait_until("three requests are under way", || {
        gateway.world.upstreams().iter().map(|upstream| upstream.seen().len()).sum::<usize>() >= 6
    });
    reload("per_proxy = { concurrency = 1 }\nqueue = 0");
    fail("503");
    assert_eq!(slow.join().unwrap(), ["200"; 3]);
    fail("200");
    reload("per_proxy = { concurrency = 1 }\nqueue = 10");
    assert_eq!(ask(12, "/delay/100").join().unwrap(), ["200"; 12]);
}
