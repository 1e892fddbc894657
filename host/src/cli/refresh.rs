//! `proxywhirl refresh`: has the running gateway read its sources again.

use clap::Args;

use super::ControlArgs;
use super::output::{count, print, to_json};
use crate::control::api::{Refresh, RefreshReport};
use crate::exit::{Exit, Failure};

/// Arguments of `refresh`.
#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    /// The sources to read; all of them when none is named
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `refresh`; without anything that was found there is no result.
pub(super) async fn run(args: RefreshArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let report: RefreshReport = client.post_patiently("/v1/refresh", &Refresh { sources: args.sources }).await?;
    if args.json {
        print(&to_json(&report)?)?;
    } else {
        print(&in_words(&report))?;
    }
    Ok(if report.found == 0 { Exit::NoResult } else { Exit::Done })
}

/// A run's report, for people.
fn in_words(report: &RefreshReport) -> String {
    let text = |source: &serde_json::Value, key: &str| source[key].as_str().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = report
        .sources
        .iter()
        .map(|source| match source["error"].as_str() {
            Some(error) => format!("{}: {error}", text(source, "name")),
            None => format!(
                "{}: {} found, {}, {} rejected",
                text(source, "name"),
                source["candidates"],
                count(source["duplicates"].as_u64().unwrap_or(0), "duplicate", "duplicates"),
                source["rejected"]
            ),
        })
        .collect();
    lines.push(format!(
        "{} found, {}, {} rejected",
        report.found,
        count(report.duplicates, "duplicate", "duplicates"),
        report.rejected
    ));
    lines.extend(report.reasons.iter().map(|(reason, count)| format!("  {count} × {reason}")));
    lines.push(format!(
        "{} checked: {} alive, {} dead; {} fresh",
        report.alive + report.dead,
        report.alive,
        report.dead,
        report.fresh
    ));
    lines.extend(report.passed.iter().map(|(level, count)| format!("  {count} × as far as {level}")));
    lines.extend(report.faults.iter().map(|(fault, count)| format!("  {count} × {fault}")));
    lines.push(format!(
        "{} new in the pool, {} known to it; {:.1} s",
        report.new,
        report.known,
        report.time_ms / 1_000.0
    ));
    if report.kept_out > 0 {
        lines.push(format!("{} left out, because `pool remove` has taken them out", report.kept_out));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_became_of_everybody() {
        let source = serde_json::json!({"name": "own", "candidates": 5, "duplicates": 1, "rejected": 2});
        let gone = serde_json::json!({"name": "gone", "error": "source gone: the server answered 404"});
        let report = RefreshReport {
            sources: vec![source, gone],
            found: 5,
            duplicates: 1,
            rejected: 2,
            reasons: [("no port".to_owned(), 2)].into(),
            fresh: 1,
            alive: 2,
            dead: 1,
            passed: [("http".to_owned(), 2), ("dns".to_owned(), 1)].into(),
            faults: [("connect refused".to_owned(), 1)].into(),
            new: 2,
            known: 0,
            full: 0,
            kept_out: 1,
            time_ms: 1_234.0,
        };
        insta::assert_snapshot!(in_words(&report), @r"
        own: 5 found, 1 duplicate, 2 rejected
        gone: source gone: the server answered 404
        5 found, 1 duplicate, 2 rejected
          2 × no port
        3 checked: 2 alive, 1 dead; 1 fresh
          1 × as far as dns
          2 × as far as http
          1 × connect refused
        2 new in the pool, 0 known to it; 1.2 s
        1 left out, because `pool remove` has taken them out
        ");
    }
}
