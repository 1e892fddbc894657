//! What must be true of the core, kept in a second book that knows nothing of how the core does it.
//!
//! - A lease is on a member that the request has not tried, that is what it demands and in the plan, and whose breaker
//!   lets it.
//! - A half-open breaker has at most one probe under way.
//! - As many uses are in flight as leases are held, for members that left the pool, too.
//! - What picks read without a lock (the gate) is what the breaker says.
//! - No breaker stays open for longer than its longest cooldown, and whoever may be picked is picked when it is its
//!   turn, so a proxy that came back gets traffic within its cooldown and a turn.
//! - A request is refused only when everybody in the plan was tried, is not what it demands, or is behind a breaker; or
//!   when its session must stay with somebody who is.
//! - A session that sticks stays with its member for as long as that may be handed out and its life is not over.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxywhirl_core::breaker::{BreakerConfig, State};
use proxywhirl_core::select::{Mode, Refusals, Stickiness, Wish};
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

/// A session as the book remembers it.
struct Bound {
    key: Key,
    began: Timestamp,
    used: Timestamp,
}

/// Members of the plan by place and weight; none for everyone.
pub(crate) type Roster = Option<BTreeMap<Key, f32>>;

/// The book.
pub(crate) struct Ledger {
    mode: Mode,
    config: BreakerConfig,
    stickiness: Option<Stickiness>,
    accounts: BTreeMap<Key, Account>,
    bound: BTreeMap<u64, Bound>,
    /// Whether any request has demanded a label.
    has_demands: bool,
}

impl Ledger {
    pub(crate) fn new(mode: Mode, config: BreakerConfig, stickiness: Option<Stickiness>) -> Self {
        Self { mode, config, stickiness, accounts: BTreeMap::new(), bound: BTreeMap::new(), has_demands: false }
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
        assert!(wish.filter.is_none_or(|filter| filter.admits(picked)), "{} is not what was wanted", picked.endpoint);
        self.stuck(Some(picked), snapshot, roster, wish);
        self.has_demands |= wish.filter.is_some();
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
            // Bad luck of 40 turns has a chance of e⁻⁴⁰; a cycle needs no luck, only the end of the round that runs. But
            // a request that demands a label moves it on past those who have another.
            let limit = if self.mode == Mode::Cycle && !self.has_demands { 3.0 } else { 40.0 };
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
    pub(crate) fn refused(&mut self, snapshot: &Snapshot, roster: &Roster, wish: &Wish<'_>, refusals: &Refusals) {
        let must_stay = self.stuck(None, snapshot, roster, wish);
        for member in snapshot.iter() {
            assert!(must_stay || !is_eligible(member, roster, wish), "{} could have served", member.endpoint);
        }
        let Refusals { members, tried, banned: _, filter, breaker, limited: _, session, unplanned } = *refusals;
        assert_eq!(members, snapshot.len());
        assert_eq!(tried + filter + breaker + session + unplanned, members);
        // Whoever it is bound to may be another lease of life of the same member.
        let bound = wish.session.and_then(|session| self.bound.get(&session));
        let own = bound.and_then(|bound| self.accounts.get(&bound.key)).map(|account| account.member.id);
        let others = || snapshot.iter().filter(|member| is_wanted(member, roster, wish) && Some(member.id) != own);
        let expected = if must_stay { others().count() } else { 0 };
        assert_eq!(session, expected, "those to whom the session may not move");
    }

    /// A request of a session was answered or refused; whether it must stay where it is.
    fn stuck(&mut self, picked: Option<&Member>, snapshot: &Snapshot, roster: &Roster, wish: &Wish<'_>) -> bool {
        let Some(stickiness) = self.stickiness.filter(|_| self.mode == Mode::Affinity) else { return false };
        let Some(session) = wish.session else { return false };
        let is_over = |bound: &Bound| {
            stickiness.idle.is_some_and(|idle| wish.now.since(bound.used) > idle)
                || stickiness.lifetime.is_some_and(|lifetime| wish.now.since(bound.began) > lifetime)
        };
        let Some(bound) = self.bound.get_mut(&session).filter(|bound| !is_over(bound)) else {
            let bind = |picked| Bound { key: key(picked), began: wish.now, used: wish.now };
            self.bound.extend(picked.map(bind).map(|bound| (session, bound)));
            return false;
        };
        bound.used = wish.now;
        let member = snapshot.get(bound.key.0).filter(|member| key(member) == bound.key);
        if member.is_some_and(|member| is_eligible(member, roster, wish)) {
            assert_eq!(picked.map(key), Some(bound.key), "session {session} was moved without need");
        }
        if let Some(picked) = picked {
            // Who left and joined again in another place is still the same.
            let id = self.accounts.get(&bound.key).map(|account| account.member.id);
            assert!(!stickiness.strict || id == Some(picked.id), "a strict session was moved");
            bound.key = key(picked);
        }
        stickiness.strict
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
    is_wanted(member, roster, wish) && admits(member.live.breaker().state(), wish.now)
}

fn is_wanted(member: &Member, roster: &Roster, wish: &Wish<'_>) -> bool {
    let is_asked_for = !wish.tried.contains(&member.id) && wish.filter.is_none_or(|filter| filter.admits(member));
    is_asked_for && weight(member, roster) > 0.0
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
