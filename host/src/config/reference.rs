//! The reference of the configuration: the text in `host/docs/configuration.md` that shows every key. It is what `config
//! init` writes, and where the defaults of the schema come from.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

use super::file::ConfigFile;
use super::schema::{Key, keys};
use super::settings::Settings;

const PAGE: &str = include_str!("../../docs/configuration.md");

/// What stands before a file that was made by `config init`.
const PREFACE: &str = "\
# ProxyWhirl's configuration. Every key is here; take the # off to set one. What is shown is its default, or an example
# where it has none. `proxywhirl config check` says whether all is well, `proxywhirl config show --origin` what holds.

";

/// The text that shows every key.
#[must_use]
pub fn text() -> &'static str {
    let (_, rest) = PAGE.split_once("```toml\n").unwrap_or_default();
    rest.split_once("```").map_or(rest, |(text, _)| text)
}

/// The same as a file to begin with, in which nothing is set.
#[must_use]
pub fn template() -> String {
    let mut lines = vec![PREFACE.to_owned()];
    for line in text().lines() {
        let is_table = line.starts_with('[') && means_nothing(line);
        let stays = line.is_empty() || line.starts_with('#') || is_table;
        lines.push(if stays { format!("{line}\n") } else { format!("# {line}\n") });
    }
    lines.concat()
}

/// Whether the configuration is the same with this as without it.
fn means_nothing(text: &str) -> bool {
    let path = Path::new("proxywhirl.toml");
    let settings = ConfigFile::parse(text, path).and_then(|file| Settings::from_file(file, path));
    settings.is_ok_and(|settings| settings == Settings::default())
}

static DEFAULTS: LazyLock<Vec<(Key, Value)>> = LazyLock::new(|| {
    let Ok(shown) = toml::from_str::<toml::Table>(text()) else { return Vec::new() };
    let default = |key: &Key| {
        let (name, tables) = key.path.split_last()?;
        let mut table = &shown;
        for name in tables {
            table = table.get(name)?.as_table()?;
        }
        let value = table.get(name)?.clone();
        let mut alone = value.clone();
        for name in key.path.iter().rev() {
            alone = toml::Value::Table([(name.clone(), alone)].into_iter().collect());
        }
        // What is shown is the default if nothing changes when it is said.
        let is_default = means_nothing(&toml::to_string(&alone).ok()?);
        Some((key.clone(), serde_json::to_value(value).ok()?)).filter(|_| is_default)
    };
    keys().iter().filter_map(default).collect()
});

/// The keys that have a default, with it.
pub fn defaults() -> &'static [(Key, Value)] {
    &DEFAULTS
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_shows_every_key() {
        let shown: toml::Table = toml::from_str(text()).unwrap();
        let mut missing = Vec::new();
        for key in keys() {
            let mut value = Some(&toml::Value::Table(shown.clone())).cloned();
            for name in &key.path {
                value = value.and_then(|value| value.get(name).cloned());
            }
            if value.is_none() {
                missing.push(key.dotted());
            }
        }
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn what_has_no_default_is_known() {
        let with: Vec<String> = defaults().iter().map(|(key, _)| key.dotted()).collect();
        let without: Vec<String> = keys().iter().map(Key::dotted).filter(|key| !with.contains(key)).collect();
        insta::assert_snapshot!(without.join("\n"), @"");
    }

    #[test]
    fn the_template_sets_nothing() {
        assert!(means_nothing(&template()), "{}", template());
        // And without its marks it is the reference.
        let bare: Vec<&str> = template().leak().lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        let is_there = |line: &str| bare.contains(&line);
        assert!(text().lines().all(is_there));
    }
}
