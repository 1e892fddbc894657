//! Reads sources again: at their intervals, and when somebody asks.
//!
//! One refresh at a time. What a source names anew is proven and let in; of what is fresh nothing is asked; who is a member
//! stays one, whether its source still names it, or is still there, or not: checks and traffic say how it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use proxywhirl_engine::events::milliseconds;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::crew;
use super::fetching::shown;
use super::service::{Filled, Service};
use crate::config::SourceSettings;
use crate::control::api::RefreshReport;
use crate::exit::{Exit, Failure};

/// No source is read more often by itself, whatever its interval is: lists change by the minute at most.
pub(super) const LEAST_INTERVAL: Duration = Duration::from_secs(10);

/// How long who has come may take to begin, and how often it is looked whether all is loaded.
const SETTLING: Duration = Duration::from_secs(1);

/// The sources that there are, and a task for each that is read by itself.
#[derive(Debug)]
pub(super) struct Reading {
    sources: ArcSwap<Vec<SourceSettings>>,
    /// Held while sources are read again.
    one_at_a_time: tokio::sync::Mutex<()>,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    /// Until when sources are read; none before they are, and after.
    until: Option<CancellationToken>,
    /// Those that came before.
    unread: Vec<SourceSettings>,
    running: Vec<(SourceSettings, AbortOnDropHandle<()>)>,
}

/// What a task begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// The source was read before it, at the start.
    Wait,
    /// It has come.
    Read,
    /// It was another one before: whoever shares the pool may have read that one, but not this one.
    ReadAnew,
}

impl Reading {
    pub(super) fn of(sources: Vec<SourceSettings>) -> Self {
        let sources = ArcSwap::from_pointee(sources);
        Self { sources, one_at_a_time: tokio::sync::Mutex::default(), tasks: Mutex::default() }
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Says which sources there are from now on. What has come, or changed, is read now; who is a member by one that is gone stays one.
    pub async fn read(&self, sources: Vec<SourceSettings>) {
        if let Some(crew) = self.engine().crew() {
            crew.share(&sources.iter().filter_map(crew::work).collect::<Vec<_>>()).await;
        }
        self.forget_troubles(&sources);
        self.relabel(&sources).await;
        let mut tasks = self.reading().tasks();
        let sources = Arc::new(sources);
        let before = self.reading().sources.swap(Arc::clone(&sources));
        tasks.running.retain(|(source, _)| sources.contains(source));
        tasks.unread.retain(|source| sources.contains(source));
        for source in sources.iter().filter(|source| !before.contains(source)) {
            let is_known = before.iter().any(|other| other.name == source.name);
            match tasks.until.clone() {
                Some(until) => {
                    let first = if is_known { First::ReadAnew } else { First::Read };
                    tasks.running.push((source.clone(), self.task(source, first, until)));
                }
                None => tasks.unread.push(source.clone()),
            }
        }
    }

    /// Reads sources again, all of them when none is named.
    ///
    /// # Errors
    /// When there is no source of a name, or no judge answers that is needed.
    pub async fn refresh(&self, names: &[String]) -> Result<RefreshReport, Failure> {
        let chosen = self.chosen(names)?;
        let _one_at_a_time = self.reading().one_at_a_time.lock().await;
        let began = Instant::now();
        let filled = self.fill(&chosen).await?;
        Ok(report(&filled, began.elapsed()))
    }

    /// Waits until the pool has whatever is loaded and read now, and what has just come to be read.
    pub async fn settled(&self) {
        tokio::time::sleep(SETTLING).await;
        let one_at_a_time = self.reading().one_at_a_time.lock().await;
        drop(one_at_a_time);
        while self.engine().is_loading() {
            tokio::time::sleep(SETTLING).await;
        }
    }

    /// Reads each source again at its interval, until the token is cancelled; and once what a gateway that died has left. All of them
    /// were read that were there at the start.
    pub fn read_at_intervals(&self, shutdown: &CancellationToken) {
        let mut tasks = self.reading().tasks();
        for source in self.reading().sources.load().iter() {
            let first = if tasks.unread.contains(source) { First::Read } else { First::Wait };
            tasks.running.push((source.clone(), self.task(source, first, shutdown.clone())));
        }
        tasks.unread.clear();
        tasks.until = Some(shutdown.clone());
    }

    /// Ends that sources are read, whatever has begun.
    pub fn read_no_more(&self) {
        *self.reading().tasks() = Tasks::default();
    }

    fn task(&self, source: &SourceSettings, first: First, shutdown: CancellationToken) -> AbortOnDropHandle<()> {
        let (service, source) = (self.clone(), source.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = service.tend(&source, first) => {}
            }
        }))
    }

    async fn tend(&self, source: &SourceSettings, first: First) {
        match first {
            First::Wait => {
                if source.interval.is_none() && self.is_left(source).await {
                    self.read_again(source).await;
                }
            }
            First::Read => {
                self.turn_at_once(source).await;
                self.read_again(source).await;
            }
            First::ReadAnew => {
                if self.is_own(source) {
                    self.read_again(source).await;
                }
            }
        }
        let Some(interval) = source.interval.filter(|_| can_be_read_again(source)) else { return };
        loop {
            self.turn(source, interval).await;
            self.read_again(source).await;
        }
    }

    async fn read_again(&self, source: &SourceSettings) {
        let _one_at_a_time = self.reading().one_at_a_time.lock().await;
        let began = Instant::now();
        let name = shown(source);
        let filled = self.refill(source).await;
        let error = |filled: &Filled| filled.sources.iter().find_map(|source| source.error.clone());
        match filled.map(|filled| (error(&filled), report(&filled, began.elapsed()))) {
            Ok((None, report)) => tracing::info!(
                source.name = name,
                source.found = report.found,
                check.alive = report.alive,
                check.dead = report.dead,
                pool.new = report.new,
                refresh.ms = report.time_ms,
                "source read"
            ),
            Ok((Some(error), _)) => tracing::warn!(source.name = name, error, "source not read"),
            Err(failure) => tracing::warn!(source.name = name, error = %failure.message, "source not read"),
        }
    }

    /// The sources of these names, all of them when none is named; without those that cannot be read again.
    ///
    /// # Errors
    /// When there is no source of a name.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<SourceSettings>, Failure> {
        let sources = self.reading().sources.load();
        let known = || sources.iter().map(shown).collect::<Vec<_>>().join(", ");
        if let Some(unknown) = names.iter().find(|name| !sources.iter().any(|source| source.name == **name)) {
            return Err(Failure::new(Exit::Usage, format!("there is no source {unknown:?}"))
                .hint(format!("the sources are {}", known())));
        }
        let is_wanted = |source: &&SourceSettings| names.is_empty() || names.contains(&source.name);
        Ok(sources.iter().filter(is_wanted).filter(|source| can_be_read_again(source)).cloned().collect())
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
        kept_out: count(admissions.kept_out),
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
