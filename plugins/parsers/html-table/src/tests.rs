#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;
use proxywhirl_plugin_sdk::fields::Field;
use proxywhirl_plugin_sdk::parser::{Host, Parsed, parse};
use proxywhirl_plugin_sdk::{Anonymity, Scheme};

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
fn ports_that_a_script_writes_are_read() {
    let parsed = read(
        "<script>a1=7^5;b2=9^a1;</script><table>\n<tr><td>Proxy address:port</td><td>Proxy type</td></tr>\n\
         <tr><td>1.2.3.4<script type=\"text/javascript\">document.write(\"<font class=spy2>:<\\/font>\"+(a1^10)+(b2^11))\
         </script></td><td>SOCKS5</td></tr>\n\
         <tr><td><script>document.write(Base64.decode(\"MS4yLjMuNQ==\"))</script>:<script>document.write(atob('ODE='))</script>\
         <td>HTTP (Squid)</table>",
    );
    let found: Vec<_> = parsed.candidates.iter().map(|one| (&one.host, one.port, one.scheme, one.line)).collect();
    assert_eq!(
        found,
        [
            (&Host::Ipv4(0x0102_0304), 80, Some(Scheme::Socks5), 3),
            (&Host::Ipv4(0x0102_0305), 81, Some(Scheme::Http), 4)
        ]
    );
}

#[test]
fn a_port_that_is_a_picture_is_told() {
    let with_header =
        "<table><tr><th>IP<th>Port<tr><td>1.2.3.4<td><img src=p.png>\n<tr><td>1.2.3.5<td><img src=x> 80</table>";
    let without = "<table><tr><td>1.2.3.4<td><img src=p.png><tr><td>1.2.3.5<td><img src=q.png></table>";
    let list = "<dl><dt>IP<dd>1.2.3.4<dt>Port<dd><img src=p.png></dl>";
    for (page, candidates, rejected) in [(with_header, 1, 1), (without, 0, 2), (list, 0, 1)] {
        let parsed = read(page);
        assert_eq!((parsed.candidates.len(), parsed.rejected), (candidates, rejected), "{page}");
        let first = &parsed.rejections[0];
        assert_eq!((first.reason.as_str(), first.excerpt.as_str()), ("the port is a picture", "1.2.3.4"));
    }
}

#[test]
fn a_definition_list_is_a_proxy_or_several() {
    let parsed = read(
        "<dl>\n<dt>IP:</dt><dd>1.2.3.4</dd>\n<dt>Port:</dt><dd><b>80</b></dd><dt>Country<dd>de<dt>Speed<dd>5</dl>\n\
         <dl><dt>Port<dd>81<dt>IP<dd>1.2.3.5<dt>Port<dd>0<dt>IP<dd>1.2.3.6</dl><dl><dt>Tea<dd>A drink</dl>",
    );
    let found: Vec<_> = parsed.candidates.iter().map(|one| (one.port, one.country.as_str(), one.line)).collect();
    assert_eq!(found, [(80, "DE", 2), (81, "", 4)]);
    assert_eq!((parsed.rejected, parsed.rejections[0].line), (1, 4));
}

#[test]
fn without_a_table_the_text_is_searched() {
    let parsed = read(
        "<h1>Free list of 12:30</h1>\n<ul><li>1.2.3.4:80 US</li><li><b>1.2.3.4</b>:81,<li>1.2.3.4:<i>99999</i></ul>\n\
         <pre>\nsocks5://1.2.3.4:82\nproxy.example:83\n</pre><p>me@x.example, http://x.example/a:1 localhost:84\n\
         <p>1.2.3.4<script>document.write(':' + (1^84))</script>",
    );
    let found: Vec<_> = parsed.candidates.iter().map(|one| (one.port, one.line)).collect();
    assert_eq!(found, [(80, 2), (81, 2), (82, 4), (83, 5), (85, 7)]);
    assert_eq!(parsed.rejections[0].reason, "port 99999 is not in 1..65535");
    assert_eq!(parsed.rejected, 1);
}

#[test]
fn a_page_is_told_from_other_formats() {
    assert!(sniff(" <!doctype html><body><TABLE>") >= 90);
    assert!(sniff("<tr><td>1.2.3.4") >= 90);
    assert!((1..50).contains(&sniff("<html><p>nothing")));
    assert_eq!(sniff("1.2.3.4:80 # <p>\n"), 0);
    assert_eq!(sniff("[\"1.2.3.4:80\"]"), 0);
    assert!(parse::<HtmlTable>(&Document::of(b"<p>At 12:30, mail me@x.example:</p>"), "{}").is_err());
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
                "</script>", "1.2.3.4", "80", "&#x31;", "<dl>",
                "</dl>", "<dt>IP", "<dt>Port", "<dd>", "<img>", "<pre>", "document.write(", "1.2.3.4:80", ")", "a=1^", "<!--", "-->", "<", "\0",
            ]),
            0..60,
        ),
    ) {
        drop(parse::<HtmlTable>(&Document::of(tags.concat().as_bytes()), "{}"));
    }

    #[test]
    fn every_row_is_a_candidate_or_a_rejection(rows in prop::collection::vec("[0-9a-z.]{1,15}", 0..40)) {
        let page: String = rows.iter().map(|row| format!("<tr><td>80<td>{row}")).collect();
        let parsed = read(&format!("<table><tr><th>Port<th>IP{page}</table>"));
        // A header that comes again is passed over; a name begins with a letter.
        let is_name = |row: &&String| row.starts_with(|first: char| first.is_ascii_alphabetic()) && Field::named(row).is_some();
        let names = rows.iter().filter(is_name).count();
        prop_assert_eq!(parsed.candidates.len() + parsed.rejected as usize + names, rows.len());
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
