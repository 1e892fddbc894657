//! Host, port and credentials, in the orders that are in use. See the table in [`entry`](super).

use super::{Entry, Fault, Host, notes};
use crate::{Scheme, words};
use std::borrow::Cow;

/// A text without a scheme; `default` gives the port in `USER:PASSWORD@HOST`.
pub(super) fn read(text: &str, default: Scheme) -> Result<Entry<'_>, Fault> {
    match text.rsplit_once('@') {
        Some((login, address)) => at_sign(text, login, address, words::default_port(default)),
        None => colons(text),
    }
}

/// What stands behind a scheme, where the port is never left out.
pub(super) fn read_behind_scheme(text: &str) -> Result<Entry<'_>, Fault> {
    match text.rsplit_once('@') {
        Some((login, address)) => at_sign(text, login, address, None),
        None => colons(text),
    }
}

fn at_sign<'a>(text: &'a str, login: &'a str, address: &'a str, default: Option<u16>) -> Result<Entry<'a>, Fault> {
    let with_port = host_port(address);
    if let Ok((host, _)) = &with_port
        && host.is_certain()
    {
        return with_login(login, with_port?);
    }
    if let Some(entry) = behind_address(text) {
        return entry;
    }
    if let Ok(entry) = colons(text)
        && entry.host.is_certain()
        && entry.username.is_some()
    {
        return Ok(entry);
    }
    match with_port {
        Err(Fault::NoPort) => match (Host::parse(address), default) {
            (Some(host), Some(port)) if host.is_certain() => with_login(login, (host, port)),
            _ => Err(Fault::NoPort),
        },
        found => with_login(login, found.map_err(Fault::hide)?),
    }
}

/// `HOST:PORT@SCHEME` or `HOST:PORT@USER:PASSWORD`, as it is. None when it does not begin with the
/// address of a certain host.
fn behind_address(text: &str) -> Option<Result<Entry<'_>, Fault>> {
    let (address, after) = text.split_once('@')?;
    let (host, port) = host_port(address).ok().filter(|(host, _)| host.is_certain())?;
    let entry = Entry::at(host, port);
    if let Some(scheme) = words::scheme(after) {
        return Some(Ok(Entry { scheme: Some(scheme), ..entry }));
    }
    let (username, password) = after.split_once(':')?;
    if username.is_empty() {
        return Some(Err(Fault::NoUsername));
    }
    Some(Ok(Entry { username: Some(username.into()), password: Some(password.into()), ..entry }))
}

/// Fields between colons.
fn colons(text: &str) -> Result<Entry<'_>, Fault> {
    let (host, rest) = split_host(text)?;
    let parsed = Host::parse(host);
    let is_certain = parsed.as_ref().is_some_and(Host::is_certain);
    let (number, more) = match rest.split_once(':') {
        Some((number, more)) => (number, Some(more)),
        None => (rest, None),
    };
    if let Some(more) = more
        && (!is_certain || !number.bytes().all(|byte| byte.is_ascii_digit()))
        && let Some(entry) = address_last(text, more)
    {
        return Ok(entry);
    }
    let port = port(number)?;
    let entry = Entry::at(parsed.ok_or_else(|| Fault::NotAHost(host.into()))?, port);
    match more.map(|more| more.split_once(':').ok_or(more)) {
        None => Ok(entry),
        Some(Ok(("", _))) => Err(Fault::NoUsername),
        Some(Ok((username, password))) => {
            Ok(Entry { username: Some(username.into()), password: Some(password.into()), ..entry })
        }
        Some(Err(third)) if is_certain => third_field(entry, third),
        Some(Err(_)) => Err(Fault::ThreeFields),
    }
}

/// `HOST:PORT:THIRD`.
fn third_field<'a>(mut entry: Entry<'a>, third: &'a str) -> Result<Entry<'a>, Fault> {
    if third.is_empty() {
        return Err(Fault::ThreeFields);
    }
    if !notes::word(&mut entry, third) {
        entry.username = Some(third.into());
    }
    Ok(entry)
}

/// `USER:PASSWORD:HOST:PORT`, when its host is certain. `more` is what follows the second colon.
fn address_last<'a>(text: &'a str, more: &str) -> Option<Entry<'a>> {
    let (before, number) = text.rsplit_once(':')?;
    let port = port(number).ok()?;
    let start = match before.strip_suffix(']') {
        Some(inner) => inner.rfind('[')?,
        None => before.rfind(':')? + 1,
    };
    // Three fields are none of this form, whatever the last two are.
    if start < text.len() - more.len() {
        return None;
    }
    let host = Host::parse(before.get(start..)?).filter(Host::is_certain)?;
    let (username, password) = text.get(..start)?.strip_suffix(':')?.split_once(':')?;
    let login = (!username.is_empty()).then_some((username, password));
    let (username, password) = login?;
    Some(Entry { username: Some(username.into()), password: Some(password.into()), ..Entry::at(host, port) })
}

pub(super) fn host_port(text: &str) -> Result<(Host<'_>, u16), Fault> {
    let (host, rest) = split_host(text)?;
    let port = port(rest)?;
    let host = Host::parse(host).ok_or_else(|| Fault::NotAHost(host.into()))?;
    Ok((host, port))
}

/// The host, and what stands after the colon that ends it.
pub(super) fn split_host(text: &str) -> Result<(&str, &str), Fault> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(Fault::NotAHostHidden)?;
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
        return Ok(Entry::at(host, port));
    }
    let (username, password) = match login.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (login, None),
    };
    if username.is_empty() {
        return Err(Fault::NoUsername);
    }
    let password = password.map(decode).transpose()?;
    Ok(Entry { username: Some(decode(username)?), password, ..Entry::at(host, port) })
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
