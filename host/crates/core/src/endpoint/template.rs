//! User names and passwords with blanks in them, so that one gateway of a vendor serves many sessions and countries.
//!
//! A *blank* is a word in braces: `{session}`, `{session=8}`, `{city=_}`. What stands in *brackets* together with a blank,
//! `[-country-{country}]`, is left out when the blank has no value. Everything else stands for itself, other braces and
//! brackets too: passwords hold them. So `customer-me[-cc-{country}]-sessid-{session}` is what one vendor wants, and
//! `me-{country}`, of a request that names no country, would be what none wants: such a blank has to be in brackets.
//!
//! A member whose login has blanks is *one* member, with one breaker and one set of statistics. Each attempt fills the
//! blanks anew; the same session, in the same life, fills them in the same way on every machine.
//!
//! Invariants: what is filled in consists of ASCII letters, digits and the separator that the template itself names, so
//! that a client cannot say more to the vendor than its blank; what was checked once stays below the length that a login
//! may have, whatever is filled in.

use std::fmt::Write as _;

use super::{Credentials, Endpoint, EndpointError};
use crate::candidate::Country;
use crate::member::mix;
use crate::secret::{Secret, Zeroizing};

/// Letters and digits of a session when the blank does not say how many: a million sessions meet once in ten thousand tries.
const SESSION: usize = 10;

/// The most letters or digits of a session, and of chance.
const MOST: usize = 32;

/// The most bytes of the name of a place: a tag is no longer.
const PLACE: usize = 64;

/// Decimal digits of the largest number of 32 bits.
const UINT32: usize = 10;

/// What blanks are filled with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filling<'a> {
    /// A number that stands for the session and its life; none where there is no session.
    pub session: Option<u64>,
    /// Chance, another one for each attempt.
    pub seed: u64,
    /// The country.
    pub country: Option<Country>,
    /// The state or province.
    pub state: Option<&'a str>,
    /// The city.
    pub city: Option<&'a str>,
    /// The number of the autonomous system.
    pub asn: Option<&'a str>,
}

/// What a blank is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blank {
    /// The session's own letters, or chance where there is none.
    Session,
    /// Chance, for each attempt.
    Rand,
    /// Chance: a number of 32 bits, in decimal digits.
    Uint32,
    /// The country.
    Country,
    /// The state.
    State,
    /// The city.
    City,
    /// The autonomous system.
    Asn,
}

/// The words of blanks.
const WORDS: [(&str, Blank); 7] = [
    ("session", Blank::Session),
    ("rand", Blank::Rand),
    ("uint32", Blank::Uint32),
    ("country", Blank::Country),
    ("state", Blank::State),
    ("city", Blank::City),
    ("asn", Blank::Asn),
];

impl Blank {
    /// Whether there is always something to fill it with.
    const fn is_sure(self) -> bool {
        match self {
            Self::Session | Self::Rand | Self::Uint32 => true,
            Self::Country | Self::State | Self::City | Self::Asn => false,
        }
    }
}

/// How a blank is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// So many letters and digits.
    Letters(usize),
    /// So many digits, the first of which is no 0.
    Digits(usize),
    /// Words with this between them, or nothing.
    Words(Option<char>),
}

/// A blank as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    blank: Blank,
    manner: Manner,
    /// Whether its word is in capitals, and so is what fills it.
    is_upper: bool,
}

/// A part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'t> {
    /// It stands for itself.
    Text(&'t str),
    Blank(Written),
    /// What stood in brackets, with a blank in it.
    Optional(&'t str),
}

/// The parts of a template, from left to right.
struct Pieces<'t>(&'t str);

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let text = self.0;
        let first = text.chars().next()?;
        let special = match first {
            '{' => blank(text).map(|(written, rest)| (Piece::Blank(written), rest)),
            '[' => optional(text).map(|(inner, rest)| (Piece::Optional(inner), rest)),
            _ => None,
        };
        let (piece, rest) = special.unwrap_or_else(|| {
            let end = text.char_indices().skip(1).find(|(_, sign)| matches!(sign, '{' | '[')).map(|(at, _)| at);
            let (own, rest) = text.split_at(end.unwrap_or(text.len()));
            (Piece::Text(own), rest)
        });
        self.0 = rest;
        Some(piece)
    }
}

/// The blank that a text begins with, and what follows it. In two pairs of braces it is the same: so one tool writes them.
fn blank(text: &str) -> Option<(Written, &str)> {
    let (inner, rest) = match text.strip_prefix("{{") {
        Some(inner) => inner.split_once("}}")?,
        None => text.strip_prefix('{')?.split_once('}')?,
    };
    Some((written(inner)?, rest))
}

fn written(inner: &str) -> Option<Written> {
    let (word, how) = inner.split_once('=').map_or((inner, None), |(word, how)| (word, Some(how)));
    let (_, blank) = WORDS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(word))?;
    let is_upper = word.bytes().all(|byte| !byte.is_ascii_lowercase());
    let manner = match (blank, how) {
        (Blank::Session | Blank::Rand, None) => Manner::Letters(SESSION),
        (Blank::Session | Blank::Rand, Some(how)) => match how.strip_suffix('d') {
            Some(count) => Manner::Digits(length(count)?),
            None => Manner::Letters(length(how)?),
        },
        (Blank::State | Blank::City, None) => Manner::Words(Some('_')),
        (Blank::State | Blank::City, Some("")) => Manner::Words(None),
        (Blank::State | Blank::City, Some(how)) => Manner::Words(Some(separator(how)?)),
        (Blank::Uint32 | Blank::Country | Blank::Asn, None) => Manner::Words(None),
        (Blank::Uint32 | Blank::Country | Blank::Asn, Some(_)) => return None,
    };
    Some(Written { blank, manner, is_upper })
}

fn length(text: &str) -> Option<usize> {
    text.parse().ok().filter(|length| (1..=MOST).contains(length))
}

fn separator(text: &str) -> Option<char> {
    // No hyphen: by that, vendors tell the words of a login apart, and what a client names is to be one word.
    ['_', '+', '.'].into_iter().find(|sign| text == sign.encode_utf8(&mut [0; 4]))
}

/// What stands in brackets at the beginning of a text, if a blank is among it, and what follows.
fn optional(text: &str) -> Option<(&str, &str)> {
    let (inner, rest) = text.strip_prefix('[')?.split_once(']')?;
    Pieces(inner).any(|piece| matches!(piece, Piece::Blank(_))).then_some((inner, rest))
}

/// The parts of a template, also those in brackets.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    Pieces(text).flat_map(|piece| {
        let (own, inner) = match piece {
            Piece::Optional(inner) => (None, inner),
            Piece::Text(_) | Piece::Blank(_) => (Some(piece), ""),
        };
        own.into_iter().chain(Pieces(inner))
    })
}

/// All blanks of a text.
fn blanks(text: &str) -> impl Iterator<Item = Blank> {
    pieces(text).filter_map(|piece| match piece {
        Piece::Blank(written) => Some(written.blank),
        Piece::Text(_) | Piece::Optional(_) => None,
    })
}

const UNKNOWN: &str = "a word in braces in the user name that is none of {session}, {rand}, {uint32}, {country}, {state}, \
                       {city}, {asn}";
const BARE: &str =
    "a blank for a place must stand in brackets, as in [-country-{country}]: not every request names a place";
const LONG: &str = "a user name or password of more than 4,096 bytes once its blanks are filled";

/// A user name for people: percent-encoded, but for what blanks are written with.
pub(super) fn shown(username: &str) -> String {
    super::encode_but(username, if username.contains('{') { b"{}[]=" } else { b"" })
}

/// Checks that a user name or a password can be filled, whatever is wanted.
pub(super) fn check(username: &str, password: &str) -> Result<(), EndpointError> {
    let refused = |why| Err(EndpointError::Credentials(why));
    if [username, password].iter().all(|text| !text.contains('{')) {
        return Ok(());
    }
    let is_unknown = |piece| matches!(piece, Piece::Text(text) if names_a_blank(text));
    if pieces(username).any(is_unknown) {
        return refused(UNKNOWN);
    }
    for text in [username, password] {
        if Pieces(text).any(|piece| matches!(piece, Piece::Blank(Written { blank, .. }) if !blank.is_sure())) {
            return refused(BARE);
        }
        if longest(text) > Credentials::MAX {
            return refused(LONG);
        }
    }
    Ok(())
}

/// Whether a text begins with a word in braces.
fn names_a_blank(text: &str) -> bool {
    let word = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(inner, _)| inner);
    word.is_some_and(|word| word.starts_with(|sign: char| sign.is_ascii_alphabetic()))
}

/// How long a text can become.
pub(super) fn longest(text: &str) -> usize {
    let of = |piece| match piece {
        Piece::Text(text) => text.len(),
        Piece::Optional(inner) => longest(inner),
        Piece::Blank(Written { blank: Blank::Country, .. }) => 2,
        Piece::Blank(Written { blank: Blank::Uint32 | Blank::Asn, .. }) => UINT32,
        Piece::Blank(Written { manner: Manner::Letters(count) | Manner::Digits(count), .. }) => count,
        Piece::Blank(Written { manner: Manner::Words(_), .. }) => PLACE,
    };
    Pieces(text).map(of).sum()
}

/// Fills a text; none when a blank of it has no value.
fn fill(text: &str, filling: &Filling<'_>, out: &mut String) -> Option<()> {
    for piece in Pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Blank(written) => written.fill(filling, out)?,
            Piece::Optional(inner) => {
                let before = out.len();
                // A session is left out as well where there is none: the vendor then takes whom it likes.
                let says_nothing = filling.session.is_none() && blanks(inner).any(|blank| blank == Blank::Session);
                if says_nothing || fill(inner, filling, out).is_none() {
                    out.truncate(before);
                }
            }
        }
    }
    Some(())
}

impl Written {
    fn fill(self, filling: &Filling<'_>, out: &mut String) -> Option<()> {
        let before = out.len();
        let Filling { session, seed, country, state, city, asn } = filling;
        match self.blank {
            Blank::Session => self.draw(session.unwrap_or(*seed), out),
            // Another chance than that of a session which is none.
            Blank::Rand => self.draw(mix(!seed), out),
            Blank::Uint32 => write!(out, "{}", mix(*seed) >> 32).ok()?,
            Blank::Country => out.push_str(&country.as_ref()?.as_str().to_ascii_lowercase()),
            Blank::State => self.words((*state)?, out)?,
            Blank::City => self.words((*city)?, out)?,
            Blank::Asn => {
                let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= UINT32;
                out.push_str(asn.filter(is_number).filter(|text| !text.is_empty())?);
            }
        }
        if self.is_upper
            && let Some(own) = out.get_mut(before..)
        {
            own.make_ascii_uppercase();
        }
        Some(())
    }

    /// Letters and digits that follow from a number.
    fn draw(self, from: u64, out: &mut String) {
        let (count, base) = match self.manner {
            Manner::Letters(count) => (count, 36),
            Manner::Digits(count) => (count, 10),
            Manner::Words(_) => (0, 36),
        };
        for index in 0..count {
            let drawn = mix(from ^ mix(index as u64 + 1)) % base;
            // A number that begins with 0 is another one to who counts.
            let drawn = if index == 0 && base == 10 { drawn.max(1) } else { drawn };
            out.extend(u32::try_from(drawn).ok().and_then(|digit| char::from_digit(digit, 36)));
        }
    }

    /// The ASCII words of a name; none when there are none.
    fn words(self, name: &str, out: &mut String) -> Option<()> {
        let Manner::Words(separator) = self.manner else { return None };
        let (before, mut is_first) = (out.len(), true);
        for word in name.split(|sign: char| !sign.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            out.extend(separator.filter(|_| !is_first));
            out.push_str(&word.to_ascii_lowercase());
            is_first = false;
        }
        out.truncate((before + PLACE).min(out.len()));
        (out.len() > before).then_some(())
    }
}

impl Credentials {
    /// The blanks of the user name and the password.
    pub fn blanks(&self) -> impl Iterator<Item = Blank> {
        let texts = [&*self.username, self.password.expose()];
        texts.into_iter().filter(|text| text.contains('{')).flat_map(blanks)
    }

    /// The same, with the blanks filled.
    #[must_use]
    pub fn filled(&self, filling: &Filling<'_>) -> Self {
        let fill = |text: &str| {
            // Once, so that nothing is left behind by a text that grew.
            let mut out = Zeroizing::new(String::with_capacity(longest(text)));
            // No blank outside of brackets is without a value: that was checked.
            let _always = fill(text, filling, &mut out);
            out
        };
        Self {
            username: fill(&self.username).as_str().into(),
            password: Secret::new(fill(self.password.expose()).as_str()),
        }
    }
}

impl Endpoint {
    /// Whether its login, or that of a hop before it, has blanks.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.blanks().next().is_some()
    }

    /// Whether its login has a blank for this.
    #[must_use]
    pub fn has_blank(&self, blank: Blank) -> bool {
        self.blanks().any(|own| own == blank)
    }

    /// Whether each attempt logs in as somebody else, and so comes out elsewhere, for a request with or without a session.
    #[must_use]
    pub fn is_drawn_anew(&self, has_session: bool) -> bool {
        !(has_session && self.has_blank(Blank::Session)) && self.blanks().any(Blank::is_sure)
    }

    /// Whether its login has a blank for all that the login of another has one for, where that is not certain to be filled:
    /// for places.
    #[must_use]
    pub fn has_places_of(&self, other: &Self) -> bool {
        other.blanks().filter(|blank| !blank.is_sure()).all(|blank| self.has_blank(blank))
    }

    fn blanks(&self) -> impl Iterator<Item = Blank> {
        let hops = std::iter::successors(Some(self), |hop| hop.via.as_deref());
        hops.filter_map(|hop| hop.credentials.as_deref()).flat_map(Credentials::blanks)
    }

    /// The same, with the blanks filled.
    #[must_use]
    pub fn filled(&self, filling: &Filling<'_>) -> Self {
        Self {
            scheme: self.scheme,
            host: self.host.clone(),
            port: self.port,
            credentials: self.credentials.as_deref().map(|credentials| Box::new(credentials.filled(filling))),
            via: self.via.as_ref().map(|via| Box::new(via.filled(filling))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
