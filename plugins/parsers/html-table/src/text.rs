//! Text as people see it: letters that are written by name or number, and white space.

use std::borrow::Cow;

/// Names of letters that stand in addresses and words, and of those that break them. Others stay as
/// they are written.
const NAMES: [(&[u8], &str); 12] = [
    (b"nbsp", " "),
    (b"amp", "&"),
    (b"lt", "<"),
    (b"gt", ">"),
    (b"quot", "\""),
    (b"apos", "'"),
    (b"period", "."),
    (b"colon", ":"),
    (b"commat", "@"),
    (b"sol", "/"),
    (b"lbrack", "["),
    (b"rbrack", "]"),
];

/// Adds a piece of text, with its letters decoded.
pub(crate) fn add<'b>(to: &mut Cow<'b, [u8]>, piece: &'b [u8]) {
    let Some(mark) = memchr::memchr(b'&', piece) else {
        if to.is_empty() {
            *to = Cow::Borrowed(piece);
        } else {
            to.to_mut().extend(piece);
        }
        return;
    };
    let to = to.to_mut();
    let (plain, mut rest) = piece.split_at_checked(mark).unwrap_or((piece, &[]));
    to.extend(plain);
    while let Some((&byte, after)) = rest.split_first() {
        match letter(after).filter(|_| byte == b'&') {
            Some((letter, used)) => {
                to.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after.get(used..).unwrap_or_default();
            }
            None => {
                to.push(byte);
                rest = after;
            }
        }
    }
}

/// The letter that is written after a `&`, and how many bytes that takes.
fn letter(text: &[u8]) -> Option<(char, usize)> {
    if let Some(number) = text.strip_prefix(b"#") {
        let (radix, prefix) = if matches!(number, [b'x' | b'X', ..]) { (16, 2) } else { (10, 1) };
        let digits = text.get(prefix..)?.iter().take(8).take_while(|&&byte| char::from(byte).is_digit(radix)).count();
        let code = std::str::from_utf8(text.get(prefix..prefix + digits)?).ok()?;
        let letter = char::from_u32(u32::from_str_radix(code, radix).ok()?)?;
        let end = prefix + digits;
        return Some((letter, end + usize::from(text.get(end) == Some(&b';'))));
    }
    let name = text.get(..text.iter().take(8).position(|&byte| byte == b';')?)?;
    let (_, letter) = NAMES.iter().find(|(known, _)| *known == name)?;
    Some((letter.chars().next()?, name.len() + 1))
}

/// The text with one space for each stretch of white space, and none around it.
pub(crate) fn tidy(text: &[u8]) -> Cow<'_, [u8]> {
    let text = text.trim_ascii();
    let is_tidy = |pair: &[u8; 2]| !matches!(pair, [_, b'\t' | b'\n' | b'\r' | b'\x0c' | 0x80..] | [b' ', b' ']);
    if text.array_windows().all(is_tidy) && text.first().is_none_or(u8::is_ascii) {
        return Cow::Borrowed(text);
    }
    let words = String::from_utf8_lossy(text);
    words.split_whitespace().collect::<Vec<_>>().join(" ").into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> String {
        let mut all = Cow::Borrowed(&b""[..]);
        add(&mut all, text.as_bytes());
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn letters_are_written_by_name_and_number() {
        assert_eq!(decoded("1&#46;2&#x2E;3&period;4&colon;80 &amp;&#38&lt;"), "1.2.3.4:80 &&<");
        for odd in ["&", "&;", "&#;", "&#x;", "&#xD800;", "&#99999999999;", "&unknown;", "&nbsp", "a&"] {
            assert_eq!(decoded(odd), odd);
        }
    }

    #[test]
    fn white_space_is_one_space() {
        for (text, tidied) in [(" a \n", "a"), ("a  b", "a b"), ("a\tb", "a b"), ("\u{a0}a b\u{a0}", "a b"), ("", "")] {
            assert_eq!(*tidy(text.as_bytes()), *tidied.as_bytes());
        }
    }
}
