//! How much may be asked of somebody: so many uses at the same time, and a token bucket.
//!
//! The bucket is kept as GCRA does (ITU-T I.371): one time, from which on it would be full, says all of it, and when the next
//! token is there follows without counting.
//!
//! Invariant: in any span, a bucket gives no more than its burst and what the rate makes of the span.

use std::time::Duration;

use crate::tag::{Tag, Tags};
use crate::time::Timestamp;

/// A limit; nothing in it for none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limit {
    /// Uses at the same time.
    pub concurrency: Option<u32>,
    /// Uses in a time.
    pub rate: Option<Rate>,
}

/// The limits of members, by their tags.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemberLimits {
    /// Limits of those who have all of these tags; the first that applies does.
    pub tagged: Vec<(Vec<Tag>, Limit)>,
    /// That of all others.
    pub others: Limit,
}

/// How fast a bucket fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst: u32,
}

/// A token bucket. It begins full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// When it will be full again, in nanoseconds since the Unix epoch: tokens at high rates are less than a microsecond
    /// apart.
    full: u64,
    /// Tokens that were taken here, and of which those who share the bucket have not said yet whether they are left.
    asked: u32,
}

impl Limit {
    /// No limit at all.
    pub const NONE: Self = Self { concurrency: None, rate: None };

    /// Whether it limits nothing.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.concurrency.is_none() && self.rate.is_none()
    }

    /// Whether somebody with so many uses under way may have another one, as far as concurrency goes.
    #[must_use]
    pub fn has_place(&self, in_use: u32) -> bool {
        self.concurrency.is_none_or(|most| in_use < most)
    }

    /// When a bucket has a token for this limit: zero for always.
    #[must_use]
    pub fn due(&self, bucket: &Bucket) -> Timestamp {
        self.rate.map_or(Timestamp::default(), |rate| bucket.due(&rate))
    }

    /// Takes a token, if the limit has a rate. To be called when it is [due](Limit::due).
    pub fn take(&self, bucket: &mut Bucket, now: Timestamp) {
        if let Some(rate) = self.rate {
            bucket.take(&rate, now);
        }
    }
}

impl MemberLimits {
    /// The limit of a member with these tags.
    #[must_use]
    pub fn of(&self, tags: &Tags) -> Limit {
        let has = |tag: &Tag| tags.iter().any(|own| own == tag);
        let tagged = self.tagged.iter().find(|(wanted, _)| wanted.iter().all(has));
        tagged.map_or(self.others, |(_, limit)| *limit)
    }

    /// Whether nobody has one.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.others.is_none() && self.tagged.iter().all(|(_, limit)| limit.is_none())
    }
}

impl Rate {
    /// The rates that there may be, in tokens a second: one a day to a million.
    pub const RANGE: std::ops::RangeInclusive<f64> = 1.0 / 86_400.0..=1_000_000.0;

    /// The tokens that a bucket may have at the most.
    pub const MOST_BURST: u32 = 1_000_000;

    /// So many tokens in a second, of which so many may be saved up. Both are brought into their ranges.
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        let per_second = if per_second.is_nan() { *Self::RANGE.start() } else { per_second };
        Self {
            per_second: per_second.clamp(*Self::RANGE.start(), *Self::RANGE.end()),
            burst: burst.clamp(1, Self::MOST_BURST),
        }
    }

    /// Tokens in a second.
    #[must_use]
    pub const fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Tokens that may be saved up.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// The time that one token takes.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1,000 to 86,400,000,000,000")]
    fn nanos(&self) -> u64 {
        (1e9 / self.per_second).round() as u64
    }

    /// How long it is until a bucket has its next token that is full after so long; zero when it has one now.
    #[must_use]
    pub fn next(&self, full: Duration) -> Duration {
        full.saturating_sub(Duration::from_nanos(self.slack()))
    }

    /// How long before it is full a bucket has its first token.
    fn slack(&self) -> u64 {
        self.nanos().saturating_mul(u64::from(self.burst - 1))
    }
}

impl Bucket {
    /// When it has a token: it has one already when that is not later than now.
    #[must_use]
    pub fn due(&self, rate: &Rate) -> Timestamp {
        // Rounded up: a microsecond early would be too early.
        Timestamp::from_micros(self.full.saturating_sub(rate.slack()).div_ceil(1_000))
    }

    /// Takes a token. To be called when it is [due](Bucket::due); otherwise it takes one of the future.
    pub fn take(&mut self, rate: &Rate, now: Timestamp) {
        self.full = self.full.max(now.as_micros().saturating_mul(1_000)).saturating_add(rate.nanos());
    }

    /// Leaves no more in debt than can be used at a rate.
    pub fn fit(&mut self, rate: &Rate, now: Timestamp) {
        let most = now.as_micros().saturating_mul(1_000).saturating_add(rate.slack()).saturating_add(rate.nanos());
        self.full = self.full.min(most);
    }

    /// Whether nothing of it is used up.
    #[must_use]
    pub const fn is_full(&self, now: Timestamp) -> bool {
        self.full <= now.as_micros().saturating_mul(1_000)
    }

    /// Puts a token back that was not used.
    pub fn give_back(&mut self, rate: &Rate) {
        self.full = self.full.saturating_sub(rate.nanos());
    }

    /// Begins to ask those who share the bucket for a token that was taken here; [`Bucket::told`] ends it.
    pub const fn ask(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// What those who share it say of a token that was asked for: when the bucket is full. None when nobody has said
    /// anything, and the token counts.
    pub fn told(&mut self, rate: &Rate, full: Option<Timestamp>) {
        self.asked = self.asked.saturating_sub(1);
        if let Some(full) = full {
            let asked = rate.nanos().saturating_mul(u64::from(self.asked));
            self.full = full.as_micros().saturating_mul(1_000).saturating_add(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + millis * 1_000)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_token_after_the_other() {
        let (rate, mut bucket) = (Rate::new(10.0, 3), Bucket::default());
        for _ in 0..3 {
            assert!(bucket.due(&rate) <= at(0));
            bucket.take(&rate, at(0));
        }
        assert_eq!(bucket.due(&rate), at(100));
        bucket.take(&rate, at(100));
        assert_eq!(bucket.due(&rate), at(200));
        bucket.give_back(&rate);
        assert_eq!(bucket.due(&rate), at(100));
    }

    #[test]
    fn a_shared_bucket_is_as_those_who_share_it_say_and_counts_what_they_have_not_heard_of() {
        let (rate, mut bucket) = (Rate::new(10.0, 2), Bucket::default());
        for _ in 0..2 {
            bucket.take(&rate, at(0));
            bucket.ask();
        }
        // Others have used it up: the first one is refused, the second one is still asked about.
        bucket.told(&rate, Some(at(400)));
        assert_eq!(bucket.due(&rate), at(400));
        bucket.told(&rate, Some(at(450)));
        assert_eq!(bucket.due(&rate), at(350));
        bucket.take(&rate, at(350));
        bucket.ask();
        bucket.told(&rate, None);
        assert_eq!(bucket.due(&rate), at(450), "nobody answers, and it goes on by itself");
    }

    #[test]
    fn what_a_shared_bucket_has_saved_up_is_there_after_somebody_has_said_so() {
        let (rate, mut bucket) = (Rate::new(0.01, 4), Bucket::default());
        bucket.take(&rate, at(0));
        bucket.ask();
        bucket.told(&rate, Some(at(100_000)));
        for _ in 0..3 {
            assert!(bucket.due(&rate) <= at(0), "{bucket:?}");
            bucket.take(&rate, at(0));
        }
        assert_eq!(bucket.due(&rate), at(100_000));
        let until_full = |seconds| rate.next(Duration::from_secs(seconds));
        assert_eq!((until_full(300), until_full(301)), (Duration::ZERO, Duration::from_secs(1)));
    }

    #[test]
    fn what_is_out_of_range_is_brought_into_it() {
        let rate = Rate::new(f64::NAN, 0);
        assert_eq!((rate.interval(), rate.burst()), (Duration::from_hours(24), 1));
        assert_eq!(Rate::new(f64::INFINITY, u32::MAX).interval(), Duration::from_micros(1));
        let (slowest, mut bucket) = (Rate::new(0.0, u32::MAX), Bucket::default());
        bucket.take(&slowest, at(0));
        assert!(bucket.due(&slowest) <= at(0));
    }

    proptest! {
        /// And no less, when each token is taken as soon as it is there: but for the microsecond that each may be late.
        #[test]
        fn no_token_is_lost(per_second in 0.1_f64..100_000.0, burst in 1_u32..50, tokens in 1_u32..500) {
            let (rate, mut bucket, mut now) = (Rate::new(per_second, burst), Bucket::default(), at(0));
            for _ in 0..burst + tokens {
                now = now.max(bucket.due(&rate));
                bucket.take(&rate, now);
            }
            let (took, expected) = (now.since(at(0)).as_secs_f64(), f64::from(tokens) / per_second);
            prop_assert!((took - expected).abs() <= expected * 1e-4 + f64::from(burst + tokens) * 1e-6, "{took} instead of {expected}");
        }

        /// Whoever asks when, and however often: in each span no more than the burst and what the rate makes of it.
        #[test]
        fn no_span_has_more_than_its_burst_and_its_rate(
            per_second in 0.1_f64..5_000.0,
            burst in 1_u32..50,
            pauses in proptest::collection::vec(0_u64..200_000, 1..300),
        ) {
            let (rate, mut bucket, mut now) = (Rate::new(per_second, burst), Bucket::default(), at(0));
            let mut given: Vec<Timestamp> = Vec::new();
            for pause in pauses {
                now = now + Duration::from_micros(pause);
                while bucket.due(&rate) <= now {
                    bucket.take(&rate, now);
                    given.push(now);
                }
            }
            for (first, from) in given.iter().enumerate() {
                for (last, to) in given.iter().enumerate().skip(first) {
                    let most = f64::from(burst) + to.since(*from).as_secs_f64() * per_second;
                    prop_assert!((last - first + 1) as f64 <= most + 1e-3, "{} in {:?}", last - first + 1, to.since(*from));
                }
            }
        }
    }
}
