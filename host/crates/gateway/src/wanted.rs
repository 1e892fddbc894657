//! What a request wants of its upstream, as its client says it: which session it belongs to, which country and which tags
//! the upstream must have.
//!
//! A client says it by fields, `ProxyWhirl-Session`, `ProxyWhirl-Country` and `ProxyWhirl-Tag`, or by the user name with
//! which it speaks to the gateway, for clients that let one set nothing else: `base[-key-value]…`, as in
//! `anna-session-7-country-de`. Several values are divided by commas. A key that nobody knows is an error that names it:
//! whoever mistypes `country` must not be sent through just any. The password is not looked at.
//!
//! Pure: text in, wishes or the words for the client out. A request that says nothing of this costs one look at its names.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proxywhirl_core::member::mix;
use proxywhirl_core::select::Filter;
use proxywhirl_core::{Anonymity, Country, Tag};
use proxywhirl_net::http1::Headers;

/// What every field that is meant for the gateway begins with.
const PREFIX: &str = "proxywhirl-";

/// The field with the client's name and password (RFC 9110 §11.7.2).
const CREDENTIALS: &str = "proxy-authorization";

/// The longest name of a session: longer ones say nothing more, and are hashed all the same.
const MAX_SESSION: usize = 256;

/// The most values of a request: what a client may make the gateway keep.
const MAX_VALUES: usize = 64;

/// What a request wants of its upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Hash of its session's name.
    pub session: Option<u64>,
    /// The members that it may use, if not all.
    pub filter: Option<Arc<Filter>>,
}

/// Why what a client wants cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// In the user name.
    User(String),
    /// In a field.
    Field(String),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::User(why) | Self::Field(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Mistake {}

impl Wanted {
    /// Reads a user name.
    ///
    /// # Errors
    /// When it has a key that nobody knows, or a value that cannot be; the key is named.
    pub fn by_user(name: &str) -> Result<Self, Mistake> {
        let mut draft = Draft::default();
        draft.read_user(name).map_err(Mistake::User)?;
        Ok(draft.finish())
    }

    /// Reads the fields of a request, and takes those off that are meant for the gateway.
    ///
    /// # Errors
    /// When one has a name that nobody knows, or a value that cannot be; it is named.
    pub(crate) fn by_fields(headers: &mut Headers) -> Result<Self, Mistake> {
        if !headers.iter().any(|(name, _)| is_ours(name)) {
            return Ok(Self::default());
        }
        let mut draft = Draft::default();
        if let Some(credentials) = headers.get(CREDENTIALS) {
            let user = basic_user(credentials).map_err(Mistake::User)?;
            draft.read_user(&user).map_err(Mistake::User)?;
        }
        // What a field says is said for this request, a user name for a whole client: the field goes first.
        let mut fields = Draft::default();
        for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(CREDENTIALS)) {
            let Some(key) = strip_prefix(name) else { continue };
            let value =
                std::str::from_utf8(value).map_err(|_| Mistake::Field(format!("the field {name} is not UTF-8")))?;
            fields.read(key, value).map_err(|why| Mistake::Field(format!("the field {name}: {why}")))?;
        }
        let names: Vec<String> =
            headers.iter().filter(|(name, _)| is_ours(name)).map(|(name, _)| name.to_owned()).collect();
        for name in names {
            headers.remove(&name);
        }
        Ok(draft.overlaid_by(fields).finish())
    }
}

/// The hash under which a session's name is known to strategies and to the store: FNV-1a over the name, and the finalizer
/// of `SplitMix64`, which spreads it over all bits. Never 0, which stands for none.
#[must_use]
pub fn session_hash(name: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash).max(1)
}

/// What was read so far.
#[derive(Debug, Default)]
struct Draft {
    session: Option<u64>,
    countries: Vec<Country>,
    tags: Vec<Tag>,
}

impl Draft {
    fn read_user(&mut self, name: &str) -> Result<(), String> {
        let mut words = name.split('-').skip(1);
        while let Some(key) = words.next() {
            let whole = || format!("the proxy user name has the key {}", shown(key));
            let value = words.next().ok_or_else(|| format!("{} without a value", whole()))?;
            self.read(key, value).map_err(|why| format!("{}: {why}", whole()))?;
        }
        Ok(())
    }

    fn read(&mut self, key: &str, value: &str) -> Result<(), String> {
        let is = |names: &[&str]| names.iter().any(|name| key.eq_ignore_ascii_case(name));
        if is(&["session", "sessid", "sid", "sessionid"]) {
            self.read_session(value)
        } else if is(&["country", "cc"]) {
            values(value).try_for_each(|code| {
                let country: Country = code.parse().map_err(|error| format!("{}: {error}", shown(code)))?;
                push(&mut self.countries, country)
            })
        } else if is(&["tag"]) {
            values(value).try_for_each(|tag| push(&mut self.tags, tag.parse().map_err(|error| format!("{error}"))?))
        } else {
            Err("nobody knows it; there are session, country and tag".to_owned())
        }
    }

    fn read_session(&mut self, name: &str) -> Result<(), String> {
        let name = name.trim();
        if name.is_empty() || name.len() > MAX_SESSION {
            return Err(format!("a session's name has 1 to {MAX_SESSION} bytes"));
        }
        let hash = session_hash(name);
        if self.session.is_some_and(|other| other != hash) {
            return Err("a request belongs to one session".to_owned());
        }
        self.session = Some(hash);
        Ok(())
    }

    fn overlaid_by(self, other: Self) -> Self {
        let either = |own: Vec<_>, other: Vec<_>| if other.is_empty() { own } else { other };
        Self {
            session: other.session.or(self.session),
            countries: either(self.countries, other.countries),
            tags: if other.tags.is_empty() { self.tags } else { other.tags },
        }
    }

    fn finish(self) -> Wanted {
        let Self { session, countries, tags } = self;
        let filter = Filter::new(countries, tags, [], Anonymity::Unknown);
        Wanted { session, filter: (!filter.is_empty()).then(|| Arc::new(filter)) }
    }
}

/// The user name of `Basic` credentials (RFC 7617).
fn basic_user(credentials: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(credentials).map_err(|_| "the proxy credentials are not UTF-8".to_owned())?;
    let (scheme, encoded) = text.trim().split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(format!("proxy credentials of the scheme {}: the gateway reads Basic", shown(scheme)));
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| "the proxy credentials are not base64".to_owned())?;
    let decoded = String::from_utf8(decoded).map_err(|_| "the proxy user name is not UTF-8".to_owned())?;
    Ok(decoded.split_once(':').map_or(decoded.as_str(), |(user, _)| user).to_owned())
}

fn values(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|value| !value.is_empty())
}

fn push<T>(list: &mut Vec<T>, value: T) -> Result<(), String> {
    if list.len() >= MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    list.push(value);
    Ok(())
}

fn is_ours(name: &str) -> bool {
    strip_prefix(name).is_some() || name.eq_ignore_ascii_case(CREDENTIALS)
}

/// The name of a field without what all of ours begin with.
fn strip_prefix(name: &str) -> Option<&str> {
    let (prefix, key) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(key)
}

/// What a client wrote, bounded and in quotes.
fn shown(text: &str) -> String {
    format!("{:?}", crate::ingress::excerpt(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
