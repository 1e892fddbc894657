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
//! With `by`, those of whom too little is known get 5 % of the requests at the most, all together: a
//! large batch of newcomers cannot drown the proven, and still everybody is tried. A member that was
//! tried and has never served ranks below the worst, by its failures, and is still drawn at times.
//!
//! Formula: weight = product of factors × quality, where quality is 1 (`none`), (successes + 1) ÷
//! (uses + 2) (`success`), or 1 ÷ EWMA of the latency (`speed`).
//!
//! A plan is a copy: weights are kept up to date with each change and each observation.
//!
//! Reference: <https://en.wikipedia.org/wiki/Rule_of_succession>.

mod quality;

use proxywhirl_plugin_ranking::board::{Board, Policy};
use proxywhirl_plugin_ranking::pace::Pace;
use proxywhirl_plugin_sdk::strategy::{Delta, Member, Mode, Moment, Observation, Plan, Strategy, Table, View};
use proxywhirl_plugin_sdk::{Description, Symbol, clock, symbols};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

pub use quality::{By, Unproven};

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

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
    policy: Policy,
    board: Board,
    pace: Pace,
}

impl Weighted {
    /// The product of the rules that match, without what is known of the member.
    fn rules(&self, member: &Member) -> f64 {
        let tags = member.tags.iter().filter_map(|tag| self.by_tag.get(tag));
        tags.chain(self.by_member.get(&member.id)).product()
    }

    /// Whether all members have the same chances for ever.
    fn is_even(&self) -> bool {
        self.by == By::None && self.by_tag.is_empty() && self.by_member.is_empty()
    }

    fn weigh(&mut self, member: &Member) {
        self.board.set(member.slot, self.rules(member), quality::standing(member, self.by));
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
        let policy = Policy { rank: options.unproven.into(), ..Policy::default() };
        Ok(Self { by_tag, by_member, by: options.by, policy, board: Board::new(), pace: Pace::default() })
    }

    fn changed(&mut self, table: &Table, delta: &Delta) {
        if self.is_even() {
            return;
        }
        if delta.reset {
            self.board.clear();
        }
        for &slot in &delta.removed {
            self.board.remove(slot);
        }
        for member in delta.upserted.iter().filter_map(|&slot| table.get(slot)) {
            self.weigh(member);
        }
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        if self.by == By::None {
            return false;
        }
        for member in observations.iter().filter_map(|seen| table.get(seen.slot)) {
            self.weigh(member);
        }
        self.pace.observe(observations.len(), table.len(), clock::now())
    }

    fn plan(&mut self, _: &Table, view: &View, moment: Moment) -> Plan {
        self.pace.plan(moment.now);
        if self.is_even() {
            return Plan::everyone(Mode::Draw);
        }
        Plan::these(Mode::Draw, self.board.shares(view.members.as_deref(), &self.policy))
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
