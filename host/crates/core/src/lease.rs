//! The right to use a member once.

use std::sync::Arc;

use crate::breaker::BreakerConfig;
use crate::member::Member;
use crate::outcome::Outcome;
use crate::time::Timestamp;

/// The right to use a member once.
///
/// It counts as a use in flight until it is [settled](Lease::settle). Dropping it without that settles
/// it as neutral at the time it was taken: a request that was cut off says nothing about the member,
/// and a half-open breaker gets its probe back.
#[derive(Debug)]
pub struct Lease {
    member: Arc<Member>,
    config: BreakerConfig,
    taken: Timestamp,
    settled: bool,
}

impl Lease {
    /// Takes the lease if the member's breaker lets it.
    #[must_use]
    pub fn take(member: Arc<Member>, config: &BreakerConfig, now: Timestamp) -> Option<Self> {
        member.live.admit(config, now).then(|| Self { member, config: *config, taken: now, settled: false })
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

    /// Gives it back with what came of it. True when the member's breaker changed its state.
    pub fn settle(mut self, outcome: &Outcome, now: Timestamp) -> bool {
        self.settled = true;
        self.member.live.release(outcome, &self.config, now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.settled {
            self.member.live.release(&Outcome::Neutral, &self.config, self.taken);
        }
    }
}
