//! What users may set, and what it means.

use proxywhirl_plugin_sdk::duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Headers that frame the message, or that are this hook's own.
const TAKEN: [&str; 7] = ["content-length", "content-type", "connection", "host", "transfer-encoding", "te", "upgrade"];

/// What the hook's own headers begin with.
const OWN: &str = "proxywhirl-";

/// What users may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where batches are sent.
    url: String,
    /// Signs each request.
    secret: Option<String>,
    /// The topics to send; empty for all.
    pub(crate) topics: Vec<String>,
    /// Events in one request.
    batch: usize,
    /// How long the first event of a batch waits.
    #[serde(deserialize_with = "duration::read")]
    max_age: Duration,
    /// Further headers.
    headers: BTreeMap<String, String>,
    /// For one request.
    #[serde(deserialize_with = "duration::read")]
    timeout: Duration,
    /// How often a batch is sent again.
    retries: u32,
    /// Before the first retry.
    #[serde(deserialize_with = "duration::read")]
    backoff: Duration,
    /// The longest time between two retries.
    #[serde(deserialize_with = "duration::read")]
    max_backoff: Duration,
    /// Batches that are kept when they cannot be delivered.
    dead_letters: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: String::new(),
            secret: None,
            topics: Vec::new(),
            batch: 100,
            max_age: Duration::from_secs(5),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(3),
            retries: 8,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            dead_letters: 100,
        }
    }
}

/// What the options mean; times in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) url: String,
    /// The server, for log lines: the rest of a URL may be a secret.
    pub(crate) server: String,
    pub(crate) secret: Option<String>,
    pub(crate) batch: usize,
    pub(crate) max_age: u64,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) backoff: u64,
    pub(crate) max_backoff: u64,
    pub(crate) dead_letters: usize,
}

impl Settings {
    pub(crate) fn new(options: Options) -> Result<Self, String> {
        for (name, value) in &options.headers {
            let lower = name.to_ascii_lowercase();
            if TAKEN.contains(&lower.as_str()) || lower.starts_with(OWN) {
                return Err(format!("headers: {name} is set by the hook or the host"));
            }
            if value.contains(['\r', '\n', '\0']) {
                return Err(format!("headers: the value of {name} has a line break"));
            }
        }
        if options.batch == 0 {
            return Err("batch: 0 events would never be sent".to_owned());
        }
        Ok(Self {
            server: server(&options.url)?,
            url: options.url,
            secret: options.secret,
            batch: options.batch,
            max_age: duration::micros(options.max_age),
            headers: options.headers.into_iter().collect(),
            timeout: options.timeout,
            retries: options.retries,
            backoff: duration::micros(options.backoff).max(1),
            max_backoff: duration::micros(options.max_backoff.max(options.backoff)).max(1),
            dead_letters: options.dead_letters,
        })
    }
}

/// Scheme, host and port of a URL. The host checks the rest.
fn server(url: &str) -> Result<String, String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let end = |rest: &str| rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.map(|rest| rest.get(..end(rest)).unwrap_or_default());
    let scheme = url.split("://").next().unwrap_or_default();
    match authority {
        None | Some("") => Err("url: not an http or https URL".to_owned()),
        Some(_) if url.contains(|letter: char| letter.is_whitespace() || letter.is_control()) => {
            Err("url: has white space in it".to_owned())
        }
        Some(authority) if authority.contains('@') => {
            Err("url: user name and password belong into an Authorization header".to_owned())
        }
        Some(authority) => Ok(format!("{scheme}://{authority}")),
    }
}
