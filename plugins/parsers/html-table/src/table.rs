//! Tables as rows of text, and rows of text as candidates.

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};
use proxywhirl_plugin_sdk::Scheme;
use proxywhirl_plugin_sdk::columns::Columns;
use proxywhirl_plugin_sdk::parser::{Collector, Lines};

/// A header stands among so many rows at the beginning.
const HEADER_WITHIN: usize = 5;

/// Rows that the columns are guessed from.
const SAMPLE: usize = 20;

/// Tables within tables beyond this depth are read as part of the one around them.
const MAX_DEPTH: usize = 16;

/// The text of a cell is cut there: no entry is longer.
const MAX_CELL: usize = 2048;

/// A row of a table.
#[derive(Debug, Default)]
pub(crate) struct Row {
    line: u32,
    cells: Vec<String>,
}

/// Calls back with the rows of each table, when it ends.
pub(crate) fn read(body: &[u8], table: &mut dyn FnMut(Vec<Row>)) {
    let mut reader = Reader { open: vec![Vec::new()], ..Reader::default() };
    let mut lines = Lines::new(body);
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, span: Span<usize>| -> Option<()> {
        match event {
            CallbackEvent::OpenStartTag { name } => reader.start(name, lines.at(span.start), table),
            CallbackEvent::EndTag { name } => reader.end(name, table),
            CallbackEvent::String { value } => reader.text(value),
            CallbackEvent::AttributeName { .. }
            | CallbackEvent::AttributeValue { .. }
            | CallbackEvent::CloseStartTag { .. }
            | CallbackEvent::Comment { .. }
            | CallbackEvent::Doctype { .. }
            | CallbackEvent::Error(_) => {}
        }
        None
    });
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(body, emitter).for_each(drop);
    while let Some(rows) = reader.open.pop() {
        table(rows);
    }
}

/// The tables that are open, the innermost last. The first is there for rows outside of any.
#[derive(Debug, Default)]
struct Reader {
    open: Vec<Vec<Row>>,
    in_cell: bool,
    /// The element whose text is no text for people.
    hidden: Option<&'static [u8]>,
}

impl Reader {
    fn start(&mut self, name: &[u8], line: u32, table: &mut dyn FnMut(Vec<Row>)) {
        match name {
            b"table" => {
                if self.open.len() == 1 {
                    self.flush(table);
                }
                if self.open.len() < MAX_DEPTH {
                    self.open.push(Vec::new());
                }
                self.in_cell = false;
            }
            b"tr" => {
                self.rows(|rows| rows.push(Row { line, cells: Vec::new() }));
                self.in_cell = false;
            }
            b"td" | b"th" => {
                self.rows(|rows| match rows.last_mut() {
                    Some(row) => row.cells.push(String::new()),
                    None => rows.push(Row { line, cells: vec![String::new()] }),
                });
                self.in_cell = true;
            }
            b"script" => self.hidden = Some(b"script"),
            b"style" => self.hidden = Some(b"style"),
            b"br" | b"p" | b"div" | b"li" => self.text(b" "),
            _ => {}
        }
    }

    fn end(&mut self, name: &[u8], table: &mut dyn FnMut(Vec<Row>)) {
        match name {
            b"table" => {
                if self.open.len() > 1 {
                    self.flush(table);
                    self.open.pop();
                }
                self.in_cell = false;
            }
            b"tr" | b"td" | b"th" => self.in_cell = false,
            _ if self.hidden == Some(name) => self.hidden = None,
            _ => {}
        }
    }

    fn text(&mut self, text: &[u8]) {
        if !self.in_cell || self.hidden.is_some() {
            return;
        }
        self.rows(|rows| {
            let cell = rows.last_mut().and_then(|row| row.cells.last_mut());
            if let Some(cell) = cell.filter(|cell| cell.len() < MAX_CELL) {
                cell.push_str(&String::from_utf8_lossy(text));
            }
        });
    }

    fn rows(&mut self, change: impl FnOnce(&mut Vec<Row>)) {
        if let Some(rows) = self.open.last_mut() {
            change(rows);
        }
    }

    fn flush(&mut self, table: &mut dyn FnMut(Vec<Row>)) {
        self.rows(|rows| table(std::mem::take(rows)));
    }
}

/// Gives the collector the rows of a table, and tells whether it is one of proxies at all.
pub(crate) fn collect(rows: &[Row], default: Scheme, collector: &mut Collector) -> bool {
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row.cells.iter().map(|cell| words(cell)).collect()).collect();
    let header = cells.iter().take(HEADER_WITHIN).position(|row| Columns::from_header(row).is_some());
    let columns = match header.and_then(|header| cells.get(header)) {
        Some(header) => Columns::from_header(header),
        None => {
            let sample: Vec<_> = cells.iter().filter(|row| row.len() > 1).take(SAMPLE).cloned().collect();
            Columns::guess(&sample)
        }
    };
    let Some(columns) = columns else { return false };
    for (row, cells) in rows.iter().zip(&cells).skip(header.map_or(0, |header| header + 1)) {
        // Some tables have their header again at the end.
        if cells.is_empty() || Columns::from_header(cells).is_some() {
            continue;
        }
        let fields = columns.read(cells.iter().map(|cell| cell.as_bytes()));
        if !fields.is_bare() {
            fields.collect(row.line, None, default, collector);
        }
    }
    true
}

/// The text with one space for each stretch of white space.
fn words(cell: &str) -> String {
    cell.split_whitespace().collect::<Vec<_>>().join(" ")
}
