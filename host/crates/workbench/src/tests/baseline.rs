//! The component that calls are compared with.

use proxywhirl_core::plugin::Request;
use proxywhirl_core::symbol::Symbol;
use proxywhirl_core::time::Timestamp;
use proxywhirl_guests::Guest;

use super::place;
use crate::Subject;
use crate::bench::EMPTY;

/// Set to write the component anew, after the contract has changed.
const WRITE: &str = "PROXYWHIRL_WRITE_BASELINE";

#[test]
fn the_baseline_is_a_strategy_of_this_contract_that_does_nothing_but_answer() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bench/empty.wasm");
    if std::env::var_os(WRITE).is_some() {
        let made = Guest::strategy("empty").with("select", "i32.const 7").build();
        std::fs::write(file, made).unwrap();
    }
    let loaded = Subject::from_bytes("empty", EMPTY.to_vec()).load(&place(), 0);
    let loaded = loaded.unwrap_or_else(|error| panic!("{file} is stale: run this test twice with {WRITE}=1: {error}"));
    let mut strategy = loaded.plugins.strategy("empty", "{}").unwrap().instance().unwrap();
    let request =
        Request { view: 0, site: Symbol::NONE, session: 0, attempt: 1, now: Timestamp::from_micros(1), seed: 1 };
    assert_eq!(strategy.select(&request).unwrap(), Some(7));
    assert!(loaded.info.size < 20_000, "{} bytes", loaded.info.size);
}
