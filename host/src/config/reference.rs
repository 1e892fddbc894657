//! The reference of the configuration: the text in `host/docs/configuration.md` that shows every key. It is what `config
//! init` writes, and where the defaults of the schema come from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table};

use super::file::ConfigFile;
use super::layers::Layers;
use super::said::Step;
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
        let is_table = line.starts_with('[') && sets_nothing(line);
        let stays = line.is_empty() || line.starts_with('#') || is_table;
        lines.push(if stays { format!("{line}\n") } else { format!("# {line}\n") });
    }
    lines.concat()
}

/// Whether no key is set by this.
fn sets_nothing(text: &str) -> bool {
    let layers = Layers::of_text(text, Path::new("proxywhirl.toml"));
    layers.is_ok_and(|layers| layers.written().is_ok() && !keys().iter().any(|key| layers.said(key).is_some()))
}

/// Whether the configuration is the same with this as without it.
fn means_nothing(text: &str) -> bool {
    let path = Path::new("proxywhirl.toml");
    let settings = ConfigFile::parse(text, path).and_then(|file| Settings::from_file(file, path));
    settings.is_ok_and(|settings| settings == Settings::default())
}

static SHOWN: LazyLock<toml::Value> = LazyLock::new(|| {
    toml::from_str(text()).map_or_else(|_| toml::Value::Table(toml::Table::new()), toml::Value::Table)
});

/// What stands behind keys, by their names with dots; those in lists by the names of the lists.
static COMMENTS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let mut comments = BTreeMap::new();
    if let Ok(document) = text().parse::<DocumentMut>() {
        remember(document.as_table(), "", &mut comments);
    }
    comments
});

fn remember(table: &Table, prefix: &str, comments: &mut BTreeMap<String, String>) {
    for (name, item) in table {
        let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let decor = match item {
            Item::Value(value) => value.decor().suffix(),
            Item::Table(table) => {
                remember(table, &key, comments);
                table.decor().suffix()
            }
            Item::ArrayOfTables(tables) => {
                tables.iter().for_each(|table| remember(table, &key, comments));
                tables.get(0).and_then(|table| table.decor().suffix())
            }
            Item::None => None,
        };
        let comment = decor.and_then(toml_edit::RawString::as_str).and_then(|text| text.split_once('#'));
        if let Some((_, comment)) = comment {
            // Of the elements of a list, the first one counts.
            comments.entry(key).or_insert_with(|| comment.trim().to_owned());
        }
    }
}

/// What stands behind a key.
#[must_use]
pub fn comment(key: &str) -> Option<&'static str> {
    COMMENTS.get(key).map(String::as_str)
}

/// How a key is shown, and what stands behind it. Of a list, the first element that has it is meant.
pub(super) fn shown(path: &[Step]) -> Option<(toml::Value, Option<&'static str>)> {
    fn find(value: &toml::Value, path: &[Step]) -> Option<toml::Value> {
        let Some((step, rest)) = path.split_first() else { return Some(value.clone()) };
        match step {
            Step::Key(name) => find(value.get(name)?, rest),
            Step::Index(_) => value.as_array()?.iter().find_map(|element| find(element, rest)),
        }
    }
    let names: Vec<&str> = path
        .iter()
        .filter_map(|step| match step {
            Step::Key(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    Some((find(&SHOWN, path)?, comment(&names.join("."))))
}

static DEFAULTS: LazyLock<Vec<(Key, Value)>> = LazyLock::new(|| {
    let default = |key: &Key| {
        let (value, comment) = shown(&key.steps())?;
        if comment.is_some_and(|comment| comment.contains("[default:")) {
            return None;
        }
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
pub(super) mod tests {
    use super::super::mistakes::dotted;
    use super::super::schema::names;
    use super::*;

    /// Every key, those of tables in lists too.
    pub(in super::super) fn every_key() -> impl Iterator<Item = Vec<Step>> {
        fn walk(path: &[Step], all: &mut Vec<Vec<Step>>) {
            for name in names(path) {
                let key = [path, &[Step::Key(name)]].concat();
                let element = [&key[..], &[Step::Index(0)]].concat();
                let is_a_table = !names(&key).is_empty();
                match names(&element).is_empty() {
                    true if is_a_table => walk(&key, all),
                    true => all.push(key),
                    false => walk(&element, all),
                }
            }
        }
        let mut all = Vec::new();
        walk(&[], &mut all);
        all.into_iter()
    }

    #[test]
    fn the_reference_shows_every_key() {
        let is_shown = |path: &[Step]| shown(path).is_some();
        let missing: Vec<String> = every_key().filter(|path| !is_shown(path)).map(|path| dotted(&path)).collect();
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn every_key_has_a_line_that_says_what_it_is() {
        let says = |path: &[Step]| shown(path).is_some_and(|(_, comment)| comment.is_some_and(|it| it.len() > 3));
        // Of tables in a line, the line says what they are.
        let in_a_line = |path: &[Step]| path.len() > 1 && says(&path[..path.len() - 1]);
        // Of a table whose keys are free, the one that is shown says it.
        let by_example = |path: &[Step]| {
            let inner =
                |key: &String| key.strip_prefix(&dotted(path)).and_then(|rest| rest.strip_prefix('.')).is_some();
            COMMENTS.keys().any(inner)
        };
        let silent =
            every_key().filter(|path| !says(path) && !in_a_line(path) && !by_example(path)).map(|path| dotted(&path));
        assert_eq!(silent.collect::<Vec<_>>(), Vec::<String>::new());
    }

    #[test]
    fn what_has_no_default_is_known() {
        let with: Vec<String> = defaults().iter().map(|(key, _)| key.dotted()).collect();
        let says = |key: &str| comment(key).is_some_and(|comment| comment.contains("[default: "));
        // In a table of a line, or of check.target, the table says it.
        let without = keys().iter().map(Key::dotted).filter(|key| !with.contains(key) && !says(key));
        let without: Vec<String> = without.collect();
        insta::assert_snapshot!(without.join("\n"), @"
        check.target.url
        limits.per_proxy.burst
        limits.per_proxy.concurrency
        limits.per_proxy.rate
        limits.per_site.burst
        limits.per_site.concurrency
        limits.per_site.rate
        plugins.settings
        ");
    }

    #[test]
    fn the_template_sets_nothing() {
        assert!(means_nothing(&template()) && sets_nothing(&template()), "{}", template());
        // And without its marks it is the reference.
        let template = template();
        let bare: Vec<&str> = template.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        let is_there = |line: &str| bare.contains(&line);
        assert!(text().lines().all(is_there));
    }
}
