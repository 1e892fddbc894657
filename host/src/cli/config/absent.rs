//! What a configuration names that is not there: no mistake where it is written, perhaps one where it is used.

use std::path::Path;

use crate::bundle::BUNDLE;
use crate::config::Settings;
use crate::config::nearest::nearest;

/// What is named and not there, each with its key.
pub(super) fn absent(settings: &Settings) -> Vec<String> {
    let files = files(settings).filter(|(_, path)| !path.exists());
    let files = files.map(|(key, path)| format!("{key}: {} is not there", path.display()));
    files.chain(plugins(settings)).collect()
}

fn files(settings: &Settings) -> impl Iterator<Item = (String, &Path)> {
    let of_sources =
        settings.sources.iter().filter(|source| source.location != "-" && !source.location.contains("://"));
    let of_listeners = settings.listeners.iter().filter_map(|listener| Some((&listener.name, listener.tls.as_ref()?)));
    [
        ("upstream.ca_file", settings.upstream_ca.as_deref()),
        ("plugins.directory", settings.plugins.directory.as_deref()),
        ("browser.executable", settings.browser.executable.as_deref()),
    ]
    .into_iter()
    .filter_map(|(key, path)| Some((key.to_owned(), path?)))
    .chain(settings.geo.iter().map(|path| ("geo.databases".to_owned(), path.as_path())))
    .chain(of_sources.map(|source| (format!("source {:?}", source.name), Path::new(&source.location))))
    .chain(of_listeners.flat_map(|(name, tls)| {
        [&tls.certificate, &tls.key].map(|path| (format!("listener {name:?}"), path.as_path()))
    }))
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
