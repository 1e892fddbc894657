#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::parser::{Host, Parsed, parse};
use proxywhirl_plugin_sdk::{Anonymity, Scheme};

fn read(text: &str) -> Parsed {
    parse::<Json>(&Document::of(text.as_bytes()), "{}").unwrap()
}

/// Scheme, port and line of each candidate.
fn found(text: &str) -> Vec<(Option<Scheme>, u16, u32)> {
    read(text).candidates.iter().map(|one| (one.scheme, one.port, one.line)).collect()
}

fn told(parsed: &Parsed) -> Vec<(u32, &str)> {
    parsed.rejections.iter().map(|one| (one.line, one.reason.as_str())).collect()
}

const HTTP: Option<Scheme> = Some(Scheme::Http);
const SOCKS5: Option<Scheme> = Some(Scheme::Socks5);

#[test]
fn arrays_of_strings_are_entries_in_any_form() {
    assert_eq!(
        found("[\"1.2.3.4:80\",\n \"socks5://u:p@h.example:1\", [\"1.2.3.4:81:u:p\"]]"),
        [(None, 80, 1), (SOCKS5, 1, 2), (None, 81, 2)]
    );
}

#[test]
fn keys_that_are_schemes_give_the_scheme() {
    let text = "{\"metadata\": {\"counts\": {\"http\": 1}, \"sources\": [\"a\", \"b\"]},\n\"proxies\": {\n\
                \"http\": [\"1.2.3.4:80\"],\n\"socks5\": [\"1.2.3.4:81\", {\"ip\": \"1.2.3.4\", \"port\": 82}]}}";
    assert_eq!(found(text), [(HTTP, 80, 3), (SOCKS5, 81, 4), (SOCKS5, 82, 4)]);
    assert_eq!(read(text).rejected, 0);
}

#[test]
fn objects_say_it_under_many_names() {
    let text = r#"{"data": [{"_id": 7, "ip": "1.2.3.4", "port": "8080", "protocols": ["socks4", "socks5"],
        "anonymityLevel": "elite", "geo": {"ip": "9.9.9.9", "country": "de"}, "tags": ["a:1", "b"],
        "username": "me", "password": "a:b", "asn": {"name": "x"}, "https": "yes", "last": null}]}"#;
    let parsed = read(text);
    assert_eq!(parsed.rejected, 0, "{:?}", parsed.rejections);
    let schemes: Vec<_> = parsed.candidates.iter().filter_map(|one| one.scheme).collect();
    assert!(schemes.contains(&Scheme::Socks4) && schemes.contains(&Scheme::Socks5));
    assert_eq!(parsed.candidates.len(), 2);
    for one in &parsed.candidates {
        assert_eq!((&one.host, one.port), (&Host::Ipv4(0x0102_0304), 8080));
        assert_eq!((one.country.as_str(), one.anonymity), ("DE", Anonymity::Elite));
        assert_eq!(one.username.as_deref(), Some("me"));
        assert_eq!(one.password.as_deref(), Some("a:b"));
    }
}

#[test]
fn a_country_may_be_an_object_or_a_name_that_does_not_count() {
    let country = |value| {
        let text = format!(r#"[{{"ip":"1.2.3.4","port":80,"country":{value}}}]"#);
        read(&text).candidates[0].country.clone()
    };
    assert_eq!(country(r#"{"name":"Germany","code":"DE"}"#), "DE");
    assert_eq!(country(r#""Germany","country_code":"DE""#), "DE");
    assert_eq!(country("null"), "");
    assert_eq!(country(r#"["DE"]"#), "");
}

#[test]
fn an_object_may_hold_the_whole_entry_or_the_proxy_as_an_object() {
    assert_eq!(found(r#"[{"proxy":"1.2.3.4:80","score":1}]"#), [(None, 80, 1)]);
    assert_eq!(found(r#"{"proxy":"http:\/\/1.2.3.4:80","type":"socks5"}"#), [(HTTP, 80, 1)]);
    assert_eq!(found(r#"{"proxy":{"ip":"1.2.3.4","port":80}}"#), [(None, 80, 1)]);
}

#[test]
fn json_lines_are_read_line_by_line_and_a_broken_one_is_passed_over() {
    let parsed = read("{\"ip\":\"1.2.3.4\",\"port\":80}\n{\"ip\":oops}\n\n{\"ip\":\"1.2.3.4\",\"port\":83}\r\n");
    assert_eq!(parsed.candidates.iter().map(|one| (one.port, one.line)).collect::<Vec<_>>(), [(80, 1), (83, 4)]);
    assert_eq!(told(&parsed), [(2, "broken JSON at column 7: expected value")]);
}

#[test]
fn a_broken_tail_does_not_lose_what_came_before_it() {
    let parsed = read("[\"1.2.3.4:80\",\n\"1.2.3.4:81\",\n\"1.2.3");
    assert_eq!(parsed.candidates.len(), 2);
    assert_eq!(told(&parsed), [(3, "broken JSON at column 6: EOF while parsing a string")]);
    let parsed = read("[\"1.2.3.4:80\",]");
    assert_eq!((parsed.candidates.len(), parsed.rejected), (1, 1));
}

#[test]
fn bad_elements_are_told_with_their_line_and_the_rest_is_read() {
    let parsed = read(
        "[{\"ip\":\"1.2.3.4\",\"port\":70000},\n{\"ip\":\"1.2.3.4\",\"port\":-1},\n{\"ip\":\"1.2.3.4\"},\n\
         {\"name\":\"x\"},\n\"Array\",\n{\"ip\":\"1.2.3.4\",\"port\":80,\"type\":\"vmess\"},\n\"1.2.3.4:80\"]",
    );
    assert_eq!(
        told(&parsed),
        [
            (1, "port 70000 is not in 1..65535"),
            (2, "port is not a number"),
            (3, "no port"),
            (4, "no host"),
            (5, "no port"),
            (6, "not a scheme of a proxy: vmess"),
        ]
    );
    assert_eq!(parsed.candidates.len(), 1);
}

#[test]
fn depth_is_bounded() {
    let deep = format!("[\"1.2.3.4:80\",{}", "[".repeat(100_000));
    let parsed = read(&deep);
    assert_eq!((parsed.candidates.len(), parsed.rejected), (1, 1));
    assert!(told(&parsed)[0].1.contains("recursion"), "{:?}", parsed.rejections);
}

#[test]
fn each_element_of_an_array_is_a_candidate_or_a_rejection() {
    let parsed = read("[\"1.2.3.4:80\", \"x\", {}, {\"port\": 1}, {\"ip\": \"1.2.3.4\", \"port\": 2}]");
    assert_eq!((parsed.candidates.len(), parsed.rejected), (2, 3));
}

#[test]
fn a_password_is_never_in_a_rejection() {
    let parsed = read(r#"[{"ip":"1.2.3.4","port":0,"username":"me","password":"secret"}, "me:secret@h.example:0"]"#);
    assert_eq!(parsed.rejected, 2);
    assert!(!format!("{:?}", parsed.rejections).contains("secret"));
}

#[test]
fn json_is_told_from_other_formats() {
    let sniff = |text: &str| Json::sniff(&Document::of(text.as_bytes()));
    for text in ["{}", " [\n\"1.2.3.4:80\"", "[{\"ip\":", "{\n \"proxies\""] {
        assert!(sniff(text) >= 90, "{text}");
    }
    for text in ["", "[::1]:80\n", "[2001:db8::1]:80", "1.2.3.4:80", "ip,port", "<table>", "{{x}}"] {
        assert_eq!(sniff(text), 0, "{text}");
    }
    for text in ["", "1.2.3.4:80", "ip,port\n", "{oops", "<p>"] {
        assert!(parse::<Json>(&Document::of(text.as_bytes()), "{}").is_err(), "{text}");
    }
    assert_eq!(read("{\"total\": 0, \"proxies\": []}").rejected, 0);
}

#[test]
fn the_outbounds_of_sing_box_are_proxies_when_they_are_of_http_or_socks() {
    let text = r#"{"log": {"level": "info"}, "inbounds": [{"type": "mixed", "listen": "::", "listen_port": 2080}],
        "outbounds": [{"type": "selector", "tag": "select", "outbounds": ["a", "b"]}, {"type": "direct", "tag": "d"},
        {"type": "socks", "tag": "a", "server": "1.2.3.4", "server_port": 1080, "version": "4", "username": "u"},
        {"type": "http", "tag": "b", "server": "proxy.example", "server_port": 8080, "username": "u", "password": "p"},
        {"type": "vmess", "tag": "c", "server": "1.2.3.5", "server_port": 443, "uuid": "x"}]}"#;
    assert_eq!(found(text), [(Some(Scheme::Socks4), 1080, 3), (HTTP, 8080, 4)]);
    let parsed = read(text);
    assert_eq!(parsed.candidates[1].password.as_deref(), Some("p"));
    assert_eq!(told(&parsed), [(5, "not a scheme of a proxy: vmess")]);
}

#[test]
fn dates_and_names_under_other_keys_are_no_proxies() {
    let text = r#"[{"ip":"1.2.3.4","port":80,"seen":"2026-08-22T18:26:26Z","at":"18:26:26","mail":"a@b.example",
        "source":"https://lists.example/a:b.txt","v6":"::1"}]"#;
    assert_eq!(found(text), [(None, 80, 1)]);
    assert_eq!(
        found(r#"{"status":"ok","best":"1.2.3.4:81","other":"proxy.example:82"}"#),
        [(None, 81, 1), (None, 82, 1)]
    );
}

#[test]
fn ports_may_be_written_as_numbers_of_any_kind() {
    let port = |value| read(&format!(r#"[{{"ip":"1.2.3.4","port":{value}}}]"#)).candidates.first().map(|one| one.port);
    for value in ["8080", "\"8080\"", "8080.0", "\" 8080 \""] {
        assert_eq!(port(value), Some(8080), "{value}");
    }
    for value in ["8080.5", "8e3", "-1", "0", "null", "65536", "99999999999999999999", "[80]", "true"] {
        assert_eq!(port(value), None, "{value}");
    }
}

fn with_options(text: &str, options: &str) -> Result<Parsed, String> {
    parse::<Json>(&Document::of(text.as_bytes()), options)
}

#[test]
fn paths_say_where_the_list_and_its_fields_are() {
    let text = r#"{"ip": "9.9.9.9", "port": 9, "data": {"page": 1, "items": [
        {"node": {"addr": "1.2.3.4", "ports": [7, 80]}, "ip": "8.8.8.8", "kind": ["socks5", "http"], "cc": "de"},
        {"node": {"addr": "1.2.3.5", "ports": [7]}},
        "1.2.3.6:82"]}}"#;
    let options = r#"{"root":"data.items","host":"node.addr","port":"node.ports.1","scheme":"kind"}"#;
    let parsed = with_options(text, options).unwrap();
    let mut found: Vec<_> = parsed.candidates.iter().map(|one| (one.scheme, one.port, one.line)).collect();
    found.sort_by_key(|(scheme, ..)| scheme.map(|scheme| scheme as u8 + 1));
    assert_eq!(found, [(None, 82, 4), (HTTP, 80, 2), (SOCKS5, 80, 2)]);
    assert!(parsed.candidates[..2].iter().all(|one| one.country == "DE" && one.host == Host::Ipv4(0x0102_0304)));
    assert_eq!(told(&parsed), [(3, "no port")]);
}

#[test]
fn a_root_alone_leaves_the_names_to_be_found_and_one_that_leads_nowhere_is_an_error() {
    let text = r#"[{"a": 1}, {"b": [{"ip": "1.2.3.4", "port": 80}, "1.2.3.4:81"], "proxy": "1.2.3.4:82"}]"#;
    let ports = |options| {
        with_options(text, options).map(|parsed| parsed.candidates.iter().map(|one| one.port).collect::<Vec<_>>())
    };
    assert_eq!(ports(r#"{"root":"1.b"}"#), Ok(vec![80, 81]));
    assert_eq!(ports(r#"{"root":"1.c"}"#), Err("nothing where the option root points".to_owned()));
}

#[test]
fn paths_hold_for_each_of_json_lines() {
    let text = "{\"at\":{\"h\":\"1.2.3.4\"},\"port\":80}\n{\"at\":{\"h\":\"::1\"},\"port\":81}\n{\"at\":7}\n";
    let parsed = with_options(text, r#"{"host":"at.h"}"#).unwrap();
    assert_eq!(parsed.candidates.iter().map(|one| (one.port, one.line)).collect::<Vec<_>>(), [(80, 1), (81, 2)]);
    assert_eq!(told(&parsed), [(3, "no host")]);
}

#[test]
fn the_schema_has_each_option_and_no_other() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    for name in schema["properties"].as_object().unwrap().keys() {
        assert!(with_options("[]", &format!(r#"{{"{name}":""}}"#)).is_ok(), "{name}");
    }
    assert!(with_options("[]", r#"{"rooot":""}"#).is_err());
    assert_eq!(schema["properties"].as_object().unwrap().len(), 9);
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[0-9.:a-z@/]{0,20}".prop_map(Into::into),
    ];
    let key = prop::sample::select(vec![
        "ip",
        "port",
        "proxy",
        "protocols",
        "country",
        "geo",
        "http",
        "proxies",
        "data",
        "x",
    ]);
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(body in any::<Vec<u8>>()) {
        let document = Document::of(&body);
        let _ = Json::sniff(&document);
        drop(parse::<Json>(&document, "{}"));
    }

    #[test]
    fn any_json_is_read_whole_and_any_cut_of_it_is_no_panic(value in any_json(), cut in 0_usize..200) {
        let text = serde_json::json!([value]).to_string();
        let parsed = read(&text);
        prop_assert!(parsed.rejections.iter().all(|one| !one.reason.contains("broken JSON")));
        let cut = Document::of(&text.as_bytes()[..cut.min(text.len())]);
        drop(parse::<Json>(&cut, "{}"));
        drop(parse::<Json>(&cut, r#"{"root":"0.data","host":"ip.ip","port":"geo.port"}"#));
    }

    #[test]
    fn candidates_survive_being_written_and_read(
        rows in prop::collection::vec((any::<u32>(), 1_u16.., "\\PC{1,12}"), 0..40),
        pretty in any::<bool>(),
    ) {
        let strings: Vec<_> = rows.iter().map(|(bits, port, _)| format!("{}:{port}", std::net::Ipv4Addr::from(*bits))).collect();
        let again = read(&serde_json::json!(strings).to_string()).candidates;
        prop_assert_eq!(again.iter().map(|one| one.port).collect::<Vec<_>>(), rows.iter().map(|row| row.1).collect::<Vec<_>>());
        let objects: Vec<_> = rows
            .iter()
            .map(|(bits, port, password)| {
                let ip = std::net::Ipv4Addr::from(*bits).to_string();
                serde_json::json!({"ip": ip, "port": port, "user": "me", "pass": password})
            })
            .collect();
        let value = serde_json::json!({ "proxies": objects });
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        let found = read(&text).candidates;
        prop_assert_eq!(found.len(), rows.len());
        for (found, (bits, port, password)) in found.iter().zip(rows) {
            prop_assert_eq!((&found.host, found.port), (&Host::Ipv4(bits), port));
            let expected = Some(password).filter(|password| !password.trim_ascii().is_empty());
            prop_assert_eq!(&found.password, &expected);
        }
    }
}
