//! How a table is written: its separator, its header, its columns.

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
    /// column of hosts. None when there is none, and so it is no table of proxies.
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        let beginning = body.get(..SAMPLE_BYTES).unwrap_or(body);
        match beginning.trim_ascii_start() {
            // JSON has commas and quotes too, and pages have everything.
            [b'{' | b'<' | 0, ..] | [b'[', b'"' | b'{' | b' ' | b'\r' | b'\n', ..] => return None,
            _ => {}
        }
        let shapes = DELIMITERS.into_iter().filter_map(|delimiter| Self::with(beginning, delimiter));
        // Of equals the first wins: `max_by_key` would take the last.
        shapes.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, shape)| shape)
    }

    fn with(beginning: &[u8], delimiter: u8) -> Option<((bool, usize), Self)> {
        let rows: Vec<Vec<String>> = reader(beginning, delimiter)
            .into_byte_records()
            .take(SAMPLE)
            .map_while(Result::ok)
            .map(|row| row.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect())
            .collect();
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

/// Rows of any width, without comments.
pub(crate) fn reader(body: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(body)
}

/// Where a row begins: the reader's position is the end of the row before it, so that blank lines
/// and comments may follow.
pub(crate) fn start_of_row(body: &[u8], end_of_last: u64) -> usize {
    let mut at = usize::try_from(end_of_last).unwrap_or(usize::MAX);
    while let Some(rest) = body.get(at..) {
        match rest.first() {
            Some(b'\r' | b'\n') => at += 1,
            Some(b'#') => at += memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
            Some(_) | None => break,
        }
    }
    at
}
