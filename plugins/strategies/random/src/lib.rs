//! Random: anybody, with equal chances.
//!
//! **When to use.** Like round robin, where origins must not be able to tell the order, or where
//! several gateways share a pool and should not walk through it in step.
//!
//! **Options.** None.
//!
//! The plan says "everyone", so it costs the same however large the pool is.
//!
//! Reference: <https://en.wikipedia.org/wiki/Discrete_uniform_distribution>.

use proxywhirl_plugin_sdk::strategy::{Mode, Moment, Plan, Strategy, Table, View};
use proxywhirl_plugin_sdk::{Description, NoOptions};

/// The JSON Schema of no options.
const SCHEMA: &str = include_str!("../options.json");

/// Anybody, with equal chances.
#[derive(Debug)]
pub struct Random;

impl Strategy for Random {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new(
            "random",
            env!("CARGO_PKG_VERSION"),
            "Anybody, with equal chances; when the order should not be told in advance.",
        )
        .with_options(SCHEMA)
    }

    fn new(_: NoOptions) -> Result<Self, String> {
        Ok(Self)
    }

    fn reads_table(&self) -> bool {
        false
    }

    fn plan(&mut self, _: &Table, _: &View, _: Moment) -> Plan {
        Plan::everyone(Mode::Draw)
    }
}

proxywhirl_plugin_sdk::export!(strategy: Random);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxywhirl_plugin_sdk::strategy::Running;
    use proxywhirl_plugin_sdk::testing::{Pool, member};

    #[test]
    fn everyone_is_drawn_with_equal_chances_whatever_the_view() {
        let mut running = Running::<Random>::new();
        running.configure("{}").unwrap();
        let view = View { id: 3, site: 0, members: Some(vec![1, 2]) };
        let plan = running.plan(&view, Moment { now: 0, seed: 0 });
        assert_eq!(plan, Plan::everyone(Mode::Draw));
    }

    #[test]
    fn chances_stay_equal_when_members_leave_join_and_are_ejected() {
        let mut pool = Pool::<Random>::new("").unwrap();
        (0..8).for_each(|slot| pool.join(member(slot, u64::from(slot))));
        pool.leave(2);
        pool.eject(5);
        pool.join(member(2, 9));
        let picks = pool.picks(50_000);
        assert!(picks.fit(&[0, 1, 2, 3, 4, 6, 7].map(|slot| (slot, 1.0))), "{picks:?}");
    }

    #[test]
    fn there_are_no_options() {
        assert!(Running::<Random>::new().configure(r#"{"seed":1}"#).is_err());
        let schema: serde_json::Value = serde_json::from_str(&Random::describe().options_schema).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        for example in schema["examples"].as_array().unwrap() {
            Running::<Random>::new().configure(&example.to_string()).unwrap();
        }
    }

    proptest! {
        #[test]
        fn the_plan_never_depends_on_the_pool(slots in prop::collection::vec(0_u32..99, 0..20), seed: u64) {
            let mut running = Running::<Random>::new();
            running.configure("").unwrap();
            running.apply(1, true, slots.iter().map(|&slot| member(slot, u64::from(slot))).collect(), vec![]);
            let plan = running.plan(&View { id: 0, site: 0, members: Some(slots) }, Moment { now: seed, seed });
            prop_assert_eq!(plan, Plan::everyone(Mode::Draw));
        }
    }
}
