//! Chains: a proxy that is reached through other proxies.
//!
//! A chain is one endpoint, the last hop, which holds the hop before it, and so on to the first, which is the only one that
//! is dialled straight. So whoever looks at an endpoint sees what matters of a chain: the protocol of its end, and where it
//! leaves for the origin. It is written in the order in which bytes pass, `socks5://a:1080 -> http://b:8080`. A comma would be
//! shorter, but it divides the entries of lists, where `a,b` has long been two proxies.

use super::{Endpoint, EndpointError, Login};

/// What stands between two hops.
pub const ARROW: &str = "->";

/// The most hops: each takes a handshake of its own, and no chain that people use is longer.
pub const MAX_HOPS: usize = 4;

impl Endpoint {
    /// The hops, the first one first: for most, it alone.
    #[must_use]
    pub fn hops(&self) -> Vec<&Self> {
        let mut hops: Vec<_> = std::iter::successors(Some(self), |hop| hop.via.as_deref()).collect();
        hops.reverse();
        hops
    }

    /// The hop that we dial ourselves.
    #[must_use]
    pub fn first_hop(&self) -> &Self {
        let mut hop = self;
        while let Some(via) = &hop.via {
            hop = via;
        }
        hop
    }
}

/// Whether a text is meant to be a chain: a URL, an arrow, and perhaps another hop.
#[must_use]
pub fn is_meant(text: &str) -> bool {
    begins_url(text) && split(text).len() > 1
}

/// The hops of a text. An arrow divides them when a URL or white space is beside it: others are in passwords.
pub(super) fn split(text: &str) -> Vec<&str> {
    let (mut hops, mut rest, mut from) = (Vec::new(), text, 0);
    while let Some((before, after)) = find(rest, from) {
        if before.ends_with(char::is_whitespace) || begins_url(after.trim_start()) {
            hops.push(before.trim());
            (rest, from) = (after, 0);
        } else {
            from = before.len() + ARROW.len();
        }
    }
    hops.push(rest.trim());
    hops
}

/// What is before and behind the next arrow.
fn find(text: &str, from: usize) -> Option<(&str, &str)> {
    let at = from + text.get(from..)?.find(ARROW)?;
    Some((text.get(..at)?, text.get(at + ARROW.len()..)?))
}

fn begins_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// The endpoint that ends these hops.
pub(super) fn parse(hops: &[&str], login: Login) -> Result<Endpoint, EndpointError> {
    if hops.len() > MAX_HOPS {
        return Err(EndpointError::TooLong(hops.len()));
    }
    let mut chain: Option<Endpoint> = None;
    for (index, hop) in hops.iter().enumerate() {
        let hop = Endpoint::parse_hop(hop, login)
            .map_err(|error| EndpointError::Hop { number: index + 1, error: Box::new(error) })?;
        chain = Some(Endpoint { via: chain.map(Box::new), ..hop });
    }
    chain.ok_or(EndpointError::TooLong(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endpoint::Scheme;

    fn parse(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn a_chain_is_its_last_hop_and_knows_those_before() {
        let chain = parse("socks5://me:one@a.example:1080 -> https://b.example->HTTP://you:two@1.2.3.4:8080/");
        assert_eq!((chain.scheme, chain.port), (Scheme::Http, 8080));
        let hosts: Vec<_> = chain.hops().iter().map(|hop| hop.host.to_string()).collect();
        assert_eq!(hosts, ["a.example", "b.example", "1.2.3.4"]);
        assert_eq!(chain.first_hop().to_url(), "socks5://me:one@a.example:1080");
        assert_eq!(
            chain.to_url(),
            "socks5://me:one@a.example:1080 -> https://b.example:443 -> http://you:two@1.2.3.4:8080"
        );
    }

    #[test]
    fn no_password_of_any_hop_is_shown() {
        let chain = parse("socks5://me:hunter1@a.example:1080 -> http://you:hunter2@1.2.3.4:8080");
        assert_eq!(chain.to_string(), "socks5://me:***@a.example:1080 -> http://you:***@1.2.3.4:8080");
        assert!(!format!("{chain:?}").contains("hunter"));
        assert_eq!(chain.key().to_string(), "socks5://me@a.example:1080 -> http://you@1.2.3.4:8080");
    }

    #[test]
    fn every_hop_but_no_password_tells_chains_apart() {
        let key = |text: &str| parse(text).key();
        let chain = "socks5://me:one@a.example -> http://b.example";
        assert_eq!(key(chain), key("socks5://me:other@a.example -> http://b.example"));
        for other in [
            "http://b.example",
            "socks5://a.example -> http://b.example",
            "socks5://me:one@c.example -> http://b.example",
            "http://b.example -> socks5://me:one@a.example",
        ] {
            assert_ne!(key(chain), key(other), "{other}");
        }
    }

    #[test]
    fn an_arrow_inside_a_password_is_not_between_hops() {
        let endpoint = parse("http://u:a->b@h.example:1");
        assert_eq!((endpoint.credentials.unwrap().password.expose(), endpoint.via), ("a->b", None));
        let chain = parse("http://u:a->b@h.example:1->socks5://c.example");
        assert_eq!(chain.first_hop().credentials.as_ref().unwrap().password.expose(), "a->b");
    }

    #[test]
    fn errors_name_the_hop() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err().to_string();
        assert_eq!(error("http://a.example -> http://b.example:0"), "hop 2: port 0 is not in 1..65535");
        assert_eq!(
            error("http://a.example -> b.example:80"),
            "hop 2: no scheme: http, https, socks4, socks4a, socks5 or socks5h, with :// behind it"
        );
        assert_eq!(error(&["http://a.example"; 5].join(" -> ")), "a chain of 5 hops: there may be 4");
        assert!(error("http://a.example -> ").starts_with("hop 2: "));
    }

    #[test]
    fn what_is_meant_to_be_a_chain_begins_with_a_url() {
        for text in ["socks5://a:1 -> http://b:2", "socks5://a:1->http://b:0", "http://a:1 -> b:2", "http://a:1 -> "] {
            assert!(is_meant(text), "{text}");
        }
        for text in ["http://u:a->b@h:1", "a -> b", "see http://a -> http://b", "http://a:1"] {
            assert!(!is_meant(text), "{text}");
        }
    }

    #[test]
    fn who_is_dialled_straight_pays_a_pointer_for_chains() {
        assert_eq!(size_of::<Option<Box<Endpoint>>>(), size_of::<usize>());
    }

    proptest! {
        #[test]
        fn any_chain_survives_its_text(
            hops in prop::collection::vec(
                (prop::sample::select(Scheme::ALL.to_vec()), 1..=u16::MAX, prop::option::of("[^\\p{Cc}{]{0,20}")),
                1..=MAX_HOPS,
            ),
        ) {
            let mut chain: Option<Endpoint> = None;
            for (scheme, port, user) in hops {
                let credentials = user.map(|user| Box::new(crate::Credentials::new(&user, &user).unwrap()));
                let host = "h.example".parse().unwrap();
                chain = Some(Endpoint { scheme, host, port, credentials, via: chain.map(Box::new) });
            }
            let chain = chain.unwrap();
            prop_assert_eq!(chain.to_url().parse::<Endpoint>().unwrap(), chain);
        }
    }
}
