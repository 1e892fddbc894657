//! The members of a pool as they are told: by `pool list`, and over the socket.

use std::time::{Duration, SystemTime};

use proxywhirl_core::Timestamp;
use proxywhirl_core::store::StoredMember;
use proxywhirl_engine::events::milliseconds;
use serde::{Deserialize, Serialize};

/// A member. The fields are part of the interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Its URL, with the password masked where that is not asked for.
    pub url: String,
    /// Its labels.
    pub tags: Vec<String>,
    /// Where it is said to be.
    pub country: Option<String>,
    /// What an origin can tell about the client behind it.
    pub anonymity: String,
    /// Uses that went well.
    pub successes: u64,
    /// Uses that failed.
    pub failures: u64,
    /// The time to the first byte, in milliseconds.
    pub latency_ms: Option<f64>,
    /// In UTC, as RFC 3339 writes it.
    pub added_at: String,
    /// The same; none when it was never used.
    pub last_used_at: Option<String>,
}

impl MemberRow {
    /// A member as it is told.
    #[must_use]
    pub fn new(member: &StoredMember, show_passwords: bool) -> Self {
        let used = member.statistics.last_used;
        Self {
            url: if show_passwords { member.endpoint.to_url() } else { member.endpoint.to_string() },
            tags: member.tags.iter().map(ToString::to_string).collect(),
            country: member.country.map(|country| country.to_string()),
            anonymity: member.anonymity.as_str().to_owned(),
            successes: member.statistics.successes,
            failures: member.statistics.failures,
            latency_ms: member.statistics.latency.map(milliseconds),
            added_at: rfc3339(member.added),
            last_used_at: (used != Timestamp::default()).then(|| rfc3339(used)),
        }
    }
}

/// `GET /v1/pool`: a part of the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolPart {
    /// How many there are in the whole pool.
    pub members: usize,
    /// Those of this part.
    pub proxies: Vec<MemberRow>,
    /// What the next part comes after; none when this is the last one.
    pub next: Option<u32>,
}

fn rfc3339(time: Timestamp) -> String {
    // The last instant that RFC 3339 can write is the end of the year 9999.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since_epoch = Duration::from_micros(time.as_micros()).min(LAST);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_epoch).to_string()
}
