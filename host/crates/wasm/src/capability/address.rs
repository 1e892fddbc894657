//! Which addresses a plugin's request may go to.
//!
//! A name that leads to an address of the host's own network is how a request is turned against what
//! trusts that network: routers, databases, the metadata service of a cloud. So only addresses that the
//! whole internet can reach are allowed ([IANA's registries][v4] of special addresses), unless the user
//! named the server and said that it is private. IPv6 has several ways to write an IPv4 address; each is
//! looked through.
//!
//! [v4]: https://www.iana.org/assignments/iana-ipv4-special-registry/

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who can reach an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everybody.
    Public,
    /// Who is near: a request needs the user's word. With what the address is.
    Private(&'static str),
    /// No server has it. With what the address is.
    Nobody(&'static str),
}

/// Who can reach an address.
pub(crate) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [0, ..] => Reach::Nobody("an unspecified address"),
        [127, ..] => Reach::Private("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private("an address of a private network"),
        [100, 64..=127, ..] => Reach::Private("an address behind a carrier's NAT"),
        [169, 254, ..] => Reach::Private("a link-local address, where clouds keep their metadata"),
        // Azure's and Oracle's, outside of the ranges for such things.
        [168, 63, 129, 16] | [192, 0, 0, 192] => Reach::Private("the address of a cloud's metadata"),
        [192, 0, 0, _] | [192, 88, 99, _] => Reach::Nobody("an address for protocols"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Nobody("an address for documentation"),
        [198, 18..=19, ..] => Reach::Private("an address for measurements"),
        [224..=239, ..] => Reach::Nobody("a multicast address"),
        [240..=255, ..] => Reach::Nobody("a reserved address"),
        _ => Reach::Public,
    }
}

fn v6(address: Ipv6Addr) -> Reach {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Nobody("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private("the loopback address"),
        // Mapped, compatible, translated, and NAT64 (RFC 4291 §2.5.5, RFC 2765, RFC 6052).
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(embedded(high, low)),
        // 6to4 (RFC 3056): the address of the router that unpacks it.
        [0x2002, high, low, ..] => match v4(embedded(high, low)) {
            Reach::Public => Reach::Nobody("a 6to4 address"),
            near @ (Reach::Private(_) | Reach::Nobody(_)) => near,
        },
        // ISATAP (RFC 5214) within any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] if v4(embedded(high, low)) != Reach::Public => {
            v4(embedded(high, low))
        }
        [0x64, 0xff9b, 1, ..] => Reach::Private("an address of a network's own NAT64"),
        [0xfc00..=0xfdff, ..] => Reach::Private("an address of a private network"),
        [0xfe80..=0xfebf, ..] => Reach::Private("a link-local address"),
        [0xfec0..=0xfeff, ..] => Reach::Private("a site-local address"),
        [0xff00..=0xffff, ..] => Reach::Nobody("a multicast address"),
        // Teredo, ORCHID, benchmarking and the like.
        [0x2001, 0..=0x01ff, ..] => Reach::Nobody("an address for protocols"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Reach::Nobody("an address for documentation"),
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Nobody("a reserved address"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Reach {
        reach(text.parse().unwrap())
    }

    #[test]
    fn what_the_whole_internet_reaches_is_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.215.14",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "169.253.1.1",
            "192.167.1.1",
            "198.17.1.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81c::200e",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(of(text), Reach::Public, "{text}");
        }
    }

    #[test]
    fn what_is_near_needs_the_users_word() {
        for text in [
            "127.0.0.1",
            "127.255.255.255",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.192",
            "198.18.0.1",
            "::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1.1.1.1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::",
            "fd00:ec2::254",
            "fc00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "2a00::5efe:10.0.0.1",
            "2a00::200:5efe:192.168.0.1",
        ] {
            assert!(matches!(of(text), Reach::Private(_)), "{text}: {:?}", of(text));
        }
    }

    #[test]
    fn what_no_server_has_is_refused_whatever_was_granted() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:0.0.0.0",
            "::ffff:224.0.0.1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "2002:808:808::1",
            "100::1",
            "4000::1",
            "5f00::1",
        ] {
            assert!(matches!(of(text), Reach::Nobody(_)), "{text}: {:?}", of(text));
        }
    }

    proptest! {
        /// However an IPv4 address is wrapped, it is no more reachable than it is by itself.
        #[test]
        fn no_wrapping_makes_an_ipv4_address_public(bits: u32) {
            let plain = Ipv4Addr::from_bits(bits);
            let low = u128::from(bits);
            for prefix in [0, 0xffff_u128 << 32, 0xffff_u128 << 48, 0x64_ff9b_u128 << 96] {
                let wrapped = Ipv6Addr::from_bits(prefix | low);
                if reach(IpAddr::V6(wrapped)) == Reach::Public {
                    prop_assert_eq!(v4(plain), Reach::Public, "{}", wrapped);
                }
            }
            let tunnelled = Ipv6Addr::from_bits((0x2002_u128 << 112) | (low << 80));
            prop_assert_ne!(reach(IpAddr::V6(tunnelled)), Reach::Public);
        }

        /// The standard library's word, where it has one.
        #[test]
        fn what_the_standard_library_calls_special_is_never_public(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_multicast()
                || address.is_unspecified();
            prop_assert!(!special || v4(address) != Reach::Public);
        }
    }
}
