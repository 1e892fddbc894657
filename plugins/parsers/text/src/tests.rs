#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::parser::{Host, Parsed, parse};
use proxywhirl_plugin_sdk::{Anonymity, Scheme};

fn read(text: &str, options: &str) -> Parsed {
    parse::<Text>(&Document::of(text.as_bytes()), options).unwrap()
}

fn sniff(text: &str) -> u8 {
    Text::sniff(&Document::of(text.as_bytes()))
}

#[test]
fn comments_blank_lines_and_line_ends_of_any_kind_are_no_entries() {
    let parsed = read(
        "\u{feff}# a list\r\n\r\n1.2.3.4:80\r\n  // 1.2.3.4:81\n;x\n \t\n1.2.3.4:82 \t# good #1\n1.2.3.4:83",
        "{}",
    );
    assert_eq!(parsed.rejected, 0);
    let found: Vec<_> = parsed.candidates.iter().map(|found| (found.line, found.port)).collect();
    assert_eq!(found, [(3, 80), (7, 82), (8, 83)]);
}

#[test]
fn a_section_gives_the_scheme_of_the_lines_below_it_until_the_next() {
    let text = "1.1.1.1:1\n# SOCKS5 Proxies (2)\n1.1.1.2:1\n# fine ones\nhost.example:1\n\
                http://1.1.1.3:1\nu:p@zone.example\n# HTTPS proxies\n1.1.1.4:1\n";
    let schemes = |options| {
        let found = read(text, options).candidates;
        found.iter().map(|one| one.scheme).collect::<Vec<_>>()
    };
    let (http, https, socks5) = (Some(Scheme::Http), Some(Scheme::Https), Some(Scheme::Socks5));
    assert_eq!(schemes("{}"), [None, socks5, socks5, http, socks5, https]);
    assert_eq!(schemes(r#"{"sections":false}"#), [None, None, None, http, None, None]);
    assert_eq!(read(text, "{}").candidates[4].port, 1080);
}

#[test]
fn what_is_no_entry_is_told_with_its_line_and_nothing_aborts() {
    let parsed = read("Free proxies!\n1.2.3.4:70000\nArray\n1.2.3.4:0\n1.2.3:80\n\u{1}\n1.2.3.4:80\n", "{}");
    let told: Vec<_> = parsed.rejections.iter().map(|one| (one.line, one.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, "white space inside"),
            (2, "port 70000 is not in 1..65535"),
            (3, "no port"),
            (4, "port 0 is not in 1..65535"),
            (5, "not a host: 1.2.3"),
            (6, "white space inside"),
        ]
    );
    assert_eq!((parsed.rejected, parsed.candidates.len()), (6, 1));
}

#[test]
fn the_fast_path_takes_nothing_that_the_grammar_refuses() {
    for text in ["1.2.3.4:80x", "1.2.3.4:800000", "1.2.3.4:80:", "1.2.3.4:80 x", "1.2.3.4:80\rx", "1.2.3.4.5:80"] {
        let parsed = read(text, "{}");
        assert_eq!((parsed.candidates.len(), parsed.rejected), (0, 1), "{text}");
    }
}

#[test]
fn a_password_is_never_in_a_rejection() {
    let parsed = read("1.2.3.4:0:me:secret\nhttp://me:secret@h.example:0\nme:secret:1.2.3.4:0\n", "{}");
    assert_eq!(parsed.rejected, 3);
    assert!(!format!("{:?}", parsed.rejections).contains("secret"));
}

#[test]
fn a_list_is_told_from_other_formats() {
    assert!(sniff("1.2.3.4:80\n1.2.3.4:81\n") >= 90);
    assert!(sniff("1.2.3.4:80:user:pass\n1.2.3.4:81:user:pa:ss\n") >= 90);
    assert!(sniff("# SOCKS5 Proxies (1)\n\nsocks5://[::1]:80\n") >= 90);
    assert!((1..50).contains(&sniff("# nothing today\n")));
    assert!((1..50).contains(&sniff("")));
    assert!(sniff("1.2.3.4:80 US-H-S! +\n1.2.3.5:80 DE-N\n") >= 90);
    // Rows of tables are read if nobody knows better: whoever knows tables gives 75.
    for row in ["1.2.3.4\t80\thttp\n", "1.2.3.4,80\n", "1.2.3.4:80,1.2.3.5:81\n"] {
        assert!((50..75).contains(&sniff(row)), "{row}");
    }
    for other in [
        "[\n\"1.2.3.4:80\",\n\"1.2.3.4:81\"\n]",
        "{\"ip\":\"1.2.3.4\",\"port\":80}\n",
        "<html><table><tr><td>1.2.3.4</td>\n<td>80</td></tr></table>",
    ] {
        assert!(sniff(other) <= 5, "{other}");
    }
    assert_eq!(sniff("\0binary"), 0);
    assert!(parse::<Text>(&Document::of(b"\0binary"), "{}").is_err());
}

#[test]
fn a_block_above_a_list_is_rejected_line_by_line() {
    let parsed = read(
        "Proxy list updated at Sat, 22 Aug 26 12:00:02 +0300\n\
         Mirrors: https://lists.example/proxy.txt, https://lists.example/a/\n\
         IP address:Port CountryCode-Anonymity(Noa/Anm/Hia)-SSL_support(S)-Google_passed(+)\n\n\
         1.2.3.4:80 US-N-S +\n1.2.3.5:8080 DE-H! -\n\nSupport us: someone@lists.example\n",
        "{}",
    );
    let found: Vec<_> = parsed.candidates.iter().map(|one| (one.line, one.country.as_str(), one.anonymity)).collect();
    assert_eq!(found, [(5, "US", Anonymity::Transparent), (6, "DE", Anonymity::Elite)]);
    assert_eq!(parsed.rejections.iter().map(|one| one.line).collect::<Vec<_>>(), [1, 2, 3, 8]);
}

#[test]
fn a_line_of_several_gives_each_its_line_and_a_section_its_scheme() {
    let parsed = read("# SOCKS4 proxies\n1.2.3.4:80, http://1.2.3.5:81 1.2.3.6:0\n1.2.3.8/30:1080\n", "{}");
    let found: Vec<_> = parsed.candidates.iter().map(|one| (one.line, one.scheme)).collect();
    let (http, socks4) = (Some(Scheme::Http), Some(Scheme::Socks4));
    assert_eq!(found, [(2, socks4), (2, http), (3, socks4), (3, socks4), (3, socks4), (3, socks4)]);
    assert_eq!((parsed.rejected, parsed.rejections[0].line), (1, 2));
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_code() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(schema["properties"]["sections"]["default"], Options::default().sections);
    assert!(parse::<Text>(&Document::of(b""), r#"{"section":true}"#).is_err());
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(body in any::<Vec<u8>>()) {
        let document = Document::of(&body);
        let _ = Text::sniff(&document);
        drop(parse::<Text>(&document, "{}"));
    }

    #[test]
    fn every_line_is_at_least_a_candidate_or_a_rejection_or_is_a_comment(
        lines in prop::collection::vec("[ -~]{0,30}|[0-9]{1,3}(\\.[0-9]{1,3}){3}:[0-9]{1,6}\r?", 0..40),
    ) {
        let counted = lines.iter().filter(|line| !content(line.as_bytes()).is_empty()).count();
        let parsed = read(&lines.join("\n"), "{}");
        prop_assert!(parsed.candidates.len() + parsed.rejected as usize >= counted);
    }

    #[test]
    fn candidates_survive_being_written_and_read(
        rows in prop::collection::vec((any::<u32>(), 1_u16.., prop::option::of("[a-z]{1,8}")), 0..40),
    ) {
        let mut text = String::new();
        for (bits, port, user) in &rows {
            let login = user.as_ref().map(|user| format!("{user}:p@")).unwrap_or_default();
            text += &format!("socks4://{login}{}:{port}\n", std::net::Ipv4Addr::from(*bits));
        }
        let found = read(&text, "{}").candidates;
        prop_assert_eq!(found.len(), rows.len());
        for (line, (found, (bits, port, user))) in (1..).zip(found.iter().zip(rows)) {
            prop_assert_eq!(&found.host, &Host::Ipv4(bits));
            prop_assert_eq!((found.port, found.line, found.scheme), (port, line, Some(Scheme::Socks4)));
            prop_assert_eq!(&found.username, &user);
        }
    }
}
