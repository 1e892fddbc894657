//! What a request wants of a pick, and why it got nobody.

use super::filter::Filter;
use super::plan::Stick;
use crate::member::{Member, MemberId};
use crate::pool::Snapshot;
use crate::time::Timestamp;

/// What a request wants of a pick.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The time.
    pub now: Timestamp,
    /// Members that this request has tried.
    pub tried: &'a [MemberId],
    /// What it demands of a member; none for nothing.
    pub filter: Option<&'a Filter>,
    /// Hash of the request's session, or none.
    pub session: Option<u64>,
    /// What it says of how that session sticks.
    pub stick: Stick,
    /// Chance.
    pub seed: u64,
}

impl Wish<'_> {
    /// Whether the member may be handed out.
    #[must_use]
    pub fn admits(&self, member: &Member) -> bool {
        self.refusal(member).is_none()
    }

    fn refusal(&self, member: &Member) -> Option<Refusal> {
        if self.tried.contains(&member.id) {
            Some(Refusal::Tried)
        } else if !self.filter.is_none_or(|filter| filter.admits(member)) {
            Some(Refusal::Filter)
        } else if !member.live.is_admissible(self.now) {
            Some(Refusal::Breaker)
        } else {
            None
        }
    }
}

/// What keeps a member from being handed out.
enum Refusal {
    Tried,
    Filter,
    Breaker,
}

/// Why nobody was left: what took how many. The first that applies counts, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// Members in the pool.
    pub members: usize,
    /// Tried already by this request.
    pub tried: usize,
    /// Banned at the request's site.
    pub banned: usize,
    /// Not what the request demands.
    pub filter: usize,
    /// Breaker open, or its one probe under way.
    pub breaker: usize,
    /// Eligible, but the request's session is bound to another one and must stay there.
    pub session: usize,
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
                Some(Refusal::Tried) => refusals.tried += 1,
                Some(Refusal::Filter) => refusals.filter += 1,
                Some(Refusal::Breaker) => refusals.breaker += 1,
                None => refusals.unplanned += 1,
            }
        }
        refusals
    }
}

impl std::fmt::Display for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { members, tried, banned, filter, breaker, session, unplanned } = self;
        write!(f, "{members} in the pool, {tried} tried already, ")?;
        if *banned > 0 {
            write!(f, "{banned} banned at this site, ")?;
        }
        // Most requests demand nothing and have no session.
        if *filter > 0 {
            write!(f, "{filter} not what the request demands, ")?;
        }
        write!(f, "{breaker} with an open breaker, ")?;
        if *session > 0 {
            write!(f, "{session} that the session may not move to, ")?;
        }
        write!(f, "{unplanned} not in the plan")
    }
}
