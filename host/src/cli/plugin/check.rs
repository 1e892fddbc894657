//! `proxywhirl plugin check`.

use std::time::Duration;

use clap::Args;
use proxywhirl_workbench::{Thoroughness, check};

use super::workbench::{SubjectArgs, failure};
use crate::cli::output::{print, to_json};
use crate::exit::{Exit, Failure};

/// Arguments of `plugin check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Calls after which an instance must not have grown
    #[arg(long, value_name = "N", default_value_t = Thoroughness::default().calls)]
    calls: u64,
    /// Time after which the longest of the checks are cut short, such as 30s
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `plugin check`.
pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let (subject, place) = args.subject.open()?;
    let thoroughness = Thoroughness { calls: args.calls, patience: args.patience, ..Thoroughness::default() };
    let report = check(&subject, &place, &thoroughness).map_err(failure)?;
    print(&if args.json { to_json(&report)? } else { report.to_string() })?;
    Ok(if report.passed() { Exit::Done } else { Exit::NoResult })
}
