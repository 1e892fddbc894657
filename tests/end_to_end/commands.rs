//! Every command, by the real binary.

mod bad_input;
mod check;
mod completions;
mod config;
mod demo;
mod fetch;
mod get;
mod help;
mod judge;
mod man;
mod plugin;
mod pool;
mod serve;
mod sources;

use proxywhirl_tests::{Ran, proxywhirl, run};

/// Runs the binary in a folder, so that it names files there without their path.
fn run_in(folder: &tempfile::TempDir, arguments: &[&str]) -> Ran {
    run(proxywhirl(arguments).current_dir(folder.path()))
}

/// What a command printed and how it ended, as one text.
fn transcript(ran: &Ran) -> String {
    let code = ran.code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
    format!("{}{}exit code {code}", ran.stdout, ran.stderr)
}

/// What a command printed as JSON.
fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}
