//! What a configuration says as it may be said, and what `serve` refuses all the same, or does without: whoever checks a
//! configuration is told before a service is started with it.

use std::sync::Arc;

use proxywhirl_core::plugin::PluginKind;
use proxywhirl_store::MemoryKeyValues;

use crate::config::{KeyPlace, ListenerSettings, PluginUse, PluginsSettings, Settings};
use crate::secrets;
use crate::wiring::listeners::tls_refused;
use crate::wiring::{Registry, Surroundings, can_read, source};

/// What cannot be used, each beginning with its key.
pub(super) fn refused(settings: &Settings) -> Vec<String> {
    let sources = settings.sources.iter().filter_map(|settings| {
        let failure = source(settings).err()?;
        Some(format!("source {:?}: location: {}", settings.name, failure.message))
    });
    sources.chain(unproven(settings)).chain(keys(settings)).chain(tls(settings)).chain(plugins(settings)).collect()
}

/// Why what a source names cannot be proven.
fn unproven(settings: &Settings) -> Option<String> {
    let failure = can_read(&settings.check, &settings.sources).err()?;
    let first = settings.sources.iter().find(|source| !source.trust)?;
    let remedy = failure.hint.map(|hint| format!(": {hint}")).unwrap_or_default();
    Some(format!("source {:?}: trust: {}{remedy}", first.name, failure.message))
}

/// Why passwords cannot be sealed. A file that is not there is told as absent.
fn keys(settings: &Settings) -> Option<String> {
    let place = settings.store_keys.as_ref()?;
    let key = match place {
        KeyPlace::File(path) if !path.exists() => return None,
        KeyPlace::File(_) => "store.key_file",
        KeyPlace::Environment(_) => "store.key_env",
    };
    let failure = secrets::keyring(Some(place)).err()?;
    Some(format!("{key}: {}", failure.message))
}

/// Why listeners cannot speak TLS, likewise.
fn tls(settings: &Settings) -> impl Iterator<Item = String> {
    let is_there = |listener: &&ListenerSettings| {
        listener.tls.as_ref().is_some_and(|tls| tls.certificate.exists() && tls.key.exists())
    };
    settings.listeners.iter().filter(is_there).filter_map(|listener| {
        let failure = tls_refused(listener)?;
        Some(format!("listener {:?}: tls: {}", listener.name, failure.message))
    })
}

/// Why strategies and hooks cannot be had, or do not take their options. A directory that is not there is told as absent.
fn plugins(settings: &Settings) -> Vec<String> {
    let keys = Some(Arc::new(MemoryKeyValues::new()) as _);
    let surroundings = Surroundings { key_values: keys, ..Surroundings::default() };
    // The cache that is configured is the gateway's, whose user may be another: what is compiled here is kept in one's own.
    let configured = PluginsSettings { cache: None, ..settings.plugins.clone() };
    let Ok(registry) = Registry::load(&configured, surroundings) else { return Vec::new() };
    let key = |used: &PluginUse, kind: PluginKind| {
        let is_there = registry.find(&used.name).is_some_and(|known| known.info.kind == Some(kind));
        if is_there && registry.admitted(&used.name).is_ok() { "options" } else { "name" }
    };
    let strategy = |used: &PluginUse| {
        let failure = registry.strategy_sooner_or_later(used).err()?;
        Some(format!("strategy.{}: {}", key(used, PluginKind::Strategy), failure.message))
    };
    let beside = settings.listeners.iter().filter_map(|listener| {
        let why = listener.strategy.as_ref().and_then(strategy)?;
        Some(format!("listener {:?}: {why}", listener.name))
    });
    let hooks = settings.hooks.iter().filter_map(|used| {
        let failure = registry.hook(used).err()?;
        Some(format!("hook {:?}: {}: {}", used.name, key(used, PluginKind::Hook), failure.message))
    });
    strategy(&settings.strategy).into_iter().chain(beside).chain(hooks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SourceSettings;
    use crate::config::settings::tests::settings;

    #[test]
    fn sources_and_options_that_serve_refuses_are_told() {
        assert_eq!(refused(&Settings::default()), Vec::<String>::new());
        let settings = Settings {
            strategy: PluginUse { options: serde_json::json!({ "buy": "success" }), ..PluginUse::of("weighted") },
            sources: ["ftp://lists.example/a", "https://lists.example/a", "https://"]
                .map(|location| SourceSettings { name: "own".to_owned(), trust: true, ..SourceSettings::at(location) })
                .into(),
            ..Settings::default()
        };
        let told = refused(&settings);
        let [ftp, nowhere, options] = told.as_slice() else { unreachable!("{told:?}") };
        assert!(ftp.starts_with("source \"own\": location: \"ftp://lists.example/a\" is no source"), "{ftp}");
        assert!(nowhere.starts_with("source \"own\": location: \"https://\" is no source"), "{nowhere}");
        assert!(options.starts_with("strategy.options: ") && options.contains("buy"), "{options}");
    }

    #[test]
    fn strategies_and_hooks_that_are_not_there_are_told() {
        let text = "[strategy]\nname = \"nobody\"\n[[hooks]]\nname = \"random\"\n\
                    [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\nstrategy = { name = \"webhook\" }\n";
        let told = refused(&settings(text).unwrap());
        let [strategy, listener, hook] = told.as_slice() else { unreachable!("{told:?}") };
        assert!(strategy.starts_with("strategy.name: no strategy named nobody; there are: "), "{strategy}");
        assert!(listener.starts_with("listener \"web\": strategy.name: no strategy named webhook; "), "{listener}");
        assert!(hook.starts_with("hook \"random\": name: no hook named random; "), "{hook}");
        let elsewhere = refused(&settings(&format!("plugins.directory = \"nowhere\"\n{text}")).unwrap());
        assert_eq!(elsewhere, Vec::<String>::new());
    }

    #[test]
    fn the_cache_of_the_gateway_is_not_made_by_who_checks() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        assert_eq!(refused(&settings(&format!("[plugins]\ncache = {cache:?}\n")).unwrap()), Vec::<String>::new());
        assert!(!cache.exists());
    }

    #[test]
    fn a_source_that_cannot_be_proven_is_told() {
        let free = "[[sources]]\nname = \"free\"\nlocation = \"list.txt\"\n";
        let told = |check: &str| refused(&settings(&format!("{free}{check}")).unwrap());
        let [judge] = &told("")[..] else { unreachable!() };
        assert!(judge.starts_with("source \"free\": trust: ") && judge.contains("no judge"), "{judge}");
        assert!(told("[check]\nlevel = \"target\"\n")[0].contains("set check.target.url"));
        assert_eq!(told("[check]\nlevel = \"tcp\"\n"), Vec::<String>::new());
    }

    #[test]
    fn keys_certificates_and_hooks_that_serve_refuses_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none.pem");
        std::fs::write(&none, "hunter2\n").unwrap();
        let text = format!(
            "[store]\nurl = \"pool.db\"\nkey_env = \"A_KEY_THAT_NOBODY_HAS\"\n\
             [[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = {none:?}, key = {none:?} }}\n\
             [[hooks]]\nname = \"webhook\"\n[hooks.options]\nurll = \"https://hooks.example/\"\n"
        );
        let told = refused(&settings(&text).unwrap());
        let [key, tls, hook] = told.as_slice() else { unreachable!("{told:?}") };
        assert!(key.starts_with("store.key_env: ") && key.contains("has no such variable"), "{key}");
        assert!(tls.starts_with("listener \"web\": tls: ") && tls.contains("there is no certificate"), "{tls}");
        assert!(hook.starts_with("hook \"webhook\": options: ") && hook.contains("urll"), "{hook}");
        let text = format!("[store]\nurl = \"pool.db\"\nkey_file = {none:?}\n");
        let told = refused(&settings(&text).unwrap());
        assert!(told[0].starts_with("store.key_file: ") && !told[0].contains("hunter2"), "{told:?}");
    }
}
