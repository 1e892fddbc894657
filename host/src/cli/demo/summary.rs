//! The table at the end: what was found, what worked, who served.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use proxywhirl_engine::Engine;
use proxywhirl_engine::events::milliseconds;
use proxywhirl_world::World;

use super::super::output::table;
use super::traffic::Sent;
use crate::wiring::Filled;

/// What the demonstration came to.
pub(super) struct Summary {
    rows: Vec<Vec<String>>,
    proxies: Vec<Vec<String>>,
}

impl Summary {
    pub(super) fn new(filled: &Filled, results: &[Sent], world: &World, engine: &Engine, failovers: u64) -> Self {
        let answered = results.iter().filter(|result| result.error.is_none()).count();
        let sum = |count: fn(&proxywhirl_engine::ingest::gather::SourceReport) -> u64| -> u64 {
            filled.sources.iter().map(count).sum()
        };
        let mut rows = vec![
            row("entries in the lists", sum(|source| source.entries)),
            row("rejected", sum(|source| source.rejected)),
        ];
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in filled.sources.iter().flat_map(|source| &source.reasons) {
            *reasons.entry(reason).or_default() += count;
        }
        rows.extend(reasons.into_iter().map(|(reason, count)| row(&format!("  because: {reason}"), count)));
        rows.push(row("duplicates", filled.duplicates));
        rows.push(row("dead in the check", filled.proven.dead));
        rows.push(row("alive, in the pool", filled.admissions.new as u64));
        rows.push(row("requests sent", results.len() as u64));
        for (way, times) in by_way(results) {
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            rows.push(vec![format!("  {way}"), format!("{} (median {:.1} ms)", times.len(), milliseconds(median))]);
        }
        rows.push(row("answered", answered as u64));
        rows.push(row("failovers", failovers));
        for error in results.iter().filter_map(|result| result.error.as_ref()).take(5) {
            rows.push(vec!["not answered".to_owned(), error.clone()]);
        }
        Self { rows, proxies: proxies(world, engine) }
    }
}

fn row(what: &str, count: u64) -> Vec<String> {
    vec![what.to_owned(), count.to_string()]
}

/// The times of the requests, sorted, by the way in which they were sent.
fn by_way(results: &[Sent]) -> BTreeMap<&'static str, Vec<Duration>> {
    let mut ways: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for result in results {
        ways.entry(result.way.as_str()).or_default().push(result.time);
    }
    ways.values_mut().for_each(|times| times.sort_unstable());
    ways
}

/// Who served how many requests: what the pool counts, beside what the proxies themselves counted.
fn proxies(world: &World, engine: &Engine) -> Vec<Vec<String>> {
    let snapshot = engine.snapshot();
    let mut rows: Vec<_> = snapshot
        .iter()
        .map(|member| {
            let statistics = member.live.statistics();
            let endpoint = &member.endpoint;
            let behaviour = endpoint
                .host
                .ip()
                .and_then(|ip| world.upstream_at((ip, endpoint.port).into()))
                .map_or_else(String::new, |upstream| upstream.behaviour().to_string());
            vec![
                endpoint.to_string(),
                behaviour,
                statistics.successes.to_string(),
                statistics.failures.to_string(),
                member
                    .live
                    .latency()
                    .map_or_else(|| "-".to_owned(), |latency| format!("{:.1} ms", milliseconds(latency))),
                member.live.health().as_str().to_owned(),
            ]
        })
        .collect();
    rows.sort();
    rows
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}\n", table(&["WHAT", "COUNT"], self.rows.clone()))?;
        f.write_str(&table(
            &["PROXY IN THE POOL", "IT IS", "SERVED", "FAILED", "LATENCY", "HEALTH"],
            self.proxies.clone(),
        ))
    }
}
