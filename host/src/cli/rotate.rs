//! `proxywhirl rotate`: gives the next request of a listener another proxy.

use clap::Args;

use super::ControlArgs;
use super::output::{print, to_json};
use crate::control::api::{Rotate, Rotated};
use crate::exit::{Exit, Failure};

/// Arguments of `rotate`.
#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The listener's name, or its address; all of them when none is named
    #[arg(value_name = "LISTENER")]
    listener: Option<String>,
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `rotate`.
pub(super) async fn run(args: RotateArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let rotated: Rotated = client.post("/v1/rotate", &Rotate { listener: args.listener }).await?;
    print(&if args.json { to_json(&rotated)? } else { in_words(&rotated) })?;
    Ok(Exit::Done)
}

fn in_words(rotated: &Rotated) -> String {
    if rotated.listeners.is_empty() {
        return "each request there gets another proxy anyhow, or has a session that only its client rotates"
            .to_owned();
    }
    format!("the next request gets another proxy at {}", rotated.listeners.join(", "))
}
