use super::*;

/// What a line comes to, in words.
fn told(text: &str) -> Vec<String> {
    let mut told = Vec::new();
    line(text.as_bytes(), Scheme::Http, &mut Ranges::default(), &mut |found| {
        told.push(match found {
            Ok(entry) => described(&entry),
            Err(fault) => format!("! {fault}"),
        });
    });
    told
}

/// Why the parts of a line are no entries.
pub(super) fn refusals(text: &str) -> Vec<String> {
    told(text).into_iter().filter(|one| one.starts_with('!')).collect()
}

fn described(entry: &Entry<'_>) -> String {
    let candidate = entry.clone().into_candidate(1);
    let host = match candidate.host {
        crate::parser::Host::Text(text) => text,
        crate::parser::Host::Ipv4(address) => std::net::Ipv4Addr::from(address).to_string(),
        crate::parser::Host::Ipv6((upper, lower)) => {
            format!("[{}]", std::net::Ipv6Addr::from(u128::from(upper) << 64 | u128::from(lower)))
        }
    };
    let mut text = format!("{host}:{}", candidate.port);
    if let Some(scheme) = candidate.scheme {
        text = format!("{scheme:?} {text}").to_lowercase().replace("scheme::", "");
    }
    for (mark, said) in [(" u=", candidate.username), (" p=", candidate.password)] {
        if let Some(said) = said {
            text += mark;
            text += &said;
        }
    }
    if !candidate.country.is_empty() {
        text += &format!(" {}", candidate.country);
    }
    if candidate.anonymity != Anonymity::Unknown {
        text += &format!(" {:?}", candidate.anonymity).to_lowercase().replace("anonymity::", "");
    }
    text
}

#[test]
fn lines_are_read_in_every_form() {
    for (text, meaning) in [
        // Plain entries, and what is said about them.
        ("1.2.3.4:80", "1.2.3.4:80"),
        ("1.2.3.4:80:Hong Kong", "1.2.3.4:80 HK"),
        ("1.2.3.4:80:Korea, Republic of", "1.2.3.4:80 KR"),
        ("1.2.3.4:80:New Atlantis", "1.2.3.4:80"),
        ("1.2.3.4:80 US-H-S! +", "1.2.3.4:80 US elite"),
        ("1.2.3.4:80 DE-N -", "1.2.3.4:80 DE transparent"),
        ("1.2.3.4:80 FR-A!", "1.2.3.4:80 FR anonymous"),
        ("1.2.3.4:80 US", "1.2.3.4:80 US"),
        ("\u{1F1E9}\u{1F1EA} 1.2.3.4:80 60ms DE [Some Hosting, Inc.]", "1.2.3.4:80 DE"),
        ("\u{1F1E9}\u{1F1EA} 1.2.3.4:80", "1.2.3.4:80 DE"),
        ("1.2.3.4:80 socks5 elite", "socks5 1.2.3.4:80 elite"),
        ("1.2.3.4:80:u:p\t5.6.7.8", "1.2.3.4:80 u=u p=p"),
        ("1.2.3.4:80:u:p [https://vendor.example/rotate]", "1.2.3.4:80 u=u p=p"),
        ("1.2.3.4:80:u:p,q", "1.2.3.4:80 u=u p=p,q"),
        ("groups-RES,session-a,country-US:p@h.example:80", "h.example:80 u=groups-RES,session-a,country-US p=p"),
        // Tables.
        ("http 1.2.3.4 3128 u p", "http 1.2.3.4:3128 u=u p=p"),
        ("SOCKS5\th.example\t1080", "socks5 h.example:1080"),
        ("socks4 1.2.3.4:1080", "socks4 1.2.3.4:1080"),
        ("1.2.3.4 80", "1.2.3.4:80"),
        ("[2001:db8::1] 80", "[2001:db8::1]:80"),
        ("1.2.3.4\t80\tUS\telite", "1.2.3.4:80 US elite"),
        ("h.example,80", "h.example:80"),
        ("1.2.3.4 ; 80 ; http", "http 1.2.3.4:80"),
        ("1.2.3.4|80", "1.2.3.4:80"),
        ("1.2.3.4;80;me;se,cret", "1.2.3.4:80 u=me p=se,cret"),
        // Shells.
        ("-x 1.2.3.4:80", "1.2.3.4:80"),
        ("curl -sS --proxy 'http://u:p@1.2.3.4:80' https://origin.example/", "http 1.2.3.4:80 u=u p=p"),
        ("curl -xhttp://1.2.3.4:80 -Ume:secret", "http 1.2.3.4:80 u=me p=secret"),
        ("curl -x 1.2.3.4:80 -U 'me:se cret'", "1.2.3.4:80 u=me p=se cret"),
        (r#"curl -x 1.2.3.4:80 -U "me:se'cr\"et""#, "1.2.3.4:80 u=me p=se'cr\"et"),
        (r"curl --proxy=1.2.3.4:80 --proxy-user=me:se\ cr\;et; echo -x 1.2.3.5:80", "1.2.3.4:80 u=me p=se cr;et"),
        ("curl -U me:se:cret --socks5-hostname h.example:1080", "socks5h h.example:1080 u=me p=se:cret"),
        ("--proxy-server=\"socks5://1.2.3.4:1080\"", "socks5 1.2.3.4:1080"),
        ("export HTTPS_PROXY=\"http://u:p@1.2.3.4:80/\"", "http 1.2.3.4:80 u=u p=p"),
        ("$env:ALL_PROXY = 'socks://1.2.3.4:80'", "socks5 1.2.3.4:80"),
        ("http_proxy=1.2.3.4:80", "1.2.3.4:80"),
    ] {
        assert_eq!(told(text), [meaning], "{text}");
    }
}

#[test]
fn a_line_may_hold_several() {
    for (text, meaning) in [
        ("1.2.3.4:80,1.2.3.5:81", vec!["1.2.3.4:80", "1.2.3.5:81"]),
        ("http://1.2.3.4:80; u:p@1.2.3.5:81 ,", vec!["http 1.2.3.4:80", "1.2.3.5:81 u=u p=p"]),
        ("1.2.3.4:80 1.2.3.5:81\t1.2.3.6:82", vec!["1.2.3.4:80", "1.2.3.5:81", "1.2.3.6:82"]),
        ("1.2.3.4:80:u:p,1.2.3.5:81:u:p", vec!["1.2.3.4:80 u=u p=p", "1.2.3.5:81 u=u p=p"]),
        ("socks5://1.2.3.4:80,socks5://1.2.3.5:81", vec!["socks5 1.2.3.4:80", "socks5 1.2.3.5:81"]),
        ("1.2.3.4:80,1.2.3.5:0", vec!["1.2.3.4:80", "! port 0 is not in 1..65535"]),
        ("today: 1.2.3.4:80 1.2.3.5:81", vec!["! no port", "1.2.3.4:80", "1.2.3.5:81"]),
        ("http+socks5://1.2.3.4:80#u:p", vec!["http 1.2.3.4:80 u=u p=p", "socks5 1.2.3.4:80 u=u p=p"]),
        ("u:p@1.2.3.7/31:80", vec!["1.2.3.6:80 u=u p=p", "1.2.3.7:80 u=u p=p"]),
        ("1.2.3.4/32:80:US", vec!["1.2.3.4:80 US"]),
        ("http://1.2.3.4/31:80/", vec!["http 1.2.3.4:80", "http 1.2.3.5:80"]),
    ] {
        assert_eq!(told(text), meaning, "{text}");
    }
}

#[test]
fn lines_that_are_no_entries_say_why() {
    for (text, reason) in [
        ("", "empty"),
        ("Array", "no port"),
        ("Free proxies!", "white space inside"),
        ("Updated 2026", "white space inside"),
        ("Proxy list updated at Sat, 22 Aug 26 12:00:02 +0300", "white space inside"),
        ("Mirrors: https://lists.example/proxy.txt, https://other.example/", "white space inside"),
        ("1.2.3.4:80 is fine", "words of unknown meaning after the address"),
        ("1.2.3.4 99999", "port 99999 is not in 1..65535"),
        ("1.2.3.4:99999 DE-N", "port 99999 is not in 1..65535"),
        ("Last update 12:30", "white space inside"),
        ("1.2.3.4:80:it is not a country", "words of unknown meaning after the address"),
        ("http 1.2.3.4 3128 u p more", "words of unknown meaning after the address"),
        ("tls://h.example:443,http://u:p@", "not a scheme of a proxy: tls is a link of a chain"),
        ("http://u:p@,socks5://h.example:443", "a chain of proxies"),
        ("ss://YTpi@1.2.3.4:80#my server", "not a scheme of a proxy: ss is an encrypted tunnel"),
        ("aws://KEY:\"a secret\"@region", "not a scheme of a proxy: aws is an API gateway of a cloud"),
        ("1.2.0.0/15:80", "the range of addresses is not within /16../32"),
        ("no_proxy=localhost,127.0.0.1", "no port"),
        ("http_proxy=nowhere", "no port"),
        ("http://u:pa ss@1.2.3.4:80", "white space inside"),
        ("http://u:p a:s s@h.example:80", "white space inside"),
        ("u:pa s:s@1.2.3.4:80 http://1.2.3.5:80", "white space inside"),
        ("curl -x http://1.2.3.4:80 -U 'me:secret", "white space inside"),
        ("curl -x http://1.2.3.4:80 -U :secret", "a password without a user name"),
    ] {
        assert_eq!(told(text), [format!("! {reason}")], "{text}");
    }
    let mut faults = Vec::new();
    line(b"1.2.3.4:80 \xff", Scheme::Http, &mut Ranges::default(), &mut |found| faults.push(found.err()));
    assert_eq!(faults, [Some(Fault::NotText)]);
}

#[test]
fn ranges_bring_no_more_addresses_than_a_document_may() {
    let mut ranges = Ranges::default();
    let mut read = |text: &str| {
        let mut counts = (0, Vec::new());
        line(text.as_bytes(), Scheme::Http, &mut ranges, &mut |found| match found {
            Ok(_) => counts.0 += 1,
            Err(fault) => counts.1.push(fault.to_string()),
        });
        counts
    };
    assert_eq!(read("1.2.0.0/17:80"), (32_768, vec![]));
    let refused = "a range of 65536 addresses, more than the 65536 of a document".to_owned();
    assert_eq!(read("1.3.0.0/16:80"), (0, vec![refused]));
    assert_eq!(read("1.2.0.0/17:81"), (32_768, vec![]));
    assert_eq!(read("1.3.0.0/31:80").0, 0);
    assert_eq!(read("1.3.0.0/32:80").0, 1);
}

#[test]
fn a_line_of_many_entries_has_no_end() {
    let text = (0..10_000).map(|n| format!("1.2.{}.{}:80", n / 256, n % 256)).collect::<Vec<_>>();
    for separator in [",", " ", "\t"] {
        assert_eq!(told(&text.join(separator)).len(), 10_000);
    }
}

#[test]
fn time_is_linear_in_the_length_of_a_line() {
    // Sixteen times the length in less than a hundred times the time: squares would take 256 times as long.
    for unit in ["1.2.3.4:80,", "1.2.3.4/24:", "a://", "[http", "@:", "?#", "- x ", "\u{1F1E9}\u{1F1EA} ", "1|", "[ "] {
        let time = |count: usize| {
            let text = unit.repeat(count);
            let run = || {
                let start = std::time::Instant::now();
                line(text.as_bytes(), Scheme::Http, &mut Ranges::default(), &mut |_| {});
                drop(masked(&text));
                start.elapsed()
            };
            (0..3).map(|_| run()).min().unwrap()
        };
        let (short, long) = (time(5_000), time(80_000));
        assert!(long < short * 100 + std::time::Duration::from_millis(20), "{unit:?}: {short:?}, {long:?}");
    }
}

proptest! {
    #[test]
    fn lines_of_any_kind_never_panic(bytes in any::<Vec<u8>>()) {
        line(&bytes, Scheme::Http, &mut Ranges::default(), &mut |_| {});
    }

    #[test]
    fn lines_like_lists_never_panic(text in "([a1.:@/%\\[\\] |,;#?+-]|http|://|1\\.2\\.3\\.4|:80|/24|\u{1F1E9}|=|-x ){0,24}") {
        line(text.as_bytes(), Scheme::Http, &mut Ranges::default(), &mut |_| {});
        drop(masked(&text));
    }

    #[test]
    fn a_line_means_the_same_in_every_form_that_can_say_it(
        host in any_host(),
        port in 1_u16..,
        username in "[a-z][a-z0-9_-]{2,10}",
        password in "[a-zA-Z0-9!$%&*+=_{}.~-]{1,12}",
    ) {
        let plain = told(&format!("{host}:{port}"));
        for text in [
            format!("{host} {port}"),
            format!("{host}\t{port}"),
            format!("{host},{port}"),
            format!("{host} ; {port}"),
            format!("{host}|{port}"),
            format!("-x {host}:{port}"),
            format!("export HTTP_PROXY='{host}:{port}'"),
            format!("{host}:{port},"),
            format!("{host}:{port} 12ms [a network]"),
        ] {
            prop_assert_eq!(told(&text), plain.clone(), "{}", text);
        }
        let full = told(&format!("socks5://{}:{}@{host}:{port}", percent_encoded(&username), percent_encoded(&password)));
        for text in [
            format!("socks5 {host} {port} {username} {password}"),
            format!("socks5://{host}:{port}:{username}:{password}"),
            format!("socks5://{username}:{password}:{host}:{port}"),
            format!("socks5://{host}:{port}@{username}:{password}"),
            format!("{host}:{port}:{username}:{password} socks5"),
            format!("curl --socks5 {host}:{port} -U {username}:{password}"),
            format!("ssl+https://{host}:{port}#{username}:{password}").replace("ssl+https", "socks5+socks5"),
        ] {
            let mut found = told(&text);
            found.dedup();
            prop_assert_eq!(found, full.clone(), "{}", text);
        }
    }
}
