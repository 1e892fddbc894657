//! `proxywhirl plugin doctor`: how plugins are, and what is wrong with them.
//!
//! A gateway that runs knows how its plugins do, so it is asked. Without one, each plugin is started here.

mod offline;
mod running;

use std::time::SystemTime;

use clap::Args;
use proxywhirl_core::Timestamp;

use super::chosen::ChosenArgs;
use crate::cli::ControlArgs;
use crate::exit::{Exit, Failure};
use crate::logging::Logging;

/// Arguments of `plugin doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Start the plugins here, even if a gateway runs
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    chosen: ChosenArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `plugin doctor`. What is not well shows in the exit code.
pub(super) async fn run(args: DoctorArgs, logging: Logging) -> Result<Exit, Failure> {
    let client = if args.offline { None } else { args.control.find(args.chosen.config()).await? };
    match client {
        Some(client) => running::run(&client, args.json).await,
        None => super::blocking(move || offline::run(&args.chosen.settings()?, args.json, &logging)).await,
    }
}

/// How long ago something happened, in words.
fn ago(at: Timestamp) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let span = (Timestamp::default() + now).since(at);
    let seconds = std::time::Duration::from_secs(span.as_secs());
    if seconds.is_zero() { "just now".to_owned() } else { format!("{} ago", humantime::format_duration(seconds)) }
}
