//! A capability with its parameters, as a manifest asks for it and as settings grant it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::capability::rule::HttpRule;
use crate::logbook::cut;

/// Bytes that a plugin's keys and values may take when nobody says how many.
pub(crate) const DEFAULT_QUOTA: u64 = 1_048_576;

/// The largest quota, in bytes.
const MAX_QUOTA: u64 = 1 << 30;

/// A capability. As text: `kv`, `kv:BYTES`, `metrics`, `http:SCHEME://HOST[:PORT][+private]`, or `http:*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Grant {
    /// Keys and values of the plugin's own, of so many bytes together.
    KeyValues {
        /// Bytes; none for 1,048,576.
        quota: Option<u64>,
    },
    /// Numbers among the host's metrics.
    Metrics,
    /// Requests to web servers.
    Http(HttpRule),
}

/// A text that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no capability: {reason}")]
pub struct GrantError {
    /// The text, cut.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Grant {
    /// The interface that it is for.
    #[must_use]
    pub const fn interface(&self) -> &'static str {
        match self {
            Self::KeyValues { .. } => "kv",
            Self::Metrics => "metrics",
            Self::Http(_) => "http",
        }
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let refused = |reason: String| GrantError { text: cut(text, 200).to_owned(), reason };
        let (name, parameters) = match text.split_once(':') {
            Some((name, parameters)) => (name, Some(parameters)),
            None => (text, None),
        };
        match (name, parameters) {
            ("kv", None) => Ok(Self::KeyValues { quota: None }),
            ("kv", Some(bytes)) => match bytes.parse() {
                Ok(quota @ 1..=MAX_QUOTA) => Ok(Self::KeyValues { quota: Some(quota) }),
                _ => Err(refused(format!("its quota is not a number of bytes in 1..={MAX_QUOTA}"))),
            },
            ("metrics", None) => Ok(Self::Metrics),
            ("metrics", Some(_)) => Err(refused("metrics has no parameters".to_owned())),
            ("http", None) => Err(refused("it names no server: http:SCHEME://HOST[:PORT], or http:*".to_owned())),
            ("http", Some(rule)) => rule.parse().map(Self::Http).map_err(refused),
            _ => Err(refused("there are kv, metrics and http".to_owned())),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyValues { quota: None } => f.write_str("kv"),
            Self::KeyValues { quota: Some(quota) } => write!(f, "kv:{quota}"),
            Self::Metrics => f.write_str("metrics"),
            Self::Http(rule) => write!(f, "http:{rule}"),
        }
    }
}

impl TryFrom<String> for Grant {
    type Error = GrantError;

    fn try_from(text: String) -> Result<Self, GrantError> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in [
            "kv",
            "kv:5000000",
            "metrics",
            "http:*",
            "http:https://hooks.example",
            "http:https://hooks.example:8443",
            "http:http://127.0.0.1:9000+private",
            "http:http://[::1]:9000+private",
            "http:*://*.example.com:*",
        ] {
            let grant: Grant = text.parse().unwrap();
            assert_eq!(grant.to_string(), text);
            assert_eq!(serde_json::from_str::<Grant>(&format!("{text:?}")).unwrap(), grant);
        }
    }

    #[test]
    fn what_is_no_capability_says_why() {
        let reason = |text: &str| text.parse::<Grant>().unwrap_err().to_string();
        assert_eq!(reason("sockets"), "\"sockets\" is no capability: there are kv, metrics and http");
        assert!(reason("kv:0").contains("1..=1073741824"));
        assert!(reason("kv:many").contains("number of bytes"));
        assert!(reason("metrics:all").contains("no parameters"));
        assert!(reason("http").contains("names no server"));
        assert!(reason(&"x".repeat(5_000)).len() < 400);
    }
}
