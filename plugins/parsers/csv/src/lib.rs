//! CSV: comma-separated values (RFC 4180) and their kin, separated by tab, semicolon or bar.
//!
//! **When to use.** Tables that were exported: with a header in any order, or without one, when the
//! columns can be told by what they hold. Fields may be quoted; lines that begin with `#` are
//! comments.
//!
//! **Options.** None. The separator is the one that makes a table with hosts of the first lines.
//!
//! Columns are known by their names (`ip`, `Port`, `country_code`, …, see
//! [`fields`](proxywhirl_plugin_sdk::fields)). A row whose host or port is none is a rejection.

mod shape;

use proxywhirl_plugin_sdk::parser::{Collector, Document, Lines, Parser};
use proxywhirl_plugin_sdk::{Description, NoOptions};
use shape::Shape;

/// Comma-separated values.
#[derive(Debug)]
pub struct Csv;

impl Parser for Csv {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new(
            "csv",
            env!("CARGO_PKG_VERSION"),
            "Tables separated by comma, tab, semicolon or bar, with a header or without.",
        )
    }

    fn sniff(document: &Document<'_>) -> u8 {
        match Shape::of(document.body) {
            Some(shape) if shape.header.is_some() => 90,
            Some(_) => 75,
            None => 0,
        }
    }

    fn parse(document: &Document<'_>, _: &NoOptions, collector: &mut Collector) -> Result<(), String> {
        let body = document.body;
        let shape = Shape::of(body).ok_or("no table with a column of hosts")?;
        collector.reserve(memchr::memchr_iter(b'\n', body).count() + 1, body.len());
        let mut rows = shape::reader(body, shape.delimiter);
        let mut row = csv::ByteRecord::new();
        let mut lines = Lines::new(body);
        let mut number = 0_usize;
        while rows.read_byte_record(&mut row).map_err(|error| error.to_string())? {
            let end_of_last = row.position().map_or(0, csv::Position::byte);
            let line = lines.at(shape::start_of_row(body, end_of_last));
            number += 1;
            if shape.header == Some(number - 1) || row.iter().all(<[u8]>::is_empty) {
                continue;
            }
            if shape.header.is_some_and(|header| number <= header) {
                collector.reject(line, row.get(0).unwrap_or_default(), "before the header");
                continue;
            }
            let fields = shape.columns.read(row.iter());
            fields.collect(line, None, document.default_scheme, collector);
        }
        Ok(())
    }
}

proxywhirl_plugin_sdk::export!(parser: Csv);

#[cfg(test)]
mod tests;
