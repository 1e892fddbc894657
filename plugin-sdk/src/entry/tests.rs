#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod lines;
mod secrets;

use super::login::host_port;
use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Entry<'_>, String> {
    parse(text.as_bytes(), Scheme::Http).map_err(|fault| fault.to_string())
}

fn shown(text: &str) -> String {
    match read(text) {
        Err(reason) => reason,
        Ok(entry) => {
            let host = match entry.host {
                Host::Text(text) => format!("name {text}"),
                Host::Ipv4(address) => std::net::Ipv4Addr::from(address).to_string(),
                Host::Ipv6(upper, lower) => {
                    let bits = u128::from(upper) << 64 | u128::from(lower);
                    std::net::Ipv6Addr::from(bits).to_string()
                }
            };
            format!(
                "{:?} {host} {} {} {}",
                entry.scheme,
                entry.port,
                entry.username.as_deref().unwrap_or("-"),
                entry.password.as_deref().unwrap_or("-")
            )
        }
    }
}

#[test]
fn every_form_is_read() {
    for (text, meaning) in [
        ("1.2.3.4:8080", "None 1.2.3.4 8080 - -"),
        (" host.example:80\t", "None name host.example 80 - -"),
        ("squid:3128", "None name squid 3128 - -"),
        ("[2001:db8::1]:1080", "None 2001:db8::1 1080 - -"),
        ("[fe80::1%eth0]:8080", "None name fe80::1%eth0 8080 - -"),
        ("SOCKS5://1.2.3.4:1", "Some(Scheme::Socks5) 1.2.3.4 1 - -"),
        ("socks://[::1]:1", "Some(Scheme::Socks5) ::1 1 - -"),
        ("http://[fe80::1%25eth0]:1/", "Some(Scheme::Http) name fe80::1%eth0 1 - -"),
        ("http://[fe80::1%2525eth0]:1/", "Some(Scheme::Http) name fe80::1%2525eth0 1 - -"),
        ("https://1.2.3.4:65535/", "Some(Scheme::Https) 1.2.3.4 65535 - -"),
        ("socks4a://u:p@h.example:9", "Some(Scheme::Socks4a) name h.example 9 u p"),
        ("http://u%40b:p%3A%2F@1.2.3.4:9/", "Some(Scheme::Http) 1.2.3.4 9 u@b p:/"),
        ("http://u@1.2.3.4:9", "Some(Scheme::Http) 1.2.3.4 9 u -"),
        ("http://u:@1.2.3.4:9", "Some(Scheme::Http) 1.2.3.4 9 u "),
        ("http://@1.2.3.4:9", "Some(Scheme::Http) 1.2.3.4 9 - -"),
        ("socks5://1.2.3.4:9:u:p", "Some(Scheme::Socks5) 1.2.3.4 9 u p"),
        ("u:p@1.2.3.4:9", "None 1.2.3.4 9 u p"),
        ("u:p@[::1]:9", "None ::1 9 u p"),
        ("u:p@zproxy.example", "None name zproxy.example 80 u p"),
        ("u:p%zz@squid:1", "None name squid 1 u p%zz"),
        ("1.2.3.4:9:u:p:q%41", "None 1.2.3.4 9 u p:q%41"),
        ("1.2.3.4:9:u:p@ss", "None 1.2.3.4 9 u p@ss"),
        ("1.2.3.4:9:u:p@ss:80", "None 1.2.3.4 9 u p@ss:80"),
        ("1.2.3.4:9:u:p://q", "None 1.2.3.4 9 u p://q"),
        ("1.2.3.4:9:u:", "None 1.2.3.4 9 u "),
        ("socks5+http://1.2.3.4:9#u:p", "Some(Scheme::Socks5) 1.2.3.4 9 u p"),
        ("ssl+http://h.example:9", "Some(Scheme::Https) name h.example 9 - -"),
        ("https+tls://u:p@h.example:9", "Some(Scheme::Https) name h.example 9 u p"),
        ("http://u:p@1.2.3.4:9#Berlin:1", "Some(Scheme::Http) 1.2.3.4 9 u p"),
        ("http://u:p#q@1.2.3.4:9/?sni=x@y&allowInsecure=1#a?b", "Some(Scheme::Http) 1.2.3.4 9 u p#q"),
        ("socks5://h.example:9/#priority=100&interface=eth0", "Some(Scheme::Socks5) name h.example 9 - -"),
        ("http://1.2.3.4:9@u:p", "Some(Scheme::Http) 1.2.3.4 9 u p"),
        ("http://u:p:1.2.3.4:9", "Some(Scheme::Http) 1.2.3.4 9 u p"),
        ("u:p:1.2.3.4:9", "None 1.2.3.4 9 u p"),
        ("u:p:q:h.example:9", "None name h.example 9 u p:q"),
        ("u:80:[2001:db8::1]:9", "None 2001:db8::1 9 u 80"),
        ("1.2.3.4:9@u:p@q:r", "None 1.2.3.4 9 u p@q:r"),
        ("1.2.3.4:9@SOCKS5", "Some(Scheme::Socks5) 1.2.3.4 9 - -"),
        ("1.2.3.4:9:user", "None 1.2.3.4 9 user -"),
        ("1.2.3.4:9:socks4", "Some(Scheme::Socks4) 1.2.3.4 9 - -"),
        ("1.2.3.4:9:u:p[https://vendor.example/rotate?key=k]", "None 1.2.3.4 9 u p"),
        ("http://u:p@1.2.3.4:9[http://vendor.example/a@b]", "Some(Scheme::Http) 1.2.3.4 9 u p"),
        ("u-{session}:{{SECRET}}@h.example:9", "None name h.example 9 u-{session} {{SECRET}}"),
        ("http://{{uint32}}@h.example:9", "Some(Scheme::Http) name h.example 9 {{uint32}} -"),
        ("h.example:9:acct-{rand}:x", "None name h.example 9 acct-{rand} x"),
    ] {
        let meaning = meaning.replace("Scheme::", "");
        let found = shown(text).replace("Scheme::", "");
        assert_eq!(found, meaning, "{text}");
    }
}

#[test]
fn what_is_no_entry_says_why() {
    for (text, reason) in [
        ("", "empty"),
        ("Array", "no port"),
        ("1.2.3.4", "no port"),
        ("1.2.3.4:", "no port"),
        ("http://u:p@1.2.3.4", "no port"),
        ("1.2.3.4:70000", "port 70000 is not in 1..65535"),
        ("1.2.3.4:0", "port 0 is not in 1..65535"),
        ("1.2.3.4:99999999999999", "port 9999999999 is not in 1..65535"),
        ("1.2.3.4:http", "port is not a number"),
        ("1.2.3.4:+80", "port is not a number"),
        ("1.2.3.256:80", "not a host: 1.2.3.256"),
        ("1.2.3:80", "not a host: 1.2.3"),
        ("01.2.3.4:80", "not a host: 01.2.3.4"),
        ("-a.example:80", "not a host: -a.example"),
        ("[::1:80", "not a host"),
        ("[::g]:80", "not a host: [::g]"),
        ("bücher.example:80", "not a host: bücher.example"),
        ("12:30", "not a host: 12"),
        (":80", "no host"),
        ("vmess://eyJhIjoxfQ==", "not a scheme of a proxy: vmess is an encrypted tunnel"),
        ("aws://ID:\"KEY\"@eu-west-1", "not a scheme of a proxy: aws is an API gateway of a cloud"),
        ("tls://h.example:443", "not a scheme of a proxy: tls is a link of a chain"),
        ("socks5+tls://1.2.3.4:80", "SOCKS inside TLS"),
        ("socks5+ws://1.2.3.4:80", "not a scheme of a proxy: socks5+ws"),
        ("tls+ssl://1.2.3.4:80", "not a scheme of a proxy: tls+ssl"),
        ("ftp://1.2.3.4:80", "not a scheme of a proxy: ftp"),
        ("http://1.2.3.4:80/path", "port is not a number"),
        ("a proxy", "white space inside"),
        ("1.2.3.4:80 US", "white space inside"),
        ("1.2.3.4:80:", "host:port and a third field of unknown meaning"),
        ("gate:80:US", "host:port and a third field of unknown meaning"),
        ("http://1.2.3.4:0#tag", "port 0 is not in 1..65535"),
        ("1.2.3.4:80@:p", "a password without a user name"),
        ("http+socks5://1.2.3.4:80#:p", "a password without a user name"),
        (":p@1.2.3.4:80", "a password without a user name"),
        ("1.2.3.4:80::p", "a password without a user name"),
        ("u:%ff@1.2.3.4:80", "not UTF-8"),
    ] {
        assert_eq!(read(text).expect_err(text), reason, "{text}");
    }
    assert_eq!(read(&"a".repeat(2049)).unwrap_err(), "2049 bytes, more than 2048");
    assert_eq!(parse(b"\xff:80", Scheme::Http), Err(Fault::NotText));
}

#[test]
fn the_port_that_is_left_out_follows_the_scheme() {
    let port = |scheme| parse(b"u:p@h.example", scheme).map(|entry| entry.port);
    assert_eq!(port(Scheme::Https), Ok(443));
    assert_eq!(port(Scheme::Socks4), Ok(1080));
    assert_eq!(port(Scheme::Other), Err(Fault::NoPort));
}

#[test]
fn the_third_field_is_what_is_known_before_it_is_a_user_name() {
    let third = |text| {
        let entry = read(text).unwrap();
        (entry.country.map(|code| code.map(char::from)), entry.anonymity, entry.username.map(Cow::into_owned))
    };
    assert_eq!(third("1.2.3.4:80:US"), (Some(['U', 'S']), Anonymity::Unknown, None));
    assert_eq!(third("1.2.3.4:80:Brazil"), (Some(['B', 'R']), Anonymity::Unknown, None));
    assert_eq!(third("1.2.3.4:80:elite"), (None, Anonymity::Elite, None));
    assert_eq!(third("1.2.3.4:80:us"), (None, Anonymity::Unknown, Some("us".to_owned())));
}

/// Whether a text has the form with credentials before the last `@` too.
fn ends_with_address(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(_, right)| host_port(right).is_ok_and(|(host, _)| host.is_certain()))
}

fn is_link(text: &str) -> bool {
    text.contains("[http")
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn any_host() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from(bits).to_string()),
        any::<u128>().prop_map(|bits| format!("[{}]", std::net::Ipv6Addr::from(bits))),
        "([a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\\.){1,3}[a-z]{2,8}",
    ]
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(bytes in any::<Vec<u8>>()) {
        drop(parse(&bytes, Scheme::Http));
        drop(masked(&String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn texts_like_entries_never_panic(text in "[a1.:@/%\\[\\] -]{0,40}") {
        drop(parse(text.as_bytes(), Scheme::Socks5));
        drop(masked(&text));
    }

    #[test]
    fn an_entry_means_the_same_in_every_form_that_can_say_it(
        host in any_host(),
        port in 1_u16..,
        username in "[a-z][!-9;-~é]{0,12}",
        password in "[!-~é]{0,12}",
    ) {
        let plain = format!("{host}:{port}");
        let expected = Entry {
            username: Some(username.clone().into()),
            password: Some(password.clone().into()),
            ..read(&plain).unwrap()
        };
        let login = format!("{}:{}", percent_encoded(&username), percent_encoded(&password));
        let text = format!("{login}@{plain}");
        prop_assert_eq!(&read(&text).unwrap(), &expected);
        let scheme = Entry { scheme: Some(Scheme::Socks4), ..expected.clone() };
        let text = format!("{plain}@{username}:{password}");
        if !ends_with_address(&text) {
            prop_assert_eq!(&read(&text).unwrap(), &expected);
        }
        // A user name that looks like a host, and a password that looks like a port, are just these.
        let text = format!("{username}:{password}:{plain}");
        if !text.contains('@') && !text.contains("://") && !username.contains([':', '.']) && !is_link(&text) {
            prop_assert_eq!(&read(&text).unwrap(), &expected);
        }
        let text = format!("socks4://{login}@{plain}/");
        prop_assert_eq!(&read(&text).unwrap(), &scheme);
        // A password that itself ends in `@HOST:PORT` cannot be told from the other form.
        let vendors = format!("{plain}:{username}:{password}");
        if !ends_with_address(&vendors) && !is_link(&vendors) {
            prop_assert_eq!(&read(&vendors).unwrap(), &expected);
        }
    }

    #[test]
    fn the_fast_path_agrees_with_the_grammar(bits in any::<u32>(), port in 1_u16..) {
        let text = format!("{}:{port}", std::net::Ipv4Addr::from(bits));
        prop_assert_eq!(ipv4_port(text.as_bytes()), Some((bits, port, text.len())));
        prop_assert_eq!(login::read(&text, Scheme::Http).unwrap(), Entry::at(Host::Ipv4(bits), port));
    }
}
