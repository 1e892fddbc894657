//! The core in a world of its own: a pool, breakers, plans and leases under a simulated clock, with proxies that die,
//! come back, join and leave at random, and clients that hang up.
//!
//! Everything follows from a seed, and the invariants of [`ledger`] are checked after every step. A failure names its
//! seed; `PROXYWHIRL_SEED=N cargo test -p proxywhirl-core --test simulation` replays it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_precision_loss
)]

mod ledger;
mod scenario;
mod world;

use scenario::Scenario;
use world::World;

/// How many seeds a run tries: each mode over everyone and over a list, five times.
const SEEDS: u64 = 40;

/// Names the seed when the run panics, wherever that is.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!("replay with PROXYWHIRL_SEED={seed} cargo test -p proxywhirl-core --test simulation");
        }
    }
}

/// The seeds to try: the one that the environment names, or a range.
fn seeds() -> Vec<u64> {
    match std::env::var("PROXYWHIRL_SEED") {
        Ok(seed) => vec![seed.parse().expect("PROXYWHIRL_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    }
}

/// Runs one life of a pool and gives back the hash of all that happened.
fn live(seed: u64) -> u64 {
    let _replay = Replay(seed);
    let mut world = World::new(Scenario::of(seed));
    world.trouble();
    world.calm();
    world.history()
}

#[test]
fn whatever_dies_and_comes_back_the_invariants_hold() {
    for seed in seeds() {
        live(seed);
    }
}

#[test]
fn the_same_seed_is_the_same_history_and_another_one_is_not() {
    let seed = seeds()[0];
    assert_eq!(live(seed), live(seed));
    assert_ne!(live(seed), live(seed + 8), "the same scenario, but for the chances");
}
