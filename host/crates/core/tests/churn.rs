//! A million picks in each native mode from a pool that changes all the time: the shares are those of the plan, and nobody
//! is picked who has left, is behind a breaker, or was never in the plan.
//!
//! The pool changes every thousand picks: members leave, others take their places, breakers open and close. Half of the
//! times the plan is still the one from before the change. What each member should get is added up by what the members
//! themselves say, not by what picks read; chi-squared compares it with what they got.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::breaker::{BreakerConfig, State};
use proxywhirl_core::member::mix;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::select::random::Random;
use proxywhirl_core::select::{Membership, Mode, Picker, Plan, Sessions, Stick, Tier, Weighted, Wish};
use proxywhirl_core::{
    Endpoint, Fault, Kind, Lease, Member, MemberId, Outcome, Pool, Side, Snapshot, Stage, Timestamp,
};

const PROXIES: u32 = 300;
const PHASES: u32 = 1_000;
const PICKS: u32 = 1_000;

/// Slot and generation: who was there when the plan was made.
type Key = (u32, u32);

/// The tiers: their members with weights, or everybody.
type Tiers = Vec<(Mode, Option<BTreeMap<Key, f32>>)>;

struct World {
    random: Random,
    now: Timestamp,
    pool: Pool,
    snapshot: Snapshot,
    tiers: Tiers,
    picker: Picker,
    sessions: Sessions,
    /// Uses that go on, so that some are busier than others.
    leases: Vec<Lease>,
    config: BreakerConfig,
    /// By slot: who may be picked until the next change, and how often it was.
    phase: Vec<Option<(MemberId, u32)>>,
    /// By member: picks that it should have got, and picks that it got.
    counts: BTreeMap<MemberId, (f64, f64)>,
    history: u64,
}

fn key(member: &Member) -> Key {
    (member.slot, member.generation)
}

fn is_closed(member: &Member, now: Timestamp) -> bool {
    match member.live.breaker().state() {
        State::Closed { .. } => true,
        State::Open { until, .. } => now >= until,
        State::HalfOpen { probing, .. } => !probing,
    }
}

fn vouched(n: u32) -> Admission {
    let endpoint: Endpoint = format!("http://10.0.{}.{}:80", n / 250, n % 250).parse().unwrap();
    Admission::Vouched(Box::new(endpoint.into()))
}

impl World {
    fn new(seed: u64, modes: &[Mode], is_listed: bool) -> Self {
        let mut pool = Pool::new(Arc::default(), PROXIES as usize);
        for n in 0..PROXIES / 2 {
            pool.admit(vouched(n), Timestamp::default());
        }
        let (snapshot, _) = pool.publish();
        let picker = Picker::compile(&Plan::fallback(), &snapshot, None).unwrap();
        let mut world = Self {
            random: Random::new(seed),
            now: Timestamp::from_micros(1_700_000_000_000_000),
            pool,
            snapshot,
            tiers: Vec::new(),
            picker,
            sessions: Sessions::default(),
            leases: Vec::new(),
            config: BreakerConfig { failures: 1, cooldown: Duration::from_secs(5), ..BreakerConfig::default() },
            phase: Vec::new(),
            counts: BTreeMap::new(),
            history: 0,
        };
        world.plan(modes, is_listed);
        world
    }

    fn run(&mut self, phases: u32, modes: &[Mode], is_listed: bool) {
        for phase in 0..phases {
            self.change();
            if phase % 2 == 0 {
                self.plan(modes, is_listed);
            }
            self.expect();
            for _ in 0..PICKS {
                self.pick();
            }
            for (id, got) in self.phase.drain(..).flatten() {
                self.counts.entry(id).or_default().1 += f64::from(got);
            }
        }
    }

    /// Some leave, some join, some break, some get better, some are used.
    fn change(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        self.leases.truncate(20);
        for _ in 0..3 {
            let n = u32::try_from(self.random.below(PROXIES as usize)).unwrap();
            let Admission::Vouched(candidate) = vouched(n) else { unreachable!() };
            if self.pool.remove(&candidate.endpoint.key()).is_none() {
                self.pool.admit(vouched(n), self.now);
            }
        }
        (self.snapshot, _) = self.pool.publish();
        let members: Vec<_> = self.snapshot.iter().cloned().collect();
        for _ in 0..8 {
            let member = &members[self.random.below(members.len())];
            let Some(mut lease) = Lease::take(Arc::clone(member), &self.config, self.now) else { continue };
            match self.random.below(3) {
                0 => drop(lease.report(&failure(), self.now)),
                1 => drop(lease.report(&Outcome::Success { latency: Duration::from_millis(50) }, self.now)),
                _ => self.leases.insert(0, lease),
            }
        }
    }

    /// A new plan: of several tiers, all but the last are small.
    fn plan(&mut self, modes: &[Mode], is_listed: bool) {
        self.tiers.clear();
        for (index, mode) in modes.iter().enumerate() {
            let mut members = BTreeMap::new();
            if is_listed {
                for member in self.snapshot.iter() {
                    let weight = [0.0, 0.5, 1.0, 2.5][self.random.below(4)];
                    if index + 1 == modes.len() || member.slot % 100 == u32::try_from(index).unwrap() {
                        members.insert(key(member), weight);
                    }
                }
            }
            self.tiers.push((*mode, is_listed.then_some(members)));
        }
        let tier = |(mode, members): &(Mode, Option<BTreeMap<Key, f32>>)| {
            let weighted = |((slot, _), weight): (&Key, &f32)| Weighted { slot: *slot, weight: *weight };
            let listed = |members: &BTreeMap<Key, f32>| Membership::These(members.iter().map(weighted).collect());
            Tier { mode: *mode, members: members.as_ref().map_or(Membership::Everyone, listed) }
        };
        let plan = Plan { tiers: self.tiers.iter().map(tier).collect(), ..Plan::default() };
        self.picker = Picker::compile(&plan, &self.snapshot, Some(&self.picker)).unwrap();
    }

    /// The first tier in which anybody is eligible, and their weights.
    fn eligible(&self) -> (Mode, Vec<(Arc<Member>, f64)>) {
        for (mode, members) in &self.tiers {
            let weight = |member: &Member| match members {
                Some(members) => f64::from(members.get(&key(member)).copied().unwrap_or(0.0)),
                None => 1.0,
            };
            let eligible = self.snapshot.iter().filter(|member| is_closed(member, self.now));
            let weighted = eligible.map(|member| (Arc::clone(member), weight(member)));
            let weighted: Vec<_> = weighted.filter(|(_, weight)| *weight > 0.0).collect();
            if !weighted.is_empty() {
                return (*mode, weighted);
            }
        }
        panic!("nobody is eligible")
    }

    /// Adds up what each should get until the next change.
    fn expect(&mut self) {
        let (mode, eligible) = self.eligible();
        let sum: f64 = eligible.iter().map(|(_, weight)| weight).sum();
        let candidates: Vec<Candidacy> = eligible.iter().map(|one| Candidacy::of(one, sum)).collect();
        self.phase = vec![None; self.snapshot.end() as usize];
        for ((member, _), one) in eligible.iter().zip(&candidates) {
            let chance = match mode {
                Mode::Cycle => 1.0 / eligible.len() as f64,
                Mode::Draw | Mode::Affinity => one.share,
                Mode::LeastLoaded => one.share * candidates.iter().map(|two| two.share * one.wins(two)).sum::<f64>(),
            };
            self.counts.entry(member.id).or_default().0 += chance * f64::from(PICKS);
            self.phase[member.slot as usize] = Some((member.id, 0));
        }
    }

    fn pick(&mut self) {
        let (seed, session) = (self.random.bits(), self.random.bits());
        let wish =
            Wish { now: self.now, tried: &[], filter: None, session: Some(session), stick: Stick::default(), seed };
        let slot = self.picker.pick(&self.snapshot, &wish, &self.sessions).unwrap();
        let member = self.snapshot.get(slot).unwrap();
        self.history = mix(self.history ^ member.id.0);
        let Some((id, got)) = &mut self.phase[member.slot as usize] else {
            panic!("{} has left, is behind its breaker, or is not in the plan", member.endpoint);
        };
        assert_eq!(*id, member.id, "somebody else is there");
        *got += 1;
    }
}

/// How somebody fares when drawn beside another.
struct Candidacy {
    share: f64,
    weight: f64,
    uses: f64,
    latency: Option<f64>,
}

impl Candidacy {
    fn of((member, weight): &(Arc<Member>, f64), sum: f64) -> Self {
        let latency = member.live.latency().map(|latency| latency.as_secs_f64());
        Self { share: weight / sum, weight: *weight, uses: f64::from(member.live.in_flight() + 1), latency }
    }

    /// In how many of the two orders in which both are drawn this one wins: of two that are equal the first does.
    fn wins(&self, other: &Self) -> f64 {
        let (mine, theirs) = self.latency.zip(other.latency).unwrap_or((1.0, 1.0));
        let (mine, theirs) = (self.uses * mine / self.weight, other.uses * theirs / other.weight);
        if (mine - theirs).abs() < 1e-9 * mine { 1.0 } else { 2.0 * f64::from(u8::from(mine < theirs)) }
    }
}

fn failure() -> Outcome {
    Outcome::Failure(Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, ""))
}

/// Chi-squared and its degrees of freedom.
fn deviation(world: &World) -> (f64, f64) {
    let counted = world.counts.values().filter(|(expected, _)| *expected > 0.0);
    let parts: Vec<f64> = counted.map(|(expected, got)| (got - expected).powi(2) / expected).collect();
    (parts.iter().sum(), parts.len() as f64 - 1.0)
}

fn a_million_picks_of(modes: &[Mode], is_listed: bool) {
    let mut world = World::new(7, modes, is_listed);
    world.run(PHASES, modes, is_listed);
    let (chi_squared, freedom) = deviation(&world);
    // The mean is the degrees of freedom; beyond five deviations there is nobody by chance.
    let bound = freedom + 5.0 * (2.0 * freedom).sqrt();
    assert!(freedom > 50.0 && chi_squared < bound, "{modes:?}: chi-squared {chi_squared:.0} of {freedom}");
    assert!(world.counts.values().all(|(expected, got)| *expected > 0.0 || *got == 0.0));
}

#[test]
fn a_cycle_gives_each_its_turn() {
    for is_listed in [false, true] {
        let mut world = World::new(7, &[Mode::Cycle], is_listed);
        world.run(PHASES, &[Mode::Cycle], is_listed);
        // No chance in it: a member is off by a turn at the most whenever the pool changes, and half of that evens out.
        for (expected, got) in world.counts.values() {
            assert!(
                (got - expected).abs() < 0.02 * f64::from(PHASES) + 0.05 * expected,
                "{got} picks of {expected:.0}"
            );
        }
    }
}

#[test]
fn draws_follow_the_weights() {
    a_million_picks_of(&[Mode::Draw], true);
    a_million_picks_of(&[Mode::Draw], false);
}

#[test]
fn new_sessions_follow_the_weights() {
    a_million_picks_of(&[Mode::Affinity], true);
}

#[test]
fn the_less_loaded_of_two_is_picked() {
    a_million_picks_of(&[Mode::LeastLoaded], true);
    a_million_picks_of(&[Mode::LeastLoaded], false);
}

#[test]
fn a_tier_serves_when_those_before_it_cannot() {
    a_million_picks_of(&[Mode::Draw, Mode::LeastLoaded, Mode::Draw], true);
}

#[test]
fn the_same_seed_is_the_same_sequence() {
    for mode in [Mode::Cycle, Mode::Draw, Mode::Affinity, Mode::LeastLoaded] {
        let history = |seed| {
            let mut world = World::new(seed, &[mode], true);
            world.run(20, &[mode], true);
            world.history
        };
        assert_eq!(history(3), history(3), "{mode:?}");
        assert_ne!(history(3), history(4), "{mode:?}");
    }
}
