//! `proxywhirl check`: which proxies of a list work.

use std::collections::BTreeMap;

use clap::Args;
use proxywhirl_core::{Anonymity, Candidate, Level, Verdict};
use proxywhirl_engine::events::milliseconds;

use super::checking::{self, Checked};
use super::config::configured;
use super::output::{Row, print, table, tell, to_json};
use super::sources::{self, Input};
use super::{CheckingArgs, LevelArg, PluginDirArgs, ReadArgs, UpstreamArgs};
use crate::exit::{Exit, Failure};
use crate::logging::Logging;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The list: a file, a URL, - for standard input, or a proxy itself
    #[arg(value_name = "FILE|-", default_value = "-")]
    list: Vec<String>,
    /// How far to check
    #[arg(long, value_enum, default_value = "http")]
    level: LevelArg,
    #[command(flatten)]
    checking: CheckingArgs,
    /// Print a JSON array with an object a proxy, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    plugins: PluginDirArgs,
}

/// Carries out `check`: the living first, the quickest at the top.
pub(super) async fn run(args: CheckArgs, logging: &Logging) -> Result<Exit, Failure> {
    args.checking.suit(Some(args.level.into()))?;
    let inputs: Vec<_> = args.list.into_iter().map(Input::Named).collect();
    // A check needs no configuration.
    let plugins = configured(None).map(|settings| settings.plugins).unwrap_or_default();
    let found = sources::read(&inputs, &args.read, &args.plugins, plugins, Some(logging)).await?;
    if let Some(failure) = found.failure() {
        return Err(failure);
    }
    found.tell();
    let plan = checking::Plan::new(&args.checking, &args.upstream, args.level.into(), &found.candidates).await?;
    let mut results: Vec<(Candidate, Verdict)> = Vec::with_capacity(found.candidates.len());
    plan.run(found.candidates, logging, |Checked { candidate, verdict, .. }| {
        results.push((candidate.clone(), verdict.clone()));
        Ok(())
    })
    .await?;
    results.sort_by_key(|(_, verdict)| (!verdict.is_alive(), verdict.latency));
    if args.json {
        let rows: Vec<_> = results.iter().map(|(candidate, verdict)| Row::new(candidate, Some(verdict))).collect();
        print(&to_json(&rows)?)?;
    } else if !results.is_empty() {
        let head = ["PROXY", "STATE", "PASSED", "LATENCY", "ANONYMITY", "EXIT", "WHY NOT"];
        print(&table(&head, results.iter().map(cells).collect()))?;
    }
    let alive = results.iter().filter(|(_, verdict)| verdict.is_alive()).count();
    tell_summary(&results, alive);
    Ok(if alive == 0 { Exit::NoResult } else { Exit::Done })
}

fn cells((candidate, verdict): &(Candidate, Verdict)) -> Vec<String> {
    vec![
        candidate.endpoint.to_string(),
        if verdict.is_alive() { "alive" } else { "dead" }.to_owned(),
        verdict.passed.map_or("-", Level::as_str).to_owned(),
        verdict.latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.1} ms", milliseconds(latency))),
        if verdict.anonymity == Anonymity::Unknown { "-" } else { verdict.anonymity.as_str() }.to_owned(),
        verdict.exit.map_or_else(|| "-".to_owned(), |exit| exit.to_string()),
        verdict.fault.as_ref().map_or_else(String::new, ToString::to_string),
    ]
}

fn tell_summary(results: &[(Candidate, Verdict)], alive: usize) {
    tell(&format!("{} checked: {alive} alive, {} dead", results.len(), results.len() - alive));
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    for fault in results.iter().filter_map(|(_, verdict)| verdict.fault.as_ref()) {
        *causes.entry(format!("{} at {}", fault.kind.as_str(), fault.stage.as_str())).or_default() += 1;
    }
    for (cause, count) in causes {
        tell(&format!("  {count} × {cause}"));
    }
}
