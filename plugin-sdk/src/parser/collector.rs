//! Where a parser puts what it finds. What fits a [`Row`] is packed for the way to the host.

use super::{Candidate, Parsed, Rejection, Row};
use crate::entry;
use std::fmt::Display;

/// Rejections that are told with their text; the others are only counted.
const MAX_REJECTIONS: usize = 100;

/// An excerpt is cut at this many bytes.
const MAX_EXCERPT: usize = 120;

/// Pages to follow; more than that is a loop or a trap.
const MAX_FOLLOW: usize = 100;

/// No entry is read from less than this many bytes of a document, on average. It bounds what is
/// reserved for a document that is all line ends.
const BYTES_PER_ENTRY: usize = 12;

/// What a document holds, while it is being read.
#[derive(Debug, Default)]
pub struct Collector {
    /// Two words each.
    rows: Vec<u64>,
    candidates: Vec<Candidate>,
    rejections: Vec<Rejection>,
    rejected: u32,
    follow: Vec<String>,
}

impl Collector {
    /// Makes room for as many entries as a document of so many bytes can hold.
    pub fn reserve(&mut self, entries: usize, bytes: usize) {
        self.rows.reserve(2 * entries.min(bytes / BYTES_PER_ENTRY + 1));
    }

    /// Takes a candidate.
    pub fn accept(&mut self, candidate: Candidate) {
        match Row::of(&candidate) {
            Some(row) => self.accept_row(row),
            None => self.candidates.push(candidate),
        }
    }

    /// Takes a candidate that is a row already.
    #[inline]
    pub fn accept_row(&mut self, row: Row) {
        if self.candidates.last().is_none_or(|last| last.line < row.line) {
            self.rows.extend(row.pack());
        } else {
            // The host puts rows before candidates of the same line, and this one comes after one.
            self.candidates.push(row.into());
        }
    }

    /// Counts an entry that is no proxy. The text is cut, and what could be a password in it is
    /// hidden; the reason must hold none.
    pub fn reject(&mut self, line: u32, text: &[u8], reason: impl Display) {
        self.rejected = self.rejected.saturating_add(1);
        if self.rejections.len() < MAX_REJECTIONS {
            self.rejections.push(Rejection { line, excerpt: excerpt(text), reason: reason.to_string() });
        }
    }

    /// Asks for another page. No more than 100 are asked for.
    pub fn follow(&mut self, url: impl Into<String>) {
        if self.follow.len() < MAX_FOLLOW {
            self.follow.push(url.into());
        }
    }

    /// How many candidates and how many rejections there are so far.
    #[must_use]
    pub fn counts(&self) -> (usize, u32) {
        (self.candidates.len() + self.rows.len() / 2, self.rejected)
    }

    /// What was found, with every candidate among `candidates`, in order.
    #[must_use]
    pub fn into_parsed(self) -> Parsed {
        let mut parsed = self.into_packed();
        let (words, _) = parsed.rows.as_chunks();
        let mut rows = words.iter().map(|&words| Row::unpack(words)).peekable();
        let mut candidates = Vec::with_capacity(words.len() + parsed.candidates.len());
        for candidate in std::mem::take(&mut parsed.candidates) {
            while let Some(row) = rows.next_if(|row| row.line <= candidate.line) {
                candidates.push(row.into());
            }
            candidates.push(candidate);
        }
        candidates.extend(rows.map(Candidate::from));
        Parsed { candidates, rows: Vec::new(), ..parsed }
    }

    /// What was found, as it goes to the host.
    pub(super) fn into_packed(self) -> Parsed {
        Parsed {
            candidates: self.candidates,
            rejections: self.rejections,
            rejected: self.rejected,
            follow: self.follow,
            rows: self.rows,
        }
    }
}

/// The text, hidden first and cut then: a cut may take away the very mark that tells a password.
fn excerpt(text: &[u8]) -> String {
    let text = text.trim_ascii();
    let beginning = text.get(..entry::MAX_BYTES).unwrap_or(text);
    let mut shown = entry::masked(&String::from_utf8_lossy(beginning));
    // An entry may name a terminal's escape sequences; an excerpt ends up on one.
    if shown.contains(char::is_control) {
        shown = shown.replace(char::is_control, " ");
    }
    shown.truncate(shown.floor_char_boundary(MAX_EXCERPT));
    shown
}

/// Line numbers for offsets that only grow.
#[derive(Debug)]
pub struct Lines<'a> {
    body: &'a [u8],
    at: usize,
    line: u32,
}

impl<'a> Lines<'a> {
    /// At the beginning of a document.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0, line: 1 }
    }

    /// The line that a byte of the document stands in, counted from 1. For an offset before the
    /// last one, the last one's line.
    pub fn at(&mut self, offset: usize) -> u32 {
        if let Some(passed) = self.body.get(self.at..offset) {
            let ends = memchr::memchr_iter(b'\n', passed).count();
            self.line = self.line.saturating_add(u32::try_from(ends).unwrap_or(u32::MAX));
            self.at = offset;
        }
        self.line
    }

    /// The line of a text that was borrowed from the document; for any other text, the last line.
    pub fn of(&mut self, text: &str) -> u32 {
        let offset = (text.as_ptr() as usize).checked_sub(self.body.as_ptr() as usize);
        match offset {
            Some(offset) if offset <= self.body.len() => self.at(offset),
            _ => self.line,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn rejected(text: &str) -> String {
        let mut collector = Collector::default();
        collector.reject(1, text.as_bytes(), "reason");
        collector.into_parsed().rejections[0].excerpt.clone()
    }

    #[test]
    fn candidates_stay_in_order_whether_they_are_packed_or_not() {
        let plain = |port, line| Candidate::from(Row::new(1, port, line));
        let named = |port, line| Candidate { username: Some("me".to_owned()), ..plain(port, line) };
        let all = [plain(1, 1), named(2, 1), plain(3, 1), plain(4, 2), named(5, 4), plain(6, 4), plain(7, 9)];
        let collect = || {
            let mut collector = Collector::default();
            all.iter().for_each(|one| collector.accept(one.clone()));
            assert_eq!(collector.counts(), (7, 0));
            collector
        };
        assert_eq!(collect().into_parsed().candidates, all);
        let packed = collect().into_packed();
        assert_eq!((packed.rows.len(), packed.candidates.len()), (2 * 3, 4));
    }

    #[test]
    fn the_first_hundred_rejections_are_kept_and_all_are_counted() {
        let mut collector = Collector::default();
        for line in 1..=250 {
            collector.reject(line, b"x", "reason");
        }
        let parsed = collector.into_parsed();
        assert_eq!((parsed.rejections.len(), parsed.rejected), (100, 250));
        assert_eq!(parsed.rejections[99].line, 100);
    }

    #[test]
    fn an_excerpt_is_cut_within_120_bytes_between_characters() {
        assert_eq!(rejected(&"é".repeat(100)), "é".repeat(60));
        assert_eq!(rejected(&format!("x{}", "é".repeat(100))), format!("x{}", "é".repeat(59)));
    }

    #[test]
    fn a_password_that_the_cut_would_separate_from_its_mark_is_hidden() {
        let long = "s".repeat(200);
        assert_eq!(rejected(&format!("me:{long}@nowhere.example")), "me:***@nowhere.example");
    }

    #[test]
    fn an_excerpt_holds_no_control_characters() {
        assert_eq!(rejected("a\u{1b}[31mb"), "a [31mb");
    }

    #[test]
    fn lines_are_counted_by_offset_and_by_borrowed_text() {
        let body = "a\nb\n\nc";
        let mut lines = Lines::new(body.as_bytes());
        assert_eq!(lines.at(0), 1);
        assert_eq!(lines.of(&body[2..3]), 2);
        assert_eq!(lines.of(&body[5..6]), 4);
        assert_eq!(lines.of("elsewhere"), 4);
    }
}
