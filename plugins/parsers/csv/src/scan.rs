//! A scanner of separated values (RFC 4180) that yields one field after the other, borrowed from the
//! document.
//!
//! Written by hand, and the library `csv` is only what it is tested against: a state machine that
//! takes each byte, and copies it, took half of the time that a list is read in. Like that library it
//! takes any text: a quote means something at the beginning of a field only, what follows a closing
//! quote belongs to the field, a quote that is never closed goes on to the end; blank lines are no
//! rows, and neither are those that begin with `#`. It looks at each byte once and never goes back.

#[cfg(test)]
mod tests;

use proxywhirl_plugin_sdk::bytes;
use std::borrow::Cow;

/// The rows of a document, and the place in them.
#[derive(Debug)]
pub(crate) struct Rows<'b> {
    body: &'b [u8],
    at: usize,
    line: u32,
    delimiter: u8,
}

/// A field.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cell<'b> {
    /// What it holds, without the quotes around it.
    pub(crate) text: Cow<'b, [u8]>,
    /// Whether another one follows in the row.
    pub(crate) more: bool,
}

impl<'b> Rows<'b> {
    pub(crate) const fn new(body: &'b [u8], delimiter: u8) -> Self {
        Self { body, at: 0, line: 1, delimiter }
    }

    /// Goes to the beginning of the next row, and tells its line, counted from 1; the row before must
    /// have been read to its end.
    #[inline]
    pub(crate) fn next_row(&mut self) -> Option<u32> {
        loop {
            match self.body.get(self.at)? {
                b'\r' | b'\n' => self.end_line(),
                b'#' => {
                    let rest = self.body.get(self.at..).unwrap_or_default();
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                _ => return Some(self.line),
            }
        }
    }

    /// The next field of the row.
    #[inline]
    pub(crate) fn next_cell(&mut self) -> Cell<'b> {
        let text = match self.body.get(self.at) {
            Some(b'"') => self.quoted(),
            _ => Cow::Borrowed(self.plain()),
        };
        let more = self.body.get(self.at) == Some(&self.delimiter);
        if more {
            self.at += 1;
        } else {
            self.end_line();
        }
        Cell { text, more }
    }

    /// Reads the row to its end, from the beginning of a field.
    #[inline]
    pub(crate) fn skip_row(&mut self) {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let length = bytes::find_any(rest, [b'"', b'\n', b'\r']);
        if rest.get(length) == Some(&b'"') {
            // A line end in quotes does not end the row.
            while self.next_cell().more {}
        } else {
            self.at += length;
            self.end_line();
        }
    }

    /// What comes before the next mark.
    #[inline]
    fn plain(&mut self) -> &'b [u8] {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let length = bytes::find_any(rest, [self.delimiter, b'\n', b'\r']);
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn quoted(&mut self) -> Cow<'b, [u8]> {
        self.at += 1;
        let mut text = Cow::Borrowed(self.before_quote());
        while self.body.get(self.at) == Some(&b'"') {
            self.at += 1;
            match self.body.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    let text = text.to_mut();
                    text.push(b'"');
                    text.extend(self.before_quote());
                }
                _ => {
                    let after = self.plain();
                    if !after.is_empty() {
                        text.to_mut().extend(after);
                    }
                    break;
                }
            }
        }
        text
    }

    /// What comes before the next quote, or before the end.
    fn before_quote(&mut self) -> &'b [u8] {
        let start = self.at;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            self.at += bytes::find_any(rest, [b'"', b'\n']);
            if self.body.get(self.at) != Some(&b'\n') {
                return self.body.get(start..self.at).unwrap_or_default();
            }
            self.end_line();
        }
    }

    /// Passes the end of a line, when there is one.
    #[inline]
    fn end_line(&mut self) {
        if self.body.get(self.at) == Some(&b'\r') {
            self.at += 1;
        }
        if self.body.get(self.at) == Some(&b'\n') {
            self.at += 1;
            self.line = self.line.saturating_add(1);
        }
    }
}
