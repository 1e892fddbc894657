//! The syntax of a configuration file: TOML, YAML or JSON, by the end of its name.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Table;

use super::file::ConfigError;
use super::nearest::nearest;

/// The largest configuration file that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Toml,
    Yaml,
    Json,
}

impl Syntax {
    fn of(file: &Path) -> Self {
        match file.extension().and_then(|end| end.to_str()) {
            Some("yaml" | "yml") => Self::Yaml,
            Some("json") => Self::Json,
            Some(_) | None => Self::Toml,
        }
    }
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let error = |reason: String| ConfigError { file: path.to_owned(), reason, hint: None };
    let unreadable = |cause: std::io::Error| error(format!("cannot be read: {cause}"));
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(error(format!("{size} bytes, but a configuration has at most {MAX_BYTES}")));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// Reads a text in the syntax that the file's name says.
pub(super) fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    match Syntax::of(path) {
        Syntax::Toml => toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| line_at(text, span.start));
            explain(path, line, key_at(text, line, '='), error.message())
        }),
        Syntax::Yaml => serde_saphyr::from_str(text).map_err(|error| {
            let line = error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or_default());
            explain(path, line, key_at(text, line, ':'), &error.without_snippet().to_string())
        }),
        Syntax::Json => serde_json::from_str(text).map_err(|error| {
            // It ends with the line and the column, which are told apart from it.
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            explain(path, error.line(), None, message)
        }),
    }
}

/// The same as a table.
pub(super) fn table(text: &str, path: &Path) -> Result<Table, ConfigError> {
    if Syntax::of(path) == Syntax::Toml {
        return parse(text, path);
    }
    let error = |reason: String| ConfigError { file: path.to_owned(), reason, hint: None };
    let mut value: serde_json::Value = parse(text, path)?;
    drop_nulls(&mut value);
    match value {
        serde_json::Value::Null => Ok(Table::new()),
        value => Table::try_from(value).map_err(|cause| error(cause.to_string())),
    }
}

/// TOML has no null: what is null is not there.
fn drop_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The lines in which keys are set, by their names with dots, where the syntax tells.
pub(super) fn lines(text: &str, path: &Path) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    if Syntax::of(path) == Syntax::Toml
        && let Ok(document) = toml_edit::Document::parse(text)
    {
        walk(text, document.as_table(), "", &mut lines);
    }
    lines
}

fn walk(text: &str, table: &dyn toml_edit::TableLike, prefix: &str, lines: &mut BTreeMap<String, usize>) {
    for (name, item) in table.iter() {
        let dotted = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let key = table.key(name).and_then(toml_edit::Key::span);
        if let Some(span) = key.or_else(|| item.span()) {
            lines.insert(dotted.clone(), line_at(text, span.start));
        }
        if let Some(table) = item.as_table_like() {
            walk(text, table, &dotted, lines);
        }
    }
}

/// The line of a byte, counted from 1.
fn line_at(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

/// The key that a line sets. Not its value, which may be a secret.
fn key_at(text: &str, line: usize, between: char) -> Option<&str> {
    let (key, _) = text.lines().nth(line.checked_sub(1)?)?.split_once(between)?;
    Some(key.trim()).filter(|key| !key.is_empty())
}

fn explain(path: &Path, line: usize, key: Option<&str>, message: &str) -> ConfigError {
    let hint = hint(message);
    let reason = match (&hint, key) {
        // The message names the key, and the hint the ones that there are.
        (Some(_), _) => format!("line {line}: {}", message.split(", expected").next().unwrap_or(message)),
        (None, Some(key)) => format!("line {line}, {key}: {message}"),
        (None, None) => format!("line {line}: {message}"),
    };
    ConfigError { file: path.to_owned(), reason, hint }
}

/// For an unknown key: the nearest key that is known, or all of them.
fn hint(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.contains("unknown field") {
        return None;
    }
    let unknown = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    Some(match nearest(unknown, known.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("the keys here are {}", known.join(", ")),
    })
}
