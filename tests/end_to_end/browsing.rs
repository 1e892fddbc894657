//! A browser that goes through the gateway.

use std::fmt::Write as _;
use std::process::Command;

use proxywhirl_tests::{Served, file, folder, run};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};

/// Resources of the page.
const RESOURCES: usize = 100;

/// The browser, by whichever name this system has it. `tests/run` installs one.
fn chromium() -> Command {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&directories).flat_map(|path| names.map(|name| path.join(name)));
    Command::new(there.into_iter().find(|path| path.is_file()).expect("there is a Chromium"))
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_loads_a_page_with_a_hundred_resources_over_https() {
    let upstreams = [Protocol::Http, Protocol::Socks5h, Protocol::Http, Protocol::Socks5h];
    let world = World::start(WorldPlan::new(upstreams.map(UpstreamOptions::new).into())).await.unwrap();
    let folder = folder();
    let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
    let origin = world.origin();
    let mut page = "<!DOCTYPE html><title>resources</title><script>let loaded = 0</script>\n".to_owned();
    for number in 0..RESOURCES {
        origin.publish(&format!("{number}.js"), "text/javascript", "loaded += 1\n");
        writeln!(page, "<script src=\"/lists/{number}.js\"></script>").unwrap();
    }
    page.push_str("<p>loaded <script>document.write(loaded)</script> of them</p>\n");
    origin.publish("page", "text/html", page);

    let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
    let proxy = format!("--proxy-server={}", served.proxy("http"));
    let url = origin.https_url("/lists/page").unwrap();
    let ran = run(chromium().args([
        "--headless",
        // Its own sandbox does not start as root, and the page is ours.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--ignore-certificate-errors",
        "--proxy-bypass-list=<-loopback>",
        &proxy,
        &profile,
        "--dump-dom",
        &url,
    ]));
    assert!(ran.stdout.contains(&format!("</script>{RESOURCES} of them")), "{}\n{}", ran.stdout, ran.stderr);
    let requests: u64 = (0..RESOURCES).map(|number| origin.requests_for(&format!("/lists/{number}.js"))).sum();
    assert_eq!(requests, RESOURCES as u64);
    assert!(world.upstreams().iter().all(|upstream| upstream.counters().requests() > 0), "not all were used");
}
