#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::Scheme;
use proxywhirl_plugin_sdk::parser::{Host, Parsed, parse};

const SQUID: &str = "\
http_port 3128
acl localnet src 10.0.0.0/8
cache_peer gate.example parent 3128 0 no-query login=me:se%20cret default # the first
cache_peer 192.0.2.2 parent 443 0 tls login=PASSTHRU
cache_peer 192.0.2.3 sibling 3128 3130 proxy-only
cache_peer 192.0.2.4 parent 80 0 originserver
cache_peer 192.0.2.5 parent 0 0 login=me:secret
# cache_peer 192.0.2.6 parent 3128 0
never_direct allow all
";

const THREE: &str = "\
nscache 65536
allow *
parent 1000 socks5 192.0.2.1 1080 me se:cret
parent 500 http gate.example 3128
parent 500 connect+ 192.0.2.2 3128 me
parent 1000 tcp 192.0.2.3 80
parent 1000 socks4b 0.0.0.0 0
proxy -p3128
";

const HAPROXY: &str = "\
global
  maxconn 4096
backend proxies
  balance roundrobin
  server one 192.0.2.1:3128 check
  server two gate.example:443 ssl verify none
  server three 192.0.2.3:80 disabled
  server four [2001:db8::1]:0
";

type Row<'a> = (u32, Option<Scheme>, u16, Option<&'a str>, Option<&'a str>);

fn read(text: &str) -> Parsed {
    parse::<Squid>(&Document::of(text.as_bytes()), "{}").unwrap()
}

fn rows(parsed: &Parsed) -> Vec<Row<'_>> {
    let rows = parsed.candidates.iter();
    rows.map(|one| (one.line, one.scheme, one.port, one.username.as_deref(), one.password.as_deref())).collect()
}

fn told(parsed: &Parsed) -> Vec<(u32, &str)> {
    parsed.rejections.iter().map(|one| (one.line, one.reason.as_str())).collect()
}

fn sniff(text: &str) -> u8 {
    Squid::sniff(&Document::of(text.as_bytes()))
}

#[test]
fn parents_of_squid_are_proxies_and_other_peers_are_not() {
    let parsed = read(SQUID);
    assert_eq!(
        rows(&parsed),
        [(3, Some(Scheme::Http), 3128, Some("me"), Some("se cret")), (4, Some(Scheme::Https), 443, None, None)]
    );
    assert_eq!(
        told(&parsed),
        [(5, "a cache_peer that is no parent"), (6, "an origin server"), (7, "port 0 is not in 1..65535")]
    );
    assert_eq!(parsed.rejections[2].excerpt, "cache_peer 192.0.2.5 parent 0");
}

#[test]
fn parents_of_3proxy_are_proxies_of_their_type() {
    let parsed = read(THREE);
    assert_eq!(
        rows(&parsed),
        [
            (3, Some(Scheme::Socks5), 1080, Some("me"), Some("se:cret")),
            (4, Some(Scheme::Http), 3128, None, None),
            (5, Some(Scheme::Http), 3128, Some("me"), None),
        ]
    );
    assert_eq!(told(&parsed), [(6, "not a scheme of a proxy: tcp"), (7, "port 0 is not in 1..65535")]);
}

#[test]
fn servers_of_haproxy_have_the_scheme_of_the_document() {
    let parsed = read(HAPROXY);
    assert_eq!(rows(&parsed), [(5, None, 3128, None, None), (6, Some(Scheme::Https), 443, None, None)]);
    assert_eq!(told(&parsed), [(7, "a server that is disabled"), (8, "port 0 is not in 1..65535")]);
}

#[test]
fn a_line_of_one_of_the_programs_tells_the_format() {
    for text in [SQUID, THREE, HAPROXY] {
        assert!(sniff(text) > 90, "{text}");
    }
    for other in [
        "",
        "192.0.2.1:80\n",
        "parent proxies\n",
        "server 192.0.2.1:80;\n",
        "server a 192.0.2.1:80\n",
        "proxies:\n  - server: 192.0.2.1\n",
        "# cache_peer 192.0.2.6 parent 3128 0\n",
    ] {
        assert_eq!(sniff(other), 0, "{other}");
    }
    assert!(parse::<Squid>(&Document::of(b"http_port 3128\n"), "{}").is_err());
}

proptest! {
    #[test]
    fn configurations_of_any_kind_never_panic(text in "((cache_peer|parent|server|backend|login=|ssl|[ -~]{0,8}|[0-9]{1,5}|1.2.3.4:80)[ \n]){0,20}") {
        let document = Document::of(text.as_bytes());
        drop((Squid::sniff(&document), parse::<Squid>(&document, "{}")));
    }

    #[test]
    fn candidates_survive_being_written_and_read(
        proxies in prop::collection::vec((any::<u32>(), 1_u16.., "[!-\"$-)+-~]{1,12}"), 1..20),
    ) {
        for three in [false, true] {
            let line = |(bits, port, password): &(u32, u16, String)| {
                let host = std::net::Ipv4Addr::from(*bits);
                let escaped = password.replace('%', "%25");
                if three {
                    format!("parent 1000 http {host} {port} me {password}\n")
                } else {
                    format!("cache_peer {host} parent {port} 0 no-query login=me:{escaped}\n")
                }
            };
            let found = read(&proxies.iter().map(line).collect::<String>()).candidates;
            prop_assert_eq!(found.len(), proxies.len());
            for (found, (bits, port, password)) in found.iter().zip(&proxies) {
                prop_assert_eq!((&found.host, found.port), (&Host::Ipv4(*bits), *port));
                prop_assert_eq!(found.password.as_ref(), Some(password));
            }
        }
    }
}
