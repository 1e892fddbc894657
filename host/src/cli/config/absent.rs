//! What a configuration names that is not there: no mistake where it is written, perhaps one where it is used.

use std::path::Path;

use crate::bundle::BUNDLE;
use crate::config::nearest::nearest;
use crate::config::{KeyPlace, Settings};

/// What is named and not there, each with its key.
pub(super) fn absent(settings: &Settings) -> Vec<String> {
    let files = files(settings).filter(|(_, path)| !path.exists());
    let files = files.map(|(key, path)| format!("{key}: {} is not there", path.display()));
    files.chain(keys(settings)).chain(plugins(settings)).collect()
}

/// A file of keys is made by a command, and not by who needs it.
fn keys(settings: &Settings) -> Option<String> {
    let Some(KeyPlace::File(path)) = &settings.store_keys else { return None };
    let path = (!path.exists()).then(|| path.display())?;
    Some(format!("store.key_file: {path} is not there; `proxywhirl secrets init {path}` makes one"))
}

fn files(settings: &Settings) -> impl Iterator<Item = (String, &Path)> {
    let of_sources =
        settings.sources.iter().filter(|source| source.location != "-" && !source.location.contains("://"));
    let of_listeners = settings.listeners.iter().filter_map(|listener| Some((&listener.name, listener.tls.as_ref()?)));
    [
        ("upstream.ca_file", settings.upstream_ca.as_deref()),
        ("plugins.directory", settings.plugins.directory.as_deref()),
        ("browser.executable", settings.browser.executable.as_deref()),
        ("events.file", settings.events.as_ref().and_then(|events| folder(&events.file))),
    ]
    .into_iter()
    .filter_map(|(key, path)| Some((key.to_owned(), path?)))
    .chain(settings.geo.iter().map(|path| ("geo.databases".to_owned(), path.as_path())))
    .chain(of_sources.map(|source| (format!("source {:?}", source.name), Path::new(&source.location))))
    .chain(of_listeners.flat_map(|(name, tls)| {
        [&tls.certificate, &tls.key].map(|path| (format!("listener {name:?}"), path.as_path()))
    }))
}

/// Where a file is made: its folder has to be there.
fn folder(file: &Path) -> Option<&Path> {
    file.parent().filter(|folder| !folder.as_os_str().is_empty())
}

/// Plugins that the binary does not carry. With a directory, what is in it would have to be loaded.
fn plugins(settings: &Settings) -> Vec<String> {
    if settings.plugins.directory.is_some() {
        return Vec::new();
    }
    let known = || BUNDLE.iter().map(|(name, _)| *name);
    let strategy = [("strategy", settings.strategy.name.as_str())].into_iter();
    let hooks = settings.hooks.iter().map(|hook| ("hook", hook.name.as_str()));
    let parsers = settings.sources.iter().filter_map(|source| Some(("parser", source.parser.as_deref()?)));
    let unknown = strategy.chain(hooks).chain(parsers).filter(|(_, name)| known().all(|other| other != *name));
    let told = unknown.map(|(what, name)| {
        let meant = nearest(name, known()).map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
        format!("no {what} named {name} is bundled, and there is no plugins.directory{meant}")
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EventLogSettings;

    #[test]
    fn a_file_of_keys_and_a_folder_that_are_not_there_are_told() {
        let settings = Settings {
            store_keys: Some(KeyPlace::File("/nowhere/keys".into())),
            events: Some(EventLogSettings::new("/nowhere/events.jsonl".into())),
            ..Settings::default()
        };
        let told = absent(&settings);
        assert_eq!(
            told,
            [
                "events.file: /nowhere is not there",
                "store.key_file: /nowhere/keys is not there; `proxywhirl secrets init /nowhere/keys` makes one"
            ]
        );
        let here = Settings { events: Some(EventLogSettings::new("events.jsonl".into())), ..Settings::default() };
        assert_eq!(absent(&here), Vec::<String>::new());
    }
}
