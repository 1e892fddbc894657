//! How members do at sites: success and latency of each pair of a member and a site (its registrable domain, and the port), and
//! who is passed over where.
//!
//! A member may fail at one site and do well at all others: the site has its address on a list, or its exit does not reach
//! it. Its own breaker does not see that, because the others keep it closed; or it opens, and keeps the member away from the
//! others too. So each pair has a breaker. While it is open, requests to that site pass the member over, as long as they find
//! anybody else; so it never costs a request its last chance.
//!
//! The port tells tunnels from plain requests, as an origin is nearly always asked in one way: many a proxy forwards `http://` and refuses every
//! tunnel, or opens tunnels to port 443 alone, and what it does well says nothing of the other.
//!
//! It opens sooner than the member's own, but only for what may be the site's doing: the member has accepted us and then
//! failed (all but [`Hurt::Yes`]), or has succeeded elsewhere since it succeeded here last, which is a comparison of two
//! counts, or, for a low rate, its rate over all sites is not low. Whether it is the site's doing shows at the next one: a
//! member that fails there too has its own breaker opened. As long as there is no proof that it works elsewhere, its pause
//! does not grow. Faults of an origin are in no outcome, so a site that is down shuts out nobody.
//!
//! What failed may have been the origin's, and a request that is sent once asks nobody else: [`doubts`] says what others show
//! at the same origin, and [`across`] what they show at other sites. Such a one had better not go to who
//! [has just failed](Sites::has_just_failed), there or wherever it was used last.
//!
//! Bounded: a table of sets of eight rows, found by the hash of the pair; in a full set the row that was used longest ago
//! makes room. Each set has its own lock, held for some instructions, and rows are made once for each pair, so that a use
//! allocates nothing and waits for nobody. Who is passed over is told apart in [`passed`], which costs a pick one load as long
//! as there is nobody.

mod across;
mod doubts;
mod passed;
mod sparse;

use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use proxywhirl_core::breaker::{Breaker, BreakerConfig, Input, State};
use proxywhirl_core::ewma::Ewma;
use proxywhirl_core::fault::Hurt;
use proxywhirl_core::member::mix;
use proxywhirl_core::{Fault, Member, MemberId, Outcome, Timestamp};

use crate::strategy::registrable;
use across::Across;
use doubts::Doubts;
pub(crate) use passed::PassedOver;
use passed::Register;

/// Rows in a set: with so many, it hardly happens that a set is full while others have room.
const WAYS: usize = 8;

/// Places in which it is kept when a site, or an origin of it, was served last.
const SERVED: usize = 4_096;

/// So many who have served are kept in each: when one of them has died, another one may have served a moment ago.
const LAST: usize = 4;

/// Places in which it is kept when a member failed last.
const FAILED: usize = 4_096;

/// How long what is sent once avoids whom another one has failed with.
const AVOIDED: Duration = Duration::from_secs(60);

/// For how long a site that somebody was served at is thought to be well.
const LATELY: Duration = Duration::from_secs(60);

/// What share of the last uses has gone well of whom a word counts: whoever serves now and then may say anything.
const PROOF: f64 = 0.5;

/// Of how many uses what share has gone well of whom a late attempt goes to, if there is anybody like that.
const REFUGE: (u32, f64) = (3, 0.7);

/// For how long whoever has served is better than who never has.
const PROVEN: Duration = Duration::from_secs(3_600);

/// The longest host name (RFC 1035): what is longer is no site.
const LONGEST: usize = 253;

/// How long pairs are remembered, and when a member is passed over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SitesConfig {
    /// Pairs of a member and a site at the most, rounded up to eight; 0 remembers none.
    pub remember: usize,
    /// Whether a member that fails at a site is passed over there.
    pub pass_over: bool,
    /// When.
    pub breaker: BreakerConfig,
}

impl SitesConfig {
    /// Some hundred members at some hundred sites; at some 200 bytes each, 13 MB when all are in use.
    pub const REMEMBER: usize = 65_536;
}

impl Default for SitesConfig {
    /// Sooner than the breaker of the member itself, so that this one does not open because of one site; and up to a longer
    /// pause, because a site that refuses a member goes on doing so.
    fn default() -> Self {
        let breaker = BreakerConfig {
            failures: 3,
            min_success: 0.3,
            samples: 20,
            cooldown: Duration::from_secs(10),
            cooldown_max: Duration::from_secs(600),
            successes: 1,
        };
        Self { remember: Self::REMEMBER, pass_over: true, breaker }
    }
}

/// How members do at sites.
#[derive(Debug)]
pub(crate) struct Sites {
    config: ArcSwap<SitesConfig>,
    /// Replaced when another number of pairs shall be remembered.
    sets: ArcSwap<Sets>,
    passed: Register,
    doubts: Doubts,
    across: Across,
    /// Who have served requests at a site last, and at an origin, and when; those whose hashes collide share a place.
    served: Box<[Served]>,
    /// The same of all sites.
    served_anywhere: Served,
    /// When members failed last, wherever it was, by their slots, in microseconds. Whether one of those that share a place has served
    /// since is in its breaker.
    failed: Box<[AtomicU64]>,
    /// Of its own, so that no client can choose names that share a row.
    hasher: RandomState,
}

/// Each is locked for some instructions: when a use of one of its pairs ends, when one is probed, and by who looks.
type Sets = Box<[Mutex<Vec<Row>>]>;

/// Who have served last, each of them once. 64 bytes.
#[derive(Debug, Default)]
struct Served([Last; LAST]);

/// One of them. Fields that may be of two uses: both were at the site a moment ago.
#[derive(Debug, Default)]
struct Last {
    /// In microseconds; 0 for nobody.
    at: AtomicU64,
    /// The slot of the member.
    by: AtomicU32,
    /// Whether it did well then, or there was nobody who did.
    does_well: AtomicBool,
    /// Whether it has failed there since.
    has_failed: AtomicBool,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy)]
struct Past {
    at: Timestamp,
    by: u32,
    does_well: bool,
    has_failed: bool,
}

impl Served {
    /// A member has served. Who does not do well takes nobody's place.
    fn set(&self, slot: u32, does_well: bool, now: Timestamp) {
        let does_well = does_well || !self.is_within(PROVEN, now);
        let oldest = || self.0.iter().min_by_key(|last| last.at.load(Ordering::Relaxed));
        if let Some(last) = self.of(slot).or_else(oldest)
            && (does_well || now.since(last.at()) > PROVEN)
        {
            last.at.store(now.as_micros(), Ordering::Relaxed);
            last.by.store(slot, Ordering::Relaxed);
            last.does_well.store(does_well, Ordering::Relaxed);
            last.has_failed.store(false, Ordering::Relaxed);
        }
    }

    fn failed(&self, slot: u32) {
        if let Some(last) = self.of(slot) {
            last.has_failed.store(true, Ordering::Relaxed);
        }
    }

    fn of(&self, slot: u32) -> Option<&Last> {
        self.0.iter().find(|last| last.by.load(Ordering::Relaxed) == slot)
    }

    /// Whether somebody who did well has served not longer ago than that.
    fn is_within(&self, span: Duration, now: Timestamp) -> bool {
        self.0.iter().any(|last| last.does_well.load(Ordering::Relaxed) && now.since(last.at()) <= span)
    }

    /// Those who did well before the others, and of each the last first.
    fn best_first(&self) -> [Past; LAST] {
        let mut all = self.0.each_ref().map(Last::read);
        all.sort_unstable_by_key(|past| (!past.does_well, Reverse(past.at)));
        all
    }
}

impl Last {
    fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at.load(Ordering::Relaxed))
    }

    fn read(&self) -> Past {
        Past {
            at: self.at(),
            by: self.by.load(Ordering::Relaxed),
            does_well: self.does_well.load(Ordering::Relaxed),
            has_failed: self.has_failed.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug)]
struct Row {
    member: MemberId,
    /// The hash of its name and port.
    site: u64,
    name: Box<str>,
    port: u16,
    breaker: Breaker,
    latency: Ewma,
    used: Timestamp,
    /// How often the member had succeeded, at all sites, when it succeeded here last, or came here first.
    successes: u64,
    /// Until when it is passed over; none when it is not.
    due: Option<Timestamp>,
}

/// What is known of a member at a site.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) member: MemberId,
    pub(crate) site: Box<str>,
    pub(crate) port: u16,
    /// The last uses, a hundred at the most.
    pub(crate) uses: u32,
    pub(crate) success: Option<f64>,
    pub(crate) latency: Option<Duration>,
    pub(crate) used: Timestamp,
    /// Until when it is passed over: then, or if that has passed, the next request tries it again. None when it is not.
    pub(crate) due: Option<Timestamp>,
}

impl Sites {
    pub(crate) fn new(config: SitesConfig) -> Self {
        Self {
            config: ArcSwap::from_pointee(config),
            sets: ArcSwap::from_pointee(empty(config.remember)),
            passed: Register::default(),
            doubts: Doubts::default(),
            across: Across::default(),
            served: (0..SERVED).map(|_| Served::default()).collect(),
            served_anywhere: Served::default(),
            failed: (0..FAILED).map(|_| AtomicU64::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Changes how it works. Of what is known as much stays as has room.
    pub(crate) fn tune(&self, config: SitesConfig) {
        let before = self.config.swap(Arc::new(config));
        if before.remember != config.remember {
            self.resize(config.remember);
        }
        if !config.pass_over {
            self.pass_nobody();
        }
    }

    fn resize(&self, remember: usize) {
        let (old, new) = (self.sets.load_full(), Arc::new(empty(remember)));
        self.sets.store(Arc::clone(&new));
        for set in &**old {
            for row in lock(set).drain(..) {
                match set_of(&new, row.site, row.member).map(lock) {
                    Some(mut rows) if rows.len() < WAYS => rows.push(row),
                    Some(_) | None => self.passed.set(row.site, row.member, None),
                }
            }
        }
    }

    fn pass_nobody(&self) {
        for set in &**self.sets.load() {
            for row in lock(set).iter_mut().filter(|row| row.due.is_some()) {
                row.breaker = Breaker::default();
                self.publish(row, Timestamp::default());
            }
        }
    }

    /// Takes what came of a use of a member that was begun at `admitted`, after the member itself has taken it. True when it
    /// is passed over from now on, or no longer.
    pub(crate) fn record(
        &self,
        target: &str,
        member: &Member,
        outcome: &Outcome,
        (admitted, now): (Timestamp, Timestamp),
    ) -> bool {
        let place @ (name, _) = place_of(target);
        let site = self.hasher.hash_one(place);
        let sets = self.sets.load();
        let Some(mut rows) = set_of(&sets, site, member.id).filter(|_| name.len() <= LONGEST).map(lock) else {
            return false;
        };
        let is_new = !rows.iter().any(|row| row.is_of(site, member.id));
        if is_new && matches!(outcome, Outcome::Neutral) {
            return false;
        }
        let successes = member.live.statistics().successes;
        if is_new {
            self.make_room(&mut rows);
            rows.push(Row::new(site, place, member.id, successes));
        }
        let Some(row) = rows.iter_mut().find(|row| row.is_of(site, member.id)) else { return false };
        let config = **self.config.load();
        row.used = now;
        let (input, breaker) = match outcome {
            Outcome::Success { latency } => {
                row.latency.record(*latency, now);
                // Another one of these may be faster.
                row.successes = row.successes.max(successes);
                self.across.served(member.id, admitted);
                let origin = self.hasher.hash_one(target);
                self.doubts.served(origin, member.id, admitted);
                // Whoever serves now and then is no proof, and no refuge unless there is none.
                let window = row.breaker.window();
                let does_well = window.len() >= REFUGE.0 && window.success_rate() >= Some(REFUGE.1);
                for served in self.served_at_all(site, origin) {
                    served.set(member.slot, does_well, now);
                }
                (Input::Success, config.breaker)
            }
            Outcome::Failure(fault) => {
                for served in self.served_at_all(site, self.hasher.hash_one(target)) {
                    served.failed(member.slot);
                }
                self.failed_at(member.slot).store(now.as_micros(), Ordering::Relaxed);
                (Input::Failure, breaker_for(&config, row, (member, successes), fault))
            }
            Outcome::Neutral => (Input::Neutral, config.breaker),
        };
        row.breaker.record(input, admitted, &breaker, now);
        self.publish(row, now)
    }

    /// Takes a failure for which nobody else was asked, so that it may be the member's or the origin's. Whether it is the
    /// member's, by what others have done there meanwhile: at the same host and port, because one of a site that is down says nothing
    /// of another one.
    pub(crate) fn doubt(&self, target: &str, member: MemberId, now: Timestamp) -> bool {
        self.config.load().remember > 0 && self.doubts.failed(self.hasher.hash_one(target), member, now)
    }

    /// Takes one for which nobody else could be asked. Whether it is the member's, by what it and others have done at all sites.
    pub(crate) fn doubt_across(&self, target: &str, member: MemberId, now: Timestamp) -> bool {
        self.config.load().remember > 0 && self.across.failed(self.hasher.hash_one(registrable(target)), member, now)
    }

    /// Whether a member has failed at several sites, has served nothing since, and pays for its next failure.
    pub(crate) fn suspects(&self, member: MemberId, now: Timestamp) -> bool {
        self.across.suspects(member, now)
    }

    /// Who has failed at a target a moment ago and not served there since, so that it may be the origin's doing or theirs.
    pub(crate) fn in_doubt(&self, target: &str, now: Timestamp) -> Vec<MemberId> {
        self.doubts.members(|| self.hasher.hash_one(target), now)
    }

    /// Whether a member has failed at the site of a target a moment ago, or wherever it was used last, and not served since; or its
    /// breaker has opened and not closed again.
    pub(crate) fn has_just_failed(&self, target: &str, member: &Member, now: Timestamp) -> bool {
        let is_recent = |at: Timestamp| now.since(at) < AVOIDED;
        match member.live.breaker().state() {
            State::Open { .. } | State::HalfOpen { .. } => return true,
            State::Closed { faults } => {
                let failed = self.failed_at(member.slot).load(Ordering::Relaxed);
                if faults > 0 && is_recent(Timestamp::from_micros(failed)) {
                    return true;
                }
            }
        }
        let (site, sets) = (self.hasher.hash_one(place_of(target)), self.sets.load());
        let Some(rows) = set_of(&sets, site, member.id).map(lock) else { return false };
        let row = rows.iter().find(|row| row.is_of(site, member.id));
        row.is_some_and(|row| is_recent(row.used) && !matches!(row.breaker.state(), State::Closed { faults: 0 }))
    }

    /// Whether it is the origin's when a member brings an answer that proxies make up as well, and another one has brought such an
    /// answer to the same request: the member has served most of what it was asked for at this site; or nobody has for a while, and it has elsewhere.
    pub(crate) fn confirms(&self, target: &str, member: &Member, now: Timestamp) -> bool {
        let site = self.hasher.hash_one(place_of(target));
        if !self.served_at(site).is_within(LATELY, now) {
            return member.live.statistics().successes > 0;
        }
        self.does_well(target, member.id)
    }

    /// Whether a member has served most of what it was asked for at the site of a target.
    pub(crate) fn does_well(&self, target: &str, member: MemberId) -> bool {
        self.seen(target, member).and_then(|seen| seen.success).is_some_and(|share| share >= PROOF)
    }

    /// The slots of those who have served requests to a target last, or else at its site, or anywhere, and not too long ago: who does
    /// well with its `http://` may do nothing for its `https://`, and who does well elsewhere is better than who never did. Who has
    /// failed since comes after all others, and somebody may come more than once.
    pub(crate) fn served_by(&self, target: &str, now: Timestamp) -> impl Iterator<Item = u32> {
        let (site, origin) = (self.hasher.hash_one(place_of(target)), self.hasher.hash_one(target));
        let [at_site, at_origin, anywhere] = self.served_at_all(site, origin).map(Served::best_first);
        let all = [at_origin, at_site, anywhere];
        [false, true].into_iter().flat_map(move |has_failed| {
            let those = move |past: &Past| past.has_failed == has_failed && now.since(past.at) <= PROVEN;
            all.into_iter().flatten().filter(those).map(|past| past.by)
        })
    }

    /// Where it is kept who has served at a site, at an origin, and anywhere.
    fn served_at_all(&self, site: u64, origin: u64) -> [&Served; 3] {
        [self.served_at(site), self.served_at(origin), &self.served_anywhere]
    }

    #[allow(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "it is below their number")]
    fn served_at(&self, site: u64) -> &Served {
        &self.served[(site % SERVED as u64) as usize]
    }

    #[allow(clippy::indexing_slicing, reason = "it is below their number")]
    fn failed_at(&self, slot: u32) -> &AtomicU64 {
        &self.failed[slot as usize % FAILED]
    }

    fn make_room(&self, rows: &mut Vec<Row>) {
        if rows.len() < WAYS {
            return;
        }
        // Who is passed over is worth more: it would be tried again.
        let coldest = rows.iter().enumerate().min_by_key(|(_, row)| (row.due.is_some(), row.used));
        if let Some((place, row)) = coldest {
            self.passed.set(row.site, row.member, None);
            rows.swap_remove(place);
        }
    }

    /// Tells picks of what the row's breaker lets through now. True when that is something else than before.
    fn publish(&self, row: &mut Row, now: Timestamp) -> bool {
        let due = match row.breaker.state() {
            State::Closed { .. } => None,
            State::Open { until, .. } => Some(until),
            // A probe of which nothing is heard any more costs this time, and then the next one goes.
            State::HalfOpen { probing: true, cooldown, .. } => Some(now + cooldown),
            State::HalfOpen { probing: false, .. } => Some(Timestamp::default()),
        };
        if due == row.due {
            return false;
        }
        row.due = due;
        self.passed.set(row.site, row.member, due);
        true
    }

    /// Whether anybody is passed over anywhere.
    pub(crate) fn passes_over_anybody(&self) -> bool {
        !self.passed.is_empty()
    }

    /// Who is passed over at the site of a target; none for nobody.
    pub(crate) fn passed_over(&self, target: &str) -> Option<PassedOver> {
        if self.passed.is_empty() {
            return None;
        }
        self.passed.at(self.hasher.hash_one(place_of(target)))
    }

    /// Asks for a member that is passed over, and whose time has come: one request may try it.
    pub(crate) fn admits(&self, passed: &PassedOver, member: MemberId, now: Timestamp) -> bool {
        let sets = self.sets.load();
        let Some(mut rows) = set_of(&sets, passed.site, member).map(lock) else { return true };
        let Some(row) = rows.iter_mut().find(|row| row.is_of(passed.site, member)) else { return true };
        if row.due.is_some_and(|due| due > now) {
            return false;
        }
        let breaker = self.config.load().breaker;
        if matches!(row.breaker.state(), State::HalfOpen { probing: true, .. }) {
            row.breaker.record(Input::Neutral, now, &breaker, now);
        }
        let admitted = row.breaker.admit(&breaker, now);
        self.publish(row, now);
        admitted
    }

    /// How a member does at the site of a target; none when nothing is known.
    pub(crate) fn seen(&self, target: &str, member: MemberId) -> Option<Seen> {
        let (site, sets) = (self.hasher.hash_one(place_of(target)), self.sets.load());
        let rows = lock(set_of(&sets, site, member)?);
        rows.iter().find(|row| row.is_of(site, member)).map(Row::seen)
    }

    /// All that is known.
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.sets.load().iter().flat_map(|set| lock(set).iter().map(Row::seen).collect::<Vec<_>>()).collect()
    }
}

/// The site of `host:port`, and the port.
fn place_of(target: &str) -> (&str, u16) {
    (registrable(target), port_of(target))
}

/// The port at the end of `host:port`; 0 where there is none. From its end: that is a few steps.
fn port_of(target: &str) -> u16 {
    let (mut port, mut unit) = (0_u32, 1_u32);
    for byte in target.bytes().rev() {
        match byte {
            b'0'..=b'9' if unit <= 10_000 => {
                port += u32::from(byte - b'0') * unit;
                unit *= 10;
            }
            b':' => return u16::try_from(port).unwrap_or_default(),
            _ => return 0,
        }
    }
    0
}

fn empty(remember: usize) -> Sets {
    (0..remember.div_ceil(WAYS)).map(|_| Mutex::default()).collect()
}

/// Where the row of a pair is; none when nothing is remembered.
fn set_of(sets: &Sets, site: u64, member: MemberId) -> Option<&Mutex<Vec<Row>>> {
    let hash = mix(site ^ member.0.rotate_left(32));
    sets.get(usize::try_from(hash.checked_rem(sets.len() as u64)?).ok()?)
}

fn lock(set: &Mutex<Vec<Row>>) -> MutexGuard<'_, Vec<Row>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the breaker of a row opens for a fault: not for one that would be the same at all sites.
fn breaker_for(config: &SitesConfig, row: &Row, (member, successes): (&Member, u64), fault: &Fault) -> BreakerConfig {
    let SitesConfig { pass_over, breaker, .. } = *config;
    let works_elsewhere = successes > row.successes;
    // What does not hurt by itself comes here of those who were in doubt: they have broken off answers.
    let may_be_the_sites = works_elsewhere || fault.consequence().hurt != Hurt::Yes;
    let does_well = || member.live.success_rate().is_some_and(|rate| rate >= f64::from(breaker.min_success));
    BreakerConfig {
        failures: if pass_over && may_be_the_sites { breaker.failures } else { u32::MAX },
        min_success: if pass_over && does_well() { breaker.min_success } else { 0.0 },
        cooldown_max: if works_elsewhere { breaker.cooldown_max } else { breaker.cooldown },
        ..breaker
    }
}

impl Row {
    fn new(site: u64, (name, port): (&str, u16), member: MemberId, successes: u64) -> Self {
        Self {
            member,
            site,
            name: name.into(),
            port,
            breaker: Breaker::default(),
            latency: Ewma::default(),
            used: Timestamp::default(),
            successes,
            due: None,
        }
    }

    fn is_of(&self, site: u64, member: MemberId) -> bool {
        (self.site, self.member) == (site, member)
    }

    fn seen(&self) -> Seen {
        let window = self.breaker.window();
        Seen {
            member: self.member,
            site: self.name.clone(),
            port: self.port,
            uses: window.len(),
            success: window.success_rate(),
            latency: self.latency.get(),
            used: self.used,
            due: self.due,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
