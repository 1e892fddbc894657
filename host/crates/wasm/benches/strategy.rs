//! What a strategy costs in WebAssembly: a call that does nearly nothing, a `select`, a change in the pool, a plan.
//!
//! `call` is what the sandbox takes for itself. `change` is what happens when the pool changes: `apply` of 100 members,
//! and the plan that is made after it, of the bundled strategies; `weighted` weighs by success, so its plan names every
//! member, while the plans of the others say "everyone".
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use divan::{Bencher, black_box};
use proxywhirl_core::plugin::{Request, Strategy};
use proxywhirl_core::pool::Admission;
use proxywhirl_core::symbol::{Symbol, Symbols};
use proxywhirl_core::{Anonymity, Candidate, Member, Outcome, Pool, Tags, Timestamp};
use proxywhirl_guests::Guest;
use proxywhirl_wasm::{Plugins, PluginsConfig};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
/// Members that change at once.
const CHANGED: usize = 100;
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
/// Rules that make the plan of `weighted` name everybody.
const BY_SUCCESS: &str = r#"{"by":"success"}"#;

static BUNDLE: LazyLock<Plugins> =
    LazyLock::new(|| plugins(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins/dist")));

/// A strategy that wants to be asked for each request, written by hand: `select` answers 7 and does nothing else.
static ASKED: LazyLock<Plugins> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let guest = Guest::strategy("asked").with("select", "i32.const 7").build();
    std::fs::write(directory.path().join("asked.wasm"), guest).unwrap();
    plugins(directory.path())
});

fn main() {
    divan::main();
}

#[divan::bench_group(sample_count = 100, sample_size = 500)]
mod call {
    use super::{ASKED, BUNDLE, Bencher, SIZES, black_box, request, strategy, with_pool};

    /// Through the SDK: no observations.
    #[divan::bench]
    fn observe_nothing(bencher: Bencher<'_, '_>) {
        let mut strategy = strategy(&BUNDLE, "round-robin", "");
        bencher.bench_local(|| strategy.observe(black_box(&[])).unwrap());
    }

    /// Written by hand: what nobody can do without.
    #[divan::bench(args = SIZES)]
    fn select(bencher: Bencher<'_, '_>, size: usize) {
        let mut strategy = with_pool(&ASKED, "asked", "", size);
        let mut number = 0;
        bencher.bench_local(|| {
            number += 1;
            strategy.select(&request(number)).unwrap()
        });
    }

    /// Through the SDK, with a table of so many members.
    #[divan::bench(args = SIZES)]
    fn select_by_the_sdk(bencher: Bencher<'_, '_>, size: usize) {
        let mut strategy = with_pool(&BUNDLE, "round-robin", "", size);
        let mut number = 0;
        bencher.bench_local(|| {
            number += 1;
            strategy.select(&request(number)).unwrap()
        });
    }
}

#[divan::bench_group(max_time = 0.5)]
mod change {
    use super::{BY_SUCCESS, Bencher, SIZES, change};

    #[divan::bench(args = SIZES)]
    fn round_robin(bencher: Bencher<'_, '_>, size: usize) {
        change(bencher, "round-robin", "", size);
    }

    #[divan::bench(args = SIZES)]
    fn random(bencher: Bencher<'_, '_>, size: usize) {
        change(bencher, "random", "", size);
    }

    #[divan::bench(args = SIZES)]
    fn weighted(bencher: Bencher<'_, '_>, size: usize) {
        change(bencher, "weighted", BY_SUCCESS, size);
    }
}

/// A fresh instance that is told of the whole pool: what a start costs, and a fault.
#[divan::bench_group(max_time = 0.5)]
mod reset {
    use super::{BUNDLE, Bencher, SIZES, members, strategy};

    #[divan::bench(args = SIZES)]
    fn round_robin(bencher: Bencher<'_, '_>, size: usize) {
        let members = members(size);
        bencher.with_inputs(|| strategy(&BUNDLE, "round-robin", "")).bench_local_values(|mut strategy| {
            strategy.apply(1, true, &members, &[]).unwrap();
            strategy
        });
    }
}

/// Measures a change of 100 members and the plan that follows.
fn change(bencher: Bencher<'_, '_>, name: &str, options: &str, size: usize) {
    let members = members(size);
    let mut strategy = with_pool(&BUNDLE, name, options, size);
    let changed: Vec<_> = members.into_iter().cycle().take(CHANGED).collect();
    let mut epoch = 1;
    bencher.bench_local(|| {
        epoch += 1;
        strategy.apply(epoch, false, &changed, &[]).unwrap();
        strategy.plan(NOW, epoch).unwrap()
    });
}

fn plugins(directory: &Path) -> Plugins {
    let config = PluginsConfig::new(Arc::new(Symbols::default()), Arc::new(|| NOW));
    let mut config = PluginsConfig { directory: Some(directory.to_owned()), ..config };
    // A busy machine may take its time: that is to be measured, and not to be cut off.
    (config.limits.strategy.call, config.limits.strategy.select) = (Duration::from_secs(30), Duration::from_secs(1));
    Plugins::load(config).unwrap()
}

fn strategy(plugins: &Plugins, name: &str, options: &str) -> Box<dyn Strategy> {
    plugins.strategy(name, options).unwrap().instance().unwrap()
}

fn with_pool(plugins: &Plugins, name: &str, options: &str, size: usize) -> Box<dyn Strategy> {
    let mut strategy = strategy(plugins, name, options);
    strategy.apply(1, true, &members(size), &[]).unwrap();
    strategy
}

const fn request(number: u64) -> Request {
    Request { view: 0, site: Symbol::NONE, session: 0, attempt: 1, now: NOW, seed: number }
}

/// Members with a tag, of which every second has served before.
fn members(size: usize) -> Vec<Arc<Member>> {
    let mut pool = Pool::new(Arc::default(), size);
    let tags: Tags = ["source:bench".parse().unwrap()].into_iter().collect();
    for number in 0..u32::try_from(size).unwrap() {
        let endpoint = format!("http://{}:8080", Ipv4Addr::from(0x0a00_0000 + number)).parse().unwrap();
        let tags = tags.clone();
        let candidate = Candidate { endpoint, tags, country: None, anonymity: Anonymity::Elite, line: 0 };
        pool.admit(Admission::Vouched(Box::new(candidate)), NOW);
    }
    let success = Outcome::Success { latency: Duration::from_millis(80) };
    for member in pool.iter().step_by(2) {
        member.live.record(&success, NOW, &Default::default(), NOW);
    }
    pool.iter().cloned().collect()
}
