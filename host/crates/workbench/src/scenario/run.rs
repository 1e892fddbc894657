//! A scenario as it runs: steps change the pool, the time and what is known; picks are written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::member::mix;
use proxywhirl_core::plugin::Observation;
use proxywhirl_core::select::Filter;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::time::{Timestamp, micros};
use proxywhirl_core::{Anonymity, Fault, Kind, Lease, Member, MemberId, Outcome, Side, Stage};
use serde_json::Value;

use super::cast::{Cast, Player};
use super::expect::Picks;
use super::format::{Observed, Requests, Row, Sessions, Step};
use super::plan;
use super::selector::Selector;
use crate::rotation::{Ask, Rotation};
use crate::subject::Loaded;

/// Requests of one step.
const MAX_REQUESTS: u64 = 10_000_000;

/// How often the engine tells a strategy how uses went.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// Longer than any scenario.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Breakers open and close by `down` and `up` only, not by what uses come to.
const STEADY: BreakerConfig = BreakerConfig {
    failures: u32::MAX,
    min_success: 0.0,
    samples: 100,
    cooldown: CENTURY,
    cooldown_max: CENTURY,
    successes: 1,
};

/// When the uses were admitted that open and close breakers: so late that no breaker takes them for old news.
const NEWS: Timestamp = Timestamp::from_micros(u64::MAX);

/// One fault opens it for good.
const DOWN: BreakerConfig = BreakerConfig { failures: 1, ..STEADY };

/// A scenario that runs.
pub(super) struct Run<'a> {
    rotation: Rotation<'a>,
    loaded: &'a Loaded,
    options: Value,
    cast: Cast,
    observations: Vec<Observation>,
    told: Timestamp,
    /// Whom each session was with when it was seen last.
    homes: BTreeMap<u64, usize>,
    picks: u64,
}

impl<'a> Run<'a> {
    pub(super) fn new(loaded: &'a Loaded, options: &Value, seed: u64) -> Result<Self, String> {
        let rotation = Rotation::new(loaded, &options.to_string(), seed)?;
        Ok(Self {
            told: rotation.now(),
            rotation,
            loaded,
            options: options.clone(),
            cast: Cast::default(),
            observations: Vec::new(),
            homes: BTreeMap::new(),
            picks: 0,
        })
    }

    /// How many members there were, and picks.
    pub(super) fn totals(&self) -> (usize, u64) {
        (self.cast.len(), self.picks)
    }

    pub(super) fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Pick(requests) => self.pick(&requests),
            Step::Join(rows) => self.join(&rows),
            Step::Leave(who) => self.leave(&who),
            Step::Down(who) => self.each(&who, down),
            Step::Up(who) => self.each(&who, up),
            Step::Observe(observed) => self.observe(&observed),
            Step::Wait(span) => Ok(self.rotation.pass(span)?),
            Step::Swap(options) => self.swap(options),
            Step::Plan(expected) => plan::check(&mut self.rotation, &self.cast, &self.loaded.symbols, &expected),
        }
    }

    fn join(&mut self, rows: &[Row]) -> Result<(), String> {
        let now = self.rotation.now();
        for row in rows {
            for at in self.cast.add(row)? {
                let Some(player) = self.cast.get(at) else { continue };
                if self.rotation.join(player.admission(now)).is_none() {
                    return Err("the pool is full".to_owned());
                }
            }
        }
        Ok(self.rotation.publish()?)
    }

    fn leave(&mut self, who: &[Selector]) -> Result<(), String> {
        let mut anybody = false;
        for at in self.cast.select(who)? {
            let Some(player) = self.cast.get(at) else { continue };
            anybody |= self.rotation.leave(&player.candidate.endpoint.key());
        }
        if !anybody {
            return Err("nobody of these is in the pool".to_owned());
        }
        Ok(self.rotation.publish()?)
    }

    fn each(&mut self, who: &[Selector], change: impl Fn(&Player, &Member, Timestamp)) -> Result<(), String> {
        let now = self.rotation.now();
        for at in self.cast.select(who)? {
            let Some(player) = self.cast.get(at) else { continue };
            if let Some(member) = self.rotation.find(&player.candidate.endpoint.key()) {
                change(player, member, now);
            }
        }
        Ok(())
    }

    fn observe(&mut self, observed: &[Observed]) -> Result<(), String> {
        let mut told = Vec::new();
        for entry in observed {
            let site = self.site(entry.site.as_deref());
            for at in self.cast.select(entry.of.as_slice())? {
                let Some(player) = self.cast.get(at) else { continue };
                let Some(member) = self.rotation.find(&player.candidate.endpoint.key()).cloned() else { continue };
                let latency = entry.latency.map_or(player.responds, |span| span.0);
                let both = [(true, entry.successes), (false, entry.failures)];
                for (success, times) in both {
                    for _ in 0..times {
                        told.push(use_once(&member, success, latency, site, self.rotation.now()));
                    }
                }
            }
        }
        Ok(self.rotation.observe(&told)?)
    }

    fn swap(&mut self, options: Option<Value>) -> Result<(), String> {
        self.tell()?;
        if let Some(options) = options {
            self.options = options;
        }
        self.rotation.swap(&self.options.to_string())?;
        Ok(())
    }

    fn pick(&mut self, requests: &Requests) -> Result<(), String> {
        if requests.count > MAX_REQUESTS {
            return Err(format!("{} requests, the limit is {MAX_REQUESTS}", requests.count));
        }
        let (countries, tags) = (requests.countries.iter().copied(), requests.tags.iter().cloned());
        let view = self.rotation.view(&Filter::new(countries, tags, [], Anonymity::Unknown));
        let mut picks = Picks::new(self.cast.len());
        let mut held = Vec::new();
        for number in 0..requests.count {
            self.rotation.pass(requests.every)?;
            self.tell_if_due()?;
            self.request(requests, number, view, &mut picks, &mut held)?;
        }
        drop(held);
        self.tell()?;
        self.picks += picks.total();
        let present = self.rotation.snapshot().iter().filter_map(|member| self.cast.find(member.id)).collect();
        picks.check(&requests.expect, &self.cast, &present, &self.homes)?;
        self.homes.extend(picks.homes());
        Ok(())
    }

    /// One request: as many picks as it has attempts, none of them twice.
    fn request(
        &mut self,
        requests: &Requests,
        number: u64,
        view: u32,
        picks: &mut Picks,
        held: &mut Vec<Lease>,
    ) -> Result<(), String> {
        let session = match &requests.sessions {
            Sessions::None => None,
            Sessions::One(name) => Some(hash(name)),
            Sessions::Round(count) => Some(hash(&format!("session-{}", number % count + 1))),
        };
        let at = usize::try_from(number).unwrap_or(0) % requests.sites.len().max(1);
        let site_name = requests.sites.get(at).map(String::as_str);
        let site = self.site(site_name);
        let mut tried: Vec<MemberId> = Vec::new();
        for _ in 0..requests.attempts {
            let chosen = self.rotation.pick(&Ask { view, site, session, tried: &tried })?;
            let Some(member) = chosen else {
                picks.nobody();
                continue;
            };
            tried.push(member.id);
            let Some(at) = self.cast.find(member.id) else { continue };
            picks.add(at, session);
            let Some(lease) = Lease::take(Arc::clone(&member), &STEADY, self.rotation.now()) else {
                return Err(format!("{} was picked although its breaker is open", self.cast.name(at)));
            };
            if requests.settle {
                self.settle(at, lease, site_name, site);
            } else if requests.hold {
                held.push(lease);
            }
        }
        Ok(())
    }

    /// What came of a use follows from what the member is really like.
    fn settle(&mut self, at: usize, mut lease: Lease, site_name: Option<&str>, site: Symbol) {
        let Some(player) = self.cast.get(at) else { return };
        let success = self.rotation.random().unit() < player.succeeds(site_name);
        let now = self.rotation.now();
        lease.report(&outcome(success, player.responds), now);
        self.observations.push(observation(lease.member(), success, player.responds, site));
    }

    fn tell_if_due(&mut self) -> Result<(), String> {
        if self.rotation.now().since(self.told) >= OBSERVE_EVERY { self.tell() } else { Ok(()) }
    }

    fn tell(&mut self) -> Result<(), String> {
        self.told = self.rotation.now();
        let observations = std::mem::take(&mut self.observations);
        if observations.is_empty() { Ok(()) } else { Ok(self.rotation.observe(&observations)?) }
    }

    fn site(&self, name: Option<&str>) -> Symbol {
        name.map_or(Symbol::NONE, |name| self.loaded.symbols.intern(name))
    }
}

/// A use that was not picked: it happened elsewhere in the story.
fn use_once(member: &Member, success: bool, latency: Duration, site: Symbol, now: Timestamp) -> Observation {
    member.live.record(&outcome(success, latency), now, &STEADY, now);
    observation(member, success, latency, site)
}

fn outcome(success: bool, latency: Duration) -> Outcome {
    if success { Outcome::Success { latency } } else { Outcome::Failure(fault()) }
}

fn fault() -> Fault {
    Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "as the scenario says")
}

fn observation(member: &Member, success: bool, latency: Duration, site: Symbol) -> Observation {
    let latency = if success { u32::try_from(micros(latency)).unwrap_or(u32::MAX) } else { 0 };
    Observation { slot: member.slot, site, success, latency }
}

/// Opens the breaker, by one fault.
fn down(_: &Player, member: &Member, now: Timestamp) {
    member.live.record(&Outcome::Failure(fault()), NEWS, &DOWN, now);
}

/// Closes the breaker, by one success that is as fast as the others.
fn up(player: &Player, member: &Member, now: Timestamp) {
    if member.live.is_admissible(now) || !member.live.admit(&STEADY, NEWS) {
        return;
    }
    let latency = member.live.latency().unwrap_or(player.responds);
    member.live.record(&Outcome::Success { latency }, NEWS, &STEADY, now);
    member.live.leave();
}

/// A session's name as a number that is not 0.
fn hash(name: &str) -> u64 {
    let folded = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(folded).max(1)
}
