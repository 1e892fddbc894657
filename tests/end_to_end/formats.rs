//! Lists in every format that is bundled: the right parser reads each without being named, and the counts are those that a
//! person finds in it.

use proxywhirl_tests::{proxywhirl, run};

/// What is in a list: its parser, how many proxies, and how many entries were rejected for which reason.
type Found = (&'static str, usize, &'static [(usize, &'static str)]);

/// Counted by hand.
const LISTS: [(&str, Found); 15] = [
    ("forms.txt", ("text", 32, &[(4, "not a scheme of a proxy")])),
    ("legend.txt", ("text", 3, &[(4, "white space inside"), (1, "port N is not in 1..65535")])),
    ("encoded.txt", ("text", 2, &[(2, "not a scheme of a proxy")])),
    (
        "several.txt",
        ("text", 261, &[(1, "port N is not in 1..65535"), (1, "the range of addresses is not within /16../32")]),
    ),
    ("rows.txt", ("text", 2, &[(1, "port N is not in 1..65535")])),
    (
        "clash.yaml",
        (
            "clash",
            3,
            &[
                (2, "type vmess is neither http nor socks5"),
                (1, "port N is not in 1..65535"),
                (1, "type ss is neither http nor socks5"),
            ],
        ),
    ),
    ("proxy.pac", ("pac", 3, &[(1, "port N is not in 1..65535")])),
    ("proxychains.conf", ("proxychains", 2, &[(1, "not a scheme of a proxy"), (1, "port N is not in 1..65535")])),
    ("squid.conf", ("squid", 2, &[(1, "a cache_peer that is no parent"), (1, "an origin server")])),
    ("3proxy.cfg", ("squid", 2, &[(1, "not a scheme of a proxy")])),
    ("haproxy.cfg", ("squid", 2, &[(1, "a server that is disabled")])),
    ("table.csv", ("csv", 2, &[(1, "port N is not in 1..65535")])),
    ("table.tsv", ("csv", 2, &[])),
    ("list.json", ("json", 3, &[(1, "no port")])),
    ("page.html", ("html-table", 1, &[(1, "port N is not in 1..65535")])),
];

fn path(name: &str) -> String {
    format!("{}/end_to_end/formats/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn each_list_is_read_by_the_parser_of_its_format_and_nothing_is_lost() {
    for (name, (parser, proxies, reasons)) in LISTS {
        let ran = run(&mut proxywhirl(["fetch", &path(name)]));
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), proxies, "{name}: {}", ran.stdout);
        let rejected: usize = reasons.iter().map(|(count, _)| count).sum();
        let entries = proxies + rejected;
        let summary = format!("({parser}): {entries} entries, {proxies} well formed, {rejected} rejected");
        assert!(ran.stderr.contains(&summary), "{name}: {} is not {summary}", ran.stderr);
        let told: Vec<_> = ran.stderr.lines().filter(|line| line.contains(" × ")).map(str::trim).collect();
        let expected: Vec<_> = reasons.iter().map(|(count, reason)| format!("{count} × {reason}")).collect();
        assert_eq!(told, expected, "{name}");
        for secret in ["secret", "SECRET", "se,cret", "se:cret", "abc"] {
            assert!(!ran.stderr.contains(secret), "{name}: {}", ran.stderr);
        }
    }
}

#[test]
fn each_form_of_a_line_means_what_it_says() {
    insta::assert_snapshot!(run(&mut proxywhirl(["fetch", &path("forms.txt")])).stdout, @"
    http://203.0.113.1:8080
    http://[2001:db8::2]:1080
    socks5://gate.example:1080
    http://me:p%40ss@203.0.113.4:8080
    http://me:secret@203.0.113.5:8080
    http://me:se%3Acret@203.0.113.6:8080
    http://me:secret@203.0.113.7:8080
    http://me:secret@203.0.113.8:8080
    socks5://me:secret@203.0.113.9:1080
    http://me:@203.0.113.10:8080
    socks5://203.0.113.11:8080
    http://me:secret@203.0.113.12:3128
    http://203.0.113.13:8080
    http://203.0.113.14:8080
    http://203.0.113.15:8080
    http://203.0.113.16:8080
    http://203.0.113.17:8080
    http://198.51.100.0:8080
    http://198.51.100.1:8080
    http://198.51.100.2:8080
    http://198.51.100.3:8080
    http://203.0.113.19:8080
    http://203.0.113.119:8080
    http://me:secret@203.0.113.20:8080
    http://me:secret@203.0.113.21:8080
    socks5://me:secret@203.0.113.22:1080
    http://me:secret@203.0.113.24:8080
    socks5://me:secret@203.0.113.24:8080
    https://203.0.113.124:443
    http://customer-%7Bsession%7D:%7B%7BSECRET%7D%7D@203.0.113.26:8080
    http://me:secret@203.0.113.31:3128
    http://me:secret@203.0.113.131:3128
    ");
    let ran = run(&mut proxywhirl(["fetch", "--format", "csv", &path("legend.txt")]));
    let claims: Vec<_> =
        ran.stdout.lines().skip(1).map(|row| row.split(',').collect::<Vec<_>>()[5..7].join(" ")).collect();
    assert_eq!(claims, ["US transparent", "DE anonymous", "FR elite"]);
}
