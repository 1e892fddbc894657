//! `proxywhirl plugin bench`.

use clap::Args;
use proxywhirl_workbench::{BenchError, Effort, Measurement, bench};

use super::workbench::{SubjectArgs, failure};
use crate::cli::output::{print, table, tell, to_json};
use crate::exit::{Exit, Failure};

/// Arguments of `plugin bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Samples of each call; the median is told
    #[arg(long, value_name = "N", default_value_t = Effort::default().samples)]
    samples: usize,
    /// Members of the largest pool
    #[arg(long, value_name = "N", default_value_t = Effort::default().members, value_parser = clap::value_parser!(u32).range(100..))]
    members: u32,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `plugin bench`.
pub(super) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let (subject, place) = args.subject.open()?;
    let effort = Effort { samples: args.samples, members: args.members, ..Effort::default() };
    let report = bench(&subject, &place, &effort).map_err(|error| match error {
        BenchError::Workbench(error) => failure(error),
        BenchError::Plugin(_) => Failure::new(Exit::Input, error),
    })?;
    if report.unoptimized {
        tell("this program was built without optimisation: only what runs in the guest is as fast as it will be");
    }
    if args.json {
        print(&to_json(&report)?)?;
    } else {
        print(&table(&Measurement::HEADER, report.measurements.iter().map(Measurement::cells).collect()))?;
    }
    Ok(Exit::Done)
}
