//! What every implementation of key-values must do, as tests over `dyn KeyValues`.

use proxywhirl_core::Timestamp;
use proxywhirl_core::kv::{KeyValues, KvError, KvWrite};

/// Room for everything that a test writes.
const QUOTA: u64 = 1_000_000;

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_750_000_000_000_000 + second * 1_000_000)
}

pub(crate) fn write(value: &[u8]) -> KvWrite<'_> {
    KvWrite { value, expires: None, quota: QUOTA }
}

fn value(store: &dyn KeyValues, owner: &str, key: &str, second: u64) -> Option<Vec<u8>> {
    store.get(owner, key, at(second)).unwrap().map(|entry| entry.value)
}

/// Runs every test, each on a store of its own that is empty.
pub(crate) fn suite(fresh: &mut dyn FnMut() -> Box<dyn KeyValues>) {
    what_was_set_is_there(&*fresh());
    versions_go_on_after_a_deletion_and_an_expiry(&*fresh());
    a_swap_needs_the_version_that_is_there(&*fresh());
    of_many_who_swap_at_once_one_wins_each_time(&*fresh());
    what_has_expired_is_gone(&*fresh());
    the_quota_holds_for_keys_and_values_together(&*fresh());
    what_has_expired_or_is_replaced_counts_for_no_quota(&*fresh());
    keys_are_listed_in_the_order_of_their_bytes(&*fresh());
    two_owners_are_apart(&*fresh());
}

fn what_was_set_is_there(store: &dyn KeyValues) {
    assert_eq!(store.get("a", "k", at(0)).unwrap(), None);
    let version = store.set("a", "k", &write(b"\0one\xff"), at(0)).unwrap();
    let entry = store.get("a", "k", at(0)).unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.version), (&b"\0one\xff"[..], version));
    assert!(version > 0, "0 stands for a key that holds nothing");
    // An empty value is a value.
    assert!(store.set("a", "k", &write(b""), at(0)).unwrap() > version);
    assert_eq!(value(store, "a", "k", 0), Some(Vec::new()));
    assert!(store.delete("a", "k", at(0)).unwrap());
    assert!(!store.delete("a", "k", at(0)).unwrap());
    assert_eq!(value(store, "a", "k", 0), None);
}

fn versions_go_on_after_a_deletion_and_an_expiry(store: &dyn KeyValues) {
    let mut last = store.set("a", "k", &write(b"1"), at(0)).unwrap();
    for round in 0..100 {
        store.delete("a", "k", at(round)).unwrap();
        let expiring = KvWrite { expires: Some(at(round + 1)), ..write(b"2") };
        let second = store.set("a", "k", &expiring, at(round)).unwrap();
        assert!(second > last);
        last = store.set("a", "k", &write(b"3"), at(round + 1)).unwrap();
        assert!(last > second);
    }
}

fn a_swap_needs_the_version_that_is_there(store: &dyn KeyValues) {
    let swap = |expected, value: &[u8]| store.compare_and_swap("a", "k", expected, &write(value), at(0)).unwrap();
    assert_eq!(swap(1, b"x"), None, "there is nothing, and 0 stands for that");
    let first = swap(0, b"one").unwrap();
    assert_eq!(swap(0, b"x"), None);
    let second = swap(first, b"two").unwrap();
    assert_eq!(swap(first, b"x"), None);
    assert_eq!(value(store, "a", "k", 0), Some(b"two".to_vec()));
    store.delete("a", "k", at(0)).unwrap();
    assert_eq!(swap(second, b"x"), None, "what was deleted has not the version that it had");
    assert!(swap(0, b"three").unwrap() > second);
}

fn of_many_who_swap_at_once_one_wins_each_time(store: &dyn KeyValues) {
    const EACH: u64 = 25;
    let count = |bytes: &[u8]| String::from_utf8_lossy(bytes).parse::<u64>().unwrap();
    store.set("a", "n", &write(b"0"), at(0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut won = 0;
                while won < EACH {
                    let entry = store.get("a", "n", at(0)).unwrap().unwrap();
                    let next = (count(&entry.value) + 1).to_string();
                    let swapped = store.compare_and_swap("a", "n", entry.version, &write(next.as_bytes()), at(0));
                    won += u64::from(swapped.unwrap().is_some());
                }
            });
        }
    });
    assert_eq!(count(&value(store, "a", "n", 0).unwrap()), 4 * EACH);
}

fn what_has_expired_is_gone(store: &dyn KeyValues) {
    let expiring = KvWrite { expires: Some(at(10)), ..write(b"1") };
    let version = store.set("a", "k", &expiring, at(0)).unwrap();
    assert_eq!(value(store, "a", "k", 9), Some(b"1".to_vec()));
    assert_eq!(store.keys("a", "", "", 10, at(9)).unwrap(), ["k"]);
    assert_eq!(value(store, "a", "k", 10), None);
    assert_eq!(store.keys("a", "", "", 10, at(10)).unwrap(), [""; 0]);
    assert!(!store.delete("a", "k", at(10)).unwrap());
    assert_eq!(store.compare_and_swap("a", "k", version, &write(b"2"), at(10)).unwrap(), None);
    assert!(store.compare_and_swap("a", "k", 0, &write(b"2"), at(10)).unwrap().is_some());
    assert_eq!(value(store, "a", "k", 1_000), Some(b"2".to_vec()), "set anew, without an expiry");
}

fn the_quota_holds_for_keys_and_values_together(store: &dyn KeyValues) {
    let within = |value, quota| KvWrite { value, expires: None, quota };
    let version = store.set("a", "key", &within(b"1234567", 10), at(0)).unwrap();
    assert_eq!(store.set("a", "key", &within(b"12345678", 10), at(0)), Err(KvError::Quota(10)));
    assert_eq!(store.set("a", "k", &within(b"", 10), at(0)), Err(KvError::Quota(10)));
    // Bytes and not characters.
    assert_eq!(store.set("b", "ü", &within(b"123456789", 10), at(0)), Err(KvError::Quota(10)));
    assert_eq!(store.compare_and_swap("a", "k", 0, &within(b"", 10), at(0)), Err(KvError::Quota(10)));
    assert_eq!(value(store, "a", "key", 0), Some(b"1234567".to_vec()), "a refusal leaves what was there");
    assert_eq!(store.get("a", "key", at(0)).unwrap().unwrap().version, version);
    store.set("b", "ü", &within(b"12345678", 10), at(0)).unwrap();
}

fn what_has_expired_or_is_replaced_counts_for_no_quota(store: &dyn KeyValues) {
    let within = |expires| KvWrite { value: b"123456789", expires, quota: 10 };
    for round in 0..20 {
        store.set("a", "k", &within(None), at(round)).unwrap();
    }
    store.delete("a", "k", at(20)).unwrap();
    store.set("a", "l", &within(Some(at(30))), at(20)).unwrap();
    assert_eq!(store.set("a", "m", &within(None), at(29)), Err(KvError::Quota(10)));
    store.set("a", "m", &within(None), at(30)).unwrap();
}

fn keys_are_listed_in_the_order_of_their_bytes(store: &dyn KeyValues) {
    for key in ["b", "a/2", "a/10", "a/ü", "a", "a/", "A", "b%", "b_"] {
        store.set("o", key, &write(b"x"), at(0)).unwrap();
    }
    let keys = |prefix, after, limit| store.keys("o", prefix, after, limit, at(0)).unwrap();
    assert_eq!(keys("", "", 100), ["A", "a", "a/", "a/10", "a/2", "a/ü", "b", "b%", "b_"]);
    assert_eq!(keys("a/", "", 100), ["a/", "a/10", "a/2", "a/ü"]);
    assert_eq!(keys("a/", "a/10", 1), ["a/2"]);
    assert_eq!(keys("a/", "a/11", 2), ["a/2", "a/ü"], "`after` need not be there");
    assert_eq!(keys("a/", "A", 1), ["a/"]);
    assert_eq!(keys("b%", "", 100), ["b%"], "no pattern but the text");
    assert_eq!(keys("a/", "b", 100), [""; 0]);
    assert_eq!(keys("", "", 0), [""; 0]);
}

fn two_owners_are_apart(store: &dyn KeyValues) {
    store.set("one", "k", &write(b"1"), at(0)).unwrap();
    store.set("two", "k", &write(b"2"), at(0)).unwrap();
    assert!(store.delete("one", "k", at(0)).unwrap());
    assert_eq!(value(store, "two", "k", 0), Some(b"2".to_vec()));
    assert_eq!(store.keys("one", "", "", 10, at(0)).unwrap(), [""; 0]);
    // The quota of one is nothing to the other.
    let full = KvWrite { value: b"12345", expires: None, quota: 6 };
    store.set("one", "k", &full, at(0)).unwrap();
    store.set("three", "k", &full, at(0)).unwrap();
}
