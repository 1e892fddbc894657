//! Members for checks and measurements: as unlike each other as in a pool that was gathered from public lists.

use std::net::Ipv4Addr;
use std::time::Duration;

use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::pool::Admission;
use proxywhirl_core::store::StoredMember;
use proxywhirl_core::{Anonymity, Endpoint, EndpointKey, Host, Scheme, Timestamp};

/// Two-letter codes of countries that members are in.
const COUNTRIES: [&str; 6] = ["DE", "FR", "US", "JP", "BR", "ZA"];

/// The member of a number.
pub(crate) fn endpoint(number: u32) -> Endpoint {
    let scheme = match number % 4 {
        0 | 1 => Scheme::Http,
        2 => Scheme::Socks5,
        _ => Scheme::Socks4a,
    };
    let host = Host::V4(Ipv4Addr::from(0x0a00_0001 + (number & 0x00ff_ffff)));
    Endpoint { scheme, host, port: 8080, credentials: None, via: None }
}

/// The key of a number's member.
pub(crate) fn key(number: u32) -> EndpointKey {
    endpoint(number).key()
}

/// How a number's member joins: with a history, but for every third, which was never used.
pub(crate) fn admission(number: u32, now: Timestamp) -> Admission {
    let tags = ["source:check", if number.is_multiple_of(2) { "cost:0" } else { "cost:2" }];
    let at = number as usize % COUNTRIES.len();
    let statistics = if number.is_multiple_of(3) {
        Statistics::default()
    } else {
        Statistics {
            successes: u64::from(number % 90 + 1),
            failures: u64::from(number % 7),
            latency: Some(Duration::from_millis(u64::from(number % 400 + 20))),
            last_used: now,
        }
    };
    Admission::Restored(Box::new(StoredMember {
        endpoint: endpoint(number),
        tags: tags.iter().filter_map(|tag| tag.parse().ok()).collect(),
        country: if number.is_multiple_of(5) { None } else { COUNTRIES.get(at).and_then(|code| code.parse().ok()) },
        anonymity: if number.is_multiple_of(4) { Anonymity::Elite } else { Anonymity::Unknown },
        added: now,
        statistics,
        health: Health::Unknown,
    }))
}
