//! Who passes a line's filters.

use proxywhirl_plugin_sdk::strategy::Member;
use proxywhirl_plugin_sdk::{Anonymity, Scheme, Symbol, country, duration, symbols, words};
use serde::Deserialize;
use std::time::Duration;

/// One text, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn iter(&self) -> std::slice::Iter<'_, String> {
        match self {
            Self::One(text) => std::slice::from_ref(text).iter(),
            Self::Many(texts) => texts.iter(),
        }
    }
}

/// The least anonymity that a line wants.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AtLeast {
    Transparent,
    Anonymous,
    Elite,
}

/// What users write.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Written {
    tag: Option<Texts>,
    not_tag: Option<Texts>,
    country: Option<Texts>,
    not_country: Option<Texts>,
    scheme: Option<Texts>,
    anonymity: Option<AtLeast>,
    #[serde(deserialize_with = "duration::read_optional")]
    max_latency: Option<Duration>,
    min_success: Option<f64>,
    min_tries: Option<u64>,
    max_tries: Option<u64>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Tag(Vec<Symbol>),
    NotTag(Vec<Symbol>),
    Country(Vec<Symbol>),
    NotCountry(Vec<Symbol>),
    Scheme(Vec<Scheme>),
    Anonymity(u8),
    /// In microseconds.
    MaxLatency(u32),
    MinSuccess(f64),
    MinTries(u64),
    MaxTries(u64),
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter(Vec<Condition>);

impl Filter {
    /// The conditions of a line.
    pub(crate) fn new(written: &Written) -> Result<Self, String> {
        let mut conditions = Vec::new();
        let mut add = |condition: Option<Condition>| conditions.extend(condition);
        add(texts("tag", written.tag.as_ref(), tag)?.map(Condition::Tag));
        add(texts("not_tag", written.not_tag.as_ref(), tag)?.map(Condition::NotTag));
        add(texts("country", written.country.as_ref(), country)?.map(Condition::Country));
        add(texts("not_country", written.not_country.as_ref(), country)?.map(Condition::NotCountry));
        add(texts("scheme", written.scheme.as_ref(), scheme)?.map(Condition::Scheme));
        add(written.anonymity.map(|least| Condition::Anonymity(least as u8 + 1)));
        add(written.max_latency.map(|most| Condition::MaxLatency(u32::try_from(most.as_micros()).unwrap_or(u32::MAX))));
        add(written.min_success.map(share).transpose()?.map(Condition::MinSuccess));
        add(written.min_tries.map(Condition::MinTries));
        add(written.max_tries.map(Condition::MaxTries));
        if let (Some(least), Some(most)) = (written.min_tries, written.max_tries)
            && least > most
        {
            return Err(format!("min_tries: {least} is more than max_tries, {most}: nobody would pass"));
        }
        Ok(Self(conditions))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether who passes depends on how uses went.
    pub(crate) fn follows_uses(&self) -> bool {
        self.0.iter().any(|condition| match condition {
            Condition::MaxLatency(_) | Condition::MinSuccess(_) | Condition::MinTries(_) | Condition::MaxTries(_) => {
                true
            }
            Condition::Tag(_)
            | Condition::NotTag(_)
            | Condition::Country(_)
            | Condition::NotCountry(_)
            | Condition::Scheme(_)
            | Condition::Anonymity(_) => false,
        })
    }

    pub(crate) fn admits(&self, member: &Member) -> bool {
        self.0.iter().all(|condition| condition.holds(member))
    }
}

impl Condition {
    fn holds(&self, member: &Member) -> bool {
        let tries = member.successes.saturating_add(member.failures);
        let tagged = |wanted: &[Symbol]| member.tags.iter().any(|tag| wanted.contains(tag));
        match self {
            Self::Tag(wanted) => tagged(wanted),
            Self::NotTag(unwanted) => !tagged(unwanted),
            Self::Country(wanted) => wanted.contains(&member.country),
            Self::NotCountry(unwanted) => !unwanted.contains(&member.country),
            Self::Scheme(wanted) => wanted.contains(&member.scheme),
            Self::Anonymity(least) => rank(member.anonymity) >= *least,
            // Nothing is known against a member that was never tried; 0 stands for no measurement.
            Self::MaxLatency(most) => tries == 0 || (member.latency > 0 && member.latency <= *most),
            Self::MinSuccess(least) => tries == 0 || member.successes as f64 >= least * tries as f64,
            Self::MinTries(least) => tries >= *least,
            Self::MaxTries(most) => tries <= *most,
        }
    }
}

/// How much a member hides; 0 when that is not known.
const fn rank(anonymity: Anonymity) -> u8 {
    match anonymity {
        Anonymity::Unknown | Anonymity::Other => 0,
        Anonymity::Transparent => 1,
        Anonymity::Anonymous => 2,
        Anonymity::Elite => 3,
    }
}

fn texts<T>(field: &str, texts: Option<&Texts>, read: fn(&str) -> Result<T, String>) -> Result<Option<Vec<T>>, String> {
    let Some(texts) = texts else { return Ok(None) };
    let values: Result<Vec<T>, String> = texts.iter().map(|text| read(text)).collect();
    match values {
        Ok(values) if values.is_empty() => Err(format!("{field}: none given: nobody would pass")),
        Ok(values) => Ok(Some(values)),
        Err(error) => Err(format!("{field}: {error}")),
    }
}

/// The symbol of a tag. Without one, a filter would mean something else.
pub(crate) fn tag(text: &str) -> Result<Symbol, String> {
    match symbols::intern(text) {
        0 => Err(format!("{text:?}: the host has no room for another text")),
        symbol => Ok(symbol),
    }
}

fn country(text: &str) -> Result<Symbol, String> {
    let code = country::code(text).ok_or_else(|| format!("{text:?} is not a country code such as DE"))?;
    tag(&String::from_utf8_lossy(&code))
}

fn scheme(text: &str) -> Result<Scheme, String> {
    words::scheme(text).ok_or_else(|| format!("{text:?} is not a scheme such as socks5"))
}

fn share(share: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("min_success: {share} is not from 0 to 1")) }
}
