//! Where something listens: an address or a name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The longest host name that DNS can carry (RFC 1035 §2.3.4), without the final dot.
const MAX_NAME: usize = 253;

/// An IPv4 address, an IPv6 address with an optional zone (RFC 4007 §11), or a host name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address without a zone.
    V6(Ipv6Addr),
    /// An IPv6 address with a zone, as in `fe80::1%eth0`. In a box: nearly no address has one, and there are millions of hosts.
    Zoned(Box<Zoned>),
    /// A host name in lower case: letters, digits, `-`, `_` and dots; no final dot.
    Name(Box<str>),
}

/// An IPv6 address that means something on one link only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zoned {
    /// The address.
    pub addr: Ipv6Addr,
    /// The link.
    pub zone: Zone,
}

/// A zone of an IPv6 address: an interface's name or number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone(Box<str>);

impl Zone {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a host: {0}")]
pub struct NotAHost(pub &'static str);

impl Host {
    /// The address, when it is one; without its zone.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::V4(addr) => Some(IpAddr::V4(*addr)),
            Self::V6(addr) => Some(IpAddr::V6(*addr)),
            Self::Zoned(zoned) => Some(IpAddr::V6(zoned.addr)),
            Self::Name(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::V4(addr),
            IpAddr::V6(addr) => Self::V6(addr),
        }
    }
}

impl FromStr for Host {
    type Err = NotAHost;

    /// Reads an address (IPv6 with or without brackets) or a name.
    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(inner) = bracketed {
            return v6(inner).ok_or(NotAHost("brackets without an IPv6 address"));
        }
        if let Ok(addr) = text.parse::<Ipv4Addr>() {
            return Ok(Self::V4(addr));
        }
        if text.contains(':') {
            return v6(text).ok_or(NotAHost("colons, but no IPv6 address"));
        }
        name(text)
    }
}

fn v6(text: &str) -> Option<Host> {
    let (addr, zone) = match text.split_once('%') {
        // A URL writes the `%` of a zone as `%25` (RFC 6874). With nothing behind it, it is the zone 25 itself.
        Some((addr, zone)) => (addr, Some(zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone))),
        None => (text, None),
    };
    let zone_is_sane = zone.is_none_or(|zone| {
        (1..=32).contains(&zone.len()) && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    });
    let addr = addr.parse().ok().filter(|_| zone_is_sane)?;
    Some(match zone {
        Some(zone) => Host::Zoned(Box::new(Zoned { addr, zone: Zone(zone.into()) })),
        None => Host::V6(addr),
    })
}

fn name(text: &str) -> Result<Host, NotAHost> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(NotAHost("empty"));
    }
    if text.len() > MAX_NAME {
        return Err(NotAHost("a name of more than 253 characters"));
    }
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(NotAHost("a label that is empty or has more than 63 characters"));
        }
        if !label.is_ascii() {
            return Err(NotAHost("a letter beyond ASCII; such a name is written in punycode (xn--…)"));
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(NotAHost("a character that no host name has"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NotAHost("a label that begins or ends with a hyphen"));
        }
    }
    // `1.2.3.400` and `1.2.3` are mistyped addresses, not names (the last label of a name is not numeric, RFC 3696 §2), and
    // `0x7f.0x1` is 127.0.0.1 for the C library, as for browsers (WHATWG URL, "ends in a number").
    let last = text.rsplit('.').next().unwrap_or(text);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_number {
        return Err(NotAHost("neither an IPv4 address nor a name"));
    }
    Ok(Host::Name(text.to_ascii_lowercase().into()))
}

impl fmt::Display for Host {
    /// The form that a URL carries: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(addr) => write!(f, "{addr}"),
            Self::V6(addr) => write!(f, "[{addr}]"),
            Self::Zoned(zoned) => write!(f, "[{zoned}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Zoned {
    /// The address with its zone, in a form that can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, zone } = self;
        // A zone that begins with 25 would be taken for an escaped one.
        let escape = if zone.as_str().starts_with("25") { "25" } else { "" };
        write!(f, "{addr}%{escape}{zone}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        assert_eq!("1.2.3.4".parse::<Host>().unwrap(), Host::V4(Ipv4Addr::new(1, 2, 3, 4)));
        assert_eq!("[2001:db8::1]".parse::<Host>().unwrap().to_string(), "[2001:db8::1]");
        assert_eq!("2001:db8::1".parse::<Host>().unwrap().to_string(), "[2001:db8::1]");
        assert_eq!("[fe80::1%eth0]".parse::<Host>().unwrap().to_string(), "[fe80::1%eth0]");
        assert_eq!("Gate.Example.".parse::<Host>().unwrap(), Host::Name("gate.example".into()));
    }

    #[test]
    fn a_zone_survives_its_text_though_it_looks_escaped() {
        for (text, zone) in
            [("fe80::1%25", "25"), ("fe80::1%2525", "25"), ("[fe80::1%25256]", "256"), ("fe80::1%254", "4")]
        {
            let host: Host = text.parse().unwrap();
            assert_eq!(
                host,
                Host::Zoned(Box::new(Zoned { addr: "fe80::1".parse().unwrap(), zone: Zone(zone.into()) })),
                "{text}"
            );
            assert_eq!(host.to_string().parse(), Ok(host));
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "1.2.3.400",
            "1.2.3",
            "a b",
            "[1.2.3.4]",
            "a..b",
            "-a.b",
            "ü.example",
            "::g",
            "[::1%a b]",
            "localhost:80",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }
}
