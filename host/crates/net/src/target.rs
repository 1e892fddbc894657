//! Where a request goes: the origin's host and port.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use proxywhirl_core::Host;
use proxywhirl_core::endpoint::parse_port;

/// The origin that an upstream is asked to reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a target: {0}")]
pub struct NotATarget(String);

impl Target {
    /// The form that goes on the wire: `host:port`, IPv6 in brackets and without its zone, which means something on
    /// the machine that wrote it only (RFC 6874 §4).
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.host {
            Host::Zoned(zoned) => format!("[{}]:{}", zoned.addr, self.port),
            Host::V4(_) | Host::V6(_) | Host::Name(_) => self.text(),
        }
    }
}

impl Target {
    /// What `Display` writes. Every request has its target written, and formatting costs ten times as much.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(LONGEST_V4);
        match &self.host {
            Host::Name(name) => text.push_str(name),
            Host::V4(addr) => {
                let [first, rest @ ..] = addr.octets();
                each_digit(first.into(), &mut |digit| text.push(char::from(digit)));
                for octet in rest {
                    text.push('.');
                    each_digit(octet.into(), &mut |digit| text.push(char::from(digit)));
                }
            }
            Host::V6(_) | Host::Zoned(_) => return self.to_string(),
        }
        text.push(':');
        each_digit(self.port, &mut |digit| text.push(char::from(digit)));
        text
    }
}

/// `255.255.255.255:65535`
const LONGEST_V4: usize = 21;

/// Gives the digits of a number, from the first to the last.
pub(crate) fn each_digit(number: u16, push: &mut impl FnMut(u8)) {
    if number >= 10 {
        each_digit(number / 10, push);
    }
    // A digit is one byte.
    push(b'0' + (number % 10) as u8);
}

impl From<(IpAddr, u16)> for Target {
    fn from((addr, port): (IpAddr, u16)) -> Self {
        Self { host: addr.into(), port }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Target {
    type Err = NotATarget;

    /// Reads `host:port`, as CONNECT names its target: the port cannot be left out, an IPv6 address has brackets.
    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| NotATarget("no port".to_owned()))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(NotATarget("an IPv6 address without brackets".to_owned()));
        }
        let host = host.parse::<Host>().map_err(|error| NotATarget(error.to_string()))?;
        let port = parse_port(port).map_err(|error| NotATarget(error.to_string()))?;
        Ok(Self { host, port })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_target_survives_its_text() {
        for text in ["1.2.3.4:80", "10.0.203.255:7", "[2001:db8::1]:443", "example.org:65535", "a.example:10000"] {
            let target = text.parse::<Target>().unwrap();
            assert_eq!((target.to_string().as_str(), target.text().as_str()), (text, text));
        }
        assert_eq!("[fe80::1%25eth0]:1".parse::<Target>().unwrap().authority(), "[fe80::1]:1");
    }

    #[test]
    fn what_names_no_host_and_port_is_refused() {
        for text in ["", "example.org", "example.org:0", "::1:80", ":80", "a b:80", "h:80 ", "h:+8"] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }
}
