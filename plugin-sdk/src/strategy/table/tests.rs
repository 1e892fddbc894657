#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::testing::member;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn slots(table: &Table) -> Vec<Slot> {
    table.iter().map(|member| member.slot).collect()
}

fn seen(slot: Slot, success: bool, latency: u32) -> Observation {
    Observation { slot, site: 0, success, latency }
}

#[test]
fn members_come_in_the_order_of_joining_whatever_order_they_were_told_in() {
    let mut table = Table::new();
    table.apply(1, true, vec![member(0, 9), member(1, 3), member(2, 5)], vec![]);
    assert_eq!(slots(&table), [1, 2, 0]);
    assert_eq!((table.len(), table.epoch()), (3, 1));
}

#[test]
fn a_slot_that_is_removed_and_given_away_in_one_delta_has_the_new_member() {
    let mut table = Table::new();
    table.apply(1, true, vec![member(0, 0), member(1, 1)], vec![]);
    let delta = table.apply(2, false, vec![member(0, 2)], vec![0]);
    assert_eq!(delta, Delta { reset: false, upserted: vec![0], removed: vec![0] });
    assert_eq!(slots(&table), [1, 0]);
    assert_eq!(table.get(0).unwrap().joined, 2);
}

#[test]
fn a_reset_forgets_everyone() {
    let mut table = Table::new();
    table.apply(1, false, vec![member(7, 0)], vec![]);
    table.apply(2, true, vec![], vec![]);
    assert!(table.is_empty() && table.get(7).is_none());
}

#[test]
fn an_absurd_slot_is_ignored_and_told() {
    let mut table = Table::new();
    let delta = table.apply(1, false, vec![member(Slot::MAX, 0), member(1, 1)], vec![Slot::MAX]);
    assert_eq!((delta.upserted, table.len()), (vec![1], 1));
    assert_eq!(log::take().len(), 1);
}

#[test]
fn a_view_lists_its_members_and_skips_those_that_left() {
    let mut table = Table::new();
    table.apply(1, true, vec![member(0, 0), member(1, 1)], vec![]);
    let view = View { id: 1, site: 0, members: Some(vec![1, 5, 0]) };
    assert_eq!(table.members(&view).map(|member| member.slot).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn uses_are_counted_until_the_host_says_the_counts() {
    let mut table = Table::new();
    table.apply(1, true, vec![member(0, 0)], vec![]);
    table.record(&[seen(0, true, 800), seen(0, false, 0), seen(0, true, 1600), seen(9, true, 1)]);
    let row = table.get(0).unwrap();
    assert_eq!((row.successes, row.failures, row.latency), (2, 1, 900));
    table.apply(2, false, vec![member(0, 0)], vec![]);
    assert_eq!(table.get(0).unwrap().successes, 0);
}

#[test]
fn a_measured_latency_never_becomes_unmeasured() {
    let mut table = Table::new();
    table.apply(1, true, vec![member(0, 0)], vec![]);
    for _ in 0..100 {
        table.record(&[seen(0, true, 1)]);
    }
    assert!(table.get(0).unwrap().latency > 0);
}

type Call = (bool, Vec<(Slot, u64)>, Vec<Slot>);

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = (
        prop::bool::weighted(0.05),
        prop::collection::vec((0_u32..40, 0_u64..100), 0..20),
        prop::collection::vec(0_u32..40, 0..30),
    );
    prop::collection::vec(call, 0..30)
}

proptest! {
    #[test]
    fn the_table_is_what_a_map_sorted_by_joining_would_be(calls in calls()) {
        let mut table = Table::new();
        let mut model = BTreeMap::new();
        for (epoch, (reset, upserts, removed)) in (1..).zip(calls) {
            if reset {
                model.clear();
            }
            removed.iter().for_each(|slot| _ = model.remove(slot));
            let rows: Vec<_> = upserts.iter().map(|&(slot, joined)| member(slot, joined)).collect();
            rows.iter().for_each(|row| _ = model.insert(row.slot, row.clone()));
            table.apply(epoch, reset, rows, removed);

            let mut expected: Vec<_> = model.values().cloned().collect();
            expected.sort_by_key(|row| (row.joined, row.slot));
            prop_assert_eq!(table.iter().cloned().collect::<Vec<_>>(), expected);
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(table.epoch(), epoch);
            for slot in 0..41 {
                prop_assert_eq!(table.get(slot), model.get(&slot));
            }
        }
    }
}

#[test]
fn a_strategy_that_reads_no_table_keeps_none_and_hears_of_changes() {
    #[derive(Debug)]
    struct Deaf(Vec<Delta>);
    impl crate::strategy::Strategy for Deaf {
        type Options = crate::NoOptions;
        fn describe() -> crate::Description {
            crate::Description::new("deaf", "0.1.0", "Reads no table.")
        }
        fn new(_: crate::NoOptions) -> Result<Self, String> {
            Ok(Self(Vec::new()))
        }
        fn reads_table(&self) -> bool {
            false
        }
        fn changed(&mut self, table: &Table, delta: &Delta) {
            assert!(table.is_empty() && table.epoch() == self.0.len() as u64 + 1);
            self.0.push(delta.clone());
        }
        fn plan(&mut self, _: &Table, _: &View, _: crate::strategy::Moment) -> crate::strategy::Plan {
            assert_eq!(self.0[0], Delta { reset: true, upserted: vec![3, 1], removed: vec![] });
            assert_eq!(self.0[1], Delta { reset: false, upserted: vec![], removed: vec![3] });
            crate::strategy::Plan::everyone(crate::strategy::Mode::Draw)
        }
    }
    let mut running = crate::strategy::Running::<Deaf>::new();
    running.configure("").unwrap();
    running.apply(1, true, vec![member(3, 0), member(1, 1)], vec![]);
    running.apply(2, false, vec![], vec![3]);
    assert!(!running.observe(&[seen(1, true, 5)]));
    let view = View { id: 0, site: 0, members: None };
    running.plan(&view, crate::strategy::Moment { now: 0, seed: 0 });
}
