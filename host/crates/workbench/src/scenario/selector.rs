//! Who is meant, in a scenario.

use std::fmt;

use proxywhirl_core::{Country, Scheme};
use serde::{Deserialize, Deserializer};

use super::cast::Player;

/// Words that stand for members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Selector {
    /// `*`: all that were ever there.
    All,
    /// One member, or all that were written in one entry.
    Name(String),
    /// `tag:TEXT`.
    Tag(String),
    /// `country:DE`.
    Country(Country),
    /// `scheme:socks5`.
    Scheme(Scheme),
}

impl Selector {
    /// Whether a member is meant.
    pub(super) fn picks(&self, player: &Player) -> bool {
        match self {
            Self::All => true,
            Self::Name(name) => player.name == *name || player.group == *name,
            Self::Tag(tag) => player.candidate.tags.contains(tag),
            Self::Country(country) => player.candidate.country == Some(*country),
            Self::Scheme(scheme) => player.candidate.endpoint.scheme == *scheme,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Country(country) => write!(f, "country:{country}"),
            Self::Scheme(scheme) => write!(f, "scheme:{scheme}"),
        }
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        let wrong = |error: &dyn fmt::Display| serde::de::Error::custom(format!("selector {text:?}: {error}"));
        match text.split_once(':') {
            None if text == "*" => Ok(Self::All),
            None => Ok(Self::Name(text)),
            Some(("tag", tag)) => Ok(Self::Tag(tag.to_owned())),
            Some(("country", country)) => country.parse().map(Self::Country).map_err(|error| wrong(&error)),
            Some(("scheme", scheme)) => scheme.parse().map(Self::Scheme).map_err(|error| wrong(&error)),
            Some(_) => Err(wrong(&"begins with none of `tag:`, `country:` and `scheme:`")),
        }
    }
}

/// Several selectors as people read them.
pub(super) fn listed(selectors: &[Selector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
