//! Plugins in Python: componentize-py brings CPython and its standard library. A virtual environment in
//! the user's cache holds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proxywhirl_core::plugin::PluginKind;

use super::foreign::Job;
use super::tool::{self, first_line, is_debian, on_path};
use super::{BuildError, contract, workshop};

/// The tool's version: what it makes is part of a component.
const VERSION: &str = "0.25.1";

/// How long the package manager may take.
const INSTALL: Duration = Duration::from_secs(15 * 60);

/// How long making a component may take: a minute on a machine that is busy with other things.
const MAKE: Duration = Duration::from_secs(15 * 60);

/// Interpreters that can run the tool, the preferred first.
const INTERPRETERS: [&str; 8] =
    ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python", "py"];

/// The glue: what authors import, and the module that the component exports.
pub(crate) const GLUE: [(&str, &str); 9] = [
    ("common.py", include_str!("python/common.py")),
    ("strategy.py", include_str!("python/strategy.py")),
    ("parser.py", include_str!("python/parser.py")),
    ("hook.py", include_str!("python/hook.py")),
    ("entry.py", include_str!("python/entry.py")),
    ("entry_strategy.py", include_str!("python/entry_strategy.py")),
    ("entry_parser.py", include_str!("python/entry_parser.py")),
    ("entry_hook.py", include_str!("python/entry_hook.py")),
    ("entry_handover.py", include_str!("python/entry_handover.py")),
];

/// The toolchain, in words for people.
pub(crate) fn summary() -> String {
    format!("componentize-py {VERSION}")
}

/// Makes the component.
pub(crate) fn build(job: &Job<'_>, told: &mut dyn FnMut(&str)) -> Result<Vec<u8>, BuildError> {
    if !job.project.join("plugin.py").is_file() {
        let reason = "there is no plugin.py beside it".to_owned();
        return Err(BuildError::Project { path: job.project.join(super::FILE), reason });
    }
    let environment = environment(told)?;
    let at = |source| BuildError::File { path: job.stage.to_owned(), source };
    contract::lay_out(job.file, &job.stage.join("wit")).map_err(at)?;
    let modules = job.stage.join("modules");
    fs::create_dir_all(modules.join("proxywhirl")).map_err(at)?;
    for (path, text) in modules_of(job) {
        fs::write(modules.join(path), text).map_err(at)?;
    }
    let out = job.stage.join("component.wasm");
    let mut command = Command::new(program(&environment, "componentize-py"));
    command.current_dir(job.stage).arg("-d").arg("wit").args(["-w", contract::WORLD]);
    command.args(["componentize", "--stub-wasi", "-p"]).arg(&modules).arg("-p").arg(job.project);
    let vendor = job.project.join("vendor");
    if vendor.is_dir() {
        command.arg("-p").arg(vendor);
    }
    command.arg("-o").arg(&out).arg("proxywhirl_entry");
    // Compiled modules beside the author's files are nobody's wish.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    tool::run(&mut command, "componentize-py", MAKE, &mut |_| {})?;
    fs::read(&out).map_err(|source| BuildError::File { path: out, source })
}

/// The glue of a project: file names and texts.
fn modules_of(job: &Job<'_>) -> Vec<(&'static str, String)> {
    let text = |name: &str| GLUE.iter().find(|(file, _)| *file == name).map_or("", |(_, text)| text);
    let (kind, entry) = match job.file.kind {
        PluginKind::Strategy => ("strategy.py", "entry_strategy.py"),
        PluginKind::Parser => ("parser.py", "entry_parser.py"),
        PluginKind::Hook => ("hook.py", "entry_hook.py"),
    };
    let mut package = format!("{}\n{}", text("common.py"), text(kind));
    for capability in contract_capabilities(job) {
        package.push_str(&format!("\nfrom wit_world.imports import {capability}\n"));
    }
    let mut exports = format!("{}\n{}", text("entry.py"), text(entry));
    if job.file.handover {
        exports.push('\n');
        exports.push_str(text("entry_handover.py"));
    }
    // A text in JSON is one in Python.
    let json = serde_json::json!(serde_json::json!(job.description).to_string());
    let about = format!("import json\n\nDESCRIPTION = json.loads({json})\n");
    vec![("proxywhirl/__init__.py", package), ("proxywhirl_entry.py", exports), ("proxywhirl_about.py", about)]
}

/// The interfaces of the capabilities that the project asks for, each once.
fn contract_capabilities(job: &Job<'_>) -> Vec<&'static str> {
    let wanted = |name: &str| job.file.capabilities.iter().any(|it| it.split(':').next() == Some(name));
    super::project_file::CAPABILITIES.into_iter().filter(|name| wanted(name)).collect()
}

/// The virtual environment with the tool; installed if it is not there.
fn environment(told: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
    let folder = workshop::toolchain(&format!("python-{VERSION}"))?;
    // An environment refers to the interpreter that made it, which an upgrade of the system may remove.
    let sound = |folder: &Path| program(folder, "python").is_file() && program(folder, "componentize-py").is_file();
    workshop::once(&folder, sound, |folder| {
        let python = interpreter()?;
        told(&format!("installing componentize-py {VERSION}, once"));
        let mut venv = Command::new(python);
        venv.args(["-m", "venv", "--clear"]).arg(folder);
        tool::run(&mut venv, "python -m venv", INSTALL, &mut |_| {})?;
        let mut pip = Command::new(program(folder, "python"));
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]);
        pip.arg(format!("componentize-py=={VERSION}"));
        tool::run(&mut pip, "pip install componentize-py", INSTALL, &mut |_| {})
    })?;
    Ok(folder)
}

/// A program of a virtual environment.
fn program(environment: &Path, name: &str) -> PathBuf {
    let folder = if cfg!(windows) { "Scripts" } else { "bin" };
    environment.join(folder).join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// An interpreter that is new enough and can make virtual environments.
fn interpreter() -> Result<PathBuf, BuildError> {
    let mut reason = "there is no Python 3.10 or later";
    for path in INTERPRETERS.into_iter().filter_map(on_path) {
        let ask = |code: &str| first_line(Command::new(&path).args(["-c", code]));
        if ask("import sys; print(sys.version_info >= (3, 10))").as_deref() != Some("True") {
            continue;
        }
        if ask("import ensurepip, venv; print(1)").is_some() {
            return Ok(path);
        }
        reason = "Python is here, but its modules venv and ensurepip are not";
    }
    let hint = if is_debian() {
        "apt-get install python3 python3-venv".to_owned()
    } else {
        "install Python 3.10 or later with its module venv".to_owned()
    };
    Err(BuildError::Toolchain { language: "Python", reason: reason.to_owned(), hint })
}
