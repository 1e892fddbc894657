//! What strategies have learned, kept over restarts of the host.
//!
//! A strategy that hands over what it has learned to its successor is asked for the same once a minute, when another one
//! takes its place, and at the end; the first instance after a start begins with it. So a budget is not spent twice, and
//! what was learned about proxies is not learned again. A crash loses a minute of it at the most.
//!
//! Of several processes that share a store, one keeps it: the first that comes to it, and another one when that has not done so for
//! two minutes. So nobody overwrites what another has learned; all of them may begin with it. Whoever is there for a moment only begins
//! with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyValues, KvError, KvWrite};

/// How often it is saved.
const EVERY: Duration = Duration::from_mins(1);

/// How long nothing is kept until another process does it: longer than whoever does it takes, though it is late.
const GIVEN_UP: Duration = Duration::from_mins(2);

/// Whose keys they are: no plugin can have this name.
const OWNER: &str = "host/strategies";

/// What becomes of what strategies learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remembering {
    /// It is kept for those who come later.
    #[default]
    Keeps,
    /// It is forgotten; strategies begin with what others have kept.
    Recalls,
}

/// Where it is kept, and until when there is time.
pub(super) struct Memory {
    store: Arc<dyn KeyValues>,
    remembering: Remembering,
    /// Follows the names of strategies, where this one stands beside the one in force.
    label: Box<str>,
    due: Timestamp,
    /// What is kept of each strategy, as it was seen last.
    seen: HashMap<String, Seen>,
}

/// What is kept of a strategy.
#[derive(Clone, Copy)]
struct Seen {
    /// 0 for nothing.
    version: u64,
    /// Since when it is known that another process keeps it.
    others: Option<Timestamp>,
}

impl Memory {
    pub(super) fn new(store: Arc<dyn KeyValues>, remembering: Remembering, label: Box<str>, now: Timestamp) -> Self {
        Self { store, remembering, label, due: now + EVERY, seen: HashMap::new() }
    }

    /// Under which key a strategy is kept.
    fn key(&self, strategy: &str) -> String {
        format!("{strategy}{}", self.label)
    }

    /// When it is to be saved next.
    pub(super) const fn due(&self) -> Timestamp {
        self.due
    }

    /// Says that it is being saved.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.due = now + EVERY;
    }

    /// What a strategy knew last.
    pub(super) fn recall(&mut self, strategy: &str, now: Timestamp) -> Option<Vec<u8>> {
        match self.store.get(OWNER, &self.key(strategy), now) {
            Ok(entry) => {
                let version = entry.as_ref().map_or(0, |entry| entry.version);
                self.seen.entry(strategy.to_owned()).or_insert(Seen { version, others: None });
                entry.map(|entry| entry.value)
            }
            Err(error) => {
                tracing::warn!(plugin.name = strategy, error = %error, "what the strategy has learned cannot be read");
                None
            }
        }
    }

    /// Keeps what a strategy knows, unless another process does, or is to.
    pub(super) fn keep(&mut self, strategy: &str, state: &[u8], now: Timestamp) {
        if self.remembering == Remembering::Recalls {
            return;
        }
        if let Err(error) = self.try_to_keep(strategy, state, now) {
            tracing::warn!(plugin.name = strategy, error = %error, "what the strategy has learned cannot be saved");
        }
    }

    fn try_to_keep(&mut self, strategy: &str, state: &[u8], now: Timestamp) -> Result<(), KvError> {
        let key = self.key(strategy);
        let version = self.store.get(OWNER, &key, now)?.map_or(0, |entry| entry.version);
        // What could not be read at the start is not to be overwritten at once.
        let is_known = self.seen.get(strategy).map_or(version == 0, |seen| {
            seen.version == version && seen.others.is_none_or(|since| now.since(since) >= GIVEN_UP)
        });
        // The plugin host lets nobody hand over more than 4 MiB.
        let write = KvWrite { value: state, expires: None, quota: u64::MAX };
        let kept = if is_known { self.store.compare_and_swap(OWNER, &key, version, &write, now)? } else { None };
        let seen = match kept {
            Some(version) => Seen { version, others: None },
            None => {
                let before = self.seen.get(strategy).filter(|seen| seen.version == version);
                Seen { version, others: before.and_then(|seen| seen.others).or(Some(now)) }
            }
        };
        self.seen.insert(strategy.to_owned(), seen);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proxywhirl_store::MemoryKeyValues;

    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn of_two_that_share_a_store_one_keeps_it_and_the_other_when_that_one_is_gone() {
        let store: Arc<dyn KeyValues> = Arc::new(MemoryKeyValues::new());
        let kept = || store.get(OWNER, "s", at(0)).unwrap().map(|entry| String::from_utf8(entry.value).unwrap());
        let [mut one, mut other] =
            [(); 2].map(|()| Memory::new(Arc::clone(&store), Remembering::Keeps, Box::default(), at(0)));
        assert!(one.recall("s", at(0)).is_none() && other.recall("s", at(0)).is_none());
        one.keep("s", b"one", at(60));
        other.keep("s", b"other", at(61));
        assert_eq!(kept().as_deref(), Some("one"));
        one.keep("s", b"one again", at(120));
        other.keep("s", b"other", at(121));
        // At its end, too, however short ago it was that it looked.
        other.keep("s", b"other", at(122));
        assert_eq!(kept().as_deref(), Some("one again"));
        other.keep("s", b"other", at(181));
        assert_eq!(kept().as_deref(), Some("one again"), "it may be late");
        other.keep("s", b"other", at(241));
        assert_eq!(kept().as_deref(), Some("other"), "nobody has kept it for two minutes");
        one.keep("s", b"one", at(242));
        assert_eq!(kept().as_deref(), Some("other"), "and whoever comes back does not take it from it");
        // One that is there for a moment begins with it, and takes it from nobody.
        let mut moment = Memory::new(Arc::clone(&store), Remembering::Recalls, Box::default(), at(250));
        assert_eq!(moment.recall("s", at(250)).unwrap(), b"other");
        moment.keep("s", b"moment", at(1_000));
        moment.keep("t", b"moment", at(1_000));
        assert_eq!((kept().as_deref(), store.get(OWNER, "t", at(0)).unwrap()), (Some("other"), None));
        // One that could not read it at its start does not overwrite it at once.
        let mut third = Memory::new(Arc::clone(&store), Remembering::Keeps, Box::default(), at(250));
        third.keep("s", b"third", at(250));
        assert_eq!(kept().as_deref(), Some("other"));
    }
}
