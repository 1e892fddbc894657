//! `proxywhirl judge`: the server that proxies are checked against.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::output::{print, tell};
use crate::exit::{Exit, Failure};
use crate::wiring;

/// Arguments of `judge`.
#[derive(Debug, Args)]
pub(super) struct JudgeArgs {
    /// Where to listen; proxies must be able to reach it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    listen: String,
}

/// Carries out `judge`: serves until it is told to stop.
pub(super) async fn run(args: JudgeArgs) -> Result<Exit, Failure> {
    let listener = wiring::bind(&args.listen).await?;
    let address = wiring::local_address(&listener)?;
    print(&format!("judge listening on {address}"))?;
    tell(&format!("check proxies against it: proxywhirl check LIST --level http --judge http://{address}/"));
    let shutdown = CancellationToken::new();
    let stop = wiring::stop_on_signal(shutdown.clone());
    wiring::serve_judge(listener, shutdown).await;
    stop.abort();
    Ok(Exit::Done)
}
