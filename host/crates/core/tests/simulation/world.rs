//! A world of proxies and clients around the core, and the clock that drives it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::member::mix;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::select::{Filter, Membership, Mode, Picker, Plan, Sessions, Stick, Tier, Weighted, Wish};
use proxywhirl_core::time::micros;
use proxywhirl_core::{
    Anonymity, Candidate, Endpoint, Fault, Kind, Lease, MemberId, Outcome, Pool, Side, Snapshot, Stage, Tags, Timestamp,
};

use crate::ledger::{Entry, Ledger, Roster, key};
use crate::scenario::{Scenario, seconds};

/// What happens at some time. The order decides only between events of the same microsecond and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A client asks.
    Arrives,
    /// The attempt of a request is over.
    Ends { request: u64 },
    /// A tunnel closes.
    Closes { request: u64 },
    /// A proxy dies, or comes back.
    Turns { proxy: usize },
    /// Somebody joins the pool, leaves it, or gets a new label.
    Changes,
    /// The strategy has heard of the change and answers with a plan; until then, the old one is picked from.
    Plans,
}

/// A request that has not been answered, or a tunnel that has not been closed.
struct Request {
    session: Option<u64>,
    filter: Option<Filter>,
    tried: Vec<MemberId>,
    held: Option<(Lease, Entry)>,
}

/// Everything there is.
pub(crate) struct World {
    scenario: Scenario,
    now: Timestamp,
    agenda: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    happened: u64,
    history: u64,
    pool: Pool,
    snapshot: Snapshot,
    picker: Picker,
    roster: Roster,
    sessions: Sessions,
    /// By number, which is the port: whether it works.
    alive: Vec<bool>,
    requests: BTreeMap<u64, Request>,
    arrived: u32,
    is_calm: bool,
    ledger: Ledger,
}

impl World {
    /// A pool in which everybody is and works.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let mut pool = Pool::new(Arc::default(), scenario.proxies);
        for proxy in 0..scenario.proxies {
            pool.admit(vouched(proxy, 0), Timestamp::default());
        }
        let (snapshot, _) = pool.publish();
        let picker = Picker::compile(&Plan::fallback(), &snapshot, None).unwrap();
        let ledger = Ledger::new(scenario.mode, scenario.breaker, scenario.sessions);
        let mut world = Self {
            now: Timestamp::from_micros(1_700_000_000_000_000),
            agenda: BinaryHeap::new(),
            happened: 0,
            history: 0,
            pool,
            snapshot,
            picker,
            roster: None,
            sessions: Sessions::new(1_000),
            alive: vec![true; scenario.proxies],
            requests: BTreeMap::new(),
            arrived: 0,
            is_calm: false,
            ledger,
            scenario,
        };
        world.ledger.published(&world.snapshot);
        world.plan();
        world
    }

    /// Proxies die and come back, join and leave, while requests come.
    pub(crate) fn trouble(&mut self) {
        for proxy in 0..self.scenario.proxies {
            let after = seconds(&mut self.scenario.random, 0, 60);
            self.after(after, Event::Turns { proxy });
        }
        self.after(Duration::from_secs(5), Event::Changes);
        self.after(Duration::ZERO, Event::Arrives);
        while self.arrived < self.scenario.requests {
            self.step();
        }
    }

    /// Everybody works, requests go on until everybody is back in rotation, and then all of them end.
    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
        self.alive.fill(true);
        let until = self.now + self.scenario.breaker.cooldown_max;
        let limit = self.arrived + 50_000;
        while self.arrived < limit && (self.now < until || !self.ledger.is_calm(&self.snapshot, &self.roster)) {
            self.step();
        }
        self.arrived = u32::MAX;
        while !self.agenda.is_empty() {
            self.step();
        }
        self.ledger.settled(&self.snapshot, &self.roster);
    }

    /// A hash of all that happened.
    pub(crate) const fn history(&self) -> u64 {
        self.history
    }

    fn step(&mut self) {
        let Reverse((at, _, event)) = self.agenda.pop().unwrap();
        self.now = at;
        match event {
            Event::Arrives => self.arrive(),
            Event::Ends { request } => self.end(request),
            Event::Closes { request } => self.close(request),
            Event::Turns { proxy } => self.turn(proxy),
            Event::Changes => self.change(),
            Event::Plans => self.plan(),
        }
        self.ledger.check(self.now);
    }

    fn after(&mut self, span: Duration, event: Event) {
        self.happened += 1;
        self.agenda.push(Reverse((self.now + span, self.happened, event)));
    }

    fn note(&mut self, what: u64) {
        self.history = mix(self.history ^ mix(what) ^ self.now.as_micros());
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.scenario.random.below(100) < percent
    }

    fn arrive(&mut self) {
        if self.arrived == u32::MAX {
            return;
        }
        self.arrived += 1;
        let random = &mut self.scenario.random;
        let pause = usize::try_from(micros(self.scenario.pause)).unwrap();
        let (pause, number) = (random.below(2 * pause) as u64, random.below(50) as u64);
        let session = (self.scenario.mode == Mode::Affinity && !self.is_calm && self.chance(70)).then_some(number);
        self.after(Duration::from_micros(pause), Event::Arrives);
        let filtered = self.scenario.filtered;
        let filter = (!self.is_calm && self.chance(filtered)).then(|| self.demand());
        let request = u64::from(self.arrived);
        self.requests.insert(request, Request { session, filter, tried: Vec::new(), held: None });
        self.attempt(request);
    }

    /// A label that some proxies have.
    fn demand(&mut self) -> Filter {
        let label = format!("label:{}", self.scenario.random.below(4));
        Filter::new([], label.parse(), [], Anonymity::Unknown)
    }

    /// Asks the core for a member; without one, the request has failed.
    fn attempt(&mut self, number: u64) {
        let seed = self.scenario.random.bits();
        let request = self.requests.get_mut(&number).unwrap();
        let (filter, session) = (request.filter.as_ref(), request.session);
        let wish = Wish { now: self.now, tried: &request.tried, filter, session, stick: Stick::default(), seed };
        let Some(slot) = self.picker.pick(&self.snapshot, &wish, &self.sessions) else {
            let (refusals, _) = self.picker.refusals(&self.snapshot, &wish, &self.sessions);
            self.ledger.refused(&self.snapshot, &self.roster, &wish, &refusals);
            self.requests.remove(&number);
            return self.note(number);
        };
        let member = Arc::clone(self.snapshot.get(slot).expect("somebody is where the pick says"));
        self.ledger.picked(&member, &self.snapshot, &self.roster, &wish);
        let lease = Lease::take(Arc::clone(&member), &self.scenario.breaker, self.now);
        let lease = lease.expect("who was picked a moment ago may be used");
        let entry = self.ledger.leased(&member);
        request.tried.push(member.id);
        request.held = Some((lease, entry));
        self.note(number ^ u64::from(member.slot) << 32 ^ u64::from(member.generation) << 48);
        let took = self.patience(&member);
        self.after(took, Event::Ends { request: number });
    }

    /// How long an attempt takes: an answer, a refusal, or silence until the client's limit.
    fn patience(&mut self, member: &proxywhirl_core::Member) -> Duration {
        let is_alive = self.alive[usize::from(member.endpoint.port) - 1];
        let is_silent = self.chance(if is_alive { 2 } else { 30 });
        let random = &mut self.scenario.random;
        if is_silent { seconds(random, 5, 60) } else { Duration::from_micros(200 + random.below(400_000) as u64) }
    }

    fn end(&mut self, number: u64) {
        let mut request = self.requests.remove(&number).unwrap();
        let (mut lease, mut entry) = request.held.take().unwrap();
        let is_alive = self.alive[usize::from(lease.member().endpoint.port) - 1];
        let fate = if self.is_calm { 99 } else { self.scenario.random.below(100) };
        self.note(number ^ u64::from(is_alive) << 32 ^ (fate as u64) << 40);
        let outcome = match fate {
            // The client has hung up: nothing is reported.
            0..4 => {
                drop(lease);
                self.ledger.reported(&mut entry);
                return self.ledger.returned(entry);
            }
            // The origin is at fault.
            4..8 => Outcome::Neutral,
            _ if is_alive => Outcome::Success { latency: self.now.since(lease.taken()) },
            _ => Outcome::Failure(Fault::new(Side::Upstream, Stage::Connect, Kind::Timeout, "")),
        };
        let failed = matches!(outcome, Outcome::Failure(_));
        lease.report(&outcome, self.now);
        self.ledger.reported(&mut entry);
        if !failed && self.chance(30) {
            request.held = Some((lease, entry));
            self.requests.insert(number, request);
            let span = seconds(&mut self.scenario.random, 0, 20);
            return self.after(span, Event::Closes { request: number });
        }
        drop(lease);
        self.ledger.returned(entry);
        if failed {
            self.requests.insert(number, request);
            self.attempt(number);
        }
    }

    fn close(&mut self, number: u64) {
        let (lease, entry) = self.requests.remove(&number).unwrap().held.unwrap();
        drop(lease);
        self.ledger.returned(entry);
    }

    fn turn(&mut self, proxy: usize) {
        if self.is_calm {
            return;
        }
        self.alive[proxy] = !self.alive[proxy];
        let span = if self.alive[proxy] { 60 } else { 30 };
        let span = seconds(&mut self.scenario.random, 1, span);
        self.after(span, Event::Turns { proxy });
    }

    fn change(&mut self) {
        if self.is_calm {
            return;
        }
        let proxy = self.scenario.random.below(self.scenario.proxies);
        let label = self.scenario.random.below(4);
        // A pool without anybody says nothing about picks.
        if self.chance(40) && self.pool.len() > 1 {
            self.pool.remove(&endpoint(proxy).key());
        } else {
            self.pool.admit(vouched(proxy, label), self.now);
        }
        (self.snapshot, _) = self.pool.publish();
        self.ledger.published(&self.snapshot);
        let (until, lag) = (seconds(&mut self.scenario.random, 0, 10), seconds(&mut self.scenario.random, 0, 10));
        self.after(lag, Event::Plans);
        self.after(until, Event::Changes);
    }

    /// Compiles a plan for the present snapshot, as a strategy would have made it.
    fn plan(&mut self) {
        let random = &mut self.scenario.random;
        let mut roster = BTreeMap::new();
        let members = if self.scenario.listed {
            let mut members = Vec::new();
            for member in self.snapshot.iter() {
                let weight = [0.0, 0.5, 1.0, 1.0, 1.5][random.below(5)];
                roster.insert(key(member), weight);
                members.push(Weighted { slot: member.slot, weight });
            }
            Membership::These(members)
        } else {
            Membership::Everyone
        };
        self.roster = self.scenario.listed.then_some(roster);
        let tiers = vec![Tier { mode: self.scenario.mode, members }];
        let plan = Plan { tiers, sessions: self.scenario.sessions, ..Plan::default() };
        self.picker = Picker::compile(&plan, &self.snapshot, Some(&self.picker)).unwrap();
    }
}

fn endpoint(proxy: usize) -> Endpoint {
    format!("http://10.0.0.1:{}", proxy + 1).parse().unwrap()
}

fn vouched(proxy: usize, label: usize) -> Admission {
    let tags: Tags = [format!("label:{label}").parse().unwrap()].into_iter().collect();
    Admission::Vouched(Box::new(Candidate { tags, ..endpoint(proxy).into() }))
}
