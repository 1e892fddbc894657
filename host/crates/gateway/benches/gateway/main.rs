//! Requests a second through the gateway, and what each costs, on the loopback.
//!
//! Ten upstreams and an origin run in one process ([`role::upstreams`]), the gateway in another ([`role::gateway`]), and
//! the clients in this one, so that the processor time of each can be told apart. The baseline of the same run are the
//! same requests straight to one of the upstreams; when HAProxy is installed it is a second one, over the same ten. The
//! contenders take turns, so that a machine that is busy for a while is busy for all of them.
//!
//! `cargo bench -p proxywhirl-gateway -- [--seconds S] [--rounds N] [--clients N]`
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod client;
mod role;
mod table;

use std::net::SocketAddr;
use std::time::Duration;

use client::{Case, Load};
use role::{Child, Contender};
use table::Row;

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

/// How long to measure, and with how many clients.
struct Plan {
    span: Duration,
    rounds: u32,
    clients: usize,
}

impl Plan {
    fn read(args: &[String]) -> Self {
        let number = |name: &str, default: f64| {
            let value = args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
            value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} {value} is no number")))
        };
        Self {
            span: Duration::from_secs_f64(number("--seconds", 1.0)),
            rounds: number("--rounds", 2.0) as u32,
            clients: number("--clients", 64.0) as usize,
        }
    }
}

async fn measure(plan: &Plan) {
    let (upstreams, lines) = Child::of_role(role::UPSTREAMS, &[]);
    let mut addrs = lines.iter().map(|line| line.parse::<SocketAddr>().unwrap());
    let origin = addrs.next().unwrap();
    let addrs: Vec<SocketAddr> = addrs.collect();
    let contenders = role::contenders(upstreams, &addrs);
    println!(
        "{} clients, {} upstreams, {} x {} s for each row; time is processor time of the process in between",
        plan.clients,
        addrs.len(),
        plan.rounds,
        plan.span.as_secs_f64(),
    );
    let mut rows = Vec::new();
    for case in Case::ALL {
        let mut loads = vec![Load::default(); contenders.len()];
        for round in 0..=plan.rounds {
            // The first round warms up.
            let span = if round == 0 { plan.span / 5 } else { plan.span };
            for (contender, load) in contenders.iter().zip(&mut loads) {
                let before = contender.child.cpu();
                let mut done = client::load(case, contender.addr, origin, plan.clients, span).await;
                done.cpu = contender.child.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
                if round > 0 {
                    load.add(&done);
                }
            }
        }
        rows.extend(contenders.iter().zip(loads).map(|(contender, load)| row(case, contender, load)));
    }
    table::print(&rows);
}

fn row(case: Case, contender: &Contender, load: Load) -> Row {
    Row { case: case.name(), through: contender.name, load }
}
