//! Random: anybody, with equal chances.
//!
//! **When to use.** Like round robin, where origins must not be able to tell the order, or where
//! several gateways share a pool and should not walk through it in step.
//!
//! **Options.** None.
//!
//! Reference: <https://en.wikipedia.org/wiki/Discrete_uniform_distribution>.

use proxywhirl_plugin_sdk::strategy::{Mode, Moment, Plan, Strategy, Table, View};
use proxywhirl_plugin_sdk::{Description, NoOptions};

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
    }

    fn new(_: NoOptions) -> Result<Self, String> {
        Ok(Self)
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
    use proxywhirl_plugin_sdk::strategy::Running;

    #[test]
    fn everyone_is_drawn_with_equal_chances_whatever_the_view() {
        let mut running = Running::<Random>::new();
        running.configure("{}").unwrap();
        let view = View { id: 3, site: 0, members: Some(vec![1, 2]) };
        let plan = running.plan(&view, Moment { now: 0, seed: 0 });
        assert_eq!(plan, Plan::everyone(Mode::Draw));
    }

    #[test]
    fn there_are_no_options() {
        assert!(Running::<Random>::new().configure(r#"{"seed":1}"#).is_err());
        let schema: serde_json::Value = serde_json::from_str(&Random::describe().options_schema).unwrap();
        assert_eq!(schema["additionalProperties"], false);
    }
}
