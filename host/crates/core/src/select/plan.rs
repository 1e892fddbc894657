//! A strategy's answer: from whom to pick, and how.

use std::time::Duration;

/// How to pick from a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// One after the other.
    Cycle,
    /// At random, by weight.
    Draw,
    /// By weighted rendezvous hash of the request's session over the members' identities; like
    /// [`Mode::Draw`] for a request without a session.
    Affinity,
    /// Of two drawn at random, the one with less load.
    LeastLoaded,
}

impl Mode {
    /// The word for it: `cycle`, `draw`, `affinity` or `least-loaded`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
            Self::Draw => "draw",
            Self::Affinity => "affinity",
            Self::LeastLoaded => "least-loaded",
        }
    }
}

/// A member and its weight in a tier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighted {
    /// The member's slot.
    pub slot: u32,
    /// Its share, relative to the others: 0 or more, finite. A member with weight 0 is not picked.
    pub weight: f32,
}

/// The members of a tier.
#[derive(Debug, Clone, PartialEq)]
pub enum Membership {
    /// Every member of the view, with equal weight, by slot.
    Everyone,
    /// These, in this order.
    These(Vec<Weighted>),
}

/// The members of equal preference.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// How to pick.
    pub mode: Mode,
    /// Whom to pick from.
    pub members: Membership,
}

/// How sessions stick to the members that they were given by a tier with [`Mode::Affinity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stickiness {
    /// A session that was not used for so long is forgotten; none for never.
    pub idle: Option<Duration>,
    /// A session ends so long after its first request; none for never.
    pub lifetime: Option<Duration>,
    /// What follows when the session's member cannot be used: true fails the request, false moves the session.
    pub strict: bool,
    /// Sessions that are remembered: 1 to [`Stickiness::MAX_CAPACITY`].
    pub capacity: u32,
}

impl Stickiness {
    /// The most sessions that a plan may want to be remembered.
    pub const MAX_CAPACITY: u32 = 4_000_000;

    /// How many sessions a plan may want to be remembered.
    pub const CAPACITY: std::ops::RangeInclusive<u32> = 1..=Self::MAX_CAPACITY;

    /// How sessions stick when the plan does not say: to whomever they were given first, until nobody used them for an hour.
    pub const HOST: Self =
        Self { idle: Some(Duration::from_hours(1)), lifetime: None, strict: false, capacity: 1_000_000 };
}

/// What a request says itself of how its session sticks: it goes before what the plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stick {
    /// The session ends so long after its first request.
    pub lifetime: Option<Duration>,
    /// The session ends when it was not used for so long.
    pub idle: Option<Duration>,
    /// Whether the request fails when the session's member cannot be used.
    pub strict: Option<bool>,
    /// Whether the session begins anew with this request, with another member if there is one.
    pub renew: bool,
    /// Whether the session's own member is still being asked, or has failed and may not be to blame: who is drawn beside it is for
    /// this request alone, until it has [served](super::Sessions::served) the session.
    pub beside: bool,
}

impl Stick {
    /// How the session sticks, with a plan that says this.
    #[must_use]
    pub fn over(self, plan: Stickiness) -> Stickiness {
        let (idle, lifetime) = match (self.idle, self.lifetime) {
            (None, None) => (plan.idle, plan.lifetime),
            // Who says how long has said it all: the plan's shorter time would break the word.
            said => said,
        };
        Stickiness { idle, lifetime, strict: self.strict.unwrap_or(plan.strict), ..plan }
    }
}

/// From whom to pick. Without tiers: ask the strategy for each request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// In order of preference: a tier is used when nobody in those before it is eligible.
    pub tiers: Vec<Tier>,
    /// How sessions stick; without it, a session goes wherever its hash points.
    pub sessions: Option<Stickiness>,
    /// Whether sites need plans of their own.
    pub per_site: bool,
    /// After which time a new plan is wanted, whatever happens; none for only when the pool changes or the strategy asks.
    pub refresh: Option<Duration>,
}

/// Why a plan is nonsense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// It has more tiers than a plan may have.
    #[error("{0} tiers, but a plan has at most {max}", max = Plan::MAX_TIERS)]
    Tiers(usize),
    /// A weight is negative, infinite or not a number.
    #[error("weight {weight} of slot {slot} is not a finite number from 0")]
    Weight {
        /// The member's slot.
        slot: u32,
        /// What the plan says.
        weight: f32,
    },
    /// It names a slot at which there is no member.
    #[error("slot {0} has no member")]
    Slot(u32),
    /// It wants too many or too few sessions to be remembered.
    #[error("{0} sessions to remember, but a plan may ask for 1 to {max}", max = Stickiness::MAX_CAPACITY)]
    Sessions(u32),
}

impl Plan {
    /// How many tiers a plan has at the most.
    pub const MAX_TIERS: usize = 64;

    /// The plan that serves when no strategy does: everybody in turn.
    #[must_use]
    pub fn fallback() -> Self {
        Self { tiers: vec![Tier { mode: Mode::Cycle, members: Membership::Everyone }], ..Self::default() }
    }
}
