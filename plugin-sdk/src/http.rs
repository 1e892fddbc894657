//! Requests to web servers that the user allowed. Wanted as `http:SCHEME://HOST:PORT` for each server:
//! [`Description::with_capability`](crate::Description::with_capability).
//!
//! A call waits for the answer, and never longer than the call of the plugin has left. Off
//! WebAssembly nothing leaves the machine: [`fake`] is a server that records requests and gives the
//! answers that a test has set.

use std::fmt;
use std::time::Duration;

pub use crate::bindings::shared::proxywhirl::plugin::http::{Request, Response};

/// How long an exchange may take when nobody says.
const TIMEOUT_MS: u32 = 10_000;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The plugin may not speak to this server; the text says which rule it was.
    Denied(String),
    /// More requests than a plugin may send in this time.
    Rate,
    /// The request is malformed or too large.
    Invalid(String),
    /// The answer is too large.
    Size,
    /// No answer in time.
    Timeout,
    /// The server cannot be reached, or broke off.
    Unreachable(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(why) => write!(f, "not allowed: {why}"),
            Self::Rate => f.write_str("too many requests in this time"),
            Self::Invalid(why) => write!(f, "request refused: {why}"),
            Self::Size => f.write_str("answer too large"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Unreachable(why) => write!(f, "server unreachable: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl Request {
    /// A request without headers and body that may take 10 seconds.
    #[must_use]
    pub fn new(method: &str, url: &str) -> Self {
        let (method, url) = (method.to_owned(), url.to_owned());
        Self { method, url, headers: Vec::new(), body: Vec::new(), timeout: TIMEOUT_MS }
    }

    /// A request that reads.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// A request that sends a body.
    #[must_use]
    pub fn post(url: &str, body: Vec<u8>) -> Self {
        Self { body, ..Self::new("POST", url) }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another time for the whole exchange.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        self
    }
}

impl Response {
    /// An answer with this status and nothing else.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Whether the status says that all went well: 200 to 299.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The first value of a header, whose name is in lower case.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request and waits for the answer.
pub fn send(request: Request) -> Result<Response, Error> {
    host::send(request)
}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::{Error, Request, Response};
    use crate::bindings::shared::proxywhirl::plugin::http;

    pub(super) fn send(request: Request) -> Result<Response, Error> {
        http::send(&request).map_err(|error| match error {
            http::Error::Denied(why) => Error::Denied(why),
            http::Error::Rate => Error::Rate,
            http::Error::Invalid(why) => Error::Invalid(why),
            http::Error::Size => Error::Size,
            http::Error::Timeout => Error::Timeout,
            http::Error::Unreachable(why) => Error::Unreachable(why),
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
use fake as host;
#[cfg(not(target_arch = "wasm32"))]
pub mod fake;
