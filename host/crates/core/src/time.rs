//! Time as a value. The core never asks what time it is; it is told.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: microseconds since the Unix epoch.
///
/// Whoever makes one takes care that it never goes backwards while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The given number of microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time that went by since `earlier`; zero when it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }
}

/// A duration in whole microseconds, at most `u64::MAX` (584,000 years).
#[must_use]
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let now = Timestamp::from_micros(5);
        assert_eq!(now - Duration::from_secs(1), Timestamp::default());
        assert_eq!(now.since(Timestamp::from_micros(9)), Duration::ZERO);
        assert_eq!((now + Duration::MAX).as_micros(), u64::MAX);
    }
}
