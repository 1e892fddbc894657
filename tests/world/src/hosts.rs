//! Name resolution without a resolver. An upstream knows the world's names from a table, so a test can see that a
//! name was sent to the upstream (SOCKS4a, SOCKS5h, HTTP) instead of being resolved on the client's side.
//!
//! Invariant: what comes out is a loopback address, or nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The table of names that an upstream resolves.
///
/// A name in the table goes where the table says; `*.invalid` never resolves (RFC 6761); any other name is
/// `127.0.0.1` with the port that was asked for. Names are case-insensitive. An IP address may be in the table too, so
/// that a public-looking address leads to the loopback.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    table: HashMap<(String, Option<u16>), SocketAddr>,
}

/// Why a destination cannot be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// The name does not exist.
    Unresolved,
    /// The address is outside of the loopback world.
    Forbidden,
}

impl Hosts {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends `name` to `addr` whatever the port; port 0 in `addr` keeps the port that was asked for.
    #[must_use]
    pub fn with(mut self, name: &str, addr: SocketAddr) -> Self {
        self.table.insert((name.to_ascii_lowercase(), None), addr);
        self
    }

    /// Sends `name:port` to `addr`; it wins over an entry for all ports.
    #[must_use]
    pub fn with_port(mut self, name: &str, port: u16, addr: SocketAddr) -> Self {
        self.table.insert((name.to_ascii_lowercase(), Some(port)), addr);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(crate) fn resolve(&self, host: &str, port: u16) -> Result<SocketAddr, Unreachable> {
        let addr = self.look_up(host, port)?;
        if addr.ip().to_canonical().is_loopback() { Ok(addr) } else { Err(Unreachable::Forbidden) }
    }

    fn look_up(&self, host: &str, port: u16) -> Result<SocketAddr, Unreachable> {
        // A literal address needs neither lower case nor the table, and is the common case in a benchmark.
        if self.table.is_empty()
            && let Ok(ip) = host.parse::<IpAddr>()
        {
            return Ok(SocketAddr::new(ip, port));
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let mut key = (name, Some(port));
        let mut entry = self.table.get(&key);
        if entry.is_none() {
            key.1 = None;
            entry = self.table.get(&key);
        }
        if let Some(addr) = entry {
            let port = if addr.port() == 0 { port } else { addr.port() };
            return Ok(SocketAddr::new(addr.ip(), port));
        }
        let (name, _) = key;
        if let Ok(ip) = name.parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, port));
        }
        if name.is_empty() || name == "invalid" || name.ends_with(".invalid") {
            return Err(Unreachable::Unresolved);
        }
        Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    #[test]
    fn any_name_is_the_loopback_with_the_port_asked_for() {
        assert_eq!(Hosts::new().resolve("origin.test", 81), Ok(loopback(81)));
    }

    #[test]
    fn an_entry_for_a_port_wins_over_the_entry_for_all() {
        let hosts = Hosts::new().with("Origin.test", loopback(1000)).with_port("origin.test", 443, loopback(2000));
        assert_eq!(hosts.resolve("ORIGIN.test.", 443), Ok(loopback(2000)));
        assert_eq!(hosts.resolve("origin.test", 80), Ok(loopback(1000)));
    }

    #[test]
    fn nothing_outside_the_loopback_is_ever_an_answer() {
        let hosts = Hosts::new().with("out.test", SocketAddr::from(([192, 0, 2, 1], 80)));
        for host in ["192.0.2.1", "out.test", "2001:db8::1", "::ffff:192.0.2.1"] {
            assert_eq!(hosts.resolve(host, 80), Err(Unreachable::Forbidden), "{host}");
        }
        assert_eq!(hosts.resolve("no.such.invalid", 80), Err(Unreachable::Unresolved));
    }

    #[test]
    fn an_address_in_the_table_leads_where_the_table_says() {
        let hosts = Hosts::new().with("203.0.113.9", loopback(0));
        assert_eq!(hosts.resolve("203.0.113.9", 8080), Ok(loopback(8080)));
    }
}
