//! {{Name}}: everybody by speed. Who answers twice as fast gets twice the requests.

use proxywhirl_plugin_sdk::Description;
use proxywhirl_plugin_sdk::strategy::{Mode, Moment, Observation, Plan, Strategy, Table, View, Weighted};
use serde::Deserialize;

/// Uses after which a new plan is worth its price.
const USES_A_PLAN: usize = 100;

/// What users may set, as in `options.json`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The share of the requests for those whose speed is not known yet.
    exploration: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { exploration: 0.05 }
    }
}

/// Everybody by speed.
#[derive(Debug)]
pub struct {{Name}} {
    options: Options,
    uses: usize,
}

impl Strategy for {{Name}} {
    type Options = Options;

    fn describe() -> Description {
        Description::new("{{name}}", env!("CARGO_PKG_VERSION"), "Everybody by speed; when latency is what counts.")
            .with_options(include_str!("../options.json"))
    }

    fn new(options: Options) -> Result<Self, String> {
        Ok(Self { options, uses: 0 })
    }

    // Called once a second with what happened meanwhile; the table counts it already. True asks for a new plan.
    fn observe(&mut self, _: &Table, observations: &[Observation]) -> bool {
        self.uses += observations.len();
        self.uses >= USES_A_PLAN
    }

    // The host picks from the plan by itself, as often as requests come, and leaves out who is not usable now.
    fn plan(&mut self, table: &Table, view: &View, _: Moment) -> Plan {
        self.uses = 0;
        // One walk over the pool: speeds of those who were measured, and how many were not.
        let speeds: f64 = table.members(view).map(|member| speed(member.latency)).sum();
        let unknown = table.members(view).filter(|member| member.latency == 0).count();
        if speeds == 0.0 {
            return Plan::everyone(Mode::Draw);
        }
        let explored = if unknown == 0 { 0.0 } else { self.options.exploration };
        let members = table.members(view).map(|member| {
            let share = match member.latency {
                0 => explored / unknown as f64,
                latency => (1.0 - explored) * speed(latency) / speeds,
            };
            Weighted { slot: member.slot, weight: share as f32 }
        });
        Plan::these(Mode::Draw, members.collect())
    }
}

/// How fast a latency in microseconds is; 0 when it was never measured.
fn speed(latency: u32) -> f64 {
    if latency == 0 { 0.0 } else { 1e6 / f64::from(latency) }
}

proxywhirl_plugin_sdk::export!(strategy: {{Name}});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_fast_is_twice_the_speed() {
        assert_eq!(speed(100_000), 2.0 * speed(200_000));
        assert_eq!(speed(0), 0.0);
    }
}
