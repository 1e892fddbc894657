#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::Anonymity;
use proxywhirl_plugin_sdk::parser::{Host, Parsed, parse};

fn read(page: &str) -> Parsed {
    parse::<HtmlTable>(&Document::of(page.as_bytes()), "{}").unwrap()
}

fn ports(page: &str) -> Vec<u16> {
    read(page).candidates.iter().map(|found| found.port).collect()
}

fn sniff(page: &str) -> u8 {
    HtmlTable::sniff(&Document::of(page.as_bytes()))
}

#[test]
fn a_header_names_the_columns_in_any_order_and_https_is_no_scheme() {
    let parsed = read(
        "<!DOCTYPE html>\n<TABLE class=x><thead><tr><th>Port<th>Https</th><th>IP&nbsp;Address</th><th>Code\
         </th><th>Anonymity</th></tr></thead>\n<tbody>\n<tr><td>8080</td><td>yes</td><td>1.2.3.4</td>\
         <td>de</td><td>elite proxy</td></tr></tbody></TABLE>",
    );
    let found = &parsed.candidates[0];
    assert_eq!((&found.host, found.port, found.line), (&Host::Ipv4(0x0102_0304), 8080, 4));
    assert_eq!((found.scheme, found.anonymity), (None, Anonymity::Elite));
    assert_eq!(found.country, "DE");
}

#[test]
fn without_a_header_columns_are_told_by_what_they_hold() {
    assert_eq!(ports("<table><tr><td>1<td>1.2.3.4<td>80<tr><td>2<td>1.2.3.5<td>81</table>"), [80, 81]);
    assert_eq!(ports("<td>1.2.3.4</td><td>80</td>"), [80]);
    assert_eq!(ports("<table><tr><td>x<td>socks5://1.2.3.4:82</table>"), [82]);
}

#[test]
fn a_cell_is_the_text_that_people_see() {
    let page = "<table><tr><th>IP<th>Port</tr><tr><td><script>var a = '<td>';</script> <b>1.2.</b><i>3&#46;4</i>\
                <!-- 9 --><style>td{}</style>\n</td><td><a href=x>8<span>0</span></a></td></tr></table>";
    let parsed = read(page);
    assert_eq!(parsed.candidates[0].host, Host::Ipv4(0x0102_0304));
    assert_eq!(parsed.candidates[0].port, 80);
}

#[test]
fn several_tables_are_read_and_those_without_hosts_passed_over() {
    let page = "<table><tr><td>menu<td>more</table><table><tr><th>IP<th>Port<tr><td>1.2.3.4<td>80</table>\
                <table><tr><td><table><tr><td>1.2.3.5<td>81</table></table>";
    let parsed = read(page);
    assert_eq!(parsed.candidates.iter().map(|found| found.port).collect::<Vec<_>>(), [80, 81]);
    assert_eq!(parsed.rejected, 0);
}

#[test]
fn bad_rows_are_told_with_their_line_and_the_rest_is_read() {
    let parsed = read(
        "<table>\n<tr><th>IP<th>Port\n<tr><td>1.2.3.4<td>0\n<tr><td colspan=2>buy now\n<tr><td>1.2.3.4<td>80\n\
         <tr><td><td>\n<tr><th>IP<th>Port</table>",
    );
    let told: Vec<_> = parsed.rejections.iter().map(|one| (one.line, one.reason.as_str())).collect();
    assert_eq!(told, [(3, "port 0 is not in 1..65535"), (4, "white space inside")]);
    assert_eq!(parsed.candidates.len(), 1);
}

#[test]
fn a_page_is_told_from_other_formats() {
    assert!(sniff(" <!doctype html><body><TABLE>") >= 90);
    assert!(sniff("<tr><td>1.2.3.4") >= 90);
    assert!((1..50).contains(&sniff("<html><p>nothing")));
    assert_eq!(sniff("1.2.3.4:80 # <p>\n"), 0);
    assert_eq!(sniff("[\"1.2.3.4:80\"]"), 0);
    assert!(parse::<HtmlTable>(&Document::of(b"<p>1.2.3.4:80</p>"), "{}").is_err());
}

#[test]
fn tables_within_tables_are_bounded() {
    let deep = format!("{}<tr><td>1.2.3.4<td>80", "<table>".repeat(10_000));
    assert_eq!(ports(&deep), [80]);
}

#[test]
fn there_are_no_options() {
    let schema: serde_json::Value = serde_json::from_str(&HtmlTable::describe().options_schema).unwrap();
    assert_eq!(schema["additionalProperties"], false);
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(body in any::<Vec<u8>>()) {
        let document = Document::of(&body);
        let _ = HtmlTable::sniff(&document);
        drop(parse::<HtmlTable>(&document, "{}"));
    }

    #[test]
    fn tags_in_any_order_never_panic(
        tags in prop::collection::vec(
            prop::sample::select(vec![
                "<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>", "<th>IP", "<th>Port", "<script>",
                "</script>", "1.2.3.4", "80", "&#x31;", "<!--", "-->", "<", "\0",
            ]),
            0..60,
        ),
    ) {
        drop(parse::<HtmlTable>(&Document::of(tags.concat().as_bytes()), "{}"));
    }

    #[test]
    fn candidates_survive_being_written_and_read(
        rows in prop::collection::vec((any::<u32>(), 1_u16..), 1..40),
    ) {
        let mut page = String::from("<table><tr><th>Port</th><th>IP</th></tr>");
        for (bits, port) in &rows {
            page += &format!("<tr><td>{port}</td><td>{}</td></tr>", std::net::Ipv4Addr::from(*bits));
        }
        let found: Vec<_> = read(&page).candidates.into_iter().map(|one| (one.host, one.port)).collect();
        let expected: Vec<_> = rows.into_iter().map(|(bits, port)| (Host::Ipv4(bits), port)).collect();
        prop_assert_eq!(found, expected);
    }
}
