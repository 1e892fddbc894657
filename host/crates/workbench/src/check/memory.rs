//! Whether an instance grows while it is called again and again.

use std::time::{Duration, Instant};

use crate::report::Report;
use crate::subject::Loaded;

/// Bytes by which an instance may grow in the second half of the calls: one page of WebAssembly and a little, or a
/// twentieth of what it has. A byte lost in each of half a million calls is more.
const SLACK: u64 = 192 * 1024;

/// Calls that may have a look at the clock for all of them.
const ROUND: u64 = 1_000;

/// Calls an instance, a thousand times in each round, and looks at its memory at the half and at the end. The round is
/// told its number. None when nobody can see the memory.
pub(super) fn stays_flat(
    loaded: &Loaded,
    calls: u64,
    patience: Duration,
    mut round: impl FnMut(u64) -> Result<(), String>,
) -> Result<Option<String>, String> {
    let (started, rounds) = (Instant::now(), (calls / ROUND).max(4));
    let mut looks = Vec::new();
    while (looks.len() as u64) < rounds {
        round(looks.len() as u64)?;
        looks.push(memory(loaded));
        if started.elapsed() > patience && looks.len() as u64 > rounds / 100 {
            break;
        }
    }
    let looks: Vec<u64> = looks.into_iter().flatten().collect();
    let (Some(half), Some(end)) = (looks.get(looks.len() / 2), looks.last()) else { return Ok(None) };
    let (done, all) = (looks.len() as u64 * ROUND, rounds * ROUND);
    let counted = if done == all { format!("{done} calls") } else { format!("{done} of {all} calls in {patience:?}") };
    let told = format!("{counted}: {} at the half, {} at the end", kib(*half), kib(*end));
    // Before the half it fills what it keeps and uses again.
    if *end > half + SLACK.max(half / 20) { Err(format!("it grows: {told}")) } else { Ok(Some(told)) }
}

/// Adds the answer to a report.
pub(super) fn report(report: &mut Report, answer: Result<Option<String>, String>) {
    const NAME: &str = "memory stays flat";
    const WHY: &str = "an instance lives as long as the gateway";
    match answer {
        Ok(Some(told)) => report.add(NAME, WHY, Ok(told)),
        Ok(None) => report.skip(NAME, WHY, "its memory cannot be seen"),
        Err(error) => report.add(NAME, WHY, Err(error)),
    }
}

/// Bytes of linear memory of the instances that are alive.
pub(super) fn memory(loaded: &Loaded) -> Option<u64> {
    loaded.plugins.memory(loaded.name())
}

/// Bytes for people.
pub(super) fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}
