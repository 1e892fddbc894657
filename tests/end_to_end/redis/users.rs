//! What users may use, over all gateways of a pool.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
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

/// A tunnel of Anna's through a gateway, to an origin; what the gateway said instead.
fn tunnel(gateway: &str, origin: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // anna:hunter2
    let login = "Proxy-Authorization: Basic YW5uYTpodW50ZXIy";
    write!(stream, "CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n{login}\r\n\r\n").unwrap();
    let mut answer = [0; 1_024];
    let read = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    if answer.starts_with("HTTP/1.1 200") { Ok(stream) } else { Err(answer.lines().next().unwrap().to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tunnels_of_a_user_are_no_more_over_three_gateways_than_at_one() {
    const MOST: usize = 6;
    let mut server = RedisServer::start([""; 0]);
    let (mut several, _) = as_anna(&server, &format!("concurrency = {MOST}")).await;
    let origin = several.world.origin().http_addr().to_string();
    let addresses: Vec<String> = several.gateways.iter().map(|gateway| gateway.address.clone()).collect();
    let open = |number: usize| tunnel(&addresses[number], &origin);
    let is_full =
        |numbers: &[usize]| numbers.iter().all(|number| open(*number).is_err_and(|answer| answer.contains("429")));

    // One after the other, and the last place is found wherever it is.
    let mut tunnels: Vec<Vec<TcpStream>> = (0..3).map(|_| Vec::new()).collect();
    for number in 0..MOST {
        tunnels[number % 3].push(open(number % 3).unwrap());
    }
    assert!(is_full(&[0, 1, 2]));
    assert_eq!(server.ask(&["HLEN", "{proxywhirl:default}:places:anna"]), ":3\r\n+OK\r\n");
    // What one of them gives back the others have.
    drop(tunnels[0].pop());
    wait_until("a place is free at another one", || open(2).map(|stream| tunnels[2].push(stream)).is_ok());
    assert!(is_full(&[0, 1, 2]));

    // All at once, from nothing.
    tunnels.iter_mut().for_each(Vec::clear);
    let nobody = || server.ask(&["EXISTS", "{proxywhirl:default}:places:anna"]) == ":0\r\n+OK\r\n";
    wait_until("all have ended", nobody);
    let at_once: Vec<(usize, Result<TcpStream, String>)> = thread::scope(|scope| {
        let clients = (0..30).map(|number| scope.spawn(move || (number % 3, open(number % 3))));
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for (number, stream) in at_once {
        tunnels[number].extend(stream);
    }
    assert_eq!(tunnels.iter().map(Vec::len).sum::<usize>(), MOST);

    // Of one that dies the places come back, when it has not told of them for its time.
    let dead = tunnels.iter().position(|tunnels| !tunnels.is_empty()).unwrap();
    let others: Vec<usize> = (0..3).filter(|number| *number != dead).collect();
    several.gateways.remove(dead).kill();
    let (killed, mut free) = (Instant::now(), tunnels[dead].len());
    assert!(is_full(&others), "they are not free yet");
    while free > 0 {
        assert!(killed.elapsed() < Duration::from_secs(15), "{free} are missing");
        if let Ok(stream) = open(others[free % 2]) {
            tunnels[others[0]].push(stream);
            free -= 1;
        } else {
            thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(killed.elapsed() > Duration::from_secs(5), "{:?}", killed.elapsed());
    assert!(is_full(&others));

    // Without the server each has as many of its own, and says so.
    server.kill();
    wait_until("trouble", || {
        let trouble = several.status(others[0])["sharing"]["limits_trouble"]["error"].clone();
        trouble.as_str().is_some_and(|told| told.contains("cannot be reached"))
    });
    tunnels.clear();
    for number in &others {
        wait_until("it has its own", || {
            let own: Vec<TcpStream> = (0..MOST).map_while(|_| open(*number).ok()).collect();
            let has_all = own.len() == MOST && is_full(&[*number]);
            drop(own);
            has_all
        });
    }
}
