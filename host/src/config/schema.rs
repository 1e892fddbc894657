//! What can be set: the JSON Schema of the configuration, and the keys in it.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::file::ConfigFile;
use super::reference;
use super::said::Step;

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
    /// Whether it is a list of numbers.
    pub is_numbers: bool,
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

    /// The steps to it.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.path.iter().cloned().map(Step::Key).collect()
    }

    /// The environment variable that sets it, as `PROXYWHIRL_GATEWAY_ATTEMPTS`.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(&self.path)
    }
}

/// The environment variable of a key, or of a table.
pub(super) fn variable(path: &[String]) -> String {
    format!("PROXYWHIRL_{}", path.join("_").to_ascii_uppercase())
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

/// What the schema says of what the steps lead to.
pub(super) fn described(path: &[Step]) -> Option<&'static Value> {
    path.iter().try_fold(&*SCHEMA, |described, step| {
        let described = resolved(&SCHEMA, described);
        match step {
            Step::Key(name) => described
                .get("properties")
                .and_then(|keys| keys.get(name))
                .or_else(|| described.get("additionalProperties").filter(|any| any.is_object())),
            Step::Index(_) => described.get("items"),
        }
    })
}

/// The keys of the table that the steps lead to.
pub(super) fn names(path: &[Step]) -> Vec<String> {
    let properties = described(path).and_then(|described| resolved(&SCHEMA, described).get("properties"));
    properties.and_then(Value::as_object).map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

/// The keys without which the table that the steps lead to cannot be.
pub(super) fn needed(path: &[Step]) -> Vec<String> {
    let required = described(path).and_then(|described| resolved(&SCHEMA, described).get("required"));
    let names = required.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether a value is a duration.
pub(super) fn is_duration(described: &Value) -> bool {
    reference_of(described).is_some_and(|reference| reference.ends_with("/Duration"))
}

/// What a value has to be, in words that go after "it is not".
pub(super) fn expected(described: &Value) -> String {
    let has_name = reference_of(described).is_some();
    let described = resolved(&SCHEMA, described);
    if described.get("properties").is_some() {
        return "a table of keys".to_owned();
    }
    if let Some(choices) = described.get("oneOf").and_then(Value::as_array) {
        let words = choices.iter().filter_map(|choice| choice.get("const")).filter_map(Value::as_str);
        return format!("one of {}", words.collect::<Vec<_>>().join(", "));
    }
    // Types of our own say what they are.
    if let (true, Some(_), Some(words)) = (has_name, described.get("type"), described.get("description")) {
        return words.as_str().unwrap_or_default().to_owned();
    }
    match kind(described) {
        Kind::Text if described.get("maxLength").and_then(Value::as_u64) == Some(1) => "one character".to_owned(),
        Kind::Text => "a text".to_owned(),
        Kind::Number => number(described),
        Kind::Switch => "true or false".to_owned(),
        Kind::TextOrSwitch => "a text, true or false".to_owned(),
        Kind::Texts if described.get("anyOf").is_some() => "a text or a list of texts".to_owned(),
        Kind::Texts => "a list of texts".to_owned(),
        Kind::Other => match described.get("items").map(|items| resolved(&SCHEMA, items)) {
            Some(items) if items.get("properties").is_some() => "a list of tables".to_owned(),
            Some(items) => format!("a list, each {}", expected(items)),
            None => "a table".to_owned(),
        },
    }
}

fn number(described: &Value) -> String {
    if format_of(described).is_some_and(|format| matches!(format, "float" | "double")) {
        return "a number".to_owned();
    }
    let most = match format_of(described) {
        Some("uint8") => Some(u64::from(u8::MAX)),
        Some("uint16") => Some(u64::from(u16::MAX)),
        Some("uint32") => Some(u64::from(u32::MAX)),
        Some(_) | None => None,
    };
    most.map_or_else(|| "a whole number, 0 or more".to_owned(), |most| format!("a whole number from 0 to {most}"))
}

fn resolved<'s>(root: &'s Value, described: &'s Value) -> &'s Value {
    reference_of(described).and_then(|reference| root.pointer(reference.strip_prefix('#')?)).unwrap_or(described)
}

fn walk(described: &Value, path: &mut Vec<String>, keys: &mut Vec<Key>) {
    let described = resolved(&SCHEMA, described);
    let Some(properties) = described.get("properties").and_then(Value::as_object).filter(|_| path.len() < DEPTH) else {
        let is_path =
            format_of(described) == Some("path") || described.get("items").and_then(format_of) == Some("path");
        let items = described.get("items").map(|items| kind(resolved(&SCHEMA, items)));
        let is_numbers = items == Some(Kind::Number);
        keys.push(Key { path: path.clone(), kind: kind(described), is_path, is_numbers });
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
    let is_choice = described.get("oneOf").is_some();
    let one_or_more = described.get("anyOf").is_some() && types.is_empty();
    if is("string") && is("boolean") {
        Kind::TextOrSwitch
    } else if is("string") || is_choice {
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
