//! Weighted: anybody, with chances by rules.
//!
//! **When to use.** Some members should get more requests than others: because you say so (by tag
//! or by identity), or because of what is known of them (by success or by speed).
//!
//! **Options.** A member's weight is the product of the rules that match it.
//!
//! * `by_tag` (default `{}`): a factor for the members with a tag: `"source:user" = 0.8`.
//! * `by_member` (default `{}`): a factor for a member, named by its identity in decimal digits.
//! * `by` (default `none`): `success`, the share of uses that ended well, smoothed by Laplace's rule
//!   of succession; or `speed`, the inverse of the latency.
//! * `unproven` (default `median`): which of the proven a never-tried member ranks like.
//!
//! With `by`, the never-tried get 5 % of the requests at the most, all together: a large batch of
//! newcomers cannot drown the proven, and still everybody is tried. A member that was tried and
//! never answered ranks below the slowest, and is still drawn at times.
//!
//! Reference: <https://en.wikipedia.org/wiki/Rule_of_succession>.

mod quality;

use proxywhirl_plugin_sdk::strategy::{
    Member, Mode, Moment, Observation, Plan, Strategy, Table, View, Weighted as Share,
};
use proxywhirl_plugin_sdk::{Description, Symbol, symbols};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

pub use quality::{By, Unproven};

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("options.json");

/// The share of the requests that the never-tried get at the most.
const EXPLORE: f64 = 0.05;

/// A new plan costs a walk over the pool. One for so many observations, or for a tenth as many as
/// there are members when that is more, keeps it below a handful of steps an observation.
const OBSERVATIONS_A_PLAN: usize = 16;

/// What users may set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// A factor for the members with a tag.
    by_tag: BTreeMap<String, f64>,
    /// A factor for a member, by its identity.
    by_member: BTreeMap<String, f64>,
    /// A factor by what is known of the member.
    by: By,
    /// Which of the proven a never-tried member ranks like.
    unproven: Unproven,
}

/// Anybody, with chances by rules.
#[derive(Debug)]
pub struct Weighted {
    by_tag: HashMap<Symbol, f64>,
    by_member: HashMap<u64, f64>,
    by: By,
    unproven: Unproven,
    observed: usize,
}

impl Weighted {
    /// The product of the rules that match, without what is known of the member.
    fn rules(&self, member: &Member) -> f64 {
        let tags = member.tags.iter().filter_map(|tag| self.by_tag.get(tag));
        tags.chain(self.by_member.get(&member.id)).product()
    }

    /// Scales the never-tried down to their share of all.
    fn bound_unproven(shares: &mut [(f64, &Member)]) {
        let sum = |proven: bool| -> f64 {
            let those = shares.iter().filter(|(_, member)| quality::is_proven(member) == proven);
            those.map(|(weight, _)| weight).sum()
        };
        let (proven, unproven) = (sum(true), sum(false));
        if proven > 0.0 && unproven > EXPLORE * (proven + unproven) {
            let scale = EXPLORE / (1.0 - EXPLORE) * proven / unproven;
            for (weight, member) in shares {
                if !quality::is_proven(member) {
                    *weight *= scale;
                }
            }
        }
    }
}

impl Strategy for Weighted {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "weighted",
            env!("CARGO_PKG_VERSION"),
            "Anybody, with chances by tag, identity, success or speed; when some should get more.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        let mut by_tag = HashMap::new();
        for (tag, factor) in options.by_tag {
            by_tag.insert(symbols::intern(&tag), checked("by_tag", &tag, factor)?);
        }
        let mut by_member = HashMap::new();
        for (id, factor) in options.by_member {
            let number = id.parse().map_err(|_| format!("by_member: not an identity: {id}"))?;
            by_member.insert(number, checked("by_member", &id, factor)?);
        }
        Ok(Self { by_tag, by_member, by: options.by, unproven: options.unproven, observed: 0 })
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        self.observed += observations.len();
        self.by != By::None && self.observed >= OBSERVATIONS_A_PLAN.max(table.len() / 10)
    }

    fn plan(&mut self, table: &Table, view: &View, _: Moment) -> Plan {
        self.observed = 0;
        if self.by == By::None && self.by_tag.is_empty() && self.by_member.is_empty() {
            return Plan::everyone(Mode::Draw);
        }
        let mut shares: Vec<_> = table.members(view).map(|member| (self.rules(member), member)).collect();
        if self.by != By::None {
            quality::apply(&mut shares, self.by, self.unproven);
            Self::bound_unproven(&mut shares);
        }
        // Only the proportions matter; the largest becomes 1, so that none is lost in an f32.
        let largest = shares.iter().map(|&(weight, _)| weight).fold(f64::MIN_POSITIVE, f64::max);
        let members =
            shares.iter().map(|(weight, member)| Share { slot: member.slot, weight: (weight / largest) as f32 });
        Plan::these(Mode::Draw, members.collect())
    }
}

fn checked(rule: &str, name: &str, factor: f64) -> Result<f64, String> {
    if factor.is_finite() && factor >= 0.0 {
        Ok(factor)
    } else {
        Err(format!("{rule}: {name}: {factor} is not a weight"))
    }
}

proxywhirl_plugin_sdk::export!(strategy: Weighted);

#[cfg(test)]
mod tests;
