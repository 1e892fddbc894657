//! Who may be asked. A list that a stranger publishes, and a redirect of it, must not make us ask the
//! router, a database that listens on this machine, or the cloud's metadata service (server-side request
//! forgery, CWE-918).
//!
//! The host in a URL is looked at before each request, and a name again when it is resolved, at the
//! very resolution that the connection is made with: a name that means something else a moment later
//! (DNS rebinding) is refused too. Behind a proxy of the environment, the proxy resolves names: then
//! only what the URL itself says can be judged.

use std::collections::HashSet;
use std::error::Error;

use proxywhirl_core::Host;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::super::{Cause, Location, Source};
use crate::ingest::address;

/// How far requests for a source may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Reach {
    /// The internet, and nothing else.
    Internet,
    /// This machine and its networks too.
    Anywhere,
}

impl Reach {
    /// A source that the user vouches for, or gave as a private one, may be anywhere.
    pub(in super::super) fn of(source: &Source) -> Self {
        let is_private = match &source.location {
            Location::Http(url) => private(url).is_some(),
            Location::Stdin | Location::File(_) | Location::Inline(_) => false,
        };
        if source.trust || is_private { Self::Anywhere } else { Self::Internet }
    }

    /// Sees that a URL may be asked.
    pub(super) fn permit(self, url: &Url) -> Result<(), Cause> {
        match (self, private(url)) {
            (Self::Internet, Some(class)) => {
                Err(Cause::Private { host: url.host_str().unwrap_or_default().to_owned(), class })
            }
            (Self::Internet, None) | (Self::Anywhere, _) => Ok(()),
        }
    }
}

/// What kind of private the host of a URL is.
pub(in super::super) fn private(url: &Url) -> Option<&'static str> {
    match url.host()? {
        url::Host::Ipv4(addr) => address::private_ip(addr.into()),
        url::Host::Ipv6(addr) => address::private_ip(addr.into()),
        url::Host::Domain(name) => match name.trim_end_matches('.').parse::<Host>() {
            Ok(host) => address::private(&host),
            Err(_) => Some("not a host"),
        },
    }
}

/// A name that resolves to where nobody should be sent.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host} resolves to an address that is not of the internet ({class})")]
pub(super) struct Refused {
    pub(super) host: String,
    pub(super) class: &'static str,
}

/// Resolves names, and refuses those of which any address is private.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    /// Proxies of the environment, which the user has named.
    exempt: HashSet<String>,
}

impl GuardedResolver {
    pub(super) fn new() -> Self {
        let variables = ["http_proxy", "https_proxy", "all_proxy"];
        let named = variables.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_uppercase()]);
        let urls = named.filter_map(|name| std::env::var(name).ok());
        let hosts = urls.filter_map(|text| {
            let url = Url::parse(&text).or_else(|_| Url::parse(&format!("http://{text}"))).ok()?;
            Some(url.host_str()?.to_ascii_lowercase())
        });
        Self { exempt: hosts.collect() }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_ascii_lowercase();
        let is_exempt = self.exempt.contains(&host);
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let class = found.iter().find_map(|addr| address::private_ip(addr.ip()));
            match class.filter(|_| !is_exempt) {
                Some(class) => Err(Box::new(Refused { host, class }) as Box<dyn Error + Send + Sync>),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reach(text: &str, trust: bool) -> Reach {
        Reach::of(&Source { trust, ..Source::new(text.parse().unwrap()) })
    }

    #[test]
    fn who_is_trusted_or_private_by_the_users_word_may_be_anywhere() {
        assert_eq!(reach("https://lists.example.org/a", false), Reach::Internet);
        assert_eq!(reach("https://lists.example.org/a", true), Reach::Anywhere);
        assert_eq!(reach("http://127.0.0.1:9000/a", false), Reach::Anywhere);
        assert_eq!(reach("http://router/a", false), Reach::Anywhere);
    }

    #[test]
    fn addresses_in_every_spelling_are_seen_through() {
        for text in [
            "http://127.0.0.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://localhost./",
            "http://metadata.google.internal/",
        ] {
            let refused = Reach::Internet.permit(&Url::parse(text).unwrap());
            assert!(matches!(refused, Err(Cause::Private { .. })), "{text}");
        }
        assert!(Reach::Internet.permit(&Url::parse("https://8.8.8.8/").unwrap()).is_ok());
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_refused() {
        let resolver = GuardedResolver { exempt: HashSet::new() };
        let error = resolver.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert_eq!(error.downcast_ref::<Refused>().map(|refused| refused.class), Some("loopback"));
        let resolver = GuardedResolver { exempt: std::iter::once("localhost".to_owned()).collect() };
        assert!(resolver.resolve("localhost".parse().unwrap()).await.is_ok());
    }
}
