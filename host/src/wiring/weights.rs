//! What the user said that sources weigh, for strategies that weigh by tag.
//!
//! A weight is a factor for the tag `source:NAME`, and so an option of the strategy; what the user wrote there goes before
//! it.

use std::collections::BTreeMap;

use proxywhirl_engine::ingest::tag_of;

use crate::config::{PluginUse, SourceSettings};

/// The option of strategies that weigh by tag.
const OPTION: &str = "by_tag";

/// Factors by tag.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights(BTreeMap<String, f64>);

impl Weights {
    /// Those that sources have.
    #[must_use]
    pub fn of(sources: &[SourceSettings]) -> Self {
        let weighed = sources.iter().filter_map(|source| Some((tag_of(&source.name)?.to_string(), source.weight?)));
        Self(weighed.collect())
    }

    /// A strategy with them among its options. One that does not weigh by tag stays as it is, which is told.
    /// `schema` is asked for only where there are weights.
    pub(super) fn told_to(&self, used: &PluginUse, schema: impl FnOnce() -> String) -> PluginUse {
        if self.0.is_empty() {
            return used.clone();
        }
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap_or_default();
        if schema.pointer(&format!("/properties/{OPTION}")).is_none() {
            tracing::warn!(
                plugin.name = used.name,
                "sources have weights, and this strategy has no option by_tag: they count for nothing"
            );
            return used.clone();
        }
        let mut options = match used.options.as_object() {
            Some(options) => options.clone(),
            None if used.options.is_null() => serde_json::Map::new(),
            // The strategy refuses it, with better words.
            None => return used.clone(),
        };
        let by_tag = options.entry(OPTION).or_insert_with(|| serde_json::Map::new().into());
        if let Some(by_tag) = by_tag.as_object_mut() {
            for (tag, weight) in &self.0 {
                by_tag.entry(tag.clone()).or_insert_with(|| (*weight).into());
            }
        }
        PluginUse { name: used.name.clone(), options: options.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WEIGHS: &str = r#"{ "properties": { "by_tag": { "type": "object" }, "by": {} } }"#;

    fn told(options: serde_json::Value, schema: &str) -> serde_json::Value {
        let source = |name: &str, weight| SourceSettings { name: name.to_owned(), weight, ..SourceSettings::at("x") };
        let weights = Weights::of(&[source("paid", Some(3.0)), source("free", Some(0.5)), source("own", None)]);
        weights.told_to(&PluginUse { name: "any".to_owned(), options }, || schema.to_owned()).options
    }

    #[test]
    fn a_strategy_that_weighs_by_tag_is_told_what_sources_weigh() {
        let both = json!({ "by_tag": { "source:free": 0.5, "source:paid": 3.0 } });
        assert_eq!(told(json!(null), WEIGHS), both);
        assert_eq!(told(json!({}), WEIGHS), both);
    }

    #[test]
    fn what_was_written_for_the_strategy_goes_before() {
        let written = json!({ "by": "speed", "by_tag": { "source:paid": 9.0, "datacenter": 2.0 } });
        let expected = json!({
            "by": "speed",
            "by_tag": { "source:paid": 9.0, "datacenter": 2.0, "source:free": 0.5 }
        });
        assert_eq!(told(written, WEIGHS), expected);
    }

    #[test]
    fn another_strategy_is_left_as_it_is() {
        assert_eq!(told(json!(null), r#"{ "properties": {} }"#), json!(null));
        assert_eq!(told(json!({ "by_tag": 3 }), WEIGHS), json!({ "by_tag": 3 }));
    }
}
