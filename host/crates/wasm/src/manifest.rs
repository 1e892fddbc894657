//! A plugin's manifest: its description as a custom section of the component, so that it can be read
//! without compiling or running anything.

use proxywhirl_core::plugin::PluginKind;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::bindings::shared::exports::proxywhirl::plugin::about::Description;
use crate::logbook::cut;

/// The custom section that holds it.
pub(crate) const SECTION: &str = "proxywhirl:manifest";

/// The longest manifest, in bytes: most of it is the schema of the options.
const MAX: usize = 256 * 1024;

/// The longest summary, in bytes.
const MAX_SUMMARY: usize = 400;

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The name that users write: `[a-z][a-z0-9-]{0,63}`.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// `strategy`, `parser` or `hook`.
    pub kind: String,
    /// The version of the contract that it was built for.
    pub contract: String,
    /// One sentence for people.
    pub summary: String,
    /// JSON Schema of its options, as JSON text.
    pub options_schema: String,
    /// The capabilities that it wants beyond what every plugin of its kind gets.
    pub capabilities: Vec<String>,
    /// SHA-256 of the sources that it was built from, in hexadecimal; empty when that is not known.
    #[serde(default)]
    pub sources: String,
}

/// Why a manifest or a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("{0}")]
    Json(String),
    #[error("{0} bytes, the limit is {MAX}")]
    Length(usize),
    #[error("the name {0:?} is not [a-z][a-z0-9-]{{0,63}}")]
    Name(String),
    #[error("the version {0:?} is not one of Semantic Versioning 2.0")]
    Version(String),
    #[error("the schema of its options is not JSON: {0}")]
    Schema(String),
}

impl Manifest {
    /// Reads the custom section.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX {
            return Err(ManifestError::Length(bytes.len()));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| ManifestError::Json(error.to_string()))?;
        manifest.checked()
    }

    /// What a component answered when it was asked.
    pub(crate) fn described(it: Description, kind: PluginKind, contract: &Version) -> Result<Self, ManifestError> {
        let capabilities: usize = it.capabilities.iter().map(String::len).sum();
        let length = it.name.len() + it.summary.len() + it.options_schema.len() + capabilities;
        if length > MAX {
            return Err(ManifestError::Length(length));
        }
        Self {
            name: it.name,
            version: it.version,
            kind: kind.as_str().to_owned(),
            contract: contract.to_string(),
            summary: it.summary,
            options_schema: it.options_schema,
            capabilities: it.capabilities,
            sources: String::new(),
        }
        .checked()
    }

    fn checked(mut self) -> Result<Self, ManifestError> {
        if !is_name(&self.name) {
            return Err(ManifestError::Name(cut(&self.name, 80).to_owned()));
        }
        if self.version.len() > 64 || Version::parse(&self.version).is_err() {
            return Err(ManifestError::Version(cut(&self.version, 80).to_owned()));
        }
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&self.options_schema) {
            return Err(ManifestError::Schema(error.to_string()));
        }
        self.summary = plain(&self.summary, MAX_SUMMARY);
        self.contract = plain(&self.contract, 64);
        self.sources = plain(&self.sources, 64);
        self.capabilities.truncate(64);
        for capability in &mut self.capabilities {
            *capability = plain(capability, 400);
        }
        Ok(self)
    }

    /// The component with its manifest as a custom section at the end.
    pub(crate) fn append_to(&self, component: &mut Vec<u8>) -> Result<(), ManifestError> {
        let json = serde_json::to_vec(self).map_err(|error| ManifestError::Json(error.to_string()))?;
        let mut section = Vec::with_capacity(json.len() + SECTION.len() + 8);
        leb128(&mut section, SECTION.len());
        section.extend_from_slice(SECTION.as_bytes());
        section.extend_from_slice(&json);
        // Section 0 is a custom section, in a component as in a module.
        component.push(0);
        leb128(component, section.len());
        component.extend_from_slice(&section);
        Ok(())
    }
}

/// A text without control characters, cut.
fn plain(text: &str, max: usize) -> String {
    cut(text, max).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::inspect::inspect;

    fn manifest() -> Manifest {
        Manifest {
            name: "fastest".to_owned(),
            version: "1.2.3".to_owned(),
            kind: "strategy".to_owned(),
            contract: "0.1.0".to_owned(),
            summary: "x".repeat(300),
            options_schema: "{}".to_owned(),
            capabilities: vec!["http:https://hooks.example:443".to_owned()],
            sources: "00".to_owned(),
        }
    }

    #[test]
    fn what_is_appended_to_a_component_is_found_in_it() {
        let mut component = wat::parse_str(
            r#"(component (instance $i) (export "proxywhirl:plugin/about@0.1.0" (instance $i)) (export "proxywhirl:plugin/strategy@0.1.0" (instance $i)))"#,
        )
        .unwrap();
        assert_eq!(inspect(&component).unwrap().manifest, None);
        manifest().append_to(&mut component).unwrap();
        assert_eq!(inspect(&component).unwrap().manifest, Some(manifest()));
    }

    #[test]
    fn a_manifest_that_cannot_be_used_says_why() {
        let error = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            Manifest::parse(&serde_json::to_vec(&manifest).unwrap()).expect_err("must be refused").to_string()
        };
        assert_eq!(error(|m| m.name = "../x".to_owned()), "the name \"../x\" is not [a-z][a-z0-9-]{0,63}");
        assert_eq!(
            error(|m| m.version = "1.2".to_owned()),
            "the version \"1.2\" is not one of Semantic Versioning 2.0"
        );
        assert!(error(|m| m.options_schema = "{".to_owned()).starts_with("the schema of its options is not JSON"));
        assert!(error(|m| m.summary = "x".repeat(MAX)).ends_with("bytes, the limit is 262144"));
        assert!(Manifest::parse(b"[]").is_err());
    }

    #[test]
    fn what_people_read_holds_no_control_character() {
        let mut manifest = manifest();
        manifest.summary = "a\x1b[2J\n".to_owned();
        let read = Manifest::parse(&serde_json::to_vec(&manifest).unwrap()).unwrap();
        assert_eq!(read.summary, "a [2J ");
    }
}
