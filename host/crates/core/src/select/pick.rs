//! Picks from a plan: native, lock-free, masked by who is eligible now.
//!
//! A pick costs the same in a pool of 100 and of 100,000: it reads the pool's board, which is dense, and takes one row of a
//! table that was made with the plan.

mod cells;
mod classes;
mod cycle;
mod lots;
mod ring;
mod roster;
mod sight;
mod stick;

use std::collections::HashSet;
use std::sync::Arc;

use super::plan::{Mode, Plan, PlanError, Stick, Stickiness};
use super::random::Random;
use super::sessions::Sessions;
use super::wish::{Outlook, Refusals, Wish};
use crate::member::{Member, MemberId};
use crate::pool::Snapshot;
use ring::Ring;
use sight::Sight;
use stick::{Homes, Sticking};

/// A plan, ready to pick from.
#[derive(Debug)]
pub struct Picker {
    tiers: Vec<Ring>,
    stickiness: Option<Stickiness>,
}

/// What a pick would find in a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierSight {
    /// How it picks.
    pub mode: Mode,
    /// How many members are in it.
    pub members: usize,
    /// How many of them may be handed out.
    pub eligible: usize,
}

impl Picker {
    /// Makes a plan for the whole pool ready. `snapshot` is the one that the strategy saw; `previous` is what was picked
    /// from before.
    ///
    /// # Errors
    /// When the plan is nonsense: nothing of it is then used.
    pub fn compile(plan: &Plan, snapshot: &Snapshot, previous: Option<&Self>) -> Result<Self, PlanError> {
        Self::compile_for(plan, snapshot, None, previous)
    }

    /// Makes a plan for a view ready: `Everyone` is then who is in these slots.
    ///
    /// # Errors
    /// When the plan is nonsense: nothing of it is then used.
    pub fn compile_view(
        plan: &Plan,
        snapshot: &Snapshot,
        view: &[u32],
        previous: Option<&Self>,
    ) -> Result<Self, PlanError> {
        Self::compile_for(plan, snapshot, Some(view), previous)
    }

    fn compile_for(
        plan: &Plan,
        snapshot: &Snapshot,
        view: Option<&[u32]>,
        previous: Option<&Self>,
    ) -> Result<Self, PlanError> {
        if plan.tiers.len() > Plan::MAX_TIERS {
            return Err(PlanError::Tiers(plan.tiers.len()));
        }
        if let Some(sessions) = plan.sessions.filter(|sessions| !Stickiness::CAPACITY.contains(&sessions.capacity)) {
            return Err(PlanError::Sessions(sessions.capacity));
        }
        let mut tiers = Vec::with_capacity(plan.tiers.len());
        for (index, tier) in plan.tiers.iter().enumerate() {
            let previous = previous.and_then(|picker| picker.tiers.get(index));
            tiers.push(Ring::compile(tier, snapshot, view, previous)?);
        }
        Ok(Self { tiers, stickiness: plan.sessions })
    }

    /// Whether there is nothing to pick from, and the strategy wants to be asked for each request.
    #[must_use]
    pub fn asks_per_request(&self) -> bool {
        self.tiers.is_empty()
    }

    /// How sessions stick; none when they go wherever their hash points.
    #[must_use]
    pub const fn stickiness(&self) -> Option<Stickiness> {
        self.stickiness
    }

    /// Picks a member, by its slot in the snapshot; none when nobody in the plan is eligible, or when the session must stay
    /// with one who is not.
    #[must_use]
    pub fn pick(&self, snapshot: &Snapshot, wish: &Wish<'_>, sessions: &Sessions) -> Option<u32> {
        let mut random = Random::new(wish.seed);
        let sight = Sight { snapshot, wish };
        if let Some(session) = wish.session.filter(|_| self.leaves_sessions(wish)) {
            let stickiness = wish.stick.over(Stickiness::HOST);
            let (rest, homes) = (self.tiers.as_slice(), Homes::All);
            return Sticking { rest, homes, sight, sessions, stickiness, session }.pick(&mut random);
        }
        for (index, ring) in self.tiers.iter().enumerate() {
            if let (Mode::Affinity, Some(session), Some(stickiness)) = (ring.mode(), wish.session, self.stickiness) {
                let rest = self.tiers.get(index..).unwrap_or_default();
                let (stickiness, homes) = (wish.stick.over(stickiness), Homes::Affinity);
                return Sticking { rest, homes, sight, sessions, stickiness, session }.pick(&mut random);
            }
            let picked = ring.pick(&sight, wish.session, &mut random);
            if picked.is_some() {
                return picked;
            }
        }
        None
    }

    /// What a pick would find in each tier. Looks at the whole pool, and picks nobody: for who asks why.
    #[must_use]
    pub fn look(&self, snapshot: &Snapshot, wish: &Wish<'_>) -> Vec<TierSight> {
        let sight = Sight { snapshot, wish };
        let look = |ring: &Ring| {
            let held = snapshot.iter().filter(|member| ring.holds(member, &sight));
            held.fold(TierSight { mode: ring.mode(), members: 0, eligible: 0 }, |seen, member| TierSight {
                members: seen.members + 1,
                eligible: seen.eligible + usize::from(wish.admits(member)),
                ..seen
            })
        };
        self.tiers.iter().map(look).collect()
    }

    /// Whether the plan leaves it to the host that sessions stick: it does not say how, and either would not even send them
    /// where their hash points, or the request wants more than that.
    fn leaves_sessions(&self, wish: &Wish<'_>) -> bool {
        let is_hashed = self.tiers.first().is_some_and(|ring| ring.mode() == Mode::Affinity);
        self.stickiness.is_none() && (!is_hashed || wish.stick != Stick::default())
    }

    /// Whether a request with this wish must stay with the member of its session.
    #[must_use]
    pub fn is_strict(&self, wish: &Wish<'_>) -> bool {
        wish.session.is_some() && self.stickiness_of(wish).strict
    }

    /// How the session of a request with this wish sticks.
    fn stickiness_of(&self, wish: &Wish<'_>) -> Stickiness {
        wish.stick.over(self.stickiness.unwrap_or(Stickiness::HOST))
    }

    /// Whom a request with this wish must stay with, as its session is bound to that member; none when it may go to others.
    #[must_use]
    pub fn stays_with(&self, wish: &Wish<'_>, sessions: &Sessions) -> Option<MemberId> {
        let stickiness = self.stickiness_of(wish);
        wish.session.filter(|_| stickiness.strict).and_then(|session| sessions.bound(session, &stickiness, wish.now))
    }

    /// Of those whom their breakers keep from being picked, the one that is to let a probe through first. Looks at the whole pool: for
    /// who gets nobody else.
    #[must_use]
    pub fn readiest<'s>(
        &self,
        snapshot: &'s Snapshot,
        wish: &Wish<'_>,
        sessions: &Sessions,
    ) -> Option<&'s Arc<Member>> {
        let own = self.stays_with(wish, sessions);
        let may_serve = |member: &Member| own.is_none_or(|own| member.id == own);
        let sight = Sight { snapshot, wish };
        let first = wish.readiest(snapshot, may_serve)?;
        if self.tiers.iter().any(|ring| ring.holds(first, &sight)) {
            return Some(first);
        }
        let mut planned = HashSet::new();
        self.tiers.iter().for_each(|ring| ring.gather(&sight, &mut planned));
        wish.readiest(snapshot, |member| may_serve(member) && planned.contains(&member.slot))
    }

    /// Why a pick found nobody, and when one may find somebody. Looks at the whole pool: for the failing request only.
    #[must_use]
    pub fn refusals(&self, snapshot: &Snapshot, wish: &Wish<'_>, sessions: &Sessions) -> (Refusals, Outlook) {
        let mut refusals = Refusals::count(snapshot, wish);
        let mut outlook = Outlook::default();
        let stickiness = self.stickiness_of(wish);
        let bound = wish.session.and_then(|session| sessions.bound(session, &stickiness, wish.now));
        let must_stay = bound.is_some() && stickiness.strict;
        if refusals.limited == 0 && !must_stay {
            return (refusals, outlook);
        }
        let mut planned = HashSet::new();
        self.tiers.iter().for_each(|ring| ring.gather(&Sight { snapshot, wish }, &mut planned));
        let is_planned = |member: &&Arc<Member>| planned.contains(&member.slot);
        let waits = || snapshot.iter().filter(is_planned).filter(|member| wish.waits_for(member));
        // A session waits for its own, if that is who is at its limit.
        let own = bound.filter(|bound| must_stay || waits().any(|member| member.id == *bound));
        let limited = std::mem::take(&mut refusals.limited);
        for member in waits().filter(|member| own.is_none_or(|own| member.id == own)) {
            outlook.add(&member.live);
            refusals.limited += 1;
        }
        refusals.unplanned += limited.saturating_sub(refusals.limited);
        if must_stay {
            // Whatever becomes of the others, they are not for it; its own may have been given back since the pick.
            let others = || snapshot.iter().filter(is_planned).filter(|member| Some(member.id) != own);
            let shut = others().filter(|member| wish.is_shut(member)).count();
            let able = others().filter(|member| wish.admits(member) || wish.waits_for(member)).count();
            refusals.session = shut + able;
            refusals.breaker = refusals.breaker.saturating_sub(shut);
            refusals.unplanned = refusals.unplanned.saturating_sub(able);
        }
        (refusals, outlook)
    }
}

#[cfg(test)]
mod tests;
