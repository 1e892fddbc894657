//! Reads the lists that a command names, and tells what came of them. `proxywhirl sources` itself is in [`command`].

pub(super) mod command;
mod edit;
mod list;
mod test;

use std::time::{Duration, Instant};

use proxywhirl_core::{Candidate, Secret};
use proxywhirl_engine::events::milliseconds;
use proxywhirl_engine::ingest::gather::Gathered;
use proxywhirl_engine::source::drift::Drift;
use proxywhirl_engine::source::{Location, Source};
use serde::Serialize;

pub(super) use proxywhirl_engine::ingest::gather::SourceReport;

use super::output::{count, tell, to_json};
use super::progress::Lines;
use super::{PluginDirArgs, ReadArgs};
use crate::config::{PluginsSettings, Settings};
use crate::exit::{Exit, Failure};
use crate::logging::Logging;
use crate::wiring::{Fetching, Registry, Surroundings};

/// Rejected entries that are shown of a source.
const EXAMPLES: usize = 5;

/// What a command reads.
pub(super) enum Input {
    /// A file, a URL, `-`, or a proxy itself.
    Named(String),
    /// Lines that were given as arguments.
    Inline(String),
}

/// What came of all inputs.
pub(super) struct Found {
    /// The different candidates, in the order in which they came first.
    pub(super) candidates: Vec<Candidate>,
    /// A report for each input.
    pub(super) sources: Vec<SourceReport>,
    /// Candidates that were named again.
    pub(super) duplicates: u64,
    /// How long it took.
    time: Duration,
}

impl Found {
    /// How many entries were rejected.
    pub(super) fn rejected(&self) -> u64 {
        self.sources.iter().map(|source| source.rejected).sum()
    }

    /// The failure of all inputs, if all failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        let errors: Vec<_> = self.sources.iter().filter_map(|source| source.error.clone()).collect();
        let is_nothing = errors.len() == self.sources.len() && self.candidates.is_empty();
        errors.into_iter().next().filter(|_| is_nothing).map(|error| Failure::new(Exit::Input, error))
    }

    /// The run's report, as JSON.
    pub(super) fn report(&self) -> Result<String, Failure> {
        to_json(&Report {
            sources: &self.sources,
            found: self.sources.iter().map(|source| source.candidates).sum(),
            different: self.candidates.len(),
            duplicates: self.duplicates,
            rejected: self.rejected(),
            time_ms: milliseconds(self.time),
        })
    }

    /// Tells what came of each input, and of all.
    pub(super) fn tell(&self) {
        for source in &self.sources {
            tell_source(source);
        }
        tell(&format!(
            "{}, {}, {} rejected",
            count(self.candidates.len(), "different proxy", "different proxies"),
            count(self.duplicates, "duplicate", "duplicates"),
            self.rejected()
        ));
    }
}

/// A run in numbers, for scripts. The fields are part of the interface.
#[derive(Serialize)]
struct Report<'a> {
    sources: &'a [SourceReport],
    found: u64,
    different: usize,
    duplicates: u64,
    rejected: u64,
    time_ms: f64,
}

/// Reads inputs. Who names a list on the command line vouches for it: private addresses are allowed.
pub(super) async fn read(
    inputs: &[Input],
    read: &ReadArgs,
    plugins: &PluginDirArgs,
    configured: PluginsSettings,
    logging: Option<&Logging>,
) -> Result<Found, Failure> {
    let sources = inputs.iter().map(|input| source(input, read)).collect::<Result<Vec<_>, _>>()?;
    let mut settings = Settings { plugins: configured, ..Settings::default() };
    // Whoever names a list wants that one.
    settings.fetch.drift = Drift::Warn;
    read_sources(&sources, &settings, plugins, logging).await
}

/// Reads sources, as the settings say.
pub(super) async fn read_sources(
    sources: &[Source],
    settings: &Settings,
    plugins: &PluginDirArgs,
    logging: Option<&Logging>,
) -> Result<Found, Failure> {
    let directory = plugins.plugins.clone().or_else(|| settings.plugins.directory.clone());
    let plugins = PluginsSettings { directory, ..settings.plugins.clone() };
    let registry = Registry::load(&plugins, Surroundings::default())?;
    for parser in sources.iter().filter_map(|source| source.parser.as_deref()) {
        registry.parser(parser)?;
    }
    let fetching = Fetching::new(settings);
    let gatherer = registry.gatherer(&fetching, settings.allow_private, None);
    let lines = Lines::new(logging.is_some_and(|logging| logging.is_watched));
    let started = Instant::now();
    let gathered: Gathered = gatherer.gather(sources, &|progress| lines.show(progress)).await;
    lines.finish();
    fetching.close().await;
    Ok(Found {
        candidates: gathered.candidates.into_iter().collect(),
        sources: gathered.sources,
        duplicates: gathered.duplicates,
        time: started.elapsed(),
    })
}

/// A source that the command line names.
pub(super) fn source(input: &Input, read: &ReadArgs) -> Result<Source, Failure> {
    let location = match input {
        Input::Named(text) => text.parse::<Location>().map_err(|error| Failure::new(Exit::Usage, error))?,
        Input::Inline(text) => Location::Inline(Secret::new(text.as_str())),
    };
    Ok(Source { parser: read.parser.clone(), default_scheme: read.scheme, trust: true, ..Source::new(location) })
}

/// Tells what came of a source: its error, or what was found and what was rejected why.
pub(super) fn tell_source(source: &SourceReport) {
    if let Some(error) = &source.error {
        tell(&format!("error: {error}"));
        return;
    }
    let parser = if source.parser.is_empty() { "empty" } else { &source.parser };
    let entries = count(source.entries, "entry", "entries");
    tell(&format!(
        "{} ({parser}): {entries}, {} well formed, {} rejected{}",
        source.name,
        source.candidates,
        source.rejected,
        particulars(source)
    ));
    if let Some(drift) = &source.drift {
        let kept = if drift.kept { "; its last good list is used" } else { "" };
        tell(&format!("  warning: not as usual: {}{kept}", drift.reason));
    }
    if let Some(reason) = &source.incomplete {
        tell(&format!("  warning: not complete: {reason}"));
    }
    tell_rejections(source);
}

/// What is told only of sources that it says something about: pages, cache, browser, time.
fn particulars(source: &SourceReport) -> String {
    let mut told = Vec::new();
    if source.duplicates > 0 && source.new > 0 {
        told.push(format!("{} new", source.new));
    }
    if source.pages > 1 {
        told.push(format!("{} pages", source.pages));
    }
    if source.is_unchanged {
        told.push("unchanged".to_owned());
    }
    if source.is_rendered {
        told.push("rendered".to_owned());
    }
    // A file takes no time that anybody would ask for.
    if source.location.contains("://") {
        told.push(format!("{:.0} ms", milliseconds(source.time)));
    }
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

/// Tells why entries were rejected, with the first of them.
pub(super) fn tell_rejections(source: &SourceReport) {
    if source.rejected == 0 {
        return;
    }
    let mut reasons: Vec<_> = source.reasons.iter().collect();
    // The sort is stable: among equals the order of their names holds.
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons.into_iter().take(EXAMPLES) {
        tell(&format!("  {count} × {reason}"));
    }
    let shown = source.rejections.iter().take(EXAMPLES);
    let more = source.rejected.saturating_sub(shown.len() as u64);
    for rejection in shown {
        tell(&format!("  {rejection}"));
    }
    tell_more(more);
}

/// Tells that there are more rejected entries than were shown.
pub(super) fn tell_more(more: u64) {
    if more > 0 {
        tell(&format!("  and {more} more"));
    }
}
