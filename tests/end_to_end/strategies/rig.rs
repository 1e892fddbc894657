//! A component of a strategy, a real pool and the host's own picks, in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::live::{Health, Statistics};
use proxywhirl_core::plugin::{Observation, Strategy, View};
use proxywhirl_core::pool::Admission;
use proxywhirl_core::select::random::Random;
use proxywhirl_core::select::{Picker, Plan, Sessions, Stick, Wish};
use proxywhirl_core::store::StoredMember;
use proxywhirl_core::symbol::{Symbol, Symbols};
use proxywhirl_core::{
    Anonymity, Endpoint, Fault, Kind, Lease, Member, MemberId, Outcome, Pool, Side, Snapshot, Stage, Timestamp,
};
use proxywhirl_wasm::{Plugins, PluginsConfig};

/// A request each millisecond; the strategy hears of them each second, as in the engine.
const EVERY: Duration = Duration::from_millis(1);
const OBSERVED: u64 = 1_000;

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// No breaker closes by itself during a test.
const BREAKER: BreakerConfig = BreakerConfig {
    failures: 1,
    min_success: 0.0,
    samples: 100,
    cooldown: Duration::from_secs(1_000_000),
    cooldown_max: Duration::from_secs(1_000_000),
    successes: 1,
};

/// What is known of somebody who joins.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    pub(super) tags: &'static [&'static str],
    /// Empty for none.
    pub(super) country: &'static str,
    pub(super) successes: u64,
    pub(super) failures: u64,
    /// Zero for never measured.
    pub(super) latency: Duration,
}

/// A component, a pool, and picks.
pub(super) struct Rig {
    pool: Pool,
    snapshot: Snapshot,
    /// Members by identity: the numbers by which tests know them.
    numbers: BTreeMap<MemberId, u32>,
    /// Numbers whose breaker is open: bookkeeping of its own, to hold the core's against.
    open: BTreeSet<u32>,
    /// The time as breakers see it: ahead of the clock by a cooldown for each that was closed.
    breakers: Timestamp,
    strategy: Box<dyn Strategy>,
    is_taught: bool,
    picker: Picker,
    sessions: Sessions,
    /// When the plan is too old.
    due: Option<Timestamp>,
    clock: Arc<AtomicU64>,
    chance: Random,
}

/// The directory whose components are tried.
fn components() -> PathBuf {
    let committed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/dist");
    std::env::var_os("PROXYWHIRL_TEST_PLUGINS").map_or_else(committed, PathBuf::from)
}

fn endpoint(number: u32) -> Endpoint {
    format!("http://{}:8080", std::net::Ipv4Addr::from(0x0a00_0000 + number)).parse().unwrap()
}

impl Rig {
    pub(super) fn new(name: &str, options: &str, seed: u64) -> Self {
        let symbols = Arc::new(Symbols::default());
        let clock = Arc::new(AtomicU64::new(START.as_micros()));
        let now = Arc::clone(&clock);
        let reads = Arc::new(move || Timestamp::from_micros(now.load(Ordering::Relaxed)));
        let mut config = PluginsConfig::new(Arc::clone(&symbols), reads);
        // Alone in its directory, so that the others need not be read each time, and compiled once for all tests.
        let home = tempfile::tempdir().unwrap();
        let file = format!("{name}.wasm");
        std::fs::copy(components().join(&file), home.path().join(&file)).expect("there is a component of it");
        config.directory = Some(home.path().to_owned());
        config.cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("strategies"));
        config.seed = seed;
        // A busy machine may take its time.
        config.limits.strategy.call = Duration::from_secs(30);
        let plugins = Plugins::load(config).unwrap();
        let strategy = plugins.strategy(name, options).and_then(|factory| Ok(factory.instance()?)).unwrap();
        let snapshot = Snapshot::default();
        Self {
            pool: Pool::new(symbols, 10_000),
            picker: Picker::compile(&Plan::fallback(), &snapshot, None).unwrap(),
            snapshot,
            numbers: BTreeMap::new(),
            open: BTreeSet::new(),
            breakers: START,
            strategy,
            is_taught: false,
            sessions: Sessions::default(),
            due: None,
            clock,
            chance: Random::new(seed),
        }
    }

    pub(super) fn join(&mut self, number: u32, profile: &Profile) {
        let stored = StoredMember {
            endpoint: endpoint(number),
            tags: profile.tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            country: (!profile.country.is_empty()).then(|| profile.country.parse().unwrap()),
            anonymity: Anonymity::Unknown,
            added: self.now(),
            statistics: Statistics {
                successes: profile.successes,
                failures: profile.failures,
                latency: (!profile.latency.is_zero()).then_some(profile.latency),
                last_used: START,
            },
            health: Health::Unknown,
        };
        self.numbers.insert(MemberId::of(&stored.endpoint.key()), number);
        self.pool.admit(Admission::Restored(Box::new(stored)), self.now());
    }

    pub(super) fn leave(&mut self, number: u32) {
        self.pool.remove(&endpoint(number).key()).expect("it is a member");
    }

    /// Opens the breaker of a member.
    pub(super) fn open(&mut self, number: u32) {
        let fault = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "");
        self.breakers = self.breakers.max(self.now());
        let mut lease = Lease::take(Arc::clone(self.member(number)), &BREAKER, self.breakers).expect("it is closed");
        lease.report(&Outcome::Failure(fault), self.breakers);
        self.open.insert(number);
    }

    /// Closes it again, if it is still a member: a probe goes well when its cooldown is over.
    pub(super) fn close(&mut self, number: u32) {
        self.open.remove(&number);
        if let Some(member) = self.pool.find(&endpoint(number).key()).cloned() {
            self.breakers = self.breakers + BREAKER.cooldown;
            let latency = member.live.latency().unwrap_or(EVERY);
            let mut lease = Lease::take(member, &BREAKER, self.breakers).expect("its cooldown is over");
            lease.report(&Outcome::Success { latency }, self.breakers);
        }
    }

    /// Tells the strategy what has changed, and puts its plan in force.
    pub(super) fn publish(&mut self) {
        let (snapshot, delta) = self.pool.publish();
        let rows: Vec<Arc<Member>> = delta.upserts.iter().filter_map(|slot| snapshot.get(*slot).cloned()).collect();
        let reset = !std::mem::replace(&mut self.is_taught, true);
        self.strategy.apply(snapshot.epoch(), reset, &rows, &delta.removed).unwrap();
        self.snapshot = snapshot;
        self.plan();
    }

    pub(super) fn plan(&mut self) {
        let (now, seed) = (self.now(), self.chance.bits());
        let plan = self.strategy.plan(&View::default(), now, seed).unwrap();
        self.picker = Picker::compile(&plan, &self.snapshot, Some(&self.picker)).unwrap();
        assert!(!self.picker.asks_per_request(), "none of the bundled strategies is asked for each request");
        self.due = plan.refresh.map(|period| now + period);
        if let Some(stickiness) = plan.sessions
            && self.sessions.capacity() != stickiness.capacity
        {
            self.sessions = self.sessions.resized(stickiness.capacity);
        }
    }

    /// The numbers of those who are in the pool with a closed breaker.
    pub(super) fn eligible(&self) -> BTreeSet<u32> {
        let members = self.pool.iter().map(|member| self.numbers[&member.id]);
        members.filter(|number| !self.open.contains(number)).collect()
    }

    /// A pick, a millisecond after the one before it. Whoever it is, they are eligible.
    pub(super) fn pick(&mut self, session: Option<u64>) -> Option<u32> {
        self.choose(session).map(|(number, _)| number)
    }

    fn choose(&mut self, session: Option<u64>) -> Option<(u32, Arc<Member>)> {
        self.clock.fetch_add(u64::try_from(EVERY.as_micros()).unwrap(), Ordering::Relaxed);
        let now = self.now();
        if self.due.is_some_and(|due| due <= now) {
            self.plan();
        }
        let wish = Wish { now, tried: &[], filter: None, session, stick: Stick::default(), seed: self.chance.bits() };
        let member = Arc::clone(self.snapshot.get(self.picker.pick(&self.snapshot, &wish, &self.sessions)?)?);
        let number = self.numbers[&member.id];
        assert!(!self.open.contains(&number), "{number} was picked, and its breaker is open");
        assert!(
            self.snapshot.get(member.slot).is_some_and(|it| it.id == member.id),
            "{number} was picked, and has left"
        );
        Some((number, member))
    }

    /// So many picks that say nothing about anybody.
    pub(super) fn picks(&mut self, count: u32) -> BTreeMap<u32, u64> {
        let mut counts = BTreeMap::new();
        for _ in 0..count {
            let picked = self.pick(None).expect("somebody is eligible");
            *counts.entry(picked).or_insert(0) += 1;
        }
        counts
    }

    /// So many picks, all of them in flight until the last.
    pub(super) fn hold(&mut self, count: u32) -> BTreeMap<u32, u64> {
        let (mut counts, mut leases) = (BTreeMap::new(), Vec::new());
        for _ in 0..count {
            let (number, member) = self.choose(None).expect("somebody is eligible");
            leases.push(Lease::take(member, &BREAKER, self.now()).unwrap());
            *counts.entry(number).or_insert(0) += 1;
        }
        counts
    }

    /// So many picks, whose outcomes (success, microseconds) the strategy hears of each second.
    pub(super) fn serve(&mut self, count: u32, truth: impl Fn(u32) -> (bool, u32), picked: impl FnMut(u32)) {
        self.serve_by_chance(count, |number, _| truth(number), picked);
    }

    /// The same, where the outcome depends on chance: a number from 0 to 1.
    pub(super) fn serve_by_chance(
        &mut self,
        count: u32,
        truth: impl Fn(u32, f64) -> (bool, u32),
        mut picked: impl FnMut(u32),
    ) {
        let mut seen = Vec::new();
        for done in 1..=u64::from(count) {
            let (number, member) = self.choose(None).expect("somebody is eligible");
            let (success, latency) = truth(number, self.chance.unit());
            seen.push(Observation { slot: member.slot, site: Symbol::NONE, success, latency });
            picked(number);
            if done.is_multiple_of(OBSERVED) {
                self.observe(&seen);
                seen.clear();
            }
        }
    }

    /// Tells the strategy how uses went, and renews the plan if it wants that.
    pub(super) fn observe(&mut self, seen: &[Observation]) {
        if self.strategy.observe(seen).unwrap() {
            self.plan();
        }
    }

    /// A use of a member, as the strategy hears of it.
    pub(super) fn observation(&self, number: u32, success: bool, latency: u32) -> Observation {
        Observation { slot: self.member(number).slot, site: Symbol::NONE, success, latency }
    }

    fn member(&self, number: u32) -> &Arc<Member> {
        self.pool.find(&endpoint(number).key()).expect("it is a member")
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Ordering::Relaxed))
    }
}
