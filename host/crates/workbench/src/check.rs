//! Conformance: what the host relies on, asked of any component.

mod about;
mod hook;
mod memory;
mod mutate;
mod parser;
pub(crate) mod samples;
mod strategy;

use std::time::Duration;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_wasm::KindLimits;

use crate::report::{Line, Report, Status};
use crate::subject::{Loaded, Subject, WorkbenchError, Workplace};

/// What the randomness of all checks derives from: they find the same in every run.
const SEED: u64 = 20;

/// How thorough a check is.
#[derive(Debug, Clone, Copy)]
pub struct Thoroughness {
    /// Calls after which an instance must not have grown.
    pub calls: u64,
    /// Time after which that is cut short.
    pub patience: Duration,
    /// Mutations of documents that a parser must survive.
    pub mutations: u32,
    /// Members of a large pool.
    pub members: u32,
}

impl Default for Thoroughness {
    fn default() -> Self {
        Self { calls: 1_000_000, patience: Duration::from_secs(120), mutations: 3_000, members: 100_000 }
    }
}

/// Asks of a component what the host relies on. Whatever is wrong with it is in the report.
///
/// # Errors
/// When the machine cannot run WebAssembly, or a folder cannot be used. Not when the component is no plugin.
pub fn check(subject: &Subject, place: &Workplace, thoroughness: &Thoroughness) -> Result<Report, WorkbenchError> {
    const WHY: &str = "the host leaves out a file that it cannot use";
    let limits = place.limits;
    let (place, _scratch) = place.patient().with_cache()?;
    let loaded = match subject.load(&place, SEED) {
        Ok(loaded) => loaded,
        Err(WorkbenchError::Unfit(problem)) => {
            let mut report =
                Report { plugin: subject.stem().to_owned(), version: String::new(), kind: "", lines: Vec::new() };
            report.add("loads", WHY, Err(format!("{}\nhint: {}", problem.reason, problem.hint)));
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let mut report = empty(&loaded);
    let size = format!("{} of {} bytes, imports {}", loaded.kind, loaded.info.size, imports(&loaded));
    report.add("loads", WHY, Ok(size));
    about::check(&loaded, &mut report);
    let Some(options) = about::options(&loaded, &mut report) else {
        let line = Line {
            name: "everything else".to_owned(),
            status: Status::Skipped,
            detail: "no options are known with which it runs".to_owned(),
            why: "",
        };
        report.lines.push(line);
        return Ok(report);
    };
    let examined = Examined { subject, place: &place, limits, loaded: &loaded, options: &options, thoroughness };
    match loaded.kind {
        PluginKind::Strategy => strategy::check(&examined, &mut report)?,
        PluginKind::Parser => parser::check(&examined, &mut report)?,
        PluginKind::Hook => hook::check(&examined, &mut report)?,
    }
    Ok(report)
}

/// What is examined, and with what.
struct Examined<'a> {
    subject: &'a Subject,
    /// What it runs with: with more time than in production.
    place: &'a Workplace,
    /// What it would have in production.
    limits: KindLimits,
    loaded: &'a Loaded,
    /// Options with which it starts.
    options: &'a str,
    thoroughness: &'a Thoroughness,
}

impl Examined<'_> {
    /// The component in another plugin host, whose random numbers are the same.
    fn again(&self) -> Result<Loaded, WorkbenchError> {
        self.subject.load(self.place, SEED)
    }
}

/// A report without a line.
pub(crate) fn empty(loaded: &Loaded) -> Report {
    Report {
        plugin: loaded.info.name.clone(),
        version: loaded.info.version.clone(),
        kind: loaded.kind.as_str(),
        lines: Vec::new(),
    }
}

fn imports(loaded: &Loaded) -> String {
    let ours = loaded.info.imports.iter().filter_map(|name| name.strip_prefix("proxywhirl:plugin/"));
    let mut names: Vec<&str> = ours.filter_map(|name| name.split('@').next()).filter(|name| *name != "types").collect();
    if loaded.info.imports.iter().any(|name| name.starts_with("wasi:")) {
        names.push("WASI");
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}
