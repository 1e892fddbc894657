//! Proxies as users name them, to take them out of a pool: in a store, or in the one of a gateway that runs.

use proxywhirl_core::{Endpoint, EndpointKey, Host, Scheme};
use proxywhirl_engine::ingest::mask;

use crate::exit::{Exit, Failure};

/// What a user names a proxy by: the parts that are given must match.
#[derive(Debug)]
pub struct Pattern {
    scheme: Option<Scheme>,
    host: Host,
    port: u16,
    username: Option<Box<str>>,
    via: Option<Box<Pattern>>,
}

impl Pattern {
    /// What is meant by a URL, or by host and port alone.
    ///
    /// # Errors
    /// When it is no proxy; told without a password.
    pub fn parse(text: &str) -> Result<Self, Failure> {
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

    /// Whether a proxy with this key is meant.
    #[must_use]
    pub fn matches(&self, key: &EndpointKey) -> bool {
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
