//! The grammar of a proxy written as text:
//!
//! | form | what it says |
//! |---|---|
//! | `HOST:PORT` | no scheme: the document's default |
//! | `[IPV6]:PORT`, `[IPV6%ZONE]:PORT` | likewise |
//! | `SCHEME://HOST:PORT`, with or without a `/` at the end | `socks` is `socks5` |
//! | `SCHEME://USER:PASSWORD@HOST:PORT`, `SCHEME://USER@…` | percent-encoded |
//! | `USER:PASSWORD@HOST[:PORT]` | percent-encoded; the scheme's own port when none is written |
//! | `HOST:PORT:USER:PASSWORD` | as it is: the password may hold `:`, `@` and `%` |
//!
//! Where forms collide, the one whose host is an address or has a dot and whose port is a port wins,
//! the forms with `@` first. Written by hand, because no library reads more than the URLs among them,
//! and because a list of a million lines should take less than a second, in WebAssembly: the common
//! `IPV4:PORT` is read in one pass, and nothing is copied but what has to be decoded.
//!
//! Nothing that could be a password is ever part of a [`Fault`]; [`masked`] hides it in excerpts.

mod fault;
mod host;
mod mask;
#[cfg(test)]
mod tests;

use crate::parser::Candidate;
use crate::{Anonymity, Scheme, words};
use std::borrow::Cow;

pub use fault::Fault;
pub use host::{Host, ipv4_port};
pub use mask::masked;

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
}

impl Entry<'_> {
    /// As a candidate that the document says nothing else about.
    #[must_use]
    pub fn into_candidate(self, line: u32) -> Candidate {
        Candidate {
            scheme: self.scheme,
            host: self.host.into(),
            port: self.port,
            username: self.username.map(Cow::into_owned),
            password: self.password.map(Cow::into_owned),
            country: String::new(),
            anonymity: Anonymity::Unknown,
            line,
        }
    }
}

/// Reads one entry. White space around it does not matter; `default` is the scheme that gives the
/// port in `USER:PASSWORD@HOST`.
pub fn parse(text: &[u8], default: Scheme) -> Result<Entry<'_>, Fault> {
    let text = text.trim_ascii();
    if let Some((address, port, used)) = ipv4_port(text)
        && used == text.len()
    {
        return Ok(plain(Host::Ipv4(address), port));
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
    match split_scheme(text) {
        (Some(word), rest) => {
            let scheme = words::scheme(word).ok_or_else(|| Fault::Scheme(word.into()))?;
            let rest = rest.strip_suffix('/').unwrap_or(rest);
            if let Some((address, port, used)) = ipv4_port(rest.as_bytes())
                && used == rest.len()
            {
                return Ok(Entry { scheme: Some(scheme), ..plain(Host::Ipv4(address), port) });
            }
            let entry = match rest.rsplit_once('@') {
                Some((login, address)) => with_login(login, host_port(address).map_err(Fault::hide)?)?,
                None => colons(rest)?,
            };
            Ok(Entry { scheme: Some(scheme), ..entry })
        }
        (None, text) => match text.rsplit_once('@') {
            Some((login, address)) => at_sign(text, login, address, default),
            None => colons(text),
        },
    }
}

/// `SCHEME://REST`, when what stands before `://` looks like a scheme at all.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
    let length = text.bytes().take_while(|&byte| is_scheme(byte)).count();
    match text.split_at(length) {
        (word, rest) if !word.is_empty() => match rest.strip_prefix("://") {
            Some(rest) => (Some(word), rest),
            None => (None, text),
        },
        _ => (None, text),
    }
}

/// An entry without a scheme and with an `@`: it may stand in the password of `HOST:PORT:USER:PASS`.
fn at_sign<'a>(text: &'a str, login: &'a str, address: &'a str, default: Scheme) -> Result<Entry<'a>, Fault> {
    let with_port = host_port(address);
    if let Ok((host, _)) = &with_port
        && host.is_certain()
    {
        return with_login(login, with_port?);
    }
    if let Ok(entry) = colons(text)
        && entry.host.is_certain()
        && entry.username.is_some()
    {
        return Ok(entry);
    }
    match with_port {
        Err(Fault::NoPort) => match (Host::parse(address), words::default_port(default)) {
            (Some(host), Some(port)) if host.is_certain() => with_login(login, (host, port)),
            _ => Err(Fault::NoPort),
        },
        found => with_login(login, found.map_err(Fault::hide)?),
    }
}

/// `HOST:PORT` or `HOST:PORT:USER:PASSWORD`.
fn colons(text: &str) -> Result<Entry<'_>, Fault> {
    let (host, rest) = split_host(text)?;
    let mut fields = rest.splitn(3, ':');
    let port = port(fields.next().unwrap_or_default())?;
    let host = Host::parse(host).ok_or_else(|| Fault::NotAHost(host.into()))?;
    match (fields.next(), fields.next()) {
        (None, _) => Ok(plain(host, port)),
        (Some(_), None) => Err(Fault::ThreeFields),
        (Some(""), Some(_)) => Err(Fault::NoUsername),
        (Some(username), Some(password)) => {
            Ok(Entry { username: Some(username.into()), password: Some(password.into()), ..plain(host, port) })
        }
    }
}

fn host_port(text: &str) -> Result<(Host<'_>, u16), Fault> {
    let (host, rest) = split_host(text)?;
    let port = port(rest)?;
    let host = Host::parse(host).ok_or_else(|| Fault::NotAHost(host.into()))?;
    Ok((host, port))
}

/// The host, and what stands after the colon that ends it.
fn split_host(text: &str) -> Result<(&str, &str), Fault> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or_else(|| Fault::NotAHost(text.into()))?;
        let (host, rest) = text.split_at(end + 1);
        return rest.strip_prefix(':').map(|rest| (host, rest)).ok_or(Fault::NoPort);
    }
    text.split_once(':').ok_or(Fault::NoPort)
}

/// A port in decimal digits.
pub fn port(text: &str) -> Result<u16, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::NoPort);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::PortNotNumber);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(Fault::port_range(text)),
        Ok(port) => Ok(port),
    }
}

fn with_login<'a>(login: &'a str, (host, port): (Host<'a>, u16)) -> Result<Entry<'a>, Fault> {
    if login.is_empty() {
        return Ok(plain(host, port));
    }
    let (username, password) = match login.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (login, None),
    };
    if username.is_empty() {
        return Err(Fault::NoUsername);
    }
    Ok(Entry { username: Some(decode(username)?), password: password.map(decode).transpose()?, ..plain(host, port) })
}

const fn plain(host: Host<'_>, port: u16) -> Entry<'_> {
    Entry { scheme: None, host, port, username: None, password: None }
}

/// Percent-decodes. A `%` that no two hexadecimal digits follow stands for itself: lists hold raw
/// passwords too.
fn decode(text: &str) -> Result<Cow<'_, str>, Fault> {
    if !text.contains('%') {
        return Ok(text.into());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, after) {
            (b'%', [high, low, tail @ ..]) if let (Some(high), Some(low)) = (hex(*high), hex(*low)) => {
                decoded.push(high << 4 | low);
                rest = tail;
            }
            _ => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Fault::NotText)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
