//! The words and marks of a script, as far as they are looked at. The place only grows.

/// A place in a script.
#[derive(Debug)]
pub(super) struct Lexer<'c> {
    code: &'c [u8],
    at: usize,
}

/// Whether a name begins with this byte.
pub(super) const fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$')
}

impl<'c> Lexer<'c> {
    pub(super) const fn new(code: &'c [u8]) -> Self {
        Self { code, at: 0 }
    }

    pub(super) const fn place(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'c [u8] {
        self.code.get(self.at..).unwrap_or_default()
    }

    /// The byte that the next token begins with, past white space and comments.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.rest() {
                [b' ' | b'\t' | b'\r' | b'\n', ..] => self.at += 1,
                [b'/', b'/', comment @ ..] => self.at += 2 + memchr::memchr(b'\n', comment).unwrap_or(comment.len()),
                [b'/', b'*', comment @ ..] => {
                    self.at += 2 + memchr::memmem::find(comment, b"*/").map_or(comment.len(), |end| end + 2);
                }
                rest => return rest.first().copied(),
            }
        }
    }

    /// Passes whatever stands here.
    pub(super) fn pass_token(&mut self) {
        match self.peek() {
            Some(b'"' | b'\'') => _ = self.text(),
            Some(first) if begins_name(first) => _ = self.name(),
            _ => self.at += 1,
        }
    }

    /// Passes a mark, when it is this one.
    pub(super) fn pass(&mut self, mark: u8) -> bool {
        let same = self.peek() == Some(mark);
        self.at += usize::from(same);
        same
    }

    /// Passes an operator, when it is one of these and no part of a longer one.
    pub(super) fn pass_operator(&mut self, operators: &[u8]) -> Option<u8> {
        let operator = self.peek().filter(|first| operators.contains(first))?;
        let next = self.rest().get(1).copied();
        if next == Some(operator) || next == Some(b'=') {
            return None;
        }
        self.at += 1;
        Some(operator)
    }

    /// Passes `=`, when it is an assignment.
    pub(super) fn pass_assignment(&mut self) -> bool {
        self.peek();
        let is_one = matches!(self.rest(), [b'=', next, ..] if !b"=>".contains(next));
        self.at += usize::from(is_one);
        is_one
    }

    /// Whether nothing stands here that would go on with an expression.
    pub(super) fn ends_statement(&mut self) -> bool {
        self.peek().is_none_or(|next| begins_name(next) || b";,})".contains(&next))
    }

    /// A name, with the names of what it belongs to: `document.write`. Keywords before it are passed.
    pub(super) fn name(&mut self) -> &'c [u8] {
        loop {
            let rest = self.rest();
            let length = rest.iter().take_while(|&&byte| begins_name(byte) || byte.is_ascii_digit() || byte == b'.');
            let name = rest.get(..length.count()).unwrap_or_default();
            self.at += name.len();
            if !matches!(name, b"var" | b"let" | b"const") || !self.peek().is_some_and(begins_name) {
                return name;
            }
        }
    }

    /// A number in decimal or hexadecimal digits.
    pub(super) fn number(&mut self) -> Option<i64> {
        let (radix, rest) = match self.rest() {
            [b'0', b'x' | b'X', rest @ ..] => (16, rest),
            rest => (10, rest),
        };
        let digits = rest.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'.').count();
        let text = std::str::from_utf8(rest.get(..digits)?).ok()?;
        self.at += digits + if radix == 16 { 2 } else { 0 };
        i64::from_str_radix(text, radix).ok()
    }

    /// A text in quotes, past its closing one.
    pub(super) fn text(&mut self) -> Option<String> {
        let (quote, mut rest) = self.rest().split_first()?;
        let mut text = Vec::new();
        let whole = loop {
            match rest {
                [] | [b'\n', ..] => break None,
                [b'\\', after @ ..] => {
                    let used = escaped(after, &mut text);
                    rest = after.get(used..).unwrap_or_default();
                }
                [byte, after @ ..] if byte == quote => {
                    rest = after;
                    break String::from_utf8(text).ok();
                }
                [byte, after @ ..] => {
                    text.push(*byte);
                    rest = after;
                }
            }
        };
        self.at = self.code.len() - rest.len();
        whole
    }
}

/// Adds what an escape stands for, and tells how many bytes it takes after its backslash.
fn escaped(text: &[u8], to: &mut Vec<u8>) -> usize {
    let by_number = |digits: usize| {
        let code = std::str::from_utf8(text.get(1..=digits)?).ok()?;
        char::from_u32(u32::from_str_radix(code, 16).ok()?)
    };
    let (letter, used) = match text.first() {
        Some(b'n') => (Some('\n'), 1),
        Some(b't') => (Some('\t'), 1),
        Some(b'x') => (by_number(2), 3),
        Some(b'u') => (by_number(4), 5),
        Some(&other) => {
            to.push(other);
            return 1;
        }
        None => return 0,
    };
    let Some(letter) = letter else { return 1 };
    to.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
    used
}
