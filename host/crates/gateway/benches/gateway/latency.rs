//! What a gateway adds to the time of a request while it has time enough: so many requests a second, at even distances,
//! whether the ones before were answered or not.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::Plan;
use crate::case::Case;
use crate::client;
use crate::role::Contender;
use crate::table::{BASELINE, STRAIGHT, median};

/// Over so many connections, of which each asks one request after the other.
const CLIENTS: u32 = 64;
/// Requests a second, over all of them.
const RATE: u32 = 1000;

/// Prints the median of each contender, and what it is above the one without a gateway.
pub(crate) async fn print(plan: &Plan, contenders: &[Contender], origin: SocketAddr) {
    let mut rounds = vec![Vec::new(); contenders.len()];
    for round in 0..=plan.rounds {
        for (contender, rounds) in contenders.iter().zip(&mut rounds) {
            let took = asked(contender.addr, origin, plan.span).await;
            // The first round warms up.
            if round > 0 {
                rounds.push(took);
            }
        }
    }
    let of = |rounds: &[Vec<Duration>]| median(rounds.iter().filter_map(|took| of_micros(took)));
    let medians: Vec<_> = rounds.iter().map(|rounds| of(rounds)).collect();
    let named = |name| contenders.iter().zip(&medians).find(|(one, _)| one.name == name).and_then(|(_, took)| *took);
    let straight = named(STRAIGHT).unwrap_or_default();
    let baseline = named(BASELINE).map(|took| took - straight);
    println!("\n{:26} {:11} {:>10} {:>12} {:>11} {:>6}", "", "through", "p50 µs", "added µs", "to haproxy", "goal");
    for (contender, took) in contenders.iter().zip(&medians).filter(|(one, _)| one.name != STRAIGHT) {
        let added = took.unwrap_or_default() - straight;
        println!(
            "{:26} {:11} {:>10.0} {:>12.0} {:>11} {:>6}",
            format!("latency, {RATE} GET a second"),
            contender.name,
            took.unwrap_or_default(),
            added,
            baseline.map_or_else(|| "-".to_owned(), |baseline| format!("{:.2}", added / baseline)),
            if contender.name == BASELINE { "-" } else { "1.0" },
        );
    }
    println!("{:26} {STRAIGHT:11} {straight:>10.0}", "");
}

/// How long each request took.
async fn asked(via: SocketAddr, origin: SocketAddr, span: Duration) -> Vec<Duration> {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        // None of them at the same time as another one.
        clients.spawn(one(via, origin, began + Duration::from_secs(1) * number / RATE, began + span));
    }
    clients.join_all().await.into_iter().flat_map(Result::unwrap).collect()
}

async fn one(via: SocketAddr, origin: SocketAddr, first: Instant, end: Instant) -> io::Result<Vec<Duration>> {
    let case = Case::KeepAlive { clients: 1 };
    let get = client::request(case, origin);
    let mut kept = Some(client::dial(case, via, origin).await?);
    let mut turns = interval_at(first, Duration::from_secs(1) * CLIENTS / RATE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut took = Vec::new();
    while turns.tick().await < end {
        let began = Instant::now();
        client::ask(case, via, origin, &get, &mut kept).await?;
        took.push(began.elapsed());
    }
    // The first one may have dialled an upstream.
    Ok(took.split_off(1.min(took.len())))
}

fn of_micros(took: &[Duration]) -> Option<f64> {
    median(took.iter().map(|took| took.as_secs_f64() * 1e6))
}
