//! `proxywhirl sources test`.

use clap::Args;
use proxywhirl_engine::source::drift::Drift;

use super::command::ConfigArgs;
use super::{read_sources, tell_source};
use crate::cli::PluginDirArgs;
use crate::cli::config::configured;
use crate::cli::output::{print, tell};
use crate::config::{CacheAt, SourceSettings, catalogue};
use crate::exit::{Exit, Failure};
use crate::logging::Logging;
use crate::wiring::source;

/// Arguments of `sources test`.
#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// A source of the configuration file or of the catalogue, a URL, or a file
    #[arg(value_name = "NAME|URL|FILE")]
    source: String,
    /// Whether a browser makes the list; what the source says if not given
    #[arg(long, value_name = "static|javascript|auto")]
    render: Option<String>,
    /// A CSS selector: a rendered page is ready when an element matches
    #[arg(long, value_name = "SELECTOR")]
    wait_for: Option<String>,
    /// Print the report as JSON, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    plugins: PluginDirArgs,
}

/// Carries out `sources test`: as if it were fetched for the first time.
pub(super) async fn run(args: TestArgs, logging: &Logging) -> Result<Exit, Failure> {
    let mut settings = configured(args.config.path())?;
    settings.fetch.cache = CacheAt::Off;
    settings.fetch.drift = Drift::Off;
    let mut meant = meant(&args.source, &settings.sources)?;
    if let Some(render) = &args.render {
        meant.render = render.parse().map_err(|error: String| Failure::new(Exit::Usage, error))?;
    }
    meant.wait_for = args.wait_for.or(meant.wait_for);
    let found = read_sources(&[source(&meant)?], &settings, &args.plugins, Some(logging)).await?;
    if args.json {
        print(&found.report()?)?;
    } else {
        found.sources.iter().for_each(tell_source);
    }
    if let Some(failure) = found.failure() {
        return if args.json { Ok(failure.exit) } else { Ok(told(&failure)) };
    }
    if !args.json {
        for candidate in found.candidates.iter().take(super::EXAMPLES) {
            print(&candidate.endpoint.to_string())?;
        }
        let more = found.candidates.len().saturating_sub(super::EXAMPLES);
        if more > 0 {
            tell(&format!("and {more} more"));
        }
    }
    Ok(if found.candidates.is_empty() { Exit::NoResult } else { Exit::Done })
}

/// Its error has been told with the source.
const fn told(failure: &Failure) -> Exit {
    failure.exit
}

/// The source of this name, or the one that the text itself is.
fn meant(named: &str, own: &[SourceSettings]) -> Result<SourceSettings, Failure> {
    if let Some(source) = own.iter().find(|source| source.name == named) {
        return Ok(source.clone());
    }
    if let Some(row) = catalogue::rows().iter().find(|row| row.name == named) {
        return row.settings().map_err(|error| Failure::new(Exit::Environment, error));
    }
    Ok(SourceSettings { trust: true, ..SourceSettings::at(named) })
}
