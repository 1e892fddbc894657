//! The pool: all members, owned by one writer, read through snapshots.
//!
//! A member has a slot, which is its place in the table, and keeps it as long as it stays. The writer
//! changes the pool and takes a [`Snapshot`], which costs what was changed (see [`table`]), not what
//! there is. Two endpoints are the same member when they agree in scheme, host, port and user name.

pub(crate) mod board;
pub mod relabel;
pub mod snapshot;
pub mod table;

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::candidate::{Candidate, Country};
use crate::endpoint::EndpointKey;
use crate::limit::MemberLimits;
use crate::live::Live;
use crate::member::{Member, MemberId};
use crate::store::StoredMember;
use crate::symbol::{Symbol, Symbols};
use crate::tag::{Labels, Tags};
use crate::time::Timestamp;
use crate::verdict::{Anonymity, Verified};
use board::Board;
pub use relabel::Relabelling;
pub use snapshot::Snapshot;
use table::Table;

/// Sets of tags that are remembered to be shared; with more, they are forgotten, and only memory is lost.
const LABELS: usize = 65_536;

/// How one gets into the pool.
#[derive(Debug, Clone)]
pub enum Admission {
    /// By proof.
    Verified(Box<Verified>),
    /// By the user's word: the source is trusted.
    Vouched(Box<Candidate>),
    /// From the store, with its history.
    Restored(Box<StoredMember>),
    /// One more source names it: its tags, for who is a member. Nobody becomes one by it.
    Named(Box<Candidate>),
}

/// What an admission did.
#[derive(Debug, Clone)]
pub enum Admitted {
    /// It is a new member.
    New(Arc<Member>),
    /// It was a member, and something about it is new now: tags, password, country.
    Merged(Arc<Member>),
    /// It was a member, and nothing is new.
    Known(Arc<Member>),
    /// The pool is full.
    Full,
    /// Only a member could have taken it, and it is none.
    Stranger,
}

/// What changed since the last snapshot, by slot; for the plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Slots whose member is new or changed.
    pub upserts: Vec<u32>,
    /// Slots whose member left and that nobody has taken since.
    pub removed: Vec<u32>,
}

/// All members. Owned by one writer.
#[derive(Debug)]
pub struct Pool {
    table: Table,
    board: Board,
    /// The slots of members, by their identities.
    slots: HashTable<u32>,
    /// What members are labelled with, each once.
    labels: HashMap<Tags, Arc<Labels>>,
    /// Slots to use again, with the generation that the next member there gets.
    free: Vec<(u32, u32)>,
    joined: u64,
    epoch: u64,
    capacity: usize,
    symbols: Arc<Symbols>,
    limits: MemberLimits,
    relabelling: Relabelling,
    changed: Vec<u32>,
}

impl Pool {
    /// How many members a pool may have if nothing else is said.
    pub const DEFAULT_CAPACITY: usize = 1_000_000;

    /// How many members a pool may have at the most: picks keep a slot in 24 bits.
    pub const MAX_CAPACITY: usize = 1 << 24;

    /// An empty pool for at most `capacity` members, and never more than [`Pool::MAX_CAPACITY`].
    #[must_use]
    pub fn new(symbols: Arc<Symbols>, capacity: usize) -> Self {
        Self {
            table: Table::default(),
            board: Board::default(),
            slots: HashTable::new(),
            labels: HashMap::new(),
            free: Vec::new(),
            joined: 0,
            epoch: 0,
            capacity: capacity.min(Self::MAX_CAPACITY),
            symbols,
            limits: MemberLimits::default(),
            relabelling: Relabelling::default(),
            changed: Vec::new(),
        }
    }

    /// Changes how many members it may have. Who is in it stays, even if there are more.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity.min(Self::MAX_CAPACITY);
    }

    /// Says how much may be asked of members: of those that there are, from now on, and of those that come.
    pub fn limit(&mut self, limits: MemberLimits) {
        self.limits = limits;
        self.table.iter().for_each(|member| member.live.set_limit(self.limits.of(member.tags())));
    }

    /// Says what sources say from now on: to members that there are, who are returned as far as it changes them, as they were, and to
    /// those that a store still has to bring.
    pub fn relabel(&mut self, relabelling: Relabelling) -> Vec<Arc<Member>> {
        let other = |member: &Arc<Member>| relabelling.of(member.tags()).map(|tags| (Arc::clone(member), tags));
        let wrong: Vec<_> = self.table.iter().filter_map(other).collect();
        self.relabelling = relabelling;
        for (member, tags) in &wrong {
            self.named(member, tags);
        }
        wrong.into_iter().map(|(member, _)| member).collect()
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The member with this key.
    #[must_use]
    pub fn find(&self, key: &EndpointKey) -> Option<&Arc<Member>> {
        let slot = self.slots.find(MemberId::of(key).0, |slot| is_at(&self.table, *slot, key))?;
        self.table.get(*slot)
    }

    /// Every member, by slot.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.table.iter()
    }

    /// Takes somebody in, or merges what is new about a member.
    pub fn admit(&mut self, admission: Admission, now: Timestamp) -> Admitted {
        let newcomer = match admission {
            Admission::Verified(verified) => Newcomer::new(verified.into_parts().0),
            Admission::Vouched(candidate) => Newcomer::new(*candidate),
            Admission::Restored(stored) => self.restored(*stored),
            Admission::Named(candidate) => return self.name(&candidate),
        };
        let key = newcomer.candidate.endpoint.key();
        match self.find(&key).cloned() {
            Some(member) => self.merge(&member, newcomer),
            None if self.slots.len() >= self.capacity => Admitted::Full,
            None => self.join(MemberId::of(&key), newcomer, now),
        }
    }

    /// Puts a member out of the pool.
    pub fn remove(&mut self, key: &EndpointKey) -> Option<Arc<Member>> {
        let found = self.slots.find_entry(MemberId::of(key).0, |slot| is_at(&self.table, *slot, key));
        let (slot, _) = found.ok()?.remove();
        let member = self.table.set(slot, None)?;
        self.board.turn(slot);
        member.live.vacate();
        self.free.push((slot, member.generation.wrapping_add(1)));
        self.changed.push(slot);
        Some(member)
    }

    /// An immutable picture of the pool, and what changed since the last one.
    pub fn publish(&mut self) -> (Snapshot, Delta) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let (upserts, removed) = changed.into_iter().partition(|slot| self.table.get(*slot).is_some());
        self.epoch += 1;
        (Snapshot::new(self.table.clone(), self.board.view(), self.len(), self.epoch), Delta { upserts, removed })
    }

    fn join(&mut self, id: MemberId, newcomer: Newcomer, now: Timestamp) -> Admitted {
        let (slot, generation) = match self.free.pop() {
            Some(free) => free,
            None => (self.table.end(), 0),
        };
        let Newcomer { candidate, mut live, added } = newcomer;
        live.sit(self.board.seat(slot, generation, id, live.latency()));
        let member = Member {
            id,
            slot,
            generation,
            joined: self.joined,
            added: added.unwrap_or(now),
            endpoint: Arc::new(candidate.endpoint),
            labels: self.label(&candidate.tags),
            country: candidate.country,
            country_symbol: self.number(candidate.country),
            anonymity: candidate.anonymity,
            live: Arc::new(live),
        };
        self.joined += 1;
        let member = self.put(member);
        let Self { slots, table, .. } = self;
        slots.insert_unique(id.0, slot, |slot| table.get(*slot).map_or(0, |member| member.id.0));
        Admitted::New(member)
    }

    fn merge(&mut self, member: &Arc<Member>, newcomer: Newcomer) -> Admitted {
        let Newcomer { candidate, added, live: _ } = newcomer;
        let mut merged = Member::clone(member);
        let mut tags = merged.tags().clone();
        let mut is_new = tags.merge(&candidate.tags);
        if let Some(added) = added.filter(|added| *added < merged.added) {
            merged.added = added;
            is_new = true;
        }
        if *merged.endpoint != candidate.endpoint {
            // The key is the same, so it is the password that changed.
            merged.endpoint = Arc::new(candidate.endpoint);
            is_new = true;
        }
        if candidate.country.is_some() && candidate.country != merged.country {
            merged.country = candidate.country;
            is_new = true;
        }
        if candidate.anonymity != Anonymity::Unknown && candidate.anonymity != merged.anonymity {
            merged.anonymity = candidate.anonymity;
            is_new = true;
        }
        if !is_new {
            return Admitted::Known(Arc::clone(member));
        }
        merged.labels = self.label(&tags);
        merged.country_symbol = self.number(merged.country);
        Admitted::Merged(self.put(merged))
    }

    fn name(&mut self, candidate: &Candidate) -> Admitted {
        let Some(member) = self.find(&candidate.endpoint.key()).cloned() else { return Admitted::Stranger };
        let mut tags = member.tags().clone();
        if !tags.merge(&candidate.tags) {
            return Admitted::Known(member);
        }
        Admitted::Merged(self.named(&member, &tags))
    }

    /// A member with other tags.
    fn named(&mut self, member: &Member, tags: &Tags) -> Arc<Member> {
        let named = Member { labels: self.label(tags), ..Member::clone(member) };
        self.put(named)
    }

    /// Somebody from the store, with what sources say by now.
    fn restored(&self, stored: StoredMember) -> Newcomer {
        let mut newcomer = Newcomer::restored(stored);
        if !self.relabelling.is_empty()
            && let Some(tags) = self.relabelling.of(&newcomer.candidate.tags)
        {
            newcomer.candidate.tags = tags;
        }
        newcomer
    }

    fn number(&self, country: Option<Country>) -> Symbol {
        country.map_or(Symbol::NONE, |country| self.symbols.intern(country.as_str()))
    }

    /// The tags and their symbols, in memory that all who have the same tags share.
    fn label(&mut self, tags: &Tags) -> Arc<Labels> {
        if let Some(labels) = self.labels.get(tags) {
            return Arc::clone(labels);
        }
        if self.labels.len() >= LABELS {
            self.labels.clear();
        }
        let symbols = tags.iter().map(|tag| self.symbols.intern(tag.as_str())).collect();
        let labels = Arc::new(Labels { tags: tags.clone(), symbols });
        self.labels.insert(tags.clone(), Arc::clone(&labels));
        labels
    }

    fn put(&mut self, member: Member) -> Arc<Member> {
        let limit = self.limits.of(member.tags());
        if limit != member.live.limit() {
            member.live.set_limit(limit);
        }
        let member = Arc::new(member);
        self.changed.push(member.slot);
        self.table.set(member.slot, Some(Arc::clone(&member)));
        member
    }
}

/// Whether the member at a slot has this key.
fn is_at(table: &Table, slot: u32, key: &EndpointKey) -> bool {
    table.get(slot).is_some_and(|member| member.endpoint.has_key(key))
}

/// An admission, with its differences settled.
struct Newcomer {
    candidate: Candidate,
    live: Live,
    added: Option<Timestamp>,
}

impl Newcomer {
    fn new(candidate: Candidate) -> Self {
        Self { candidate, live: Live::default(), added: None }
    }

    fn restored(stored: StoredMember) -> Self {
        let (live, added) = (Live::restored(&stored.statistics), Some(stored.added));
        Self { live, added, candidate: stored.into() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endpoint::Endpoint;

    pub(crate) fn candidate(url: &str) -> Candidate {
        url.parse::<Endpoint>().unwrap().into()
    }

    pub(crate) fn pool_of(count: u32) -> Pool {
        let mut pool = Pool::new(Arc::default(), Pool::DEFAULT_CAPACITY);
        for n in 0..count {
            join(&mut pool, n);
        }
        pool
    }

    pub(crate) fn join(pool: &mut Pool, n: u32) -> Admitted {
        let host = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        pool.admit(Admission::Vouched(Box::new(candidate(&format!("http://{host}:80")))), Timestamp::default())
    }

    #[test]
    fn the_same_proxy_is_one_member_and_its_tags_are_merged() {
        let mut pool = pool_of(1);
        let mut again = candidate("http://10.0.0.0:80");
        again.tags.insert("eu".parse().unwrap());
        let Admitted::Merged(member) = pool.admit(Admission::Vouched(Box::new(again.clone())), Timestamp::default())
        else {
            panic!("not merged");
        };
        assert!(member.tags().contains("eu"));
        assert!(matches!(pool.admit(Admission::Vouched(Box::new(again)), Timestamp::default()), Admitted::Known(_)));
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn other_credentials_or_another_protocol_are_another_member() {
        let mut pool = pool_of(1);
        for url in ["http://user:x@10.0.0.0:80", "socks5://10.0.0.0:80"] {
            assert!(matches!(
                pool.admit(Admission::Vouched(Box::new(candidate(url))), Timestamp::default()),
                Admitted::New(_)
            ));
        }
        assert_eq!(pool.len(), 3);
    }

    #[test]
    fn a_new_password_replaces_the_old_one_and_keeps_the_history() {
        let mut pool = Pool::new(Arc::default(), 10);
        let admit = |pool: &mut Pool, url: &str| match pool
            .admit(Admission::Vouched(Box::new(candidate(url))), Timestamp::default())
        {
            Admitted::New(member) | Admitted::Merged(member) => member,
            Admitted::Known(_) | Admitted::Full | Admitted::Stranger => panic!("nothing is new"),
        };
        let old = admit(&mut pool, "http://user:old@10.0.0.0:80");
        let new = admit(&mut pool, "http://user:new@10.0.0.0:80");
        assert!(Arc::ptr_eq(&old.live, &new.live));
        assert_eq!(new.endpoint.to_url(), "http://user:new@10.0.0.0:80");
    }

    #[test]
    fn a_full_pool_says_so() {
        let mut pool = Pool::new(Arc::default(), 2);
        join(&mut pool, 0);
        join(&mut pool, 1);
        assert!(matches!(join(&mut pool, 2), Admitted::Full));
        assert!(matches!(join(&mut pool, 1), Admitted::Known(_)));
    }

    #[test]
    fn a_place_that_is_used_again_has_another_generation() {
        let mut pool = pool_of(2);
        let key = candidate("http://10.0.0.0:80").endpoint.key();
        let gone = pool.remove(&key).unwrap();
        assert!(pool.remove(&key).is_none());
        let Admitted::New(next) = join(&mut pool, 7) else { panic!("not new") };
        assert_eq!(next.slot, gone.slot);
        assert_ne!(next.generation, gone.generation);
    }

    proptest! {
        /// Deltas, applied one after the other, always lead to what the snapshot holds.
        #[test]
        fn deltas_lead_to_the_snapshot(steps in prop::collection::vec((any::<bool>(), 0..40u32, any::<bool>()), 0..200)) {
            let mut pool = pool_of(0);
            let mut mirror = std::collections::BTreeMap::new();
            for (joins, n, publishes) in steps {
                if joins {
                    join(&mut pool, n);
                } else {
                    let host = std::net::Ipv4Addr::from(0x0a00_0000 + n);
                    pool.remove(&candidate(&format!("http://{host}:80")).endpoint.key());
                }
                if publishes {
                    let (snapshot, delta) = pool.publish();
                    for slot in delta.removed {
                        mirror.remove(&slot);
                    }
                    for slot in delta.upserts {
                        mirror.insert(slot, snapshot.get(slot).unwrap().id);
                    }
                    let held: Vec<_> = snapshot.iter().map(|m| (m.slot, m.id)).collect();
                    prop_assert_eq!(mirror.clone().into_iter().collect::<Vec<_>>(), held);
                    prop_assert_eq!(snapshot.len(), pool.len());
                }
            }
        }
    }
}
