//! How a table is written: its separator, its header, its columns.

use crate::scan::Rows;
use proxywhirl_plugin_sdk::columns::Columns;

/// Separators, the likeliest first.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// Rows that the shape is told by.
const SAMPLE: usize = 20;

/// A header stands among so many rows at the beginning; before it may be a title.
const HEADER_WITHIN: usize = 5;

/// The beginning of the document that the sample is taken from.
const SAMPLE_BYTES: usize = 65_536;

/// How a table is written.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What separates fields.
    pub(crate) delimiter: u8,
    /// Which row is the header, counted from 0.
    pub(crate) header: Option<usize>,
    /// What the columns hold.
    pub(crate) columns: Columns,
}

impl Shape {
    /// The shape under which most of the first rows have as many fields as each other, and a
    /// column of hosts. None when there is none, and so it is no table of proxies. A delimiter that
    /// is given is the only one that is tried.
    pub(crate) fn of(body: &[u8], delimiter: Option<u8>) -> Option<Self> {
        let beginning = body.get(..SAMPLE_BYTES).unwrap_or(body);
        match beginning.trim_ascii_start() {
            // JSON has commas and quotes too, and pages have everything.
            [b'{' | b'<' | 0, ..] | [b'[', b'"' | b'{' | b' ' | b'\r' | b'\n', ..] => return None,
            _ => {}
        }
        if let Some(delimiter) = delimiter {
            return Self::with(beginning, delimiter).map(|(_, shape)| shape);
        }
        let shapes = DELIMITERS.into_iter().filter_map(|delimiter| Self::with(beginning, delimiter));
        // Of equals the first wins: `max_by_key` would take the last.
        shapes.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, shape)| shape)
    }

    fn with(beginning: &[u8], delimiter: u8) -> Option<((bool, usize), Self)> {
        let rows = sample(beginning, delimiter);
        let regular = |width| rows.iter().filter(|row| row.len() == width).count();
        let width = rows.iter().map(Vec::len).filter(|&width| width > 1).max_by_key(|&width| regular(width))?;
        let header = rows.iter().take(HEADER_WITHIN).enumerate().find_map(|(place, row)| {
            let columns = Columns::from_header(row).filter(|_| row.len() > 1)?;
            Some((place, columns))
        });
        let (header, columns) = match header {
            Some((place, columns)) => (Some(place), columns),
            None if regular(width) * 2 > rows.len() => (None, Columns::guess(&rows)?),
            None => return None,
        };
        Some(((header.is_some(), regular(width)), Self { delimiter, header, columns }))
    }
}

/// The first rows.
fn sample(beginning: &[u8], delimiter: u8) -> Vec<Vec<String>> {
    let mut rows = Rows::new(beginning, delimiter);
    let mut sample = Vec::new();
    while sample.len() < SAMPLE && rows.next_row().is_some() {
        let mut row = Vec::new();
        let mut more = true;
        while more {
            let cell = rows.next_cell();
            row.push(String::from_utf8_lossy(&cell.text).into_owned());
            more = cell.more;
        }
        sample.push(row);
    }
    sample
}
