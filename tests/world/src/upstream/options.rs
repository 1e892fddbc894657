//! What an upstream is: its protocol, whom it lets in, what it tells the origin, and where it leads.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::behaviour::Behaviour;
use crate::hosts::Hosts;

/// The protocol that an upstream speaks to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP: forwards in absolute form, and CONNECT.
    Http,
    /// The same inside TLS.
    Https,
    /// SOCKS4: IPv4 addresses only; the 4a form is rejected.
    Socks4,
    /// SOCKS4a: names too.
    Socks4a,
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// The same server as [`Protocol::Socks5`]; only the client's idea of who resolves differs.
    Socks5h,
}

impl Protocol {
    /// All six.
    pub const ALL: [Self; 6] = [Self::Http, Self::Https, Self::Socks4, Self::Socks4a, Self::Socks5, Self::Socks5h];

    /// The scheme in a proxy's URL.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme())
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.scheme() == text)
            .ok_or_else(|| format!("protocol {text:?} is none of http, https, socks4, socks4a, socks5, socks5h"))
    }
}

/// Who may use an upstream. SOCKS4 knows a user id only: the password is then ignored.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name; at most 255 bytes fit into SOCKS.
    pub user: String,
    /// The password; at most 255 bytes fit into SOCKS.
    pub password: String,
}

impl Credentials {
    /// Credentials of a name and a password.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    /// `user:password@`, percent-encoded.
    pub(super) fn userinfo(&self) -> String {
        format!("{}:{}@", percent_encode(&self.user), percent_encode(&self.password))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}:***)", self.user)
    }
}

/// What an HTTP upstream tells the origin in a forwarded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anonymity {
    /// Nothing of its own.
    #[default]
    Elite,
    /// Nothing in words that are known, but a field of its own (`X-Served-Through`).
    Marked,
    /// That there is a proxy (`Via`).
    Anonymous,
    /// That, and the client's address (`X-Forwarded-For`).
    Transparent,
}

/// Which destinations a SOCKS5 upstream accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Destinations {
    /// Names and addresses.
    #[default]
    Any,
    /// Addresses; a name is answered with "address type not supported".
    AddressesOnly,
}

/// How an upstream is started. [`UpstreamOptions::new`] is a healthy one without credentials on any port.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// What it speaks.
    pub protocol: Protocol,
    /// Who may use it; none is everybody.
    pub credentials: Option<Credentials>,
    /// Whether it lets everybody in who logs in, by HTTP or SOCKS5, as whom it may be: a vendor whose user names say what is
    /// wanted.
    pub any_login: bool,
    /// What it tells the origin.
    pub anonymity: Anonymity,
    /// How it behaves at first.
    pub behaviour: Behaviour,
    /// Where it listens: a loopback address; port 0 is any.
    pub bind: SocketAddr,
    /// Where names lead.
    pub hosts: Hosts,
    /// Which destinations it accepts by SOCKS5.
    pub destinations: Destinations,
    /// The loopback address that the origin sees. Any of `127.0.0.0/8` works on Linux; elsewhere the address must be
    /// configured on the machine.
    pub egress: Option<IpAddr>,
    /// The certificate of an HTTPS upstream.
    pub tls: Option<Arc<ServerConfig>>,
}

impl UpstreamOptions {
    /// A healthy upstream on `127.0.0.1`.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            credentials: None,
            any_login: false,
            anonymity: Anonymity::default(),
            behaviour: Behaviour::default(),
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            hosts: Hosts::new(),
            destinations: Destinations::default(),
            egress: None,
            tls: None,
        }
    }

    /// Wants credentials.
    #[must_use]
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(Credentials::new(user, password));
        self
    }

    /// Lets everybody in who logs in.
    #[must_use]
    pub fn any_login(mut self) -> Self {
        self.any_login = true;
        self
    }

    /// Tells the origin so much.
    #[must_use]
    pub fn anonymity(mut self, anonymity: Anonymity) -> Self {
        self.anonymity = anonymity;
        self
    }

    /// Behaves so from the start.
    #[must_use]
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// Listens there.
    #[must_use]
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = addr;
        self
    }

    /// Resolves names by this table.
    #[must_use]
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Accepts these destinations.
    #[must_use]
    pub fn destinations(mut self, destinations: Destinations) -> Self {
        self.destinations = destinations;
        self
    }

    /// Leaves from this address.
    #[must_use]
    pub fn egress(mut self, ip: IpAddr) -> Self {
        self.egress = Some(ip);
        self
    }

    /// Has this certificate (see [`crate::TestCa::server_config`]).
    #[must_use]
    pub fn tls(mut self, config: Arc<ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }
}

/// All but the unreserved characters of RFC 3986.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_is_percent_encoded_and_a_debug_print_hides_the_password() {
        let credentials = Credentials::new("us er", "p@ss:word");
        assert_eq!(credentials.userinfo(), "us%20er:p%40ss%3Aword@");
        assert_eq!(format!("{credentials:?}"), "Credentials(us er:***)");
    }

    #[test]
    fn every_protocol_reads_as_it_is_written() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        assert!("socks".parse::<Protocol>().is_err());
    }
}
