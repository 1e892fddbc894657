//! The plugins of a directory and of the binary, each started in the sandbox, and the places where they are kept.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::cli::output::{count, print, table, tell, to_json};
use crate::cli::plugin::trial;
use crate::cli::progress;
use crate::config::PluginsSettings;
use crate::exit::{Exit, Failure};
use crate::lock::{Lock, Standing};
use crate::logging::Logging;
use crate::wiring::{Known, Registry, Surroundings, cache_directory};

/// What was found out. The fields are part of the interface.
#[derive(Debug, Serialize)]
struct Report {
    plugins: Vec<Tried>,
    findings: Vec<Finding>,
}

/// A plugin that was started, or why not.
#[derive(Debug, Serialize)]
struct Tried {
    name: String,
    kind: Option<&'static str>,
    version: String,
    origin: String,
    lock: &'static str,
    started_ms: Option<u64>,
    problem: Option<String>,
    hint: Option<String>,
}

/// Something about the places where plugins are kept.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What it is about.
    about: String,
    /// What is the matter.
    finding: String,
    /// Whether somebody has to see to it.
    is_bad: bool,
}

/// Prints what is found out.
pub(super) fn run(settings: &PluginsSettings, json: bool, logging: &Logging) -> Result<Exit, Failure> {
    let mut findings = Vec::new();
    if let Some(directory) = &settings.directory {
        findings.extend(directory_finding("plugins directory", directory));
    }
    if let Some(cache) = settings.cache.clone().or_else(cache_directory).filter(|cache| cache.exists()) {
        findings.extend(directory_finding("cache", &cache));
    }
    let registry = Registry::load(settings, Surroundings::default())?;
    let known = registry.list();
    findings.extend(lock_findings(settings, &known));
    let plugins = try_all(&registry, known, logging);
    let report = Report { plugins, findings };
    if json {
        print(&to_json(&report)?)?;
    } else {
        let header = ["NAME", "KIND", "VERSION", "FROM", "LOCK", "STARTS"];
        print(&table(&header, report.plugins.iter().map(Tried::cells).collect()))?;
        for finding in &report.findings {
            let word = if finding.is_bad { "warning: " } else { "" };
            tell(&format!("{word}{}: {}", finding.about, finding.finding));
        }
        report.plugins.iter().filter_map(Tried::complaint).for_each(|complaint| tell(&complaint));
    }
    let broken = report.plugins.iter().filter(|tried| tried.problem.is_some()).count();
    let bad = report.findings.iter().filter(|finding| finding.is_bad).count();
    if broken > 0 {
        tell(&format!("{} not be used", count(broken, "plugin can", "plugins can")));
    }
    Ok(if broken + bad > 0 { Exit::Input } else { Exit::Done })
}

/// Compiles all of them at once, then starts one after the other.
fn try_all(registry: &Registry, known: Vec<Known>, logging: &Logging) -> Vec<Tried> {
    let bar = progress::bar(logging, known.len() as u64, "compiling");
    // What cannot be compiled cannot be started either, which is told below.
    drop(registry.plugins().compile_all(&|compiled| {
        bar.set_length(compiled.total as u64);
        bar.set_position(compiled.done as u64);
    }));
    bar.finish_and_clear();
    known.into_iter().map(|known| Tried::of(registry, known)).collect()
}

impl Tried {
    fn of(registry: &Registry, known: Known) -> Self {
        let lock = known.lock();
        let started = trial::start(registry, &known.info);
        let milliseconds = |took: &Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let started_ms = started.as_ref().ok().map(milliseconds);
        let (problem, hint) = started.err().map(|failure| (failure.message, failure.hint)).unzip();
        let info = known.info;
        Self {
            name: info.name,
            kind: info.kind.map(proxywhirl_core::plugin::PluginKind::as_str),
            version: info.version,
            origin: info.origin.to_string(),
            lock,
            started_ms,
            problem,
            hint: hint.flatten(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let starts = self.started_ms.map_or_else(|| "NO".to_owned(), |took| format!("in {took} ms"));
        let kind = self.kind.unwrap_or("-").to_owned();
        vec![self.name.clone(), kind, or_dash(&self.version), self.origin.clone(), self.lock.to_owned(), starts]
    }

    fn complaint(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        let hint = self.hint.as_ref().map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
        Some(format!("error: {problem}{hint}"))
    }
}

/// Whether others can put something into a directory, or take it away.
fn directory_finding(about: &str, directory: &Path) -> Option<Finding> {
    let about = format!("{about} {}", directory.display());
    let bad = |finding: String| Some(Finding { about: about.clone(), finding, is_bad: true });
    let metadata = match fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) => return bad(format!("cannot be looked at: {error}")),
    };
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own && metadata.uid() != 0 {
        return bad(format!("it belongs to user {}, who can replace every plugin", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return bad(format!("others can write into it (mode {:04o}): run chmod go-w on it", metadata.mode() & 0o7777));
    }
    None
}

fn lock_findings(settings: &PluginsSettings, known: &[Known]) -> Vec<Finding> {
    let Some(directory) = &settings.directory else { return Vec::new() };
    let about = Lock::path(directory).display().to_string();
    let finding = |finding: String| Finding { about: about.clone(), finding, is_bad: false };
    let of = |wanted: &Standing| -> Vec<&str> {
        let those = known.iter().filter(|known| known.standing.as_ref() == Some(wanted));
        those.map(|known| known.info.name.as_str()).collect()
    };
    let mut findings = Vec::new();
    let changed = of(&Standing::Changed);
    if !changed.is_empty() {
        findings.push(finding(format!(
            "other builds than those that were accepted, asking for no more: {}",
            changed.join(", ")
        )));
    }
    let unlocked = of(&Standing::NotLocked);
    if !unlocked.is_empty() {
        findings.push(finding(format!(
            "not locked: {}; `proxywhirl plugin lock` accepts them as they are",
            unlocked.join(", ")
        )));
    }
    if let Ok(lock) = Lock::read(directory) {
        let gone: Vec<_> = lock.names().filter(|name| known.iter().all(|known| known.info.name != *name)).collect();
        if !gone.is_empty() {
            findings.push(finding(format!("accepted, but not there: {}", gone.join(", "))));
        }
    }
    findings
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_others_can_write_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(directory_finding("cache", folder.path()), None);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let finding = directory_finding("cache", folder.path()).unwrap();
        assert!(finding.is_bad && finding.finding.contains("mode 0777"), "{finding:?}");
        assert!(
            directory_finding("cache", Path::new("/nowhere/at/all")).unwrap().finding.contains("cannot be looked at")
        );
    }
}
