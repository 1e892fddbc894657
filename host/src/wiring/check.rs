//! What proves proxies, and the judges that it asks.

use std::sync::Arc;

use proxywhirl_engine::Clock;
use proxywhirl_engine::check::judge::{BadCertificate, Judge, JudgeConfig, JudgeTls, JudgeUrl, NotAJudge};
use proxywhirl_engine::check::{Checker, CheckerConfig};
use proxywhirl_net::{Dialer, TlsConfig, tls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{CheckSettings, SourceSettings};
use crate::exit::{Exit, Failure};

/// Reads a judge's URL.
///
/// # Errors
/// When it is none.
pub fn judge_url(text: &str) -> Result<JudgeUrl, Failure> {
    text.parse().map_err(|error: NotAJudge| {
        Failure::new(Exit::Usage, error).hint("a judge is http://HOST:PORT/, where `proxywhirl judge` runs")
    })
}

/// What checks candidates, as it was configured. It has asked no judge yet.
///
/// # Errors
/// When a judge's URL is none, or something that the level needs is missing.
pub fn checker(
    settings: &CheckSettings,
    dialer: Dialer,
    trusted: &TlsConfig,
    allow_private: bool,
    clock: Clock,
) -> Result<Checker, Failure> {
    let judges = settings.judges.iter().map(|url| judge_url(url)).collect::<Result<_, _>>()?;
    let target = settings.target.as_ref().map(|target| target.to_check()).transpose();
    let trusted = tls::client_config(trusted).map_err(|error| Failure::new(Exit::Usage, error))?;
    Ok(Checker::new(CheckerConfig {
        allow_private,
        anonymity: settings.anonymity,
        target: target.map_err(|error| Failure::new(Exit::Usage, error))?,
        detect: settings.detect,
        timeout: settings.timeout,
        concurrency: settings.concurrency,
        per_host: settings.per_host,
        ..CheckerConfig::new(dialer, judges, Arc::clone(&trusted), clock)
    }))
}

/// Whether there is what sources need that are not trusted.
///
/// # Errors
/// When what one of them names has to be checked, and there is nothing to check it with.
pub fn can_read(check: &CheckSettings, sources: &[SourceSettings]) -> Result<(), Failure> {
    let Some((missing, _)) = check.is_complete().err().zip(sources.iter().find(|source| !source.trust)) else {
        return Ok(());
    };
    let remedy = if missing == "no target" {
        "set check.target.url, or a lower check.level, or trust = true"
    } else {
        "set check.judge to a `proxywhirl judge` that the proxies reach, or check.level = \"tcp\", or trust = true"
    };
    let why = format!("there are sources that are not trusted, and {missing} to check what they name");
    Err(Failure::new(Exit::Usage, why).hint(remedy))
}

/// Asks the judges without a proxy: for the address of ours that they see, from which the anonymity follows, and because
/// without them every proxy would look dead.
///
/// # Errors
/// When there are judges, and none of them answers.
pub async fn meet_judges(settings: &CheckSettings, checker: &Checker) -> Result<(), Failure> {
    if settings.judges.is_empty() {
        return Ok(());
    }
    checker.meet_judges().await.map_err(|fault| {
        let judges = settings.judges.join(", ");
        Failure::new(Exit::Input, format!("the judge {judges} does not answer: {fault}"))
            .hint("start one with `proxywhirl judge`, or check less with level protocol or tcp")
    })
}

/// A judge with a certificate of its own making.
///
/// # Errors
/// When the certificate cannot be made.
pub fn judge() -> Result<Judge, BadCertificate> {
    Ok(Judge::new(JudgeConfig::default(), Clock::default()).with_tls(JudgeTls::self_signed()?))
}

/// Serves as a judge until the token is cancelled.
pub async fn serve_judge(judge: Judge, listener: TcpListener, shutdown: CancellationToken) {
    judge.serve(listener, shutdown.cancelled_owned()).await;
}
