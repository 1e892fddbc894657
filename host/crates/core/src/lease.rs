//! The right to use a member once.

use std::fmt::Debug;
use std::sync::Arc;

use crate::breaker::BreakerConfig;
use crate::member::Member;
use crate::outcome::Outcome;
use crate::time::Timestamp;

/// The right to use a member once.
///
/// It counts as a use in flight until it is dropped, or [rests](Lease::rest). What came of the use is [reported](Lease::report)
/// as soon as it is known, which for a tunnel is long before it ends. A lease that is dropped without
/// a report is neutral: a request that was cut off says nothing about the member, and a half-open
/// breaker gets its probe back.
#[derive(Debug)]
pub struct Lease {
    member: Arc<Member>,
    config: BreakerConfig,
    taken: Timestamp,
    reported: bool,
    rests: bool,
    /// Given back after the member has been, which its drop is.
    held: Option<Box<dyn Held>>,
}

/// What is held for as long as a lease is.
pub trait Held: Debug + Send + Sync {}

impl Lease {
    /// Takes the lease if the member's breaker and limit let it.
    #[must_use]
    pub fn take(member: Arc<Member>, config: &BreakerConfig, now: Timestamp) -> Option<Self> {
        member.live.admit(config, now).then(|| Self::new(member, config, now))
    }

    /// The same for a use that no limit counts, because it is over already.
    #[must_use]
    pub fn take_uncounted(member: Arc<Member>, config: &BreakerConfig, now: Timestamp) -> Option<Self> {
        member.live.admit_uncounted(config, now).then(|| Self::new(member, config, now))
    }

    fn new(member: Arc<Member>, config: &BreakerConfig, now: Timestamp) -> Self {
        Self { member, config: *config, taken: now, reported: false, rests: false, held: None }
    }

    /// Holds something more for as long as the lease is held; it is dropped when the member is not in use any more.
    #[must_use]
    pub fn holding(mut self, held: Box<dyn Held>) -> Self {
        self.held = Some(held);
        self
    }

    /// Gives its place, and what is held with it, back to others: the use is over, and what came of it will be known later.
    pub fn rest(&mut self) {
        if !std::mem::replace(&mut self.rests, true) {
            self.member.live.leave();
            self.held = None;
        }
    }

    /// The member that may be used.
    #[must_use]
    pub const fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// When it was taken.
    #[must_use]
    pub const fn taken(&self) -> Timestamp {
        self.taken
    }

    /// Whether it was said what came of the use.
    #[must_use]
    pub const fn is_reported(&self) -> bool {
        self.reported
    }

    /// Says what came of the use; only the first report counts. True when the member's breaker changed its state.
    pub fn report(&mut self, outcome: &Outcome, now: Timestamp) -> bool {
        !std::mem::replace(&mut self.reported, true) && self.member.live.record(outcome, self.taken, &self.config, now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Neutral outcomes carry no time, so that of the lease's beginning is as good as any.
        self.report(&Outcome::Neutral, self.taken);
        self.rest();
    }
}
