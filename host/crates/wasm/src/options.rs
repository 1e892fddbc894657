//! Options of plugins, checked against the plugin's own JSON Schema before it sees them.

use std::error::Error;

use boon::{Compiler, ErrorKind, Schemas, UrlLoader, ValidationError};
use serde_json::Value;

/// The name under which a plugin's schema is known to the validator.
const SCHEMA: &str = "plugin:///options";

/// The longest options, in bytes.
const MAX: usize = 1024 * 1024;

/// Faults that a message names; one is usually enough to see what is wrong.
const SHOWN: usize = 5;

/// Why a plugin's options are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// They are not JSON, or too long.
    #[error("options of {plugin}: {reason}")]
    Json {
        /// The plugin.
        plugin: String,
        /// What the JSON parser said.
        reason: String,
    },
    /// They do not fit the schema.
    #[error("options of {plugin}: {reason}")]
    Schema {
        /// The plugin.
        plugin: String,
        /// What does not fit, and where.
        reason: String,
    },
    /// The schema itself cannot be used: the plugin's mistake.
    #[error("the schema of the options of {plugin} is unusable: {reason}")]
    Unusable {
        /// The plugin.
        plugin: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A schema refers to nothing outside itself: no file and no URL is ever read for it.
struct Nothing;

impl UrlLoader for Nothing {
    fn load(&self, url: &str) -> Result<Value, Box<dyn Error>> {
        Err(format!("refers to {url}, outside of itself").into())
    }
}

/// Checks options, of which an empty text stands for none.
pub(crate) fn check(plugin: &str, schema: &str, options: &str) -> Result<String, OptionsError> {
    let options = if options.trim().is_empty() { "{}" } else { options };
    let plugin = plugin.to_owned();
    if options.len() > MAX {
        return Err(OptionsError::Json { plugin, reason: format!("{} bytes, the limit is {MAX}", options.len()) });
    }
    let value: Value = match serde_json::from_str(options) {
        Ok(value) => value,
        Err(error) => return Err(OptionsError::Json { plugin, reason: error.to_string() }),
    };
    let schema: Value = match serde_json::from_str(schema) {
        Ok(schema) => schema,
        Err(error) => return Err(OptionsError::Unusable { plugin, reason: error.to_string() }),
    };
    let mut compiler = Compiler::new();
    compiler.use_loader(Box::new(Nothing));
    let mut schemas = Schemas::new();
    if let Err(error) = compiler.add_resource(SCHEMA, schema) {
        return Err(OptionsError::Unusable { plugin, reason: error.to_string() });
    }
    let index = match compiler.compile(SCHEMA, &mut schemas) {
        Ok(index) => index,
        Err(error) => return Err(OptionsError::Unusable { plugin, reason: error.to_string() }),
    };
    match schemas.validate(&value, index) {
        Ok(()) => Ok(options.to_owned()),
        Err(error) => {
            let mut faults = Vec::new();
            leaves(&error, &mut faults);
            Err(OptionsError::Schema { plugin, reason: faults.join("; ") })
        }
    }
}

/// The innermost errors: those above them only say that something below them failed.
fn leaves(error: &ValidationError<'_, '_>, faults: &mut Vec<String>) {
    if faults.len() == SHOWN {
        return;
    }
    if error.causes.is_empty() {
        let (place, words) = (error.instance_location.to_string(), words(&error.kind));
        faults.push(if place.is_empty() { words } else { format!("at {place}: {words}") });
    }
    for cause in &error.causes {
        leaves(cause, faults);
    }
}

/// What is wrong, without the text that is: it may be a key or a password, and this goes to logs.
#[allow(clippy::wildcard_enum_match_arm)] // The others say numbers, types, and what the schema says.
fn words(kind: &ErrorKind<'_, '_>) -> String {
    match kind {
        ErrorKind::Pattern { want, .. } => format!("does not match the pattern {want}"),
        ErrorKind::Format { want, .. } => format!("is not a valid {want}"),
        ErrorKind::ContentEncoding { want, .. } | ErrorKind::ContentMediaType { want, .. } => {
            format!("is not valid {want}")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMITS: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","additionalProperties":false,
        "properties":{"size":{"type":"integer","minimum":1},"by":{"enum":["latency","load"]}}}"#;

    fn error(schema: &str, options: &str) -> String {
        check("fastest", schema, options).unwrap_err().to_string()
    }

    #[test]
    fn options_that_fit_pass_and_none_stand_for_an_empty_object() {
        assert_eq!(check("p", LIMITS, r#"{"size":3,"by":"load"}"#).unwrap(), r#"{"size":3,"by":"load"}"#);
        assert_eq!(check("p", LIMITS, " ").unwrap(), "{}");
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let unknown = error(LIMITS, r#"{"sise":3}"#);
        assert!(unknown.starts_with("options of fastest: ") && unknown.contains("sise"), "{unknown}");
        let small = error(LIMITS, r#"{"size":0}"#);
        assert!(small.contains("/size") && small.contains('1'), "{small}");
        assert!(error(LIMITS, r#"{"by":"luck"}"#).contains("/by"));
        assert!(error(LIMITS, "{").starts_with("options of fastest: EOF"));
    }

    #[test]
    fn what_does_not_fit_is_not_quoted() {
        let told = error(r#"{"properties":{"key":{"pattern":"^k-"}}}"#, r#"{"key":"hunter2"}"#);
        assert_eq!(told, "options of fastest: at /key: does not match the pattern ^k-");
        for kind in [
            ErrorKind::Format { got: std::borrow::Cow::Owned("hunter2".into()), want: "ipv4", err: "hunter2?".into() },
            ErrorKind::ContentEncoding { want: "base64", err: "hunter2?".into() },
        ] {
            assert!(!words(&kind).contains("hunter2"));
        }
    }

    #[test]
    fn a_schema_reads_no_file_and_no_url_and_cannot_loop() {
        for reference in ["file:///etc/hostname", "https://schemas.example/s.json"] {
            let unusable = error(&format!(r#"{{"$ref":"{reference}"}}"#), "{}");
            assert!(unusable.starts_with("the schema of the options of fastest is unusable"), "{unusable}");
        }
        assert!(check("p", r##"{"$ref":"#"}"##, "{}").is_err());
        assert!(check("p", r#"{"pattern":"("}"#, "{}").is_err());
    }
}
