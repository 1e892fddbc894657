//! `proxywhirl sources list`.

use std::collections::BTreeSet;

use clap::Args;
use proxywhirl_engine::source::Location;
use serde::Serialize;

use super::command::ConfigArgs;
use crate::cli::config::configured;
use crate::cli::output::{print, table, tell, to_json};
use crate::config::{SourceSettings, catalogue};
use crate::exit::{Exit, Failure};

/// Arguments of `sources list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Show the catalogue too, with what is off
    #[arg(long)]
    all: bool,
    /// Print a JSON array with an object a source, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// A source as it is printed. The fields are part of the interface.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    location: String,
    origin: &'static str,
    on: bool,
    parser: Option<String>,
    scheme: Option<&'static str>,
    render: &'static str,
    interval: Option<String>,
    trust: bool,
    weight: Option<f64>,
    tags: Vec<String>,
    licence: Option<String>,
}

/// Carries out `sources list`.
pub(super) fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let settings = configured(args.config.path())?;
    let mut lines: Vec<Line> = settings.sources.iter().map(|source| line(source, true)).collect();
    if args.all {
        let on: BTreeSet<String> = lines.iter().map(|line| line.name.clone()).collect();
        let off = catalogue::rows().iter().filter(|row| !on.contains(&row.name));
        for row in off {
            let settings = row.settings().map_err(|error| Failure::new(Exit::Environment, error))?;
            lines.push(line(&settings, false));
        }
    }
    if args.json {
        print(&to_json(&lines)?)?;
    } else if !lines.is_empty() {
        let header = ["NAME", "ON", "FROM", "PARSER", "SCHEME", "RENDER", "EVERY", "TAGS", "LOCATION"];
        print(&table(&header, lines.iter().map(cells).collect()))?;
    } else {
        tell(
            "no source is on\n\nhint: `proxywhirl sources list --all` shows the catalogue, `sources add` turns one on",
        );
    }
    Ok(if lines.is_empty() { Exit::NoResult } else { Exit::Done })
}

fn line(source: &SourceSettings, on: bool) -> Line {
    // One's own source may have the name of a row of the catalogue.
    let row = catalogue::rows().iter().find(|row| row.name == source.name && row.url == source.location);
    // Without credentials. What is none is said by whoever reads it.
    let location = source.location.parse::<Location>().map_or_else(|_| "?".to_owned(), |place| place.to_string());
    Line {
        name: source.name.clone(),
        location,
        origin: if row.is_some() { "catalogue" } else { "own" },
        on,
        parser: source.parser.clone(),
        scheme: source.scheme.map(proxywhirl_core::Scheme::as_str),
        render: source.render.as_str(),
        interval: source.interval.map(|interval| humantime::format_duration(interval).to_string()),
        trust: source.trust,
        weight: source.weight,
        tags: source.tags.iter().map(ToString::to_string).collect(),
        licence: row.map(|row| row.licence.clone()),
    }
}

fn cells(line: &Line) -> Vec<String> {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    vec![
        line.name.clone(),
        if line.on { "on" } else { "off" }.to_owned(),
        line.origin.to_owned(),
        or_dash(line.parser.as_deref()),
        or_dash(line.scheme),
        line.render.to_owned(),
        or_dash(line.interval.as_deref()),
        line.tags.join(" "),
        line.location.clone(),
    ]
}
