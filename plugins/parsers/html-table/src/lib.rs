//! HTML table: tables of proxies in web pages.
//!
//! **When to use.** Pages that show a list as a table: with a header in any order, or without one,
//! when the columns can be told by what they hold. Several tables are read one after the other;
//! tables without hosts are passed over.
//!
//! **Options.** None.
//!
//! Columns are known by their names (`IP Address`, `Port`, `Code`, …, see
//! [`fields`](proxywhirl_plugin_sdk::fields)). A column "Https" is not looked at: it means that the
//! proxy supports CONNECT, not that one speaks TLS to it.
//!
//! Reference: <https://html.spec.whatwg.org/multipage/parsing.html>, whose tokenizer `html5gum` is.

mod table;

use proxywhirl_plugin_sdk::parser::{Collector, Document, Parser};
use proxywhirl_plugin_sdk::{Description, NoOptions};

/// Tables in web pages.
#[derive(Debug)]
pub struct HtmlTable;

impl Parser for HtmlTable {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new(
            "html-table",
            env!("CARGO_PKG_VERSION"),
            "Tables of proxies in web pages, with a header or without.",
        )
    }

    fn sniff(document: &Document<'_>) -> u8 {
        let body = document.body;
        let is_page = body.trim_ascii_start().starts_with(b"<") || document.content_type.contains("html");
        match (is_page, contains(body, b"<table") || contains(body, b"<td")) {
            (true, true) => 95,
            (true, false) => 30,
            (false, true) => 20,
            (false, false) => 0,
        }
    }

    fn parse(document: &Document<'_>, _: &NoOptions, collector: &mut Collector) -> Result<(), String> {
        let mut proxies = false;
        table::read(document.body, &mut |rows| {
            proxies |= table::collect(&rows, document.default_scheme, collector);
        });
        if proxies { Ok(()) } else { Err("no table with a column of hosts".to_owned()) }
    }
}

/// Whether a tag occurs, in any case. `tag` begins with `<` and is in lower case.
fn contains(body: &[u8], tag: &[u8]) -> bool {
    memchr::memchr_iter(b'<', body)
        .filter_map(|start| body.get(start..start + tag.len()))
        .any(|found| found.eq_ignore_ascii_case(tag))
}

proxywhirl_plugin_sdk::export!(parser: HtmlTable);

#[cfg(test)]
mod tests;
