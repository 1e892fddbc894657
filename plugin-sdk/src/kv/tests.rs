#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::clock;

fn value(key: &str) -> Option<Vec<u8>> {
    get(key).unwrap().map(|entry| entry.value)
}

#[test]
fn a_key_holds_what_was_set_until_it_is_deleted() {
    fake::reset();
    assert_eq!(get("a"), Ok(None));
    assert_eq!(set("a", b"1", None), Ok(1));
    assert_eq!(get("a"), Ok(Some(Entry { value: b"1".to_vec(), version: 1 })));
    assert_eq!((delete("a"), delete("a")), (Ok(true), Ok(false)));
    assert_eq!(get("a"), Ok(None));
}

#[test]
fn versions_go_on_after_a_deletion_so_that_nobody_swaps_by_mistake() {
    fake::reset();
    let first = set("a", b"1", None).unwrap();
    delete("a").unwrap();
    assert!(set("a", b"2", None).unwrap() > first);
}

#[test]
fn compare_and_swap_takes_the_expected_version_only() {
    fake::reset();
    let version = compare_and_swap("a", 0, b"1", None).unwrap().unwrap();
    assert_eq!(compare_and_swap("a", 0, b"2", None), Ok(None));
    assert_eq!(compare_and_swap("a", version + 1, b"2", None), Ok(None));
    assert!(compare_and_swap("a", version, b"2", None).unwrap().unwrap() > version);
    assert_eq!(value("a"), Some(b"2".to_vec()));
}

#[test]
fn a_key_expires_by_the_clock_and_counts_for_no_quota_then() {
    fake::reset();
    fake::set_quota(10);
    clock::set(1_000);
    set("a", b"123456789", Some(Duration::from_micros(5))).unwrap();
    assert_eq!(set("b", b"1", None), Err(Error::Quota));
    clock::set(1_005);
    assert_eq!((value("a"), fake::used()), (None, 0));
    assert_eq!(compare_and_swap("a", 0, b"1", None), Ok(Some(2)));
    set("b", b"1", None).unwrap();
    assert_eq!(keys("", ""), Ok(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn keys_come_in_order_by_prefix_and_by_pages_of_a_thousand() {
    fake::reset();
    for number in 0..1001 {
        set(&format!("k{number:04}"), b"", None).unwrap();
    }
    set("other", b"", None).unwrap();
    let first = keys("k", "").unwrap();
    assert_eq!((first.len(), first.first().unwrap().as_str()), (1000, "k0000"));
    assert_eq!(keys("k", first.last().unwrap()), Ok(vec!["k1000".to_owned()]));
}

#[test]
fn sizes_and_faults_are_told() {
    fake::reset();
    assert_eq!(set("", b"", None), Err(Error::Size));
    assert_eq!(set(&"k".repeat(MAX_KEY + 1), b"", None), Err(Error::Size));
    assert_eq!(set("a", &vec![0; MAX_VALUE + 1], None), Err(Error::Size));
    fake::fail_with(Some(Error::Denied));
    assert_eq!(get("a"), Err(Error::Denied));
    assert_eq!(keys("", ""), Err(Error::Denied));
    fake::fail_with(None);
    assert_eq!(get("a"), Ok(None));
}
