//! Reads sources again: at their intervals, and when somebody asks.
//!
//! One refresh at a time. What a source names anew is proven and let in; of what is fresh nothing is asked; who is a member
//! stays one, whether its source still names it or not: checks and traffic say how it is.

use std::time::{Duration, Instant};

use proxywhirl_engine::events::milliseconds;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::service::{Filled, Service};
use crate::config::SourceSettings;
use crate::control::api::RefreshReport;
use crate::exit::{Exit, Failure};

/// No source is read more often by itself, whatever its interval is: lists change by the minute at most.
pub(super) const LEAST_INTERVAL: Duration = Duration::from_secs(10);

impl Service {
    /// Reads sources again, all of them when none is named.
    ///
    /// # Errors
    /// When there is no source of a name, or no judge answers that is needed.
    pub async fn refresh(&self, names: &[String]) -> Result<RefreshReport, Failure> {
        let chosen = self.chosen(names)?;
        let _one_at_a_time = self.refreshing().lock().await;
        let began = Instant::now();
        let filled = self.fill(&chosen).await?;
        Ok(report(&filled, began.elapsed()))
    }

    /// Reads each source again at its interval, until the token is cancelled; and once what a gateway that died has left.
    pub fn refresh_at_intervals(&self, shutdown: &CancellationToken) -> JoinHandle<()> {
        let mut tasks = JoinSet::new();
        for source in self.sources() {
            let (service, source, shutdown) = (self.clone(), source.clone(), shutdown.clone());
            match source.interval {
                Some(interval) if can_be_read_again(&source) => {
                    tasks.spawn(async move { service.read_again_and_again(source, interval, shutdown).await });
                }
                None => {
                    tasks.spawn(async move {
                        if service.is_left(&source).await {
                            service.read_again(&source, &shutdown).await;
                        }
                    });
                }
                Some(_) => {}
            }
        }
        tokio::spawn(async move { while tasks.join_next().await.is_some() {} })
    }

    async fn read_again_and_again(&self, source: SourceSettings, interval: Duration, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.turn(&source, interval) => {}
            }
            self.read_again(&source, &shutdown).await;
        }
    }

    async fn read_again(&self, source: &SourceSettings, shutdown: &CancellationToken) {
        let refresh = async {
            let _one_at_a_time = self.refreshing().lock().await;
            let began = Instant::now();
            self.refill(source).await.map(|filled| report(&filled, began.elapsed()))
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            refreshed = refresh => match refreshed {
                Ok(report) => tracing::info!(
                    source.name = source.name,
                    source.found = report.found,
                    check.alive = report.alive,
                    check.dead = report.dead,
                    pool.new = report.new,
                    refresh.ms = report.time_ms,
                    "source read again"
                ),
                Err(failure) => tracing::warn!(source.name = source.name, error = %failure.message, "source not read again"),
            },
        }
    }

    fn chosen(&self, names: &[String]) -> Result<Vec<SourceSettings>, Failure> {
        let known = || self.sources().iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
        if let Some(unknown) = names.iter().find(|name| !self.sources().iter().any(|source| source.name == **name)) {
            return Err(Failure::new(Exit::Usage, format!("there is no source {unknown:?}"))
                .hint(format!("the sources are {}", known())));
        }
        let is_wanted = |source: &&SourceSettings| names.is_empty() || names.contains(&source.name);
        Ok(self.sources().iter().filter(is_wanted).filter(|source| can_be_read_again(source)).cloned().collect())
    }
}

/// Standard input was read to its end.
pub(super) fn can_be_read_again(source: &SourceSettings) -> bool {
    source.location != "-"
}

fn report(filled: &Filled, time: Duration) -> RefreshReport {
    let (proven, admissions) = (&filled.proven, filled.admissions);
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let mut report = RefreshReport {
        sources: filled.sources.iter().filter_map(|source| serde_json::to_value(source).ok()).collect(),
        duplicates: filled.duplicates,
        fresh: proven.fresh,
        alive: proven.alive,
        dead: proven.dead,
        passed: proven.passed.iter().map(|(level, count)| (level.as_str().to_owned(), *count)).collect(),
        faults: proven.faults.clone(),
        new: count(admissions.new),
        known: count(admissions.known + admissions.merged),
        full: count(admissions.full),
        time_ms: milliseconds(time),
        ..RefreshReport::default()
    };
    for source in &filled.sources {
        report.found += source.candidates;
        report.rejected += source.rejected;
        for (reason, count) in &source.reasons {
            *report.reasons.entry(reason.clone()).or_default() += count;
        }
    }
    report
}
