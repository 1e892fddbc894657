//! `plugin.toml`: what a project says about the plugin that it makes. A crate needs none, since its
//! `describe` says all of it; a plugin in another language is described by this file alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proxywhirl_core::plugin::PluginKind;
use serde::Deserialize;

use super::BuildError;

/// The file's name.
pub const FILE: &str = "plugin.toml";

/// The longest file, in bytes.
const MAX: u64 = 64 * 1024;

/// A language that plugins are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// Rust, with the SDK.
    Rust,
    /// C, with clang.
    C,
    /// Python, with componentize-py.
    Python,
    /// JavaScript, with componentize-qjs.
    JavaScript,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rust, Self::C, Self::Python, Self::JavaScript];

    /// As it is written in `plugin.toml` and after `--lang`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }
}

/// A project's `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// The plugin's name.
    pub name: String,
    /// What it is for.
    pub kind: PluginKind,
    /// What it is written in.
    pub language: Language,
    /// The plugin's own version; a crate says its own.
    pub version: String,
    /// One sentence for people; empty for a crate, whose `describe` has it.
    pub summary: String,
    /// The JSON Schema of the options, relative to the project.
    pub options_schema: PathBuf,
    /// The capabilities that it wants.
    pub capabilities: Vec<String>,
    /// Whether it hands over its state to the version that takes its place.
    pub handover: bool,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    kind: String,
    language: String,
    version: Option<String>,
    summary: Option<String>,
    options_schema: Option<PathBuf>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    handover: bool,
}

impl ProjectFile {
    /// Reads the file of a project; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or does not say what it must.
    pub fn read(directory: &Path) -> Result<Option<Self>, BuildError> {
        let path = directory.join(FILE);
        let at = |source: io::Error| BuildError::File { path: path.clone(), source };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(error)),
            Ok(metadata) if metadata.len() > MAX => {
                return Err(BuildError::Project { path, reason: format!("longer than {MAX} bytes") });
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(at)?;
        Self::parse(&text).map(Some).map_err(|reason| BuildError::Project { path, reason })
    }

    /// Reads the file's text.
    fn parse(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        check_name(&written.name)?;
        let kinds = [PluginKind::Strategy, PluginKind::Parser, PluginKind::Hook];
        let kind = kinds
            .into_iter()
            .find(|kind| kind.as_str() == written.kind)
            .ok_or_else(|| format!("kind {:?} is none of strategy, parser, hook", written.kind))?;
        let language = Language::ALL
            .into_iter()
            .find(|language| language.as_str() == written.language)
            .ok_or_else(|| format!("language {:?} is none of rust, c, python, javascript", written.language))?;
        if language != Language::Rust && (written.version.is_none() || written.summary.is_none()) {
            return Err("a plugin that is no crate needs version and summary here".to_owned());
        }
        if written.handover && kind == PluginKind::Parser {
            return Err("handover: a parser keeps nothing that it could hand over".to_owned());
        }
        for capability in &written.capabilities {
            let name = capability.split(':').next().unwrap_or_default();
            if kind != PluginKind::Hook || !CAPABILITIES.contains(&name) {
                return Err(format!("capability {capability:?}: a {kind} has none of that name"));
            }
        }
        let version = written.version.unwrap_or_default();
        if language != Language::Rust && semver::Version::parse(&version).is_err() {
            return Err(format!("version {version:?} is not one of Semantic Versioning 2.0"));
        }
        Ok(Self {
            name: written.name,
            kind,
            language,
            version,
            summary: written.summary.unwrap_or_default(),
            options_schema: written.options_schema.unwrap_or_else(|| "options.json".into()),
            capabilities: written.capabilities,
            handover: written.handover,
        })
    }
}

/// The capabilities that a hook may want.
pub(crate) const CAPABILITIES: [&str; 3] = ["kv", "metrics", "http"];

/// Checks a plugin's name.
///
/// # Errors
/// When it is not `[a-z][a-z0-9-]{0,63}`; the text says so.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(()) } else { Err(format!("the name {name:?} is not [a-z][a-z0-9-]{{0,63}}")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"a\"\nkind = \"hook\"\nlanguage = \"c\"\nversion = \"1.0.0\"\nsummary = \"s\"\n";

    #[test]
    fn what_is_left_out_has_a_default() {
        let file = ProjectFile::parse(GOOD).unwrap();
        assert_eq!((file.kind, file.language), (PluginKind::Hook, Language::C));
        assert_eq!(file.options_schema, Path::new("options.json"));
        assert!(file.capabilities.is_empty() && !file.handover);
        let rust = "name = \"a\"\nkind = \"parser\"\nlanguage = \"rust\"\n";
        assert_eq!(ProjectFile::parse(rust).unwrap().language, Language::Rust);
    }

    #[test]
    fn a_mistake_is_named() {
        for (from, to, said) in [
            ("\"hook\"", "\"hoook\"", "kind \"hoook\" is none of"),
            ("\"c\"", "\"go\"", "language \"go\" is none of"),
            ("\"a\"", "\"../a\"", "the name \"../a\" is not"),
            ("\"1.0.0\"", "\"1\"", "version \"1\" is not"),
            ("summary", "sumary", "unknown field `sumary`"),
            ("summary = \"s\"\n", "", "needs version and summary"),
            ("\"hook\"", "\"parser\"\nhandover = true", "handover: a parser"),
            ("\"hook\"", "\"strategy\"\ncapabilities = [\"kv\"]", "capability \"kv\": a strategy"),
            ("\"hook\"", "\"hook\"\ncapabilities = [\"files:/\"]", "capability \"files:/\""),
        ] {
            let text = GOOD.replacen(from, to, 1);
            let error = ProjectFile::parse(&text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_folder_without_the_file_has_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ProjectFile::read(directory.path()).unwrap(), None);
        fs::write(directory.path().join(FILE), "name = 1").unwrap();
        let error = ProjectFile::read(directory.path()).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }
}
