//! A million candidates from ten lists, 40 % of them named before: how long it takes to join them, and in how much memory.
//!
//! `cargo bench -p proxywhirl-engine --bench dedup`
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use proxywhirl_core::{Candidate, Endpoint};
use proxywhirl_engine::dedup::Dedup;
use proxywhirl_engine::ingest::Candidates;

const LISTS: u32 = 10;
const EACH: u32 = 100_000;
const DUPLICATES: u32 = LISTS * EACH * 4 / 10;

fn main() {
    // `cargo test --benches` runs this as well, to see that it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let before = resident("VmRSS:");
    let (mut dedup, mut spent) = (Dedup::new(), Duration::ZERO);
    for list in 0..LISTS {
        let candidates = candidates(list);
        let began = Instant::now();
        dedup.extend(candidates);
        spent += began.elapsed();
    }
    assert_eq!((dedup.len() as u32, dedup.duplicates()), (LISTS * EACH - DUPLICATES, u64::from(DUPLICATES)));
    println!(
        "{} candidates, {DUPLICATES} of them duplicates: {:.0} ms; {:.0} MB more than before, {:.0} MB at most",
        LISTS * EACH,
        spent.as_secs_f64() * 1e3,
        (resident("VmRSS:") - before) as f64 / 1e6,
        resident("VmHWM:") as f64 / 1e6,
    );
}

/// A list: what it shares with the lists before is spread over it.
fn candidates(list: u32) -> Candidates {
    let unique = LISTS * EACH - DUPLICATES;
    (0..EACH)
        .map(|row| {
            let number = (list * EACH + row) % unique;
            let host = Ipv4Addr::from(0x0500_0000 + number.wrapping_mul(2_654_435_761) % 0x0400_0000);
            let login = if number.is_multiple_of(3) { format!("user{number}:secret@") } else { String::new() };
            let endpoint: Endpoint = format!("http://{login}{host}:{}", 1_024 + number % 60_000).parse().unwrap();
            let tags = format!("source:list-{list}").parse().into_iter().collect();
            Candidate { tags, line: row, ..endpoint.into() }
        })
        .collect()
}

/// Memory of this process in bytes, now or at most. Only on Linux (proc(5)).
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
