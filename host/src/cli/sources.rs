//! Reads the lists that a command names, and tells what came of them.

use indicatif::{ProgressBar, ProgressStyle};
use proxywhirl_core::{Candidate, Secret};
use proxywhirl_engine::ingest::gather::{Gathered, Progress};
use proxywhirl_engine::source::{Location, Source};

pub(super) use proxywhirl_engine::ingest::gather::SourceReport;

use super::output::{count, tell};
use super::{PluginDirArgs, ReadArgs};
use crate::config::PluginsSettings;
use crate::exit::{Exit, Failure};
use crate::logging::Logging;
use crate::wiring::{Registry, Surroundings};

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

/// Reads inputs. Who names a list on the command line vouches for it: private addresses are allowed.
pub(super) async fn read(
    inputs: &[Input],
    read: &ReadArgs,
    plugins: &PluginDirArgs,
    logging: Option<&Logging>,
) -> Result<Found, Failure> {
    let settings = PluginsSettings { directory: plugins.plugins.clone(), ..PluginsSettings::default() };
    let registry = Registry::load(&settings, Surroundings::default())?;
    let sources = inputs.iter().map(|input| source(input, read, &registry)).collect::<Result<Vec<_>, _>>()?;
    let gatherer = registry.gatherer(true);
    let spinner = spinner(logging);
    let gathered: Gathered = gatherer
        .gather(&sources, &|progress| match progress {
            Progress::Started { name, .. } => spinner.set_message(format!("reading {name}")),
            Progress::Read { bytes, .. } => spinner.set_position(bytes),
            Progress::Finished { .. } => {}
        })
        .await;
    spinner.finish_and_clear();
    Ok(Found {
        candidates: gathered.candidates.into_iter().collect(),
        sources: gathered.sources,
        duplicates: gathered.duplicates,
    })
}

fn source(input: &Input, read: &ReadArgs, registry: &Registry) -> Result<Source, Failure> {
    let location = match input {
        Input::Named(text) => text.parse::<Location>().map_err(|error| Failure::new(Exit::Usage, error))?,
        Input::Inline(text) => Location::Inline(Secret::new(text.as_str())),
    };
    if let Some(name) = &read.parser {
        registry.parser(name)?;
    }
    Ok(Source { parser: read.parser.clone(), default_scheme: read.scheme, trust: true, ..Source::new(location) })
}

fn spinner(logging: Option<&Logging>) -> ProgressBar {
    if !logging.is_some_and(|logging| logging.is_watched) {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bytes}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    spinner
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
        "{} ({parser}): {entries}, {} well formed, {} rejected",
        source.name, source.candidates, source.rejected
    ));
    tell_rejections(source);
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
    for rejection in source.rejections.iter().take(EXAMPLES) {
        tell(&format!("  {rejection}"));
    }
}
