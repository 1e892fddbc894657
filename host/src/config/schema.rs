//! What can be set: the JSON Schema of the configuration, and the keys in it.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::file::ConfigFile;
use super::reference;

/// How deep tables stand in one another.
const DEPTH: usize = 8;

/// A key that holds a value, not a table of further keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The tables that it stands in, and its own name.
    pub path: Vec<String>,
    /// What its value is.
    pub kind: Kind,
    /// Whether that is a path, or a list of them.
    pub is_path: bool,
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text, also where a number would do as well.
    Text,
    /// A number.
    Number,
    /// True or false.
    Switch,
    /// A text, or true or false.
    TextOrSwitch,
    /// A list of texts.
    Texts,
    /// Anything else: a list, or a table whose keys are free.
    Other,
}

impl Key {
    /// Its name with dots, as in `gateway.attempts`.
    #[must_use]
    pub fn dotted(&self) -> String {
        self.path.join(".")
    }

    /// The environment variable that sets it, as `PROXYWHIRL_GATEWAY_ATTEMPTS`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("PROXYWHIRL_{}", self.path.join("_").to_ascii_uppercase())
    }
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schemars::schema_for!(ConfigFile).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "ProxyWhirl's configuration".into());
    }
    schema
});

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let mut keys = Vec::new();
    walk(&SCHEMA, &mut Vec::new(), &mut keys);
    keys
});

/// The JSON Schema of the configuration (draft 2020-12), with the defaults of the keys that have one.
#[must_use]
pub fn schema() -> Value {
    let mut schema = SCHEMA.clone();
    for (key, value) in reference::defaults() {
        if let Some(described) = find(&mut schema, &key.path) {
            described.insert("default".to_owned(), value.clone());
        }
    }
    schema
}

/// All keys that hold a value, in the order of the schema. Lists of tables, such as `sources`, are one key each.
#[must_use]
pub fn keys() -> &'static [Key] {
    &KEYS
}

/// The object that describes a key, where that stands in the schema's own tables.
fn find<'s>(schema: &'s mut Value, path: &[String]) -> Option<&'s mut Map<String, Value>> {
    let mut pointer = String::new();
    for (depth, name) in path.iter().enumerate() {
        if depth > 0 {
            pointer = table(schema, schema.pointer(&pointer)?)?;
        }
        pointer = format!("{pointer}/properties/{name}");
    }
    schema.pointer_mut(&pointer)?.as_object_mut()
}

/// Where the definition is that this refers to.
fn table(schema: &Value, described: &Value) -> Option<String> {
    let pointer = reference_of(described)?.strip_prefix('#')?;
    schema.pointer(pointer).map(|_| pointer.to_owned())
}

/// What a description refers to: directly, or as one of several, of which the others are none or null.
fn reference_of(described: &Value) -> Option<&str> {
    let direct = |value: &Value| value.get("$ref").and_then(Value::as_str).map(str::len).is_some();
    if direct(described) {
        return described.get("$ref").and_then(Value::as_str);
    }
    let several = described.get("anyOf").and_then(Value::as_array)?;
    several.iter().find(|one| direct(one))?.get("$ref").and_then(Value::as_str)
}

fn resolved<'s>(root: &'s Value, described: &'s Value) -> &'s Value {
    reference_of(described).and_then(|reference| root.pointer(reference.strip_prefix('#')?)).unwrap_or(described)
}

fn walk(described: &Value, path: &mut Vec<String>, keys: &mut Vec<Key>) {
    let described = resolved(&SCHEMA, described);
    let Some(properties) = described.get("properties").and_then(Value::as_object).filter(|_| path.len() < DEPTH) else {
        let is_path =
            format_of(described) == Some("path") || described.get("items").and_then(format_of) == Some("path");
        keys.push(Key { path: path.clone(), kind: kind(described), is_path });
        return;
    };
    for (name, described) in properties {
        path.push(name.clone());
        walk(described, path, keys);
        path.pop();
    }
}

fn format_of(described: &Value) -> Option<&str> {
    described.get("format").and_then(Value::as_str)
}

fn kind(described: &Value) -> Kind {
    let types: Vec<&str> = match described.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).filter(|one| *one != "null").collect(),
        Some(_) | None => Vec::new(),
    };
    let is = |one: &str| types.contains(&one);
    let items = described.get("items").map(|items| resolved(&SCHEMA, items));
    // A text or a list of texts, as `check.judge`.
    let one_or_more = described.get("anyOf").is_some() && types.is_empty();
    if is("string") && is("boolean") {
        Kind::TextOrSwitch
    } else if is("string") {
        Kind::Text
    } else if is("boolean") {
        Kind::Switch
    } else if is("integer") || is("number") {
        Kind::Number
    } else if items.is_some_and(|items| kind(items) == Kind::Text) || one_or_more {
        Kind::Texts
    } else {
        Kind::Other
    }
}
