//! Which web servers a plugin may send requests to.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The schemes that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WebScheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// The hosts that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostRule {
    /// `*`: every host.
    Any,
    /// `*.example.com`: every name below that one, which is not itself among them.
    Below(Box<str>),
    /// A name, or an address: in the form that URLs carry.
    Exactly(Box<str>),
}

/// The ports that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRule {
    /// `*`: every port.
    Any,
    /// The scheme's own: 80 or 443.
    Default,
    /// That one.
    Only(u16),
}

/// A set of web servers: `SCHEME://HOST[:PORT][+private]`, where each of the three may be `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpRule {
    /// The scheme; none for both.
    pub scheme: Option<WebScheme>,
    /// The hosts.
    pub host: HostRule,
    /// The ports.
    pub port: PortRule,
    /// Whether the host may have an address in a private network.
    pub private: bool,
}

impl HttpRule {
    /// Every web server, as `http:*` says it.
    pub(crate) const ANY: Self = Self { scheme: None, host: HostRule::Any, port: PortRule::Any, private: false };

    /// Whether a URL leads to one of these servers.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        let scheme = match url.scheme() {
            "http" => WebScheme::Http,
            "https" => WebScheme::Https,
            _ => return false,
        };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        let host = host.strip_suffix('.').unwrap_or(host);
        let host_fits = match &self.host {
            HostRule::Any => true,
            HostRule::Below(domain) => {
                host.strip_suffix(&**domain).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            HostRule::Exactly(name) => host == &**name,
        };
        let port_fits = match self.port {
            PortRule::Any => true,
            PortRule::Default => port == scheme.port(),
            PortRule::Only(only) => port == only,
        };
        host_fits && port_fits && self.scheme.is_none_or(|only| only == scheme)
    }
}

impl HttpRule {
    /// Whether there may be a server that both rules are about. Names are compared, not resolved.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let schemes = self.scheme.is_none() || other.scheme.is_none() || self.scheme == other.scheme;
        let below = |name: &str, domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        let hosts = match (&self.host, &other.host) {
            (HostRule::Any, _) | (_, HostRule::Any) => true,
            (HostRule::Exactly(one), HostRule::Exactly(other)) => one == other,
            (HostRule::Below(domain), HostRule::Exactly(name)) | (HostRule::Exactly(name), HostRule::Below(domain)) => {
                below(name, domain)
            }
            (HostRule::Below(one), HostRule::Below(other)) => one == other || below(one, other) || below(other, one),
        };
        let ports = match (self.port, other.port) {
            (PortRule::Any, _) | (_, PortRule::Any) | (PortRule::Default, PortRule::Default) => true,
            (PortRule::Only(one), PortRule::Only(other)) => one == other,
            (PortRule::Default, PortRule::Only(port)) | (PortRule::Only(port), PortRule::Default) => {
                let scheme = self.scheme.or(other.scheme);
                scheme.map_or(port == 80 || port == 443, |scheme| scheme.port() == port)
            }
        };
        schemes && hosts && ports
    }
}

impl WebScheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl FromStr for HttpRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::ANY);
        }
        let (rest, private) = match text.strip_suffix("+private") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (scheme, authority) = rest.split_once("://").ok_or("it is not of the form http:SCHEME://HOST[:PORT]")?;
        let scheme = match scheme {
            "*" => None,
            "http" => Some(WebScheme::Http),
            "https" => Some(WebScheme::Https),
            _ => return Err("its scheme is none of http, https and *".to_owned()),
        };
        let (host, port) = split_port(authority);
        let host = host_rule(host)?;
        let port = match port {
            None => PortRule::Default,
            Some("*") => PortRule::Any,
            Some(port) => match port.parse() {
                Ok(port @ 1..) => PortRule::Only(port),
                _ => return Err(format!("its port {port:?} is not in 1..=65535")),
            },
        };
        if private && !matches!(host, HostRule::Exactly(_)) {
            return Err("+private is for one host by its name or address, without *".to_owned());
        }
        Ok(Self { scheme, host, port, private })
    }
}

/// The host and the port of an authority; IPv6 addresses stand in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn host_rule(text: &str) -> Result<HostRule, String> {
    // The form that a URL gives its host: only so can the two be compared.
    let normal = |name: &str| {
        if name.is_empty() || name.contains(['/', '?', '#', '@', '\\', '*']) || name.chars().any(char::is_whitespace) {
            return Err(format!("{name:?} is no host"));
        }
        let host = url::Host::parse(name).map_err(|error| format!("{name:?} is no host: {error}"))?.to_string();
        Ok(host.strip_suffix('.').unwrap_or(&host).into())
    };
    match text.strip_prefix("*.") {
        _ if text == "*" => Ok(HostRule::Any),
        Some(domain) => normal(domain).map(HostRule::Below),
        None => normal(text).map(HostRule::Exactly),
    }
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("*");
        }
        f.write_str(self.scheme.map_or("*", WebScheme::as_str))?;
        match &self.host {
            HostRule::Any => f.write_str("://*")?,
            HostRule::Below(domain) => write!(f, "://*.{domain}")?,
            HostRule::Exactly(name) => write!(f, "://{name}")?,
        }
        match self.port {
            PortRule::Any => f.write_str(":*")?,
            PortRule::Default => {}
            PortRule::Only(port) => write!(f, ":{port}")?,
        }
        f.write_str(if self.private { "+private" } else { "" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allows(rule: &str, url: &str) -> bool {
        rule.parse::<HttpRule>().unwrap().allows(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_rule_is_about_its_scheme_host_and_port_and_nothing_near_them() {
        for (rule, url, allowed) in [
            ("https://hooks.example", "https://hooks.example/a?b", true),
            ("https://hooks.example", "https://HOOKS.example.:443/", true),
            ("https://hooks.example", "http://hooks.example/", false),
            ("https://hooks.example", "https://hooks.example:8443/", false),
            ("https://hooks.example", "https://hooks.example.evil.test/", false),
            ("https://hooks.example", "https://evilhooks.example/", false),
            ("https://hooks.example:8443", "https://hooks.example:8443/", true),
            ("https://hooks.example:*", "https://hooks.example:1/", true),
            ("*://hooks.example", "http://hooks.example/", true),
            ("*://hooks.example", "http://hooks.example:443/", false),
            ("https://*.example", "https://a.b.example/", true),
            ("https://*.example", "https://example/", false),
            ("https://*.example", "https://notexample/", false),
            ("https://*", "https://anything.test/", true),
            ("https://*", "http://anything.test/", false),
            ("*", "http://anything.test:81/", true),
            ("*", "ftp://anything.test/", false),
            ("http://127.0.0.1:80", "http://0x7f.1/", true),
            ("http://0x7f.1", "http://127.0.0.1/", true),
            ("http://[::1]:81", "http://[0:0:0:0:0:0:0:1]:81/", true),
            ("http://127.0.0.1", "http://[::ffff:127.0.0.1]/", false),
            ("https://bücher.example", "https://xn--bcher-kva.example/", true),
        ] {
            assert_eq!(allows(rule, url), allowed, "{rule} {url}");
        }
    }

    #[test]
    fn a_rule_that_is_none_is_refused() {
        for rule in [
            "",
            "hooks.example",
            "ftp://hooks.example",
            "https://",
            "https://:443",
            "https://a b",
            "https://user@host",
            "https://host/path",
            "https://host:0",
            "https://host:70000",
            "https://a.*.example",
            "https://*+private",
            "https://*.example+private",
            "https://[::1",
        ] {
            assert!(rule.parse::<HttpRule>().is_err(), "{rule}");
        }
    }
}
