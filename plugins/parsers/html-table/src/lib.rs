//! HTML table: tables of proxies in web pages, and what else pages show a list as.
//!
//! **When to use.** Pages that show a list as a table: with a header in any order, or without one,
//! when the columns can be told by what they hold. Several tables are read one after the other;
//! tables without hosts are passed over. Likewise definition lists (`<dl><dt>IP</dt><dd>…`). Only
//! where there is neither, entries are looked for in the text of list items, paragraphs and `<pre>`.
//!
//! **Options.** None.
//!
//! Columns and terms are known by their names (`IP Address`, `Port`, `Code`, …, see
//! [`fields`](proxywhirl_plugin_sdk::fields)). A column "Https" is not looked at: it means that the
//! proxy supports CONNECT, not that one speaks TLS to it.
//!
//! Ports that a page hides are found where `document.write` writes them: sums, texts and XOR over
//! variables that the page's scripts set (as spys.one does), and Base64. A port that is a picture is a
//! rejection, and so is every row that says where a proxy is and is none.
//!
//! Reference: <https://html.spec.whatwg.org/multipage/parsing.html>.

mod definitions;
mod page;
mod prose;
mod script;
mod table;
mod text;
mod tokens;

use page::Part;
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
        let has = |tags: &[&[u8]]| tags.iter().any(|tag| contains(body, tag));
        match (is_page, has(&[b"<table", b"<td", b"<dl"])) {
            (true, true) => 95,
            (true, false) => 30,
            (false, true) => 20,
            (false, false) => 0,
        }
    }

    fn parse(document: &Document<'_>, _: &NoOptions, collector: &mut Collector) -> Result<(), String> {
        let default = document.default_scheme;
        let mut found = false;
        page::read(document.body, &mut |part| {
            found |= match part {
                Part::Table(table) => table::collect(&table, default, collector),
                Part::List(list) => definitions::collect(&list, default, collector),
            };
        });
        if found || prose::collect(document.body, default, collector) {
            Ok(())
        } else {
            Err("no table with a column of hosts, and no entry in the text".to_owned())
        }
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
