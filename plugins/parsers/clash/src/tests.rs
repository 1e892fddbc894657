#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::parser::{Host as Found, Parsed, parse};

const CONFIG: &str = "\
# a configuration
port: 7890
external-controller: 127.0.0.1:9090
proxies:
  - {name: [HK] 01 @free, type: http, server: 192.0.2.1, port: 8080, username: me, password: 'se, \"cret'}
  - { name: \"two, of them\", type: socks5, server: gate.example,
      port: 1080, udp: true, ws-opts: {path: \"/}\", headers: {Host: a}}, username: \"m\\u0065\", password: x#y }
  # - {name: out, type: http, server: 192.0.2.99, port: 80}

  - name: three
    type: http
    server: '2001:db8::1'   # an address
    port: \"443\"
    tls: true
    plugin-opts:
      server: 192.0.2.98
      port: 1
  -
    type: socks5
    server: 192.0.2.4
    port: 0
    username: me
    password: secret
  - {name: five, type: vmess, server: 192.0.2.5, port: 443, uuid: secret, cipher: auto}
  - name: six
    server: 192.0.2.6
    port: 80
proxy-groups:
  - name: auto
    type: url-test
    proxies:
      - three
    url: http://www.example.com/
rules:
  - MATCH,auto
";

fn read(text: &str) -> Parsed {
    parse::<Clash>(&Document::of(text.as_bytes()), "{}").unwrap()
}

fn sniff(text: &str) -> u8 {
    Clash::sniff(&Document::of(text.as_bytes()))
}

#[test]
fn mappings_in_braces_and_in_lines_are_read() {
    let parsed = read(CONFIG);
    let found: Vec<_> = parsed
        .candidates
        .iter()
        .map(|one| (one.line, one.scheme.unwrap(), one.port, one.username.as_deref(), one.password.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (5, Scheme::Http, 8080, Some("me"), Some("se, \"cret")),
            (6, Scheme::Socks5, 1080, Some("me"), Some("x#y")),
            (10, Scheme::Https, 443, None, None),
        ]
    );
    assert_eq!(parsed.candidates[1].host, Found::Text("gate.example".to_owned()));
}

#[test]
fn an_entry_that_is_no_proxy_says_why_and_never_its_password() {
    let parsed = read(CONFIG);
    let told: Vec<_> = parsed.rejections.iter().map(|one| (one.line, one.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (18, "port 0 is not in 1..65535"),
            (24, "type vmess is neither http nor socks5"),
            (25, "no type"),
            (32, "no type"),
        ]
    );
    assert_eq!(parsed.rejections[1].excerpt, "192.0.2.5:443");
    assert!(!format!("{:?}", parsed.rejections).contains("secret"));
}

#[test]
fn a_mapping_without_an_end_costs_no_other() {
    let parsed =
        read("proxies:\n- {type: http, server: 192.0.2.1, port: 80\n- {type: http, server: 192.0.2.2, port: 80}\n");
    assert_eq!((parsed.candidates.len(), parsed.rejected), (1, 1));
    let parsed = read(
        "proxies:\n- {type: socks5, tls: true, server: 192.0.2.1, port: 80}\n- {type: http, server: *a, port: 80}\n",
    );
    assert_eq!(parsed.rejections[0].reason, "SOCKS inside TLS");
    assert_eq!(parsed.rejections[1].reason, "no host");
}

#[test]
fn the_list_tells_the_format() {
    assert!(sniff(CONFIG) > 95);
    assert!(sniff("proxies:\r\n- name: a\r\n  type: http\r\n  server: 192.0.2.1\r\n  port: 80\r\n") > 95);
    assert!((1..50).contains(&sniff("proxies: []\n")));
    for other in ["", "192.0.2.1:80\n", "{\"proxies\": []}", "proxies: 192.0.2.1:80\n", "name: a\n", "[ProxyList]\n"] {
        assert_eq!(sniff(other), 0, "{other}");
    }
    assert_eq!(read("proxies: []\n").candidates.len(), 0);
    assert!(parse::<Clash>(&Document::of(b"port: 7890\n"), "{}").is_err());
}

#[test]
fn neither_depth_nor_aliases_cost_more_than_their_length() {
    let deep = format!("proxies:\n- {{a: {}\n", "{a: [".repeat(100_000));
    assert_eq!(read(&deep).rejected, 1);
    let bomb = format!("a: &a [x]\nb: &b [{}]\nproxies:\n- {{<<: *b}}\n", "*a,".repeat(10_000));
    assert_eq!((read(&bomb).candidates.len(), read(&bomb).rejected), (0, 1));
    let open = format!("proxies:\n{}", "- {\n".repeat(50_000));
    assert_eq!(read(&open).rejected, 50_000);
}

proptest! {
    #[test]
    fn lists_of_any_kind_never_panic(text in "([ -~é\n]{0,10}|[{}\\[\\]:,'\"#&*-]|\n|\n  - |type: http|server: a|proxies:\n){0,30}") {
        let text = format!("proxies:\n{text}");
        let document = Document::of(text.as_bytes());
        drop((Clash::sniff(&document), parse::<Clash>(&document, "{}")));
    }

    #[test]
    fn candidates_survive_being_written_and_read(
        rows in prop::collection::vec((any::<u32>(), 1_u16.., "\\PC{1,12}", any::<bool>()), 0..30),
    ) {
        let mut text = "proxies:\n".to_owned();
        for (bits, port, password, in_braces) in &rows {
            let server = std::net::Ipv4Addr::from(*bits);
            let quoted = format!("'{}'", password.replace('\'', "''"));
            text += &if *in_braces {
                format!("  - {{name: x, type: http, server: {server}, port: {port}, username: me, password: {quoted}}}\n")
            } else {
                format!("  - password: {quoted}\n    username: me\n    server: {server}\n    port: {port}\n    type: http\n")
            };
        }
        let found = read(&text).candidates;
        prop_assert_eq!(found.len(), rows.len());
        for (found, (bits, port, password, _)) in found.iter().zip(rows) {
            prop_assert_eq!((&found.host, found.port), (&Found::Ipv4(bits), port));
            prop_assert_eq!(found.password.as_ref(), Some(&password));
        }
    }
}
