//! JSON and JSON Lines.
//!
//! **When to use.** Answers of APIs, and lists that were published as JSON: arrays of strings
//! (`"1.2.3.4:80"`), arrays of objects (`{"ip": …, "port": …}`), lists by scheme
//! (`{"socks5": ["1.2.3.4:1080"]}`), `outbounds` of sing-box (those of the types `http` and `socks`),
//! and one value a line.
//!
//! **Options.** None are needed: keys are known by their names (`ip`, `port`, `protocols`,
//! `country_code`, …, see [`fields`](proxywhirl_plugin_sdk::fields)), and containers are walked whatever
//! they are called. For other names there are paths, keys with dots between them: `root = "data.items"`
//! is where the list is, `host = "node.addr"` where in an item the host is; likewise `endpoint` (a whole
//! entry), `port`, `scheme`, `username`, `password`, `country` and `anonymity`. A number is a place in an
//! array. Fields without a path are still known by their names among the item's own keys. An item at
//! such a path that is no proxy is a rejection.
//!
//! An object that lists several protocols is a candidate for each. The document is read as it streams
//! by: where it breaks, there is a rejection, and what came before counts.
//!
//! Reference: RFC 8259; <https://jsonlines.org>; <https://sing-box.sagernet.org/configuration/outbound/>.

mod paths;
mod scan;
mod walk;

use paths::Paths;
use proxywhirl_plugin_sdk::Description;
use proxywhirl_plugin_sdk::parser::{Collector, Document, Parser};
use scan::Broken;
use walk::{Place, Walker};

pub use paths::Options;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("options.json");

/// JSON and JSON Lines.
#[derive(Debug)]
pub struct Json;

impl Parser for Json {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "json",
            env!("CARGO_PKG_VERSION"),
            "JSON and JSON Lines: strings, objects, lists by scheme; for answers of APIs.",
        )
        .with_options(SCHEMA)
    }

    fn sniff(document: &Document<'_>) -> u8 {
        let text = document.body.trim_ascii_start();
        let Some((first, rest)) = text.split_first() else { return 0 };
        match (first, rest.trim_ascii_start().first()) {
            (b'{', Some(b'"' | b'}')) => 95,
            (b'[', Some(b'{' | b'[' | b'"' | b']')) => 95,
            // A string a line. Quoted CSV looks like it, and knows better.
            (b'"', Some(_)) => 30,
            _ => 0,
        }
    }

    fn parse(document: &Document<'_>, options: &Options, collector: &mut Collector) -> Result<(), String> {
        let paths = Paths::from(options);
        let mut walker = Walker::new(document.body, &paths, document.default_scheme, collector);
        let mut place = Place::Root;
        while let Some(next) = walker.scan.peek() {
            let first = walker.scan.line();
            // `1.2.3.4` begins with a number.
            let read = match next {
                b'{' | b'[' | b'"' => walker.document(place),
                _ => Err(Broken("expected an object, an array or a string")),
            };
            if let Err(Broken(reason)) = read {
                let (line, column) = (walker.scan.line(), walker.scan.column());
                if place == Place::Root && walker.collector.counts() == (0, 0) {
                    return Err(format!("not JSON: {reason} at line {line} column {column}"));
                }
                walker.collector.reject(line, b"", format_args!("broken JSON at column {column}: {reason}"));
                // In JSON Lines the next line is a value of its own.
                if line != first || !walker.scan.next_line() {
                    return Ok(());
                }
            }
            place = Place::Element;
        }
        if place == Place::Root {
            return Err("not JSON: empty".to_owned());
        }
        if !walker.found_root && !paths.is_empty() {
            return Err("nothing where the option root points".to_owned());
        }
        Ok(())
    }
}

proxywhirl_plugin_sdk::export!(parser: Json);

#[cfg(test)]
mod tests;
