//! `proxywhirl sources list`.

use std::collections::{BTreeSet, HashMap};

use clap::Args;
use proxywhirl_engine::WorkStatus;
use proxywhirl_engine::source::Location;
use serde::Serialize;

use super::command::ConfigArgs;
use crate::cli::ControlArgs;
use crate::cli::config::configured;
use crate::cli::output::{print, table, tell, to_json};
use crate::config::{SourceSettings, catalogue};
use crate::control::api::Status;
use crate::exit::{Exit, Failure};
use crate::wiring::work;

/// Where the column stands that says who reads a source: before what may be long.
const READER: usize = 7;

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
    #[command(flatten)]
    control: ControlArgs,
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
    /// Why its location is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The gateway that reads it for all that share a pool, as one that runs here says.
    reader: Option<String>,
}

/// Carries out `sources list`.
pub(super) async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let settings = configured(args.config.path())?;
    let mut lines: Vec<Line> = settings.sources.iter().map(|source| line(source, true)).collect();
    let readers = readers(args).await?;
    for (line, source) in lines.iter_mut().zip(&settings.sources) {
        line.reader = work(source).and_then(|work| readers.get(&*work)).cloned();
    }
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
        let mut header = vec!["NAME", "ON", "FROM", "PARSER", "SCHEME", "RENDER", "EVERY", "TAGS", "LOCATION"];
        let mut rows: Vec<Vec<String>> = lines.iter().map(cells).collect();
        if lines.iter().any(|line| line.reader.is_some()) {
            header.insert(READER, "READ BY");
            for (row, line) in rows.iter_mut().zip(&lines) {
                row.insert(READER, line.reader.clone().unwrap_or_else(|| "-".to_owned()));
            }
        }
        print(&table(&header, rows))?;
    } else {
        tell(
            "no source is on\n\nhint: `proxywhirl sources list --all` shows the catalogue, `sources add` turns one on",
        );
    }
    Ok(if lines.is_empty() { Exit::NoResult } else { Exit::Done })
}

/// Who reads which source for all that share a pool, as the gateway says that runs here; nobody when none runs, or several do of
/// which none is named, or nothing is shared.
async fn readers(args: &ListArgs) -> Result<HashMap<String, String>, Failure> {
    let found = match args.control.find(args.config.path()).await {
        Err(_) if args.control.control.is_none() => None,
        found => found?,
    };
    let Some(client) = found else { return Ok(HashMap::new()) };
    let status: Status = client.get("/v1/status").await?;
    let Some(work) = status.sharing.and_then(|sharing| sharing.work) else { return Ok(HashMap::new()) };
    let WorkStatus { node, is_alone, sources, .. } = work;
    let reader = |reader: Option<String>| if is_alone { Some(node.clone()) } else { reader };
    Ok(sources.into_iter().filter_map(|(name, reads)| Some((name, reader(reads)?))).collect())
}

fn line(source: &SourceSettings, on: bool) -> Line {
    // One's own source may have the name of a row of the catalogue.
    let row = catalogue::rows().iter().find(|row| row.name == source.name && row.url == source.location);
    // Without credentials.
    let (location, error) = match source.location.parse::<Location>() {
        Ok(location) => (location.to_string(), None),
        Err(error) => ("?".to_owned(), Some(error.to_string())),
    };
    Line {
        name: source.name.clone(),
        location,
        error,
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
        reader: None,
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
        line.error.as_ref().map_or_else(|| line.location.clone(), |error| format!("? {error}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_that_is_none_is_told_with_its_source() {
        let bad = line(&SourceSettings::at("ftp://u:hunter2@lists.example/a"), true);
        let told = cells(&bad).join(" ");
        assert!(told.contains("nothing fetches ftp://") && bad.location == "?", "{told}");
        assert!(!bad.error.unwrap_or_default().contains("hunter2"));
        assert_eq!(line(&SourceSettings::at("https://lists.example/a"), true).error, None);
    }
}
