//! One pick from a plan: every mode, over everyone and over a list, in pools of three sizes.
//!
//! In `everyone` and `list` all members are eligible; in `half_out` every second breaker is open, and in `mostly_out` nine
//! of ten, as when a public list has grown old. `publish` is what a change in the pool costs before anybody can pick from it: a snapshot and, for a
//! list, its plan made ready.
//!
//! A sample is a thousand picks: one is not much longer than it takes to read the clock.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::sync::Arc;

use divan::Bencher;
use proxywhirl_core::breaker::BreakerConfig;
use proxywhirl_core::pool::Admission;
use proxywhirl_core::select::{Membership, Mode, Picker, Plan, Tier, Weighted, Wish};
use proxywhirl_core::{
    Anonymity, Candidate, Fault, Kind, Member, MemberId, Outcome, Pool, Side, Snapshot, Stage, Tags, Timestamp,
};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
/// A request that was tried through two others, as after a failover.
const TRIED: usize = 2;

fn main() {
    divan::main();
}

#[divan::bench_group(sample_count = 100, sample_size = 1_000)]
mod everyone {
    use super::{Bencher, Membership, Mode, SIZES, bench, pool_of};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, &mut pool_of(size), Mode::Cycle, Membership::Everyone);
    }

    #[divan::bench(args = SIZES)]
    fn draw(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, &mut pool_of(size), Mode::Draw, Membership::Everyone);
    }

    #[divan::bench(args = SIZES)]
    fn least_loaded(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, &mut pool_of(size), Mode::LeastLoaded, Membership::Everyone);
    }
}

#[divan::bench_group(sample_count = 100, sample_size = 1_000)]
mod list {
    use super::{Bencher, Mode, SIZES, bench, listed, pool_of};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, &mut pool_of(size), Mode::Cycle, listed(size));
    }

    #[divan::bench(args = SIZES)]
    fn draw(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, &mut pool_of(size), Mode::Draw, listed(size));
    }

    #[divan::bench(args = SIZES)]
    fn least_loaded(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, &mut pool_of(size), Mode::LeastLoaded, listed(size));
    }
}

#[divan::bench_group(sample_count = 100, sample_size = 1_000)]
mod half_out {
    use super::{Bencher, Membership, Mode, SIZES, all_open_but, bench, pool_of};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, all_open_but(2, &mut pool_of(size)), Mode::Cycle, Membership::Everyone);
    }

    #[divan::bench(args = SIZES)]
    fn draw(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, all_open_but(2, &mut pool_of(size)), Mode::Draw, Membership::Everyone);
    }
}

#[divan::bench_group(max_time = 0.5)]
mod mostly_out {
    use super::{Bencher, Membership, Mode, SIZES, all_open_but, bench, pool_of};

    #[divan::bench(args = SIZES)]
    fn cycle(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, all_open_but(10, &mut pool_of(size)), Mode::Cycle, Membership::Everyone);
    }

    #[divan::bench(args = SIZES)]
    fn draw(bencher: Bencher<'_, '_>, size: usize) {
        bench(bencher, all_open_but(10, &mut pool_of(size)), Mode::Draw, Membership::Everyone);
    }
}

#[divan::bench_group(max_time = 0.3)]
mod publish {
    use super::{Bencher, Mode, NOW, Picker, Plan, SIZES, Tier, listed, member, pool_of, vouched};

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
    fn compile(bencher: Bencher<'_, '_>, size: usize) {
        let (snapshot, _) = pool_of(size).publish();
        let plan = Plan { tiers: vec![Tier { mode: Mode::Draw, members: listed(size) }] };
        bencher.bench(|| Picker::compile(&plan, &snapshot, None));
    }
}

/// Measures a pick. Nobody uses the members: the load that the least-loaded are compared by is what they begin with.
fn bench(bencher: Bencher<'_, '_>, pool: &mut Pool, mode: Mode, members: Membership) {
    let (snapshot, _) = pool.publish();
    let picker = Picker::compile(&Plan { tiers: vec![Tier { mode, members }] }, &snapshot, None).unwrap();
    let tried: Vec<_> = snapshot.iter().skip(1).take(TRIED).map(|member| member.id).collect();
    let mut seed = 0;
    bencher.bench_local(|| pick(&picker, &snapshot, &tried, &mut seed));
}

fn pick(picker: &Picker, snapshot: &Snapshot, tried: &[MemberId], seed: &mut u64) -> Option<Arc<Member>> {
    *seed += 1;
    picker.pick(snapshot, &Wish { now: NOW, tried, session: None, seed: *seed })
}

fn member(number: usize) -> Candidate {
    let host = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap());
    let endpoint = format!("http://{host}:8080").parse().unwrap();
    Candidate { endpoint, tags: Tags::default(), country: None, anonymity: Anonymity::Unknown, line: 0 }
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
    let config = BreakerConfig { failures: 1, ..BreakerConfig::default() };
    for member in pool.iter().filter(|member| member.slot % nth != 0) {
        let fault = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "");
        member.live.record(&Outcome::Failure(fault), NOW, &config, NOW);
    }
    pool
}
