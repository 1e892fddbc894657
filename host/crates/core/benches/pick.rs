//! One pick from a plan: every mode, in pools of four sizes, by one thread and by several, and with many breakers open.
//!
//! The last group, `shares`, is the one to read: it prints for each mode what a pick costs at each size, and the ratio to
//! a pool of 100, measured in turn in one run, so that a busy machine is busy for all of them.
//!
//! In `half_out` every second breaker is open, and in `mostly_out` nine of ten, as when a public list has grown old.
//! In `with_limits` every member has a limit; where it says so, every second one is at its limit.
//! `publish` is what a change in the pool costs before anybody can pick from it: a snapshot and, for a list, its plan made
//! ready. A sample is a thousand picks: one is not much longer than it takes to read the clock.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::print_stdout
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use divan::Bencher;
use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::limit::{Limit, MemberLimits};
use proxywhirl_core::member::mix;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::select::{Membership, Mode, Picker, Plan, Sessions, Stick, Stickiness, Tier, Weighted, Wish};
use proxywhirl_core::{
    Candidate, Endpoint, Fault, Kind, Lease, MemberId, Outcome, Pool, Side, Snapshot, Stage, Timestamp,
};

const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const THREADS: [usize; 4] = [1, 2, 4, 8];

fn main() {
    // A run that only looks whether it works, or what there is, has no time for it.
    if !std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        shares();
    }
    divan::main();
}

/// A pool, a plan, and what a request asks of them.
struct Case {
    snapshot: Snapshot,
    picker: Picker,
    sessions: Sessions,
    tried: Vec<MemberId>,
    seeds: AtomicU64,
    /// Requests that stick come from so many sessions.
    known: Option<u64>,
    /// Whether the member is taken, too, and given back.
    is_taken: bool,
}

impl Case {
    fn new(size: usize, mode: Mode, members: Membership) -> Self {
        Self::of(&mut pool_of(size), Plan { tiers: vec![Tier { mode, members }], ..Plan::default() })
    }

    fn of(pool: &mut Pool, plan: Plan) -> Self {
        Self::over(&pool.publish().0, plan)
    }

    fn over(snapshot: &Snapshot, plan: Plan) -> Self {
        let snapshot = snapshot.clone();
        let picker = Picker::compile(&plan, &snapshot, None).unwrap();
        let sessions = Sessions::new(plan.sessions.map_or(0, |sessions| sessions.capacity));
        Self { snapshot, picker, sessions, tried: Vec::new(), seeds: AtomicU64::new(0), known: None, is_taken: false }
    }

    /// Each request was tried through two others, as after a failover.
    fn after_failover(mut self) -> Self {
        self.tried = self.snapshot.iter().skip(1).take(2).map(|member| member.id).collect();
        self
    }

    /// The slot of who was picked.
    fn pick(&self, seed: u64) -> Option<u32> {
        let session = Some(self.known.map_or(seed, |known| seed % known));
        let wish = Wish { now: NOW, tried: &self.tried, filter: None, session, stick: Stick::default(), seed };
        let slot = self.picker.pick(&self.snapshot, &wish, &self.sessions)?;
        if self.is_taken {
            let member = Arc::clone(self.snapshot.get(slot)?);
            divan::black_box(Lease::take(member, &BreakerConfig::default(), NOW));
        }
        Some(slot)
    }

    fn bench(self, bencher: Bencher<'_, '_>) {
        let mut seed = 0;
        bencher.bench_local(|| {
            seed += 1;
            self.pick(mix(seed))
        });
    }

    /// Nanoseconds a pick, by so many threads that pick at once.
    fn time(&self, threads: usize, picks: u64) -> f64 {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let first = self.seeds.fetch_add(picks, Ordering::Relaxed);
                    for seed in first..first + picks {
                        divan::black_box(self.pick(mix(seed)));
                    }
                });
            }
        });
        begin.elapsed().as_nanos() as f64 / picks as f64
    }
}

/// Every mode, by name.
fn modes(size: usize) -> Vec<(&'static str, Case)> {
    let (all, _) = pool_of(size).publish();
    let (half, _) = all_open_but(2, &mut pool_of(size)).publish();
    let (tenth, _) = all_open_but(10, &mut pool_of(size)).publish();
    let (limited, _) = limited_to(1_000, &mut pool_of(size)).publish();
    let (half_limited, _) = half_at_limit(&mut pool_of(size)).publish();
    vec![
        ("cycle everyone", Case::over(&all, everyone(Mode::Cycle))),
        ("cycle list", Case::over(&all, weighted(Mode::Cycle, size))),
        ("draw everyone", Case::over(&all, everyone(Mode::Draw))),
        ("draw list", Case::over(&all, weighted(Mode::Draw, size))),
        ("draw list after failover", Case::over(&all, weighted(Mode::Draw, size)).after_failover()),
        ("draw list, and lease", Case { is_taken: true, ..Case::over(&all, weighted(Mode::Draw, size)) }),
        ("affinity everyone", Case::over(&all, everyone(Mode::Affinity))),
        ("affinity list", Case::over(&all, weighted(Mode::Affinity, size))),
        ("affinity sticky", sticky(&all)),
        ("least-loaded everyone", Case::over(&all, everyone(Mode::LeastLoaded))),
        ("least-loaded list", Case::over(&all, weighted(Mode::LeastLoaded, size))),
        ("cycle limited, and lease", Case { is_taken: true, ..Case::over(&limited, everyone(Mode::Cycle)) }),
        ("cycle half at limit", Case::over(&half_limited, everyone(Mode::Cycle))),
        ("draw half at limit", Case::over(&half_limited, weighted(Mode::Draw, size))),
        ("cycle half out", Case::over(&half, everyone(Mode::Cycle))),
        ("draw half out", Case::over(&half, weighted(Mode::Draw, size))),
        ("cycle nine tenths out", Case::over(&tenth, everyone(Mode::Cycle))),
        ("draw nine tenths out", Case::over(&tenth, weighted(Mode::Draw, size))),
    ]
}

fn everyone(mode: Mode) -> Plan {
    Plan { tiers: vec![Tier { mode, members: Membership::Everyone }], ..Plan::default() }
}

fn weighted(mode: Mode, size: usize) -> Plan {
    Plan { tiers: vec![Tier { mode, members: listed(size) }], ..Plan::default() }
}

/// Ten thousand sessions that are known.
fn sticky(snapshot: &Snapshot) -> Case {
    let sessions = Stickiness { idle: None, lifetime: None, strict: false, capacity: 1_000_000 };
    let mut case = Case::over(snapshot, Plan { sessions: Some(sessions), ..everyone(Mode::Affinity) });
    case.known = Some(10_000);
    for seed in 0..10_000 {
        case.pick(seed);
    }
    case
}

/// Prints the table of costs and ratios, and that of threads.
fn shares() {
    const PICKS: u64 = 100_000;
    const ROUNDS: usize = 41;
    println!("nanoseconds a pick, the best tenth of {ROUNDS} rounds, and the ratio to 100 members");
    let columns: Vec<_> = SIZES.iter().map(|size| modes(*size)).collect();
    let names: Vec<_> = columns.iter().flatten().map(|(name, _)| *name).take(columns[0].len()).collect();
    for (row, name) in names.iter().enumerate() {
        let cases: Vec<_> = columns.iter().map(|column| &column[row].1).collect();
        let mut times = vec![Vec::new(); cases.len()];
        for _ in 0..ROUNDS {
            for (case, times) in cases.iter().zip(&mut times) {
                times.push(case.time(1, PICKS));
            }
        }
        let best: Vec<f64> = times.iter_mut().map(|times| tenth(times)).collect();
        print!("{name:>26}");
        for (size, time) in SIZES.iter().zip(&best) {
            print!("  {size:>6}: {time:>6.1} ({:>4.2})", time / best[0]);
        }
        println!();
    }
    println!("picks a second in millions at 100,000 members, by threads");
    for (name, case) in modes(100_000) {
        print!("{name:>26}");
        for threads in THREADS {
            let mut times: Vec<f64> = (0..21).map(|_| case.time(threads, PICKS)).collect();
            print!("  {threads}: {:>6.1}", threads as f64 * 1_000.0 / tenth(&mut times));
        }
        println!();
    }
}

/// The time that one round in ten stays below: what other processes took of the machine is hardly in it.
fn tenth(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 10]
}

#[divan::bench_group(sample_count = 100, sample_size = 1_000)]
mod everyone_of {
    use super::{Bencher, Case, Membership, Mode, SIZES};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        Case::new(size, Mode::Cycle, Membership::Everyone).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn draw(bencher: Bencher<'_, '_>, size: usize) {
        Case::new(size, Mode::Draw, Membership::Everyone).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn affinity(bencher: Bencher<'_, '_>, size: usize) {
        Case::new(size, Mode::Affinity, Membership::Everyone).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn least_loaded(bencher: Bencher<'_, '_>, size: usize) {
        Case::new(size, Mode::LeastLoaded, Membership::Everyone).bench(bencher);
    }
}

#[divan::bench_group(sample_count = 100, sample_size = 1_000)]
mod list_of {
    use super::{Bencher, Case, Mode, SIZES, listed, pool_of, sticky};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        Case::new(size, Mode::Cycle, listed(size)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn draw(bencher: Bencher<'_, '_>, size: usize) {
        Case::new(size, Mode::Draw, listed(size)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn affinity(bencher: Bencher<'_, '_>, size: usize) {
        Case::new(size, Mode::Affinity, listed(size)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn affinity_sticky(bencher: Bencher<'_, '_>, size: usize) {
        sticky(&pool_of(size).publish().0).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn least_loaded(bencher: Bencher<'_, '_>, size: usize) {
        Case::new(size, Mode::LeastLoaded, listed(size)).bench(bencher);
    }
}

#[divan::bench_group(sample_count = 100, sample_size = 1_000)]
mod half_out {
    use super::{Bencher, Case, Mode, SIZES, all_open_but, everyone, pool_of, weighted};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(all_open_but(2, &mut pool_of(size)), everyone(Mode::Cycle)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn draw(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(all_open_but(2, &mut pool_of(size)), weighted(Mode::Draw, size)).bench(bencher);
    }
}

#[divan::bench_group(sample_count = 100, sample_size = 1_000)]
mod with_limits {
    use super::{Bencher, Case, Mode, SIZES, everyone, half_at_limit, limited_to, pool_of, weighted};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(limited_to(1_000, &mut pool_of(size)), everyone(Mode::Cycle)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn cycle_half_at_limit(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(half_at_limit(&mut pool_of(size)), everyone(Mode::Cycle)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn draw_half_at_limit(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(half_at_limit(&mut pool_of(size)), weighted(Mode::Draw, size)).bench(bencher);
    }
}

#[divan::bench_group(sample_count = 100, sample_size = 1_000)]
mod mostly_out {
    use super::{Bencher, Case, Mode, SIZES, all_open_but, everyone, pool_of, weighted};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(all_open_but(10, &mut pool_of(size)), everyone(Mode::Cycle)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn draw(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(all_open_but(10, &mut pool_of(size)), weighted(Mode::Draw, size)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn draw_when_one_in_a_hundred_is_left(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(all_open_but(100, &mut pool_of(size)), weighted(Mode::Draw, size)).bench(bencher);
    }

    #[divan::bench(args = SIZES)]
    fn affinity(bencher: Bencher<'_, '_>, size: usize) {
        Case::of(all_open_but(10, &mut pool_of(size)), everyone(Mode::Affinity)).bench(bencher);
    }
}

#[divan::bench_group(max_time = 0.3)]
mod publish {
    use super::{Bencher, Mode, NOW, Picker, SIZES, member, pool_of, vouched, weighted};

    /// A member leaves and joins again, and a snapshot is taken.
    #[divan::bench(args = SIZES)]
    fn snapshot(bencher: Bencher<'_, '_>, size: usize) {
        let mut pool = pool_of(size);
        let mut turn = 0;
        bencher.bench_local(|| {
            turn += 1;
            pool.remove(&member(turn % size).endpoint.key());
            pool.admit(vouched(turn % size), NOW);
            pool.publish()
        });
    }

    /// A list of everybody, ready to draw from.
    #[divan::bench(args = SIZES)]
    fn compile_draw(bencher: Bencher<'_, '_>, size: usize) {
        let (snapshot, _) = pool_of(size).publish();
        let plan = weighted(Mode::Draw, size);
        bencher.bench(|| Picker::compile(&plan, &snapshot, None));
    }

    /// A list of everybody, ready to give to sessions, after one like it.
    #[divan::bench(args = SIZES)]
    fn compile_affinity(bencher: Bencher<'_, '_>, size: usize) {
        let (snapshot, _) = pool_of(size).publish();
        let plan = weighted(Mode::Affinity, size);
        let before = Picker::compile(&plan, &snapshot, None).unwrap();
        bencher.bench(|| Picker::compile(&plan, &snapshot, Some(&before)));
    }
}

fn member(number: usize) -> Candidate {
    let host = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap());
    format!("http://{host}:8080").parse::<Endpoint>().unwrap().into()
}

fn vouched(number: usize) -> Admission {
    Admission::Vouched(Box::new(member(number)))
}

fn pool_of(size: usize) -> Pool {
    let mut pool = Pool::new(Arc::default(), size);
    for number in 0..size {
        pool.admit(vouched(number), NOW);
    }
    pool
}

/// Everybody by name, with ten different weights.
fn listed(size: usize) -> Membership {
    let weight = |slot: u32| (slot % 10 + 1) as f32;
    Membership::These((0..u32::try_from(size).unwrap()).map(|slot| Weighted { slot, weight: weight(slot) }).collect())
}

/// Opens the breakers of all but each `nth`.
fn all_open_but(nth: u32, pool: &mut Pool) -> &mut Pool {
    let config = BreakerConfig { failures: 1, cooldown: Duration::from_secs(5), ..BreakerConfig::default() };
    for member in pool.iter().filter(|member| member.slot % nth != 0) {
        let fault = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "");
        member.live.record(&Outcome::Failure(fault), NOW, &config, NOW);
    }
    pool
}

/// Lets each member be used so often at the same time.
fn limited_to(concurrency: u32, pool: &mut Pool) -> &mut Pool {
    let others = Limit { concurrency: Some(concurrency), rate: None };
    pool.limit(MemberLimits { others, ..MemberLimits::default() });
    pool
}

/// Every second member is used as much as it may be.
fn half_at_limit(pool: &mut Pool) -> &mut Pool {
    for member in limited_to(1, pool).iter().filter(|member| member.slot % 2 != 0) {
        assert!(member.live.admit(&BreakerConfig::default(), NOW));
    }
    pool
}
