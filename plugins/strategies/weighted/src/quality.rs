//! What is known of a member, as a quality.

use proxywhirl_plugin_ranking::board::{Rank, Standing};
use proxywhirl_plugin_sdk::strategy::{Member, rank};
use serde::Deserialize;

/// What the quality follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Nothing: all are equal.
    #[default]
    None,
    /// The share of uses that ended well.
    Success,
    /// The inverse of the latency.
    Speed,
}

/// Which of the proven a member ranks like of which too little is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unproven {
    /// The worst of them.
    Lowest,
    /// The one in the middle.
    #[default]
    Median,
    /// The best of them.
    Highest,
}

impl From<Unproven> for Rank {
    fn from(it: Unproven) -> Self {
        match it {
            Unproven::Lowest => Self::Lowest,
            Unproven::Median => Self::Median,
            Unproven::Highest => Self::Highest,
        }
    }
}

/// What is known of a member. A latency of 0 means "never measured", not "fast".
pub(crate) fn standing(member: &Member, by: By) -> Standing {
    match by {
        By::None => Standing::Proven(1.0),
        By::Success | By::Speed if member.successes == 0 && member.failures > 0 => Standing::Failed(member.failures),
        By::Success if member.successes > 0 => Standing::Proven(rank::success(member)),
        By::Speed if member.successes > 0 && member.latency > 0 => Standing::Proven(1e6 / f64::from(member.latency)),
        By::Success | By::Speed => Standing::Unproven,
    }
}
