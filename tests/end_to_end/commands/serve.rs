//! `proxywhirl serve`: how it starts and ends. How it rotates and fails over has modules of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use proxywhirl_tests::{Served, curl, curl_command, file, folder, proxywhirl, run, wait_until};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};

async fn healthy(count: usize) -> World {
    let upstreams = (0..count).map(|_| UpstreamOptions::new(Protocol::Http)).collect();
    World::start(WorldPlan::new(upstreams)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_it_is_told_and_lets_a_download_finish() {
    let world = healthy(1).await;
    let served = Served::start(["--proxies", &world.proxies()[0]]);
    let proxy = served.proxy("http");
    // Two seconds of a byte now and then.
    let url = world.origin().http_url("/drip/40/50");
    let download = std::thread::spawn(move || run(&mut curl_command(["--fail", "--proxy", &proxy, &url])));
    wait_until("the download begins", || world.origin().requests_for("/drip/40/50") == 1);
    let address = served.address.clone();
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    let ran = download.join().unwrap();
    assert_eq!((ran.code, ran.stdout.len()), (Some(0), 40), "{}\n{log}", ran.stderr);
    assert!(TcpStream::connect(&address).is_err(), "it still listens");
    assert!(log.contains("stopping") && log.contains("stopped listening"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_keeps_its_connection_open_does_not_keep_it_from_stopping() {
    let world = healthy(1).await;
    let served = Served::start(["--proxies", &world.proxies()[0]]);
    let mut idle = TcpStream::connect(&served.address).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let url = world.origin().http_url("/");
    write!(idle, "GET {url} HTTP/1.1\r\nHost: {}\r\n\r\n", world.origin().http_addr()).unwrap();
    let mut answer = [0; 64];
    assert!(idle.read(&mut answer).unwrap() > 0);
    assert_eq!(served.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_its_log_that_stalls_stops_nobody() {
    let world = healthy(1).await;
    let (reader, mut filler) = std::io::pipe().unwrap();
    let stderr = filler.try_clone().unwrap();
    // As much as the pipe takes: whoever writes into it then waits until somebody reads.
    std::thread::spawn(move || drop(filler.write_all(&vec![b'\n'; 1 << 20])));
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--log", "trace", "--proxies", &world.proxies()[0]];
    let served = Served::unheard(proxywhirl(arguments).stderr(stderr));
    for _ in 0..5 {
        let ran = curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/ip")]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "127.0.0.1\n"), "{}", ran.stderr);
    }
    assert_eq!(served.stop().0, Some(0));
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_it_says_is_json_where_the_log_is() {
    let world = healthy(1).await;
    let folder = folder();
    let list = file(&folder, "list", format!("{}\nno proxy\n", world.proxies()[0]));
    let served = Served::start(["--log-format", "json", "--proxies", &list]);
    served.wait_for_log("HTTP, CONNECT");
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    let events: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let levels = |message: &str| -> Vec<&str> {
        let said =
            |event: &&serde_json::Value| event["fields"]["message"].as_str().is_some_and(|said| said.contains(message));
        events.iter().filter(said).map(|event| event["level"].as_str().unwrap()).collect()
    };
    assert_eq!((levels("1 × "), levels("stopped listening")), (vec!["INFO"], vec!["INFO"]), "{log}");

    let failed = run(&mut proxywhirl(["serve", "--log-format", "json", "--listen", "127.0.0.1:0"]));
    let event: serde_json::Value = serde_json::from_str(&failed.stderr).expect(&failed.stderr);
    assert_eq!((failed.code, &event["level"]), (Some(2), &serde_json::json!("ERROR")), "{}", failed.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_speaks_http_and_socks() {
    let world = healthy(2).await;
    let folder = folder();
    let ca = file(&folder, "ca.pem", world.ca().ca_pem());
    let served = Served::start(["--proxies", &file(&folder, "list", world.proxies().join("\n"))]);
    let (http, https) = (world.origin().http_url("/ip"), world.origin().https_url("/ip").unwrap());
    for scheme in ["http", "socks4", "socks4a", "socks5", "socks5h"] {
        for url in [&http, &https] {
            let ran = curl(["--fail", "--cacert", &ca, "--proxy", &served.proxy(scheme), url]);
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "127.0.0.1\n"), "{scheme} {url}: {}", ran.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_as_its_configuration_says() {
    let world = healthy(3).await;
    let folder = folder();
    file(&folder, "own.txt", world.proxies()[..2].join("\n"));
    let config = format!(
        "[gateway]\nattempts = 2\n\n[strategy]\nname = \"random\"\n\n[store]\npath = \"pool.db\"\n\n\
         [[hooks]]\nname = \"log-events\"\n[hooks.options]\ntopics = [\"request-complete\"]\n\n\
         [check]\nlevel = \"http\"\njudge = \"{}\"\n\n[pool]\nallow_private = true\n\n\
         [[sources]]\nname = \"own\"\nlocation = \"own.txt\"\ntrust = true\ntags = [\"paid\"]\n\n\
         [[sources]]\nname = \"found\"\nlocation = \"{}\"\n",
        "JUDGE",
        world.complete_list()
    );
    let judge = Served::judge();
    let config = file(&folder, "proxywhirl.toml", config.replace("JUDGE", &format!("http://{}/", judge.address)));
    let served = Served::start(["--config", &config]);
    served.wait_for_log("sources fetched and checked");
    let url = world.origin().http_url("/");
    assert_eq!(curl(["--fail", "--proxy", &served.proxy("http"), &url]).code, Some(0), "{}", served.log());
    served.wait_for_log("request-complete");
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    let listed = super::run_in(&folder, &["pool", "list", "--db", "pool.db", "--json"]);
    let rows = super::json(&listed);
    let tags = |place: usize| {
        let url = &world.proxies()[place];
        let row = rows.as_array().unwrap().iter().find(|row| row["url"] == url.as_str()).unwrap();
        row["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tags(0), ["paid", "source:fetched", "source:found", "source:own", "source:user"]);
    assert_eq!(tags(2), ["source:fetched", "source:found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_list_that_hangs_is_waited_for_while_the_gateway_serves_with_the_others() {
    let world = healthy(1).await;
    let folder = folder();
    file(&folder, "own.txt", world.proxies().join("\n"));
    // The system lets everybody in, and nobody answers.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "[[sources]]\nname = \"hanging\"\nlocation = \"http://{}/list\"\ntrust = true\n\
         [[sources]]\nname = \"own\"\nlocation = \"own.txt\"\ntrust = true\n",
        hanging.local_addr().unwrap()
    );
    let began = std::time::Instant::now();
    let served = Served::start(["--config", &file(&folder, "proxywhirl.toml", text)]);
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}\n{}", began.elapsed(), served.log());
    let ran = curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/ip")]);
    assert_eq!(ran.code, Some(0), "{}\n{}", ran.stderr, served.log());
    served.wait_for_log("1 proxy, more are being read");
    assert!(!served.log().contains("trusted sources fetched"), "{}", served.log());
    drop(hanging);
    served.wait_for_log("trusted sources fetched");
    assert!(served.log().contains("source not read"), "{}", served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_trusted_is_proven_first() {
    let of = |behaviour| UpstreamOptions::new(Protocol::Http).behaviour(behaviour);
    let world =
        World::start(WorldPlan::new(vec![of(Behaviour::Healthy), of(Behaviour::AlwaysOk), of(Behaviour::Dead)]));
    let world = world.await.unwrap();
    let folder = folder();
    let judge = Served::judge();
    let text = format!(
        "[pool]\nallow_private = true\n[check]\njudge = \"http://{}/\"\n[store]\npath = \"pool.db\"\n\
         [[sources]]\nname = \"found\"\nlocation = \"{}\"\n",
        judge.address,
        world.complete_list()
    );
    let served = Served::start(["--config", &file(&folder, "proxywhirl.toml", text)]);
    served.wait_for_log("sources fetched and checked");
    for _ in 0..6 {
        let ran = curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/ip")]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "127.0.0.1\n"), "{}", served.log());
    }
    assert_eq!(served.stop().0, Some(0));
    let rows = super::json(&super::run_in(&folder, &["pool", "list", "--db", "pool.db", "--json"]));
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
}
