//! What clients send, read into what they want: three protocols on one port, told apart by the first byte.

pub(crate) mod http;
pub(crate) mod socks;

use proxywhirl_core::Host;
use proxywhirl_net::Target;

/// A protocol that a client may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Http,
    Socks4,
    Socks5,
    /// A TLS handshake: somebody took the gateway for an HTTPS server or an HTTPS proxy.
    Tls,
}

impl Dialect {
    /// The protocol that begins with this byte. SOCKS begins with its version and TLS with the type of its record;
    /// neither can begin an HTTP method.
    pub(crate) const fn of(first: u8) -> Self {
        match first {
            0x04 => Self::Socks4,
            0x05 => Self::Socks5,
            0x16 => Self::Tls,
            _ => Self::Http,
        }
    }
}

/// Reads where a client wants to go.
pub(crate) fn target(host: &str, port: u16) -> Result<Target, String> {
    let host: Host = host.parse().map_err(|error| format!("the target {}: {error}", excerpt(host)))?;
    target_at(host, port)
}

/// Where a client wants to go that has named this host.
pub(crate) fn target_at(host: Host, port: u16) -> Result<Target, String> {
    // The zone is an interface of the client's machine: it means nothing to an upstream.
    if matches!(host, Host::Zoned(_)) {
        return Err(format!("the target {host} has a zone, which only the machine that it belongs to can reach"));
    }
    if port == 0 {
        return Err(format!("the target {host} has port 0"));
    }
    Ok(Target { host, port })
}

/// The beginning of what a client sent, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(80).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_protocol() {
        assert_eq!([4, 5, 0x16, b'G', b'C', 0, 0xff].map(Dialect::of), {
            use Dialect::{Http, Socks4, Socks5, Tls};
            [Socks4, Socks5, Tls, Http, Http, Http, Http]
        });
    }

    #[test]
    fn a_target_is_a_host_without_a_zone_and_a_port() {
        assert_eq!(target("Example.com", 80).unwrap().to_string(), "example.com:80");
        assert_eq!(target("[::1]", 443).unwrap().to_string(), "[::1]:443");
        for (host, port) in [("example.com", 0), ("fe80::1%eth0", 80), ("", 80), ("a b", 80), ("1.2.3.400", 80)] {
            assert!(target(host, port).is_err(), "{host}:{port}");
        }
    }

    #[test]
    fn an_excerpt_is_bounded() {
        assert_eq!(excerpt("short"), "short");
        assert_eq!(excerpt(&"é".repeat(1_000)).chars().count(), 81);
    }
}
