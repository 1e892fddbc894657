//! `proxywhirl plugin list`.

use clap::Args;
use serde::Serialize;

use super::chosen::ChosenArgs;
use crate::cli::output::{print, table, tell, to_json};
use crate::exit::{Exit, Failure};
use crate::wiring::{Known, Registry, Surroundings};

/// Arguments of `plugin list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    chosen: ChosenArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// A plugin as it is printed. The fields are part of the interface.
#[derive(Debug, Serialize)]
struct PluginRow {
    name: String,
    version: String,
    kind: Option<&'static str>,
    summary: String,
    origin: String,
    overrides_bundled: bool,
    sha256: String,
    /// SHA-256 of the sources that it was built from; empty when it does not say.
    sources: String,
    bytes: usize,
    imports: Vec<String>,
    /// The capabilities that it asks for.
    capabilities: Vec<String>,
    /// How it stands to plugins.lock: `locked`, `changed`, `not-locked`, `refused`, or `bundled`.
    lock: &'static str,
    options_schema: Option<serde_json::Value>,
    problem: Option<String>,
    hint: Option<String>,
}

impl From<Known> for PluginRow {
    fn from(known: Known) -> Self {
        let lock = known.lock();
        let info = known.info;
        let (problem, hint) = info.problem.map(|problem| (problem.reason, problem.hint)).unzip();
        Self {
            name: info.name,
            version: info.version,
            kind: info.kind.map(proxywhirl_core::plugin::PluginKind::as_str),
            summary: info.summary,
            origin: info.origin.to_string(),
            overrides_bundled: info.overrides,
            sha256: info.digest,
            sources: info.sources,
            bytes: info.size,
            imports: info.imports,
            capabilities: info.capabilities,
            lock,
            options_schema: serde_json::from_str(&info.options_schema).ok(),
            problem,
            hint,
        }
    }
}

impl PluginRow {
    fn cells(&self) -> Vec<String> {
        let about = match (&self.problem, self.overrides_bundled) {
            (Some(problem), _) => format!("NOT USABLE: {problem}"),
            (None, true) => format!("{} (replaces the bundled one)", self.summary),
            (None, false) => self.summary.clone(),
        };
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        vec![
            self.name.clone(),
            self.kind.unwrap_or("-").to_owned(),
            or_dash(&self.version),
            self.origin.clone(),
            self.lock.to_owned(),
            about,
        ]
    }
}

/// Carries out `plugin list`.
pub(super) fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let registry = Registry::load(&args.chosen.settings()?, Surroundings::default())?;
    let rows: Vec<PluginRow> = registry.list().into_iter().map(PluginRow::from).collect();
    if args.json {
        print(&to_json(&rows)?)?;
    } else {
        let header = ["NAME", "KIND", "VERSION", "FROM", "LOCK", "WHAT IT DOES"];
        print(&table(&header, rows.iter().map(PluginRow::cells).collect()))?;
    }
    let broken = rows.iter().filter(|row| row.problem.is_some()).count();
    if broken > 0 {
        tell(&format!("{broken} cannot be used"));
    }
    Ok(if broken > 0 { Exit::Input } else { Exit::Done })
}
