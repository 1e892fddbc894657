//! How one speaks to a proxy.

use std::fmt;
use std::str::FromStr;

use super::{EndpointError, excerpt};

/// How one speaks to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP proxy over plain TCP: absolute-form requests, and CONNECT (RFC 9110 §9.3.6).
    Http,
    /// HTTP proxy inside TLS.
    Https,
    /// SOCKS 4: IPv4 addresses only, names are resolved on our side.
    Socks4,
    /// SOCKS 4a: names are resolved by the proxy.
    Socks4a,
    /// SOCKS 5 (RFC 1928), names are resolved on our side.
    Socks5,
    /// SOCKS 5, names are resolved by the proxy.
    Socks5h,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 6] = [Self::Http, Self::Https, Self::Socks4, Self::Socks4a, Self::Socks5, Self::Socks5h];

    /// The scheme as a URL writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    /// The port when none is written: 80, 443 or 1080.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks4 | Self::Socks4a | Self::Socks5 | Self::Socks5h => 1080,
        }
    }

    /// Whether the proxy speaks HTTP, and so takes absolute-form requests.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scheme {
    type Err = EndpointError;

    /// Reads a scheme in any case; `socks` is SOCKS 5.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let lower = text.to_ascii_lowercase();
        if lower == "socks" {
            return Ok(Self::Socks5);
        }
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == lower).ok_or_else(|| {
            // What holds other signs may be a login that stands in the wrong place.
            let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
            EndpointError::Scheme(if is_word { excerpt(text) } else { "***".into() })
        })
    }
}
