//! What is kept, as the JSON objects of both kinds of file.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proxywhirl_core::candidate::Country;
use proxywhirl_core::endpoint::{Credentials, Endpoint};
use proxywhirl_core::kv::KeyRecord;
use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::store::{StoredMember, StoredSession};
use proxywhirl_core::tag::{Tag, Tags};
use proxywhirl_core::time::{Timestamp, micros};
use proxywhirl_core::verdict::Anonymity;
use proxywhirl_core::{EndpointKey, MemberId, Secret};
use serde::{Deserialize, Serialize};

/// The tag that says which source named a member first of all.
const SOURCE: &str = "source:";

/// A member. Everything but the URL may be absent, so that people can write one by hand.
#[derive(Serialize, Deserialize)]
pub(crate) struct MemberRow {
    /// For other programs; it follows from the URL.
    #[serde(default, skip_deserializing)]
    id: String,
    /// Without credentials; of a chain, the hops with arrows between, and with all of their credentials.
    url: String,
    #[serde(default)]
    username: Option<String>,
    #[serde(default, serialize_with = "exposed")]
    password: Option<Secret>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    health_status: Option<String>,
    #[serde(default, skip_deserializing)]
    total_requests: u64,
    #[serde(default)]
    total_successes: u64,
    #[serde(default)]
    total_failures: u64,
    #[serde(default)]
    average_response_time_ms: Option<f64>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    country: Option<String>,
    #[serde(default)]
    anonymity: Option<String>,
    #[serde(default)]
    created_at: Time,
    /// The last use, or when it joined.
    #[serde(default, skip_deserializing)]
    updated_at: Time,
    #[serde(default)]
    last_used_at: Option<Time>,
}

impl MemberRow {
    pub(crate) fn new(member: &StoredMember) -> Self {
        let StoredMember { endpoint, tags, country, anonymity, added, statistics, health } = member;
        let alone = endpoint.credentials.as_deref().filter(|_| endpoint.via.is_none());
        let bare = Endpoint { credentials: None, ..endpoint.clone() };
        Self {
            id: hexadecimal(MemberId::of(&endpoint.key()).0),
            url: if alone.is_some() { bare.to_url() } else { endpoint.to_url() },
            username: alone.map(|credentials| credentials.username.to_string()),
            password: alone.map(|credentials| credentials.password.clone()),
            source: tags.iter().find_map(|tag| tag.as_str().strip_prefix(SOURCE)).map(str::to_owned),
            health_status: Some(health.as_str().to_owned()),
            total_requests: statistics.successes.saturating_add(statistics.failures),
            total_successes: statistics.successes,
            total_failures: statistics.failures,
            average_response_time_ms: statistics.latency.map(milliseconds),
            tags: tags.iter().map(ToString::to_string).collect(),
            country: country.map(|country| country.to_string()),
            anonymity: Some(anonymity.as_str().to_owned()),
            created_at: Time(*added),
            updated_at: Time(statistics.last_used.max(*added)),
            last_used_at: Some(Time(statistics.last_used)).filter(|time| time.0 != Timestamp::default()),
        }
    }
}

/// Some of what a row says, as it is written.
pub(crate) struct Said {
    pub(crate) source: Option<String>,
    pub(crate) latency: Option<String>,
    pub(crate) created: String,
    pub(crate) used: Option<String>,
}

impl MemberRow {
    /// The same, whose URL is this text.
    pub(crate) fn at(self, url: String) -> Self {
        Self { url, ..self }
    }

    /// What of it stands in cells of a table as it stands here.
    pub(crate) fn said(&self) -> Said {
        Said {
            source: self.source.clone(),
            latency: self.average_response_time_ms.map(|latency| latency.to_string()),
            created: self.created_at.to_string(),
            used: self.last_used_at.map(|time| time.to_string()),
        }
    }
}

impl TryFrom<MemberRow> for StoredMember {
    type Error = String;

    /// The member, or why it is none; the reason has no password in it.
    fn try_from(row: MemberRow) -> Result<Self, String> {
        let mut endpoint: Endpoint = Endpoint::kept(&row.url).map_err(text)?;
        let password = row.password.as_ref().map(Secret::expose).filter(|password| !password.is_empty());
        let of_url = endpoint.credentials.as_deref().filter(|own| password.is_some() && own.password.is_empty());
        let username = row.username.as_deref().or_else(|| of_url.map(|own| &*own.username));
        match (username, password) {
            (Some(username), password) => {
                let credentials = Credentials::kept(username, password.unwrap_or_default()).map_err(text)?;
                credentials.fit(endpoint.scheme).map_err(text)?;
                endpoint.credentials = Some(Box::new(credentials));
            }
            // Nobody could log in with it.
            (None, Some(_)) if endpoint.credentials.is_none() => {
                return Err("a password without a username".to_owned());
            }
            (None, _) => {}
        }
        let mut tags: Tags = row.tags.iter().map(|tag| tag.parse::<Tag>()).collect::<Result<_, _>>().map_err(text)?;
        if let Some(source) = &row.source {
            tags.insert(format!("{SOURCE}{source}").parse().map_err(text)?);
        }
        Ok(Self {
            endpoint,
            tags,
            country: row.country.map(|country| country.parse::<Country>()).transpose().map_err(text)?,
            anonymity: Anonymity::from_word(row.anonymity.as_deref().unwrap_or_default()),
            added: row.created_at.0,
            statistics: Statistics {
                successes: row.total_successes,
                failures: row.total_failures,
                latency: row.average_response_time_ms.map(latency).transpose()?,
                last_used: row.last_used_at.unwrap_or_default().0,
            },
            health: Health::from_word(row.health_status.as_deref().unwrap_or_default()),
        })
    }
}

/// Why JSON is not what it is to be, without the value that stands there, which may be a password, and without the line.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line").map_or(text.as_str(), |(text, _)| text);
    // `invalid type: integer 5, expected a string`
    match text.split_once(", expected ").filter(|_| error.is_data()) {
        Some((_, wanted)) => unlike(wanted),
        None => text.to_owned(),
    }
}

/// That something is not what is wanted, as the deserialiser names that: of an object it names our type.
pub(crate) fn unlike(wanted: &str) -> String {
    if wanted.starts_with("struct ") { "not an object".to_owned() } else { format!("a field is not {wanted}") }
}

/// A password as the file holds it.
fn exposed<S: serde::Serializer>(password: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    password.as_ref().map(Secret::expose).serialize(serializer)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Milliseconds with the microseconds behind the point.
fn milliseconds(latency: Duration) -> f64 {
    // A number of microseconds that a double cannot hold is 285 years.
    #[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^53 microseconds")]
    let micros = micros(latency) as f64;
    micros / 1_000.0
}

fn latency(milliseconds: f64) -> Result<Duration, String> {
    let micros = (milliseconds * 1_000.0).round();
    Duration::try_from_secs_f64(micros / 1_000_000.0)
        .map(|latency| Duration::from_micros(micros_rounded(latency)))
        .map_err(|_| "average_response_time_ms is no time that can be".to_owned())
}

/// What is left of the way through a double: whole microseconds again.
fn micros_rounded(latency: Duration) -> u64 {
    micros(latency + Duration::from_nanos(500))
}

/// A session.
#[derive(Serialize, Deserialize)]
pub(super) struct SessionRow {
    session: Hexadecimal,
    member: Hexadecimal,
    began: Time,
    used: Time,
    life: u32,
}

impl From<&StoredSession> for SessionRow {
    fn from(session: &StoredSession) -> Self {
        Self {
            session: Hexadecimal(session.session),
            member: Hexadecimal(session.member.0),
            began: Time(session.began),
            used: Time(session.used),
            life: session.life,
        }
    }
}

impl From<SessionRow> for StoredSession {
    fn from(row: SessionRow) -> Self {
        Self {
            session: row.session.0,
            member: MemberId(row.member.0),
            began: row.began.0,
            used: row.used.0,
            life: row.life,
        }
    }
}

/// A key of a plugin and what it holds; without a value, what it held is gone. Without a key: the owner's newest version.
#[derive(Serialize, Deserialize)]
pub(super) struct KeyRow {
    owner: String,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// In base64: any bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Time>,
}

impl From<KeyRecord> for KeyRow {
    fn from(record: KeyRecord) -> Self {
        Self {
            owner: record.owner,
            version: record.version,
            key: record.key,
            value: record.value.map(|value| STANDARD.encode(value)),
            expires: record.expires.map(Time),
        }
    }
}

impl TryFrom<KeyRow> for KeyRecord {
    type Error = String;

    fn try_from(row: KeyRow) -> Result<Self, String> {
        let value = row.value.map(|value| STANDARD.decode(value)).transpose();
        Ok(Self {
            owner: row.owner,
            version: row.version,
            key: row.key,
            value: value.map_err(|error| format!("value of a key: {error}"))?,
            expires: row.expires.map(|time| time.0),
        })
    }
}

/// A key as text, and back.
pub(crate) fn key(text: &str) -> Result<EndpointKey, String> {
    text.parse::<Endpoint>().map(|endpoint| endpoint.key()).map_err(|error| error.to_string())
}

fn hexadecimal(number: u64) -> String {
    format!("{number:016x}")
}

/// A number of 64 bits as text: a JSON number is a double to most who read it.
#[derive(Clone, Copy)]
pub(super) struct Hexadecimal(pub(super) u64);

impl Serialize for Hexadecimal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hexadecimal(self.0))
    }
}

impl<'de> Deserialize<'de> for Hexadecimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A time as RFC 3339 writes it, in UTC with microseconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Time(pub(super) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last instant that RFC 3339 can write is the end of the year 9999.
        const LAST: Duration = Duration::from_micros(253_402_300_799_999_999);
        let since_epoch = Duration::from_micros(self.0.as_micros()).min(LAST);
        humantime::format_rfc3339_micros(SystemTime::UNIX_EPOCH + since_epoch).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = String::deserialize(deserializer)?;
        // What Python writes for UTC.
        let text = written.strip_suffix("+00:00").unwrap_or(&written);
        let wrong = |error| serde::de::Error::custom(format!("{written:?} is no time: {error}"));
        let time = humantime::parse_rfc3339_weak(text).map_err(wrong)?;
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Self(Timestamp::from_micros(micros(since_epoch))))
    }
}
