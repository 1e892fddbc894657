//! Variables of the environment that set keys: which they are, and how their texts are read.

use proxywhirl_store::StoreUrl;
use toml::{Table, Value};

use super::environment::PREFIX;
use super::layers::FILE;
use super::nearest::nearest;
use super::schema::{Key, Kind, keys, variable};

/// Variables that are no keys: what else the command line reads.
const OTHERS: [&str; 2] = [FILE, "PROXYWHIRL_LOG"];

/// Short names for keys, which stand for options of the command line.
const SHORT: [(&str, &str); 4] = [
    ("PROXYWHIRL_DB", "store.url"),
    ("PROXYWHIRL_PLUGINS", "plugins.directory"),
    ("PROXYWHIRL_STRATEGY", "strategy.name"),
    ("PROXYWHIRL_CONTROL", "control.socket"),
];

/// The key that a variable sets.
pub(super) fn key(name: &str) -> Option<&'static Key> {
    let short = SHORT.iter().find(|(short, _)| *short == name).map(|(_, key)| *key);
    keys().iter().find(|key| short.map_or_else(|| key.variable() == name, |short| key.dotted() == short))
}

/// Whether a variable is a short name for a key.
pub(super) fn is_short(name: &str) -> bool {
    SHORT.iter().any(|(short, _)| *short == name)
}

/// Whether a variable is one of ours, though it sets no key.
pub(super) fn is_other(name: &str) -> bool {
    OTHERS.contains(&name)
}

/// A variable that sets nothing, and the nearest one that does.
pub(super) fn with_nearest(name: &str) -> (String, Option<String>) {
    let known: Vec<String> = keys().iter().map(Key::variable).collect();
    let bare = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let word = bare(name);
    // A table has keys, and no variable that is near it means it.
    if word.is_empty() || known.iter().any(|known| bare(known).starts_with(&format!("{word}_"))) {
        return (name.to_owned(), None);
    }
    // The key alone, without its table; of several, the one that is least else.
    let ends = known.iter().filter(|known| known.ends_with(&format!("_{word}")));
    if let Some(whole) = ends.min_by_key(|known| known.len()) {
        return (name.to_owned(), Some(whole.clone()));
    }
    // What all of them begin with is no likeness.
    let words: Vec<String> = known.iter().map(|known| bare(known)).collect();
    (name.to_owned(), nearest(&word, words.iter().map(String::as_str)).map(|nearest| format!("{PREFIX}{nearest}")))
}

/// Reads the text of a variable as the value of a key; none when it is not of its kind.
pub(super) fn value(key: &Key, text: &str) -> Option<Value> {
    let toml = |text: &str| toml::from_str::<Table>(&format!("value = {text}")).ok()?.remove("value");
    let path = |text: &str| match key.dotted().as_str() {
        "store.url" => store_here(text),
        _ if key.is_path => here(text),
        _ => text.to_owned(),
    };
    match key.kind {
        Kind::Text => Some(Value::String(path(text))),
        Kind::TextOrSwitch => Some(match text {
            "true" | "on" => Value::Boolean(true),
            "false" | "off" => Value::Boolean(false),
            text => Value::String(path(text)),
        }),
        Kind::Switch => match text {
            "true" | "on" | "yes" | "1" => Some(Value::Boolean(true)),
            "false" | "off" | "no" | "0" => Some(Value::Boolean(false)),
            _ => None,
        },
        Kind::Number => toml(text).filter(|value| matches!(value, Value::Integer(_) | Value::Float(_))),
        Kind::Texts if !text.trim_start().starts_with('[') => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Some(Value::Array(words.map(|word| Value::String(path(word))).collect()))
        }
        Kind::Texts | Kind::Other => {
            let numbers = || toml(&format!("[{text}]")).filter(|_| is_numbers(key, text));
            numbers().or_else(|| table(text))
        }
    }
}

/// Whether this is a list of numbers, with commas between them and no brackets around them.
fn is_numbers(key: &Key, text: &str) -> bool {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    key.is_numbers && text.split(',').all(|word| is_number(word.trim()))
}

/// A list or a table, as JSON or as TOML writes it in a line.
fn table(text: &str) -> Option<Value> {
    let json = || Value::try_from(serde_json::from_str::<serde_json::Value>(text).ok()?).ok();
    json().or_else(|| toml::from_str::<Table>(&format!("value = {text}")).ok()?.remove("value"))
}

/// A table within a section that a variable sets as a whole, by its path; none when there is none of this name.
pub(super) fn inner_table(name: &str) -> Option<&'static [String]> {
    let is_it = |path: &&[String]| path.len() > 1 && variable(path) == name;
    let above = |key: &'static Key| (1..key.path.len()).filter_map(|end| key.path.get(..end));
    keys().iter().flat_map(above).find(is_it)
}

/// What such a variable says: a table.
pub(super) fn table_of(text: &str) -> Option<Value> {
    table(text).filter(Value::is_table)
}

/// A path in a variable is relative to the working directory, wherever the file is.
fn here(path: &str) -> String {
    let absolute = std::path::absolute(path).ok().and_then(|path| path.into_os_string().into_string().ok());
    absolute.unwrap_or_else(|| path.to_owned())
}

/// A store whose path is relative to the working directory. What is none is told of later, with the others.
fn store_here(url: &str) -> String {
    let store = url.parse::<StoreUrl>().ok().zip(std::env::current_dir().ok());
    store.map_or_else(|| url.to_owned(), |(store, folder)| store.within(&folder).exposed())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_was_meant_is_told_and_nothing_that_was_not() {
        let meant = |name: &str| with_nearest(&format!("PROXYWHIRL_{name}")).1;
        assert_eq!(meant("ATTEMPTS").as_deref(), Some("PROXYWHIRL_GATEWAY_ATTEMPTS"));
        assert_eq!(meant("GATEWAY_ATEMPTS").as_deref(), Some("PROXYWHIRL_GATEWAY_ATTEMPTS"));
        assert_eq!(meant("LISTN").as_deref(), Some("PROXYWHIRL_LISTEN"));
        for name in ["GATEWAY", "USERS_0_NAME", "X"] {
            assert_eq!(meant(name), None, "{name}");
        }
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let variables: BTreeSet<String> = keys().iter().map(Key::variable).collect();
        assert_eq!(variables.len(), keys().len());
        assert!(keys().len() > 80, "{}", keys().len());
        let taken = |name: &str| variables.contains(name);
        let tables = |key: &'static Key| (2..key.path.len()).filter_map(|end| Some(variable(key.path.get(..end)?)));
        let both: Vec<String> = keys().iter().flat_map(tables).filter(|name| taken(name)).collect();
        assert!(both.is_empty(), "a table and a key: {both:?}");
        assert!(!OTHERS.iter().any(|name| taken(name)) && !SHORT.iter().any(|(name, _)| taken(name)));
        assert!(SHORT.iter().all(|(_, key)| keys().iter().any(|known| known.dotted() == *key)));
    }
}
