#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::Scheme;
use proxywhirl_plugin_sdk::parser::{Host as Found, Parsed, parse};

const CONFIG: &str = "\
# proxychains.conf
strict_chain
proxy_dns
tcp_read_time_out 15000

[ProxyList]
# TYPE HOST PORT [USER PASSWORD]
socks5\t192.0.2.1 1080 me se#cret   # the best
http squid 3128
  SOCKS4 2001:db8::1 1080
raw 192.0.2.3 80
http 192.0.2.4 0 me secret
http
socks5 192.0.2.5 1080 me
socks5 192.0.2.5 1080 me secret more
";

fn read(text: &str) -> Parsed {
    parse::<Proxychains>(&Document::of(text.as_bytes()), "{}").unwrap()
}

fn sniff(text: &str) -> u8 {
    Proxychains::sniff(&Document::of(text.as_bytes()))
}

#[test]
fn the_lines_of_the_section_are_proxies() {
    let parsed = read(CONFIG);
    let found: Vec<_> = parsed
        .candidates
        .iter()
        .map(|one| (one.line, one.scheme.unwrap(), one.port, one.username.as_deref(), one.password.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            (8, Scheme::Socks5, 1080, Some("me"), Some("se#cret")),
            (9, Scheme::Http, 3128, None, None),
            (10, Scheme::Socks4, 1080, None, None),
            (14, Scheme::Socks5, 1080, Some("me"), None),
        ]
    );
    assert_eq!(parsed.candidates[1].host, Found::Text("squid".to_owned()));
}

#[test]
fn a_line_of_the_section_that_is_no_proxy_says_why() {
    let parsed = read(CONFIG);
    let told: Vec<_> = parsed.rejections.iter().map(|one| (one.line, one.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (11, "not a scheme of a proxy: raw"),
            (12, "port 0 is not in 1..65535"),
            (13, "no host"),
            (15, "words of unknown meaning after the address"),
        ]
    );
    assert!(!format!("{:?}", parsed.rejections).contains("secret"));
}

#[test]
fn the_section_tells_the_format() {
    assert!(sniff(CONFIG) > 95);
    assert!((50..95).contains(&sniff("# a long comment\nrandom_chain\n")));
    for other in ["", "http 192.0.2.1 3128\n", "192.0.2.1:80\n", "[Proxy]\n", "{\"proxies\": []}"] {
        assert_eq!(sniff(other), 0, "{other}");
    }
    assert!(parse::<Proxychains>(&Document::of(b"http 192.0.2.1 80"), "{}").is_err());
    assert_eq!(read("[proxylist]\r\nhttp 192.0.2.1 80\r\n").candidates.len(), 1);
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(body in any::<Vec<u8>>()) {
        let body = [b"[ProxyList]\n".as_slice(), &body].concat();
        let document = Document::of(&body);
        drop((Proxychains::sniff(&document), parse::<Proxychains>(&document, "{}")));
    }

    #[test]
    fn candidates_survive_being_written_and_read(
        rows in prop::collection::vec((any::<u32>(), 1_u16.., "[!-~]{1,12}"), 0..40),
    ) {
        let mut text = "[ProxyList]\n".to_owned();
        for (bits, port, password) in &rows {
            text += &format!("socks4 {} {port} me x{password}\n", std::net::Ipv4Addr::from(*bits));
        }
        let found = read(&text).candidates;
        prop_assert_eq!(found.len(), rows.len());
        for (found, (bits, port, password)) in found.iter().zip(rows) {
            prop_assert_eq!((&found.host, found.port), (&Found::Ipv4(bits), port));
            prop_assert_eq!(found.password.clone(), Some(format!("x{password}")));
        }
    }
}
