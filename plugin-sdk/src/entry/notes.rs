//! What lists say about a proxy beside its address.

use super::{Entry, Host};
use crate::{Anonymity, country, words};

/// Takes what a text says, and tells whether all of it was understood: countries, flags, schemes,
/// anonymity, `CC-A-S!` of spys.me with `+` or `-`, times (`60ms`), an exit's address, and anything in
/// brackets.
pub(super) fn read(entry: &mut Entry<'_>, text: &str) -> bool {
    if let Some(code) = country::named(text) {
        entry.country = entry.country.or(Some(code));
        return true;
    }
    let mut rest = text.trim_start_matches(is_separator);
    while !rest.is_empty() {
        let length = match rest.strip_prefix('[').and_then(|inner| inner.find(']')) {
            Some(length) => length + 2,
            None => rest.find(is_separator).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        let is_aside = token.starts_with('[') && token.ends_with(']');
        if !is_aside && !word(entry, token) {
            return false;
        }
        rest = after.trim_start_matches(is_separator);
    }
    true
}

/// Takes what one word says, and tells whether it was understood. What was said before counts more.
pub(super) fn word(entry: &mut Entry<'_>, word: &str) -> bool {
    let claims = entry.anonymity == Anonymity::Unknown;
    if let Some(scheme) = words::scheme(word) {
        entry.scheme = entry.scheme.or(Some(scheme));
    } else if let Some(code) = country_code(word).or_else(|| flag(word)).or_else(|| country::named(word)) {
        entry.country = entry.country.or(Some(code));
    } else if let Some(anonymity) = words::anonymity(word) {
        entry.anonymity = if claims { anonymity } else { entry.anonymity };
    } else if let Some((code, anonymity)) = spys(word) {
        entry.country = entry.country.or(Some(code));
        entry.anonymity = if claims { anonymity } else { entry.anonymity };
    } else {
        return matches!(word, "+" | "-" | "!") || is_time(word) || is_address(word);
    }
    true
}

pub(super) fn is_separator(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, ',' | ';' | '|')
}

/// The country whose flag a text is: two regional indicators, which are letters in a block of their own.
pub(super) fn flag(text: &str) -> Option<[u8; 2]> {
    let letter = |indicator: char| {
        let place = u32::from(indicator).checked_sub(0x1F1E6).filter(|&place| place < 26)?;
        char::from_u32(u32::from('A') + place)
    };
    let mut indicators = text.chars();
    let pair = String::from_iter([letter(indicators.next()?)?, letter(indicators.next()?)?]);
    if indicators.next().is_some() { None } else { country::code(&pair) }
}

/// A code in upper case: in lower case it is as well a word or a name.
fn country_code(word: &str) -> Option<[u8; 2]> {
    country::code(word).filter(|_| word.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// `CC-A`, `CC-A-S`, `CC-H-S!`: country; N, A or H for the anonymity; S for CONNECT, `!` for an exit
/// that differs.
fn spys(word: &str) -> Option<([u8; 2], Anonymity)> {
    let (code, after) = word.strip_suffix('!').unwrap_or(word).split_once('-')?;
    let anonymity = match after.strip_suffix("-S").unwrap_or(after) {
        "N" => Anonymity::Transparent,
        "A" => Anonymity::Anonymous,
        "H" => Anonymity::Elite,
        _ => return None,
    };
    Some((country_code(code)?, anonymity))
}

/// `60ms`, `1.5s`.
fn is_time(word: &str) -> bool {
    let number = word.strip_suffix("ms").or_else(|| word.strip_suffix('s'));
    number.is_some_and(|number| {
        number.starts_with(|first: char| first.is_ascii_digit())
            && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

fn is_address(word: &str) -> bool {
    matches!(Host::parse(word), Some(Host::Ipv4(_) | Host::Ipv6(..)))
}
