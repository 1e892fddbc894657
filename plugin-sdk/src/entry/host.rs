//! Hosts: IPv4 and IPv6 addresses, and names.

use crate::parser;
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Where a proxy listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host<'a> {
    /// A host name, or an IPv6 address with its zone.
    Text(Cow<'a, str>),
    /// An IPv4 address in host byte order.
    Ipv4(u32),
    /// An IPv6 address: its upper and its lower half.
    Ipv6(u64, u64),
}

impl<'a> Host<'a> {
    /// Reads a host: an IPv4 address in the usual four decimal numbers without leading zeros (which
    /// some read as octal), an IPv6 address with or without brackets, or a name (RFC 1123, with
    /// underscores) whose last label is not a number.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some((address, used)) = ipv4_prefix(text.as_bytes())
            && used == text.len()
        {
            return Some(Self::Ipv4(address));
        }
        if let Some(inner) = text.strip_prefix('[') {
            return ipv6(inner.strip_suffix(']')?);
        }
        if text.contains(':') {
            return ipv6(text);
        }
        is_name(text).then(|| Self::Text(text.into()))
    }

    /// Whether it can hardly be anything else: an address, or a name with a dot.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        match self {
            Self::Ipv4(_) | Self::Ipv6(..) => true,
            Self::Text(text) => text.contains(['.', ':']),
        }
    }
}

impl From<Host<'_>> for parser::Host {
    fn from(host: Host<'_>) -> Self {
        match host {
            Host::Text(text) => Self::Text(text.into_owned()),
            Host::Ipv4(address) => Self::Ipv4(address),
            Host::Ipv6(upper, lower) => Self::Ipv6((upper, lower)),
        }
    }
}

/// The `IPV4:PORT` that a text begins with, and how many bytes it takes. The port ends where its
/// digits do; what follows them is for the caller to judge.
#[must_use]
#[inline]
pub fn ipv4_port(text: &[u8]) -> Option<(u32, u16, usize)> {
    let (address, colon) = ipv4_prefix(text)?;
    let digits = text.get(colon..)?.strip_prefix(b":")?;
    let mut port = 0_u32;
    let mut count = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        port = port * 10 + u32::from(digit);
        count += 1;
        if count > 5 {
            return None;
        }
    }
    let port = u16::try_from(port).ok().filter(|&port| port != 0)?;
    Some((address, port, colon + 1 + count))
}

/// The IPv4 address that a text begins with, and how many bytes it takes.
#[inline]
fn ipv4_prefix(text: &[u8]) -> Option<(u32, usize)> {
    let mut address = 0_u32;
    let mut at = 0;
    for part in 0..4 {
        if part > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let mut octet = digit(text, at)?;
        at += 1;
        if octet != 0 {
            for _ in 0..2 {
                let Some(next) = digit(text, at) else { break };
                octet = octet * 10 + next;
                at += 1;
            }
        }
        if octet > 255 {
            return None;
        }
        address = address << 8 | octet;
    }
    Some((address, at))
}

#[inline]
fn digit(text: &[u8], at: usize) -> Option<u32> {
    let digit = text.get(at)?.wrapping_sub(b'0');
    (digit <= 9).then_some(u32::from(digit))
}

fn ipv6(text: &str) -> Option<Host<'_>> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let bits = u128::from(address.parse::<Ipv6Addr>().ok()?);
    match zone {
        None => Some(Host::Ipv6((bits >> 64) as u64, bits as u64)),
        Some(zone) => {
            // In a URL the zone's `%` is itself encoded (RFC 6874).
            let plain = zone.strip_prefix("25").filter(|plain| !plain.is_empty());
            let name = plain.unwrap_or(zone);
            let valid = (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
            valid.then(|| match plain {
                // Without the escape it would be taken for one itself.
                Some(plain) if plain.starts_with("25") => Host::Text(text.into()),
                Some(plain) => Host::Text(format!("{address}%{plain}").into()),
                None => Host::Text(text.into()),
            })
        }
    }
}

fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    (1..=253).contains(&name.len())
        && name.split('.').all(is_label)
        && name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
