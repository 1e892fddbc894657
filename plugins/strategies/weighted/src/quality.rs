//! What is known of a member, as a factor of its weight.

use proxywhirl_plugin_sdk::strategy::Member;
use serde::Deserialize;

/// What the factor follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Nothing: it is 1.
    #[default]
    None,
    /// The share of uses that ended well.
    Success,
    /// The inverse of the latency.
    Speed,
}

/// Which of the proven a never-tried member ranks like.
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

/// Whether it was ever tried.
pub(crate) const fn is_proven(member: &Member) -> bool {
    member.successes > 0 || member.failures > 0
}

/// Multiplies each weight by the member's quality.
pub(crate) fn apply(shares: &mut [(f64, &Member)], by: By, unproven: Unproven) {
    let members = || shares.iter().map(|&(_, member)| member);
    let slowest = members().map(|member| member.latency).max().unwrap_or(0).max(1);
    let mut proven: Vec<f64> =
        members().filter(|member| is_proven(member)).map(|member| quality(member, by, slowest)).collect();
    proven.sort_unstable_by(f64::total_cmp);
    let place = match unproven {
        Unproven::Lowest => 0,
        Unproven::Median => proven.len() / 2,
        Unproven::Highest => proven.len().saturating_sub(1),
    };
    let newcomer = proven.get(place).copied().unwrap_or(1.0);
    for (weight, member) in shares {
        *weight *= if is_proven(member) { quality(member, by, slowest) } else { newcomer };
    }
}

/// Always above 0: who is never drawn can never get better.
fn quality(member: &Member, by: By, slowest: u32) -> f64 {
    let (successes, failures) = (member.successes as f64, member.failures as f64);
    match by {
        By::None => 1.0,
        By::Success => (successes + 1.0) / (successes + failures + 2.0),
        By::Speed if member.latency > 0 => 1.0 / f64::from(member.latency),
        // Never measured, so it has only ever failed: slower than the slowest, by its failures.
        By::Speed => 1.0 / (f64::from(slowest) * (failures + 1.0)),
    }
}
