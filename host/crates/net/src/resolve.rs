//! Resolving names, by the operating system's resolver.
//!
//! `getaddrinfo` blocks a thread and cannot be cancelled: when a caller's deadline has passed the thread still waits for
//! the name server. So the number of lookups that run at once is bounded here, and a lookup holds its place until
//! it has ended, wanted or not.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use proxywhirl_core::Host;
use tokio::sync::Semaphore;

/// Lookups at once. The runtime has 512 threads for all that blocks, files and the database among it.
const MAX_LOOKUPS: usize = 64;

/// Addresses of one name that are tried: large sites have eight.
const MAX_ADDRESSES: usize = 8;

/// The operating system's resolver, with a bound on how much it is asked at once.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    lookups: Arc<Semaphore>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// The addresses of a host, IPv6 and IPv4 in turn, beginning with what the system prefers; never none.
    pub(crate) async fn resolve(&self, host: &Host, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = match host {
            Host::V4(addr) => return Ok(vec![(*addr, port).into()]),
            Host::V6 { addr, zone: None } => return Ok(vec![(*addr, port).into()]),
            Host::V6 { addr, zone: Some(zone) } => {
                if let Ok(scope) = zone.parse() {
                    return Ok(vec![std::net::SocketAddrV6::new(*addr, port, 0, scope).into()]);
                }
                // The resolver knows the numbers of the interfaces.
                format!("{addr}%{zone}")
            }
            Host::Name(name) => name.to_string(),
        };
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let lookup = tokio::task::spawn_blocking(move || {
            let addresses = (name, port).to_socket_addrs();
            drop(permit);
            addresses
        });
        let addresses = alternate(lookup.await.map_err(io::Error::other)??);
        if addresses.is_empty() { Err(io::Error::other("no address")) } else { Ok(addresses) }
    }
}

/// Puts the two families in turn, so that one without a route does not hold up the other (RFC 8305 §4).
fn alternate(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    for address in addresses.take(4 * MAX_ADDRESSES) {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    let prefers_v6 = seen.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = seen.into_iter().partition(|address| address.is_ipv6() == prefers_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut out = Vec::new();
    while out.len() < MAX_ADDRESSES {
        let before = out.len();
        out.extend(first.next());
        out.extend(second.next());
        if out.len() == before {
            break;
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_need_no_lookup_and_a_numeric_zone_is_kept() {
        let resolver = Resolver::new();
        let resolve = async |text: &str| resolver.resolve(&text.parse().unwrap(), 80).await.unwrap();
        assert_eq!(resolve("127.0.0.1").await, ["127.0.0.1:80".parse().unwrap()]);
        let zoned = resolve("fe80::1%7").await;
        assert!(matches!(zoned.as_slice(), [SocketAddr::V6(address)] if address.scope_id() == 7));
        assert!(resolve("localhost").await.iter().all(|address| address.ip().is_loopback()));
    }

    #[test]
    fn the_families_take_turns_and_nothing_is_tried_twice() {
        let addresses: Vec<SocketAddr> = ["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1"]
            .into_iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let texts: Vec<_> = alternate(addresses.into_iter()).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
    }
}
