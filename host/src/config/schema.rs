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
    let Some(tables) = schema.get("$defs").and_then(Value::as_object).cloned() else { return schema };
    let is_table = |reference: &str| tables.get(reference.trim_start_matches("#/$defs/")).is_some_and(is_table);
    if let Some(all) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        for described in all.values_mut() {
            allow_null(described, &is_table);
            if self::is_table(described) {
                let described = described.as_object_mut();
                described.map(|described| described.insert("type".to_owned(), serde_json::json!(["object", "null"])));
            }
        }
    }
    allow_null(&mut schema, &is_table);
    schema
}

fn is_table(described: &Value) -> bool {
    described.get("type").is_some_and(|own| own == "object")
}

/// What is null is not there, in YAML and JSON, and so it may be null wherever it may be missing. A table says by itself that it may.
fn allow_null(table: &mut Value, is_table: &impl Fn(&str) -> bool) {
    let needed = table.get("required").cloned().unwrap_or_default();
    let is_needed = |name: &str| needed.as_array().is_some_and(|needed| needed.iter().any(|other| other == name));
    let properties = table.get_mut("properties").and_then(Value::as_object_mut);
    for (_, described) in properties.into_iter().flatten().filter(|(name, _)| !is_needed(name)) {
        let Some(described) = described.as_object_mut() else { continue };
        if let Some(Value::String(own)) = described.get("type").cloned() {
            described.insert("type".to_owned(), serde_json::json!([own, "null"]));
        }
        let reference = described.get("$ref").and_then(Value::as_str).filter(|reference| !is_table(reference));
        if let Some(own) = reference.map(str::to_owned) {
            described.remove("$ref");
            described.insert("anyOf".to_owned(), serde_json::json!([{ "$ref": own }, { "type": "null" }]));
        }
        if let Some(Value::Array(words)) = described.get_mut("enum") {
            words.push(Value::Null);
        }
    }
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
    let choices = described
        .get("oneOf")
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(|choice| choice.get("const")).filter_map(Value::as_str).collect::<Vec<_>>());
    let words = described.get("enum").and_then(Value::as_array);
    let words = words.map(|words| words.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    if let Some(words) = choices.or(words) {
        return format!("one of {}", words.join(", "));
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
    let bound = |name: &str| described.get(name).and_then(Value::as_f64);
    let what = match format_of(described) {
        Some("float" | "double") => "a number",
        Some(_) | None => "a whole number",
    };
    let most = bound("maximum").or(match format_of(described) {
        Some("uint32") => Some(u32::MAX.into()),
        Some(_) | None => None,
    });
    match (bound("minimum"), bound("exclusiveMinimum"), most) {
        (Some(least), _, Some(most)) => format!("{what} from {least} to {most}"),
        (Some(least), _, None) => format!("{what}, {least} or more"),
        (None, Some(least), _) => format!("{what}, more than {least}"),
        (None, None, _) => what.to_owned(),
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proxywhirl_core::Scheme;
    use proxywhirl_engine::check::target::StatusRanges;

    use super::super::mistakes::{alone, dotted, may_be};
    use super::super::reference::tests::every_key;
    use super::super::{Layers, Size, check, file, listeners, settings, size, sources};
    use super::*;

    /// Of what texts are made that may be durations, sizes, statuses, addresses or schemes.
    const PIECES: &[&str] = &[
        "0", "1", "05", "24", "200", "404", "s", "ms", "min", "h", "M", "\u{b5}s", " ", "\u{a0}", ".", ",", "-", "/",
        "+", ":", "KiB", "B", "unix:", "socks", "5h", "HTTP", " request", "client",
    ];

    /// The forms of those in the schema.
    static FORMS: LazyLock<[regex::Regex; 7]> = LazyLock::new(|| {
        let (size, scheme, rotation) = (size::pattern(), sources::any_scheme(), listeners::rotations());
        let forms = [file::DURATION, &size, check::STATUSES, listeners::ADDRESS, &scheme, settings::LISTEN, &rotation];
        forms.map(|form| regex::Regex::new(form).unwrap())
    });

    /// What a validator that knows the schema alone says.
    struct Validator(boon::Schemas, boon::SchemaIndex);

    impl Validator {
        fn new() -> Self {
            let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
            compiler.add_resource("config.json", schema()).unwrap();
            let index = compiler.compile("config.json", &mut schemas).unwrap();
            Self(schemas, index)
        }

        fn takes(&self, value: &Value) -> bool {
            self.0.validate(value, self.1).is_ok()
        }

        /// Whether a key may have a value, by itself.
        fn lets(&self, path: &[Step], value: &toml::Value) -> bool {
            self.takes(&serde_json::to_value(alone(path, value.clone())).unwrap())
        }
    }

    /// Values at the bounds and words, which are right, and those beyond, which are wrong.
    fn tried(described: &Value) -> (Vec<toml::Value>, Vec<toml::Value>) {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for word in described.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            right.push(word.into());
            wrong.push(format!("{word}x").into());
        }
        let is_whole = !format_of(described).is_some_and(|format| matches!(format, "float" | "double"));
        let number = |value: f64| match is_whole {
            #[allow(clippy::cast_possible_truncation, reason = "bounds are small")]
            true => toml::Value::Integer(value as i64),
            false => toml::Value::Float(value),
        };
        let bound = |name: &str| described.get(name).and_then(Value::as_f64);
        for (bound, beyond) in [(bound("minimum"), -1.0), (bound("maximum"), 1.0)] {
            if let Some(bound) = bound {
                right.push(number(bound));
                wrong.push(number(bound + beyond));
            }
        }
        if described.get("pattern").and_then(Value::as_str) == Some(file::LASTING) {
            wrong.extend(["0s", "0h 0ms"].map(toml::Value::from));
        }
        (right, wrong)
    }

    #[test]
    fn the_schema_refuses_nothing_that_a_check_takes_and_knows_its_words_and_bounds() {
        let validator = Validator::new();
        let mut told = Vec::new();
        for path in every_key() {
            let one = [&path[..], &[Step::Index(0)]].concat();
            for path in [path, one] {
                let Some(described) = described(&path) else { continue };
                let (right, wrong) = tried(described);
                for value in right {
                    assert!(may_be(&path, value.clone()), "a check refuses {} = {value}", dotted(&path));
                    assert!(validator.lets(&path, &value), "the schema refuses {} = {value}", dotted(&path));
                    told.push(dotted(&path));
                }
                for value in wrong {
                    assert!(!may_be(&path, value.clone()), "a check takes {} = {value}", dotted(&path));
                    assert!(!validator.lets(&path, &value), "the schema takes {} = {value}", dotted(&path));
                }
                for text in ["0", "0s", "7ms", "1s", "1m 30s", "1.5h", "1d", "10", "64MiB", "http", "200-299, 404"] {
                    let value = toml::Value::from(text);
                    let is_refused = may_be(&path, value.clone()) && !validator.lets(&path, &value);
                    assert!(!is_refused, "the schema refuses {} = {value}", dotted(&path));
                }
                // As it is documented.
                if let Some((value, _)) =
                    reference::shown(&path).filter(|_| !matches!(path.last(), Some(Step::Index(_))))
                {
                    assert!(validator.lets(&path, &value), "the schema refuses {} = {value}", dotted(&path));
                }
            }
        }
        told.dedup();
        assert!(told.len() > 60, "{told:#?}");
        let page: toml::Value = toml::from_str(reference::text()).unwrap();
        assert!(validator.takes(&serde_json::to_value(page).unwrap()));
    }

    #[test]
    fn what_a_check_refuses_the_schema_mostly_does() {
        let validator = Validator::new();
        for text in [
            "[check]\nlevel = \"ssl\"",
            "[fetch]\ndrift = \"yes\"",
            "[[sources]]\nname = \"a\"\nlocation = \"b\"\nrender = \"js\"",
            "[gateway]\nattempts = 0",
            "[gateway]\nconnect_timeout = \"5 parsecs\"",
            "[gateway]\nconnect_timeout = \"soon\"",
            "[gateway]\nfirst_flight = \"many\"",
            "[gateway]\nretry_status = [200]",
            "[health]\nmin_success = 30",
            "[[users]]\nname = \"a:b\"\nrate = 0",
            "listen = \"127.0.0.1\"",
            "[[listeners]]\naddress = \"8080\"",
            "[[listeners]]\naddress = \"127.0.0.1:1\"\nrotation = \"sometimes\"",
            "[[listeners]]\naddress = \"127.0.0.1:1\"\nrotation = \"0 requests\"",
            "[[bans]]\nname = \"a\"\nstatus = \"ok\"",
            "[events]\ntopics = [\"birthday\"]",
        ] {
            let value: toml::Value = toml::from_str(text).unwrap();
            assert!(!validator.takes(&serde_json::to_value(value).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_may_be_missing_may_be_null() {
        let validator = Validator::new();
        for text in [
            r#"{"listen": null, "gateway": null, "sources": null, "access": {"login": null, "clients": null}}"#,
            r#"{"check": {"level": null, "timeout": null, "judge": null}, "limits": {"per_proxy": null}}"#,
            r#"{"sources": [{"name": "a", "location": "b", "render": null, "trust": null, "headers": null}]}"#,
        ] {
            let layers = Layers::of_text(text, Path::new("a.json")).unwrap();
            assert!(layers.settings().is_ok() && validator.takes(&serde_json::from_str(text).unwrap()), "{text}");
        }
        assert!(!validator.takes(&serde_json::json!({ "sources": [{ "name": "a", "location": null }] })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn whatever_can_be_read_has_the_form_of_the_schema(pieces in vec(select(PIECES), 0..6)) {
            let text = pieces.concat();
            let is_read = [
                humantime::parse_duration(&text).is_ok(),
                text.parse::<Size>().is_ok(),
                text.parse::<StatusRanges>().is_ok(),
                listeners::address(&text, Path::new("")).is_ok(),
                text.parse::<Scheme>().is_ok(),
                settings::address(text.clone()).is_ok(),
                listeners::rotation(&text).is_ok(),
            ];
            for (is_read, form) in is_read.into_iter().zip(FORMS.iter()) {
                let has_form = form.is_match(&text);
                prop_assert!(!is_read || has_form, "{:?}", text);
            }
        }
    }
}
