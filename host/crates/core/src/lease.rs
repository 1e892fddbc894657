//! The right to use a member once.

use std::sync::Arc;

use crate::breaker::BreakerConfig;
use crate::member::Member;
use crate::outcome::Outcome;
use crate::time::Timestamp;

/// The right to use a member once.
///
/// It counts as a use in flight until it is dropped. What came of the use is [reported](Lease::report)
/// as soon as it is known, which for a tunnel is long before it ends. A lease that is dropped without
/// a report is neutral: a request that was cut off says nothing about the member, and a half-open
/// breaker gets its probe back.
#[derive(Debug)]
pub struct Lease {
    member: Arc<Member>,
    config: BreakerConfig,
    taken: Timestamp,
    reported: bool,
}

impl Lease {
    /// Takes the lease if the member's breaker lets it.
    #[must_use]
    pub fn take(member: Arc<Member>, config: &BreakerConfig, now: Timestamp) -> Option<Self> {
        member.live.admit(config, now).then(|| Self { member, config: *config, taken: now, reported: false })
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

    /// Says what came of the use; only the first report counts. True when the member's breaker changed its state.
    pub fn report(&mut self, outcome: &Outcome, now: Timestamp) -> bool {
        !std::mem::replace(&mut self.reported, true) && self.member.live.record(outcome, self.taken, &self.config, now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Neutral outcomes carry no time, so that of the lease's beginning is as good as any.
        self.report(&Outcome::Neutral, self.taken);
        self.member.live.leave();
    }
}
