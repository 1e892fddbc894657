//! Parsing a list of one megabyte in WebAssembly, in each of the bundled formats: bytes and rows a second.
//!
//! Each run is what the pipeline does for a document: a fresh instance, the document copied in, the candidates lifted
//! out and every field of theirs checked again. Compiling is done before.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use proxywhirl_core::plugin::Document;
use proxywhirl_core::symbol::Symbols;
use proxywhirl_core::{Scheme, Timestamp};
use proxywhirl_wasm::{Plugins, PluginsConfig};

/// The length of a document, in bytes, to the nearest row.
const LENGTH: usize = 1_000_000;

static BUNDLE: LazyLock<Plugins> = LazyLock::new(|| {
    let config = PluginsConfig::new(Arc::new(Symbols::default()), Arc::new(|| Timestamp::from_micros(1)));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins/dist");
    Plugins::load(PluginsConfig { directory: Some(directory), ..config }).unwrap()
});

fn main() {
    divan::main();
}

/// The form of nine lists of ten: an address and a port.
#[divan::bench(max_time = 1.0)]
fn text(bencher: Bencher<'_, '_>) {
    parse(bencher, "text", document("", "", |out, address, port| writeln!(out, "{address}:{port}")));
}

/// The form of those who sell proxies: a URL with credentials.
#[divan::bench(max_time = 1.0)]
fn text_urls(bencher: Bencher<'_, '_>) {
    let row = |out: &mut String, address, port| writeln!(out, "socks5://user-{port}:pa%40ss@{address}:{port}");
    parse(bencher, "text", document("", "", row));
}

/// Objects of seven keys.
#[divan::bench(max_time = 1.0)]
fn json(bencher: Bencher<'_, '_>) {
    let row = |address, port| {
        format!(
            r#"{{"ip":"{address}","port":{port},"protocol":"http","country_code":"DE","anonymity":"elite","response_time":1243.5,"last_checked":"2026-08-22T18:26:26Z"}}"#
        )
    };
    parse(bencher, "json", elements("{\"proxies\":[", row, "]}"));
}

#[divan::bench(max_time = 1.0)]
fn json_objects_of_three(bencher: Bencher<'_, '_>) {
    let row = |address, port| format!(r#"{{"ip":"{address}","port":{port},"protocol":"socks5"}}"#);
    parse(bencher, "json", elements("[", row, "]"));
}

#[divan::bench(max_time = 1.0)]
fn json_strings(bencher: Bencher<'_, '_>) {
    parse(bencher, "json", elements("[", |address, port| format!("\"{address}:{port}\""), "]"));
}

/// Seven columns, one of them quoted.
#[divan::bench(max_time = 1.0)]
fn csv(bencher: Bencher<'_, '_>) {
    let head = "ip,port,protocol,country_code,country,response_time,last_checked\n";
    let row = |out: &mut String, address, port| {
        writeln!(out, "{address},{port},http,DE,\"Germany, Federal Republic of\",1243.5,2026-08-22T18:26:26Z")
    };
    parse(bencher, "csv", document(head, "", row));
}

#[divan::bench(max_time = 1.0)]
fn csv_of_three(bencher: Bencher<'_, '_>) {
    let row = |out: &mut String, address, port| writeln!(out, "{address},{port},socks5");
    parse(bencher, "csv", document("ip,port,protocol\n", "", row));
}

#[divan::bench(max_time = 1.0)]
fn html(bencher: Bencher<'_, '_>) {
    let head = "<!DOCTYPE html><html><body><table><thead><tr><th>IP Address</th><th>Port</th><th>Code</th>\
                <th>Anonymity</th><th>Https</th></tr></thead><tbody>\n";
    let row = |out: &mut String, address, port| {
        writeln!(
            out,
            "<tr><td>{address}</td><td>{port}</td><td>DE</td><td class=\"hm\">elite proxy</td><td>no</td></tr>"
        )
    };
    parse(bencher, "html-table", document(head, "</tbody></table></body></html>", row));
}

/// One row: what a fresh instance costs by itself.
#[divan::bench(max_time = 1.0)]
fn one_row(bencher: Bencher<'_, '_>) {
    let parser = BUNDLE.parser("text").unwrap();
    let (document, _) = document("", "", |out, address, port| writeln!(out, "{address}:{port}"));
    let document = Document { body: document.body[..16].into(), ..document };
    bencher.bench(|| parser.parse(&document).unwrap());
}

/// A document whose rows have a comma and a line end between them.
fn elements(head: &str, element: impl Fn(Ipv4Addr, u16) -> String, foot: &str) -> (Document, usize) {
    let row = |out: &mut String, address, port| {
        let comma = if out.len() == head.len() { "" } else { ",\n" };
        write!(out, "{comma}{}", element(address, port))
    };
    document(head, foot, row)
}

/// A document and its number of rows.
fn document(head: &str, foot: &str, row: impl Fn(&mut String, Ipv4Addr, u16) -> std::fmt::Result) -> (Document, usize) {
    let mut body = head.to_owned();
    let mut rows = 0;
    while body.len() < LENGTH {
        // Public addresses of one to three digits a part, and ports of two to five.
        let address = Ipv4Addr::from(0x0500_0000 + u32::try_from(rows * 7_919 % 0x0400_0000).unwrap());
        let port = [80, 8080, 3128, 443, 10_800][rows % 5];
        row(&mut body, address, port).unwrap();
        rows += 1;
    }
    body.push_str(foot);
    let document = Document {
        url: "https://lists.example/proxies".to_owned(),
        content_type: String::new(),
        body: body.into_bytes().into(),
        options: "{}".to_owned(),
        default_scheme: Scheme::Http,
    };
    (document, rows)
}

fn parse(bencher: Bencher<'_, '_>, name: &str, (document, rows): (Document, usize)) {
    let parser = BUNDLE.parser(name).unwrap();
    let parsed = parser.parse(&document).unwrap();
    assert_eq!((parsed.entries.len(), parsed.rejected), (rows, 0), "{:?}", parsed.rejections);
    bencher
        .counter(BytesCount::new(document.body.len()))
        .counter(ItemsCount::new(rows))
        .bench(|| parser.parse(&document).unwrap());
}
