//! Checks lists, for the commands that do.

use std::pin::pin;

use futures_util::StreamExt;
use proxywhirl_core::{Candidate, Host, Level};
use proxywhirl_engine::Clock;
use proxywhirl_engine::check::Checker;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(super) use proxywhirl_engine::check::Checked;

use super::{CheckingArgs, UpstreamArgs, progress};
use crate::config::{Settings, TargetSettings};
use crate::exit::{Exit, Failure};
use crate::logging::Logging;
use crate::wiring;

impl CheckingArgs {
    /// Refuses what would have no effect on a check of this level; none for no check at all.
    pub(super) fn suit(&self, level: Option<Level>) -> Result<(), Failure> {
        let said = [
            ("--anonymity", self.anonymity.is_some(), Level::Anonymity),
            ("--target", self.target.is_some(), Level::Target),
            ("--judge", !self.judge.is_empty(), Level::Http),
            ("--no-detect", self.no_detect, Level::Format),
            ("--timeout", self.timeout.is_some(), Level::Format),
            ("--concurrency", self.concurrency.is_some(), Level::Format),
            ("--per-host", self.per_host.is_some(), Level::Format),
        ];
        let is_idle = |(_, is_said, least): &(&str, bool, Level)| *is_said && level.is_none_or(|level| level < *least);
        let Some((option, _, least)) = said.into_iter().find(is_idle) else { return Ok(()) };
        let place = level.map_or_else(|| "without a check".to_owned(), |level| format!("at level {level}"));
        let remedy = if level.is_none() && least <= Level::Http {
            "say how far to check with --check".to_owned()
        } else {
            format!("`proxywhirl check --level {least}` goes that far")
        };
        Err(Failure::new(Exit::Usage, format!("{option} has no effect {place}")).hint(remedy))
    }
}

/// A check that is about to run.
pub(super) struct Plan {
    checker: Checker,
    level: Level,
    /// Ends a judge of our own with the plan.
    _judge: Option<DropGuard>,
}

impl Plan {
    /// Prepares a check. Level http needs a judge; for proxies on this machine it serves as one itself.
    pub(super) async fn new(
        args: &CheckingArgs,
        upstream: &UpstreamArgs,
        level: Level,
        candidates: &[Candidate],
    ) -> Result<Self, Failure> {
        let mut settings = Settings::default();
        upstream.apply(&mut settings);
        let mut check = settings.check;
        check.judges.clone_from(&args.judge);
        check.level = level;
        check.anonymity = args.anonymity.unwrap_or(check.anonymity);
        check.detect = !args.no_detect;
        check.target = args.target.as_ref().map(|url| TargetSettings {
            url: url.clone(),
            status: args.expect_status.clone(),
            body: args.expect_body.clone(),
            headers: args.expect_header.clone(),
        });
        if level == Level::Target && check.target.is_none() {
            return Err(
                Failure::new(Exit::Usage, "level target needs a URL to go to").hint("name it with --target URL")
            );
        }
        check.per_host = args.per_host.map_or(check.per_host, usize::from);
        check.timeout = args.timeout.unwrap_or(check.timeout);
        check.concurrency = args.concurrency.map_or(check.concurrency, usize::from);
        let connect_timeout = upstream.connect_timeout.unwrap_or(check.timeout).min(check.timeout);
        let mut guard = None;
        if level < Level::Http {
            check.judges.clear();
        } else if check.judges.is_empty() {
            let (url, judge) = judge_for(candidates).await?;
            check.judges = vec![url];
            guard = Some(judge);
        }
        let tls = wiring::tls_config(settings.verify_upstream, settings.upstream_ca.as_deref())?;
        let dialer = wiring::dialer(tls.clone(), connect_timeout)?;
        let checker = wiring::checker(&check, dialer, &tls, true, Clock::default())?;
        wiring::meet_judges(&check, &checker).await?;
        Ok(Self { checker, level, _judge: guard })
    }

    /// Checks candidates; `each` gets them as they are done.
    pub(super) async fn run(
        self,
        candidates: Vec<Candidate>,
        logging: &Logging,
        mut each: impl FnMut(&Checked) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let bar = progress::bar(logging, candidates.len() as u64, "checking");
        let mut checks = pin!(self.checker.check_all(candidates, self.level));
        while let Some(checked) = checks.next().await {
            bar.inc(1);
            each(&checked)?;
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// A judge of our own, if the proxies can reach it: all of them are on this machine.
async fn judge_for(candidates: &[Candidate]) -> Result<(String, DropGuard), Failure> {
    let is_here = |candidate: &Candidate| match &candidate.endpoint.host {
        Host::V4(addr) => addr.is_loopback(),
        Host::V6(addr) => addr.is_loopback(),
        Host::Zoned(zoned) => zoned.addr.is_loopback(),
        Host::Name(name) => &**name == "localhost",
    };
    if let Some(remote) = candidates.iter().find(|candidate| !is_here(candidate)) {
        let message = format!(
            "levels from http on need a judge that the proxies reach, and {} is not on this machine",
            remote.endpoint
        );
        return Err(Failure::new(Exit::Usage, message).hint(
            "run `proxywhirl judge --listen 0.0.0.0:8081` on a machine that they reach and add --judge http://THAT-MACHINE:8081/, or check less with --level protocol",
        ));
    }
    let listener = wiring::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", wiring::local_address(&listener)?);
    let shutdown = CancellationToken::new();
    let judge = wiring::judge().map_err(|error| Failure::new(Exit::Environment, error))?;
    tokio::spawn(wiring::serve_judge(judge, listener, shutdown.clone()));
    Ok((url, shutdown.drop_guard()))
}
