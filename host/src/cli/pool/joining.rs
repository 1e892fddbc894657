//! How members join a pool in a store, by `pool add` and `pool import`.

use std::collections::HashMap;

use proxywhirl_core::endpoint::EndpointKey;
use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::store::{Changes, Store, StoredMember};
use proxywhirl_core::tag::Tags;
use proxywhirl_core::verdict::Anonymity;
use proxywhirl_core::{Candidate, Tag};

use super::super::output::tell;
use super::{environment, now, tell_in_use};
use crate::exit::{Exit, Failure};

/// One that a list has named, as a member.
pub(super) fn listed(candidate: Candidate) -> StoredMember {
    let Candidate { endpoint, tags, country, anonymity, .. } = candidate;
    let (statistics, health) = (Statistics::default(), Health::Unknown);
    StoredMember { endpoint, tags, country, anonymity, added: now(), statistics, health }
}

/// Members on their way into a pool. What the pool knows of those whom it has stays.
pub(super) struct Joining {
    pool: HashMap<EndpointKey, StoredMember>,
    /// Labels for all of them.
    tags: Tags,
    /// In the order in which they came first, and where they are.
    upserts: Vec<StoredMember>,
    places: HashMap<EndpointKey, usize>,
    new: usize,
    /// Those of them that are known, and come with another password.
    renewed: usize,
    /// Entries that were none.
    pub(super) rejected: u64,
    /// Entries that others name before them.
    pub(super) again: u64,
}

impl Joining {
    pub(super) fn new(members: Vec<StoredMember>, tags: &[Tag]) -> Self {
        Self {
            pool: members.into_iter().map(|member| (member.endpoint.key(), member)).collect(),
            tags: tags.iter().cloned().collect(),
            upserts: Vec::new(),
            places: HashMap::new(),
            new: 0,
            renewed: 0,
            rejected: 0,
            again: 0,
        }
    }

    /// Takes one in with all that is said of it.
    pub(super) fn member(&mut self, said: StoredMember) {
        let key = said.endpoint.key();
        let tags = self.tags.clone();
        let own = self.own(key, &said);
        own.tags.merge(&said.tags);
        own.tags.merge(&tags);
        own.country = said.country.or(own.country);
        if own.anonymity == Anonymity::Unknown {
            own.anonymity = said.anonymity;
        }
        own.added = own.added.min(said.added);
        if own.statistics == Statistics::default() {
            (own.statistics, own.health) = (said.statistics, said.health);
        }
        // Of the same proxy, nothing else can differ.
        let is_renewed = own.endpoint != said.endpoint;
        own.endpoint = said.endpoint;
        self.renewed += usize::from(is_renewed);
    }

    /// The one of this key: that of before, that of the pool, or the one that is said.
    fn own(&mut self, key: EndpointKey, said: &StoredMember) -> &mut StoredMember {
        let place = match self.places.get(&key) {
            Some(place) => {
                self.again += 1;
                *place
            }
            None => {
                let known = self.pool.remove(&key);
                self.new += usize::from(known.is_none());
                self.places.insert(key, self.upserts.len());
                self.upserts.push(known.unwrap_or_else(|| said.clone()));
                self.upserts.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "it is where it was put")]
        &mut self.upserts[place]
    }

    /// Keeps them, and tells what became of them.
    pub(super) fn save(self, store: &mut dyn Store, is_in_use: bool) -> Result<Exit, Failure> {
        let Self { mut upserts, mut new, renewed, rejected, again, .. } = self;
        let all = upserts.len();
        upserts.retain(|member| !store.is_unopened(&member.endpoint.key()));
        let closed = all - upserts.len();
        // Nobody has seen them in the pool.
        new -= closed;
        let known = upserts.len() - new;
        store.save(&Changes { upserts, ..Changes::default() }).map_err(environment)?;
        let left = if closed == 0 { String::new() } else { format!(", {closed} left as they are") };
        let renewed = match renewed {
            0 => String::new(),
            renewed => format!(" ({renewed} of them with another password)"),
        };
        let again = if again == 0 { String::new() } else { format!(", {again} named before") };
        tell(&format!("{new} added, {known} known already{renewed}, {rejected} rejected{again}{left}"));
        if is_in_use && new + known > 0 {
            tell_in_use();
        }
        Ok(if new + known == 0 { Exit::NoResult } else { Exit::Done })
    }
}
