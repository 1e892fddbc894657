//! CSV: comma-separated values (RFC 4180) and their kin, separated by tab, semicolon or bar.
//!
//! **When to use.** Tables that were exported: with a header in any order, or without one, when the
//! columns can be told by what they hold. Fields may be quoted; lines that begin with `#` are
//! comments.
//!
//! **Options.** `delimiter` (`,`, `;`, `|`, `tab`): what separates the fields. Without it, it is the
//! one that makes a table with hosts of the first lines.
//!
//! Columns are known by their names (`ip`, `Port`, `country_code`, …, see
//! [`fields`](proxywhirl_plugin_sdk::fields)). A row whose host or port is none is a rejection.

mod scan;
mod shape;

use proxywhirl_plugin_sdk::Description;
use proxywhirl_plugin_sdk::fields::Fields;
use proxywhirl_plugin_sdk::parser::{Collector, Document, Parser};
use scan::Rows;
use serde::Deserialize;
use shape::Shape;
use std::borrow::Cow;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("options.json");

/// What users may set.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// What separates the fields; told by the first lines when it is not set.
    delimiter: Delimiter,
}

/// What separates fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum Delimiter {
    #[default]
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = ",")]
    Comma,
    #[serde(rename = ";")]
    Semicolon,
    #[serde(rename = "|")]
    Bar,
    #[serde(rename = "tab", alias = "\t")]
    Tab,
}

impl Delimiter {
    const fn byte(self) -> Option<u8> {
        match self {
            Self::Auto => None,
            Self::Comma => Some(b','),
            Self::Semicolon => Some(b';'),
            Self::Bar => Some(b'|'),
            Self::Tab => Some(b'\t'),
        }
    }
}

/// Comma-separated values.
#[derive(Debug)]
pub struct Csv;

impl Parser for Csv {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "csv",
            env!("CARGO_PKG_VERSION"),
            "Tables separated by comma, tab, semicolon or bar, with a header or without.",
        )
        .with_options(SCHEMA)
    }

    fn sniff(document: &Document<'_>) -> u8 {
        match Shape::of(document.body, None) {
            Some(shape) if shape.header.is_some() => 90,
            Some(_) => 75,
            None => 0,
        }
    }

    fn parse(document: &Document<'_>, options: &Options, collector: &mut Collector) -> Result<(), String> {
        let body = document.body;
        let shape = Shape::of(body, options.delimiter.byte()).ok_or("no table with a column of hosts")?;
        let mut rows = Rows::new(body, shape.delimiter);
        let mut above = shape.header.map_or(0, |header| header + 1);
        while let Some(line) = rows.next_row() {
            if above > 0 {
                above -= 1;
                let first = first_cell(&mut rows);
                if above > 0 && !first.is_empty() {
                    collector.reject(line, &first, "before the header");
                }
            } else if let Some(fields) = fields(&mut rows, &shape) {
                fields.collect(line, None, document.default_scheme, collector);
            }
        }
        Ok(())
    }
}

/// Reads a row to its end; none when it is empty.
fn fields<'b>(rows: &mut Rows<'b>, shape: &Shape) -> Option<Fields<'b>> {
    let mut fields = Fields::default();
    let mut is_empty = true;
    for column in 0.. {
        let cell = rows.next_cell();
        is_empty &= cell.text.is_empty();
        if let Some(field) = shape.columns.field(column) {
            match cell.text {
                Cow::Borrowed(text) => fields.set_bytes(field, text),
                Cow::Owned(text) => fields.set(field, String::from_utf8_lossy(&text).into_owned().into()),
            }
        }
        if !cell.more {
            break;
        }
        if !is_empty && column + 1 >= shape.columns.width() {
            rows.skip_row();
            break;
        }
    }
    (!is_empty).then_some(fields)
}

/// Reads a row to its end, and answers with its first field.
fn first_cell<'b>(rows: &mut Rows<'b>) -> Cow<'b, [u8]> {
    let first = rows.next_cell();
    let mut more = first.more;
    while more {
        more = rows.next_cell().more;
    }
    first.text
}

proxywhirl_plugin_sdk::export!(parser: Csv);

#[cfg(test)]
mod tests;
