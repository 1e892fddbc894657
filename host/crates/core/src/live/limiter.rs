//! What a member's limit leaves of it. None of it costs a request anything that goes through a member without a limit.

use std::sync::atomic::Ordering;

use super::{Guarded, IS_LIMITED, Live};
use crate::breaker::BreakerConfig;
use crate::limit::{Bucket, Limit, Rate};
use crate::pool::board::{GATE_CLOSED, GATE_SHUT};
use crate::time::Timestamp;

/// What a member's limit leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Something, or it has no limit.
    Now,
    /// A token at this time; if that has passed, it is there.
    At(Timestamp),
    /// Something when one of the uses under way ends.
    WhenLeft,
}

/// A limit, and what is used of it.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: Limit,
    bucket: Bucket,
}

impl Live {
    /// What its limit leaves.
    #[must_use]
    pub fn room(&self) -> Room {
        match self.room_of(&self.guarded()) {
            GATE_CLOSED => Room::Now,
            GATE_SHUT => Room::WhenLeft,
            due => Room::At(Timestamp::from_micros(due)),
        }
    }

    /// How much may be asked of it.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.guarded().limiter.as_ref().map_or(Limit::NONE, |limiter| limiter.limit)
    }

    /// Says how much may be asked of it. Uses that are under way count; a new rate begins with a full bucket.
    pub fn set_limit(&self, limit: Limit) {
        let mut guarded = self.guarded();
        let before = guarded.limiter.as_ref().filter(|limiter| limiter.limit.rate == limit.rate);
        let bucket = before.map(|limiter| limiter.bucket).unwrap_or_default();
        guarded.limiter = (!limit.is_none()).then(|| Box::new(Limiter { limit, bucket }));
        if limit.is_none() {
            self.standing.fetch_and(!IS_LIMITED, Ordering::Relaxed);
        } else {
            self.standing.fetch_or(IS_LIMITED, Ordering::Relaxed);
        }
        self.show(&guarded);
    }

    pub(super) fn is_limited(&self) -> bool {
        self.standing.load(Ordering::Relaxed) & IS_LIMITED != 0
    }

    /// Begins to ask those who share its rate for a token that was taken here, and says at which rate; none, and nothing
    /// begins, when it has none. [`Live::told`] must follow.
    #[must_use]
    pub fn ask(&self) -> Option<Rate> {
        if !self.is_limited() {
            return None;
        }
        let mut guarded = self.guarded();
        let Limiter { limit, bucket } = guarded.limiter.as_deref_mut()?;
        limit.rate.inspect(|_| bucket.ask())
    }

    /// What those who share its rate say: when its bucket is full; none when nobody has said anything.
    pub fn told(&self, full: Option<Timestamp>) {
        let mut guarded = self.guarded();
        if let Some(Limiter { limit: Limit { rate: Some(rate), .. }, bucket }) = guarded.limiter.as_deref_mut() {
            bucket.told(rate, full);
        }
        self.publish(&guarded);
    }

    /// Asks limit and breaker, and takes a token.
    #[cold]
    pub(super) fn admit_within(&self, config: &BreakerConfig, now: Timestamp) -> bool {
        let mut guarded = self.guarded();
        let Guarded { breaker, limiter } = &mut *guarded;
        let in_use = self.in_flight();
        let is_left = |Limiter { limit, bucket }: &Limiter| limit.has_place(in_use) && limit.due(bucket) <= now;
        let admitted = limiter.as_deref().is_none_or(is_left) && breaker.admit(config, now);
        if admitted {
            if let Some(Limiter { limit, bucket }) = limiter.as_deref_mut() {
                limit.take(bucket, now);
            }
            self.join(now);
        }
        self.publish(&guarded);
        admitted
    }

    /// What the limit leaves, in the form of a gate: [`GATE_CLOSED`] when it leaves something, [`GATE_SHUT`] when as many
    /// uses are under way as there may be, or the time at which there is a token.
    pub(super) fn room_of(&self, guarded: &Guarded) -> u64 {
        let Some(Limiter { limit, bucket }) = guarded.limiter.as_deref() else { return GATE_CLOSED };
        if !limit.has_place(self.in_flight()) {
            return GATE_SHUT;
        }
        // A token that was there at the last use is there now.
        let due = limit.due(bucket).as_micros();
        if due <= self.last_used.load(Ordering::Relaxed) { GATE_CLOSED } else { due }
    }
}
