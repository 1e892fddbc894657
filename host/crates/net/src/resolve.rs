//! Resolving names.
//!
//! Names of the internet are asked of the name servers that the system names, without blocking a thread, and each answer is
//! kept as long as its time to live says. Names that only the system knows (`localhost`, a name without a dot, `.local`) are
//! left to its own resolver, which blocks a thread and cannot be cancelled: so the number of its lookups that run at once is
//! bounded, and a lookup holds its place until it has ended, wanted or not.

use std::io;
use std::net::{SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use proxywhirl_core::Host;
use tokio::sync::{OnceCell, Semaphore};

/// Lookups by the system at once. The runtime has 512 threads for all that blocks, files and the database among it.
const MAX_LOOKUPS: usize = 64;

/// Addresses of one name that are tried: large sites have eight.
const MAX_ADDRESSES: usize = 8;

/// Answers that are kept.
const CACHED: u64 = 16_384;

/// No answer is kept for longer: a proxy that moves is found again within that time.
const MAX_TTL: Duration = Duration::from_hours(1);

/// That a name has no address is kept for so long at the most: who registers a name is impatient.
const MAX_NEGATIVE_TTL: Duration = Duration::from_mins(1);

/// Ends of names that name servers do not know (RFC 6761, RFC 6762, RFC 8375).
const LOCAL: [&str; 5] = [".local", ".localhost", ".localdomain", ".internal", ".home.arpa"];

/// Resolves names. Clones share what is known.
#[derive(Clone)]
pub(crate) struct Resolver {
    lookups: Arc<Semaphore>,
    /// Made at the first name. None when the system names no name server: then it is asked for everything.
    dns: Arc<OnceCell<Option<TokioResolver>>>,
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)), dns: Arc::default() }
    }

    /// The addresses of a host, IPv6 and IPv4 in turn, beginning with what the system prefers; never none.
    pub(crate) async fn resolve(&self, host: &Host, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = literal(host, port) {
            return Ok(vec![address]);
        }
        let name = match host {
            // The system knows the numbers of the interfaces.
            Host::Zoned(zoned) => return self.ask_system(format!("{}%{}", zoned.addr, zoned.zone), port).await,
            Host::V4(_) | Host::V6(_) | Host::Name(_) => host.to_string(),
        };
        let is_local = !name.contains('.') || LOCAL.iter().any(|end| name.ends_with(end));
        match self.dns.get_or_init(async || client()).await {
            Some(dns) if !is_local => {
                // With the dot at its end it is not looked for below the domains of this machine.
                let answer = dns.lookup_ip(format!("{name}.")).await.map_err(io::Error::other)?;
                some(alternate(answer.iter().map(|address| (address, port).into())))
            }
            Some(_) | None => self.ask_system(name, port).await,
        }
    }

    async fn ask_system(&self, name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let lookup = tokio::task::spawn_blocking(move || {
            let addresses = (name, port).to_socket_addrs();
            drop(permit);
            addresses
        });
        some(alternate(lookup.await.map_err(io::Error::other)??))
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

/// The address of a host that is one, and needs nobody to be asked.
pub(crate) fn literal(host: &Host, port: u16) -> Option<SocketAddr> {
    match host {
        Host::V4(addr) => Some((*addr, port).into()),
        Host::V6(addr) => Some((*addr, port).into()),
        Host::Zoned(zoned) => {
            let scope = zoned.zone.as_str().parse().ok()?;
            Some(SocketAddrV6::new(zoned.addr, port, 0, scope).into())
        }
        Host::Name(_) => None,
    }
}

fn some(addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    if addresses.is_empty() { Err(io::Error::other("no address")) } else { Ok(addresses) }
}

/// What asks the system's name servers; none when the system names none.
fn client() -> Option<TokioResolver> {
    let made = TokioResolver::builder_tokio().map(|mut builder| {
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = CACHED;
        options.positive_max_ttl = Some(MAX_TTL);
        options.negative_max_ttl = Some(MAX_NEGATIVE_TTL);
        builder
    });
    match made.and_then(|builder| builder.build()) {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::debug!(error = %error, "the system names no name server, and is asked itself");
            None
        }
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
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;

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

    /// A name server that answers every question for an IPv4 address with 203.0.113.9, and counts these questions.
    async fn name_server(ttl: u32) -> (TokioResolver, Arc<AtomicUsize>) {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (port, asked) = (socket.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut question).await {
                // The question's type stands before its class, at the end of what RFC 1035 §4.1.2 says of it.
                let name_ends = 12 + question[12..length].iter().position(|byte| *byte == 0).unwrap();
                let is_a = question[name_ends + 2] == 1;
                count.fetch_add(usize::from(is_a), Ordering::SeqCst);
                let mut answer = question[..name_ends + 5].to_vec();
                answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
                if is_a {
                    answer.extend([0xc0, 12, 0, 1, 0, 1]);
                    answer.extend(ttl.to_be_bytes());
                    answer.extend([0, 4, 203, 0, 113, 9]);
                }
                socket.send_to(&answer, client).await.unwrap();
            }
        });
        let mut server = NameServerConfig::udp("127.0.0.1".parse().unwrap());
        server.connections[0].port = port;
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        (TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap(), asked)
    }

    #[tokio::test]
    async fn an_answer_is_kept_as_long_as_it_says() {
        for (ttl, is_kept) in [(300, true), (0, false)] {
            let (client, asked) = name_server(ttl).await;
            let resolver = Resolver { dns: Arc::new(OnceCell::new_with(Some(Some(client)))), ..Resolver::new() };
            let host: Host = "gate.example".parse().unwrap();
            let resolve = async || resolver.resolve(&host, 80).await.unwrap();
            assert_eq!(resolve().await, ["203.0.113.9:80".parse().unwrap()]);
            let before = asked.load(Ordering::SeqCst);
            resolve().await;
            assert_eq!(asked.load(Ordering::SeqCst) == before, is_kept);
        }
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
