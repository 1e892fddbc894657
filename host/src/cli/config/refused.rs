//! What a configuration says as it may be said, and what `serve` refuses all the same, or does without: whoever checks a
//! configuration is told before a service is started with it.

use std::sync::Arc;

use proxywhirl_store::MemoryKeyValues;

use crate::config::Settings;
use crate::wiring::{Registry, Surroundings, source};

/// What cannot be used, each beginning with its key.
pub(super) fn refused(settings: &Settings) -> Vec<String> {
    let sources = settings.sources.iter().filter_map(|settings| {
        let failure = source(settings).err()?;
        Some(format!("source {:?}: location: {}", settings.name, failure.message))
    });
    sources.chain(strategy(settings)).collect()
}

/// Why the strategy does not take its options. A plugin that is not there is told as absent.
fn strategy(settings: &Settings) -> Option<String> {
    let keys = Some(Arc::new(MemoryKeyValues::new()) as _);
    let surroundings = Surroundings { key_values: keys, ..Surroundings::default() };
    let registry = Registry::load(&settings.plugins, surroundings).ok()?;
    registry.find(&settings.strategy.name)?;
    let failure = registry.strategy_sooner_or_later(&settings.strategy).err()?;
    Some(format!("strategy.options: {}", failure.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PluginUse, SourceSettings};

    #[test]
    fn sources_and_options_that_serve_refuses_are_told() {
        assert_eq!(refused(&Settings::default()), Vec::<String>::new());
        let settings = Settings {
            strategy: PluginUse { options: serde_json::json!({ "buy": "success" }), ..PluginUse::of("weighted") },
            sources: ["ftp://lists.example/a", "https://lists.example/a", "https://"]
                .map(|location| SourceSettings { name: "own".to_owned(), ..SourceSettings::at(location) })
                .into(),
            ..Settings::default()
        };
        let told = refused(&settings);
        let [ftp, nowhere, options] = told.as_slice() else { unreachable!("{told:?}") };
        assert!(ftp.starts_with("source \"own\": location: \"ftp://lists.example/a\" is no source"), "{ftp}");
        assert!(nowhere.starts_with("source \"own\": location: \"https://\" is no source"), "{nowhere}");
        assert!(options.starts_with("strategy.options: ") && options.contains("buy"), "{options}");
    }
}
