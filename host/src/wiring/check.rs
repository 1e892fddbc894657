//! What proves proxies, and the judge that it asks.

use proxywhirl_engine::Clock;
use proxywhirl_engine::check::judge::{Judge, JudgeConfig, JudgeUrl};
use proxywhirl_engine::check::{Checker, CheckerConfig};
use proxywhirl_net::Dialer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::settings::CheckSettings;
use crate::exit::{Exit, Failure};

/// Reads a judge's URL.
///
/// # Errors
/// When it is none.
pub fn judge_url(text: &str) -> Result<JudgeUrl, Failure> {
    text.parse().map_err(|error: proxywhirl_engine::check::judge::NotAJudge| {
        Failure::new(Exit::Usage, error).hint("a judge is http://HOST:PORT/, where `proxywhirl judge` runs")
    })
}

/// What checks candidates, as it was configured. Asks the judge without a proxy first: for the address of ours that it
/// sees, from which the anonymity follows, and because without it every proxy would look dead.
///
/// # Errors
/// When the judge's URL is none, or the judge does not answer.
pub async fn checker(settings: &CheckSettings, dialer: Dialer, clock: Clock) -> Result<Checker, Failure> {
    let judge = settings.judge.as_deref().map(judge_url).transpose()?;
    let mut config = CheckerConfig::new(dialer, judge, clock);
    config.timeout = settings.timeout;
    config.concurrency = settings.concurrency;
    if let Some(url) = &settings.judge {
        let sighting = Checker::new(config.clone()).ask_judge_directly().await.map_err(|fault| {
            Failure::new(Exit::Input, format!("the judge {url} does not answer: {fault}"))
                .hint("start one with `proxywhirl judge`, or check less with level tcp")
        })?;
        config.own_addresses.push(sighting.peer);
    }
    Ok(Checker::new(config))
}

/// Serves as a judge until the token is cancelled.
pub async fn serve_judge(listener: TcpListener, shutdown: CancellationToken) {
    Judge::new(JudgeConfig::default(), Clock::default()).serve(listener, shutdown.cancelled_owned()).await;
}
