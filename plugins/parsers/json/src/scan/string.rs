//! The inside of a string: how long it is plain, and what it says when it is not.

use super::Broken;
use std::borrow::Cow;

/// A byte in each of the eight places of a word.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// How many bytes a text begins with that mean themselves in a string: ASCII, no control characters,
/// no quote, no backslash.
#[inline]
pub(super) fn plain(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks();
    for (place, &word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(word);
        // The lowest bit that is set is right; a borrow can only set wrong ones above it.
        let is_zero = |word: u64| word.wrapping_sub(all(1)) & !word;
        let special = is_zero(word ^ all(b'"')) | is_zero(word ^ all(b'\\')) | (word.wrapping_sub(all(0x20)) & !word);
        let special = (special | word) & all(0x80);
        if special != 0 {
            return place * 8 + (special.trailing_zeros() / 8) as usize;
        }
    }
    let plain = rest.iter().take_while(|&&byte| matches!(byte, 0x20..0x80) && byte != b'"' && byte != b'\\').count();
    text.len() - rest.len() + plain
}

/// Whether two texts of one length are equal. A key has some ten bytes, for which a call costs more
/// than the comparison; the last word overlaps the one before, so that no bytes are left over.
#[inline]
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    if let (Some(one_last), Some(other_last)) = (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
        let same = |one: &[u8; 8], other: &[u8; 8]| u64::from_le_bytes(*one) == u64::from_le_bytes(*other);
        return same(one_last, other_last) && words.into_iter().all(|(one, other)| same(one, other));
    }
    let halves = (one.first_chunk::<4>(), one.last_chunk::<4>(), other.first_chunk::<4>(), other.last_chunk::<4>());
    if let (Some(one), Some(one_last), Some(other), Some(other_last)) = halves {
        let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        return word(one) == word(other) && word(one_last) == word(other_last);
    }
    one.iter().zip(other).all(|(one, other)| one == other)
}

/// The text of a string from after its quote on, of which so many bytes are plain, and how many
/// bytes it takes with its closing quote; when it is broken, how many come before the fault.
pub(super) fn odd(text: &[u8], plain_bytes: usize) -> (Result<Cow<'_, [u8]>, Broken>, usize) {
    let mut decoded: Option<Vec<u8>> = None;
    let mut start = 0;
    let mut at = plain_bytes;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        match rest.first() {
            Some(b'"') => break,
            Some(b'\\') => {
                let decoded = decoded.get_or_insert_default();
                decoded.extend(text.get(start..at).unwrap_or_default());
                let (letter, used) = escaped(rest);
                match letter {
                    Ok(letter) => decoded.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                    Err(broken) => return (Err(broken), at + used),
                }
                at += used;
                start = at;
            }
            Some(0x80..) => at += 1,
            Some(0..0x20) => return (Err(Broken("control character in a string")), at),
            Some(_) => at += plain(rest),
            None => return (Err(Broken("EOF while parsing a string")), at),
        }
    }
    let last = text.get(start..at).unwrap_or_default();
    let whole = match decoded {
        None => Cow::Borrowed(last),
        Some(mut decoded) => {
            decoded.extend(last);
            decoded.into()
        }
    };
    match std::str::from_utf8(&whole) {
        Ok(_) => (Ok(whole), at + 1),
        Err(_) => (Err(Broken("not UTF-8")), at),
    }
}

/// The character that an escape stands for, and how many bytes it takes.
fn escaped(text: &[u8]) -> (Result<char, Broken>, usize) {
    let letter = match text.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return by_number(text),
        Some(_) => return (Err(Broken("invalid escape")), 1),
        None => return (Err(Broken("EOF while parsing a string")), 1),
    };
    (Ok(letter), 2)
}

/// `\u20ac`, or a pair of surrogates.
fn by_number(text: &[u8]) -> (Result<char, Broken>, usize) {
    let Some(first) = code(text) else { return (Err(Broken("invalid escape")), 2) };
    if let Some(letter) = char::from_u32(first) {
        return (Ok(letter), 6);
    }
    let second = text.get(6..).and_then(code).and_then(|second| u16::try_from(second).ok());
    let pair = [u16::try_from(first).unwrap_or_default(), second.unwrap_or_default()];
    match char::decode_utf16(pair).next() {
        Some(Ok(letter)) => (Ok(letter), 12),
        Some(Err(_)) | None => (Err(Broken("half of a surrogate pair")), 6),
    }
}

/// The number in `\uXXXX`.
fn code(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |code, &digit| Some(code << 4 | char::from(digit).to_digit(16)?))
}
