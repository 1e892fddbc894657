//! Plans, as a strategy writes them.

use super::{Membership, Mode, Plan, Stickiness, Tier, Weighted};
use crate::duration;
use std::time::Duration;

/// Sessions that are remembered when nobody says how many.
const SESSIONS: u32 = 1_000_000;

impl Plan {
    /// One tier with every member of the view, with equal weight, in the order of joining.
    #[must_use]
    pub fn everyone(mode: Mode) -> Self {
        Self::tiers(vec![Tier { mode, members: Membership::Everyone }])
    }

    /// One tier with these members, in this order.
    #[must_use]
    pub fn these(mode: Mode, members: Vec<Weighted>) -> Self {
        Self::tiers(vec![Tier::these(mode, members)])
    }

    /// No tiers: the host calls [`Strategy::select`](super::Strategy::select) for each request.
    #[must_use]
    pub const fn ask() -> Self {
        Self::tiers(Vec::new())
    }

    /// These tiers, in order of preference; the host takes 64 at the most.
    #[must_use]
    pub const fn tiers(tiers: Vec<Tier>) -> Self {
        Self { tiers, sessions: None, per_site: false, refresh: 0 }
    }

    /// Sessions stick to the members that a tier with mode `affinity` gave them.
    #[must_use]
    pub const fn sticky(mut self, sessions: Stickiness) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// Busy sites get plans of their own: the host asks again, with [`View::site`](super::View).
    #[must_use]
    pub const fn per_site(mut self) -> Self {
        self.per_site = true;
        self
    }

    /// A new plan is asked for after so long, whatever happens; the host takes less than a tenth of
    /// a second for that.
    #[must_use]
    pub fn refresh_every(mut self, period: Duration) -> Self {
        self.refresh = duration::micros(period);
        self
    }
}

impl Tier {
    /// Every member of the view.
    #[must_use]
    pub const fn everyone(mode: Mode) -> Self {
        Self { mode, members: Membership::Everyone }
    }

    /// These members, in this order.
    #[must_use]
    pub const fn these(mode: Mode, members: Vec<Weighted>) -> Self {
        Self { mode, members: Membership::These(members) }
    }
}

impl Stickiness {
    /// Sessions that never end by themselves and move when their member cannot be used; a million
    /// are remembered.
    #[must_use]
    pub const fn new() -> Self {
        Self { idle: 0, lifetime: 0, strict: false, capacity: SESSIONS }
    }

    /// A session is forgotten when it was not used for so long.
    #[must_use]
    pub fn ending_after_idle(mut self, idle: Duration) -> Self {
        self.idle = duration::micros(idle);
        self
    }

    /// A session ends so long after its first request, however often it is used.
    #[must_use]
    pub fn ending_after(mut self, lifetime: Duration) -> Self {
        self.lifetime = duration::micros(lifetime);
        self
    }

    /// A request fails when its session's member cannot be used.
    #[must_use]
    pub const fn strictly(mut self) -> Self {
        self.strict = true;
        self
    }

    /// So many sessions are remembered, 1 to 4,000,000.
    #[must_use]
    pub const fn remembering(mut self, sessions: u32) -> Self {
        self.capacity = sessions;
        self
    }
}

impl Default for Stickiness {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_to_a_plan_leaves_its_tiers_alone() {
        let sticky = Stickiness::new().ending_after_idle(Duration::from_secs(1)).ending_after(Duration::from_secs(2));
        let plan = Plan::everyone(Mode::Affinity)
            .sticky(sticky.strictly().remembering(7))
            .per_site()
            .refresh_every(Duration::from_millis(250));
        assert_eq!(plan.tiers, Plan::everyone(Mode::Affinity).tiers);
        assert_eq!(plan.sessions, Some(Stickiness { idle: 1_000_000, lifetime: 2_000_000, strict: true, capacity: 7 }));
        assert_eq!((plan.per_site, plan.refresh), (true, 250_000));
    }

    #[test]
    fn a_plan_is_bare_unless_it_says_otherwise() {
        let plan = Plan::ask();
        assert_eq!((plan.tiers.len(), plan.sessions, plan.per_site, plan.refresh), (0, None, false, 0));
    }
}
