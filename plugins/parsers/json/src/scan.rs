//! A scanner of JSON (RFC 8259) that yields what stands next, borrowed from the document.
//!
//! Written by hand, and `serde_json` is only what it is tested against: a visitor cannot be told
//! that it meets the same keys in the same order for the ten-thousandth time, nor that a value is
//! not wanted, nor on which line it stands, and the three together took six sevenths of the time.
//!
//! It accepts and refuses the same documents as `serde_json` does (but for numbers beyond the range
//! of a double, which are text here), within the same depth. It looks at each byte once, eight at a
//! time where it can, keeps nothing but its place, and never goes back.

mod string;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// Containers within containers.
pub(crate) const MAX_DEPTH: u32 = 127;

/// What is wrong at the place where the scanner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

/// A place in a document.
#[derive(Debug)]
pub(crate) struct Scanner<'b> {
    body: &'b [u8],
    at: usize,
    line: u32,
    /// Where the line begins.
    line_at: usize,
}

impl<'b> Scanner<'b> {
    pub(crate) const fn new(body: &'b [u8]) -> Self {
        Self { body, at: 0, line: 1, line_at: 0 }
    }

    /// The line, counted from 1. Line ends stand nowhere but between tokens, so it costs nothing.
    #[inline]
    pub(crate) const fn line(&self) -> u32 {
        self.line
    }

    /// The column in bytes, counted from 1; at the end of the document, that of its last byte.
    pub(crate) fn column(&self) -> usize {
        let at = self.at.min(self.body.len().saturating_sub(1));
        at.saturating_sub(self.line_at) + 1
    }

    /// Goes to the beginning of the next line; false when there is none.
    pub(crate) fn next_line(&mut self) -> bool {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else { return false };
        self.at += end;
        self.peek();
        true
    }

    /// The byte that the next token begins with, past white space.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.body.get(self.at) {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'\n') => {
                    self.at += 1;
                    self.line = self.line.saturating_add(1);
                    self.line_at = self.at;
                }
                other => return other.copied(),
            }
        }
    }

    /// Enters the array or object that the scanner stands before.
    #[inline]
    pub(crate) const fn enter(&mut self, depth: u32) -> Result<(), Broken> {
        if depth >= MAX_DEPTH {
            return Err(Broken("recursion limit exceeded"));
        }
        self.at += 1;
        Ok(())
    }

    /// Whether another value follows in the array that it is in; past the comma, or past the end.
    #[inline]
    pub(crate) fn next_element(&mut self, first: &mut bool) -> Result<bool, Broken> {
        let is_first = std::mem::take(first);
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !is_first => {
                self.at += 1;
                match self.peek() {
                    Some(b']') => Err(Broken("trailing comma")),
                    Some(_) => Ok(true),
                    None => Err(Broken("EOF while parsing a value")),
                }
            }
            Some(_) if is_first => Ok(true),
            Some(_) => Err(Broken("expected `,` or `]`")),
            None => Err(Broken("EOF while parsing a list")),
        }
    }

    /// Whether another key follows in the object that it is in; at its quote, or past the end.
    #[inline]
    pub(crate) fn next_key(&mut self, first: &mut bool) -> Result<bool, Broken> {
        let is_first = std::mem::take(first);
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return Ok(false);
            }
            Some(b',') if !is_first => self.at += 1,
            Some(_) if is_first => {}
            Some(_) => return Err(Broken("expected `,` or `}`")),
            None => return Err(Broken("EOF while parsing an object")),
        }
        match self.peek() {
            Some(b'"') => Ok(true),
            Some(b'}') => Err(Broken("trailing comma")),
            Some(_) => Err(Broken("key must be a string")),
            None => Err(Broken("EOF while parsing a value")),
        }
    }

    /// Passes a key and its colon when it is this one, which stands there with its quotes.
    #[inline]
    pub(crate) fn pass_key(&mut self, quoted: &[u8]) -> bool {
        let Some(rest) = self.body.get(self.at..) else { return false };
        let Some((key, [b':', ..])) = rest.split_at_checked(quoted.len()) else { return false };
        let same = string::equal(key, quoted);
        if same {
            self.at += quoted.len() + 1;
        }
        same
    }

    /// A key past its colon: its text, and with its quotes as it stands there.
    pub(crate) fn key(&mut self) -> Result<(Cow<'b, [u8]>, &'b [u8]), Broken> {
        let start = self.at;
        let text = self.string()?;
        let quoted = self.body.get(start..self.at).unwrap_or_default();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(Broken("expected `:`")),
            None => return Err(Broken("EOF while parsing an object")),
        }
        Ok((text, quoted))
    }

    /// The string that begins here. Its bytes are UTF-8.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Cow<'b, [u8]>, Broken> {
        let start = self.at + 1;
        let rest = self.body.get(start..).unwrap_or_default();
        let length = string::plain(rest);
        match rest.split_at_checked(length) {
            Some((text, [b'"', ..])) => {
                self.at = start + length + 1;
                Ok(Cow::Borrowed(text))
            }
            _ => self.odd_string(start, length),
        }
    }

    fn odd_string(&mut self, start: usize, plain: usize) -> Result<Cow<'b, [u8]>, Broken> {
        let rest = self.body.get(start..).unwrap_or_default();
        let (text, used) = string::odd(rest, plain);
        self.at = start + used;
        text
    }

    /// The number that begins here, as it is written.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<&'b [u8], Broken> {
        let start = self.at;
        let digits = self.digits();
        let is_plain = digits > 0 && (digits == 1 || self.body.get(start) != Some(&b'0'));
        let has_fraction = is_plain && self.pass(b".") && self.digits() > 0;
        if !is_plain
            || matches!(self.body.get(self.at), Some(b'e' | b'E'))
            || (!has_fraction && self.at > start + digits)
        {
            self.at = start;
            self.odd_number()?;
        }
        Ok(self.body.get(start..self.at).unwrap_or_default())
    }

    fn odd_number(&mut self) -> Result<(), Broken> {
        self.pass(b"-");
        match self.body.get(self.at) {
            Some(b'0') => {
                self.at += 1;
                if matches!(self.body.get(self.at), Some(b'0'..=b'9')) {
                    return Err(Broken("invalid number"));
                }
            }
            _ => self.some_digits()?,
        }
        if self.pass(b".") {
            self.some_digits()?;
        }
        if self.pass(b"eE") {
            self.pass(b"+-");
            self.some_digits()?;
        }
        Ok(())
    }

    /// Passes a byte when it is one of these.
    fn pass(&mut self, any: &[u8]) -> bool {
        let passed = self.body.get(self.at).is_some_and(|byte| any.contains(byte));
        self.at += usize::from(passed);
        passed
    }

    #[inline]
    fn digits(&mut self) -> usize {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn some_digits(&mut self) -> Result<(), Broken> {
        match (self.digits(), self.at < self.body.len()) {
            (0, true) => Err(Broken("invalid number")),
            (0, false) => Err(Broken("EOF while parsing a value")),
            _ => Ok(()),
        }
    }

    /// Passes `true`, `false` or `null`.
    pub(crate) fn literal(&mut self) -> Result<(), Broken> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        let word: &[u8] = match rest.first() {
            Some(b't') => b"true",
            Some(b'f') => b"false",
            Some(b'n') => b"null",
            Some(_) => return Err(Broken("expected value")),
            None => return Err(Broken("EOF while parsing a value")),
        };
        let same = rest.iter().zip(word).take_while(|(one, other)| one == other).count();
        self.at += same;
        match (same == word.len(), self.at < self.body.len()) {
            (true, _) => Ok(()),
            (false, true) => Err(Broken("expected ident")),
            (false, false) => Err(Broken("EOF while parsing a value")),
        }
    }

    /// Passes the value that begins here.
    pub(crate) fn skip(&mut self, depth: u32) -> Result<(), Broken> {
        let mut first = true;
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b'[') => {
                self.enter(depth)?;
                while self.next_element(&mut first)? {
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            Some(b'{') => {
                self.enter(depth)?;
                while self.next_key(&mut first)? {
                    self.key()?;
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            Some(_) | None => self.literal(),
        }
    }
}
