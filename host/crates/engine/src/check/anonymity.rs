//! What a judge can tell about the client behind a proxy.
//!
//! It is told from one answer, and only as far as that goes: without knowing our own address nobody can
//! say that it does not show, so the result is then unknown. A proxy may also behave otherwise towards
//! another origin.

use std::net::IpAddr;

use proxywhirl_core::Anonymity;

use super::judge::Sighting;

/// Fields that a request of ours has, and those that a careful proxy may change on its way without telling of itself.
const OURS: [&str; 7] =
    ["host", "user-agent", "accept", "x-judge-nonce", "connection", "accept-encoding", "keep-alive"];

/// The anonymity that a judge's answer shows, when it sees us at one of `own` without a proxy.
#[must_use]
pub fn of(sighting: &Sighting, own: &[IpAddr]) -> Anonymity {
    // A proxy behind our own router cannot hide the address that it shares; one on this machine could, and is measured by
    // what it says.
    if own.is_empty() || (own.contains(&sighting.peer) && !sighting.peer.is_loopback()) {
        return Anonymity::Unknown;
    }
    let is_told =
        |(name, value): &(String, String)| !names_the_judge(name) && own.iter().any(|addr| names(value, *addr));
    if sighting.headers.iter().any(is_told) {
        return Anonymity::Transparent;
    }
    // What else was added tells of a proxy too, to whoever knows what we send.
    let is_added = |name: &str| !OURS.contains(&name.to_ascii_lowercase().as_str());
    if sighting.headers.iter().any(|(name, _)| is_added(name)) { Anonymity::Anonymous } else { Anonymity::Elite }
}

/// Whether a field says where the judge is, which can be at an address of ours.
fn names_the_judge(field: &str) -> bool {
    field.eq_ignore_ascii_case("host") || field.eq_ignore_ascii_case("x-forwarded-host")
}

/// Whether a field's value names an address: `1.2.3.4, 5.6.7.8`, `for="[2001:db8::1]:80"`.
fn names(value: &str, addr: IpAddr) -> bool {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
    value.split(|c: char| !is_part(c)).any(|word| {
        let without_port = word.rsplit_once(':').map_or(word, |(host, _)| host);
        [word, without_port].iter().any(|word| word.parse() == Ok(addr))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seen(peer: &str, headers: &[(&str, &str)]) -> Sighting {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sighting { peer: peer.parse().unwrap(), headers, certificate: None }
    }

    #[test]
    fn an_address_of_ours_in_any_field_is_transparent() {
        let own = ["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        for value in ["198.51.100.7", "10.0.0.1, 198.51.100.7:4711", "for=\"[2001:db8::7]:80\";proto=http"] {
            assert_eq!(of(&seen("203.0.113.1", &[("X-Odd", value)]), &own), Anonymity::Transparent, "{value}");
        }
        let near = seen("203.0.113.1", &[("X-Odd", "198.51.100.70, 1198.51.100.7")]);
        assert_eq!(of(&near, &own), Anonymity::Anonymous);
        let judge_of_ours = seen("203.0.113.1", &[("Host", "198.51.100.7:9000")]);
        assert_eq!(of(&judge_of_ours, &own), Anonymity::Elite);
    }

    #[test]
    fn a_field_that_only_proxies_send_is_anonymous_and_none_is_elite() {
        let own = ["198.51.100.7".parse().unwrap()];
        assert_eq!(of(&seen("203.0.113.1", &[("VIA", "1.1 squid")]), &own), Anonymity::Anonymous);
        assert_eq!(of(&seen("203.0.113.1", &[("Accept", "*/*")]), &own), Anonymity::Elite);
    }

    #[test]
    fn what_cannot_be_known_is_unknown() {
        let own = ["198.51.100.7".parse().unwrap()];
        assert_eq!(of(&seen("203.0.113.1", &[]), &[]), Anonymity::Unknown);
        assert_eq!(of(&seen("198.51.100.7", &[]), &own), Anonymity::Unknown);
    }
}
