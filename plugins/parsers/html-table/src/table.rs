//! Rows of a table as candidates.

use crate::page::{Cell, Table};
use crate::text::tidy;
use proxywhirl_plugin_sdk::Scheme;
use proxywhirl_plugin_sdk::columns::Columns;
use proxywhirl_plugin_sdk::fields::{Field, Fields};
use proxywhirl_plugin_sdk::parser::Collector;
use std::borrow::Cow;

/// A header stands among so many rows at the beginning.
const HEADER_WITHIN: usize = 5;

/// Rows that the columns are guessed from.
const SAMPLE: usize = 20;

/// Columns beyond this one are not looked at.
const MAX_COLUMNS: usize = 64;

/// Why a row is none whose port is a picture.
pub(crate) const PICTURE: &str = "the port is a picture";

/// Gives the collector the rows of a table, and tells whether it is one of proxies at all.
pub(crate) fn collect(table: &Table<'_>, default: Scheme, collector: &mut Collector) -> bool {
    let header = table.rows().take(HEADER_WITHIN).enumerate().find_map(|(place, (_, cells))| {
        let columns = Columns::from_header(&texts(cells, None))?;
        Some((place, columns))
    });
    let (header, columns) = match header {
        Some((place, columns)) => (Some(place), Some(columns)),
        // Ports that are pictures would leave the hosts without a column beside them.
        None => (None, guess(table, None).or_else(|| guess(table, Some("1")))),
    };
    let Some(columns) = columns else { return false };
    let place = (0..MAX_COLUMNS).find(|&column| matches!(columns.field(column), Some(Field::Host | Field::Endpoint)));
    for (line, cells) in table.rows().skip(header.map_or(0, |header| header + 1)) {
        if !place.and_then(|place| cells.get(place)).is_some_and(is_name) {
            collect_row(line, cells, &columns, default, collector);
        }
    }
    true
}

/// Whether it is the name of a column: some tables have their header again.
fn is_name(cell: &Cell<'_>) -> bool {
    let text = tidy(&cell.text);
    let may_be = text.first().is_some_and(u8::is_ascii_alphabetic);
    may_be && std::str::from_utf8(&text).is_ok_and(|name| Field::named(name).is_some())
}

fn collect_row(line: u32, cells: &[Cell<'_>], columns: &Columns, default: Scheme, collector: &mut Collector) {
    let mut fields = Fields::default();
    let mut picture = false;
    for (column, cell) in cells.iter().enumerate().take(MAX_COLUMNS) {
        let Some(field) = columns.field(column) else { continue };
        match tidy(&cell.text) {
            Cow::Borrowed(text) => {
                picture |= field == Field::Port && cell.has_image && text.is_empty();
                fields.set_bytes(field, text);
            }
            Cow::Owned(text) => fields.set(field, String::from_utf8_lossy(&text).into_owned().into()),
        }
    }
    if picture && fields.names_a_proxy() && !fields.is_complete() {
        collector.reject(line, &fields.excerpt(), PICTURE);
    } else if !fields.is_bare() {
        fields.collect(line, None, default, collector);
    }
}

fn guess(table: &Table<'_>, picture: Option<&str>) -> Option<Columns> {
    let rows = table.rows().filter(|(_, cells)| cells.len() > 1).take(SAMPLE);
    let sample: Vec<_> = rows.map(|(_, cells)| texts(cells, picture)).collect();
    Columns::guess(&sample)
}

/// The texts of a row, and for pictures without any this one.
fn texts(cells: &[Cell<'_>], picture: Option<&str>) -> Vec<String> {
    let cells = cells.iter().take(MAX_COLUMNS);
    let text = |cell: &Cell<'_>| match (String::from_utf8_lossy(&tidy(&cell.text)), picture) {
        (text, Some(picture)) if text.is_empty() && cell.has_image => picture.to_owned(),
        (text, _) => text.into_owned(),
    };
    cells.map(text).collect()
}
