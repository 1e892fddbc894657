//! Checks a second, what each costs, and how true the latency is that they report: 10,000 proxies on the loopback, half of
//! them dead in four ways.
//!
//! The proxies run in a process of their own ([`world`]); the living ones answer as a judge does. The baseline of the same
//! run is [`bare`]: a loop over tokio that connects, sends the same bytes, and reads an answer, to the same addresses.
//! Contenders take turns, so that a machine that is busy for a while is busy for both.
//!
//! `cargo bench -p proxywhirl-engine -- [--proxies N] [--concurrency N] [--rounds N] [--delay-ms MS]`
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss
)]

mod bare;
mod world;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use proxywhirl_core::{Candidate, Endpoint, Level};
use proxywhirl_engine::Clock;
use proxywhirl_engine::check::{Checker, CheckerConfig};
use proxywhirl_net::{Dialer, DialerConfig, TlsConfig, tls};
use world::{Kind, World};

/// As short as a user would choose for a list that is half dead.
const TIMEOUT: Duration = Duration::from_secs(2);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if args.first().is_some_and(|arg| arg == world::ROLE) {
        runtime.block_on(world::serve(&args[1..]));
    } else if args.iter().any(|arg| arg == "--bench") {
        runtime.block_on(measure(&Plan::read(&args)));
    }
    // `cargo test --benches` runs this as well, to see that it starts.
    runtime.shutdown_background();
}

struct Plan {
    proxies: usize,
    concurrency: usize,
    rounds: usize,
    delay: Duration,
}

impl Plan {
    fn read(args: &[String]) -> Self {
        let number = |name: &str, default: usize| {
            let value = args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
            value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} {value} is no number")))
        };
        Self {
            proxies: number("--proxies", 10_000),
            concurrency: number("--concurrency", 1_000),
            rounds: number("--rounds", 5),
            delay: Duration::from_millis(number("--delay-ms", 100) as u64),
        }
    }
}

/// What a pass over all proxies cost.
#[derive(Default)]
struct Cost {
    cpu: Duration,
    wall: Duration,
}

async fn measure(plan: &Plan) {
    println!("{} proxies, half of them dead in four ways, {} at once", plan.proxies, plan.concurrency);
    let world = World::start(plan.proxies, Duration::ZERO);
    for level in [Level::Tcp, Level::Http] {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            bare.push(timed(bare::pass(&world, level, plan.concurrency)).await);
            ours.push(timed(pass(&world, level, plan.concurrency)).await);
        }
        let each = |costs: &mut Vec<Cost>, of: fn(&Cost) -> Duration| {
            costs.sort_by_key(of);
            of(&costs[costs.len() / 2]).as_secs_f64() * 1e6 / plan.proxies as f64
        };
        let (bare_cpu, our_cpu) = (each(&mut bare, |cost| cost.cpu), each(&mut ours, |cost| cost.cpu));
        println!(
            "{level:>5}: bare {bare_cpu:.1} µs of processor a check, ours {our_cpu:.1} µs: {:.2} times; {:.0} and {:.0} a second",
            our_cpu / bare_cpu,
            1e6 / each(&mut bare, |cost| cost.wall),
            1e6 / each(&mut ours, |cost| cost.wall),
        );
    }
    println!("resident: {:.1} MB at most", resident_peak() as f64 / 1e6);
    drop(world);
    let world = World::start(plan.proxies, plan.delay);
    truth(world, plan).await;
}

/// How far the reported latencies are from what the proxies say that they took.
async fn truth(world: World, plan: &Plan) {
    let mut latencies = Vec::new();
    let mut checks = checker(&world, plan.concurrency).check_all(candidates(&world), Level::Http);
    let began = Instant::now();
    while let Some(checked) = checks.next().await {
        latencies.extend(checked.verdict.latency.map(|latency| (address(&checked.candidate), latency)));
    }
    let rate = plan.proxies as f64 / began.elapsed().as_secs_f64();
    let waited = world.waited();
    let ratio = |(address, latency): (SocketAddr, Duration)| latency.as_secs_f64() / waited[&address].as_secs_f64();
    let mut ratios: Vec<f64> = latencies.into_iter().map(ratio).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| ratios[(share * (ratios.len() - 1) as f64) as usize];
    println!(
        "latency of {} proxies that wait {} ms, at {rate:.0} checks a second, to what they took: least {:.3}, median {:.3}, \
         90 % {:.3}, 99 % {:.3}, most {:.3}",
        ratios.len(),
        plan.delay.as_millis(),
        at(0.0),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
    );
}

/// Checks all, and sees to it that every verdict is right.
async fn pass(world: &World, level: Level, concurrency: usize) {
    let kinds: HashMap<SocketAddr, Kind> = world.proxies.iter().copied().collect();
    let mut checks = checker(world, concurrency).check_all(candidates(world), level);
    let mut seen = 0;
    while let Some(checked) = checks.next().await {
        let address = address(&checked.candidate);
        let kind = kinds[&address];
        let alive = kind == Kind::Good || (level == Level::Tcp && kind != Kind::Refusing);
        assert_eq!(checked.verdict.is_alive(), alive, "{address} {kind:?}: {:?}", checked.verdict);
        seen += 1;
    }
    assert_eq!(seen, world.proxies.len());
}

fn checker(world: &World, concurrency: usize) -> Checker {
    let trusted = tls::client_config(&TlsConfig::default()).unwrap();
    let dialer = Dialer::new(DialerConfig { connect_timeout: TIMEOUT, tls: TlsConfig::default() }).unwrap();
    let usual = CheckerConfig::new(dialer, vec![world.judge.into()], trusted, Clock::default());
    Checker::new(CheckerConfig { allow_private: true, timeout: TIMEOUT, concurrency, ..usual })
}

fn candidates(world: &World) -> Vec<Candidate> {
    let endpoint = |address: &SocketAddr| format!("http://{address}").parse::<Endpoint>().unwrap();
    world.proxies.iter().map(|(address, _)| endpoint(address).into()).collect()
}

fn address(candidate: &Candidate) -> SocketAddr {
    format!("{}:{}", candidate.endpoint.host, candidate.endpoint.port).parse().unwrap()
}

async fn timed(work: impl Future<Output = ()>) -> Cost {
    let (cpu, wall) = (cpu(), Instant::now());
    work.await;
    Cost { cpu: self::cpu().saturating_sub(cpu), wall: wall.elapsed() }
}

/// Processor time of this process so far, to 10 ms. Only on Linux (proc(5)).
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks: u64 = fields.get(11..13).unwrap_or_default().iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory that this process had, in bytes. Only on Linux (proc(5)).
fn resident_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
