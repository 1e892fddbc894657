//! `proxywhirl plugin test`.

use std::path::PathBuf;

use clap::Args;
use proxywhirl_workbench::{Report, TestRequest, WorkbenchError, Workplace, projects, test};

use super::workbench::{failure, shown};
use crate::cli::output::{print, to_json};
use crate::exit::{Exit, Failure};

/// Arguments of `plugin test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// A project's folder, or a folder of projects
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// The component, instead of the one in the project's `dist`
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Parsers: write what they answer as what is expected
    #[arg(long)]
    bless: bool,
    /// Only the tests whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `plugin test`.
pub(super) fn run(args: &TestArgs) -> Result<Exit, Failure> {
    let projects = projects(&args.path).map_err(failure)?;
    if let ([_, another, ..], Some(_)) = (projects.as_slice(), &args.component) {
        let message = format!("--component is for one project, but {} is another one", shown(another));
        return Err(Failure::new(Exit::Usage, message));
    }
    let request = TestRequest { component: args.component.clone(), bless: args.bless, filter: args.filter.clone() };
    let mut reports: Vec<Report> = Vec::new();
    let mut nothing = None;
    for project in &projects {
        match test(project, &Workplace::default(), &request) {
            Ok(report) => {
                if !args.json {
                    print(&report.to_string())?;
                }
                reports.push(report);
            }
            // A filter may name a test of another project.
            Err(error @ WorkbenchError::NoTests(_)) if args.filter.is_some() => nothing = Some(error),
            Err(error) => return Err(failure(error)),
        }
    }
    if let (true, Some(error)) = (reports.is_empty(), nothing) {
        return Err(failure(error));
    }
    if args.json {
        print(&to_json(&reports)?)?;
    }
    Ok(if reports.iter().all(Report::passed) { Exit::Done } else { Exit::NoResult })
}
