//! Which destinations may be reached: names with all below them, networks of literal addresses, ports.
//!
//! A name is not looked up, as that is the upstream's business: a rule for a network is about addresses that a client
//! writes, and about IPv4 addresses also where they, or the network, are written within an IPv6 address. The unspecified address is
//! denied with the loopback: who connects to it reaches the same machine.

mod index;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use proxywhirl_core::{Host, address};
use proxywhirl_net::Target;

use index::Index;

/// Bits of an IPv6 address before those of an IPv4 address within it (RFC 4291 §2.5.5.2).
const IPV4_WITHIN: u8 = 96;

/// A destination, or many: `example.com`, `10.0.0.0/8`, `*:25`, `example.com:80-443`, `[fd00::]/8:22`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    place: Place,
    ports: RangeInclusive<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// This name and all below it.
    Name(Box<str>),
    Network(IpNet),
}

/// Which destinations may be reached: not those that are denied, and if any are allowed, only those.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Destinations {
    /// Those that may be reached; empty for all.
    pub allow: Vec<Rule>,
    /// Those that may not.
    pub deny: Vec<Rule>,
}

/// The same, as requests ask.
#[derive(Debug, Default)]
pub(super) struct Rules {
    allow: Index,
    deny: Index,
}

impl From<Destinations> for Rules {
    fn from(Destinations { allow, deny }: Destinations) -> Self {
        Self { allow: Index::new(allow), deny: Index::new(deny) }
    }
}

impl Rules {
    pub(super) fn permits(&self, target: &Target) -> bool {
        !self.forbids(target) && (self.allow.is_empty() || self.allow.is_about(target))
    }

    pub(super) fn forbids(&self, target: &Target) -> bool {
        let is_denied_as = |loopback: IpAddr| self.deny.is_about(&Target::from((loopback, target.port)));
        self.deny.is_about(target)
            || is_unspecified(&target.host)
                && (is_denied_as(Ipv4Addr::LOCALHOST.into()) || is_denied_as(Ipv6Addr::LOCALHOST.into()))
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is no destination such as example.com, 10.0.0.0/8 or *:25: {why}");
        let (place, ports) = match text.rsplit_once(':') {
            // An IPv6 address stands in brackets when a port follows, and may stand without when none does.
            Some((place, ports)) if !place.contains(':') || place.contains(']') => (place, Some(ports)),
            _ => (text, None),
        };
        let ports = match ports {
            None | Some("*") => 0..=u16::MAX,
            Some(ports) => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                let port = |text: &str| text.parse::<u16>().map_err(|_| wrong("its port is no port"));
                let ports = port(first)?..=port(last)?;
                if ports.is_empty() {
                    return Err(wrong("its range of ports is empty"));
                }
                ports
            }
        };
        let place = match place {
            "" | "*" => Place::Anywhere,
            name => self::place(name).map_err(wrong)?,
        };
        Ok(Self { place, ports })
    }
}

/// The IPv4 address within an IPv6 address.
fn within(literal: IpAddr) -> Option<IpAddr> {
    match literal {
        IpAddr::V6(literal) => address::embedded(literal).map(IpAddr::V4),
        IpAddr::V4(_) => None,
    }
}

/// Whether the host is `0.0.0.0` or `::`, which on Linux lead to the machine that dials them.
fn is_unspecified(host: &Host) -> bool {
    host.ip().is_some_and(|ip| ip.is_unspecified() || within(ip).is_some_and(|within| within.is_unspecified()))
}

fn place(text: &str) -> Result<Place, &'static str> {
    if let Some(network) = network(&text.replace(['[', ']'], "")) {
        return network.map(Place::Network);
    }
    let name = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    // As clients ask for it: a name beyond ASCII in punycode.
    let ascii = if name.is_ascii() { None } else { url::Host::parse(name).ok().map(|host| host.to_string()) };
    match ascii.as_deref().unwrap_or(name).parse::<Host>() {
        Ok(Host::Name(name)) => Ok(Place::Name(name)),
        Ok(Host::V4(_) | Host::V6(_) | Host::Zoned(_)) | Err(_) => Err("its host is neither a name nor a network"),
    }
}

/// A network as it is written, or an address, which is one of its own; none when it is neither. What is written as IPv4 within
/// IPv6 is IPv4, as such addresses of clients and destinations are: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
///
/// # Errors
/// When an IPv4 address within IPv6 has a length that is none of such a network: nobody knows what is meant.
#[must_use]
pub fn network(text: &str) -> Option<Result<IpNet, &'static str>> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let IpNet::V6(long) = network else { return Some(Ok(network.trunc())) };
    let Some(short) = long.addr().to_ipv4_mapped() else { return Some(Ok(network.trunc())) };
    let within = long.prefix_len().checked_sub(IPV4_WITHIN).and_then(|length| Ipv4Net::new(short, length).ok());
    Some(
        within
            .map(|network| network.trunc().into())
            .ok_or("of IPv4 within IPv6, a length is from 96 on, as in ::ffff:10.0.0.0/104"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::target;

    fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let rules = |rules: &[&str]| rules.iter().map(|rule| rule.parse::<Rule>().unwrap()).collect();
        Destinations { allow: rules(allow), deny: rules(deny) }.into()
    }

    #[test]
    fn a_rule_is_about_a_name_and_all_below_or_a_network_and_ports() {
        let about = |rule: &str, host: &str, port| rules(&[], &[rule]).forbids(&target(host, port).unwrap());
        for (rule, host, port, expected) in [
            ("example.com", "example.com", 443, true),
            ("example.com", "www.Example.COM", 80, true),
            ("*.example.com", "a.b.example.com.", 80, true),
            ("example.com", "badexample.com", 443, false),
            ("bücher.example", "xn--bcher-kva.example", 443, true),
            ("*.BÜCHER.example:80-443", "www.xn--bcher-kva.example", 80, true),
            ("bücher.example", "bucher.example", 443, false),
            ("example.com:443", "example.com", 80, false),
            ("example.com:80-443", "example.com", 81, true),
            ("*:25", "anything", 25, true),
            (":25", "anything", 26, false),
            ("10.0.0.0/8", "10.1.2.3", 80, true),
            ("10.1.2.3/8", "10.9.9.9", 80, true),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]", 80, true),
            ("10.0.0.0/8", "[64:ff9b::a01:203]", 80, true),
            ("10.0.0.0/8", "[::10.1.2.3]", 80, true),
            ("10.0.0.0/8", "[2002:a01:203::1]", 80, true),
            ("64:ff9b::/96", "[64:ff9b::1.2.3.4]", 80, true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", 80, true),
            ("::ffff:10.0.0.0/104", "[::ffff:10.1.2.3]", 80, true),
            ("[::ffff:10.9.9.9]/104:80", "10.1.2.3", 80, true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", 80, false),
            ("::ffff:10.1.2.3", "10.1.2.3", 80, true),
            ("::ffff:0:0/96", "10.1.2.3", 80, true),
            ("::/0", "10.1.2.3", 80, false),
            ("10.0.0.0/8", "10.example", 80, false),
            ("127.0.0.1:22", "127.0.0.1", 22, true),
            ("fd00::/8", "[fd00::1]", 22, true),
            ("[fd00::]/8:22", "[fd00::1]", 22, true),
            ("[::1]:22", "[::1]", 23, false),
        ] {
            assert_eq!(about(rule, host, port), expected, "{rule} {host}:{port}");
        }
    }

    #[test]
    fn what_is_denied_is_denied_and_what_is_allowed_is_all() {
        let both = rules(&["example.com"], &["secret.example.com", "*:25"]);
        let permits = |host: &str, port| both.permits(&target(host, port).unwrap());
        assert!(permits("www.example.com", 443));
        assert!(!permits("secret.example.com", 443) && !permits("example.com", 25) && !permits("example.org", 443));
        assert!(Rules::default().permits(&target("anything", 1).unwrap()));
    }

    #[test]
    fn the_unspecified_address_is_denied_with_the_loopback() {
        for deny in ["127.0.0.0/8", "127.0.0.1:80", "::1", "[::1]:80"] {
            let denied = rules(&[], &[deny]);
            for host in ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "[64:ff9b::]", "[2002::]"] {
                assert!(denied.forbids(&target(host, 80).unwrap()), "{host} of {deny}");
            }
            assert!(
                !denied.forbids(&target("10.0.0.1", 80).unwrap()) && !denied.forbids(&target("[::2]", 80).unwrap())
            );
        }
        let elsewhere = rules(&[], &["10.0.0.0/8", "127.0.0.1:22"]);
        assert!(!elsewhere.forbids(&target("0.0.0.0", 80).unwrap()));
        // What is allowed is what is written.
        let allowed = rules(&["127.0.0.1"], &[]);
        assert!(!allowed.permits(&target("0.0.0.0", 80).unwrap()));
    }

    #[test]
    fn what_is_no_rule_is_told() {
        let within = "::ffff:10.0.0.0/8".parse::<Rule>().unwrap_err();
        assert!(
            within.ends_with(": of IPv4 within IPv6, a length is from 96 on, as in ::ffff:10.0.0.0/104"),
            "{within}"
        );
        for wrong in [
            "a b",
            "example.com:http",
            "example.com:9-8",
            "10.0.0.0/33",
            "example.com:70000",
            "http://x",
            "bü cher.example",
        ] {
            assert!(wrong.parse::<Rule>().unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
