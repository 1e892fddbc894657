//! Proxies as users name them, to take them out of a pool: in a store, or in the one of a gateway that runs.

use std::collections::HashMap;

use proxywhirl_core::{Endpoint, EndpointKey, Host, Scheme};
use proxywhirl_engine::ingest::mask;

use crate::exit::{Exit, Failure};

/// Where a proxy listens, and the user name that is given.
type Place = (Host, u16, Option<Box<str>>);

/// Proxies that a user names. By place, because a command may name ten thousands, and a pool has a million.
#[derive(Debug, Default)]
pub struct Patterns(HashMap<Place, Vec<Pattern>>);

impl Patterns {
    /// What is meant by URLs, or by hosts and ports alone.
    ///
    /// # Errors
    /// When one of them is no proxy; told without a password.
    pub fn parse(texts: &[String]) -> Result<Self, Failure> {
        let mut patterns = Self::default();
        for text in texts {
            let pattern = Pattern::parse(text)?;
            let place = (pattern.host.clone(), pattern.port, pattern.username.clone());
            patterns.0.entry(place).or_default().push(pattern);
        }
        Ok(patterns)
    }

    /// Whether a proxy with this key is meant.
    #[must_use]
    pub fn matches(&self, key: &EndpointKey) -> bool {
        // Without a user name all users of the place are meant.
        [None, key.username.clone()].into_iter().any(|username| {
            let named = self.0.get(&(key.host.clone(), key.port, username));
            named.is_some_and(|patterns| patterns.iter().any(|pattern| pattern.matches(key)))
        })
    }
}

/// What a user names a proxy by: the parts that are given must match.
#[derive(Debug)]
struct Pattern {
    scheme: Option<Scheme>,
    host: Host,
    port: u16,
    username: Option<Box<str>>,
    via: Option<Box<Pattern>>,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, Failure> {
        let has_scheme = text.contains("://");
        let url = if has_scheme { text.to_owned() } else { format!("http://{text}") };
        let endpoint: Endpoint = url.parse().map_err(|error| {
            // It may hold a password, wherever it is wrong.
            let shown = mask(text);
            Failure::new(Exit::Usage, format!("{shown:?} is no proxy: {error}"))
                .hint("name it as `pool list` prints it")
        })?;
        let scheme = has_scheme.then_some(endpoint.scheme);
        Ok(Self { scheme, ..Self::of(endpoint) })
    }

    fn of(endpoint: Endpoint) -> Self {
        Self {
            scheme: Some(endpoint.scheme),
            host: endpoint.host,
            port: endpoint.port,
            username: endpoint.credentials.map(|credentials| credentials.username),
            via: endpoint.via.map(|via| Box::new(Self::of(*via))),
        }
    }

    fn matches(&self, key: &EndpointKey) -> bool {
        self.scheme.is_none_or(|scheme| scheme == key.scheme)
            && self.host == key.host
            && self.port == key.port
            && (self.username.is_none() || self.username == key.username)
            && match (&self.via, &key.via) {
                (Some(own), Some(via)) => own.matches(via),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_is_meant_however_many_are_and_nobody_else_is() {
        let named = ["h.test:80", "socks5://h.test:81", "http://anna@h.test:82", "http://h.test:1 -> http://h.test:83"];
        let others = (0..1_000).map(|number| format!("http://{number}@h.test:82"));
        let texts: Vec<String> = named.map(str::to_owned).into_iter().chain(others).collect();
        let Ok(patterns) = Patterns::parse(&texts) else { unreachable!("{texts:?}") };
        for (url, is_meant) in [
            ("http://h.test:80", true),
            ("https://berta:pw@h.test:80", true),
            ("socks5://anna:pw@h.test:81", true),
            ("http://h.test:81", false),
            ("http://anna:pw@h.test:82", true),
            ("http://999:pw@h.test:82", true),
            ("http://berta:pw@h.test:82", false),
            ("http://h.test:82", false),
            ("http://h.test:1 -> http://h.test:83", true),
            ("http://h.test:83", false),
            ("http://i.test:80", false),
        ] {
            let key = url.parse::<Endpoint>().map(|endpoint| endpoint.key());
            assert_eq!(key.map(|key| patterns.matches(&key)), Ok(is_meant), "{url}");
        }
    }

    #[test]
    fn a_password_is_in_no_error_whatever_else_is_wrong() {
        for text in [
            "http://u:hunter2@h:x",
            "htp://u:hunter2@h:1",
            "h:x:u:hunter2",
            "http://u:12345@h:x",
            "http://h:1:u:hunter2",
            "u:hunter2@ftp://h:1",
            "http://h:1 -> http://u:hunter2@h:x",
        ] {
            let Err(failure) = Pattern::parse(text) else { unreachable!("{text} is no proxy") };
            let is_told = ["hunter2", "12345"].iter().any(|secret| failure.message.contains(secret));
            assert!(!is_told && failure.message.contains("***"), "{}", failure.message);
        }
    }
}
