//! Plugins in other languages than Rust: described by their `plugin.toml`, built in the user's cache from
//! the author's files and the glue that this host brings for the language and the kind.

use std::fs;
use std::path::Path;

use proxywhirl_core::plugin::PluginKind;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::project_file::{Language, ProjectFile};
use super::workshop::Bench;
use super::{BuildError, Component, Progress, c, javascript, python, source_digest};
use crate::inspect::{CONTRACT, inspect};
use crate::manifest::Manifest;
use crate::options;
use crate::plugin::hex;

/// The longest schema, in bytes.
const MAX_SCHEMA: u64 = 128 * 1024;

/// What the plugin answers when it is asked about itself.
#[derive(Debug, Serialize)]
pub(crate) struct Description<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) summary: &'a str,
    pub(crate) options_schema: &'a str,
    pub(crate) capabilities: &'a [String],
}

/// What a language's tools get.
pub(crate) struct Job<'a> {
    /// The author's folder.
    pub(crate) project: &'a Path,
    /// Its `plugin.toml`.
    pub(crate) file: &'a ProjectFile,
    /// What the plugin answers about itself.
    pub(crate) description: &'a Description<'a>,
    /// An empty folder to build in.
    pub(crate) stage: &'a Path,
}

/// The glue that this host brings for a language: names and texts. Part of what a component is built from.
pub(crate) const fn glue(language: Language) -> &'static [(&'static str, &'static str)] {
    match language {
        // The SDK is the author's dependency, and no part of the host.
        Language::Rust => &[],
        Language::C => &c::GLUE,
        Language::Python => &python::GLUE,
        Language::JavaScript => &javascript::GLUE,
    }
}

/// Builds a project that is no crate.
pub(crate) fn build(
    project: &Path,
    file: &ProjectFile,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Component, BuildError> {
    let broken = |reason: String| BuildError::Component { library: file.name.clone(), reason };
    let schema = schema(project, file)?;
    let description = Description {
        name: &file.name,
        version: &file.version,
        summary: &file.summary,
        options_schema: &schema,
        capabilities: &file.capabilities,
    };
    let sources = source_digest(project).map_err(|source| BuildError::File { path: project.to_owned(), source })?;
    let clang = if file.language == Language::C { Some(c::Clang::find()?) } else { None };
    let toolchain = match (&clang, file.language) {
        (Some(clang), _) => clang.summary.clone(),
        (None, Language::JavaScript) => javascript::summary(),
        (None, Language::Python | Language::Rust | Language::C) => python::summary(),
    };
    progress(Progress::Toolchain(&toolchain));
    let key = hex(&Sha256::digest(format!("{sources}\n{toolchain}\n{CONTRACT}")));
    let bench = Bench::of(project)?;
    let bytes = if let Some(bytes) = bench.last(&key) {
        progress(Progress::Unchanged(&file.name));
        bytes
    } else {
        let stage = bench.stage()?;
        let job = Job { project, file, description: &description, stage: &stage };
        let mut told = |line: &str| progress(Progress::Output(line));
        let component = match (&clang, file.language) {
            (Some(clang), _) => c::build(clang, &job, &mut told)?,
            (None, Language::JavaScript) => javascript::build(&job, &mut told)?,
            (None, Language::Python | Language::Rust | Language::C) => python::build(&job, &mut told)?,
        };
        progress(Progress::Component(&file.name));
        let bytes = finish(component, file.kind, &description, &sources).map_err(broken)?;
        bench.keep(&key, &bytes)?;
        bytes
    };
    Ok(Component {
        name: file.name.clone(),
        kind: file.kind,
        bytes,
        from: file.name.clone(),
        out: project.join("dist"),
    })
}

/// The component with its manifest, once it is known to be a plugin that asks for nothing of WASI.
fn finish(
    mut component: Vec<u8>,
    kind: PluginKind,
    description: &Description<'_>,
    sources: &str,
) -> Result<Vec<u8>, String> {
    let inspection = inspect(&component).map_err(|unfit| format!("{} (hint: {})", unfit.reason, unfit.hint))?;
    if inspection.kind != kind {
        return Err(format!("it came out as a {}, but plugin.toml says {kind}", inspection.kind));
    }
    if let Some(import) = inspection.imports.iter().find(|import| import.starts_with("wasi:")) {
        return Err(format!("it came out with the import {import}, which plugins are not given"));
    }
    let manifest = serde_json::json!({
        "name": description.name,
        "version": description.version,
        "kind": kind.as_str(),
        "contract": CONTRACT.to_string(),
        "summary": description.summary,
        "options_schema": description.options_schema,
        "capabilities": description.capabilities,
        "sources": sources,
    });
    let manifest = Manifest::parse(manifest.to_string().as_bytes()).map_err(|error| error.to_string())?;
    manifest.append_to(&mut component).map_err(|error| error.to_string())?;
    Ok(component)
}

/// The schema of the options, which must accept its own examples.
fn schema(project: &Path, file: &ProjectFile) -> Result<String, BuildError> {
    let path = project.join(&file.options_schema);
    let refused = |reason: String| BuildError::Project { path: path.clone(), reason };
    let at = |source| BuildError::File { path: path.clone(), source };
    if fs::metadata(&path).map_err(at)?.len() > MAX_SCHEMA {
        return Err(refused(format!("longer than {MAX_SCHEMA} bytes")));
    }
    let text = fs::read_to_string(&path).map_err(at)?;
    let value: Value = serde_json::from_str(&text).map_err(|error| refused(format!("not JSON: {error}")))?;
    let examples = value.get("examples").and_then(Value::as_array).cloned().unwrap_or_default();
    // Without an example any options do: what is checked then is the schema alone.
    let none = options::check(&file.name, &text, "{}");
    if let Err(error @ options::OptionsError::Unusable { .. }) = none {
        return Err(refused(error.to_string()));
    }
    for (number, example) in (1..).zip(examples) {
        options::check(&file.name, &text, &example.to_string())
            .map_err(|error| refused(format!("its example {number} does not fit: {error}")))?;
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::build::contract::tests::project;

    fn schema_of(text: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("options.json"), text).unwrap();
        schema(directory.path(), &project(PluginKind::Hook, Language::C)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_schema_accepts_its_own_examples() {
        assert!(schema_of(r#"{"type":"object","required":["a"],"examples":[{"a":1}]}"#).is_ok());
        let error = schema_of(r#"{"type":"object","required":["a"],"examples":[{"a":1},{}]}"#).unwrap_err();
        assert!(error.contains("its example 2 does not fit"), "{error}");
        assert!(schema_of("{").unwrap_err().contains("not JSON"));
        assert!(schema_of(r#"{"type":"objekt"}"#).unwrap_err().contains("unusable"));
    }

    #[test]
    fn what_is_no_plugin_of_the_kind_is_refused() {
        let description =
            Description { name: "a", version: "1.0.0", summary: "", options_schema: "{}", capabilities: &[] };
        let component = |import: &str| {
            let import = if import.is_empty() { String::new() } else { format!("(import \"{import}\" (instance))") };
            wat::parse_str(format!(
                r#"(component {import} (instance $i) (export "proxywhirl:plugin/about@0.1.0" (instance $i)) (export "proxywhirl:plugin/hook@0.1.0" (instance $i)))"#
            ))
            .unwrap()
        };
        let made = finish(component(""), PluginKind::Hook, &description, "00").unwrap();
        assert_eq!(inspect(&made).unwrap().manifest.unwrap().sources, "00");
        let refused = |component, kind| finish(component, kind, &description, "").unwrap_err();
        assert!(refused(component(""), PluginKind::Parser).contains("came out as a hook"));
        assert!(refused(component("wasi:io/poll@0.2.6"), PluginKind::Hook).contains("import wasi:io/poll@0.2.6"));
    }
}
