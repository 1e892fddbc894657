//! What must be true of the core, kept in a second book that knows nothing of how the core does it.
//!
//! - A lease is on a member that the request has not tried, that is in the plan, and whose breaker lets it.
//! - A half-open breaker has at most one probe under way.
//! - As many uses are in flight as leases are held, for members that left the pool, too.
//! - What picks read without a lock (the gate) is what the breaker says.
//! - No breaker stays open for longer than its longest cooldown, and whoever may be picked is picked when it is its
//!   turn, so a proxy that came back gets traffic within its cooldown and a turn.
//! - A request is refused only when everybody in the plan was tried or is behind a breaker.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxywhirl_core::breaker::{BreakerConfig, State};
use proxywhirl_core::select::{Mode, Refusals, Wish};
use proxywhirl_core::{Lease, Member, Snapshot, Timestamp};

/// A member of the pool: the second part tells apart those who had the same slot one after the other.
pub(crate) type Key = (u32, u32);

pub(crate) fn key(member: &Member) -> Key {
    (member.slot, member.generation)
}

/// What the book says of a member.
struct Account {
    member: Arc<Member>,
    leases: u32,
    /// Leases of the breaker's present half-open time that have not reported.
    probes: u32,
    /// How often it should have been picked since it was, at the least: the sum of its chances.
    missed: f64,
    opened: u32,
    state: State,
}

/// A lease as the book remembers it.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    /// How often the breaker had opened, if this is a probe.
    probe: Option<u32>,
}

/// Members of the plan by place and weight; none for everyone.
pub(crate) type Roster = Option<BTreeMap<Key, f32>>;

/// The book.
pub(crate) struct Ledger {
    mode: Mode,
    config: BreakerConfig,
    accounts: BTreeMap<Key, Account>,
}

impl Ledger {
    pub(crate) fn new(mode: Mode, config: BreakerConfig) -> Self {
        Self { mode, config, accounts: BTreeMap::new() }
    }

    /// Takes notice of who is in the pool.
    pub(crate) fn published(&mut self, snapshot: &Snapshot) {
        for member in snapshot.iter() {
            self.accounts.entry(key(member)).or_insert_with(|| Account {
                member: Arc::clone(member),
                leases: 0,
                probes: 0,
                missed: 0.0,
                opened: 0,
                state: member.live.breaker().state(),
            });
        }
    }

    /// Somebody was picked; to be called before the lease is taken.
    pub(crate) fn picked(&mut self, picked: &Member, snapshot: &Snapshot, roster: &Roster, wish: &Wish<'_>) {
        assert!(!wish.tried.contains(&picked.id), "{} was tried before", picked.endpoint);
        assert!(admits(picked.live.breaker().state(), wish.now), "{} is behind its breaker", picked.endpoint);
        assert!(weight(picked, roster) > 0.0, "{} is not in the plan", picked.endpoint);
        let eligible: Vec<_> = snapshot.iter().filter(|member| is_eligible(member, roster, wish)).collect();
        let sum: f32 = eligible.iter().map(|member| weight(member, roster)).sum();
        for member in &eligible {
            let account = self.accounts.get_mut(&key(member)).unwrap();
            let share = f64::from(weight(member, roster) / sum);
            account.missed += match self.mode {
                Mode::Cycle => 1.0 / eligible.len() as f64,
                Mode::Draw => share,
                // A session is bound to who it is bound to.
                Mode::Affinity if wish.session.is_some() => 0.0,
                Mode::Affinity => share,
                // The one with the most load is used when it is drawn twice.
                Mode::LeastLoaded => share * share,
            };
            // Bad luck of 40 turns has a chance of e⁻⁴⁰; a cycle needs no luck, only the end of the round that runs.
            let limit = if self.mode == Mode::Cycle { 3.0 } else { 40.0 };
            assert!(account.missed < limit, "{} is never picked: {:.1} turns", member.endpoint, account.missed);
        }
        self.accounts.get_mut(&key(picked)).unwrap().missed = 0.0;
    }

    /// The lease of who was picked was taken.
    pub(crate) fn leased(&mut self, member: &Member) -> Entry {
        let account = self.accounts.get_mut(&key(member)).unwrap();
        account.leases += 1;
        let probes = matches!(member.live.breaker().state(), State::HalfOpen { .. });
        account.probes += u32::from(probes);
        Entry { key: key(member), probe: probes.then_some(account.opened) }
    }

    /// A lease has said what came of it, by report or by being dropped without one.
    pub(crate) fn reported(&mut self, entry: &mut Entry) {
        let account = self.accounts.get_mut(&entry.key).unwrap();
        if entry.probe.take() == Some(account.opened) {
            account.probes -= 1;
        }
    }

    /// A lease is over.
    pub(crate) fn returned(&mut self, entry: Entry) {
        self.accounts.get_mut(&entry.key).unwrap().leases -= 1;
    }

    /// Nobody was picked.
    pub(crate) fn refused(&self, snapshot: &Snapshot, roster: &Roster, wish: &Wish<'_>) {
        for member in snapshot.iter() {
            assert!(!is_eligible(member, roster, wish), "{} could have served", member.endpoint);
        }
        let refusals = Refusals::count(snapshot, wish);
        assert_eq!(refusals.members, snapshot.len());
        assert_eq!(refusals.tried + refusals.breaker + refusals.unplanned, refusals.members);
    }

    /// What must be true after every step.
    pub(crate) fn check(&mut self, now: Timestamp) {
        for account in self.accounts.values_mut() {
            let (live, endpoint) = (&account.member.live, &account.member.endpoint);
            let state = live.breaker().state();
            let is_open = matches!(state, State::Open { .. });
            if is_open && account.state != state {
                account.opened += 1;
                account.probes = 0;
            }
            account.state = state;
            assert_eq!(live.in_flight(), account.leases, "{endpoint}: uses in flight and leases held");
            assert_eq!(live.is_admissible(now), admits(state, now), "{endpoint}: gate and breaker, {state:?}");
            // Who is picked by two requests at once is refused to the second.
            let is_refused = || Lease::take(Arc::clone(&account.member), &self.config, now).is_none();
            assert!(admits(state, now) || is_refused(), "{endpoint}: a lease behind the breaker, {state:?}");
            assert!(account.probes <= 1, "{endpoint}: {} probes at once", account.probes);
            if let State::Open { until, cooldown } = state {
                assert!(cooldown <= self.config.cooldown_max && until.since(now) <= cooldown, "{endpoint}: {state:?}");
            }
        }
    }

    /// Everybody who is in the plan works again, and all leases are back.
    pub(crate) fn settled(&self, snapshot: &Snapshot, roster: &Roster) {
        for account in self.accounts.values() {
            assert_eq!((account.leases, account.probes), (0, 0), "{}", account.member.endpoint);
        }
        assert!(self.is_calm(snapshot, roster), "somebody works and is still out of rotation");
    }

    /// Whether the breakers of all who are in the plan are closed.
    pub(crate) fn is_calm(&self, snapshot: &Snapshot, roster: &Roster) -> bool {
        let mut planned = snapshot.iter().filter(|member| weight(member, roster) > 0.0);
        planned.all(|member| matches!(member.live.breaker().state(), State::Closed { .. }))
    }
}

fn is_eligible(member: &Member, roster: &Roster, wish: &Wish<'_>) -> bool {
    let is_new = !wish.tried.contains(&member.id);
    is_new && weight(member, roster) > 0.0 && admits(member.live.breaker().state(), wish.now)
}

fn weight(member: &Member, roster: &Roster) -> f32 {
    roster.as_ref().map_or(1.0, |weights| weights.get(&key(member)).copied().unwrap_or(0.0))
}

/// What a breaker in this state lets through.
fn admits(state: State, now: Timestamp) -> bool {
    match state {
        State::Closed { .. } => true,
        State::Open { until, .. } => now >= until,
        State::HalfOpen { probing, .. } => !probing,
    }
}
