//! Where a source is, as people type it.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use proxywhirl_core::{Endpoint, Host, Scheme, Secret};
use url::Url;

use crate::ingest::mask;

/// Where a source is. What is shown of it has no credentials.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
    /// A list behind an HTTP or HTTPS URL.
    Http(Url),
    /// The list itself.
    Inline(Secret),
}

/// The text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no source: {reason}")]
pub struct BadLocation {
    /// The text, without credentials.
    text: String,
    reason: String,
}

impl FromStr for Location {
    type Err = BadLocation;

    /// Reads what a user types:
    ///
    /// - `-` is standard input;
    /// - `http://` and `https://` with a path, a query or no port is a list to fetch;
    /// - `http://1.2.3.4:8080`, with a port and nothing behind it, is a proxy itself, as is every `socks…://`;
    /// - `[user:pass@]1.2.3.4:8080` is a proxy too, as is `1.2.3.4:8080:user:pass`;
    /// - everything else is a file. (`./1.2.3.4:8080` is one.)
    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let bad = |reason: String| BadLocation { text: redact(text), reason };
        if text.is_empty() {
            return Err(bad("empty; name a file, a URL, or - for standard input".to_owned()));
        }
        if text == "-" {
            return Ok(Self::Stdin);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let is_proxy = is_bare_proxy(text) || is_proxy_in_fields(text);
            return Ok(if is_proxy { Self::Inline(Secret::new(&*as_entry(text))) } else { Self::File(text.into()) });
        };
        let scheme = scheme.to_ascii_lowercase();
        match (scheme.as_str(), scheme.parse::<Scheme>()) {
            ("file", _) => Url::parse(text)
                .ok()
                .and_then(|url| url.to_file_path().ok())
                .map(Self::File)
                .ok_or_else(|| bad("a file URL without a path on this machine".to_owned())),
            ("http" | "https", _) if !is_proxy_url(rest) => {
                let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
                Ok(Self::Http(url))
            }
            (_, Ok(_)) => match text.parse::<Endpoint>() {
                Ok(_) => Ok(Self::Inline(Secret::new(&*as_entry(text)))),
                Err(error) => Err(bad(error.to_string())),
            },
            (_, Err(_)) => Err(bad(format!(
                "nothing fetches {}://; use http, https, a file, - for standard input, or a proxy's own URL",
                // It may be a login that stands in the wrong place.
                if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
                    scheme.as_str()
                } else {
                    "***"
                }
            ))),
        }
    }
}

/// One proxy as an entry of a list: white space in its login, which would end an entry there, is percent-encoded. What is no proxy
/// stays as it is, for who reads the list to say so.
#[must_use]
pub fn as_entry(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_whitespace) {
        return text.into();
    }
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        return endpoint.to_url().into();
    }
    match format!("http://{text}").parse::<Endpoint>() {
        Ok(endpoint) if endpoint.credentials.is_some() => {
            endpoint.to_url().strip_prefix("http://").map_or(text.into(), |url| url.to_owned().into())
        }
        Ok(_) | Err(_) => text.into(),
    }
}

/// Whether what stands behind `http://` is `[user:pass@]host:port` and nothing more.
fn is_proxy_url(rest: &str) -> bool {
    let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.contains(']'));
    has_port && !address.contains(['/', '?', '#'])
}

/// Whether a text without a scheme is `[user:pass@]host:port` of an address or a name with a dot.
fn is_bare_proxy(text: &str) -> bool {
    let is_address = |host: &Host| match host {
        Host::V4(_) | Host::V6(_) | Host::Zoned(_) => true,
        Host::Name(name) => name.contains('.'),
    };
    !text.starts_with('.')
        && is_proxy_url(text)
        && format!("http://{text}").parse::<Endpoint>().is_ok_and(|endpoint| is_address(&endpoint.host))
}

/// Whether a text is `host:port:user:pass`, as vendors write it, with an address or a name with a dot.
fn is_proxy_in_fields(text: &str) -> bool {
    let mut fields = text.splitn(4, ':');
    let address = fields.next().zip(fields.next()).map(|(host, port)| format!("{host}:{port}"));
    let has_login = fields.filter(|field| !field.is_empty()).count() == 2;
    has_login && !text.contains('/') && address.is_some_and(|address| is_bare_proxy(&address))
}

impl Location {
    /// What to call a source that has no other name.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "stdin".to_owned(),
            Self::Inline(_) => "inline".to_owned(),
            Self::File(path) => path.file_name().map_or_else(|| self.to_string(), |name| mask(&name.to_string_lossy())),
            Self::Http(url) => url.host_str().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Location {
    /// The location without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("-"),
            // A proxy that was written wrongly is taken for a file, with its password.
            Self::File(path) => f.write_str(&mask(&path.to_string_lossy())),
            Self::Http(url) => f.write_str(&redact_url(url)),
            Self::Inline(_) => f.write_str("inline"),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// The URL without its user, and with query values masked whose key sounds like a secret.
pub(super) fn redact_url(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail for a URL without a host only, which has no user.
    let _ignored = (shown.set_username(""), shown.set_password(None));
    if let Some(query) = url.query() {
        shown.set_query(Some(&masked_query(query)));
    }
    shown.into()
}

/// The query of a URL, with values masked whose key sounds like a secret.
#[must_use]
pub fn masked_query(query: &str) -> String {
    query.split('&').map(mask_pair).collect::<Vec<_>>().join("&")
}

fn mask_pair(pair: &str) -> String {
    const SECRETS: [&str; 9] = ["token", "key", "secret", "pass", "pwd", "auth", "sig", "credential", "session"];
    match pair.split_once('=') {
        Some((key, _)) if SECRETS.iter().any(|secret| key.to_ascii_lowercase().contains(secret)) => {
            format!("{key}=***")
        }
        _ => pair.to_owned(),
    }
}

/// Any text, with what may be a password masked, and values of a query whose key sounds like a secret.
fn redact(text: &str) -> String {
    match text.split_once('?') {
        Some((place, query)) => format!("{}?{}", mask(place), masked_query(query)),
        None => mask(text),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        match text.parse::<Location>().unwrap() {
            Location::Stdin => "stdin",
            Location::File(_) => "file",
            Location::Http(_) => "http",
            Location::Inline(_) => "inline",
        }
    }

    #[test]
    fn what_people_type_is_understood() {
        for (text, expected) in [
            ("-", "stdin"),
            ("list.txt", "file"),
            ("./1.2.3.4:80", "file"),
            ("/tmp/a b.json", "file"),
            ("file:///tmp/list.txt", "file"),
            ("https://lists.example", "http"),
            ("https://lists.example/http.txt", "http"),
            ("HTTP://127.0.0.1:9000/lists/a.txt", "http"),
            ("http://127.0.0.1:9000/", "http"),
            ("https://u:p@lists.example:8443/?page=1", "http"),
            ("http://1.2.3.4:8080", "inline"),
            ("https://u:p@[2001:db8::1]:443", "inline"),
            ("socks5://gate.example:1080", "inline"),
            ("socks5h://gate.example", "inline"),
            ("1.2.3.4:8080", "inline"),
            ("u:p@gate.example:8080", "inline"),
            ("[2001:db8::1]:8080", "inline"),
            ("1.2.3.4:8080:u:p", "inline"),
            ("gate.example:8080:u:p:q", "inline"),
            ("gate:8080:u:p", "file"),
            ("1.2.3.4:8080:DE:", "file"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_nothing_is_refused_with_a_reason() {
        let error = |text: &str| text.parse::<Location>().unwrap_err().to_string();
        assert!(error("").contains("empty"));
        assert!(error("ftp://lists.example/a").contains("nothing fetches ftp://"));
        assert!(error("http://u:hunter2@1.2.3.4:70000").contains("port 70000"));
        assert!(!error("http://u:hunter2@1.2.3.4:70000").contains("hunter2"));
        assert!(error("https://").contains("empty host"));
        assert!(error("socks5://a b:1080").contains("not a host"));
    }

    #[test]
    fn no_credential_is_shown() {
        let location: Location = "https://user:hunter2@lists.example/a?page=2&api_key=abc&Token=x".parse().unwrap();
        assert_eq!(location.to_string(), "https://lists.example/a?page=2&api_key=***&Token=***");
        assert!(!format!("{location:?}").contains("hunter2"));
        let location: Location = "http://user:hunter2@1.2.3.4:80".parse().unwrap();
        assert!(!format!("{location} {location:?}").contains("hunter2"));
        for text in ["gate:x:u:hunter2", "u:hunter2@gate", "lists/gate:x:u:hunter2"] {
            let location: Location = text.parse().unwrap();
            assert!(!format!("{location} {location:?} {}", location.name()).contains("hunter2"), "{location}");
        }
    }

    #[test]
    fn white_space_in_a_login_ends_no_entry() {
        for (text, entry) in [
            ("http://u:pa ss@1.2.3.4:1", "http://u:pa%20ss@1.2.3.4:1"),
            ("u:pa ss@1.2.3.4:1", "u:pa%20ss@1.2.3.4:1"),
            ("http://u:p@1.2.3.4:1", "http://u:p@1.2.3.4:1"),
            ("http://a:1 -> http://u:p q@b:2", "http://a:1 -> http://u:p%20q@b:2"),
            ("1.2.3.4 8080", "1.2.3.4 8080"),
            ("http://u:p q@h:x", "http://u:p q@h:x"),
        ] {
            assert_eq!(as_entry(text), entry);
        }
        let Location::Inline(text) = "http://u:pa ss@1.2.3.4:1".parse().unwrap() else { panic!("it is a proxy") };
        assert_eq!(text.expose(), "http://u:pa%20ss@1.2.3.4:1");
    }

    #[test]
    fn no_credential_is_in_an_error() {
        for text in [
            "http://u:hunter2@h:x",
            "http://h.example:x:u:hunter2",
            "htp://u:hunter2@h:1",
            "socks5://u:hunter2@1.2.3.4:70000",
            "u:hunter2@ftp://h:1",
            "https://[lists/a?token=hunter2",
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
