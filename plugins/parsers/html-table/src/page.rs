//! A page as the tables and definition lists that are in it.

use crate::script::Scripts;
use crate::text;
use crate::tokens::{Tag, Token, Tokens};
use proxywhirl_plugin_sdk::parser::Lines;
use std::borrow::Cow;

/// Tables within tables beyond this depth are read as part of the one around them.
const MAX_DEPTH: usize = 16;

/// The text of a cell, of a term or of a definition, as it stands in the page.
#[derive(Debug, Default, Clone)]
pub(crate) struct Cell<'b> {
    pub(crate) text: Cow<'b, [u8]>,
    /// Whether there is a picture in it.
    pub(crate) has_image: bool,
}

/// A table: rows of cells.
#[derive(Debug, Default)]
pub(crate) struct Table<'b> {
    /// The line that each row begins in, and its first cell.
    starts: Vec<(u32, usize)>,
    cells: Vec<Cell<'b>>,
}

impl<'b> Table<'b> {
    /// The line and the cells of each row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u32, &[Cell<'b>])> {
        let ends = self.starts.iter().skip(1).map(|&(_, start)| start).chain([self.cells.len()]);
        self.starts.iter().zip(ends).map(|(&(line, start), end)| (line, self.cells.get(start..end).unwrap_or_default()))
    }
}

/// A term and its definition, and the line of the term.
#[derive(Debug, Default)]
pub(crate) struct Definition<'b> {
    pub(crate) line: u32,
    pub(crate) term: Cell<'b>,
    pub(crate) text: Cell<'b>,
}

/// A part of a page.
#[derive(Debug)]
pub(crate) enum Part<'b> {
    Table(Table<'b>),
    List(Vec<Definition<'b>>),
}

/// Calls back with each table and each list, when it ends.
pub(crate) fn read<'b>(body: &'b [u8], part: &mut dyn FnMut(Part<'b>)) {
    let mut lines = Lines::new(body);
    let mut reader = Reader { tables: vec![Table::default()], ..Reader::default() };
    for token in Tokens::new(body) {
        match token {
            Token::Text(piece) => {
                if let Some(cell) = reader.target() {
                    text::add(&mut cell.text, piece);
                }
            }
            Token::Start(tag, at) => reader.start(tag, || lines.at(at), part),
            Token::End(tag) => reader.end(tag, part),
            Token::Script(code) => reader.script(code),
        }
    }
    reader.end(Tag::Definitions, part);
    while let Some(table) = reader.tables.pop() {
        part(Part::Table(table));
    }
}

/// The text that `document.write` adds.
pub(crate) fn add_written(cell: &mut Cow<'_, [u8]>, written: &str) {
    for token in Tokens::new(written.as_bytes()) {
        if let Token::Text(piece) = token {
            let mut decoded = Cow::Borrowed(&b""[..]);
            text::add(&mut decoded, piece);
            cell.to_mut().extend(&*decoded);
        }
    }
}

/// What text belongs to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Target {
    #[default]
    Nothing,
    Cell,
    Term,
    Definition,
}

#[derive(Debug, Default)]
struct Reader<'b> {
    /// The tables that are open, the innermost last. The first is there for rows outside of any.
    tables: Vec<Table<'b>>,
    list: Vec<Definition<'b>>,
    target: Target,
    scripts: Scripts,
}

impl<'b> Reader<'b> {
    fn start(&mut self, tag: Tag, line: impl FnOnce() -> u32, part: &mut dyn FnMut(Part<'b>)) {
        match tag {
            Tag::Table => {
                if self.tables.len() == 1 {
                    self.flush(part);
                }
                if self.tables.len() < MAX_DEPTH {
                    self.tables.push(Table::default());
                }
                self.target = Target::Nothing;
            }
            Tag::Row => {
                if let Some(table) = self.tables.last_mut() {
                    table.starts.push((line(), table.cells.len()));
                }
                self.target = Target::Nothing;
            }
            Tag::Cell => {
                if let Some(table) = self.tables.last_mut() {
                    if table.starts.is_empty() {
                        table.starts.push((line(), 0));
                    }
                    table.cells.push(Cell::default());
                }
                self.target = Target::Cell;
            }
            Tag::Definitions => self.end(Tag::Definitions, part),
            Tag::Term => {
                self.list.push(Definition { line: line(), ..Definition::default() });
                self.target = Target::Term;
            }
            Tag::Definition => self.target = Target::Definition,
            Tag::Image => {
                if let Some(cell) = self.target() {
                    cell.has_image = true;
                }
            }
            Tag::Block => self.separate(),
            Tag::Script | Tag::Hidden | Tag::Inline => {}
        }
    }

    fn end(&mut self, tag: Tag, part: &mut dyn FnMut(Part<'b>)) {
        match tag {
            Tag::Table => {
                if self.tables.len() > 1 {
                    self.flush(part);
                    self.tables.pop();
                }
                self.target = Target::Nothing;
            }
            Tag::Row | Tag::Cell | Tag::Term | Tag::Definition => self.target = Target::Nothing,
            Tag::Definitions => {
                if !self.list.is_empty() {
                    part(Part::List(std::mem::take(&mut self.list)));
                }
                self.target = Target::Nothing;
            }
            Tag::Script | Tag::Image | Tag::Hidden | Tag::Block | Tag::Inline => {}
        }
    }

    fn script(&mut self, code: &[u8]) {
        let written = self.scripts.run(code);
        if let Some(cell) = self.target().filter(|_| !written.is_empty()) {
            add_written(&mut cell.text, &written);
        }
    }

    /// Keeps apart what stands in different lines of a cell.
    fn separate(&mut self) {
        if let Some(cell) = self.target().filter(|cell| !cell.text.is_empty()) {
            cell.text.to_mut().push(b' ');
        }
    }

    fn target(&mut self) -> Option<&mut Cell<'b>> {
        match self.target {
            Target::Nothing => None,
            Target::Cell => self.tables.last_mut()?.cells.last_mut(),
            Target::Term => self.list.last_mut().map(|definition| &mut definition.term),
            Target::Definition => self.list.last_mut().map(|definition| &mut definition.text),
        }
    }

    fn flush(&mut self, part: &mut dyn FnMut(Part<'b>)) {
        if let Some(table) = self.tables.last_mut() {
            part(Part::Table(std::mem::take(table)));
        }
    }
}
