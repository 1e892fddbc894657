//! The same proxy from many lists is one candidate.
//!
//! Two candidates are the same when they agree in scheme, host, port and user name
//! ([`proxywhirl_core::EndpointKey`]). The first one stays: its place, line and password. What others
//! know beside that is added: their tags, and a country or an anonymity where there was none.
//!
//! Each costs O(1), and about 130 bytes: the keys are not copied, only their hashes are kept. The hash
//! is keyed by a random number, so that no list can be made whose entries collide.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use proxywhirl_core::{Anonymity, Candidate, Endpoint};

use crate::ingest::{Candidates, Record};

/// Candidates without duplicates.
#[derive(Debug, Default)]
pub struct Dedup {
    unique: Candidates,
    /// From the hash of a key to the place of its candidate. Where two hashes agree, the later is at the next number.
    places: HashMap<u64, u32>,
    hasher: RandomState,
    duplicates: u64,
}

impl Dedup {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a candidate. True when it is new.
    pub fn insert(&mut self, candidate: Candidate) -> bool {
        let Candidate { endpoint, tags, country, anonymity, line, is_guess } = candidate;
        let tags = self.unique.sets_mut().number(&tags);
        self.insert_record(Record { endpoint, tags, line, country, anonymity, is_guess })
    }

    /// Takes many. Says how many of them are new.
    pub fn extend(&mut self, candidates: Candidates) -> usize {
        let before = self.unique.len();
        let (records, sets) = candidates.into_parts();
        let numbers: Vec<_> = sets.iter().map(|tags| self.unique.sets_mut().number(tags)).collect();
        for mut record in records {
            record.tags = numbers.get(record.tags as usize).copied().unwrap_or_default();
            self.insert_record(record);
        }
        self.unique.len() - before
    }

    /// How many came that were there already.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How many different ones came.
    #[must_use]
    pub fn len(&self) -> usize {
        self.unique.len()
    }

    /// Whether none came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unique.is_empty()
    }

    /// The different ones, in the order in which they came first.
    #[must_use]
    pub fn into_candidates(self) -> Candidates {
        self.unique
    }

    fn insert_record(&mut self, record: Record) -> bool {
        let hash = self.hasher.hash_one(key(&record.endpoint));
        self.insert_at(hash, record)
    }

    fn insert_at(&mut self, mut hash: u64, record: Record) -> bool {
        while let Some(place) = self.places.get(&hash).copied() {
            let is_same = |own: &Record| key(&own.endpoint) == key(&record.endpoint);
            if self.unique.record(place).is_some_and(is_same) {
                self.merge(place, &record);
                return false;
            }
            hash = hash.wrapping_add(1);
        }
        // Fewer than 2^32 fit into memory.
        self.places.insert(hash, u32::try_from(self.unique.len()).unwrap_or(u32::MAX));
        self.unique.push_record(record);
        true
    }

    fn merge(&mut self, place: u32, other: &Record) {
        self.duplicates += 1;
        if let Some((own, sets)) = self.unique.record_mut(place) {
            own.tags = sets.union(own.tags, other.tags);
            own.is_guess &= other.is_guess;
            own.country = own.country.or(other.country);
            if own.anonymity == Anonymity::Unknown {
                own.anonymity = other.anonymity;
            }
        }
    }
}

/// The key of an endpoint, borrowed: an [`EndpointKey`](proxywhirl_core::EndpointKey) of its own only for hops before it.
fn key(endpoint: &Endpoint) -> impl std::hash::Hash + PartialEq + '_ {
    let username = endpoint.credentials.as_deref().map(|credentials| &credentials.username);
    (endpoint.scheme, &endpoint.host, endpoint.port, username, endpoint.via.as_ref().map(|via| via.key()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(url: &str, tag: &str) -> Candidate {
        let tags = std::iter::once(tag.parse().unwrap()).collect();
        Candidate { tags, line: 1, ..url.parse::<Endpoint>().unwrap().into() }
    }

    #[test]
    fn the_first_stays_and_learns_from_the_others() {
        let mut dedup = Dedup::new();
        assert!(dedup.insert(candidate("http://u:first@1.2.3.4:80", "a")));
        let mut second = candidate("http://u:second@1.2.3.4:80", "b");
        (second.country, second.anonymity, second.line) = (Some("DE".parse().unwrap()), Anonymity::Elite, 9);
        assert!(!dedup.insert(second));
        let mut third = candidate("http://u:third@1.2.3.4:80", "c");
        (third.country, third.anonymity) = (Some("FR".parse().unwrap()), Anonymity::Transparent);
        assert!(!dedup.insert(third));
        assert_eq!((dedup.len(), dedup.duplicates()), (1, 2));
        let merged = dedup.into_candidates().into_iter().next().unwrap();
        assert_eq!(merged.endpoint.to_url(), "http://u:first@1.2.3.4:80");
        assert_eq!(merged.tags.to_string(), "a,b,c");
        assert_eq!((merged.country.unwrap().as_str(), merged.anonymity, merged.line), ("DE", Anonymity::Elite, 1));
    }

    #[test]
    fn scheme_host_port_and_user_tell_apart() {
        let mut dedup = Dedup::new();
        let urls = [
            "http://1.2.3.4:80",
            "https://1.2.3.4:80",
            "http://1.2.3.5:80",
            "http://1.2.3.4:81",
            "http://:@1.2.3.4:80",
            "http://u@1.2.3.4:80",
            "http://gate.example:80",
            "http://[2001:db8::1]:80",
            "socks5://5.6.7.8:1080 -> http://1.2.3.4:80",
            "socks5://u@5.6.7.8:1080 -> http://1.2.3.4:80",
        ];
        let all: Candidates = urls.iter().map(|url| candidate(url, "t")).collect();
        assert_eq!(dedup.extend(all.clone()), urls.len());
        assert_eq!(dedup.extend(all), 0);
        assert_eq!(dedup.duplicates(), urls.len() as u64);
        assert!(!dedup.insert(candidate("http://GATE.example:80", "t")));
    }

    #[test]
    fn equal_hashes_are_not_equal_keys() {
        let mut dedup = Dedup::new();
        let records = |urls: &[&str]| {
            urls.iter().map(|url| candidate(url, "t")).collect::<Candidates>().into_parts().0.into_iter()
        };
        for record in records(&["http://1.2.3.4:80", "http://1.2.3.5:80", "http://1.2.3.6:80"]) {
            assert!(dedup.insert_at(u64::MAX, record));
        }
        for record in records(&["http://1.2.3.6:80", "http://1.2.3.4:80", "http://1.2.3.5:80"]) {
            assert!(!dedup.insert_at(u64::MAX, record));
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_a_map_would_hold(
            entries in prop::collection::vec((0u8..20, 0u8..4, prop::option::of(0u8..3)), 0..200),
        ) {
            let mut dedup = Dedup::new();
            let mut model: Vec<(String, std::collections::BTreeSet<String>)> = Vec::new();
            for (host, tag, user) in entries {
                let user = user.map(|user| format!("u{user}:p@")).unwrap_or_default();
                let (url, tag) = (format!("http://{user}1.1.1.{host}:80"), format!("t{tag}"));
                let is_new = dedup.insert(candidate(&url, &tag));
                match model.iter_mut().find(|(known, _)| *known == url) {
                    Some((_, tags)) => {
                        tags.insert(tag);
                        prop_assert!(!is_new);
                    }
                    None => {
                        model.push((url, std::iter::once(tag).collect()));
                        prop_assert!(is_new);
                    }
                }
            }
            let found: Vec<_> = dedup
                .into_candidates()
                .into_iter()
                .map(|c| (c.endpoint.to_url(), c.tags.iter().map(ToString::to_string).collect()))
                .collect();
            prop_assert_eq!(found, model);
        }
    }
}
