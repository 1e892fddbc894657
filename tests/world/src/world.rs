//! A whole loopback internet at once: an origin, upstreams of many kinds, and lists of them published at the origin.

mod lists;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::behaviour::Behaviour;
use crate::ca::TestCa;
use crate::hosts::Hosts;
use crate::origin::Origin;
use crate::upstream::{Anonymity, Protocol, Upstream, UpstreamOptions};

/// Which upstreams a world has.
#[derive(Debug, Clone, Default)]
pub struct WorldPlan {
    /// The upstreams; those without a certificate or an empty table of names get the world's.
    pub upstreams: Vec<UpstreamOptions>,
}

/// A running world; dropping it ends everything in it.
#[derive(Debug)]
pub struct World {
    ca: TestCa,
    origin: Origin,
    upstreams: Vec<Upstream>,
}

impl WorldPlan {
    /// These upstreams.
    #[must_use]
    pub fn new(upstreams: Vec<UpstreamOptions>) -> Self {
        Self { upstreams }
    }

    /// `n` healthy upstreams, the six protocols in turn.
    #[must_use]
    pub fn healthy(n: usize) -> Self {
        let protocols = Protocol::ALL.into_iter().cycle();
        Self::new(
            protocols
                .take(n)
                .zip(0..)
                .map(|(protocol, index)| leave_from(UpstreamOptions::new(protocol), index))
                .collect(),
        )
    }

    /// `n` upstreams, the six protocols in turn, about half of them healthy and open to all; the rest want
    /// credentials, are slow, flaky, dead, refuse tunnels or close without an answer. The seed chooses where the
    /// cycle begins and the passwords; the same seed is the same plan. The first is always healthy.
    #[must_use]
    pub fn mixed(n: usize, seed: u64) -> Self {
        let protocols = Protocol::ALL.into_iter().cycle();
        let first = seed % CYCLE;
        Self::new(
            protocols
                .take(n)
                .zip(0..)
                .map(|(protocol, index)| {
                    let place = if index == 0 { 0 } else { first + index };
                    let options = leave_from(UpstreamOptions::new(protocol), index);
                    characterise(options, place % CYCLE, seed.wrapping_add(index))
                })
                .collect(),
        )
    }
}

impl World {
    /// Starts the origin and the upstreams and publishes the lists. `origin.test` leads to the origin, on port 80 by
    /// HTTP and on port 443 by HTTPS, through any of the upstreams.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub async fn start(plan: WorldPlan) -> io::Result<Self> {
        let ca = TestCa::new()?;
        let origin = Origin::start(&ca).await?;
        let hosts = Hosts::new().with_port("origin.test", 80, origin.http_addr());
        let hosts = match origin.https_addr() {
            Some(addr) => hosts.with_port("origin.test", 443, addr),
            None => hosts,
        };
        let tls = ca.server_config(&["proxy.test"])?;
        let mut upstreams = Vec::with_capacity(plan.upstreams.len());
        for mut options in plan.upstreams {
            if options.hosts.is_empty() {
                options.hosts = hosts.clone();
            }
            options.tls.get_or_insert_with(|| tls.clone());
            upstreams.push(Upstream::start(options).await?);
        }
        lists::publish(&origin, &upstreams);
        Ok(Self { ca, origin, upstreams })
    }

    /// The authority that signed the certificates of the origin and of the HTTPS upstreams.
    #[must_use]
    pub fn ca(&self) -> &TestCa {
        &self.ca
    }

    /// The origin.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The upstreams in the plan's order.
    #[must_use]
    pub fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// The upstream that listens on an address.
    #[must_use]
    pub fn upstream_at(&self, addr: SocketAddr) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.addr() == addr)
    }

    /// The URLs of all upstreams, with credentials.
    #[must_use]
    pub fn proxies(&self) -> Vec<String> {
        self.upstreams.iter().map(Upstream::url).collect()
    }

    /// The URLs of the published lists: text, JSON, CSV and HTML. Each upstream is on two of them (on one, if only one
    /// of its two formats can express credentials), and the text and CSV lists have a few lines that are no proxies,
    /// as real lists do. [`World::complete_list`] is a fifth, without either.
    #[must_use]
    pub fn lists(&self) -> Vec<String> {
        lists::NAMES.iter().map(|name| self.origin.http_url(&format!("/lists/{name}"))).collect()
    }

    /// The URL of a text list of all upstreams, each once, and nothing else.
    #[must_use]
    pub fn complete_list(&self) -> String {
        self.origin.http_url(&format!("/lists/{}", lists::COMPLETE))
    }
}

/// The number of places in the cycle of [`characterise`].
const CYCLE: u64 = 10;

fn characterise(options: UpstreamOptions, place: u64, seed: u64) -> UpstreamOptions {
    match place {
        2 => {
            let (user, password) = (splitmix(seed), splitmix(!seed));
            // All passwords of tests begin alike, so that one that is told is found.
            options.credentials(&format!("user{:x}", user >> 48), &format!("hunter2{password:016x}"))
        }
        3 => options.behaviour(Behaviour::Slow(Duration::from_millis(300))),
        4 => options.anonymity(Anonymity::Transparent),
        5 => options.behaviour(Behaviour::Flaky { every: 3 }),
        6 => options.anonymity(Anonymity::Anonymous),
        7 => options.behaviour(Behaviour::Dead),
        8 => options.behaviour(Behaviour::RefuseConnect(503)),
        9 => options.behaviour(Behaviour::CloseAfterHead),
        _ => options,
    }
}

/// Gives an upstream an address of its own towards the origin, where the whole of `127.0.0.0/8` is the loopback.
fn leave_from(options: UpstreamOptions, index: u64) -> UpstreamOptions {
    if !cfg!(target_os = "linux") {
        return options;
    }
    let [.., third, fourth] = (index % 60_000 + 2).to_be_bytes();
    options.egress(IpAddr::V4(Ipv4Addr::new(127, 1, third, fourth)))
}

/// One step of `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>): enough for a password that a seed repeats.
fn splitmix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_plan_and_the_first_upstream_is_healthy() {
        for seed in 0..20 {
            let (one, two) = (WorldPlan::mixed(12, seed), WorldPlan::mixed(12, seed));
            for (a, b) in one.upstreams.iter().zip(&two.upstreams) {
                assert_eq!((a.protocol, a.behaviour), (b.protocol, b.behaviour));
                assert_eq!(a.credentials, b.credentials);
            }
            let first = one.upstreams.first().map(|options| options.behaviour);
            assert_eq!(first, Some(Behaviour::Healthy));
        }
    }

    #[test]
    fn twelve_mixed_upstreams_have_all_protocols_and_most_troubles() {
        let plan = WorldPlan::mixed(12, 0);
        for protocol in Protocol::ALL {
            assert!(plan.upstreams.iter().any(|o| o.protocol == protocol));
        }
        for behaviour in [Behaviour::Dead, Behaviour::Flaky { every: 3 }] {
            assert!(plan.upstreams.iter().any(|o| o.behaviour == behaviour));
        }
        assert!(plan.upstreams.iter().any(|o| o.credentials.is_some()));
    }
}
