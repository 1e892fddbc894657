//! Rules, found by the destination: there may be a hundred thousand, and every request asks.
//!
//! A name is looked up as it is and with one label after the other taken off its front, an address with each length that a
//! network has. Rules for one place stand together, with the ports that each is about.

use std::collections::{BTreeSet, HashMap};
use std::iter;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use proxywhirl_core::Host;
use proxywhirl_net::Target;

use super::{Place, Rule, within};

/// Those of the rules for one place.
type Ports = Vec<RangeInclusive<u16>>;

#[derive(Debug, Default)]
pub(super) struct Index {
    anywhere: Ports,
    /// Each stands for all names below it too.
    names: HashMap<Box<str>, Ports>,
    networks: HashMap<IpNet, Ports>,
    /// The lengths of the networks' prefixes.
    lengths: BTreeSet<u8>,
}

impl Index {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let mut index = Self::default();
        for Rule { place, ports } in rules {
            match place {
                Place::Anywhere => index.anywhere.push(ports),
                Place::Name(name) => index.names.entry(name).or_default().push(ports),
                Place::Network(network) => {
                    index.lengths.insert(network.prefix_len());
                    index.networks.entry(network).or_default().push(ports);
                }
            }
        }
        index
    }

    pub(super) fn is_empty(&self) -> bool {
        self.anywhere.is_empty() && self.names.is_empty() && self.networks.is_empty()
    }

    /// Whether one of the rules is about the destination.
    pub(super) fn is_about(&self, target: &Target) -> bool {
        let is_one = |ports: &Ports| ports.iter().any(|ports| ports.contains(&target.port));
        is_one(&self.anywhere)
            || match (&target.host, target.host.ip()) {
                (_, Some(literal)) => {
                    iter::once(literal).chain(within(literal)).any(|address| self.networks_of(address).any(is_one))
                }
                (Host::Name(name), None) => {
                    let names = iter::successors(Some(&**name), |name| name.split_once('.').map(|(_, above)| above));
                    names.filter_map(|name| self.names.get(name)).any(is_one)
                }
                (Host::V4(_) | Host::V6(_) | Host::Zoned(_), None) => false,
            }
    }

    /// The ports of each network that the address is in.
    fn networks_of(&self, address: IpAddr) -> impl Iterator<Item = &Ports> {
        // A length of IPv6 networks alone is none for an IPv4 address.
        let lengths = self.lengths.iter();
        lengths.filter_map(move |length| self.networks.get(&IpNet::new(address, *length).ok()?.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingress::target;

    /// What one rule means, said without an index.
    fn is_meant(rule: &Rule, target: &Target) -> bool {
        let is_there = match (&rule.place, &target.host, target.host.ip()) {
            (Place::Anywhere, _, _) => true,
            (Place::Name(suffix), Host::Name(name), _) => {
                name.strip_suffix(&**suffix).is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            (Place::Network(network), _, Some(literal)) => {
                network.contains(&literal) || within(literal).is_some_and(|within| network.contains(&within))
            }
            (Place::Name(_) | Place::Network(_), _, _) => false,
        };
        is_there && rule.ports.contains(&target.port)
    }

    fn name() -> impl Strategy<Value = String> {
        "[ab]{1,2}(\\.[ab]{1,2}){0,3}"
    }

    fn address() -> impl Strategy<Value = String> {
        let long =
            ["::", "::1", "::10.0.0.1", "::ffff:10.0.1.1", "64:ff9b::10.1.0.1", "2002:a00:1::1", "fd00::1", "fd00::2"];
        prop_oneof!["10\\.[01]\\.[01]\\.[01]", prop::sample::select(long.to_vec()).prop_map(str::to_owned)]
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let place = prop_oneof![
            1 => Just("*".to_owned()),
            5 => ("(\\*\\.|\\.)?", name()).prop_map(|(below, name)| below + &name),
            2 => address().prop_map(|address| format!("[{address}]")),
            5 => (address(), 0..=128_u8).prop_map(|(address, length)| format!("[{address}]/{length}")),
        ];
        // Not every length is one of every address.
        (place, "(:[12]|:1-2|:\\*)?").prop_filter_map("a rule", |(place, ports)| (place + &ports).parse::<Rule>().ok())
    }

    proptest! {
        #[test]
        fn it_says_what_each_rule_by_itself_says(
            rules in prop::collection::vec(rule(), 0..8),
            host in prop_oneof![name(), address()],
            port in 1..=3_u16,
        ) {
            let target = target(&host, port).unwrap();
            let expected = rules.iter().any(|rule| is_meant(rule, &target));
            prop_assert_eq!(Index::new(rules.clone()).is_about(&target), expected, "{:?} {}", rules, target);
        }
    }

    #[test]
    fn it_is_empty_without_rules_alone() {
        assert!(Index::new(Vec::new()).is_empty());
        for rule in ["*:25", "example.com", "::/0"] {
            assert!(!Index::new(vec![rule.parse().unwrap()]).is_empty(), "{rule}");
        }
    }
}
