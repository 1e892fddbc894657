//! Escalation: attempts go through tiers, from what costs nothing to what costs most, as configured.
//!
//! A request begins at the first tier, or at the one that its site needed a while ago: that is one which has served after attempts
//! below it had failed. That a request wants what only a dear member is, or that all cheap ones were busy, says nothing of the site. It goes up when its attempts in a tier are
//! used up, or nobody is left there; what is an attempt that failed is the business of failover and of rules about bans. A
//! tier can be `direct`, which is no upstream at all, for requests that do not demand anything of one.
//!
//! A site comes down again when its time is over, so that the dear tier is not used for ever because the cheap one was down
//! once. Not so for a session in use: whoever is logged in would change the address in the middle. A strict session that has
//! been served goes up no more, it fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proxywhirl_core::lease::Lease;
use proxywhirl_core::member::mix;
use proxywhirl_core::select::{Filter, Stick};
use proxywhirl_core::{Fault, Kind, Side, Stage, address};
use proxywhirl_engine::{Attempt, AttemptTier, Engine, EscalationWords, NoLease, registrable};
use proxywhirl_net::Target;
use tokio::time::Instant;

use super::race::Turn;
use super::{Failover, Trial};
use crate::config::{EscalationConfig, Tier, Way};
use crate::session::presence;
use crate::wanted::{Wanted, session_hash};

/// Sites and sessions that are remembered: one takes the place of another when their hashes collide.
const PLACES: usize = 16 * 1024;

/// Tiers, and who needs which.
#[derive(Debug)]
pub(crate) struct Escalation {
    config: EscalationConfig,
    /// Held for some instructions.
    memory: Mutex<Box<[Remembered]>>,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    /// 0 for nobody.
    key: u64,
    tier: usize,
    until: Instant,
}

/// How far up a request is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Climb {
    /// Its site, and its session if it has one.
    key: u64,
    pub(super) tier: usize,
    /// Attempts in this tier.
    used: u32,
    /// Whether it may go no further up.
    is_bound: bool,
    /// The first tier in which an attempt has failed.
    failed: Option<u16>,
}

impl Climb {
    const fn up(self) -> Self {
        Self { tier: self.tier + 1, used: 0, ..self }
    }

    /// An attempt in this tier has failed.
    pub(super) fn failed_at(&mut self, tier: u16) {
        self.failed = Some(self.failed.map_or(tier, |failed| failed.min(tier)));
    }

    /// Whether an attempt below this tier has failed.
    fn has_failed_below(self, tier: usize) -> bool {
        self.failed.is_some_and(|failed| usize::from(failed) < tier)
    }
}

impl Escalation {
    /// None when there are no tiers.
    pub(crate) fn new(config: EscalationConfig) -> Option<Self> {
        if config.tiers.is_empty() {
            return None;
        }
        let nobody = Remembered { key: 0, tier: 0, until: Instant::now() };
        Some(Self { config, memory: Mutex::new(vec![nobody; PLACES].into()) })
    }

    /// Where a request begins.
    pub(super) fn begin(&self, target: &str, wanted: &Wanted) -> Climb {
        let (key, found) = self.remembered(target, wanted);
        let is_bound = found.is_some() && wanted.session.is_some() && wanted.stick.strict == Some(true);
        Climb { key, tier: self.first(found), used: 0, is_bound, failed: None }
    }

    /// The tier in which a request begins of which this is remembered.
    fn first(&self, found: Option<Remembered>) -> usize {
        found.map_or(0, |found| found.tier).min(self.config.tiers.len() - 1)
    }

    /// What a request's site and session are here, and what is remembered of them.
    fn remembered(&self, target: &str, wanted: &Wanted) -> (u64, Option<Remembered>) {
        let key = mix(session_hash(registrable(target)) ^ wanted.session.unwrap_or(0)).max(1);
        let found = self.with(key, |place| (place.key == key && place.until > Instant::now()).then_some(*place));
        (key, found)
    }

    /// How the tiers would be for a request now.
    pub(crate) fn look(&self, engine: &Engine, attempt: &Attempt<'_>, wanted: &Wanted) -> Vec<EscalationWords> {
        let (_, found) = self.remembered(attempt.target, wanted);
        let first = self.first(found);
        let left = found.map(|found| found.until.duration_since(Instant::now()).as_secs());
        let words = |(place, tier): (usize, &Tier)| {
            let (eligible, barred) = self.in_tier(engine, attempt, tier);
            let begins = place == first;
            let tier = tier.name.to_string();
            EscalationWords { tier, eligible, barred, begins, remembered_s: left.filter(|_| begins) }
        };
        self.config.tiers.iter().enumerate().map(words).collect()
    }

    /// How many ways a tier has for an attempt now, and why not the one without a proxy.
    fn in_tier(&self, engine: &Engine, attempt: &Attempt<'_>, tier: &Tier) -> (usize, Option<String>) {
        let own = attempt.filter;
        let eligible = |filter: Option<&Arc<Filter>>| {
            engine.eligible(&Attempt { tier: Some(AttemptTier { name: &tier.name, filter }), ..*attempt })
        };
        match &tier.way {
            Way::Direct => match self.bars_direct(engine, attempt) {
                Some(why) => (0, Some(why)),
                None => (1, None),
            },
            Way::Pool(None) => (eligible(own), None),
            Way::Pool(Some(only)) => (both(own, only).map_or(0, |filter| eligible(Some(&filter))), None),
        }
    }

    /// Why an attempt may not be made without a proxy, as far as its target says so: a name may turn out to be a private address.
    fn bars_direct(&self, engine: &Engine, attempt: &Attempt<'_>) -> Option<String> {
        if attempt.filter.is_some() {
            return Some("it is no proxy as is wanted".to_owned());
        }
        if engine.is_direct_banned(attempt) {
            return Some("it is banned at this site".to_owned());
        }
        let target: Target = attempt.target.parse().ok().filter(|_| !self.config.allow_private)?;
        address::private(&target.host)
            .map(|class| format!("the gateway does not go straight to {}: {class}", target.host))
    }

    /// What the tier in which a request is demands of members.
    pub(super) fn demands(&self, climb: Climb) -> Option<&Filter> {
        match &self.config.tiers.get(climb.tier)?.way {
            Way::Pool(only) => only.as_deref(),
            Way::Direct => None,
        }
    }

    /// Remembers which tier has served a request: for its session, or for its site if attempts below have failed.
    pub(super) fn served(&self, climb: Climb, tier: usize, is_session: bool) {
        if !is_session && !climb.has_failed_below(tier) {
            return;
        }
        let now = Instant::now();
        self.with(climb.key, |place| {
            let is_known = place.key == climb.key && place.tier == tier && place.until > now;
            if is_session || !is_known {
                *place = Remembered { key: climb.key, tier, until: now + self.config.remember };
            }
        });
    }

    fn with<T>(&self, key: u64, look: impl FnOnce(&mut Remembered) -> T) -> T
    where
        T: Default,
    {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let length = memory.len() as u64;
        let at = usize::try_from(key % length).unwrap_or_default();
        memory.get_mut(at).map(look).unwrap_or_default()
    }
}

impl Failover<'_> {
    /// A member for an attempt, from the tier whose turn it is. A hedge goes no tier up: slow is not refused. In the last
    /// tier, a request may wait for a limit; in one below, a limit that is reached is as good as nobody left.
    /// `hedge` and `beside`: what the attempt is.
    pub(super) async fn acquire(&mut self, number: u32, (hedge, beside): (bool, bool), turn: Turn) -> Option<Lease> {
        let attempt = self.describe(number);
        let stick = Stick { beside, ..attempt.stick };
        let attempt = Attempt { hedge, stick, ..attempt };
        let Some(escalation) = self.escalation else {
            let found = self.lease(&attempt, turn).await;
            return found.map_err(|nobody| self.note(nobody)).ok();
        };
        let EscalationConfig { tiers, attempts, .. } = &escalation.config;
        let mut climb = self.climb;
        if climb.used >= *attempts && climb.tier + 1 < tiers.len() && !climb.is_bound {
            if hedge {
                return None;
            }
            climb = climb.up();
        }
        loop {
            let is_top = climb.tier + 1 >= tiers.len() || climb.is_bound;
            let turn = if is_top { turn } else { Turn::GoOn };
            // On the heap: where there are no tiers, nobody has room for it.
            match Box::pin(self.of_tier(tiers.get(climb.tier)?, attempt, turn)).await {
                Ok(lease) => {
                    self.climb = Climb { used: climb.used + 1, ..climb };
                    return Some(lease);
                }
                Err(_) if hedge => return None,
                Err(nobody) if is_top => {
                    self.note(nobody);
                    return None;
                }
                Err(_) => climb = climb.up(),
            }
        }
    }

    /// Remembers that the tier of an attempt has served the request.
    pub(crate) fn tier_served(&self, trial: &Trial) {
        if let Some(escalation) = self.escalation {
            escalation.served(self.climb, usize::from(trial.tier), self.wanted.session.is_some());
        }
    }

    /// A member of a tier, or why there is none.
    async fn of_tier(&self, tier: &Tier, attempt: Attempt<'_>, turn: Turn) -> Result<Lease, Fault> {
        let of = |filter| AttemptTier { name: &tier.name, filter };
        let own = self.wanted.filter.as_ref();
        let attempt = Attempt { tier: Some(of(own)), ..attempt };
        match &tier.way {
            Way::Direct if own.is_some() => Err(exhausted("direct is no proxy as is wanted".to_owned())),
            Way::Direct => {
                let until = (turn == Turn::Wait).then_some(self.deadline);
                let nobody = || exhausted("direct was tried, or is banned".to_owned());
                let lease = self.unless_left(self.engine.acquire_direct(&attempt, until)).await?;
                lease.map_err(|shed| no_lease(&shed, None, false))?.ok_or_else(nobody)
            }
            Way::Pool(None) => self.lease(&attempt, turn).await,
            Way::Pool(Some(only)) => {
                let nobody = || exhausted(format!("no proxy can be what is wanted and of the tier {}", tier.name));
                let filter = both(own, only).ok_or_else(nobody)?;
                self.lease(&Attempt { tier: Some(of(Some(&filter))), ..attempt }, turn).await
            }
        }
    }

    /// A member; when it is its turn, where that is waited for.
    async fn lease(&self, attempt: &Attempt<'_>, turn: Turn) -> Result<Lease, Fault> {
        let lease = match turn {
            // That nobody is left to help is no news: another one is under way, or will be, in another tier.
            Turn::Now | Turn::GoOn => self.engine.acquire_granted_or_go_on(attempt).await,
            Turn::Wait if self.probes == 0 => {
                self.unless_left(self.engine.acquire_in_turn(attempt, self.deadline)).await?
            }
            Turn::Wait => Box::pin(self.unless_left(self.rested(attempt))).await?,
        };
        lease.map_err(|nobody| {
            let filter = attempt.admitted().map(|filter| &**filter);
            let only = filter.and_then(Filter::endpoint);
            no_lease(&nobody, filter, only.is_some_and(|only| !self.engine.snapshot().holds(only)))
        })
    }

    /// Waits for a turn, unless the client leaves: it would have it for nothing, and others none.
    async fn unless_left<T>(&self, turn: impl Future<Output = T>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            turn = turn => Ok(turn),
            () = self.leaving.left() => Err(presence::left()),
        }
    }
}

/// What a request and a tier demand together; none when no member can be both.
fn both(own: Option<&Arc<Filter>>, only: &Arc<Filter>) -> Option<Arc<Filter>> {
    own.map_or_else(|| Some(Arc::clone(only)), |own| own.and(only).map(Arc::new))
}

fn exhausted(why: String) -> Fault {
    Fault::new(Side::Ours, Stage::Select, Kind::Exhausted, why)
}

/// When to ask again for what a ban, a session or the members that there are do not allow: that takes a while to change.
const LASTING: Duration = Duration::from_mins(1);

/// What it comes to for the client that there is no member that is as this filter demands; `is_absent` if it demands one that
/// is not in the pool.
fn no_lease(nobody: &NoLease, filter: Option<&Filter>, is_absent: bool) -> Fault {
    let told = match (nobody, filter) {
        (NoLease::Nobody(refusals), Some(filter)) if refusals.filter > 0 => {
            // Who comes in by a port that is bound to a proxy need not know to which.
            let one = if is_absent {
                "the one proxy of this port, which is not in the pool"
            } else {
                "the one proxy of this port"
            };
            let shown = |word: String| if word.starts_with("proxy ") { one.to_owned() } else { word };
            let demands: Vec<String> = filter.in_words().into_iter().map(shown).collect();
            format!("{nobody} (demanded: {})", demands.join(", "))
        }
        _ => nobody.to_string(),
    };
    let fault = |kind| Fault::new(Side::Ours, Stage::Select, kind, told);
    match nobody {
        NoLease::Nobody(refusals) if refusals.will_last() => fault(Kind::Exhausted).with_retry_after(LASTING),
        NoLease::Nobody(_) | NoLease::Plugin { .. } => fault(Kind::Exhausted),
        NoLease::Shed(shed) => fault(Kind::Limited).with_retry_after(shed.retry_after),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
