//! How a member does, in one word.

/// How a member does, in one word for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// It was never used.
    #[default]
    Unknown,
    /// Its last use went well.
    Healthy,
    /// Its last use failed, and its breaker is still closed.
    Degraded,
    /// Its breaker is open or half-open.
    Unhealthy,
}

impl Health {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The health that the word stands for; unknown for every other word.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        [Self::Healthy, Self::Degraded, Self::Unhealthy]
            .into_iter()
            .find(|health| health.as_str() == word)
            .unwrap_or_default()
    }
}
