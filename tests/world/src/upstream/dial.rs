//! Where a request leads, and the way there. Only loopback addresses are dialled.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use super::Shared;
use crate::hosts::Unreachable;

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A destination as the client named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a destination was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialFault {
    Unresolved,
    Forbidden,
    Refused,
    TimedOut,
    Failed,
}

impl Target {
    /// Reads `host:port` or `[ipv6]:port`; `default_port` stands in for a missing port.
    pub(super) fn parse(authority: &str, default_port: Option<u16>) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = match (port, default_port) {
            ("", Some(port)) => port,
            (digits, _) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port > 0)?
            }
            _ => return None,
        };
        let odd = |c: char| c.is_ascii_control() || " /@?#\\".contains(c);
        if host.is_empty() || host.contains(odd) {
            return None;
        }
        Some(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl DialFault {
    /// The status that an HTTP proxy answers with.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            Self::TimedOut => 504,
            Self::Unresolved | Self::Refused | Self::Failed => 502,
        }
    }

    /// The reply code of RFC 1928.
    pub(super) fn socks5_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Forbidden => 2,
            Self::Unresolved => 4,
            Self::Refused => 5,
            Self::TimedOut => 6,
        }
    }
}

impl From<Unreachable> for DialFault {
    fn from(why: Unreachable) -> Self {
        match why {
            Unreachable::Unresolved => Self::Unresolved,
            Unreachable::Forbidden => Self::Forbidden,
        }
    }
}

pub(super) async fn dial(shared: &Shared, target: &Target) -> Result<TcpStream, DialFault> {
    let options = &shared.options;
    let addr = options.hosts.resolve(&target.host, target.port)?;
    let stream = match tokio::time::timeout(DIAL_TIMEOUT, open(addr, options.egress)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(DialFault::Refused);
        }
        Ok(Err(_)) => return Err(DialFault::Failed),
        Err(_) => return Err(DialFault::TimedOut),
    };
    // A socket that refuses the option is still a socket; it is only slower.
    stream.set_nodelay(true).ok();
    Ok(stream)
}

async fn open(addr: SocketAddr, egress: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(egress) = egress.filter(|egress| egress.is_ipv4() == addr.is_ipv4()) else {
        return TcpStream::connect(addr).await;
    };
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(egress, 0))?;
    socket.connect(addr).await
}

#[cfg(test)]
mod tests {
    use super::Target;

    fn parsed(authority: &str, default_port: Option<u16>) -> Option<String> {
        Target::parse(authority, default_port).map(|target| target.to_string())
    }

    #[test]
    fn an_authority_reads_with_names_and_addresses_of_both_families() {
        assert_eq!(parsed("a.test:1", None).as_deref(), Some("a.test:1"));
        assert_eq!(parsed("[::1]:443", None).as_deref(), Some("[::1]:443"));
        assert_eq!(parsed("a.test", Some(80)).as_deref(), Some("a.test:80"));
        assert_eq!(parsed("[::1]", Some(80)).as_deref(), Some("[::1]:80"));
    }

    #[test]
    fn a_wrong_authority_is_none() {
        for authority in [
            "", ":1", "a", "a:", "a:0", "a:65536", "a:+1", "a:b", "::1:80", "[::1", "[x]:1", "[::1]x:1", "u@a:1",
            "a b:1",
        ] {
            assert_eq!(parsed(authority, None), None, "{authority}");
        }
    }
}
