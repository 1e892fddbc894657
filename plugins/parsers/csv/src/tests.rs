#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::parser::{Host, Parsed, parse};
use proxywhirl_plugin_sdk::{Anonymity, Scheme};

fn read(text: &str) -> Parsed {
    parse::<Csv>(&Document::of(text.as_bytes()), "{}").unwrap()
}

fn sniff(text: &str) -> u8 {
    Csv::sniff(&Document::of(text.as_bytes()))
}

fn ports(text: &str) -> Vec<(u32, u16)> {
    read(text).candidates.iter().map(|found| (found.line, found.port)).collect()
}

#[test]
fn a_header_names_the_columns_in_any_order() {
    let parsed = read(
        "country_code,Port,\"IP Address\",anonymity,type,user,pass\n\
         de,8080,1.2.3.4,elite,socks5,me,\"a,\"\"b\"\"\"\n\
         ,81,proxy.example,,http,,\n",
    );
    let first = &parsed.candidates[0];
    assert_eq!((&first.host, first.port, first.line), (&Host::Ipv4(0x0102_0304), 8080, 2));
    assert_eq!((first.country.as_str(), first.anonymity), ("DE", Anonymity::Elite));
    assert_eq!(first.scheme, Some(Scheme::Socks5));
    assert_eq!(first.username.as_deref(), Some("me"));
    assert_eq!(first.password.as_deref(), Some("a,\"b\""));
    let second = &parsed.candidates[1];
    assert_eq!(second.host, Host::Text("proxy.example".to_owned()));
    assert_eq!((&second.username, &second.country), (&None, &String::new()));
}

#[test]
fn each_separator_is_found() {
    for mark in [",", ";", "\t", "|"] {
        let table = "ip;port;note\n1.2.3.4;80;x\n1.2.3.5;81;y\n".replace(';', mark);
        assert_eq!(ports(&table), [(2, 80), (3, 81)], "{mark}");
        assert!(sniff(&table) >= 90, "{mark}");
    }
}

#[test]
fn without_a_header_columns_are_told_by_what_they_hold() {
    assert_eq!(ports("1.2.3.4\t80\n1.2.3.5\t81\n"), [(1, 80), (2, 81)]);
    assert_eq!(ports("1;US;1.2.3.4;80\r\n2;;1.2.3.5;81\r\n"), [(1, 80), (2, 81)]);
    assert_eq!(ports("1.2.3.4:80|US\n1.2.3.5:81|DE\n"), [(1, 80), (2, 81)]);
    assert_eq!(read("1.2.3.4,80,me,secret\n").candidates[0].password.as_deref(), Some("secret"));
}

#[test]
fn bad_rows_are_told_with_their_line_and_the_rest_is_read() {
    let parsed = read(
        "Free list\n# comment\nip,port\n1.2.3.4,0\n1.2.3.4\r\n\n# more, #\nnot a host,80\n\"1.2.3.4\",80,extra\n,\n",
    );
    let told: Vec<_> = parsed.rejections.iter().map(|one| (one.line, one.reason.as_str())).collect();
    assert_eq!(
        told,
        [(1, "before the header"), (4, "port 0 is not in 1..65535"), (5, "no port"), (8, "not a host: not a host"),]
    );
    assert_eq!(parsed.candidates.len(), 1);
}

#[test]
fn a_quote_that_is_never_closed_is_one_rejection() {
    let parsed = read("ip,port\n1.2.3.4,80\n\"1.2.3.5,81\n1.2.3.6,82\n");
    assert_eq!((parsed.candidates.len(), parsed.rejected), (1, 1));
}

#[test]
fn a_password_is_never_in_a_rejection() {
    let parsed = read("ip,port,user,pass\n1.2.3.4,0,me,secret\n1.2.3.4,80,,secret\n");
    assert_eq!(parsed.rejected, 2);
    assert!(!format!("{:?}", parsed.rejections).contains("secret"));
}

#[test]
fn what_is_no_table_of_proxies_is_left_to_others() {
    for other in [
        "",
        "# nothing\n",
        "1.2.3.4:80\n1.2.3.5:81\n",
        "1.2.3.4:80:user:pa;ss\n1.2.3.5:81:user:p\n",
        "1.2.3.4:80,1.2.3.5:81\n1.2.3.6:80,1.2.3.7:81\n",
        "name,age\nann,7\n",
        "[\n\"1.2.3.4:80\",\n\"1.2.3.5:81\"\n]",
        "{\"proxies\":[\n\"1.2.3.4:80\",\n\"1.2.3.5:81\"\n]}",
        "<table><tr><td>1.2.3.4</td><td>80</td></tr></table>",
    ] {
        assert_eq!(sniff(other), 0, "{other}");
        assert!(parse::<Csv>(&Document::of(other.as_bytes()), "{}").is_err(), "{other}");
    }
}

#[test]
fn a_delimiter_that_is_set_is_the_only_one() {
    let text = b"ip;port,x\n1.2.3.4;80,y\n";
    let ports = |options| {
        let parsed = parse::<Csv>(&Document::of(text), options);
        parsed.map(|parsed| parsed.candidates.iter().map(|one| one.port).collect::<Vec<_>>())
    };
    assert!(ports(r#"{"delimiter":"|"}"#).is_err());
    assert_eq!(ports(r#"{"delimiter":";"}"#), Ok(vec![]));
    let tabs = parse::<Csv>(&Document::of(b"ip\tport\n1.2.3.4\t80\n"), r#"{"delimiter":"tab"}"#).unwrap();
    assert_eq!(tabs.candidates.len(), 1);
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_code() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let delimiter = &schema["properties"]["delimiter"];
    let read = |value: &serde_json::Value| serde_json::from_value::<Delimiter>(value.clone()).unwrap();
    assert_eq!(read(&delimiter["default"]), Delimiter::default());
    let named: Vec<_> = delimiter["enum"].as_array().unwrap().iter().filter_map(|value| read(value).byte()).collect();
    assert_eq!(named, b",;|\t\t");
    assert!(parse::<Csv>(&Document::of(b"ip,port\n"), r#"{"separator":";"}"#).is_err());
}

proptest! {
    #[test]
    fn every_row_is_a_candidate_or_a_rejection(rows in prop::collection::vec("[0-9a-z.;\"-]{1,20}", 0..40)) {
        let rows: Vec<_> = rows.iter().filter(|row| !row.contains('"')).collect();
        let table = format!("ip,port\n{}", rows.iter().map(|row| format!("{row},80\n")).collect::<String>());
        let parsed = read(&table);
        prop_assert_eq!(parsed.candidates.len() + parsed.rejected as usize, rows.len());
    }

    #[test]
    fn bytes_of_any_kind_never_panic(body in any::<Vec<u8>>()) {
        let document = Document::of(&body);
        let _ = Csv::sniff(&document);
        drop(parse::<Csv>(&document, "{}"));
    }

    #[test]
    fn rows_of_any_kind_never_panic(rows in "ip,port\n([0-9.,\"a\n#:-]{0,200})") {
        drop(parse::<Csv>(&Document::of(rows.as_bytes()), "{}"));
    }

    #[test]
    fn candidates_survive_being_written_and_read(
        rows in prop::collection::vec((any::<u32>(), 1_u16.., "[ -~é]{1,12}"), 1..40),
    ) {
        let mut table = String::from("port;password;ip;user\n");
        for (bits, port, password) in &rows {
            let quoted = password.replace('"', "\"\"");
            table += &format!("{port};\"{quoted}\";{};me\n", std::net::Ipv4Addr::from(*bits));
        }
        let found = read(&table).candidates;
        prop_assert_eq!(found.len(), rows.len());
        for (found, (bits, port, password)) in found.iter().zip(rows) {
            prop_assert_eq!((&found.host, found.port), (&Host::Ipv4(bits), port));
            let expected = Some(password).filter(|password| !password.trim().is_empty());
            prop_assert_eq!(&found.password, &expected);
        }
    }
}
