//! A member as a row, and back.

use std::time::Duration;

use proxywhirl_core::candidate::Country;
use proxywhirl_core::endpoint::{Credentials, Endpoint, EndpointKey, Scheme};
use proxywhirl_core::host::Host;
use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::secret::Zeroizing;
use proxywhirl_core::store::StoredMember;
use proxywhirl_core::tag::{Tag, Tags};
use proxywhirl_core::time::{Timestamp, micros};
use proxywhirl_core::verdict::Anonymity;
use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Row, params};

use super::counted::Counts;
use super::members::fingerprint;

/// The row of a key: scheme, host, port, user name, and the key of the hops before.
macro_rules! of_key {
    () => {
        "WHERE scheme = ?1 AND host = ?2 AND port = ?3
  AND ifnull(username, '') = ifnull(?4, '') AND (username IS NULL) = (?4 IS NULL) AND via_key = ?5"
    };
}

pub(super) const SELECT: &str = "
SELECT joined, scheme, host, port, username, password, via, tags, country, anonymity,
       added, successes, failures, latency_us, last_used, health
FROM members WHERE joined > ?1 ORDER BY joined LIMIT ?2";

/// Of counts, what was added since this process has read or written the row: another one may have added its own.
pub(super) const UPSERT: &str = "
INSERT INTO members (scheme, host, port, username, via_key, tags, country, anonymity,
                     added, successes, failures, latency_us, last_used, health, password, via)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?16, ?17, ?18)
ON CONFLICT (scheme, host, port, ifnull(username, ''), username IS NULL, via_key) DO UPDATE SET
    password = excluded.password, via = excluded.via, tags = excluded.tags, country = excluded.country,
    anonymity = excluded.anonymity, added = excluded.added,
    successes = max(0, successes + excluded.successes - ?14), failures = max(0, failures + excluded.failures - ?15),
    latency_us = excluded.latency_us, last_used = max(last_used, excluded.last_used), health = excluded.health";

/// The same of a row that is there, whose login stays. Tags are only ever added, so those that another process has given it stay, too,
/// and a place that it has found out.
pub(super) const UPDATE: &str = concat!(
    "
UPDATE members SET
    tags = CASE WHEN tags = ?6 OR NOT json_valid(tags) THEN ?6 ELSE (
        SELECT json_group_array(value) FROM (SELECT value FROM json_each(members.tags) UNION SELECT value FROM json_each(?6))
    ) END,
    country = ifnull(?7, country), anonymity = CASE ?8 WHEN 'unknown' THEN anonymity ELSE ?8 END, added = min(added, ?9),
    successes = max(0, successes + ?10 - ?14), failures = max(0, failures + ?11 - ?15),
    latency_us = ?12, last_used = max(last_used, ?13), health = ?16
",
    of_key!()
);

pub(super) const SELECT_LOGIN: &str = concat!(
    "
SELECT password, via FROM members
",
    of_key!()
);

pub(super) const UPDATE_LOGIN: &str = concat!(
    "
UPDATE members SET password = ?6, via = ?7
",
    of_key!()
);

/// Takes tags away, which an [`UPDATE`] would leave.
pub(super) const UNTAG: &str = concat!(
    "
UPDATE members SET tags = (
    SELECT json_group_array(value) FROM json_each(members.tags) WHERE value NOT IN (SELECT value FROM json_each(?6))
)
",
    of_key!(),
    " AND json_valid(tags)"
);

pub(super) const DELETE: &str = concat!(
    "
DELETE FROM members
",
    of_key!()
);

/// Writes a member, of which so much was counted when the row was read or written last.
pub(super) fn upsert(
    statement: &mut CachedStatement<'_>,
    member: &StoredMember,
    before: Counts,
) -> rusqlite::Result<()> {
    bind(statement, member, before)?;
    let endpoint = &member.endpoint;
    let password = endpoint.credentials.as_deref().map(|credentials| credentials.password.expose());
    statement.raw_bind_parameter(17, password)?;
    statement.raw_bind_parameter(18, endpoint.via.as_deref().map(Endpoint::to_url))?;
    statement.raw_execute().map(drop)
}

/// Changes the row of a member, of which so much was counted when it was read or written last; whether it is there.
pub(super) fn update(
    statement: &mut CachedStatement<'_>,
    member: &StoredMember,
    before: Counts,
) -> rusqlite::Result<bool> {
    bind(statement, member, before)?;
    Ok(statement.raw_execute()? > 0)
}

/// What both of them write: a row but for its login.
fn bind(statement: &mut CachedStatement<'_>, member: &StoredMember, before: Counts) -> rusqlite::Result<()> {
    let StoredMember { endpoint, tags, country, anonymity, added, statistics, health } = member;
    let values = params![
        endpoint.scheme.as_str(),
        host_text(&endpoint.host),
        endpoint.port,
        username(endpoint),
        via_key_of(endpoint),
        tags_json(tags),
        country.as_ref().map(Country::as_str),
        anonymity.as_str(),
        integer(added.as_micros()),
        integer(statistics.successes),
        integer(statistics.failures),
        statistics.latency.map(|latency| integer(micros(latency))),
        integer(statistics.last_used.as_micros()),
        integer(before.successes),
        integer(before.failures),
        health.as_str(),
    ];
    values.iter().zip(1..).try_for_each(|(value, place)| statement.raw_bind_parameter(place, value))
}

/// The fingerprint of the login in the row of a member.
pub(super) fn login(statement: &mut CachedStatement<'_>, member: &StoredMember) -> rusqlite::Result<Option<u64>> {
    let Endpoint { scheme, host, port, .. } = &member.endpoint;
    let (username, via) = (username(&member.endpoint), via_key_of(&member.endpoint));
    statement.query_row(params![scheme.as_str(), host_text(host), port, username, via], |row| {
        let password = row.get::<_, Option<String>>(0)?.map(Zeroizing::new);
        let via = row.get::<_, Option<String>>(1)?.map(Zeroizing::new);
        let password = password.as_deref().map_or("", String::as_str);
        Ok(fingerprint(password, via.as_deref().map(String::as_str)))
    })
}

/// Puts the login of a member into its row.
pub(super) fn update_login(statement: &mut CachedStatement<'_>, member: &StoredMember) -> rusqlite::Result<()> {
    let Endpoint { scheme, host, port, credentials, via } = &member.endpoint;
    statement.execute(params![
        scheme.as_str(),
        host_text(host),
        port,
        username(&member.endpoint),
        via_key_of(&member.endpoint),
        credentials.as_deref().map(|credentials| credentials.password.expose()),
        via.as_deref().map(Endpoint::to_url),
    ])?;
    Ok(())
}

fn username(endpoint: &Endpoint) -> Option<&str> {
    endpoint.credentials.as_deref().map(|credentials| &*credentials.username)
}

fn via_key_of(endpoint: &Endpoint) -> String {
    via_key(endpoint.via.as_deref().map(Endpoint::key).as_ref())
}

pub(super) fn delete(statement: &mut CachedStatement<'_>, key: &EndpointKey) -> rusqlite::Result<()> {
    let via = via_key(key.via.as_deref());
    statement.execute(params![key.scheme.as_str(), host_text(&key.host), key.port, key.username.as_deref(), via])?;
    Ok(())
}

/// Takes tags from the row of a key.
pub(super) fn untag(statement: &mut CachedStatement<'_>, key: &EndpointKey, tags: &Tags) -> rusqlite::Result<()> {
    let (via, tags) = (via_key(key.via.as_deref()), tags_json(tags));
    statement.execute(params![
        key.scheme.as_str(),
        host_text(&key.host),
        key.port,
        key.username.as_deref(),
        via,
        tags
    ])?;
    Ok(())
}

/// What tells the hops before a member from others; empty when there are none.
fn via_key(via: Option<&EndpointKey>) -> String {
    via.map_or_else(String::new, ToString::to_string)
}

/// The member in a row of [`SELECT`], or why it holds none; the reason has no password in it.
pub(super) fn read(row: &Row<'_>) -> Result<StoredMember, String> {
    let scheme: Scheme = column::<String>(row, "scheme")?.parse().map_err(text)?;
    let host: String = column(row, "host")?;
    let port: u16 = column(row, "port")?;
    if port == 0 {
        return Err("port 0 is not in 1..65535".to_owned());
    }
    let country: Option<String> = column(row, "country")?;
    let via: Option<String> = column(row, "via")?;
    Ok(StoredMember {
        endpoint: Endpoint {
            scheme,
            host: host.parse::<Host>().map_err(text)?,
            port,
            credentials: credentials(row, scheme)?.map(Box::new),
            via: via.map(|via| Endpoint::kept(&via).map(Box::new)).transpose().map_err(text)?,
        },
        tags: tags(&column::<String>(row, "tags")?)?,
        country: country.map(|country| country.parse()).transpose().map_err(text)?,
        anonymity: Anonymity::from_word(&column::<String>(row, "anonymity")?),
        added: time(row, "added")?,
        statistics: Statistics {
            successes: count(row, "successes")?,
            failures: count(row, "failures")?,
            latency: column::<Option<i64>>(row, "latency_us")?.map(unsigned).transpose()?.map(Duration::from_micros),
            last_used: time(row, "last_used")?,
        },
        health: Health::from_word(&column::<String>(row, "health")?),
    })
}

fn credentials(row: &Row<'_>, scheme: Scheme) -> Result<Option<Credentials>, String> {
    let username: Option<String> = column(row, "username")?;
    let password = column::<Option<String>>(row, "password")?.map(Zeroizing::new);
    let Some(username) = username else { return Ok(None) };
    let credentials = Credentials::kept(&username, password.as_deref().map_or("", String::as_str)).map_err(text)?;
    credentials.fit(scheme).map_err(text)?;
    Ok(Some(credentials))
}

fn tags(json: &str) -> Result<Tags, String> {
    let words: Vec<String> = serde_json::from_str(json).map_err(|error| format!("tags: {error}"))?;
    words.iter().map(|word| word.parse::<Tag>().map_err(text)).collect()
}

fn tags_json(tags: &Tags) -> String {
    let words: Vec<_> = tags.iter().map(|tag| serde_json::Value::from(tag.as_str())).collect();
    serde_json::Value::Array(words).to_string()
}

/// The host without brackets, as people look for it in the table.
fn host_text(host: &Host) -> String {
    let text = host.to_string();
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).map(str::to_owned).unwrap_or(text)
}

fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, String> {
    row.get(name).map_err(|error| format!("column {name}: {error}"))
}

fn count(row: &Row<'_>, name: &str) -> Result<u64, String> {
    unsigned(column(row, name)?)
}

fn time(row: &Row<'_>, name: &str) -> Result<Timestamp, String> {
    Ok(Timestamp::from_micros(count(row, name)?))
}

fn unsigned(number: i64) -> Result<u64, String> {
    u64::try_from(number).map_err(|_| format!("{number} is negative"))
}

/// A number that this program wrote; 0 when somebody else made it negative.
pub(super) fn natural(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
}

/// SQLite's integers have a sign; what does not fit is 292,000 years away.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
