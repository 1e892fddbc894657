//! What users may use, over all gateways of a pool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxywhirl_tests::{RedisServer, curl, proxywhirl, run_with_input, wait_until};

use super::work::Several;
use crate::limits::at_once;

/// The gateways' proxies, as a user of theirs who logs in, with these limits.
async fn as_anna(server: &RedisServer, limits: &str) -> (Several, Vec<String>) {
    let ran = run_with_input(&mut proxywhirl(["user", "hash"]), "hunter2\n");
    let config = format!("[[users]]\nname = \"anna\"\npassword_hash = \"{}\"\n{limits}\n", ran.stdout.trim());
    let several = Several::start(server, 3, 2, &config).await;
    let proxies = several.gateways.iter().map(|gateway| format!("http://anna:hunter2@{}", gateway.address)).collect();
    (several, proxies)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_a_user_is_the_same_over_three_gateways() {
    let server = RedisServer::start([""; 0]);
    let (several, proxies) = as_anna(&server, "rate = 10\nburst = 2").await;
    let url = several.world.origin().http_url("/ip");
    // Passwords are checked once.
    for proxy in &proxies {
        wait_until("it is let in", || at_once(1, &url, proxy) == ["200"]);
    }
    let (began, served, span) = (Instant::now(), AtomicU64::new(0), Duration::from_secs(6));
    thread::scope(|scope| {
        for proxy in &proxies {
            scope.spawn(|| {
                while began.elapsed() < span {
                    let statuses = at_once(2, &url, proxy);
                    assert!(statuses.iter().all(|status| status == "200" || status == "429"), "{statuses:?}");
                    let count = statuses.iter().filter(|status| *status == "200").count();
                    served.fetch_add(count as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let (served, due) = (served.into_inner() as f64, began.elapsed().as_secs_f64() * 10.0);
    assert!(served >= due * 0.9 && served <= due * 1.1 + 2.0, "{served} of {due}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_a_user_are_the_same_over_three_gateways() {
    const QUOTA: f64 = 500_000.0;
    let mut server = RedisServer::start([""; 0]);
    let (several, proxies) = as_anna(&server, "quota = \"500kB\"\nquota_period = \"1h\"").await;
    let url = several.world.origin().http_url("/bytes/5000");
    let asked = |proxy: &str| -> (u16, u64) {
        let written = "%{http_code} %{size_download} %{size_header} %{size_request}";
        let ran = curl(["--output", "/dev/null", "--write-out", written, "--proxy", proxy, &url]);
        let numbers: Vec<u64> = ran.stdout.split(' ').map(|number| number.parse().unwrap()).collect();
        (u16::try_from(numbers[0]).unwrap(), numbers[1..].iter().sum())
    };
    // All at once, until each of them has no more.
    let used = AtomicU64::new(0);
    thread::scope(|scope| {
        for proxy in &proxies {
            let (used, asked) = (&used, &asked);
            scope.spawn(move || {
                loop {
                    let (status, bytes) = asked(proxy);
                    used.fetch_add(bytes, Ordering::Relaxed);
                    match status {
                        200 => {}
                        429 => break,
                        _ => panic!("{status}"),
                    }
                }
            });
        }
    });
    let used = used.into_inner() as f64;
    assert!((QUOTA * 0.9..QUOTA * 1.1).contains(&used), "{used}");
    // One that comes later knows of it, as soon as it has asked.
    let (_later, proxies_later) = as_anna(&server, "quota = \"500kB\"\nquota_period = \"1h\"").await;
    wait_until("it has asked", || asked(&proxies_later[0]).0 == 429);
    server.kill();
    wait_until("it is told", || {
        let trouble = several.status(0)["sharing"]["limits_trouble"]["error"].clone();
        asked(&proxies[0]);
        trouble.as_str().is_some_and(|told| told.contains("cannot be reached"))
    });
    assert_eq!(asked(&proxies[0]).0, 429, "what was used is used");
}
