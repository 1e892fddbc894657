//! Why a text is no proxy.

use std::fmt;

/// A host is quoted up to this many characters.
const QUOTED: usize = 60;

/// Why a text is no proxy. Reads as a reason for people; never holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no text.
    Empty,
    /// It has that many bytes, more than any entry needs.
    TooLong(usize),
    /// It is not UTF-8, or not once it is percent-decoded.
    NotText,
    /// There is white space or a control character within it.
    Space,
    /// The scheme is none that a proxy is spoken to by.
    Scheme(String),
    /// What stands in the host's place is neither an address nor a name.
    NotAHost(String),
    /// Likewise, where it may be a part of a password.
    NotAHostHidden,
    /// There is no host.
    NoHost,
    /// There is no port.
    NoPort,
    /// What stands in the port's place is no number.
    PortNotNumber,
    /// The port's digits, which are not in 1..65535.
    PortRange(String),
    /// `HOST:PORT:SOMETHING`: a user name, a country, nobody knows.
    ThreeFields,
    /// A password without a user name.
    NoUsername,
}

impl Fault {
    pub(super) fn port_range(digits: &str) -> Self {
        Self::PortRange(digits.chars().take(10).collect())
    }

    /// Without the text of the host.
    pub(super) fn hide(self) -> Self {
        if let Self::NotAHost(_) = self { Self::NotAHostHidden } else { self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "empty"),
            Self::TooLong(bytes) => write!(f, "{bytes} bytes, more than {}", super::MAX_BYTES),
            Self::NotText => write!(f, "not UTF-8"),
            Self::Space => write!(f, "white space inside"),
            Self::Scheme(word) => write!(f, "not a scheme of a proxy: {}", short(word)),
            Self::NotAHost(text) if text.is_empty() => write!(f, "no host"),
            Self::NotAHost(text) => write!(f, "not a host: {}", short(text)),
            Self::NotAHostHidden => write!(f, "not a host after the @"),
            Self::NoHost => write!(f, "no host"),
            Self::NoPort => write!(f, "no port"),
            Self::PortNotNumber => write!(f, "port is not a number"),
            Self::PortRange(digits) => write!(f, "port {digits} is not in 1..65535"),
            Self::ThreeFields => write!(f, "host:port and a third field of unknown meaning"),
            Self::NoUsername => write!(f, "a password without a user name"),
        }
    }
}

impl std::error::Error for Fault {}

fn short(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(QUOTED).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}
