//! The grammar of proxies written as text. [`parse`] reads one entry, which has no white space in it;
//! [`line()`] reads a line, which may hold several, and things that are said about them.
//!
//! | form | what it says |
//! |---|---|
//! | `HOST:PORT` | no scheme: the document's default |
//! | `[IPV6]:PORT`, `[IPV6%ZONE]:PORT` | likewise |
//! | `SCHEME://HOST:PORT`, with or without a `/` at the end | in any case; `socks` is `socks5` |
//! | `SCHEME://USER:PASSWORD@HOST:PORT`, `SCHEME://USER@…` | percent-encoded |
//! | `SCHEME://…?OPTIONS#TAG` | options and tag do not matter |
//! | `A+B://HOST:PORT#USER:PASSWORD` | either scheme; `ssl+http` is `https` |
//! | `USER:PASSWORD@HOST[:PORT]` | percent-encoded; the scheme's own port when none is written |
//! | `HOST:PORT@USER:PASSWORD`, `HOST:PORT@SCHEME` | as it is |
//! | `HOST:PORT:USER:PASSWORD` | as it is: the password may hold `:`, `@` and `%` |
//! | `USER:PASSWORD:HOST:PORT` | likewise |
//! | `HOST:PORT:THIRD` | a scheme, country or anonymity if it is one, else a user name |
//! | any of them, and `[http://…]` | the link that changes the exit does not matter |
//! | any of them with `IPV4/16` to `IPV4/32` for its host | each address; in lines only |
//! | the rest of what lines may say | see [`line()`] |
//!
//! Where forms collide, the first that fits counts:
//!
//! 1. What stands before `://` is a scheme, and nothing else is tried. A `#` or `?` belongs to a
//!    password unless the text is an entry only without what follows it.
//! 2. With an `@`: a host that is certain (an address, or a name with a dot) and a port after the
//!    last one; `HOST:PORT` before the first one, with such a host; `HOST:PORT:USER:PASSWORD` whose
//!    password holds it; any other name after the last one.
//! 3. Else, when the first field is a certain host and the second a number, these are host and port;
//!    then the last two, read from the right; then the first two with any other name.
//!
//! Templates such as `{session}` and `{{ENV}}` stay as they are in user names and passwords.
//!
//! Written by hand, because no library reads more than the URLs among them, and because a list of a
//! million lines should take less than a second, in WebAssembly: the common `IPV4:PORT` is read in one
//! pass, and nothing is copied but what has to be decoded. The time is linear in the text's length.
//!
//! Nothing that could be a password is ever part of a [`Fault`]; [`masked`] hides it in excerpts.

mod fault;
mod host;
mod line;
mod login;
mod mask;
mod notes;
mod range;
mod shell;
#[cfg(test)]
mod tests;
mod url;

use crate::parser::Candidate;
use crate::{Anonymity, Scheme};
use std::borrow::Cow;

pub use fault::Fault;
pub use host::{Host, ipv4_port};
pub use line::line;
pub use login::port;
pub use mask::masked;
pub use range::Ranges;

/// Entries above this many bytes are refused: a host name has 253 at the most, a SOCKS 5 user name
/// and password 255 each, three times that when percent-encoded.
pub const MAX_BYTES: usize = 2048;

/// A proxy as a text says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// How one speaks to it, or none when the text does not say.
    pub scheme: Option<Scheme>,
    /// Where it listens.
    pub host: Host<'a>,
    /// Where it listens, 1 to 65535.
    pub port: u16,
    /// Percent-decoded.
    pub username: Option<Cow<'a, str>>,
    /// Percent-decoded; never without a user name.
    pub password: Option<Cow<'a, str>>,
    /// Two-letter code in upper case, when the text names a country.
    pub country: Option<[u8; 2]>,
    /// What the text claims.
    pub anonymity: Anonymity,
}

impl<'a> Entry<'a> {
    /// An entry that says no more than where a proxy listens.
    #[must_use]
    pub const fn at(host: Host<'a>, port: u16) -> Self {
        Self { scheme: None, host, port, username: None, password: None, country: None, anonymity: Anonymity::Unknown }
    }

    /// The same, of a text that does not last.
    #[must_use]
    pub(crate) fn into_owned(self) -> Entry<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        let host = match self.host {
            Host::Text(text) => Host::Text(Cow::Owned(text.into_owned())),
            Host::Ipv4(address) => Host::Ipv4(address),
            Host::Ipv6(upper, lower) => Host::Ipv6(upper, lower),
        };
        Entry {
            scheme: self.scheme,
            username: owned(self.username),
            password: owned(self.password),
            country: self.country,
            anonymity: self.anonymity,
            ..Entry::at(host, self.port)
        }
    }

    /// As a candidate.
    #[must_use]
    pub fn into_candidate(self, line: u32) -> Candidate {
        Candidate {
            scheme: self.scheme,
            host: self.host.into(),
            port: self.port,
            username: self.username.map(Cow::into_owned),
            password: self.password.map(Cow::into_owned),
            country: self.country.map(|code| code.map(char::from).iter().collect()).unwrap_or_default(),
            anonymity: self.anonymity,
            line,
        }
    }
}

/// Reads one entry. White space around it does not matter; `default` is the scheme that gives the
/// port in `USER:PASSWORD@HOST`. Of `A+B://…` the first scheme counts.
pub fn parse(text: &[u8], default: Scheme) -> Result<Entry<'_>, Fault> {
    let text = text.trim_ascii();
    if let Some((address, port, used)) = ipv4_port(text)
        && used == text.len()
    {
        return Ok(Entry::at(Host::Ipv4(address), port));
    }
    if text.len() > MAX_BYTES {
        return Err(Fault::TooLong(text.len()));
    }
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    let is_space = |letter: char| letter.is_whitespace() || letter.is_control();
    let text = std::str::from_utf8(text).map_err(|_| Fault::NotText)?;
    // Letters are read one by one only where there are any but ASCII.
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7F) || (!text.is_ascii() && text.contains(is_space)) {
        return Err(Fault::Space);
    }
    let text = without_link(text);
    match url::split_scheme(text) {
        (Some(word), rest) => url::read(word, rest),
        (None, text) => login::read(text, default),
    }
}

/// Without the link that changes a proxy's exit: `…[https://vendor.example/rotate?key=…]`.
fn without_link(text: &str) -> &str {
    match text.strip_suffix(']').and_then(|inner| inner.find("[http")) {
        Some(start) => text.get(..start).unwrap_or(text),
        None => text,
    }
}
