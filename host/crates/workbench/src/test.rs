//! Runs the files that an author has written beside a plugin.

use std::path::{Path, PathBuf};

use proxywhirl_core::plugin::PluginKind;

use crate::check::empty;
use crate::report::{Answer, Report};
use crate::subject::{Subject, WorkbenchError, Workplace};
use crate::{fixture, recorded, scenario};

/// How tests are run.
#[derive(Debug, Clone, Default)]
pub struct TestRequest {
    /// The component, if it is not the one in the project's `dist`.
    pub component: Option<PathBuf>,
    /// Write what parsers answer as what is expected.
    pub bless: bool,
    /// Only files whose name contains this.
    pub filter: Option<String>,
}

impl TestRequest {
    fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }
}

/// The projects at a path: the folder itself if it has a `tests` folder with tests, else those up to two levels below
/// it that have: a folder of plugins, or a workspace with a folder for each kind.
///
/// # Errors
/// When there is none, or a folder cannot be read.
pub fn projects(path: &Path) -> Result<Vec<PathBuf>, WorkbenchError> {
    if has_tests(path)? {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for folder in folders(path)? {
        if has_tests(&folder)? {
            found.push(folder);
            continue;
        }
        for below in folders(&folder)? {
            if has_tests(&below)? {
                found.push(below);
            }
        }
    }
    if found.is_empty() { Err(WorkbenchError::NoTests(path.to_owned())) } else { Ok(found) }
}

fn has_tests(folder: &Path) -> Result<bool, WorkbenchError> {
    let files = fixture::files(&folder.join("tests"))?;
    let is_test = |name: &str| name.ends_with(".toml") || name.contains(".input.");
    Ok(files.iter().filter_map(|file| file.file_name()?.to_str()).any(is_test))
}

/// The folders in a folder that may hold projects, in alphabetical order.
fn folders(path: &Path) -> Result<Vec<PathBuf>, WorkbenchError> {
    let entries = std::fs::read_dir(path).map_err(|error| WorkbenchError::read(path, error))?;
    let mut folders: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.retain(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.') && !matches!(&*name, "target" | "dist" | "node_modules" | "tests")
    });
    folders.sort();
    Ok(folders)
}

/// Runs the tests of a project: scenarios of a strategy, fixtures of a parser, recorded events of a hook.
///
/// # Errors
/// When there is no component or no test, or a file cannot be read or written. A test that fails is in the report.
pub fn test(project: &Path, place: &Workplace, request: &TestRequest) -> Result<Report, WorkbenchError> {
    let subject = Subject::open(request.component.as_deref().unwrap_or(project))?;
    let (place, _scratch) = place.patient().with_cache()?;
    let loaded = subject.load(&place, 0)?;
    let mut report = empty(&loaded);
    if loaded.kind == PluginKind::Parser {
        for case in fixture::cases(project)?.iter().filter(|case| request.wants(&case.name)) {
            let answer = case.run(&loaded, request.bless)?;
            report.add(&case.name, "", answer);
        }
    } else {
        for file in fixture::files(&project.join("tests"))? {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if file.extension().is_some_and(|extension| extension == "toml") && request.wants(&name) {
                let answer = run(&subject, &place, loaded.kind, &file)?;
                report.add(&name, "", answer);
            }
        }
    }
    if report.lines.is_empty() { Err(WorkbenchError::NoTests(project.to_owned())) } else { Ok(report) }
}

fn run(subject: &Subject, place: &Workplace, kind: PluginKind, file: &Path) -> Result<Answer, WorkbenchError> {
    let text = String::from_utf8_lossy(&fixture::read(file)?).into_owned();
    match kind {
        PluginKind::Strategy => scenario::run(subject, place, &text),
        PluginKind::Hook => recorded::run(subject, place, file, &text),
        PluginKind::Parser => Ok(Ok(String::new())),
    }
}
