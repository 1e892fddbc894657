//! A proxy that was found and not yet proven, and what was found beside it.

use std::fmt;
use std::str::FromStr;

use crate::endpoint::Endpoint;
use crate::tag::Tags;
use crate::verdict::Anonymity;

/// A two-letter country code (ISO 3166-1 alpha-2), in upper case. `UK`, which that reserves for the United Kingdom, is `GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

/// The text is no country code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a two-letter country code")]
pub struct NotACountry;

impl Country {
    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII letters get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Country {
    type Err = NotACountry;

    fn from_str(text: &str) -> Result<Self, NotACountry> {
        match text.as_bytes() {
            [b'U' | b'u', b'K' | b'k'] => Ok(Self(*b"GB")),
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(NotACountry),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A well-formed proxy of which nobody knows yet whether it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Where it came from, and what its source labels it with.
    pub tags: Tags,
    /// Where its source says that it is.
    pub country: Option<Country>,
    /// What its source claims.
    pub anonymity: Anonymity,
    /// Where it stands in its document: the line, counted from 1; 0 when that is not known.
    pub line: u32,
    /// Whether the scheme is a guess: the source's default, and not the document's word.
    pub is_guess: bool,
}

impl From<Endpoint> for Candidate {
    /// Nothing is known of it but where it listens.
    fn from(endpoint: Endpoint) -> Self {
        let (tags, anonymity) = (Tags::default(), Anonymity::Unknown);
        Self { endpoint, tags, country: None, anonymity, line: 0, is_guess: false }
    }
}

/// An entry of a document that is no proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The line or the number of the entry, counted from 1.
    pub line: u32,
    /// Its text, cut at 120 bytes.
    pub excerpt: Box<str>,
    /// Why, in words for people.
    pub reason: Box<str>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {} ({:?})", self.line, self.reason, self.excerpt)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_two_letters_in_any_case_and_the_united_kingdom_has_two_codes() {
        let read = |text: &str| text.parse::<Country>().map(|country| country.to_string());
        for (text, code) in [("de", "DE"), ("Us", "US"), ("gb", "GB"), ("uk", "GB"), ("UK", "GB")] {
            assert_eq!(read(text).unwrap(), code, "{text}");
        }
        for text in ["", "u", "gbr", "u1", "é"] {
            assert_eq!(read(text), Err(NotACountry), "{text}");
        }
    }
}
