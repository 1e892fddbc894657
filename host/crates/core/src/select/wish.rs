//! What a request wants of a pick, why it got nobody, and when it may.

use std::sync::Arc;
use std::time::Duration;

use super::filter::Filter;
use super::plan::Stick;
use crate::live::{Live, Obstacle, Room};
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
        } else {
            member.live.obstacle(self.now).map(|obstacle| match obstacle {
                Obstacle::Breaker => Refusal::Breaker,
                Obstacle::Limit => Refusal::Limit,
            })
        }
    }

    /// Whether its breaker keeps the member from being handed out, and nothing else but its limit, if that.
    #[must_use]
    pub fn is_shut(&self, member: &Member) -> bool {
        matches!(self.refusal(member), Some(Refusal::Breaker))
    }

    /// Of those whom their breakers keep from being handed out, the one that is to let a probe through first: not one that is at its limit
    /// as well, if there is another; of several that are as ready, who has least under way. Looks at the whole pool.
    #[must_use]
    pub fn readiest<'s>(&self, snapshot: &'s Snapshot, may_serve: impl Fn(&Member) -> bool) -> Option<&'s Arc<Member>> {
        let shut = snapshot.iter().filter(|member| may_serve(member) && self.is_shut(member));
        let ready = shut.filter_map(|member| {
            let live = &member.live;
            Some(((!live.has_room(self.now), live.breaker().readiness()?, live.in_flight()), member))
        });
        ready.min_by_key(|(rank, _)| *rank).map(|(_, member)| member)
    }

    /// Whether nothing but its limit keeps the member from being handed out.
    #[must_use]
    pub fn waits_for(&self, member: &Member) -> bool {
        matches!(self.refusal(member), Some(Refusal::Limit))
    }
}

/// What keeps a member from being handed out.
enum Refusal {
    Tried,
    Filter,
    Breaker,
    Limit,
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
    /// Breaker open, or its probe under way.
    pub breaker: usize,
    /// Used as much as they may be: there will be somebody for who waits.
    pub limited: usize,
    /// In the plan, but the request's session is bound to another one and must stay there, however they are.
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
                Some(Refusal::Limit) => refusals.limited += 1,
                None => refusals.unplanned += 1,
            }
        }
        refusals
    }

    /// Whether they leave somebody to wait for: who will have room, or, where nobody is to be probed, whom the next plan may have.
    #[must_use]
    pub const fn leave_somebody(&self) -> bool {
        self.limited > 0 || (self.unplanned > 0 && self.breaker == 0)
    }

    /// Whether nobody will be free soon: who is there is banned, not what is demanded, or not the session's.
    #[must_use]
    pub const fn will_last(&self) -> bool {
        self.members > 0 && self.banned + self.filter + self.session == self.members
    }
}

/// When somebody who is at a limit can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outlook {
    /// When the first token is there; none when no one is awaited.
    first: Option<Timestamp>,
    /// How many tokens come in a second.
    per_second: f64,
    /// Whether a use that ends makes room as well: nobody can say when that is.
    is_open: bool,
}

impl Outlook {
    /// Adds what can be said of a member that is at its limit.
    pub fn add(&mut self, live: &Live) {
        match live.room() {
            Room::Now | Room::WhenLeft => self.open(),
            Room::At(due) => self.expect(due, live.limit().rate.map_or(0.0, |rate| rate.per_second())),
        }
    }

    /// Adds somebody of whom a token will be there at that time, and so many in each second after it.
    pub fn expect(&mut self, due: Timestamp, per_second: f64) {
        self.first = Some(self.first.map_or(due, |first| first.min(due)));
        self.per_second += per_second;
    }

    /// Adds somebody of whom nobody can say when.
    pub const fn open(&mut self) {
        self.is_open = true;
    }

    /// How long somebody has to wait before whom so many others wait, at the least; none when nobody can say.
    #[must_use]
    pub fn wait(&self, ahead: usize, now: Timestamp) -> Option<Duration> {
        let first = self.first.filter(|_| !self.is_open)?;
        #[allow(clippy::cast_precision_loss, reason = "a queue is short")]
        let behind = if ahead == 0 { 0.0 } else { ahead as f64 / self.per_second };
        Some(first.since(now) + Duration::try_from_secs_f64(behind).unwrap_or(Duration::MAX / 2))
    }
}

impl std::fmt::Display for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { members, tried, banned, filter, breaker, limited, session, unplanned } = self;
        write!(f, "{members} in the pool, {tried} tried already, ")?;
        if *banned > 0 {
            write!(f, "{banned} banned at this site, ")?;
        }
        // Most requests demand nothing and have no session, and most proxies no limit.
        if *filter > 0 {
            write!(f, "{filter} not what the request demands, ")?;
        }
        write!(f, "{breaker} with an open breaker, ")?;
        if *limited > 0 {
            write!(f, "{limited} at their limit, ")?;
        }
        if *session > 0 {
            write!(f, "{session} that the session may not move to, ")?;
        }
        write!(f, "{unplanned} not in the plan")
    }
}
