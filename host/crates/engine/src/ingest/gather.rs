//! Many sources to one list: each is fetched and parsed, and what they have in common is joined.
//!
//! Some sources run at the same time, but they are joined in the order in which they were given, so
//! the same lists give the same result whoever answers first. A source that fails costs itself.

mod guard;
mod pages;
mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use proxywhirl_core::plugin::Parser;
use tokio::sync::mpsc;

use super::Candidates;
use crate::dedup::Dedup;
use crate::source::drift::Drift;
use crate::source::{Fetcher, Source};
pub use report::{Drifted, SourceReport};

/// How many sources are read at the same time: each may hold its document and its entries in memory.
pub const CONCURRENCY: usize = 4;

/// What is told while sources are read. `index` counts from 0 in the order in which they were given.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A source begins.
    Started {
        /// Which one.
        index: usize,
        /// Its name.
        name: &'a str,
    },
    /// More of a source was read.
    Read {
        /// Which one.
        index: usize,
        /// How many bytes so far.
        bytes: u64,
    },
    /// A source is done, well or not.
    Finished {
        /// Which one.
        index: usize,
        /// What it came to; duplicates are not known yet.
        report: &'a SourceReport,
    },
}

/// What all sources came to.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// The different candidates, in the order in which they came first.
    pub candidates: Candidates,
    /// One report for each source, in their order.
    pub sources: Vec<SourceReport>,
    /// How many candidates were named again.
    pub duplicates: u64,
}

/// Reads sources.
pub struct Gatherer {
    fetcher: Fetcher,
    parsers: Arc<[Arc<dyn Parser>]>,
    allow_private: bool,
    drift: Drift,
}

impl fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gatherer").field("fetcher", &self.fetcher).field("parsers", &self.parsers.len()).finish()
    }
}

impl Gatherer {
    /// With `allow_private`, private addresses are allowed whoever names them: for lists that nobody dials.
    #[must_use]
    pub fn new(fetcher: Fetcher, parsers: impl Into<Arc<[Arc<dyn Parser>]>>, allow_private: bool) -> Self {
        Self { fetcher, parsers: parsers.into(), allow_private, drift: Drift::Off }
    }

    /// What follows when a source is not as usual. It needs the fetcher's cache to remember what is usual.
    #[must_use]
    pub fn with_drift(self, drift: Drift) -> Self {
        Self { drift, ..self }
    }

    /// Reads all sources; `progress` hears how it goes.
    pub async fn gather(&self, sources: &[Source], progress: &(dyn Fn(Progress<'_>) + Sync)) -> Gathered {
        // Collected first: a closure that lives as long as the stream would bind this future to one lifetime, and no
        // task could own it.
        let runs: Vec<_> =
            sources.iter().enumerate().map(|(index, source)| self.read(index, source, progress)).collect();
        let mut runs = futures_util::stream::iter(runs).buffered(CONCURRENCY);
        let mut joined = Joined::default();
        while let Some((report, candidates)) = runs.next().await {
            // A large list takes a good part of a second: not on a thread that serves others.
            let join = tokio::task::spawn_blocking(move || joined.with(report, candidates));
            match join.await {
                Ok(joining) => joined = joining,
                // Only when the runtime shuts down: nobody waits for the answer then.
                Err(_) => return Gathered::default(),
            }
        }
        joined.all()
    }

    /// Reads all sources, and hands over what they came to, with their indexes: all of it at once, unless that takes longer than
    /// `patience`. Then what has been read by then comes first, and whatever is read later when it is.
    pub async fn gather_in_parts(
        &self,
        sources: &[Source],
        progress: &(dyn Fn(Progress<'_>) + Sync),
        patience: Duration,
        parts: mpsc::Sender<(Vec<usize>, Gathered)>,
    ) {
        let runs: Vec<_> =
            sources.iter().enumerate().map(|(index, source)| self.numbered(index, source, progress)).collect();
        let mut runs = futures_util::stream::iter(runs).buffer_unordered(CONCURRENCY);
        let mut patience = pin!(tokio::time::sleep(patience));
        let (mut read, mut is_late, mut is_over) = (BTreeMap::new(), false, false);
        while !is_over {
            tokio::select! {
                run = runs.next() => match run {
                    Some((index, run)) => drop(read.insert(index, run)),
                    None => is_over = true,
                },
                () = &mut patience, if !is_late => is_late = true,
            }
            if (is_late || is_over) && !read.is_empty() {
                // Whoever is not there any more needs nothing.
                parts.send(join(std::mem::take(&mut read)).await).await.ok();
            }
        }
    }

    async fn numbered(
        &self,
        index: usize,
        source: &Source,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> (usize, (SourceReport, Candidates)) {
        (index, self.read(index, source, progress).await)
    }

    async fn read(
        &self,
        index: usize,
        source: &Source,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> (SourceReport, Candidates) {
        progress(Progress::Started { index, name: &source.name });
        let started = Instant::now();
        let mut report = SourceReport {
            name: source.name.clone(),
            location: source.location.to_string(),
            ..SourceReport::default()
        };
        let mut candidates = Candidates::default();
        let on_bytes = |bytes| progress(Progress::Read { index, bytes });
        match self.list(source, &mut report, &on_bytes).await {
            Ok(ingested) => candidates = report.take(ingested),
            Err(error) => report.error = Some(error),
        }
        report.time = started.elapsed();
        progress(Progress::Finished { index, report: &report });
        (report, candidates)
    }
}

/// What some sources came to, in their order.
async fn join(read: BTreeMap<usize, (SourceReport, Candidates)>) -> (Vec<usize>, Gathered) {
    let (indexes, read): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    let join = || read.into_iter().fold(Joined::default(), |joined, (report, list)| joined.with(report, list)).all();
    // As above, and with the same error.
    (indexes, tokio::task::spawn_blocking(join).await.unwrap_or_default())
}

/// What sources came to, those that were joined so far.
struct Joined {
    reports: Vec<SourceReport>,
    dedup: Dedup,
}

impl Default for Joined {
    fn default() -> Self {
        Self { reports: Vec::new(), dedup: Dedup::new() }
    }
}

impl Joined {
    /// The same with what one more came to.
    fn with(mut self, mut report: SourceReport, candidates: Candidates) -> Self {
        let before = self.dedup.duplicates();
        self.dedup.extend(candidates);
        report.duplicates = self.dedup.duplicates() - before;
        report.new = report.candidates - report.duplicates.min(report.candidates);
        self.reports.push(report);
        self
    }

    fn all(self) -> Gathered {
        let Self { reports, dedup } = self;
        Gathered { sources: reports, duplicates: dedup.duplicates(), candidates: dedup.into_candidates() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::ingest::tests::{Fake, parsers};
    use crate::source::FetcherConfig;

    fn gatherer() -> Gatherer {
        Gatherer::new(Fetcher::new(FetcherConfig::default()), parsers([Fake::lines("text", 10)]), false)
    }

    fn inline(name: &str, text: &str) -> Source {
        Source {
            name: name.to_owned(),
            ..Source::new(crate::source::Location::Inline(proxywhirl_core::Secret::new(text)))
        }
    }

    #[tokio::test]
    async fn sources_are_joined_in_their_order_and_a_failure_costs_itself() {
        let sources = [
            inline("one", "1.1.1.1:80\n1.1.1.2:80\n1.1.1.1:80\n10.0.0.1:80"),
            Source::new("/nowhere/at-all.txt".parse().unwrap()),
            inline("two", "1.1.1.2:80\n1.1.1.3:80\n1.1.1.4:0"),
            Source { parser: Some("xml".to_owned()), ..inline("three", "1.1.1.9:80") },
        ];
        let events = Mutex::new(Vec::new());
        let gathered = gatherer()
            .gather(&sources, &|progress| {
                if let Progress::Finished { index, report } = progress {
                    events.lock().unwrap().push((index, report.candidates));
                }
            })
            .await;
        let found: Vec<_> = gathered.candidates.iter().map(|c| (c.endpoint.to_url(), c.tags.to_string())).collect();
        let expected = [
            ("http://1.1.1.1:80", "source:one"),
            ("http://1.1.1.2:80", "source:one,source:two"),
            ("http://1.1.1.3:80", "source:two"),
        ];
        assert_eq!(found, expected.map(|(url, tags)| (url.to_owned(), tags.to_owned())));
        let [one, gone, two, three] = <[_; 4]>::try_from(gathered.sources).unwrap();
        assert_eq!((one.entries, one.candidates, one.rejected, one.duplicates), (4, 3, 1, 1));
        assert_eq!(one.reasons["private address"], 1);
        assert_eq!((two.entries, two.candidates, two.rejected, two.duplicates), (3, 2, 1, 1));
        assert_eq!(gathered.duplicates, 2);
        assert!(gone.error.unwrap().starts_with("source at-all.txt (/nowhere/at-all.txt): cannot be read"));
        assert_eq!(three.error.unwrap(), "source three: there is no parser \"xml\"; there are: text");
        let mut events = events.into_inner().unwrap();
        events.sort_unstable();
        assert_eq!(events, [(0, 3), (1, 0), (2, 2), (3, 0)]);
    }

    #[tokio::test]
    async fn in_parts_all_of_it_comes_at_once_and_what_is_late_by_itself() {
        let sources = [inline("one", "1.1.1.1:80\n1.1.1.2:80"), inline("two", "1.1.1.2:80\n1.1.1.3:80")];
        let gatherer = gatherer();
        let (sender, mut parts) = mpsc::channel(2);
        gatherer.gather_in_parts(&sources, &|_| (), Duration::from_mins(1), sender).await;
        let (indexes, gathered) = parts.recv().await.unwrap();
        assert_eq!((indexes, gathered.candidates.len(), gathered.duplicates), (vec![0, 1], 3, 1));
        assert_eq!((gathered.sources[0].new, gathered.sources[1].new), (2, 1));
        assert!(parts.recv().await.is_none());
        // When nobody wants to wait, each is there when it is read.
        let (sender, mut parts) = mpsc::channel(2);
        gatherer.gather_in_parts(&sources, &|_| (), Duration::ZERO, sender).await;
        let mut read = Vec::new();
        while let Some((indexes, _)) = parts.recv().await {
            read.extend(indexes);
        }
        read.sort_unstable();
        assert_eq!(read, [0, 1]);
    }

    #[tokio::test]
    async fn it_runs_in_a_task_of_its_own() {
        let run = tokio::spawn(async { gatherer().gather(&[inline("one", "1.1.1.1:80")], &|_| ()).await });
        assert_eq!(run.await.unwrap().candidates.len(), 1);
    }

    #[tokio::test]
    async fn many_sources_wait_for_their_turn_and_none_is_lost() {
        let sources: Vec<_> = (0..30).map(|n| inline(&format!("s{n}"), &format!("1.1.1.{n}:80\n2.2.2.2:80"))).collect();
        let running = Mutex::new((0_usize, 0_usize));
        let gathered = gatherer()
            .gather(&sources, &|progress| {
                let mut running = running.lock().unwrap();
                match progress {
                    Progress::Started { .. } => running.0 += 1,
                    Progress::Finished { .. } => running.0 -= 1,
                    Progress::Read { .. } => {}
                }
                running.1 = running.1.max(running.0);
            })
            .await;
        assert_eq!((gathered.candidates.len(), gathered.duplicates), (31, 29));
        let most = running.into_inner().unwrap().1;
        assert!((1..=CONCURRENCY).contains(&most), "{most}");
        assert!(gathered.candidates.iter().nth(1).unwrap().tags.contains("source:s29"));
    }
}
