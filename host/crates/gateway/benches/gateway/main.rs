//! Requests, tunnels and bytes through the gateway, and what each costs, on the loopback.
//!
//! Ten upstreams of each protocol and an origin run in one process ([`role::upstreams`]), the gateway in another one
//! ([`role::gateway`], or the binary itself), and the clients in this one, so that the processor time of each can be told
//! apart. Two baselines of the same run: the same load straight to one of the upstreams, and HAProxy over the same ten,
//! when it is installed (`mode http`, and `mode tcp` for SOCKS). The contenders take turns, so that a machine that is busy
//! for a while is busy for all of them.
//!
//! `cargo bench --workspace --bench gateway -- [--seconds S] [--rounds N] [--only TEXT] [--tunnels N] [--binary PATH]`
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

mod case;
mod client;
mod latency;
mod role;
mod table;

use std::time::Duration;

use case::Case;
use role::{Child, Contender, Upstreams};
use table::Row;

/// What the binary has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match args.first().map(String::as_str) {
        Some(role::UPSTREAMS) => runtime.block_on(role::upstreams()),
        Some(role::GATEWAY) => runtime.block_on(role::gateway(args.get(1..).unwrap_or_default())),
        Some(_) | None if args.iter().any(|arg| arg == "--bench") => runtime.block_on(measure(&Plan::read(&args))),
        // `cargo test --benches` runs this as well, to see that it starts.
        Some(_) | None => {}
    }
    // Sessions that have no reason to end must not keep the process.
    runtime.shutdown_background();
}

/// What to measure, and for how long.
struct Plan {
    span: Duration,
    rounds: u32,
    /// Cases with this in their names; all when it is empty.
    only: String,
    /// Silent tunnels.
    tunnels: usize,
    /// The gateway's binary; without one, its library.
    binary: Option<String>,
    /// Another binary of ours, such as the one before a change, which takes its turns too.
    beside: Option<String>,
}

impl Plan {
    fn read(args: &[String]) -> Self {
        let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
        let number = |name: &str, default: f64| {
            value(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} {text} is no number")))
        };
        Self {
            span: Duration::from_secs_f64(number("--seconds", 1.0)),
            rounds: number("--rounds", 3.0) as u32,
            only: value("--only").cloned().unwrap_or_default(),
            tunnels: number("--tunnels", 2000.0) as usize,
            binary: value("--binary").cloned(),
            beside: value("--beside").cloned(),
        }
    }
}

async fn measure(plan: &Plan) {
    let (child, lines) = Child::of_role(role::UPSTREAMS, &[]);
    let upstreams = Upstreams::read(&lines);
    println!(
        "{} upstreams, {} x {} s for each row; cpu is processor time of the process in between",
        upstreams.http.len(),
        plan.rounds,
        plan.span.as_secs_f64(),
    );
    let [http, socks] = [("http", &upstreams.http), ("socks5", &upstreams.socks)].map(|(scheme, addrs)| {
        role::contenders(&upstreams, addrs, scheme, plan.binary.as_deref(), plan.beside.as_deref())
    });
    if "idle tunnel".contains(&plan.only) {
        // First, while nobody has memory left from another load.
        idle(plan, &http, &upstreams).await;
    }
    if "latency".contains(&plan.only) {
        latency::print(plan, &http, upstreams.origin).await;
    }
    let mut rows = Vec::new();
    for case in Case::ALL.into_iter().filter(|case| case.name().contains(&plan.only)) {
        let contenders = if case == Case::Socks { &socks } else { &http };
        let mut rounds = vec![Vec::new(); contenders.len()];
        for round in 0..=plan.rounds {
            // The first round warms up.
            let span = if round == 0 { plan.span / 5 } else { plan.span };
            for (contender, rounds) in contenders.iter().zip(&mut rounds) {
                let asked = contender.child.as_ref().unwrap_or(&child);
                let before = asked.cpu();
                let mut load = client::load(case, contender.addr, upstreams.origin, span).await;
                load.cpu = asked.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
                if round > 0 {
                    rounds.push(load);
                }
            }
        }
        rows.extend(contenders.iter().zip(rounds).map(|(contender, rounds)| Row {
            case,
            through: contender.name,
            rounds,
        }));
    }
    table::print(&rows);
}

/// What a silent tunnel holds of each contender's memory.
async fn idle(plan: &Plan, contenders: &[Contender], upstreams: &Upstreams) {
    println!("\n{:26} {:11} {:>10}", "", "through", "KB each");
    for contender in contenders {
        let Some(child) = &contender.child else { continue };
        // What the first ones make it allocate for good is not theirs.
        let first = client::tunnels(contender.addr, upstreams.origin, 200).await.unwrap();
        let before = child.memory();
        let further = client::tunnels(contender.addr, upstreams.origin, plan.tunnels).await.unwrap();
        let grown = child.memory().zip(before).map(|(after, before)| after.saturating_sub(before));
        let each = grown.map(|bytes| bytes as f64 / 1024.0 / further.len() as f64);
        let each = each.map_or_else(|| "-".to_owned(), |each| format!("{each:.2}"));
        println!("{:26} {:11} {:>10}", format!("idle tunnel, of {}", plan.tunnels), contender.name, each);
        drop((first, further));
    }
}
