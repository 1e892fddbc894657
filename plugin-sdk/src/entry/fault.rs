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
    /// The scheme is that of something else which lists hold, and what that is.
    OtherKind(String, &'static str),
    /// A SOCKS proxy that is reached through TLS, which nothing here speaks.
    SocksInTls,
    /// Several proxies or protocols, one behind the other.
    Chain,
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
    /// `NAME:PORT:SOMETHING`, where the name has no dot: a time of day, a score, nobody knows.
    ThreeFields,
    /// An address, and words after it that say nothing about a proxy.
    Note,
    /// A password without a user name.
    NoUsername,
    /// A range of addresses with a prefix that is not in 16..32.
    Prefix,
    /// A range of that many addresses, more than what a document may still bring.
    RangeTooLarge(u32),
}

impl Fault {
    /// That a word is no scheme, and what it is if lists are known to hold it.
    pub(super) fn scheme(word: &str) -> Self {
        const KINDS: [(&[&str], &str); 3] = [
            (
                &[
                    "vmess",
                    "vless",
                    "trojan",
                    "ss",
                    "ssr",
                    "hysteria",
                    "hysteria2",
                    "hy2",
                    "tuic",
                    "snell",
                    "anytls",
                    "wireguard",
                    "wg",
                    "naive+https",
                    "juicity",
                    "ssh",
                ],
                "an encrypted tunnel",
            ),
            (&["aws", "gcp", "azure"], "an API gateway of a cloud"),
            (&["tls", "ssl", "ws", "wss", "kcp", "quic", "mtls", "mws", "h2", "h3", "tcp", "udp"], "a link of a chain"),
        ];
        let kind = KINDS.iter().find(|(words, _)| words.iter().any(|known| known.eq_ignore_ascii_case(word)));
        match kind {
            Some((_, kind)) => Self::OtherKind(word.into(), kind),
            None => Self::Scheme(word.into()),
        }
    }

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
            Self::OtherKind(word, kind) => write!(f, "not a scheme of a proxy: {word} is {kind}"),
            Self::SocksInTls => write!(f, "SOCKS inside TLS"),
            Self::Chain => write!(f, "a chain of proxies"),
            Self::NotAHost(text) if text.is_empty() => write!(f, "no host"),
            Self::NotAHost(text) => write!(f, "not a host: {}", short(text)),
            Self::NotAHostHidden => write!(f, "not a host"),
            Self::NoHost => write!(f, "no host"),
            Self::NoPort => write!(f, "no port"),
            Self::PortNotNumber => write!(f, "port is not a number"),
            Self::PortRange(digits) => write!(f, "port {digits} is not in 1..65535"),
            Self::ThreeFields => write!(f, "host:port and a third field of unknown meaning"),
            Self::Note => write!(f, "words of unknown meaning after the address"),
            Self::NoUsername => write!(f, "a password without a user name"),
            Self::Prefix => write!(f, "the range of addresses is not within /16../32"),
            Self::RangeTooLarge(addresses) => {
                write!(f, "a range of {addresses} addresses, more than the {} of a document", super::range::MAX)
            }
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
