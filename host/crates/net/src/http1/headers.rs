//! The fields of a head, in their order.
//!
//! Names and values lie one after the other in one block of bytes, so that a head costs two allocations
//! however many fields it has. No name is other than a token and no value holds a control character but
//! the tab: what is written is read back as the same fields.

use std::fmt;

use super::HeadError;

/// The fields of a head: names compare without case, values are bytes.
#[derive(Clone, Default)]
pub struct Headers {
    block: Vec<u8>,
    fields: Vec<Field>,
}

/// Where a field lies in the block: the name ends where the value begins.
#[derive(Clone, Copy)]
struct Field {
    name: usize,
    value: usize,
    end: usize,
}

/// Fields whose values are secrets of somebody.
const SECRET: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "set-cookie", "proxy-authenticate"];

impl Headers {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn with_capacity(bytes: usize, fields: usize) -> Self {
        Self { block: Vec::with_capacity(bytes), fields: Vec::with_capacity(fields) }
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
            let name = std::str::from_utf8(self.name(*field)).unwrap_or_default();
            (name, self.value(*field))
        })
    }

    /// The value of the first field of this name.
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
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| self.name(**field).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.value(*field))
    }

    /// Whether there is a field of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether an element of the comma-separated lists of this name is this token, in any case.
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
        let field = self.store(name.as_bytes(), value.as_ref())?;
        self.fields.push(field);
        Ok(())
    }

    /// Makes this the only field of its name, in the place of the first one there was.
    ///
    /// # Errors
    /// [`HeadError::Malformed`] when the name is no token or the value holds a control character.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), HeadError> {
        let field = self.store(name.as_bytes(), value.as_ref())?;
        let place = self.fields.iter().position(|old| self.name(*old).eq_ignore_ascii_case(name.as_bytes()));
        self.remove(name);
        self.fields.insert(place.unwrap_or(self.fields.len()), field);
        Ok(())
    }

    /// Removes every field of this name and says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        self.retain(|other, _| !other.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Keeps the fields for which `keep` says so, and says how many went.
    pub(super) fn retain(&mut self, keep: impl Fn(&[u8], &[u8]) -> bool) -> usize {
        let before = self.fields.len();
        let block = &self.block;
        self.fields.retain(|field| keep(part(block, field.name, field.value), part(block, field.value, field.end)));
        before - self.fields.len()
    }

    /// Drops the repetitions of a field whose values are all the same.
    pub(super) fn collapse(&mut self, name: &str) {
        let same = {
            let mut values = self.get_all(name);
            values.next().is_some_and(|first| values.all(|value| value == first))
        };
        if !same {
            return;
        }
        let mut kept = false;
        let block = &self.block;
        self.fields.retain(|field| {
            let other = !part(block, field.name, field.value).eq_ignore_ascii_case(name.as_bytes());
            other || !std::mem::replace(&mut kept, true)
        });
    }

    /// Writes the fields, each with its line end.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        for field in &self.fields {
            out.extend_from_slice(self.name(*field));
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.value(*field));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// How many bytes [`Headers::write_to`] writes.
    pub(super) fn written_len(&self) -> usize {
        self.fields.iter().map(|field| field.end - field.name + 4).sum()
    }

    fn store(&mut self, name: &[u8], value: &[u8]) -> Result<Field, HeadError> {
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(HeadError::Malformed("a field name that is no token"));
        }
        let value = value.trim_ascii();
        // To the end in any case, so that many bytes are looked at in one step.
        if !value.iter().fold(true, |is_text_so_far, byte| is_text_so_far & is_text(*byte)) {
            return Err(HeadError::Malformed("a control character in a field value"));
        }
        let start = self.block.len();
        self.block.extend_from_slice(name);
        let middle = self.block.len();
        self.block.extend_from_slice(value);
        Ok(Field { name: start, value: middle, end: self.block.len() })
    }

    fn name(&self, field: Field) -> &[u8] {
        part(&self.block, field.name, field.value)
    }

    fn value(&self, field: Field) -> &[u8] {
        part(&self.block, field.value, field.end)
    }
}

fn part(block: &[u8], from: usize, to: usize) -> &[u8] {
    block.get(from..to).unwrap_or_default()
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
#[inline]
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

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
