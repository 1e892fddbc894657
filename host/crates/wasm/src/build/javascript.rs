//! Plugins in JavaScript: componentize-qjs brings `QuickJS`. A folder in the user's cache holds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use proxywhirl_core::plugin::PluginKind;

use super::foreign::Job;
use super::tool::{self, first_line, is_debian, on_path};
use super::{BuildError, contract, workshop};

/// The tool's version: what it makes is part of a component.
const VERSION: &str = "0.4.5";

/// How long the package manager may take.
const INSTALL: Duration = Duration::from_secs(15 * 60);

/// How long making a component may take: seconds, on a machine that is not busy.
const MAKE: Duration = Duration::from_secs(5 * 60);

/// Files of the author's that are copied, his packages included.
const MAX_FILES: usize = 10_000;

/// The glue: what authors import, and the module that the component exports.
pub(crate) const GLUE: [(&str, &str); 9] = [
    ("common.js", include_str!("javascript/common.js")),
    ("strategy.js", include_str!("javascript/strategy.js")),
    ("parser.js", include_str!("javascript/parser.js")),
    ("hook.js", include_str!("javascript/hook.js")),
    ("entry.js", include_str!("javascript/entry.js")),
    ("entry_strategy.js", include_str!("javascript/entry_strategy.js")),
    ("entry_parser.js", include_str!("javascript/entry_parser.js")),
    ("entry_hook.js", include_str!("javascript/entry_hook.js")),
    ("entry_handover.js", include_str!("javascript/entry_handover.js")),
];

/// What makes a folder the package `proxywhirl`.
const PACKAGE: &str = r#"{"name":"proxywhirl","version":"0.0.0","type":"module","main":"index.js"}"#;

/// The toolchain, in words for people.
pub(crate) fn summary() -> String {
    format!("componentize-qjs {VERSION}")
}

/// Makes the component.
pub(crate) fn build(job: &Job<'_>, told: &mut dyn FnMut(&str)) -> Result<Vec<u8>, BuildError> {
    if !job.project.join("plugin.js").is_file() {
        let reason = "there is no plugin.js beside it".to_owned();
        return Err(BuildError::Project { path: job.project.join(super::FILE), reason });
    }
    let (node, tool) = toolchain(told)?;
    let at = |source| BuildError::File { path: job.stage.to_owned(), source };
    contract::lay_out(job.file, &job.stage.join("wit")).map_err(at)?;
    // The author's files come first, so that none of theirs takes the place of the glue.
    let modules = job.stage.join("modules");
    copy(job.project, &modules, &mut 0).map_err(at)?;
    fs::create_dir_all(modules.join("node_modules/proxywhirl")).map_err(at)?;
    for (path, text) in modules_of(job) {
        fs::write(modules.join(path), text).map_err(at)?;
    }
    let out = job.stage.join("component.wasm");
    let mut command = Command::new(node);
    command.current_dir(job.stage).arg(tool).arg("--wit").arg("wit").args(["--world", contract::WORLD]);
    command.arg("--js").arg(modules.join("proxywhirl_entry.js")).arg("--module-root").arg(&modules);
    command.args(["--sync", "--stub-wasi", "--output"]).arg(&out);
    tool::run(&mut command, "componentize-qjs", MAKE, &mut |_| {})?;
    fs::read(&out).map_err(|source| BuildError::File { path: out, source })
}

/// The glue of a project: file names and texts.
fn modules_of(job: &Job<'_>) -> Vec<(&'static str, String)> {
    let text = |name: &str| GLUE.iter().find(|(file, _)| *file == name).map_or("", |(_, text)| text);
    let (kind, entry) = match job.file.kind {
        PluginKind::Strategy => ("strategy.js", "entry_strategy.js"),
        PluginKind::Parser => ("parser.js", "entry_parser.js"),
        PluginKind::Hook => ("hook.js", "entry_hook.js"),
    };
    let mut package = format!("{}\n{}", text("common.js"), text(kind));
    for capability in super::project_file::CAPABILITIES {
        if job.file.capabilities.iter().any(|it| it.split(':').next() == Some(capability)) {
            let version = crate::inspect::CONTRACT;
            package.push_str(&format!(
                "\nexport {{ default as {capability} }} from \"proxywhirl:plugin/{capability}@{version}\";\n"
            ));
        }
    }
    let mut exports = format!("{}\n{}", text("entry.js"), text(entry));
    if job.file.handover {
        exports.push('\n');
        exports.push_str(text("entry_handover.js"));
    }
    let about = format!("export const DESCRIPTION = {};\n", serde_json::json!(job.description));
    vec![
        ("node_modules/proxywhirl/package.json", PACKAGE.to_owned()),
        ("node_modules/proxywhirl/index.js", package),
        ("proxywhirl_entry.js", exports),
        ("proxywhirl_about.js", about),
    ]
}

/// Copies what modules are made of, into the folder that the tool lets a plugin import from. What is
/// built, tested with or hidden is none of it.
fn copy(from: &Path, to: &Path, copied: &mut usize) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let text = name.to_string_lossy();
        if text.starts_with('.') || ["dist", "tests"].contains(&&*text) {
            continue;
        }
        if kind.is_dir() {
            copy(&entry.path(), &to.join(&name), copied)?;
        } else if kind.is_file() && [".js", ".mjs", ".cjs", ".json"].iter().any(|end| text.ends_with(end)) {
            *copied += 1;
            if *copied > MAX_FILES {
                return Err(io::Error::other(format!("more than {MAX_FILES} source files")));
            }
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

/// Node, and the tool's own script; installed if it is not there.
fn toolchain(told: &mut dyn FnMut(&str)) -> Result<(PathBuf, PathBuf), BuildError> {
    let folder = workshop::toolchain(&format!("javascript-{VERSION}"))?;
    let node = node()?;
    let script = |folder: &Path| folder.join("node_modules/componentize-qjs/cli.mjs");
    workshop::once(
        &folder,
        |folder| script(folder).is_file(),
        |folder| {
            let npm = on_path(if cfg!(windows) { "npm.cmd" } else { "npm" })
                .ok_or_else(|| missing("Node.js is here, but npm is not"))?;
            told(&format!("installing componentize-qjs {VERSION}, once"));
            // Without a manifest of its own, npm would look for one in the folders above.
            let manifest = folder.join("package.json");
            fs::write(&manifest, "{\"private\":true}\n")
                .map_err(|source| BuildError::File { path: manifest, source })?;
            let mut command = Command::new(npm);
            command.current_dir(folder).args([
                "install",
                "--no-audit",
                "--no-fund",
                "--save-exact",
                "--ignore-scripts",
            ]);
            command.arg(format!("componentize-qjs@{VERSION}"));
            tool::run(&mut command, "npm install componentize-qjs", INSTALL, &mut |_| {})
        },
    )?;
    Ok((node, script(&folder)))
}

/// Node, if it is new enough.
fn node() -> Result<PathBuf, BuildError> {
    let node = on_path("node").or_else(|| on_path("nodejs")).ok_or_else(|| missing("there is no Node.js"))?;
    let version = first_line(Command::new(&node).arg("--version")).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 18) { Ok(node) } else { Err(missing("its Node.js is older than 18")) }
}

fn missing(reason: &str) -> BuildError {
    let hint = if is_debian() { "apt-get install nodejs npm" } else { "install Node.js 18 or later with npm" };
    BuildError::Toolchain { language: "JavaScript", reason: reason.to_owned(), hint: hint.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_modules_are_made_of_is_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for file in ["plugin.js", "lib/deep.mjs", "node_modules/a/index.js", "README.md", "dist/x.js", ".git/y.js"] {
            let path = from.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut copied = 0;
        copy(from.path(), to.path(), &mut copied).unwrap();
        assert_eq!(copied, 3);
        assert!(to.path().join("lib/deep.mjs").is_file() && !to.path().join("dist").exists());
    }
}
