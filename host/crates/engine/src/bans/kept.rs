//! Bans over restarts: one value of the store, written when they have changed, at most as often as statistics are.

use std::sync::atomic::Ordering;

use proxywhirl_core::kv::{KeyValues, KvWrite};
use proxywhirl_core::{MemberId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Banned, Bans};

/// Whose keys they are: no plugin can have this name.
const OWNER: &str = "host/bans";

/// All of them.
const KEY: &str = "bans";

/// Bans that are kept at the most: those that last longest.
const MOST: usize = 16_384;

/// A ban in the store.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    site: String,
    member: u64,
    /// Microseconds since the Unix epoch.
    until: u64,
    rule: String,
}

/// Puts those in force that were kept and have not ended.
pub(crate) fn recall(bans: &Bans, store: &dyn KeyValues, now: Timestamp) {
    let kept = match store.get(OWNER, KEY, now) {
        Ok(entry) => entry.map(|entry| serde_json::from_slice::<Vec<Kept>>(&entry.value)),
        Err(error) => {
            tracing::warn!(%error, "the bans of before cannot be read");
            None
        }
    };
    let kept = match kept.transpose() {
        Ok(kept) => kept.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "the bans of before cannot be understood");
            Vec::new()
        }
    };
    let banned = kept.into_iter().map(|Kept { site, member, until, rule }| Banned {
        site,
        member: MemberId(member),
        until: Timestamp::from_micros(until),
        rule: rule.into(),
    });
    bans.restore(banned.filter(|ban| ban.until > now).collect());
}

/// Keeps them, if they have changed since they were kept last. It may block for some milliseconds.
pub(crate) fn keep(bans: &Bans, store: &dyn KeyValues, now: Timestamp) {
    if !bans.changed.swap(false, Ordering::Relaxed) {
        return;
    }
    let mut all = bans.all(now);
    all.sort_unstable_by_key(|ban| std::cmp::Reverse(ban.until));
    let kept: Vec<Kept> = all
        .into_iter()
        .take(MOST)
        .map(|Banned { site, member, until, rule }| Kept {
            site,
            member: member.0,
            until: until.as_micros(),
            rule: rule.to_string(),
        })
        .collect();
    let written = serde_json::to_vec(&kept).map_err(|error| error.to_string()).and_then(|value| {
        let write = KvWrite { value: &value, expires: None, quota: u64::MAX };
        store.set(OWNER, KEY, &write, now).map_err(|error| error.to_string())
    });
    if let Err(error) = written {
        bans.changed.store(true, Ordering::Relaxed);
        tracing::debug!(error, "the bans could not be kept, will try again");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proxywhirl_store::MemoryKeyValues;

    use super::super::Scope;
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn what_has_not_ended_is_there_again_and_what_is_broken_is_not() {
        let store = MemoryKeyValues::new();
        let bans = Bans::new(0.5);
        let set =
            |scope, member, until| bans.set("a.example:80", scope, (MemberId(member), "rule"), until, (at(0), 10));
        assert!(set(Scope::Site, 1, at(60)) && set(Scope::Site, 2, at(90)) && set(Scope::Session(5), u64::MAX, at(90)));
        keep(&bans, &store, at(1));
        let again = Bans::new(0.5);
        recall(&again, &store, at(61));
        assert_eq!(again.of("www.a.example:443", Some(5), (at(61), 10)), [MemberId(2), MemberId(u64::MAX)]);
        assert_eq!(again.all(at(61)).len(), 2);

        // What has not changed is not written.
        let other = MemoryKeyValues::new();
        keep(&bans, &other, at(2));
        assert!(other.get(OWNER, KEY, at(2)).unwrap().is_none());
        let write = KvWrite { value: b"{", expires: None, quota: u64::MAX };
        other.set(OWNER, KEY, &write, at(2)).unwrap();
        let empty = Bans::new(0.5);
        recall(&empty, &other, at(2));
        assert!(empty.all(at(2)).is_empty());
    }

    #[test]
    fn those_that_last_longest_are_kept() {
        let store = MemoryKeyValues::new();
        let bans = Bans::new(1.0);
        for site in 0..20_u64 {
            for member in 0..1_000 {
                let until = at(100) + Duration::from_secs(site);
                let target = format!("s{site}.example:80");
                assert!(bans.set(&target, Scope::Site, (MemberId(member), "rule"), until, (at(0), 2_000)));
            }
        }
        keep(&bans, &store, at(1));
        let again = Bans::new(1.0);
        recall(&again, &store, at(1));
        assert_eq!(again.all(at(1)).len(), MOST);
        assert_eq!(
            (
                again.of("s19.example:80", None, (at(1), 2_000)).len(),
                again.of("s0.example:80", None, (at(1), 2_000)).len()
            ),
            (1_000, 0)
        );
    }
}
