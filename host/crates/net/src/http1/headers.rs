//! The fields of a head, in their order.
//!
//! They lie in one block of bytes as the lines that they are written as, so that a head costs two allocations however many
//! fields it has, and a field is written in one piece. No name is other than a token and no value holds a control character
//! but the tab: what is written is read back as the same fields.

use std::fmt;

use super::HeadError;

/// The fields of a head: names compare without case, values are bytes.
#[derive(Clone, Default)]
pub struct Headers {
    block: Vec<u8>,
    fields: Vec<Field>,
    /// The marks of the names that may be there: most of those that are asked for are not, and need no search.
    marks: u64,
}

/// Where a field lies in the block: `name: value`, and a line end.
#[derive(Clone, Copy)]
struct Field {
    name: usize,
    value: usize,
    end: usize,
}

/// What is between a name and its value.
const BETWEEN: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

impl Field {
    fn name(self, block: &[u8]) -> &[u8] {
        part(block, self.name, self.value.saturating_sub(BETWEEN.len()))
    }

    fn value(self, block: &[u8]) -> &[u8] {
        part(block, self.value, self.end)
    }

    fn line(self, block: &[u8]) -> &[u8] {
        part(block, self.name, self.end + LINE_END.len())
    }
}

/// Fields whose values are secrets of somebody.
const SECRET: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "proxy-authenticate"];

/// One bit for a name, whatever its case: other names may have the same.
#[inline]
const fn mark(name: &[u8]) -> u64 {
    let [first, ..] = name else { return 1 };
    // Letters of either case differ in one bit, which is not looked at.
    1 << (((name.len() as u64 * 5) ^ (*first & 0x1f) as u64) % 64)
}

/// The marks of several names.
pub(super) const fn marks(names: &[&str]) -> u64 {
    let (mut marks, mut left) = (0, names);
    while let [name, rest @ ..] = left {
        marks |= mark(name.as_bytes());
        left = rest;
    }
    marks
}

impl Headers {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fields that were found in this head, by a parser that has looked at each byte of theirs.
    pub(super) fn of_head(head: &[u8], found: &[httparse::Header<'_>]) -> Self {
        // Room for the few fields that a gateway adds.
        let mut block = Vec::with_capacity(head.len() + 128);
        block.extend_from_slice(head);
        let mut headers = Self { block, fields: Vec::with_capacity(found.len() + 4), marks: 0 };
        for field in found {
            let (name, value) = (field.name.as_bytes(), field.value.trim_ascii());
            debug_assert!(check(name, value).is_ok(), "the parser knows tokens and texts as we do");
            // What is written as we write it stays where it is.
            let (name_at, value_at) = (offset(head, name), offset(head, value));
            let line = Field { name: name_at, value: value_at, end: value_at.saturating_add(value.len()) };
            let is_ours = value_at == name_at.saturating_add(name.len() + BETWEEN.len())
                && part(head, name_at.saturating_add(name.len()), value_at) == BETWEEN
                && head.get(line.end..).is_some_and(|rest| rest.starts_with(LINE_END));
            let line = if is_ours { line } else { headers.store(name, value) };
            headers.marks |= mark(name);
            headers.fields.push(line);
        }
        headers
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| {
            let name = std::str::from_utf8(field.name(&self.block)).unwrap_or_default();
            (name, field.value(&self.block))
        })
    }

    /// The names of the fields in their order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().map(|field| field.name(&self.block))
    }

    /// Whether there may be a field with one of these [`marks`].
    pub(super) const fn may_hold(&self, marks: u64) -> bool {
        self.marks & marks != 0
    }

    /// Where a field of this name may be.
    #[inline]
    fn searched(&self, name: &str) -> &[Field] {
        if self.may_hold(mark(name.as_bytes())) { &self.fields } else { &[] }
    }

    /// The value of the first field of this name.
    #[inline]
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The value of the first field of this name, when it is UTF-8.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all fields of this name, in their order.
    #[inline]
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.searched(name)
            .iter()
            .filter(move |field| field.name(&self.block).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value(&self.block))
    }

    /// Whether there is a field of this name.
    #[inline]
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether an element of the comma-separated lists of this name is this token, in any case.
    #[inline]
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.get_all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Adds a field behind the others; white space around the value is dropped.
    ///
    /// # Errors
    /// [`HeadError::Malformed`] when the name is no token or the value holds a control character.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeadError> {
        let (name, value) = (name.as_bytes(), value.as_ref().trim_ascii());
        check(name, value)?;
        let field = self.store(name, value);
        self.fields.push(field);
        Ok(())
    }

    /// Makes this the only field of its name, in the place of the first one there was.
    ///
    /// # Errors
    /// [`HeadError::Malformed`] when the name is no token or the value holds a control character.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeadError> {
        let value = value.as_ref().trim_ascii();
        check(name.as_bytes(), value)?;
        let field = self.store(name.as_bytes(), value);
        let place = self.names().position(|old| old.eq_ignore_ascii_case(name.as_bytes()));
        self.remove(name);
        self.fields.insert(place.unwrap_or(self.fields.len()), field);
        Ok(())
    }

    /// Removes every field of this name and says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        if self.searched(name).is_empty() {
            return 0;
        }
        self.retain(|other, _| !other.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Keeps the fields for which `keep` says so, and says how many went.
    pub(super) fn retain(&mut self, keep: impl Fn(&[u8], &[u8]) -> bool) -> usize {
        let before = self.fields.len();
        let block = &self.block;
        self.fields.retain(|field| keep(field.name(block), field.value(block)));
        before - self.fields.len()
    }

    /// Drops the repetitions of a field whose values are all the same.
    pub(super) fn collapse(&mut self, name: &str) {
        let is_repeated = {
            let mut values = self.get_all(name);
            let Some(first) = values.next() else { return };
            // Nearly all are said once.
            let Some(second) = values.next() else { return };
            second == first && values.all(|value| value == first)
        };
        if !is_repeated {
            return;
        }
        let mut kept = false;
        let block = &self.block;
        self.fields.retain(|field| {
            let other = !field.name(block).eq_ignore_ascii_case(name.as_bytes());
            other || !std::mem::replace(&mut kept, true)
        });
    }

    /// Writes the fields, each with its line end.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        for field in &self.fields {
            out.extend_from_slice(field.line(&self.block));
        }
    }

    /// How many bytes [`Headers::write_to`] writes.
    pub(super) fn written_len(&self) -> usize {
        self.fields.iter().map(|field| field.end - field.name + LINE_END.len()).sum()
    }

    /// Writes a field that has been checked into the block.
    fn store(&mut self, name: &[u8], value: &[u8]) -> Field {
        let start = self.block.len();
        for part in [name, BETWEEN, value, LINE_END] {
            self.block.extend_from_slice(part);
        }
        self.marks |= mark(name);
        let value_start = start + name.len() + BETWEEN.len();
        Field { name: start, value: value_start, end: value_start + value.len() }
    }
}

/// Whether these can be a field; white space around the value has been dropped.
fn check(name: &[u8], value: &[u8]) -> Result<(), HeadError> {
    // To the end in any case, so that many bytes are looked at in one step.
    if name.is_empty() || !name.iter().fold(true, |is_token_so_far, byte| is_token_so_far & is_token(*byte)) {
        return Err(HeadError::Malformed("a field name that is no token"));
    }
    if !value.iter().fold(true, |is_text_so_far, byte| is_text_so_far & is_text(*byte)) {
        return Err(HeadError::Malformed("a control character in a field value"));
    }
    Ok(())
}

/// Where a part of it begins in a head.
fn offset(head: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(head.as_ptr().addr())
}

fn part(block: &[u8], from: usize, to: usize) -> &[u8] {
    block.get(from..to).unwrap_or_default()
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
#[inline]
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).is_some_and(|is_token| *is_token)
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        // Below 256, as the table's length.
        #[allow(clippy::cast_possible_truncation, clippy::indexing_slicing)]
        {
            table[byte] = (byte as u8).is_ascii_alphanumeric()
                || matches!(
                    byte as u8,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
        }
        byte += 1;
    }
    table
};

/// Whether a byte may stand in a field value (RFC 9110 §5.5).
#[inline]
pub(super) const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    /// The fields, with secrets masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            if SECRET.iter().any(|secret| secret.eq_ignore_ascii_case(name)) {
                map.entry(&name, &"***");
            } else {
                map.entry(&name, &String::from_utf8_lossy(value));
            }
        }
        map.finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, value).unwrap();
        }
        headers
    }

    #[test]
    fn names_compare_without_case_and_keep_their_order() {
        let headers = headers(&[("B", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(headers.get("b"), Some(&b"1"[..]));
        assert_eq!(headers.get_all("B").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["B", "a", "b"]);
        assert!(!headers.contains("c"));
    }

    #[test]
    fn set_replaces_in_the_place_of_the_first() {
        let mut headers = headers(&[("a", "1"), ("b", "2"), ("A", "3")]);
        headers.set("a", "x").unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", &b"x"[..]), ("b", b"2")]);
        headers.set("c", "y").unwrap();
        assert_eq!((headers.len(), headers.remove("A"), headers.len()), (3, 1, 2));
    }

    #[test]
    fn a_value_that_would_write_a_line_of_its_own_is_refused() {
        let mut headers = Headers::new();
        for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\x7f"] {
            assert!(headers.append("x", value).is_err(), "{value:?}");
            assert!(headers.set("x", value).is_err(), "{value:?}");
        }
        for name in ["", "a b", "a:", "a\r\n", "ü"] {
            assert!(headers.append(name, "v").is_err(), "{name:?}");
        }
        assert!(headers.is_empty());
    }

    #[test]
    fn a_name_in_any_case_is_found_however_it_came_in() {
        for name in ["TE", "Content-Length", "X_1~", "!#$%&'*+-.^_`|~09azAZ", "PROXY-AUTHORIZATION"] {
            for written in [name.to_owned(), name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
                let mut appended = headers(&[(&written, "v")]);
                let mut set = Headers::new();
                set.set(&written, "v").unwrap();
                let read = parsed(format!("{written}: v").as_bytes()).unwrap();
                for found in [&appended, &set, &read] {
                    assert_eq!(found.get(name), Some(&b"v"[..]), "{written}");
                    assert!(found.has_token(name, "V"), "{written}");
                }
                assert_eq!((appended.remove(name), appended.len()), (1, 0), "{written}");
            }
        }
    }

    /// The fields of a head with these lines, as the parser finds them.
    fn parsed(lines: &[u8]) -> Option<Headers> {
        let head = [b"GET / HTTP/1.1\r\n", lines, b"\r\n\r\n"].concat();
        let mut found = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut found);
        let is_complete = request.parse(&head).is_ok_and(|status| status.is_complete());
        is_complete.then(|| Headers::of_head(&head, request.headers))
    }

    #[test]
    fn the_parser_lets_no_byte_through_that_cannot_stand_in_a_field() {
        // It looks at 8, 16 or 32 bytes at a time, where there are so many.
        for (byte, place) in (0..=u8::MAX).flat_map(|byte| [0, 1, 7, 15, 16, 31, 32, 40, 63].map(|place| (byte, place)))
        {
            let mut long = [b'a'; 65];
            long[place + 1] = byte;
            // A colon ends a name, and a line feed begins a line that is none.
            let name = [&long[..], b": v"].concat();
            assert_eq!(parsed(&name).is_some(), is_token(byte) || byte == b':', "byte {byte} of a name at {place}");
            let value = [b"x: ", &long[..], b"w"].concat();
            assert_eq!(parsed(&value).is_some(), is_text(byte), "byte {byte} of a value at {place}");
        }
    }

    #[test]
    fn however_a_field_was_written_it_is_written_in_one_way() {
        let lines = b"A: 1\r\nB:2\r\nC:  3\r\nD: 4 \t\r\nE:\t5\r\nF:\r\nG: \r\nH: 8";
        let read = parsed(lines).unwrap();
        let mut out = Vec::new();
        read.write_to(&mut out);
        let written = "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: \r\nG: \r\nH: 8\r\n";
        assert_eq!((String::from_utf8(out).unwrap().as_str(), read.written_len()), (written, written.len()));
        assert_eq!((read.get("d"), read.get("f"), read.len()), (Some(&b"4"[..]), Some(&b""[..]), 8));
    }

    #[test]
    fn tokens_are_found_in_lists_over_several_lines() {
        let headers = headers(&[("Connection", "keep-alive, X-A"), ("connection", " Close ")]);
        assert!(headers.has_token("connection", "close"));
        assert!(headers.has_token("Connection", "x-a"));
        assert!(!headers.has_token("Connection", "x"));
    }

    #[test]
    fn debug_masks_what_is_secret() {
        let text = format!("{:?}", headers(&[("Proxy-Authorization", "Basic aHVudGVyMg=="), ("Host", "h")]));
        assert!(text.contains("***") && !text.contains("aHVudGVyMg") && text.contains("\"h\""), "{text}");
    }
}
