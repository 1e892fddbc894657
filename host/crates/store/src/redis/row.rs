//! What is kept of a member and of a session, as the texts that the server holds, and back.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use proxywhirl_core::MemberId;
use proxywhirl_core::candidate::Country;
use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::store::{BanPlace, StoredBan, StoredMember, StoredSession};
use proxywhirl_core::tag::Tag;
use proxywhirl_core::time::{Timestamp, micros};
use proxywhirl_core::verdict::Anonymity;
use serde::{Deserialize, Serialize};

/// The largest number that the server's scripts count without loss: their numbers are doubles.
pub(super) const MOST: u64 = (1 << 53) - 1;

/// What is known of a member, but how its uses went. Written on one line.
#[derive(Serialize, Deserialize)]
struct Row {
    /// With all passwords; of a chain, the hops with arrows between.
    url: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(default)]
    anonymity: String,
    /// Microseconds since the Unix epoch.
    #[serde(default)]
    added: u64,
}

/// The row of a member.
pub(super) fn write(member: &StoredMember) -> String {
    let row = Row {
        url: member.endpoint.to_url(),
        tags: member.tags.iter().map(ToString::to_string).collect(),
        country: member.country.map(|country| country.to_string()),
        anonymity: member.anonymity.as_str().to_owned(),
        added: member.added.as_micros(),
    };
    // Texts and numbers alone: there is nothing that cannot be written.
    serde_json::to_string(&row).unwrap_or_default()
}

/// The member of a row, or why it is none; the reason has no password in it.
pub(super) fn read(row: &[u8], statistics: Option<&[u8]>) -> Result<StoredMember, String> {
    // What serde_json says of a text may quote it.
    let row: Row = serde_json::from_slice(row)
        .map_err(|error| format!("no JSON of a member, line {} column {}", error.line(), error.column()))?;
    let (statistics, health) = statistics.map(read_statistics).unwrap_or_default();
    Ok(StoredMember {
        endpoint: Endpoint::kept(&row.url).map_err(text)?,
        tags: row.tags.iter().map(|tag| tag.parse::<Tag>()).collect::<Result<_, _>>().map_err(text)?,
        country: row.country.map(|country| country.parse::<Country>()).transpose().map_err(text)?,
        anonymity: Anonymity::from_word(&row.anonymity),
        added: Timestamp::from_micros(row.added),
        statistics,
        health,
    })
}

/// What tells rows apart, to know whether the one that is kept is the one that would be written: by the URL, in which the password is,
/// and by the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    url: u64,
    rest: u64,
}

impl Fingerprint {
    /// That of a row that was written here.
    pub(super) fn of(row: &str) -> Self {
        // No URL has a quote in it: they are percent-encoded.
        let (url, rest) = row.strip_prefix(URL).and_then(|row| row.split_once('"')).unwrap_or((row, ""));
        Self { url: number(url), rest: number(rest) }
    }

    /// What is the same in both, in the script's words.
    pub(super) fn what_stays(self, other: Self) -> &'static str {
        match (self.url == other.url, self.rest == other.rest) {
            (true, true) => "all",
            (true, false) => "url",
            (false, true) => "rest",
            (false, false) => "",
        }
    }
}

/// What a row begins with.
const URL: &str = r#"{"url":""#;

fn number(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// How uses went since, what the server has lost of that, and how the member does: `successes failures lost_successes lost_failures
/// latency last_used health`.
pub(super) fn write_statistics(statistics: &Statistics, counts: [u64; 4], health: Health) -> String {
    let latency = statistics.latency.map_or_else(|| "-".to_owned(), |latency| micros(latency).min(MOST).to_string());
    let used = statistics.last_used.as_micros().min(MOST);
    let [successes, failures, lost, lost_failures] = counts.map(|count| count.min(MOST));
    format!("{successes} {failures} {lost} {lost_failures} {latency} {used} {}", health.as_str())
}

/// Whatever somebody wrote there: what makes no sense is zero.
fn read_statistics(held: &[u8]) -> (Statistics, Health) {
    let held = String::from_utf8_lossy(held);
    let mut words = held.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let statistics = Statistics {
        successes: natural(next()),
        failures: natural(next()),
        latency: next().parse().ok().map(Duration::from_micros),
        last_used: Timestamp::from_micros(natural(next())),
    };
    (statistics, Health::from_word(next()))
}

/// A session: `member began used life`.
pub(super) fn write_session(session: &StoredSession) -> String {
    let StoredSession { member, began, used, life, .. } = session;
    format!("{:016x} {} {} {life}", member.0, began.as_micros(), used.as_micros())
}

/// Who a session is known to be bound to: `member:life`.
pub(super) fn write_known(member: MemberId, life: u32) -> String {
    format!("{:016x}:{life}", member.0)
}

/// The name that a session has there.
pub(super) fn session_name(session: u64) -> String {
    format!("{session:016x}")
}

/// The session of a text; none when it is no session.
pub(super) fn read_session(name: &[u8], held: &[u8]) -> Option<StoredSession> {
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let held = std::str::from_utf8(held).ok()?;
    let mut words = held.split(' ');
    Some(StoredSession {
        session: hexadecimal(std::str::from_utf8(name).ok()?)?,
        member: MemberId(hexadecimal(words.next()?)?),
        began: Timestamp::from_micros(words.next()?.parse().ok()?),
        used: Timestamp::from_micros(words.next()?.parse().ok()?),
        life: words.next()?.parse().ok()?,
    })
}

/// What a ban is about, as the server names it: `member site`.
pub(super) fn ban_name((site, member): &BanPlace) -> String {
    format!("{:016x} {}", member.0, one_line(site))
}

/// A ban: `until rule`.
pub(super) fn write_ban(ban: &StoredBan) -> String {
    format!("{} {}", ban.until.as_micros().min(MOST), one_line(&ban.rule))
}

/// What a ban is about; none when somebody else wrote that.
pub(super) fn read_place(name: &[u8]) -> Option<BanPlace> {
    let (member, site) = std::str::from_utf8(name).ok()?.split_once(' ')?;
    Some((site.to_owned(), MemberId(u64::from_str_radix(member, 16).ok()?)))
}

/// The ban of a text; none when it is no ban.
pub(super) fn read_ban(name: &[u8], held: &[u8]) -> Option<StoredBan> {
    let (site, member) = read_place(name)?;
    let (until, rule) = std::str::from_utf8(held).ok()?.split_once(' ')?;
    Some(StoredBan { site, member, until: Timestamp::from_micros(until.parse().ok()?), rule: rule.into() })
}

/// Lines are what tells one from another there.
fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// A number that may be larger than any: sums of the server's scripts.
fn natural(text: &str) -> u64 {
    text.parse::<u128>().map_or(0, |number| u64::try_from(number).unwrap_or(u64::MAX))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::conformance::member;

    #[test]
    fn a_row_is_one_line_and_comes_back() {
        let mut member = member("socks5://a:b@x.example:1 -> http://us%3Aer:p%22%5C%40@[fe80::1%eth0]:2");
        let statistics = write_statistics(&member.statistics, [7, 3, 2, 1], member.health);
        assert!(!write(&member).contains('\n'));
        assert_eq!(statistics, "7 3 2 1 123456 1750000000000002 degraded");
        let held = b"7 3 123456 1750000000000002 degraded";
        assert_eq!(read(write(&member).as_bytes(), Some(held)).unwrap(), member);
        (member.statistics, member.health) = Default::default();
        assert_eq!(read(write(&member).as_bytes(), None).unwrap(), member);
        let written = write_statistics(&member.statistics, [u64::MAX, 0, 0, 0], member.health);
        assert_eq!(written, "9007199254740991 0 0 0 - 0 unknown");
    }

    #[test]
    fn what_somebody_else_wrote_is_no_member_or_zero_and_shows_no_password() {
        for row in ["", "[]", "{}", r#"{"url":"http://u:hunter2@h h"}"#, r#"{"url":7,"x":"hunter2"}"#, r#"{"hunter2"#] {
            let error = read(row.as_bytes(), None).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let row = br#"{"url":"http://h"}"#;
        for (held, successes) in [("", 0), ("x y", 0), ("-1 2", 0), ("99999999999999999999 2 - -", u64::MAX), ("5", 5)]
        {
            assert_eq!(read(row, Some(held.as_bytes())).unwrap().statistics.successes, successes);
        }
        for held in ["", "x", "ff 1 2", "ff 1 2 -3", "gg 1 2 3"] {
            assert_eq!(read_session(b"00ff", held.as_bytes()), None);
        }
        assert_eq!(read_session(b"\xff", b"ff 1 2 3"), None);
        assert!(read_session(b"00ff", b"ff 1 2 3").is_some());
        for (name, held) in [("", "1 r"), ("ff", "1 r"), ("gg a", "1 r"), ("ff a", "r"), ("ff a", "1"), ("ff a", "x r")]
        {
            assert_eq!(read_ban(name.as_bytes(), held.as_bytes()), None);
        }
        assert_eq!(read_ban(b"ff a b", b"7 r s").unwrap().place(), ("a b".to_owned(), MemberId(255)));
    }
}
