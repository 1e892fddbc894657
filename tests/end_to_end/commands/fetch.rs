//! `proxywhirl fetch`.

use std::collections::BTreeSet;

use proxywhirl_tests::{file, folder, proxywhirl, run, run_with_input};
use proxywhirl_world::{Behaviour, Protocol, UpstreamOptions, World, WorldPlan};

use super::{json, run_in, transcript};

const LIST: &str = "\
# a list as people write them
http://192.0.2.1:8080
socks5://user:p%40ss,word@192.0.2.2:1080
192.0.2.3:3128
http://192.0.2.1:8080
http://192.0.2.4:70000
http://192.0.2.4:0
what is this
[2001:db8::1]:8080
";

#[test]
fn a_list_is_printed_in_four_formats() {
    let folder = folder();
    file(&folder, "list.txt", LIST);
    let print = |format: &str| {
        let ran = run_in(&folder, &["fetch", "list.txt", "--format", format]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stdout
    };
    insta::assert_snapshot!(print("text"), @"
    http://192.0.2.1:8080
    socks5://user:p%40ss%2Cword@192.0.2.2:1080
    http://192.0.2.3:3128
    http://[2001:db8::1]:8080
    ");
    insta::assert_snapshot!(print("csv"), @r#"
    scheme,host,port,username,password,country,anonymity,tags,alive,level,latency_ms,exit,fault
    http,192.0.2.1,8080,,,,unknown,source:list.txt source:user,,,,,
    socks5,192.0.2.2,1080,user,"p@ss,word",,unknown,source:list.txt source:user,,,,,
    http,192.0.2.3,3128,,,,unknown,source:list.txt source:user,,,,,
    http,[2001:db8::1],8080,,,,unknown,source:list.txt source:user,,,,,
    "#);
    insta::assert_snapshot!(print("jsonl"), @r#"
    {"url":"http://192.0.2.1:8080","scheme":"http","host":"192.0.2.1","port":8080,"username":null,"password":null,"country":null,"anonymity":"unknown","tags":["source:list.txt","source:user"]}
    {"url":"socks5://user:p%40ss%2Cword@192.0.2.2:1080","scheme":"socks5","host":"192.0.2.2","port":1080,"username":"user","password":"p@ss,word","country":null,"anonymity":"unknown","tags":["source:list.txt","source:user"]}
    {"url":"http://192.0.2.3:3128","scheme":"http","host":"192.0.2.3","port":3128,"username":null,"password":null,"country":null,"anonymity":"unknown","tags":["source:list.txt","source:user"]}
    {"url":"http://[2001:db8::1]:8080","scheme":"http","host":"[2001:db8::1]","port":8080,"username":null,"password":null,"country":null,"anonymity":"unknown","tags":["source:list.txt","source:user"]}
    "#);
    let array: serde_json::Value = serde_json::from_str(&print("json")).unwrap();
    let lines = print("jsonl");
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(array.as_array().unwrap(), &lines);
}

#[test]
fn what_is_rejected_is_told_with_its_line() {
    let folder = folder();
    file(&folder, "list.txt", LIST);
    insta::assert_snapshot!(transcript(&run_in(&folder, &["fetch", "list.txt"])), @r#"
    http://192.0.2.1:8080
    socks5://user:p%40ss%2Cword@192.0.2.2:1080
    http://192.0.2.3:3128
    http://[2001:db8::1]:8080
    list.txt (text): 8 entries, 5 well formed, 3 rejected (4 new)
      2 × port N is not in 1..65535
      1 × white space inside
      line 6: port 70000 is not in 1..65535 ("http://192.0.2.4:70000")
      line 7: port 0 is not in 1..65535 ("http://192.0.2.4:0")
      line 8: white space inside ("what is this")
    4 different proxies, 1 duplicate, 3 rejected
    exit code 0
    "#);
}

#[test]
fn a_list_comes_from_a_file_or_standard_input_and_goes_to_a_file() {
    let folder = folder();
    let list = file(&folder, "list.txt", LIST);
    let from_file = run(&mut proxywhirl(["fetch", &list]));
    let from_input = run_with_input(&mut proxywhirl(["fetch", "-"]), LIST);
    assert_eq!((from_input.code, &from_input.stdout), (Some(0), &from_file.stdout));
    let out = folder.path().join("out.txt");
    let ran = run(&mut proxywhirl(["fetch", &list, "-o", out.to_str().unwrap()]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
    assert_eq!(std::fs::read_to_string(out).unwrap(), from_file.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_four_kinds_are_fetched_and_joined() {
    let world = World::start(WorldPlan::mixed(12, 3)).await.unwrap();
    let ran = run(proxywhirl(["fetch", "--format", "json"]).args(world.lists()));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let rows = json(&ran);
    let found: BTreeSet<&str> = rows.as_array().unwrap().iter().map(|row| row["url"].as_str().unwrap()).collect();
    let proxies = world.proxies();
    assert_eq!(found, proxies.iter().map(String::as_str).collect());
    for parser in ["(text)", "(json)", "(csv)", "(html-table)"] {
        assert!(ran.stderr.contains(parser), "{}", ran.stderr);
    }
    // The text list names two that are no proxies, the CSV list one.
    assert!(ran.stderr.contains("3 rejected"), "{}", ran.stderr);
    assert!(ran.stderr.contains("white space inside (\"not a proxy at all\")"), "{}", ran.stderr);
    let clean = run(&mut proxywhirl(["fetch", &world.complete_list()]));
    assert_eq!(clean.stdout.lines().collect::<Vec<_>>(), proxies);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_read_in_its_own_charset() {
    let world = World::start(WorldPlan::default()).await.unwrap();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let line = "http://jürgen:x@192.0.2.1:8080\n";
    let latin1: Vec<u8> = line.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let origin = world.origin();
    origin.publish("declared", "text/plain; charset=utf-16le", utf16(line));
    origin.publish("marked", "text/plain", [vec![0xff, 0xfe], utf16(line)].concat());
    origin.publish("latin", "text/plain; charset=iso-8859-1", latin1);
    for name in ["declared", "marked", "latin"] {
        let ran = run(&mut proxywhirl(["fetch", &origin.http_url(&format!("/lists/{name}"))]));
        assert_eq!(ran.stdout, "http://j%C3%BCrgen:x@192.0.2.1:8080\n", "{name}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_cap_is_an_error_that_names_the_cap() {
    let world = World::start(WorldPlan::default()).await.unwrap();
    // Told beforehand, or found out on the way.
    for path in ["/bytes/67108865", "/chunked/67108865"] {
        let ran = run(&mut proxywhirl(["fetch", &world.origin().http_url(path)]));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{path}: {}", ran.stderr);
        assert!(ran.stderr.contains("67108864 bytes") || ran.stderr.contains("64 MiB"), "{path}: {}", ran.stderr);
        assert!(ran.stderr.contains(path), "{}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_fails_costs_itself() {
    let world = World::start(WorldPlan::healthy(2)).await.unwrap();
    let gone = world.origin().http_url("/status/404");
    let alone = run(&mut proxywhirl(["fetch", &gone]));
    assert_eq!(alone.code, Some(3));
    assert!(alone.stderr.contains("404") && alone.stderr.contains(&gone), "{}", alone.stderr);
    let both = run(&mut proxywhirl(["fetch", &gone, &world.complete_list()]));
    assert_eq!((both.code, both.stdout.lines().count()), (Some(0), 2));
    assert!(both.stderr.contains("error:") && both.stderr.contains("404"), "{}", both.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_passes_the_check_is_printed() {
    let of = |behaviour| UpstreamOptions::new(Protocol::Http).behaviour(behaviour);
    let world = World::start(WorldPlan::new(vec![
        of(Behaviour::Healthy),
        of(Behaviour::Dead),
        of(Behaviour::CloseAfterHead),
        UpstreamOptions::new(Protocol::Socks5).credentials("user", "secret"),
    ]))
    .await
    .unwrap();
    let proxies = world.proxies();
    let alive = |level: &str| -> BTreeSet<String> {
        // Without a check, there is nothing to limit.
        let limit: &[&str] = if level == "none" { &[] } else { &["--timeout", "2s"] };
        let list = world.complete_list();
        let ran = run(&mut proxywhirl([&["fetch", "--check", level, &list][..], limit].concat()));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stdout.lines().map(str::to_owned).collect()
    };
    let expected = |places: &[usize]| places.iter().map(|place| proxies[*place].clone()).collect::<BTreeSet<_>>();
    assert_eq!(alive("none"), expected(&[0, 1, 2, 3]));
    assert_eq!(alive("format"), expected(&[0, 1, 2, 3]));
    assert_eq!(alive("tcp"), expected(&[0, 2, 3]));
    assert_eq!(alive("http"), expected(&[0, 3]));
}

#[test]
fn a_list_with_much_that_is_wrong_loses_nothing_in_any_format() {
    let folder = folder();
    let good = (1..=200).map(|n| (format!("198.51.100.{n}"), 1_000 + n));
    let (mut text, mut csv, mut array) = (String::new(), "ip,port,protocol\n".to_owned(), Vec::new());
    let mut html = "<table><tr><th>IP Address</th><th>Port</th></tr>".to_owned();
    for (ip, port) in good {
        text += &format!("{ip}:{port}\n");
        csv += &format!("{ip},{port},http\n");
        array.push(serde_json::json!({ "ip": ip, "port": port.to_string() }));
        html += &format!("<tr><td>{ip}</td><td>{port}</td></tr>");
    }
    for n in 0..50 {
        text += &format!("198.51.100.{n}:99999\n");
        csv += "198.51.100.1,,http\n";
        array.push(serde_json::json!({ "ip": "198.51.100.1" }));
        html += "<tr><td>198.51.100.1</td><td>none</td></tr>";
    }
    let json = serde_json::Value::Array(array).to_string();
    for (name, content) in [("text", text), ("csv", csv), ("json", json), ("html", html + "</table>")] {
        file(&folder, name, content);
        let ran = run_in(&folder, &["fetch", name]);
        assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 200), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains("50 rejected"), "{name}: {}", ran.stderr);
    }
}
