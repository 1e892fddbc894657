//! `proxywhirl fetch`: reads proxy lists and prints the proxies in them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use proxywhirl_core::Level;
use proxywhirl_engine::source::Source;

use super::checking::{self, Checked};
use super::config::configured;
use super::output::{Format, Row, RowWriter, tell};
use super::sources::{self, Input};
use super::{CheckingArgs, LevelArg, PluginDirArgs, ReadArgs, UpstreamArgs};
use crate::config::{CacheAt, Settings, catalogue};
use crate::exit::{Exit, Failure};
use crate::logging::Logging;
use crate::wiring::source;

/// Arguments of `fetch`.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// Lists: files, URLs, or - for standard input
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Lists of the catalogue: a name, tag:TAG, or all; see `proxywhirl sources list --all`; may be given several times
    #[arg(long, value_name = "NAME|tag:TAG|all")]
    catalogue: Vec<String>,
    /// Whether a browser makes the lists of these URLs
    #[arg(long, value_name = "static|javascript|auto", default_value = "static")]
    render: String,
    /// A CSS selector: a rendered page is ready when an element matches
    #[arg(long, value_name = "SELECTOR")]
    wait_for: Option<String>,
    /// What follows when a list is not as usual: off, warn, or keep its last good one
    #[arg(long, value_name = "off|warn|keep", default_value = "warn")]
    drift: String,
    /// Fetch lists again that have not changed
    #[arg(long)]
    no_cache: bool,
    /// The configuration file, for [fetch] and [browser]
    #[arg(long, value_name = "FILE", env = "PROXYWHIRL_CONFIG")]
    config: Option<PathBuf>,
    /// Where to write what came of each source, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print only the proxies that pass this check
    #[arg(long, value_enum, default_value = "none")]
    check: FetchLevel,
    /// Where to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How to write
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    checking: CheckingArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    plugins: PluginDirArgs,
}

/// How far `fetch` checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FetchLevel {
    /// Not at all
    None,
    /// It is written as a proxy is written
    Format,
    /// Something accepts connections there
    Tcp,
    /// A request through it reaches the judge, and the judge's own answer comes back
    Http,
}

impl FetchLevel {
    fn level(self) -> Option<Level> {
        match self {
            Self::None => None,
            Self::Format => Some(LevelArg::Format.into()),
            Self::Tcp => Some(LevelArg::Tcp.into()),
            Self::Http => Some(LevelArg::Http.into()),
        }
    }
}

impl FetchArgs {
    /// The sources, and how they are read.
    fn meaning(&self) -> Result<(Vec<Source>, Settings), Failure> {
        let wrong = |reason: String| Failure::new(Exit::Usage, reason);
        if self.sources.is_empty() && self.catalogue.is_empty() {
            return Err(wrong("which lists?".to_owned())
                .hint("name them, SOURCE, or those that are known with --catalogue NAME"));
        }
        let mut settings = configured(self.config.as_deref())?;
        settings.fetch.drift = self.drift.parse().map_err(wrong)?;
        if self.no_cache {
            settings.fetch.cache = CacheAt::Off;
        }
        let render = self.render.parse().map_err(wrong)?;
        let named = self.sources.iter().map(|text| {
            let source = sources::source(&Input::Named(text.clone()), &self.read)?;
            Ok(Source { render, wait_for: self.wait_for.clone(), ..source })
        });
        let rows = catalogue::chosen(&self.catalogue)
            .map_err(|error| wrong(error).hint("`proxywhirl sources list --all` shows the catalogue"))?;
        let known = rows.into_iter().map(|row| source(&row.settings().map_err(wrong)?));
        let all = named.chain(known).collect::<Result<_, Failure>>()?;
        Ok((all, settings))
    }
}

/// Carries out `fetch`.
pub(super) async fn run(args: FetchArgs, logging: &Logging) -> Result<Exit, Failure> {
    args.checking.suit(args.check.level())?;
    let (sources, settings) = args.meaning()?;
    let found = sources::read_sources(&sources, &settings, &args.plugins, Some(logging)).await?;
    if let Some(file) = &args.report {
        let report = found.report()? + "\n";
        std::fs::write(file, report)
            .map_err(|error| Failure::new(Exit::Environment, format!("writing {}: {error}", file.display())))?;
    }
    if let Some(failure) = found.failure() {
        return Err(failure);
    }
    let mut writer = RowWriter::open(&args.output, args.format)?;
    let Some(level) = args.check.level() else {
        for candidate in &found.candidates {
            writer.row(&Row::new(candidate, None))?;
        }
        let rows = writer.finish()?;
        found.tell();
        return Ok(if rows == 0 { Exit::NoResult } else { Exit::Done });
    };
    found.tell();
    let plan = checking::Plan::new(&args.checking, &args.upstream, level, &found.candidates).await?;
    let mut dead = 0_usize;
    plan.run(found.candidates, logging, |Checked { candidate, verdict, .. }| {
        if verdict.is_alive() {
            return writer.row(&Row::new(candidate, Some(verdict)));
        }
        dead += 1;
        Ok(())
    })
    .await?;
    let rows = writer.finish()?;
    tell(&format!("{rows} passed the check {level}, {dead} did not"));
    Ok(if rows == 0 { Exit::NoResult } else { Exit::Done })
}
