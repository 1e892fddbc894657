//! A proxy's address: scheme, host, port and credentials, and the hops before it when it ends a [`chain`].

pub mod chain;
mod credentials;
mod scheme;
pub mod template;

use std::fmt;
use std::str::FromStr;

use crate::host::{Host, NotAHost};
use crate::secret::{Secret, Zeroizing};
pub use credentials::Credentials;
pub use scheme::Scheme;

/// Where a proxy listens and how one speaks to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How one speaks to it.
    pub scheme: Scheme,
    /// Its host.
    pub host: Host,
    /// Its port, 1 to 65535; 0 only of [`Endpoint::direct`].
    pub port: u16,
    /// What one proves to it. In a box, because most of the millions that lists name have none.
    pub credentials: Option<Box<Credentials>>,
    /// The hop before it, when it ends a chain. In a box, because most are dialled straight and there may be millions.
    pub via: Option<Box<Endpoint>>,
}

/// What makes two endpoints the same proxy: all but the passwords.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// How one speaks to it.
    pub scheme: Scheme,
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The user name, or none.
    pub username: Option<Box<str>>,
    /// The hop before it.
    pub via: Option<Box<EndpointKey>>,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The text before `://` is no scheme of a proxy.
    #[error("unknown scheme {0}: expected http, https, socks4, socks4a, socks5 or socks5h")]
    Scheme(Box<str>),
    /// There is no `://`.
    #[error("no scheme: http, https, socks4, socks4a, socks5 or socks5h, with :// behind it")]
    NoScheme,
    /// There is no host, or it cannot be one.
    #[error(transparent)]
    Host(#[from] NotAHost),
    /// The port is not a number from 1 to 65535.
    #[error("port {0} is not in 1..65535")]
    Port(Box<str>),
    /// The credentials cannot be carried.
    #[error("{0}")]
    Credentials(&'static str),
    /// Something stands behind the port.
    #[error("a path, query or fragment after the port")]
    Trailing,
    /// A chain with more hops than [`chain::MAX_HOPS`].
    #[error("a chain of {0} hops: there may be {most}", most = chain::MAX_HOPS)]
    TooLong(usize),
    /// A hop of a chain is no endpoint.
    #[error("hop {number}: {error}")]
    Hop {
        /// Which hop, from 1.
        number: usize,
        /// Why.
        error: Box<EndpointError>,
    },
}

/// The beginning of a text, for messages: at most 60 characters.
fn excerpt(text: &str) -> Box<str> {
    text.chars().take(60).collect::<String>().into()
}

/// The name of the way without a proxy.
const DIRECT: &str = "direct";

impl Endpoint {
    /// No proxy at all: the way straight to the origin, where something has to stand for it among those through proxies. No
    /// text means it.
    #[must_use]
    pub fn direct() -> Self {
        Self { scheme: Scheme::Socks5h, host: Host::Name(DIRECT.into()), port: 0, credentials: None, via: None }
    }

    /// Whether it is the way straight to the origin.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.port == 0
    }

    /// What makes it the same proxy as another.
    #[must_use]
    pub fn key(&self) -> EndpointKey {
        EndpointKey {
            scheme: self.scheme,
            host: self.host.clone(),
            port: self.port,
            username: self.credentials.as_deref().map(|credentials| credentials.username.clone()),
            via: self.via.as_ref().map(|via| Box::new(via.key())),
        }
    }

    /// Whether this is its key.
    #[must_use]
    pub fn has_key(&self, key: &EndpointKey) -> bool {
        self.scheme == key.scheme
            && self.port == key.port
            && self.host == key.host
            && self.credentials.as_deref().map(|credentials| &credentials.username) == key.username.as_ref()
            && match (&self.via, &key.via) {
                (Some(hop), Some(key)) => hop.has_key(key),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }

    /// The URL with its password, or those of a chain with arrows between: for the store, and for output that the user
    /// asked for.
    #[must_use]
    pub fn to_url(&self) -> String {
        self.url(&encode, &|password| encode(password.expose()))
    }

    fn url(&self, username: &impl Fn(&str) -> String, password: &impl Fn(&Secret) -> String) -> String {
        if self.is_direct() {
            return DIRECT.to_owned();
        }
        let credentials = self.credentials.as_deref().map_or_else(String::new, |credentials| {
            format!("{}:{}@", username(&credentials.username), password(&credentials.password))
        });
        let url = format!("{}://{credentials}{}:{}", self.scheme, self.host, self.port);
        match &self.via {
            Some(via) => format!("{} {} {url}", via.url(username, password), chain::ARROW),
            None => url,
        }
    }
}

impl fmt::Display for Endpoint {
    /// The URL with the password masked: `http://user:***@1.2.3.4:8080`. Blanks are shown as people write them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url(&template::shown, &|_| "***".to_owned()))
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(via) = &self.via {
            write!(f, "{via} {} ", chain::ARROW)?;
        }
        write!(f, "{}://", self.scheme)?;
        if let Some(username) = &self.username {
            write!(f, "{}@", encode(username))?;
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads `scheme://[user[:password]@]host[:port][/]`, credentials percent-encoded, or several of them with `->`
    /// between: the hops of a [`chain`].
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text, Credentials::new)
    }
}

/// What makes credentials of a user name and a password.
type Login = fn(&str, &str) -> Result<Credentials, EndpointError>;

impl Endpoint {
    /// Reads the same as [`str::parse`], as a store keeps it: passwords may be sealed.
    ///
    /// # Errors
    /// When it is no endpoint.
    pub fn kept(text: &str) -> Result<Self, EndpointError> {
        Self::parse(text, Credentials::kept)
    }

    fn parse(text: &str, login: Login) -> Result<Self, EndpointError> {
        match chain::split(text).as_slice() {
            [_] => Self::parse_hop(text, login),
            hops => chain::parse(hops, login),
        }
    }

    fn parse_hop(text: &str, login: Login) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::NoScheme)?;
        let scheme: Scheme = scheme.parse()?;
        // An unencoded `@` in a password is common: the host never holds one, so the last divides.
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#']) {
            return Err(EndpointError::Trailing);
        }
        let (host, port) = split_port(address)?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None => scheme.default_port(),
        };
        let credentials = match credentials {
            Some(text) => {
                let (username, password) = text.split_once(':').unwrap_or((text, ""));
                let credentials = login(&decode(username)?, &Zeroizing::new(decode(password)?))?;
                credentials.fit(scheme)?;
                Some(Box::new(credentials))
            }
            None => None,
        };
        Ok(Self { scheme, host: host.parse()?, port, credentials, via: None })
    }
}

fn split_port(address: &str) -> Result<(&str, Option<&str>), EndpointError> {
    if let Some(end) = address.strip_prefix('[').and(address.find(']')) {
        let (host, rest) = address.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(EndpointError::Trailing),
        };
    }
    Ok(match address.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (address, None),
    })
}

/// Reads a port: decimal digits, 1 to 65535.
///
/// # Errors
/// [`EndpointError::Port`] for everything else.
pub fn parse_port(text: &str) -> Result<u16, EndpointError> {
    // `u16::from_str` accepts a sign.
    let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    // What is no number may be a password that stands in the wrong place.
    let is_number = text.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    number
        .filter(|port| *port != 0)
        .ok_or_else(|| EndpointError::Port(if is_number { text.into() } else { "***".into() }))
}

/// Percent-encodes all but the unreserved characters (RFC 3986 §2.3).
fn encode(text: &str) -> String {
    encode_but(text, b"")
}

/// The same, which leaves these characters as they are too.
fn encode_but(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Decodes percent-encoding; a `%` without two hexadecimal digits stands for itself.
fn decode(text: &str) -> Result<String, EndpointError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            out.push(high << 4 | low);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(out).map_err(|_| EndpointError::Credentials("credentials that are not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::SEALED;

    fn parse(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    /// The allocator has classes of 48, 64, 80, … bytes, and an `Arc` counts in 16.
    #[test]
    fn it_takes_64_bytes_of_a_million_members_each() {
        assert_eq!((size_of::<Host>(), size_of::<Endpoint>() + 16), (24, 64));
    }

    const ENDPOINTS: [&str; 9] = [
        "http://1.2.3.4:80",
        "https://1.2.3.4:80",
        "http://1.2.3.5:80",
        "http://1.2.3.4:81",
        "http://:@1.2.3.4:80",
        "http://a:x@1.2.3.4:80",
        "http://a:y@1.2.3.4:80",
        "http://a:x@1.2.3.4:80 -> http://1.2.3.4:80",
        "http://b:x@1.2.3.4:80 -> http://1.2.3.4:80",
    ];

    #[test]
    fn every_part_is_read() {
        let endpoint = parse("SOCKS5H://us%3Aer:p%40ss@[2001:db8::1]:1081/");
        assert_eq!(endpoint.scheme, Scheme::Socks5h);
        assert_eq!(endpoint.host.to_string(), "[2001:db8::1]");
        assert_eq!(endpoint.port, 1081);
        let credentials = endpoint.credentials.unwrap();
        assert_eq!((&*credentials.username, credentials.password.expose()), ("us:er", "p@ss"));
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(parse("http://gate.example").port, 80);
        assert_eq!(parse("socks://1.2.3.4").to_url(), "socks5://1.2.3.4:1080");
        assert_eq!(parse("http://user@h.example:1").to_url(), "http://user:@h.example:1");
        assert_eq!(parse("http://u:a@b@h.example:1").credentials.unwrap().password.expose(), "a@b");
    }

    #[test]
    fn credentials_are_as_long_as_the_protocol_can_carry() {
        let of = |scheme: &str, username: usize, password: usize| {
            let (username, password) = ("u".repeat(username), "p".repeat(password));
            let read = format!("{scheme}://{username}:{password}@h.example:1").parse::<Endpoint>();
            read.map(|endpoint| endpoint.credentials.unwrap().password.expose().len())
                .map_err(|error| error.to_string())
        };
        for scheme in ["http", "https"] {
            assert_eq!(of(scheme, 4_096, 4_096), Ok(4_096));
            for (username, password) in [(4_097, 1), (1, 4_097)] {
                assert!(of(scheme, username, password).unwrap_err().ends_with("of more than 4,096 bytes"));
            }
        }
        for scheme in ["socks4", "socks4a", "socks5", "socks5h"] {
            assert_eq!(of(scheme, 255, 255), Ok(255));
            for (username, password) in [(256, 1), (1, 256)] {
                assert!(of(scheme, username, password).unwrap_err().ends_with("which SOCKS cannot carry"));
            }
        }
        // Which it may become as well.
        let filled =
            |scheme: &str| format!("{scheme}://{}{{session=32}}@h.example:1", "u".repeat(230)).parse::<Endpoint>();
        assert!(filled("http").is_ok() && filled("socks5").is_err());
        let sealed = format!("socks5://u:{SEALED}{}@h.example:1", "p".repeat(400));
        assert!(Endpoint::kept(&sealed).is_ok());
    }

    #[test]
    fn the_password_is_shown_only_on_request() {
        let endpoint = parse("http://user:hunter2@1.2.3.4:8080");
        assert_eq!(endpoint.to_string(), "http://user:***@1.2.3.4:8080");
        assert_eq!(endpoint.to_url(), "http://user:hunter2@1.2.3.4:8080");
        assert!(!format!("{endpoint:?}").contains("hunter2"));
        assert_eq!(endpoint.key().to_string(), "http://user@1.2.3.4:8080");
    }

    #[test]
    fn no_proxy_is_the_way_without_one() {
        assert_eq!(Endpoint::direct().to_string(), "direct");
        assert!(Endpoint::direct().is_direct() && !parse("socks5h://direct").is_direct());
        for text in ["direct", "socks5h://direct:0"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err().to_string();
        assert_eq!(error("http://1.2.3.4:0"), "port 0 is not in 1..65535");
        assert_eq!(error("http://1.2.3.4:70000"), "port 70000 is not in 1..65535");
        assert_eq!(error("http://1.2.3.4:+80"), "port *** is not in 1..65535");
        assert_eq!(error("http://1.2.3.4:8080:me:hunter2"), "port *** is not in 1..65535");
        assert_eq!(
            error("ftp://1.2.3.4:80"),
            "unknown scheme ftp: expected http, https, socks4, socks4a, socks5 or socks5h"
        );
        assert!(error("u:hunter2@ftp://1.2.3.4:80").starts_with("unknown scheme ***"));
        assert_eq!(error("http://a%0d%0ab:c@h.example:1"), "a control character in the user name or password");
        assert_eq!(error("http://h.example:1/path"), "a path, query or fragment after the port");
    }

    proptest! {
        #[test]
        fn any_endpoint_survives_its_url(
            scheme in prop::sample::select(Scheme::ALL.to_vec()),
            octets in any::<[u8; 4]>(),
            port in 1..=u16::MAX,
            credentials in prop::option::of(("[^\\p{Cc}{]{0,20}", "[^\\p{Cc}]{0,20}")),
        ) {
            let credentials = credentials.map(|(u, p)| Box::new(Credentials::new(&u, &p).unwrap()));
            let endpoint = Endpoint { scheme, host: Host::V4(octets.into()), port, credentials, via: None };
            prop_assert_eq!(endpoint.to_url().parse::<Endpoint>().unwrap(), endpoint);
        }

        #[test]
        fn an_endpoint_has_its_own_key_and_no_other(a in 0..ENDPOINTS.len(), b in 0..ENDPOINTS.len()) {
            let (one, other) = (parse(ENDPOINTS[a]), parse(ENDPOINTS[b]));
            prop_assert_eq!(one.has_key(&other.key()), one.key() == other.key());
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            drop(text.parse::<Endpoint>());
        }
    }
}
