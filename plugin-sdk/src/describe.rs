//! What a plugin says about itself, and how its options are read.

use crate::bindings::shared::exports::proxywhirl::plugin::about;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The JSON Schema of a plugin without options.
const NO_OPTIONS: &str =
    r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false}"#;

/// A plugin's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The name that users write, in kebab-case.
    pub name: String,
    /// The plugin's own version: `env!("CARGO_PKG_VERSION")`.
    pub version: String,
    /// One sentence for people: what it does and when one wants it.
    pub summary: String,
    /// JSON Schema (draft 2020-12) of the options.
    pub options_schema: String,
    /// The capabilities that it wants beyond what every plugin of its kind gets.
    pub capabilities: Vec<String>,
}

impl Description {
    /// Of a plugin without options and without capabilities.
    #[must_use]
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            options_schema: NO_OPTIONS.to_owned(),
            capabilities: Vec::new(),
        }
    }

    /// With options, of which this is the JSON Schema.
    #[must_use]
    pub fn with_options(mut self, schema: &str) -> Self {
        schema.clone_into(&mut self.options_schema);
        self
    }

    /// With a capability: `NAME` or `NAME:PARAMETERS`.
    #[must_use]
    pub fn with_capability(mut self, capability: &str) -> Self {
        self.capabilities.push(capability.to_owned());
        self
    }
}

impl From<Description> for about::Description {
    fn from(it: Description) -> Self {
        Self {
            name: it.name,
            version: it.version,
            summary: it.summary,
            options_schema: it.options_schema,
            capabilities: it.capabilities,
        }
    }
}

/// The options of a plugin that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// Reads options from JSON. No text at all stands for the defaults.
pub(crate) fn options<T: DeserializeOwned + Default>(text: &str) -> Result<T, String> {
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|error| format!("options: {error}"))
}
