//! `proxywhirl judge`: the server that proxies are checked against.

use std::path::{Path, PathBuf};

use clap::Args;
use proxywhirl_engine::Clock;
use proxywhirl_engine::check::judge::{Judge, JudgeConfig, JudgeTls};
use tokio_util::sync::CancellationToken;

use super::output::{print, tell};
use crate::exit::{Exit, Failure};
use crate::wiring;

/// Arguments of `judge`.
#[derive(Debug, Args)]
pub(super) struct JudgeArgs {
    /// Where to listen, for HTTP and HTTPS alike; proxies must be able to reach it. Many tunnel to port 443 only
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    listen: String,
    /// The certificate chain for HTTPS (PEM); without it, one is made that its checkers know by its digest
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Serve HTTP only
    #[arg(long, conflicts_with = "cert")]
    no_tls: bool,
}

/// Carries out `judge`: serves until it is told to stop.
pub(super) async fn run(args: JudgeArgs) -> Result<Exit, Failure> {
    let judge = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => {
            let tls = JudgeTls::from_pem(&read(cert)?, &read(key)?);
            let tls = tls.map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", cert.display())))?;
            Judge::new(JudgeConfig::default(), Clock::default()).with_tls(tls)
        }
        _ if args.no_tls => Judge::new(JudgeConfig::default(), Clock::default()),
        _ => wiring::judge().map_err(|error| Failure::new(Exit::Environment, error))?,
    };
    let listener = wiring::bind(&args.listen).await?;
    let address = wiring::local_address(&listener)?;
    print(&format!("judge listening on {address}"))?;
    let level = if args.no_tls { "http" } else { "tls" };
    tell(&format!("check proxies against it: proxywhirl check LIST --level {level} --judge http://{address}/"));
    let shutdown = CancellationToken::new();
    let hurry = CancellationToken::new();
    let stop = wiring::stop_on_signal(shutdown.clone(), {
        let hurry = hurry.clone();
        move || hurry.cancel()
    });
    tokio::select! {
        () = wiring::serve_judge(judge, listener, shutdown) => {}
        () = hurry.cancelled() => {}
    }
    stop.abort();
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", path.display())))
}
