//! The syntax of a configuration file: TOML, YAML or JSON, by the end of its name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use toml::Value;
use toml_edit::{Document, Item, TableLike};

use super::file::ConfigError;
use super::readable;
use super::said::{Held, Origin, Said, Spot};

/// The largest configuration file that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Toml,
    Yaml,
    Json,
}

impl Syntax {
    /// As the end of its name says.
    pub(super) fn of(file: &Path) -> Self {
        match file.extension().and_then(|end| end.to_str()) {
            Some("yaml" | "yml") => Self::Yaml,
            Some("json") => Self::Json,
            Some(_) | None => Self::Toml,
        }
    }
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let error = |reason: String| ConfigError::in_file(path, reason);
    let unreadable = |cause: std::io::Error| error(format!("cannot be read: {cause}"));
    readable::once(path).map_err(|what| error(format!("is {what}")))?;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // Not what its size says: a pipe and a device have none.
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(error(format!("a configuration has at most {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Reads a text in the syntax that the file's name says: always a table.
pub(super) fn parse(text: &str, path: &Path) -> Result<Said, ConfigError> {
    let file: Arc<Path> = path.into();
    let whole = || Origin::File(file.clone(), Spot::default());
    let said = match Syntax::of(path) {
        Syntax::Toml => toml(text, &file)?,
        Syntax::Yaml => yaml(text, &file)?,
        Syntax::Json => json(text, &file)?,
    };
    match said {
        None => Ok(Said::new(Held::Table(BTreeMap::new()), whole())),
        Some(said @ Said { held: Held::Table(_), .. }) => Ok(said),
        Some(_) => Err(ConfigError::at(&whole(), "it has to be a table of keys and values".to_owned())),
    }
}

fn toml(text: &str, file: &Arc<Path>) -> Result<Option<Said>, ConfigError> {
    let lines = Lines::of(text, file);
    match Document::parse(text) {
        Ok(document) => Ok(Some(lines.table(document.as_table()))),
        Err(error) => {
            let at = lines.origin(error.span());
            Err(ConfigError { hint: toml_hint(text, &at), ..ConfigError::at(&at, error.message().to_owned()) })
        }
    }
}

/// What is mostly meant by a line that is no TOML: a text without its quotes.
fn toml_hint(text: &str, at: &Origin) -> Option<String> {
    let Origin::File(_, spot) = at else { return None };
    let (key, value) = text.lines().nth(spot.line.checked_sub(1)?)?.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default().trim();
    let is_other = matches!(value, "" | "true" | "false") || value.parse::<f64>().is_ok();
    let is_bare = !is_other && !value.contains(['"', '\'', '[', '{', '=']);
    // The value is not repeated: it may be a secret.
    is_bare.then(|| format!("a text has quotes: {} = \"…\"", key.trim()))
}

/// Where the lines of a text begin.
struct Lines<'t> {
    text: &'t str,
    file: &'t Arc<Path>,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str, file: &'t Arc<Path>) -> Self {
        let starts = [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, file, starts }
    }

    fn origin(&self, span: Option<Range<usize>>) -> Origin {
        let spot = span.map_or_else(Spot::default, |span| {
            let line = self.starts.partition_point(|start| *start <= span.start);
            let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
            let before = self.text.get(start..span.start).unwrap_or_default();
            Spot { line, column: before.chars().count() + 1 }
        });
        Origin::File(self.file.clone(), spot)
    }

    fn table(&self, table: &dyn TableLike) -> Said {
        let mut held = BTreeMap::new();
        for (name, item) in table.iter() {
            let key = table.key(name).and_then(toml_edit::Key::span);
            if let Some(mut said) = self.item(item) {
                if key.is_some() {
                    said.key_at = self.origin(key);
                }
                held.insert(name.to_owned(), said);
            }
        }
        Said::new(Held::Table(held), self.origin(None))
    }

    fn item(&self, item: &Item) -> Option<Said> {
        match item {
            Item::None => None,
            Item::Value(value) => Some(self.value(value)),
            Item::Table(table) => Some(Said { at: self.origin(table.span()), ..self.table(table) }),
            Item::ArrayOfTables(tables) => {
                let element = |table: &toml_edit::Table| Said::new(self.table(table).held, self.origin(table.span()));
                Some(Said::new(Held::List(tables.iter().map(element).collect()), self.origin(tables.span())))
            }
        }
    }

    fn value(&self, value: &toml_edit::Value) -> Said {
        let held = match value {
            toml_edit::Value::String(text) => Held::One(Value::String(text.value().clone())),
            toml_edit::Value::Integer(number) => Held::One(Value::Integer(*number.value())),
            toml_edit::Value::Float(number) => Held::One(Value::Float(*number.value())),
            toml_edit::Value::Boolean(on) => Held::One(Value::Boolean(*on.value())),
            toml_edit::Value::Datetime(date) => Held::One(Value::Datetime(*date.value())),
            toml_edit::Value::Array(values) => Held::List(values.iter().map(|value| self.value(value)).collect()),
            toml_edit::Value::InlineTable(table) => self.table(table).held,
        };
        Said::new(held, self.origin(value.span()))
    }
}

fn yaml(text: &str, file: &Arc<Path>) -> Result<Option<Said>, ConfigError> {
    let read: Result<Spanned<Any>, _> = serde_saphyr::from_str(text);
    read.map(|any| any.said(file)).map_err(|error| {
        let at = Origin::File(file.clone(), error.location().map_or_else(Spot::default, spot));
        let message = error.without_snippet().to_string();
        // Without the place, which is told apart, and the advice to who writes programs.
        let fact = message.split([',', ';']).next().and_then(|fact| fact.split(" at line ").next());
        let fact = match fact.unwrap_or_default() {
            // The library's own words for what it refuses to build.
            fact if fact.starts_with("budget breached") => "this becomes too large: it repeats itself too often",
            fact => fact,
        };
        ConfigError::at(&at, fact.to_owned())
    })
}

fn json(text: &str, file: &Arc<Path>) -> Result<Option<Said>, ConfigError> {
    let value = serde_json::from_str(text).and_then(|value| serde_json::from_str::<Unique>(text).map(|_| value));
    let value: serde_json::Value = value.map_err(|error| {
        // It ends with the line and the column, which are told apart from it.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let spot = Spot { line: error.line(), column: error.column().max(1) };
        ConfigError::at(&Origin::File(file.clone(), spot), message.to_owned())
    })?;
    // Nearly all JSON is YAML too, of which places are known.
    Ok(yaml(text, file).unwrap_or_else(|_| without_places(value).said(file, Spot::default())))
}

/// A JSON text in which no table has a key twice: of two, a map takes the second, and nobody is told of the first.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format!("the key {name} is there twice")));
            }
            names.insert(name);
            map.next_value::<Self>()?;
        }
        Ok(Self)
    }
}

fn without_places(value: serde_json::Value) -> Any {
    fn spanned<T>(value: T) -> Spanned<T> {
        Spanned::new(value, Location::UNKNOWN, Location::UNKNOWN)
    }
    match value {
        serde_json::Value::Null => Any::Null,
        serde_json::Value::Bool(on) => Any::One(Value::Boolean(on)),
        serde_json::Value::Number(number) => Any::One(
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::INFINITY)), Value::Integer),
        ),
        serde_json::Value::String(text) => Any::One(Value::String(text)),
        serde_json::Value::Array(values) => {
            Any::List(values.into_iter().map(|value| spanned(without_places(value))).collect())
        }
        serde_json::Value::Object(fields) => Any::Table(
            fields.into_iter().map(|(name, value)| (spanned(name), spanned(without_places(value)))).collect(),
        ),
    }
}

fn spot(location: Location) -> Spot {
    let number = |number: u64| usize::try_from(number).unwrap_or_default();
    Spot { line: number(location.line()), column: number(location.column()) }
}

/// Anything that YAML and JSON can say.
enum Any {
    Null,
    One(Value),
    List(Vec<Spanned<Any>>),
    Table(Vec<(Spanned<String>, Spanned<Any>)>),
}

trait IntoSaid {
    fn said(self, file: &Arc<Path>) -> Option<Said>;
}

impl IntoSaid for Spanned<Any> {
    fn said(self, file: &Arc<Path>) -> Option<Said> {
        self.value.said(file, spot(self.referenced))
    }
}

impl Any {
    /// What is null is not there.
    fn said(self, file: &Arc<Path>, spot: Spot) -> Option<Said> {
        let held = match self {
            Self::Null => return None,
            Self::One(value) => Held::One(value),
            Self::List(values) => Held::List(values.into_iter().filter_map(|value| value.said(file)).collect()),
            Self::Table(entries) => {
                let entry = |(name, value): (Spanned<String>, Spanned<Self>)| {
                    let key_at = Origin::File(file.clone(), self::spot(name.referenced));
                    Some((name.value, Said { key_at, ..value.said(file)? }))
                };
                Held::Table(entries.into_iter().filter_map(entry).collect())
            }
        };
        Some(Said::new(held, Origin::File(file.clone(), spot)))
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Any;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Any, E> {
        Ok(Any::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Any, E> {
        Ok(Any::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Any, D::Error> {
        Any::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Any, E> {
        Ok(Any::One(Value::Boolean(on)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Any, E> {
        Ok(Any::One(Value::Integer(number)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Any, E> {
        i64::try_from(number)
            .map(|number| Any::One(Value::Integer(number)))
            .map_err(|_| E::custom("a number is less than 9223372036854775808"))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Any, E> {
        Ok(Any::One(Value::Float(number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Any, E> {
        Ok(Any::One(Value::String(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Any, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Any::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Any, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Any::Table(entries))
    }
}
