//! The user's own URL: what it must answer through a proxy.
//!
//! A proxy that reaches a judge may still be banned where the user goes; only going there shows it. Redirects are not
//! followed: a page that sends a visitor to its login has not been reached.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use proxywhirl_core::{Endpoint, Fault, Host, Kind, Side, Stage};
use proxywhirl_net::{Dialer, RequestForm, Target};
use regex::bytes::Regex;
use rustls::ClientConfig;
use tokio::time::Instant;
use url::Url;

use super::probe::{self, Reply, before, dialled};
use crate::ingest::mask;

/// The most that is read of the answer's body: what a regular expression looks for is near its beginning.
const MAX_BODY: usize = 1024 * 1024;

/// What it may mean, besides somebody on the way, that the certificate of a target is not taken.
const UNTRUSTED: &str = ", or its own certificate is not trusted here (--proxy-cacert or upstream.ca_file adds it)";

/// A URL, and what it must answer.
#[derive(Debug, Clone)]
pub struct TargetCheck {
    url: Url,
    target: Target,
    expected: Expected,
}

/// What an answer must be.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Any of these statuses; none named is 200 to 299.
    pub status: StatusRanges,
    /// Fields that must be there, and what their values must match.
    pub headers: Vec<(String, Regex)>,
    /// What the body must match.
    pub body: Option<Regex>,
}

/// Statuses, as people write them: `200`, `200-299,304`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRanges(Vec<RangeInclusive<u16>>);

/// The text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTarget(String);

impl Default for StatusRanges {
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl StatusRanges {
    /// Whether a status is one of them.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl FromStr for StatusRanges {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let bad = || BadTarget(format!("{text:?} is no list of statuses such as 200-299,304"));
        let status =
            |word: &str| word.trim().parse().ok().filter(|status| (100..=599).contains(status)).ok_or_else(bad);
        let ranges = text.split([',', '/']).map(|part| match part.split_once('-') {
            Some((first, last)) => Ok(status(first)?..=status(last)?),
            None => Ok(status(part)?..=status(part)?),
        });
        let ranges = ranges.collect::<Result<Vec<_>, BadTarget>>()?;
        if ranges.iter().any(RangeInclusive::is_empty) { Err(bad()) } else { Ok(Self(ranges)) }
    }
}

impl fmt::Display for StatusRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

impl TargetCheck {
    /// A check of a URL.
    ///
    /// # Errors
    /// When it is no `http` or `https` URL, or has credentials in it.
    pub fn new(url: &str, expected: Expected) -> Result<Self, BadTarget> {
        let url = Url::parse(url).map_err(|error| BadTarget(format!("{:?} is no URL: {error}", mask(url))))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadTarget("a target's URL has no credentials in it".to_owned()));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadTarget(format!("{url} is no http or https URL")));
        }
        let host: Host =
            url.host_str().unwrap_or_default().parse().map_err(|error| BadTarget(format!("{url}: {error}")))?;
        let port = url.port_or_known_default().unwrap_or(80);
        Ok(Self { url, target: Target { host, port }, expected })
    }

    /// Asks for the URL through an upstream.
    pub(super) async fn run(
        &self,
        dialer: &Dialer,
        upstream: &Endpoint,
        tls: &Arc<ClientConfig>,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let reply = if self.url.scheme() == "https" {
            let stream = probe::secured(dialer, upstream, &self.target, tls, deadline, UNTRUSTED).await?;
            let request = self.request(&RequestForm::Origin);
            before(deadline, Stage::FirstByte, probe::fetch(stream, &request, MAX_BODY)).await?
        } else {
            let forward = dialled(deadline, dialer.forward(upstream, &self.target)).await?;
            let request = self.request(&forward.form);
            before(deadline, Stage::FirstByte, probe::fetch(forward.stream, &request, MAX_BODY)).await?
        };
        self.expected.compare(&reply).map(|()| reply)
    }

    fn request(&self, form: &RequestForm) -> Vec<u8> {
        let mut path = self.url.path().to_owned();
        if let Some(query) = self.url.query() {
            path.push('?');
            path.push_str(query);
        }
        let authority = match (self.url.host_str(), self.url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        probe::get(&authority, path, &[("Accept", "*/*")], form)
    }
}

impl Expected {
    fn compare(&self, reply: &Reply) -> Result<(), Fault> {
        let unexpected = |words: String| {
            Err(Fault::new(Side::Upstream, Stage::Body, Kind::Unexpected, words).with_code(reply.head.status))
        };
        if !self.status.contains(reply.head.status) {
            return unexpected(format!("the target answered {}, expected {}", reply.head.status, self.status));
        }
        for (name, pattern) in &self.headers {
            match reply.head.headers.get_str(name) {
                None => return unexpected(format!("the target's answer has no field {name}")),
                Some(value) if !pattern.is_match(value.as_bytes()) => {
                    return unexpected(format!("the target's field {name} does not match {pattern}"));
                }
                Some(_) => {}
            }
        }
        match &self.body {
            Some(pattern) if !pattern.is_match(&reply.body) => {
                unexpected(format!("the target's body does not match {pattern}"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_ranges() {
        let ranges: StatusRanges = "200/302, 400-503".parse().unwrap();
        assert_eq!(ranges.to_string(), "200,302,400-503");
        for text in ["", "99", "600", "300-200", "2xx", "200-"] {
            assert!(text.parse::<StatusRanges>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_target_is_a_web_address_without_credentials() {
        assert!(TargetCheck::new("https://shop.example/item?id=1", Expected::default()).is_ok());
        for url in ["ftp://shop.example/", "shop.example", "http://u:p@shop.example/"] {
            assert!(TargetCheck::new(url, Expected::default()).is_err(), "{url}");
        }
    }
}
