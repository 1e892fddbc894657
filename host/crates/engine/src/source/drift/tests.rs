#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn shape(candidates: u64) -> Shape {
    Shape { candidates, rejected: 0.1, fields: [0.9, 0.0, 0.0, 0.0, 0.5] }
}

/// After ten fetches of about a thousand.
fn settled() -> History {
    let mut history = History::default();
    for n in 0..10 {
        assert_eq!(history.judge(shape(1000 + 10 * n)), None);
    }
    history
}

#[test]
fn nothing_is_odd_before_there_is_a_history() {
    let mut history = History::default();
    for candidates in [1000, 1, 500, 1_000_000, 3] {
        assert_eq!(history.judge(shape(candidates)), None);
    }
}

#[test]
fn a_list_that_lost_most_of_itself_is_odd() {
    let mut history = settled();
    assert_eq!(history.judge(shape(500)), None, "half is within the floor");
    let odd = history.judge(shape(20)).unwrap();
    assert_eq!(odd.to_string(), "20 well-formed entries, usually 1040");
    assert!(history.judge(shape(100_000)).is_some());
    assert_eq!(history.judge(shape(1000)), None, "what came between has not moved what is usual");
}

#[test]
fn a_list_of_rejected_lines_and_one_of_other_fields_are_odd() {
    let mut history = settled();
    let odd = history.judge(Shape { rejected: 0.6, ..shape(1000) }).unwrap();
    assert_eq!(odd.to_string(), "60 % of the entries rejected, usually 10 %");
    assert_eq!(history.judge(Shape { rejected: 0.0, ..shape(1000) }), None);
    let odd = history.judge(Shape { fields: [0.0, 0.0, 0.0, 0.0, 0.5], ..shape(1000) }).unwrap();
    assert_eq!(odd.to_string(), "0 % of the entries have a country, usually 90 %");
}

#[test]
fn a_source_that_has_changed_for_good_is_believed_after_a_while() {
    let mut history = settled();
    for _ in 1..PATIENCE {
        assert!(history.judge(shape(20)).is_some());
    }
    assert_eq!(history.judge(shape(21)), None);
    assert_eq!(history.judge(shape(22)), None);
    assert!(history.judge(shape(1000)).is_some());
}

#[test]
fn odd_fetches_that_do_not_agree_are_never_believed() {
    let mut history = settled();
    for n in 0..40 {
        assert!(history.judge(shape(if n % 2 == 0 { 3 } else { 100_000 })).is_some());
    }
}

#[test]
fn a_list_with_nothing_in_it_never_becomes_usual() {
    let mut history = settled();
    for _ in 0..100 {
        assert!(history.judge(Shape::nothing()).is_some());
    }
    assert_eq!(history.judge(shape(1000)), None);
}

#[test]
fn modes_are_read_as_they_are_written() {
    for drift in [Drift::Off, Drift::Warn, Drift::Keep] {
        assert_eq!(drift.as_str().parse(), Ok(drift));
    }
    assert_eq!("on".parse::<Drift>().unwrap_err(), "drift \"on\" is none of off, warn, keep");
}

proptest! {
    /// Whatever comes: memory is bounded, and it survives being written down.
    #[test]
    fn a_history_stays_small_and_is_the_same_when_it_is_read_again(
        fetches in proptest::collection::vec((0u64..100_000, 0.0..=1.0_f64, 0.0..=1.0_f64), 0..100)
    ) {
        let mut history = History::default();
        for (candidates, rejected, field) in fetches {
            let copy: History = serde_json::from_slice(&serde_json::to_vec(&history).unwrap()).unwrap();
            prop_assert_eq!(copy.usual.len(), history.usual.len());
            history.judge(Shape { candidates, rejected, fields: [field; WATCHED.len()] });
            prop_assert!(history.usual.len() <= WINDOW && history.odd.len() <= PATIENCE);
        }
        prop_assert!(serde_json::to_vec(&history).unwrap().len() < 64 * 1024);
    }

    /// What varies within a tenth is never odd.
    #[test]
    fn a_steady_source_is_never_odd(fetches in proptest::collection::vec((900u64..1100, 0.05..0.15_f64), 0..100)) {
        let mut history = History::default();
        for (candidates, rejected) in fetches {
            prop_assert_eq!(history.judge(Shape { rejected, ..shape(candidates) }), None);
        }
    }
}
