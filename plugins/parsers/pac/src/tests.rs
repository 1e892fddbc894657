#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::parser::{Host, Parsed, parse};

const SCRIPT: &str = r#"
// "PROXY 192.0.2.99:80"
var fallback = 'PROXY squid:3128';
function FindProxyForURL(url, host) {
    if (shExpMatch(host, "*.example.com")) return "DIRECT";
    if (isInNet(host, "10.0.0.0", "255.0.0.0")) { return "PROXY " + host + ":80"; }
    if (url.substring(0, 6) == "https:")
        return "HTTPS [2001:db8::1]:443; socks5  192.0.2.2:1080 ; DIRECT";
    return "PROXY 192.0.2.1:8080; SOCKS 192.0.2.3:1080; SOCKS4 192.0.2.4:0;" + fallback;
}
"#;

fn read(text: &str) -> Parsed {
    parse::<Pac>(&Document::of(text.as_bytes()), "{}").unwrap()
}

fn sniff(text: &str) -> u8 {
    Pac::sniff(&Document::of(text.as_bytes()))
}

#[test]
fn every_answer_in_the_script_counts() {
    let parsed = read(SCRIPT);
    let found: Vec<_> = parsed.candidates.iter().map(|one| (one.line, one.scheme.unwrap(), one.port)).collect();
    assert_eq!(
        found,
        [
            (3, Scheme::Http, 3128),
            (8, Scheme::Https, 443),
            (8, Scheme::Socks5, 1080),
            (9, Scheme::Http, 8080),
            (9, Scheme::Socks5, 1080),
        ]
    );
    assert_eq!(parsed.candidates[0].host, Host::Text("squid".to_owned()));
    let told: Vec<_> = parsed.rejections.iter().map(|one| (one.line, one.reason.as_str())).collect();
    assert_eq!((told, parsed.rejected), (vec![(9, "port 0 is not in 1..65535")], 1));
}

#[test]
fn an_answer_alone_is_read_line_by_line() {
    let parsed = read("PROXY 192.0.2.1:8080; DIRECT\nSOCKS4 192.0.2.2:1080\n");
    assert_eq!(parsed.candidates.iter().map(|one| one.line).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn the_function_tells_the_format() {
    assert!(sniff(SCRIPT) > 95);
    assert!((60..95).contains(&sniff("PROXY 192.0.2.1:8080; DIRECT")));
    for other in [
        "",
        "192.0.2.1:80\n",
        "http 192.0.2.1 3128\n",
        "proxy list of today\n",
        "<html>FindProxyForURL</html>",
        "[\"PROXY\"]",
    ] {
        assert_eq!(sniff(other), 0, "{other}");
        assert!(parse::<Pac>(&Document::of(other.as_bytes()), "{}").is_err() || other.contains("Find"), "{other}");
    }
}

#[test]
fn a_password_is_never_in_a_rejection() {
    let parsed = read("PROXY me:secret@192.0.2.1:0; PROXY 192.0.2.1:0:me:secret");
    assert_eq!(parsed.rejected, 2);
    assert!(!format!("{:?}", parsed.rejections).contains("secret"));
}

proptest! {
    #[test]
    fn scripts_of_any_kind_never_panic(script in "[ -~\n]{0,60}|(['\"`/*\\\\\n ;]|PROXY |FindProxyForURL|1.2.3.4:80){0,20}") {
        let document = Document::of(script.as_bytes());
        drop((Pac::sniff(&document), parse::<Pac>(&document, "{}")));
    }

    #[test]
    fn candidates_survive_being_written_and_read(
        rows in prop::collection::vec((any::<u32>(), 1_u16..), 1..20),
    ) {
        let answers: Vec<_> =
            rows.iter().map(|(bits, port)| format!("SOCKS5 {}:{port}", std::net::Ipv4Addr::from(*bits))).collect();
        for text in [
            answers.join("; "),
            format!("function FindProxyForURL(url, host) {{ return \"{}\"; }}", answers.join(";")),
        ] {
            let found = read(&text).candidates;
            prop_assert_eq!(found.len(), rows.len());
            for (found, (bits, port)) in found.iter().zip(&rows) {
                prop_assert_eq!((&found.host, found.port), (&Host::Ipv4(*bits), *port));
            }
        }
    }
}
