//! Round robin: everybody in turn, in the order of joining.
//!
//! **When to use.** All members are about as good as each other, and each should get the same number
//! of requests. It is the default.
//!
//! **Options.** `start` (default 0): the member that begins, by its number in the order of joining.
//! When it has left, the next one that is still there begins.
//!
//! A cycle remembers members, not positions in a list, and the host keeps it: a member that leaves
//! makes nobody be skipped or be asked twice, and a new plan goes on where the one before it was.
//!
//! With `start` 0 the plan says "everyone" and costs the same however large the pool is; with another
//! one it names every member, in order.
//!
//! Reference: <https://en.wikipedia.org/wiki/Round-robin_scheduling>.

use proxywhirl_plugin_sdk::Description;
use proxywhirl_plugin_sdk::strategy::{Mode, Moment, Plan, Strategy, Table, View, Weighted};
use serde::Deserialize;

/// The JSON Schema of [`Options`].
const SCHEMA: &str = include_str!("../options.json");

/// What users may set.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The number, in the order of joining, of the member that begins.
    start: u64,
}

/// Everybody in turn.
#[derive(Debug)]
pub struct RoundRobin {
    options: Options,
}

impl Strategy for RoundRobin {
    type Options = Options;

    fn describe() -> Description {
        Description::new(
            "round-robin",
            env!("CARGO_PKG_VERSION"),
            "Everybody in turn; for members that are about as good as each other.",
        )
        .with_options(SCHEMA)
    }

    fn new(options: Options) -> Result<Self, String> {
        Ok(Self { options })
    }

    fn reads_table(&self) -> bool {
        self.options.start != 0
    }

    fn plan(&mut self, table: &Table, view: &View, _: Moment) -> Plan {
        if !self.reads_table() {
            return Plan::everyone(Mode::Cycle);
        }
        let mut members: Vec<_> = table.members(view).map(|member| (member.joined, member.slot)).collect();
        // A table is in this order already; a view need not be.
        members.sort_unstable();
        let first = members.partition_point(|&(joined, _)| joined < self.options.start);
        if first < members.len() {
            members.rotate_left(first);
        }
        let turns = members.iter().map(|&(_, slot)| Weighted { slot, weight: 1.0 });
        Plan::these(Mode::Cycle, turns.collect())
    }
}

proxywhirl_plugin_sdk::export!(strategy: RoundRobin);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proxywhirl_plugin_sdk::strategy::{Membership, Running};
    use proxywhirl_plugin_sdk::testing::{Pool, member};

    const MOMENT: Moment = Moment { now: 0, seed: 0 };

    fn turns(options: &str, joined: &[u64]) -> Membership {
        let mut running = Running::<RoundRobin>::new();
        running.configure(options).unwrap();
        let rows = (0..).zip(joined).map(|(slot, &joined)| member(slot, joined));
        running.apply(1, true, rows.collect(), vec![]);
        let plan = running.plan(&View { id: 0, site: 0, members: None }, MOMENT);
        assert_eq!(plan.tiers.len(), 1);
        assert_eq!(plan.tiers[0].mode, Mode::Cycle);
        plan.tiers[0].members.clone()
    }

    fn slots(members: &Membership) -> Vec<u32> {
        match members {
            Membership::These(members) => members.iter().map(|member| member.slot).collect(),
            Membership::Everyone => panic!("expected a list"),
        }
    }

    #[test]
    fn by_default_everyone_takes_turns_in_the_order_of_joining() {
        assert_eq!(turns("{}", &[0, 1, 2]), Membership::Everyone);
        assert_eq!(turns("", &[]), Membership::Everyone);
    }

    #[test]
    fn start_names_who_begins_and_nobody_is_left_out() {
        assert_eq!(slots(&turns(r#"{"start":2}"#, &[0, 1, 2, 3])), [2, 3, 0, 1]);
    }

    #[test]
    fn when_the_starter_has_left_the_next_one_begins() {
        assert_eq!(slots(&turns(r#"{"start":2}"#, &[0, 1, 5, 6])), [2, 3, 0, 1]);
        assert_eq!(slots(&turns(r#"{"start":9}"#, &[0, 1])), [0, 1]);
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        let refused = Running::<RoundRobin>::new().configure(r#"{"begin":1}"#).unwrap_err();
        assert!(refused.contains("begin"), "{refused}");
    }

    #[test]
    fn the_description_has_the_defaults_in_its_schema_and_its_examples_are_accepted() {
        let schema: serde_json::Value = serde_json::from_str(&RoundRobin::describe().options_schema).unwrap();
        assert_eq!(schema["properties"]["start"]["default"], 0);
        assert_eq!(schema["additionalProperties"], false);
        for example in schema["examples"].as_array().unwrap() {
            Running::<RoundRobin>::new().configure(&example.to_string()).unwrap();
        }
    }

    #[test]
    fn a_removal_makes_nobody_be_skipped_or_repeated() {
        for options in ["{}", r#"{"start":1}"#] {
            let mut pool = Pool::<RoundRobin>::new(options).unwrap();
            (0..6).for_each(|slot| pool.join(member(slot, u64::from(slot))));
            let first: Vec<_> = (0..3).map(|_| pool.pick().unwrap()).collect();
            // One who had its turn and one who is next.
            pool.leave(first[0]);
            pool.leave((first[2] + 1) % 6);
            let rest: Vec<_> = (0..4).map(|_| pool.pick().unwrap()).collect();
            let next = first[2] + 2;
            assert_eq!(rest, [next % 6, (next + 1) % 6, first[1], first[2]], "{options}: {first:?} {rest:?}");
        }
    }

    proptest! {
        #[test]
        fn everybody_has_exactly_one_turn_and_the_order_is_that_of_joining(
            joined in prop::collection::btree_set(0_u64..1_000, 0..50),
            start in 1_u64..1_200,
        ) {
            let joined: Vec<u64> = joined.into_iter().collect();
            let Membership::These(members) = turns(&format!(r#"{{"start":{start}}}"#), &joined) else {
                panic!("expected a list")
            };
            let order: Vec<u64> = members.iter().map(|member| joined[member.slot as usize]).collect();
            let first = joined.iter().filter(|&&number| number >= start);
            let expected: Vec<u64> = first.chain(joined.iter().filter(|&&number| number < start)).copied().collect();
            prop_assert_eq!(order, expected);
        }
    }
}
