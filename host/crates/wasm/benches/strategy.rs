//! What a strategy costs in WebAssembly: a call that does nearly nothing, a `select`, a change in the pool, a plan.
//!
//! First it prints what has to hold wherever it runs: `select` at most three times an empty call of wasmtime's own, an
//! `apply` of 100 members into 100,000 at most 200 µs, and a warm start of everything in `plugins/dist` in 20 ms.
//!
//! `call` is what the sandbox takes for itself. `change` is what happens when the pool changes: `apply` of 100 members,
//! and the plan that is made after it, of the bundled strategies; `weighted` weighs by success, so its plan names every
//! member, while the plans of the others say "everyone".
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use divan::{Bencher, black_box};
use proxywhirl_core::plugin::{Request, Strategy, View};
use proxywhirl_core::pool::Admission;
use proxywhirl_core::symbol::{Symbol, Symbols};
use proxywhirl_core::{Anonymity, Candidate, Endpoint, Member, Outcome, Pool, Tags, Timestamp};
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
    told::print();
    divan::main();
}

/// The figures that are promised, side by side from one run.
mod told {
    use std::time::{Duration, Instant};

    use wasmtime::component::{Component, Linker};
    use wasmtime::{Config, Engine, Store};

    use super::{ASKED, Arc, BUNDLE, CHANGED, NOW, Path, Plugins, PluginsConfig, Symbols, members, request, with_pool};

    pub(super) fn print() {
        let empty = empty();
        let mut strategy = with_pool(&ASKED, "asked", "", 1_000);
        let mut number = 0;
        let select = median(200, 1_000, || {
            number += 1;
            strategy.select(&request(number)).unwrap();
        });
        let ratio = select.as_secs_f64() / empty.as_secs_f64();
        println!("an empty call of wasmtime {empty:?}, select {select:?}: {ratio:.2} times that (3 at most)");
        let members = members(100_000);
        let changed: Vec<_> = members.iter().take(CHANGED).cloned().collect();
        for name in ["round-robin", "weighted"] {
            let mut strategy = super::strategy(&BUNDLE, name, "");
            strategy.apply(1, true, &members, &[]).unwrap();
            let mut epoch = 1;
            let apply = median(200, 1, || {
                epoch += 1;
                strategy.apply(epoch, false, &changed, &[]).unwrap();
            });
            println!("apply of {CHANGED} members into 100,000 by {name}: {apply:?} (200 µs at most)");
        }
        start();
    }

    /// What loading everything costs when it was compiled before, and with that getting the code ready.
    fn start() {
        let cache = tempfile::tempdir().unwrap();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins/dist");
        let bundle: Vec<(&'static str, &'static [u8])> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
            .map(|path| (&*"bundled.wasm".to_owned().leak(), &*std::fs::read(path).unwrap().leak()))
            .collect();
        let bundle: &'static [(&'static str, &'static [u8])] = bundle.leak();
        let load = || {
            let config = PluginsConfig::new(Arc::new(Symbols::default()), Arc::new(|| NOW));
            let began = Instant::now();
            let plugins =
                Plugins::load(PluginsConfig { bundle, cache: Some(cache.path().join("cache")), ..config }).unwrap();
            let loaded = began.elapsed();
            assert_eq!(plugins.compile_all(&|_| ()), []);
            (loaded, began.elapsed())
        };
        load();
        let mut starts: Vec<_> = (0..20).map(|_| load()).collect();
        starts.sort_unstable();
        let (loaded, ready) = starts.get(10).copied().unwrap();
        println!(
            "warm start of {} plugins: listed in {loaded:?}, all code ready in {ready:?} (20 ms at most)",
            bundle.len()
        );
    }

    /// A function without parameters and results, with the settings of the host and nothing of it around.
    fn empty() -> Duration {
        let mut config = Config::new();
        config.epoch_interruption(true).concurrency_support(false);
        let engine = Engine::new(&config).unwrap();
        let text = "(component (core module $m (func (export \"run\")))
            (core instance $i (instantiate $m)) (func (export \"run\") (canon lift (core func $i \"run\"))))";
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        median(200, 1_000, || run.call(&mut store, ()).unwrap())
    }

    /// The time of one call: the median of samples of so many calls.
    fn median(samples: usize, calls: u32, mut call: impl FnMut()) -> Duration {
        let mut times: Vec<Duration> = (0..samples)
            .map(|_| {
                let began = Instant::now();
                (0..calls).for_each(|_| call());
                began.elapsed() / calls
            })
            .collect();
        times.sort_unstable();
        times.get(samples / 2).copied().unwrap_or_default()
    }
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

/// A change of 100 members, without the plan that follows.
#[divan::bench_group(max_time = 0.5)]
mod apply {
    use super::{BUNDLE, Bencher, CHANGED, SIZES, members, with_pool};

    #[divan::bench(args = SIZES)]
    fn round_robin(bencher: Bencher<'_, '_>, size: usize) {
        let mut strategy = with_pool(&BUNDLE, "round-robin", "", size);
        let changed: Vec<_> = members(size).into_iter().cycle().take(CHANGED).collect();
        let mut epoch = 1;
        bencher.bench_local(|| {
            epoch += 1;
            strategy.apply(epoch, false, &changed, &[]).unwrap();
        });
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
        strategy.plan(&View::default(), NOW, epoch).unwrap()
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
        let endpoint: Endpoint = format!("http://{}:8080", Ipv4Addr::from(0x0a00_0000 + number)).parse().unwrap();
        let candidate = Candidate { tags: tags.clone(), anonymity: Anonymity::Elite, ..endpoint.into() };
        pool.admit(Admission::Vouched(Box::new(candidate)), NOW);
    }
    let success = Outcome::Success { latency: Duration::from_millis(80) };
    for member in pool.iter().step_by(2) {
        member.live.record(&success, NOW, &Default::default(), NOW);
    }
    pool.iter().cloned().collect()
}
