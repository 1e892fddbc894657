//! The files of a new project: what every project has, what its kind tests, and what its language says.

use std::collections::BTreeMap;
use std::path::Path;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_wasm::build::Language;

use super::sdk;

/// Names and texts, with `{{words}}` to be replaced.
const TEMPLATES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// What is to be made.
pub(super) struct Project<'a> {
    pub(super) name: &'a str,
    pub(super) kind: PluginKind,
    pub(super) language: Language,
    /// The SDK's folder; none for a copy in the project.
    pub(super) sdk: Option<&'a Path>,
}

/// A language, as people write it.
pub(super) const fn spelled(language: Language) -> &'static str {
    match language {
        Language::Rust => "Rust",
        Language::C => "C",
        Language::Python => "Python",
        Language::JavaScript => "JavaScript",
    }
}

/// The project's files, by their names in it.
pub(super) fn files(project: &Project<'_>) -> BTreeMap<String, String> {
    let (kind, language) = (project.kind.as_str(), project.language.as_str());
    let mut files = BTreeMap::new();
    // What is more particular takes the place of what is more general.
    for folder in
        ["all/".to_owned(), format!("kind/{kind}/"), format!("{language}/all/"), format!("{language}/{kind}/")]
    {
        for (name, text) in TEMPLATES {
            if let Some(name) = name.strip_prefix(&folder) {
                // A file of that name among the templates would hide other files of theirs.
                let name = if name == "gitignore" { ".gitignore" } else { name };
                files.insert(name.to_owned(), filled(text, project));
            }
        }
    }
    files
}

/// A text with the project's words in it.
fn filled(text: &str, project: &Project<'_>) -> String {
    let sdk = project.sdk.map_or_else(|| sdk::FOLDER.to_owned(), |sdk| sdk.display().to_string());
    let (summary, serve) = match project.kind {
        PluginKind::Strategy => (
            "Everybody by speed; when latency is what counts.",
            format!("proxywhirl serve --plugins dist --strategy {}", project.name),
        ),
        PluginKind::Parser => (
            "A proxy a line, perhaps with a country.",
            format!("proxywhirl fetch --plugins dist --parser {} tests/basic.input.txt", project.name),
        ),
        PluginKind::Hook => (
            "Counts failed requests, and tells one of so many.",
            "# in the configuration: [[hooks]] with this name".to_owned(),
        ),
    };
    let source = match project.language {
        Language::Rust => "src/lib.rs",
        Language::C => "plugin.c",
        Language::Python => "plugin.py",
        Language::JavaScript => "plugin.js",
    };
    [
        ("{{name}}", project.name),
        ("{{Name}}", &type_name(project.name)),
        ("{{kind}}", project.kind.as_str()),
        ("{{language_name}}", spelled(project.language)),
        ("{{summary}}", summary),
        ("{{use}}", &serve),
        ("{{source}}", source),
        // In TOML a backslash begins an escape.
        ("{{sdk}}", &sdk.replace('\\', "/")),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (word, meaning)| text.replace(word, meaning))
}

/// The name as a type of Rust: `by-country` is `ByCountry`.
fn type_name(name: &str) -> String {
    let parts = name.split('-').filter(|part| !part.is_empty());
    let joined: String = parts.map(|part| part[..1].to_ascii_uppercase() + &part[1..]).collect();
    // Names that the templates use themselves.
    let taken = ["Strategy", "Parser", "Hook", "Options", "Plan", "Event", "Failure", "Table", "View", "Self"];
    if taken.contains(&&*joined) { format!("{joined}Plugin") } else { joined }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const KINDS: [PluginKind; 3] = [PluginKind::Strategy, PluginKind::Parser, PluginKind::Hook];

    fn project(kind: PluginKind, language: Language) -> Project<'static> {
        Project { name: "by-country", kind, language, sdk: None }
    }

    #[test]
    fn every_kind_in_every_language_is_a_project_that_reads() {
        for (kind, language) in KINDS.into_iter().flat_map(|kind| Language::ALL.map(|language| (kind, language))) {
            let files = files(&project(kind, language));
            let place = format!("{kind} in {}", language.as_str());
            for (name, text) in &files {
                assert!(!text.contains("{{"), "{place}: {name} has a word that nothing stands for");
            }
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("plugin.toml"), &files["plugin.toml"]).unwrap();
            let read = proxywhirl_wasm::build::ProjectFile::read(folder.path()).unwrap().unwrap();
            assert_eq!((&*read.name, read.kind, read.language), ("by-country", kind, language));
            let schema: serde_json::Value = serde_json::from_str(&files["options.json"]).unwrap();
            assert!(schema["examples"].as_array().is_some_and(|examples| !examples.is_empty()), "{place}");
            for (name, text) in files.iter().filter(|(name, _)| name.starts_with("tests/")) {
                if name.ends_with(".toml") {
                    text.parse::<toml::Table>().unwrap_or_else(|error| panic!("{place}: {name}: {error}"));
                } else if name.ends_with(".json") {
                    serde_json::from_str::<serde_json::Value>(text)
                        .unwrap_or_else(|error| panic!("{place}: {name}: {error}"));
                }
            }
            assert!(files.keys().any(|name| name.starts_with("tests/")), "{place} has no tests");
            assert!(files.contains_key(".gitignore") && files.contains_key("README.md"), "{place}");
        }
    }

    #[test]
    fn a_name_becomes_a_type() {
        for (name, expected) in
            [("fastest", "Fastest"), ("by-country", "ByCountry"), ("a--b-", "AB"), ("x9", "X9"), ("hook", "HookPlugin")]
        {
            assert_eq!(type_name(name), expected);
        }
    }
}
