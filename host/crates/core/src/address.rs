//! Which hosts a stranger's list may not name: those that mean something else on our side of the
//! network than on the stranger's (IANA's special-purpose registries, RFC 6890), and names that are
//! resolved without asking the public DNS.
//!
//! A public name can still resolve to a private address; only whoever dials it can see that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::Host;

/// What kind of private a host is; none when the whole internet means the same by it.
#[must_use]
pub fn private(host: &Host) -> Option<&'static str> {
    match host {
        Host::V4(addr) => v4(*addr),
        Host::Zoned(_) => Some("link-local"),
        Host::V6(addr) => v6(*addr),
        Host::Name(name) => local_name(name),
    }
}

/// The same for an address.
#[must_use]
pub fn private_ip(addr: IpAddr) -> Option<&'static str> {
    match addr {
        IpAddr::V4(addr) => v4(addr),
        IpAddr::V6(addr) => v6(addr),
    }
}

fn v4(addr: Ipv4Addr) -> Option<&'static str> {
    match addr.octets() {
        // Azure's platform services: a public address that each of its machines has beside it.
        [169, 254, 169, 254] | [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => Some("cloud metadata"),
        [0, 0, 0, 0] => Some("unspecified"),
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private network"),
        [100, 64..=127, ..] => Some("shared (carrier-grade NAT)"),
        [169, 254, ..] => Some("link-local"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("documentation"),
        [198, 18..=19, ..] => Some("benchmarking"),
        [224..=239, ..] => Some("multicast"),
        [0, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn v6(addr: Ipv6Addr) -> Option<&'static str> {
    let segments = addr.segments();
    if let Some(inner) = embedded(addr) {
        return v4(inner);
    }
    match segments {
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] => Some("cloud metadata"),
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0xfc00..=0xfdff, ..] => Some("private network"),
        [0xfe80..=0xfeff, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Some("documentation"),
        // Teredo, ORCHID and others that are no hosts of the internet (2001::/23).
        [0x2001, 0..=0x01ff, ..] => Some("reserved"),
        [0x2000..=0x3fff, ..] => None,
        // Only 2000::/3 is given out.
        _ => Some("reserved"),
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, and compatible as it was once (RFC 4291 §2.5.5), NAT64
/// (RFC 6052), 6to4 (RFC 3056).
#[must_use]
pub fn embedded(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match addr.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        [0, 0, 0, 0, 0, 0, high @ 1..=0xffff, low] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

/// Names that a machine resolves by itself or in its own network.
fn local_name(name: &str) -> Option<&'static str> {
    const SUFFIXES: [&str; 7] =
        [".localhost", ".local", ".internal", ".localdomain", ".home.arpa", ".lan", ".intranet"];
    let is_local = !name.contains('.') || SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    is_local.then_some("local name")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn class(host: &str) -> Option<&'static str> {
        private(&host.parse().unwrap())
    }

    #[test]
    fn what_is_not_of_the_internet_is_told_by_its_kind() {
        for (host, expected) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "reserved"),
            ("10.255.0.1", "private network"),
            ("100.64.0.1", "shared (carrier-grade NAT)"),
            ("127.8.8.8", "loopback"),
            ("169.254.1.1", "link-local"),
            ("169.254.169.254", "cloud metadata"),
            ("100.100.100.200", "cloud metadata"),
            ("168.63.129.16", "cloud metadata"),
            ("172.31.255.255", "private network"),
            ("192.0.2.1", "documentation"),
            ("192.168.1.1", "private network"),
            ("198.19.0.1", "benchmarking"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::7f00:1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("64:ff9b::a00:1", "private network"),
            ("2002:c0a8:101::1", "private network"),
            ("fd00:ec2::254", "cloud metadata"),
            ("fc00::1", "private network"),
            ("fe80::1%eth0", "link-local"),
            ("fe80::1", "link-local"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "documentation"),
            ("3fff:fff::1", "documentation"),
            ("2001::1", "reserved"),
            ("4000::1", "reserved"),
            ("localhost", "local name"),
            ("router", "local name"),
            ("metadata.google.internal", "local name"),
            ("printer.local", "local name"),
        ] {
            assert_eq!(class(host), Some(expected), "{host}");
        }
    }

    #[test]
    fn the_internet_is_allowed() {
        for host in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1",
            "2001:4860:4860::8888",
            "2002:0808:0808::1",
            "::ffff:8.8.8.8",
            "gate.example.com",
        ] {
            assert_eq!(class(host), None, "{host}");
        }
    }
}
