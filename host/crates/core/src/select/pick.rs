//! Picks from a plan: native, lock-free, masked by who is eligible now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::alias::Alias;
use super::plan::{Membership, Mode, Plan, PlanError, Tier};
use super::random::Random;
use crate::member::{Member, MemberId, mix};
use crate::pool::Snapshot;
use crate::time::Timestamp;

/// Draws that hit somebody ineligible before all are looked at, which takes milliseconds in a pool of 100,000. With nine
/// in ten out, 64 draws miss one time in 850.
const REDRAWS: usize = 64;

/// What a request wants of a pick.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The time.
    pub now: Timestamp,
    /// Members that this request has tried.
    pub tried: &'a [MemberId],
    /// Hash of the request's session, or none.
    pub session: Option<u64>,
    /// Chance.
    pub seed: u64,
}

impl Wish<'_> {
    /// Whether the member may be handed out.
    #[must_use]
    pub fn admits(&self, member: &Member) -> bool {
        self.refusal(member).is_none()
    }

    fn refusal(&self, member: &Member) -> Option<Filter> {
        if self.tried.contains(&member.id) {
            Some(Filter::Tried)
        } else if !member.live.is_admissible(self.now) {
            Some(Filter::Breaker)
        } else {
            None
        }
    }
}

/// What keeps a member from being handed out.
enum Filter {
    Tried,
    Breaker,
}

/// Why nobody was left: which filter took how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// Members in the pool.
    pub members: usize,
    /// Tried already by this request.
    pub tried: usize,
    /// Breaker open, or its one probe under way.
    pub breaker: usize,
    /// Eligible, but not in the strategy's plan.
    pub unplanned: usize,
}

impl Refusals {
    /// Counts for a pick that found nobody. Looks at the whole pool: for the failing request only.
    #[must_use]
    pub fn count(snapshot: &Snapshot, wish: &Wish<'_>) -> Self {
        let mut refusals = Self::default();
        for member in snapshot.iter() {
            refusals.members += 1;
            match wish.refusal(member) {
                Some(Filter::Tried) => refusals.tried += 1,
                Some(Filter::Breaker) => refusals.breaker += 1,
                None => refusals.unplanned += 1,
            }
        }
        refusals
    }
}

impl std::fmt::Display for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { members, tried, breaker, unplanned } = self;
        write!(
            f,
            "{members} in the pool, {tried} tried already, {breaker} with an open breaker, {unplanned} not in the plan"
        )
    }
}

/// A plan, ready to pick from.
#[derive(Debug)]
pub struct Picker {
    tiers: Vec<Ring>,
}

/// A tier, ready to pick from.
#[derive(Debug)]
struct Ring {
    mode: Mode,
    roster: Roster,
    /// Where [`Mode::Cycle`] goes on: a slot for everyone, an index for a list. Shared with the picker before, so that a
    /// new plan over the same members neither repeats nor skips anybody.
    cursor: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Roster {
    Everyone,
    These { places: Vec<Place>, alias: Alias },
}

/// A member as it was when the plan was made.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    slot: u32,
    generation: u32,
    weight: f32,
}

impl Place {
    /// Who is there, unless somebody else has taken the place since.
    fn member<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Arc<Member>> {
        snapshot.get(self.slot).filter(|member| member.generation == self.generation)
    }
}

impl Picker {
    /// Makes a plan ready. `snapshot` is the one that the strategy saw; `previous` is what was picked from before.
    ///
    /// # Errors
    /// When the plan is nonsense: nothing of it is then used.
    pub fn compile(plan: &Plan, snapshot: &Snapshot, previous: Option<&Self>) -> Result<Self, PlanError> {
        if plan.tiers.len() > Plan::MAX_TIERS {
            return Err(PlanError::Tiers(plan.tiers.len()));
        }
        let mut tiers = Vec::with_capacity(plan.tiers.len());
        for (index, tier) in plan.tiers.iter().enumerate() {
            let previous = previous.and_then(|picker| picker.tiers.get(index));
            tiers.push(Ring::compile(tier, snapshot, previous)?);
        }
        Ok(Self { tiers })
    }

    /// Whether there is nothing to pick from, and the strategy wants to be asked for each request.
    #[must_use]
    pub fn asks_per_request(&self) -> bool {
        self.tiers.is_empty()
    }

    /// Picks a member; none when nobody in the plan is eligible.
    #[must_use]
    pub fn pick(&self, snapshot: &Snapshot, wish: &Wish<'_>) -> Option<Arc<Member>> {
        let mut random = Random::new(wish.seed);
        self.tiers.iter().find_map(|ring| ring.pick(snapshot, wish, &mut random)).cloned()
    }
}

impl Ring {
    fn compile(tier: &Tier, snapshot: &Snapshot, previous: Option<&Self>) -> Result<Self, PlanError> {
        let roster = match &tier.members {
            Membership::Everyone => Roster::Everyone,
            Membership::These(members) => {
                let mut places = Vec::with_capacity(members.len());
                for member in members {
                    if !(member.weight.is_finite() && member.weight >= 0.0) {
                        return Err(PlanError::Weight { slot: member.slot, weight: member.weight });
                    }
                    let generation = snapshot.get(member.slot).ok_or(PlanError::Slot(member.slot))?.generation;
                    places.push(Place { slot: member.slot, generation, weight: member.weight });
                }
                let weights: Vec<f32> = places.iter().map(|place| place.weight).collect();
                let alias = if tier.mode == Mode::Cycle { Alias::default() } else { Alias::new(&weights) };
                Roster::These { places, alias }
            }
        };
        let cursor = previous.map_or_else(Arc::default, |previous| previous.cursor_for(&roster));
        Ok(Self { mode: tier.mode, roster, cursor })
    }

    /// The cursor with which a new roster goes on where this ring is.
    fn cursor_for(&self, next: &Roster) -> Arc<AtomicU64> {
        match (&self.roster, next) {
            (Roster::Everyone, Roster::Everyone) => Arc::clone(&self.cursor),
            (Roster::These { places: old, .. }, Roster::These { places: new, .. }) => {
                if old == new {
                    return Arc::clone(&self.cursor);
                }
                // The first of those who are still due that is on the new list.
                let at = index(self.cursor.load(Ordering::Relaxed));
                let due = old.iter().cycle().skip(at).take(old.len());
                let index = due.filter_map(|place| new.iter().position(|other| other.slot == place.slot)).next();
                Arc::new(AtomicU64::new(index.unwrap_or_default() as u64))
            }
            (Roster::Everyone, Roster::These { .. }) | (Roster::These { .. }, Roster::Everyone) => Arc::default(),
        }
    }

    fn pick<'s>(&self, snapshot: &'s Snapshot, wish: &Wish<'_>, random: &mut Random) -> Option<&'s Arc<Member>> {
        match (self.mode, wish.session) {
            (Mode::Cycle, _) => self.cycle(snapshot, wish),
            (Mode::Draw, _) | (Mode::Affinity, None) => self.draw(snapshot, wish, random).map(|(member, _)| member),
            (Mode::Affinity, Some(session)) => self.affinity(snapshot, wish, session),
            (Mode::LeastLoaded, _) => self.least_loaded(snapshot, wish, random),
        }
    }

    /// How many places there are to look at, holes included.
    fn end(&self, snapshot: &Snapshot) -> usize {
        match &self.roster {
            Roster::Everyone => snapshot.end() as usize,
            Roster::These { places, .. } => places.len(),
        }
    }

    /// Who is at a place, with the weight, if that may be handed out.
    fn eligible<'s>(&self, index: usize, snapshot: &'s Snapshot, wish: &Wish<'_>) -> Option<(&'s Arc<Member>, f32)> {
        let (member, weight) = match &self.roster {
            Roster::Everyone => (snapshot.get(u32::try_from(index).ok()?)?, 1.0),
            Roster::These { places, .. } => {
                let place = places.get(index)?;
                (place.member(snapshot)?, place.weight)
            }
        };
        (weight > 0.0 && wish.admits(member)).then_some((member, weight))
    }

    fn everybody_eligible<'s>(
        &self,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
    ) -> impl Iterator<Item = (&'s Arc<Member>, f32)> {
        (0..self.end(snapshot)).filter_map(move |index| self.eligible(index, snapshot, wish))
    }

    /// The next after the one that was picked last. Who is passed over loses a turn; nobody else gains two.
    fn cycle<'s>(&self, snapshot: &'s Snapshot, wish: &Wish<'_>) -> Option<&'s Arc<Member>> {
        let end = self.end(snapshot);
        // Relaxed: the cursor orders picks among each other and publishes nothing.
        let mut at = self.cursor.load(Ordering::Relaxed);
        loop {
            let start = index(at);
            let found = (start..end)
                .chain(0..start.min(end))
                .find_map(|index| self.eligible(index, snapshot, wish).map(|(member, _)| (index, member)));
            let (index, member) = found?;
            match self.cursor.compare_exchange_weak(at, index as u64 + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(member),
                Err(moved) => at = moved,
            }
        }
    }

    fn draw<'s>(&self, snapshot: &'s Snapshot, wish: &Wish<'_>, random: &mut Random) -> Option<(&'s Arc<Member>, f32)> {
        for _ in 0..REDRAWS {
            let drawn = match &self.roster {
                Roster::Everyone => {
                    let member = snapshot.nth(random.below(snapshot.len()))?;
                    wish.admits(member).then_some((member, 1.0))
                }
                Roster::These { alias, .. } => self.eligible(alias.draw(random)?, snapshot, wish),
            };
            if drawn.is_some() {
                return drawn;
            }
        }
        // Few are eligible: draw among just those, with the same shares.
        let sum: f64 = self.everybody_eligible(snapshot, wish).map(|(_, weight)| f64::from(weight)).sum();
        let mut left = random.unit() * sum;
        let mut last = None;
        for (member, weight) in self.everybody_eligible(snapshot, wish) {
            last = Some((member, weight));
            left -= f64::from(weight);
            if left < 0.0 {
                break;
            }
        }
        last
    }

    /// Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights by Schindelhauer and Schomaker 2005): each member
    /// gets −weight ÷ ln(hash), and the largest wins, so that a member that leaves moves its own sessions only.
    #[allow(clippy::cast_precision_loss)]
    fn affinity<'s>(&self, snapshot: &'s Snapshot, wish: &Wish<'_>, session: u64) -> Option<&'s Arc<Member>> {
        let score = |member: &Member, weight: f32| {
            let hash = mix(member.id.0 ^ mix(session)) >> 11;
            // In the open interval from 0 to 1, so that the logarithm is finite and below zero.
            let unit = (hash as f64 + 0.5) / (1_u64 << 53) as f64;
            -f64::from(weight) / unit.ln()
        };
        self.everybody_eligible(snapshot, wish)
            .map(|(member, weight)| (score(member, weight), member))
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, member)| member)
    }

    /// The power of two choices (Mitzenmacher 2001).
    fn least_loaded<'s>(
        &self,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
        random: &mut Random,
    ) -> Option<&'s Arc<Member>> {
        let first = self.draw(snapshot, wish, random)?;
        let second = self.draw(snapshot, wish, random)?;
        // Somebody who was never measured is compared by what is in flight alone.
        let latencies = first.0.live.latency().zip(second.0.live.latency());
        let (a, b) = latencies.unwrap_or((Duration::from_secs(1), Duration::from_secs(1)));
        Some(if load(first, a) <= load(second, b) { first.0 } else { second.0 })
    }
}

fn load((member, weight): (&Arc<Member>, f32), latency: Duration) -> f64 {
    f64::from(member.live.in_flight() + 1) * latency.as_secs_f64() / f64::from(weight)
}

/// A cursor as an index. Cursors never exceed the number of slots, which has 32 bits.
fn index(cursor: u64) -> usize {
    usize::try_from(cursor).unwrap_or(0)
}

#[cfg(test)]
mod tests;
