//! Lists of a given length, in each of the formats that the field has.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// A list: its file name, its text, and how many proxies are in it.
pub(super) struct List {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) rows: usize,
}

/// A list of about `length` bytes in each format.
pub(super) fn all(length: usize) -> Vec<List> {
    let line = |out: &mut String, at: Ipv4Addr, port| writeln!(out, "{at}:{port}");
    let csv = |out: &mut String, at: Ipv4Addr, port| {
        writeln!(out, "{at},{port},http,DE,\"Germany, Federal Republic of\",1243.5,2026-08-22T18:26:26Z")
    };
    let json = |out: &mut String, at: Ipv4Addr, port| {
        let comma = if out.ends_with('}') { ",\n" } else { "" };
        write!(
            out,
            r#"{comma}{{"ip":"{at}","port":{port},"protocol":"http","country_code":"DE","anonymity":"elite","response_time":1243.5}}"#
        )
    };
    let jsonl = |out: &mut String, at: Ipv4Addr, port| {
        writeln!(out, r#"{{"host":"{at}","port":{port},"protocol":"socks5","country":"DE"}}"#)
    };
    let html = |out: &mut String, at: Ipv4Addr, port| {
        writeln!(out, "<tr><td>{at}</td><td>{port}</td><td>DE</td><td class=\"hm\">elite proxy</td><td>no</td></tr>")
    };
    let table = "<!DOCTYPE html><html><body><table><thead><tr><th>IP Address</th><th>Port</th><th>Code</th>\
                 <th>Anonymity</th><th>Https</th></tr></thead><tbody>\n";
    vec![
        list("list.txt", length, "", "", line),
        list("list.csv", length, "ip,port,protocol,country_code,country,response_time,last_checked\n", "", csv),
        list("list.json", length, "{\"proxies\":[", "]}", json),
        list("list.jsonl", length, "", "", jsonl),
        list("list.html", length, table, "</tbody></table></body></html>", html),
    ]
}

fn list(
    name: &'static str,
    length: usize,
    head: &str,
    foot: &str,
    row: impl Fn(&mut String, Ipv4Addr, u16) -> std::fmt::Result,
) -> List {
    let (mut text, mut rows) = (head.to_owned(), 0);
    while text.len() < length {
        // Public addresses of one to three digits a part, and ports of two to five.
        let at = Ipv4Addr::from(0x0500_0000 + u32::try_from(rows * 7_919 % 0x0400_0000).unwrap_or(0));
        let port = [80, 8080, 3128, 443, 10_800].get(rows % 5).copied().unwrap_or(80);
        // Writing to a string does not fail.
        if row(&mut text, at, port).is_err() {
            break;
        }
        rows += 1;
    }
    text.push_str(foot);
    List { name, text, rows }
}
