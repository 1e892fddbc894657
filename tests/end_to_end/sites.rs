//! A proxy that fails at one site only is passed over there, and serves all others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proxywhirl_tests::{Served, curl, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Hosts, Protocol, UpstreamOptions, World, WorldPlan};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::control::Commanded;

/// For how long the second one is passed over.
const PAUSE: Duration = Duration::from_secs(2);

/// Three upstreams, of which the first one does not reach `shop.example`.
async fn one_is_refused(config: &str) -> Commanded {
    // Nobody listens there.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let refused = UpstreamOptions::new(Protocol::Http).hosts(Hosts::new().with("www.shop.example", nowhere));
    let http = || UpstreamOptions::new(Protocol::Http);
    let world = World::start(WorldPlan::new(vec![refused, http(), http()])).await.unwrap();
    let folder = folder();
    let config = file(&folder, "proxywhirl.toml", config);
    // In turn, requests that alternate would meet the same ones each time.
    Commanded::start_with(world, folder, &["--config", &config, "--strategy", "random"])
}

/// A request to a host, by one of three kinds of clients.
fn ask(gateway: &Commanded, host: &str, turn: usize) {
    let port = gateway.world.origin().http_addr().port();
    let url = format!("http://{host}:{port}/ip");
    let ways = [("http", &[][..]), ("http", &["--proxytunnel"]), ("socks5h", &[])];
    let (scheme, more) = ways[turn % ways.len()];
    let ran = curl([&["--fail", "--proxy", &gateway.served.proxy(scheme)], more, &[url.as_str()]].concat());
    assert_eq!(ran.code, Some(0), "{host} {turn}: {ran:?}");
}

/// How often the first upstream was asked for a host.
fn asked_for(gateway: &Commanded, host: &str) -> usize {
    gateway.world.upstreams()[0].seen().iter().filter(|line| line.contains(host)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_at_one_site_is_passed_over_there_and_serves_the_others() {
    let gateway = one_is_refused("[sites]\ncooldown = \"10m\"\n").await;
    let mut turn = 0;
    wait_until("its third failure there", || {
        turn += 1;
        ask(&gateway, "www.shop.example", turn);
        asked_for(&gateway, "shop.example") == 3
    });
    wait_until("its use at another site", || {
        ask(&gateway, "other.example", 0);
        asked_for(&gateway, "other.example") > 3
    });
    (0..12).for_each(|turn| ask(&gateway, "www.shop.example", turn));
    assert_eq!(asked_for(&gateway, "shop.example"), 3);

    let url = format!("http://www.shop.example:{}/", gateway.world.origin().http_addr().port());
    let explained = gateway.command(&["explain", &url]);
    assert!(explained.stdout.contains("  3 eligible\n  1 of them passed over: they keep failing at this site\n"));
    let row = explained.stdout.lines().find(|line| line.contains(" passed over ")).unwrap_or_default();
    assert!(row.starts_with(&gateway.world.proxies()[0]) && row.contains(" 0 % of 3 "), "{}", explained.stdout);
    let good = explained.stdout.lines().filter(|line| line.contains(" eligible ") && line.contains("100 % of "));
    assert_eq!(good.count(), 2, "{}", explained.stdout);

    let listed = gateway.command(&["sites", "www.shop.example", "--passed-over", "--json"]);
    let rows: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["site"]), (1, &"shop.example".into()), "{rows}");
    assert_eq!(rows[0]["proxy"], gateway.world.proxies()[0]);
    let all = gateway.command(&["sites", "--proxy", &gateway.world.proxies()[0]]);
    let port = gateway.world.origin().http_addr().port();
    for site in ["other.example", "shop.example"] {
        assert!(all.stdout.contains(&format!("\n{site}:{port} ")), "{all:?}");
    }
    assert_eq!(rows[0]["port"], port, "{rows}");
    assert_eq!(gateway.command(&["sites", "nowhere.example"]).code, Some(1));
    let metrics = gateway.ask(&[], "/metrics").stdout;
    assert!(metrics.contains("\nproxywhirl_passed_over 1\n"), "{metrics}");

    // Not wanted any more: in force with the next request.
    std::fs::write(gateway.path("proxywhirl.toml"), "[sites]\npass_over = false\n").unwrap();
    let reloaded = gateway.command(&["reload"]);
    assert!(reloaded.code == Some(0), "{reloaded:?}");
    wait_until("the new configuration", || gateway.command(&["sites", "--passed-over"]).code == Some(1));
    wait_until("its use at the first site", || {
        ask(&gateway, "www.shop.example", 0);
        asked_for(&gateway, "shop.example") > 3
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_down_for_everybody_has_nobody_passed_over() {
    let gateway = one_is_refused("").await;
    let port = gateway.world.origin().http_addr().port();
    for turn in 0..12 {
        ask(&gateway, "other.example", turn);
        // Nobody listens there.
        let ran = curl(["--fail", "--proxy", &gateway.served.proxy("socks5h"), "http://down.example:1/"]);
        assert_ne!(ran.code, Some(0));
    }
    assert_eq!(gateway.command(&["sites", "--passed-over"]).code, Some(1));
    let explained = gateway.command(&["explain", &format!("http://other.example:{port}/")]).stdout;
    assert!(explained.contains("3 eligible\n") && !explained.contains("passed over"), "{explained}");
}

/// An HTTP proxy that answers by itself, and refuses one site as long as it is told to; how often it was asked for that.
async fn moody(site: &'static str) -> (String, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, refuses) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
    let asked = Arc::new(AtomicUsize::new(0));
    let (refusing, counted) = (Arc::clone(&refuses), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (refusing, counted) = (Arc::clone(&refusing), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let Ok(length) = client.read(&mut head).await else { return };
                let is_meant = String::from_utf8_lossy(&head[..length]).contains(site);
                counted.fetch_add(usize::from(is_meant), Ordering::SeqCst);
                let status = if is_meant && refusing.load(Ordering::SeqCst) { "502 Bad Gateway" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                drop(client.write_all(answer.as_bytes()).await);
            });
        }
    });
    (format!("http://{address}"), refuses, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_tries_it_again_and_it_comes_back_when_that_goes_well() {
    let (bad, refuses, asked) = moody("shop.example").await;
    let (good, ..) = moody("no such site").await;
    let folder = folder();
    let list = file(&folder, "list", format!("{bad}\n{good}\n"));
    let config = file(&folder, "proxywhirl.toml", format!("[sites]\ncooldown = \"{}s\"\n", PAUSE.as_secs()));
    let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
    let served_by =
        Served::start(["--config", &config, "--proxies", &list, "--control", &socket, "--strategy", "random"]);
    let proxy = served_by.proxy("http");
    let get = |host: &str| {
        let ran = curl(["--fail", "--proxy", &proxy, &format!("http://{host}/")]);
        assert_eq!(ran.code, Some(0), "{host}: {ran:?}");
    };
    let is_passed_over =
        || run(proxywhirl(["sites", "--passed-over"]).env("PROXYWHIRL_CONTROL", &socket)).code == Some(0);
    wait_until("its failures at the site", || {
        get("shop.example");
        is_passed_over()
    });
    let refused = asked.load(Ordering::SeqCst);
    assert_eq!(refused, 3);
    // One tries it, in vain, and is served by the other all the same.
    wait_until("a try", || {
        get("shop.example");
        asked.load(Ordering::SeqCst) > refused
    });
    let tried = Instant::now();
    (0..10).for_each(|_| get("shop.example"));
    if tried.elapsed() < PAUSE {
        assert_eq!(asked.load(Ordering::SeqCst), refused + 1, "more than one has tried it");
    }
    assert!(is_passed_over());
    refuses.store(false, Ordering::SeqCst);
    wait_until("its return", || {
        get("shop.example");
        !is_passed_over()
    });
    let before = asked.load(Ordering::SeqCst);
    wait_until("its use as before", || {
        get("shop.example");
        asked.load(Ordering::SeqCst) > before + 3
    });
}
