//! Composite: filter, rank, fall back, by configuration alone.
//!
//! **When to use.** What you want is a list of sentences: "our own proxies in Germany that are fast,
//! then our own, then any that hides me, then anybody".
//!
//! **Options.** `steps` (default `[{}]`: everybody, drawn): a list of lines, 16 at the most. The first
//! line serves; the next one serves when nobody in those before it can. In a line, all filters must
//! hold:
//!
//! | filter | holds for |
//! |---|---|
//! | `tag`, `not_tag` | members with one, with none of these tags |
//! | `country`, `not_country` | members in one, in none of these countries |
//! | `scheme` | members that one speaks to so |
//! | `anonymity` | members known to be at least so anonymous |
//! | `max_latency`, `min_success` | members not known to be slower, to fail more often |
//! | `min_tries`, `max_tries` | members tried at least, at most so often |
//!
//! A member that was never tried passes `max_latency` and `min_success`, for nothing is known against
//! it; `min_tries` keeps it out. One that only ever failed has no latency, and does not pass
//! `max_latency`. Then:
//!
//! * `rank` (default `equal`): `success`, `speed` and `performance` weigh by what is known; `cost` makes
//!   tiers, the cheapest first and never by chance: `costs` says what members with a tag cost, by the
//!   highest that matches; without one, a member is free.
//! * `by_tag` (default `{}`): a factor for the weight of members with a tag.
//! * `best` (default none): only so many, those with the highest weights.
//! * `explore` (default 0.05): the share that the never-tried get at the most, all together.
//! * `mode` (default `draw`): how to pick; or `cycle`, `least-loaded`, `affinity`.
//!
//! Reference: the filter and scorer chain of Kubernetes' scheduler,
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/>.

mod filter;
mod step;

use proxywhirl_plugin_ranking::pace::Pace;
use proxywhirl_plugin_sdk::strategy::{Moment, Observation, Plan, Strategy, Table, View};
use proxywhirl_plugin_sdk::{Description, clock};
use serde::Deserialize;
use serde_json::Value;
use step::Step;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// Lines at the most.
const MAX_STEPS: usize = 16;

/// Tiers that the host takes.
const MAX_TIERS: usize = 64;

/// What users may set.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The lines, read one by one, so that an error can name the line.
    steps: Vec<Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: vec![Value::Object(serde_json::Map::new())] }
    }
}

/// Filter, rank, fall back.
#[derive(Debug)]
pub struct Composite {
    steps: Vec<Step>,
    pace: Pace,
}

impl Composite {
    /// How many tiers a line that ranks by cost may have: what the others leave, in equal parts.
    fn levels(&self) -> usize {
        let by_cost = self.steps.iter().filter(|step| step.is_by_cost()).count().max(1);
        1 + (MAX_TIERS - MAX_STEPS) / by_cost
    }
}

impl Strategy for Composite {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "composite",
            env!("CARGO_PKG_VERSION"),
            "Filters, ranks and fallbacks by configuration alone; when what you want is a list of sentences.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        let count = options.steps.len();
        if count == 0 || count > MAX_STEPS {
            return Err(format!("steps: {count} lines, but 1 to {MAX_STEPS} are needed"));
        }
        let read = |(index, line)| Step::read(line).map_err(|error| format!("steps[{index}]: {error}"));
        let steps = options.steps.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { steps, pace: Pace::default() })
    }

    fn observe(&mut self, table: &Table, observations: &[Observation]) -> bool {
        self.steps.iter().any(Step::follows_uses) && self.pace.observe(observations.len(), table.len(), clock::now())
    }

    fn plan(&mut self, table: &Table, view: &View, moment: Moment) -> Plan {
        self.pace.plan(moment.now);
        let levels = self.levels();
        let members: Vec<_> = table.members(view).collect();
        Plan::tiers(self.steps.iter().flat_map(|step| step.tiers(&members, levels)).collect())
    }
}

proxywhirl_plugin_sdk::export!(strategy: Composite);

#[cfg(test)]
mod tests;
