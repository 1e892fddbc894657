//! What is wrong with a configuration, in words for who has written it: where, what it is, what is allowed, an example.

use std::path::Path;

use toml::Value;

use super::environment::Place;
use super::file::{ConfigError, ConfigFile};
use super::masked::{is_secret, without_secrets};
use super::meaning::place_of;
use super::nearest::nearest;
use super::reference;
use super::said::{Held, Origin, Said, Spot, Step};
use super::schema::{Key, described, expected, is_duration, keys, names, needed};
use super::settings::Settings;
use super::syntax::Syntax;
use super::variables;

/// The longest piece of a value that is repeated.
const MOST_SHOWN: usize = 60;

/// A mistake in what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is; none when nobody knows.
    pub origin: Option<Origin>,
    /// What is wrong, beginning with the key.
    pub reason: String,
    /// What was probably meant, or an example.
    pub hint: Option<String>,
}

impl Mistake {
    /// As an error of its own.
    #[must_use]
    pub fn error(&self, file: &Path) -> ConfigError {
        let reason = self.reason.clone();
        let error = match &self.origin {
            Some(origin) => ConfigError::at(origin, reason),
            None => ConfigError::in_file(file, reason),
        };
        ConfigError { hint: self.hint.clone(), ..error }
    }
}

/// What serde says of what was said, at the place that it names, and the steps to what has to go before the next mistake
/// can be found.
pub(super) fn of_shape(path: &serde_path_to_error::Path, message: &str, said: &Said) -> (Mistake, Vec<Step>) {
    let mut path = steps(path, said);
    let quoted = message.split('`').nth(1).unwrap_or_default();
    if message.starts_with("unknown field") {
        if path.last() != Some(&Step::Key(quoted.to_owned())) {
            path.push(Step::Key(quoted.to_owned()));
        }
        return (unknown(&path, said), path);
    }
    if message.starts_with("missing field") {
        let origin = said.at(&path).map(|said| said.key_at.clone());
        let mut key = path.clone();
        key.push(Step::Key(quoted.to_owned()));
        let hint = origin.as_ref().and_then(|origin| example(&key, origin));
        let reason = format!("{} has no {quoted}, which it needs", dotted(&path));
        let place = if stand_in(&key).is_some() { key } else { path };
        return (Mistake { origin, reason, hint }, place);
    }
    (of_value(&path, message, said), path)
}

/// What stands in place of a table and is none.
pub(super) fn no_table(said: &Said) -> Option<(Mistake, Vec<Step>)> {
    let path = first_no_table(said, &mut Vec::new())?;
    let wrong = said.at(&path)?;
    let is_doubled =
        matches!(&wrong.held, Held::List(list) if list.iter().all(|one| matches!(one.held, Held::Table(_))));
    let hint = match &wrong.at {
        Origin::File(file, _) if is_doubled && Syntax::of(file) == Syntax::Toml => {
            format!("one pair of brackets: [{}]", dotted(&path))
        }
        Origin::File(..) | Origin::Variable(..) => format!("the keys in it are {}", names(&path).join(", ")),
    };
    let reason = format!("{}: {} is not a table of keys", dotted(&path), shown(&path, wrong));
    Some((Mistake { origin: Some(wrong.at.clone()), reason, hint: Some(hint) }, path))
}

fn first_no_table(said: &Said, path: &mut Vec<Step>) -> Option<Vec<Step>> {
    let inner = |step: Step, said: &Said, path: &mut Vec<Step>| {
        path.push(step);
        let found = first_no_table(said, path);
        path.pop();
        found
    };
    match &said.held {
        Held::Table(table) => table.iter().find_map(|(name, said)| inner(Step::Key(name.clone()), said, path)),
        Held::One(_) | Held::List(_) if !names(path).is_empty() => Some(path.clone()),
        Held::List(list) => list.iter().enumerate().find_map(|(index, said)| inner(Step::Index(index), said, path)),
        Held::One(_) => None,
    }
}

/// The steps that serde took, as far as there is something.
fn steps(path: &serde_path_to_error::Path, said: &Said) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut here = Some(said);
    for segment in path.iter() {
        let step = match segment {
            serde_path_to_error::Segment::Seq { index } => Step::Index(*index),
            serde_path_to_error::Segment::Map { key } => Step::Key(key.clone()),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => break,
        };
        here = here.and_then(|said| said.step(&step));
        if here.is_none() {
            break;
        }
        steps.push(step);
    }
    steps
}

fn unknown(path: &[Step], said: &Said) -> Mistake {
    let origin = said.at(path).map(|said| said.key_at.clone());
    let (Some(Step::Key(name)), parent) = (path.last(), path.get(..path.len().saturating_sub(1)).unwrap_or_default())
    else {
        return Mistake { origin, reason: format!("unknown key {}", dotted(path)), hint: None };
    };
    let known = names(parent);
    let hint = nearest(name, known.iter().map(String::as_str))
        .map(|nearest| format!("did you mean {nearest}?"))
        .or_else(|| elsewhere(name))
        .unwrap_or_else(|| match parent {
            [] => format!("the sections and keys are {}", known.join(", ")),
            parent => format!("the keys of {} are {}", dotted(parent), known.join(", ")),
        });
    Mistake { origin, reason: format!("unknown key {}", dotted(path)), hint: Some(hint) }
}

/// A key or a section of this name in other places: it is right, but stands in the wrong table.
fn elsewhere(name: &str) -> Option<String> {
    let mut places: Vec<String> = keys()
        .iter()
        .filter_map(|key| {
            let at = key.path.iter().position(|part| part == name)?;
            let path = key.path.get(..=at)?.join(".");
            Some(if at == 0 { format!("{path} at the top level") } else { path })
        })
        .collect();
    places.dedup();
    (!places.is_empty()).then(|| format!("did you mean {}?", places.join(" or ")))
}

fn of_value(path: &[Step], message: &str, said: &Said) -> Mistake {
    let origin = said.at(path).map(|said| said.at.clone());
    let key = dotted(path);
    let described = described(path);
    // What serde says of a value that is none of its type, and what it is then called in the schema.
    let is_of_serde = ["invalid type", "invalid value", "invalid length", "data did not match", "unknown variant"]
        .iter()
        .any(|words| message.starts_with(words));
    let (Some(value), Some(described), true) = (said.at(path), described, is_of_serde) else {
        // Of one's own: it names what is wrong and what is allowed.
        let reason = if key.is_empty() { message.to_owned() } else { format!("{key}: {message}") };
        return Mistake { hint: origin.as_ref().and_then(|origin| example(path, origin)), origin, reason };
    };
    let reason = format!("{key}: {} is not {}", shown(path, value), expected(described));
    let meant = origin.as_ref().and_then(|origin| meant(path, value, origin));
    let hint = meant.or_else(|| origin.as_ref().and_then(|origin| example(path, origin)));
    Mistake { origin, reason, hint }
}

/// What was meant, where that can be told from the value: a number in quotes, or a duration without its unit.
fn meant(path: &[Step], value: &Said, origin: &Origin) -> Option<String> {
    let Held::One(value) = &value.held else { return None };
    match value {
        Value::Integer(number) if described(path).is_some_and(is_duration) => {
            let text = format!("{}s", number.unsigned_abs());
            let hint = format!("did you mean {text:?}?");
            may_be(path, Value::String(text)).then_some(hint)
        }
        Value::String(text) if matches!(origin, Origin::File(..)) => {
            let bare = toml::from_str::<toml::Table>(&format!("it = {text}")).ok()?.remove("it")?;
            let is_bare = matches!(bare, Value::Integer(_) | Value::Float(_) | Value::Boolean(_));
            (is_bare && may_be(path, bare)).then(|| format!("write it without quotes: {text}"))
        }
        Value::Integer(_)
        | Value::String(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => None,
    }
}

/// Whether a key may have this value, by itself.
pub(super) fn may_be(path: &[Step], value: Value) -> bool {
    let alone = alone(path, value);
    let first = |step: &Step| if let Step::Index(_) = step { Step::Index(0) } else { step.clone() };
    let path: Vec<Step> = path.iter().map(first).collect();
    let Ok(file) = alone.clone().try_into::<ConfigFile>() else { return false };
    let said = Said::of(alone, &Origin::File(Path::new("").into(), Spot::default()));
    let Err(error) = Settings::from_file(file, Path::new("")) else { return true };
    // Something else may be wrong with it, as nothing else is said.
    let list = path.split_last().filter(|(last, _)| matches!(last, Step::Index(_))).map(|(_, list)| list);
    let place = place_of(&error.reason, &said);
    let is_it = place == path || list.is_some_and(|list| place == list);
    !is_it || error.reason.contains(" means nothing without ")
}

/// A configuration that says this, and what the tables that it is in cannot be without.
pub(super) fn alone(path: &[Step], value: Value) -> Value {
    (0..path.len()).rev().fold(value, |value, depth| match path.get(depth) {
        Some(Step::Key(name)) => {
            let table = path.get(..depth).unwrap_or_default();
            let in_place = |key: String| Some((key.clone(), stand_in(&[table, &[Step::Key(key)]].concat())?));
            let mut keys: toml::Table = needed(table).into_iter().filter_map(in_place).collect();
            keys.insert(name.clone(), value);
            Value::Table(keys)
        }
        Some(Step::Index(_)) => Value::Array(vec![value]),
        None => value,
    })
}

/// What is wrong with the text of a variable that cannot be read as the value of a key.
pub(super) fn of_variable(path: &[Step], text: &str, origin: Origin) -> Mistake {
    let expected = described(path).map_or_else(|| "a value".to_owned(), expected);
    let reason = if expected.starts_with("true") || expected.contains("number") {
        let said = Said::of(Value::String(text.to_owned()), &origin);
        format!("{}: {} is not {expected}", dotted(path), shown(path, &said))
    } else {
        // Lists and tables may have secrets in them wherever they break off.
        format!("{}: this is not {expected}, written as JSON", dotted(path))
    };
    let hint = example(path, &origin);
    Mistake { origin: Some(origin), reason, hint }
}

/// A value as it may be repeated: no secret, and not too long.
fn shown(path: &[Step], said: &Said) -> String {
    // The fields of a request log its sender in.
    let is_secret = path.iter().any(|step| matches!(step, Step::Key(name) if is_secret(name) || name == "headers"));
    let cut = |text: String| {
        if text.chars().count() <= MOST_SHOWN { text } else { text.chars().take(MOST_SHOWN).chain(['…']).collect() }
    };
    match &said.held {
        Held::List(_) => "a list".to_owned(),
        Held::Table(_) => "a table".to_owned(),
        Held::One(_) if is_secret => "this value".to_owned(),
        Held::One(Value::String(text)) => cut(format!("{:?}", without_secrets(text))),
        Held::One(value) => cut(value.to_string()),
    }
}

/// A key as people write it, such as `sources[0].weight`.
pub(super) fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(name) => {
                let is_bare = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
                let dot = if text.is_empty() { "" } else { "." };
                text.extend([dot, &if is_bare { name.clone() } else { format!("{name:?}") }]);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// How the documentation shows a key, written as it was said.
pub(super) fn example(path: &[Step], origin: &Origin) -> Option<String> {
    // Of a list that is shown as one, not its element.
    let end = path.iter().rposition(|step| matches!(step, Step::Key(_)))?;
    let (whole, Some(Step::Key(name))) = (path.get(..=end)?, path.get(end)) else { return None };
    let (value, comment) = reference::shown(whole)?;
    let value = short(value, whole);
    let json = || serde_json::to_string(&value).ok();
    let is_large = value.is_table() || value.as_array().is_some_and(|list| list.iter().any(Value::is_table));
    let text = match origin {
        // Tables are written in many lines, or in one; what is in them is told by itself.
        Origin::File(..) if is_large => return None,
        Origin::File(file, _) => match Syntax::of(file) {
            Syntax::Toml => format!("{name} = {value}"),
            Syntax::Yaml => format!("{name}: {}", json()?),
            Syntax::Json => format!("\"{name}\": {}", json()?),
        },
        Origin::Variable(variable, place) => {
            let own = keys().iter().find(|key| dotted(whole) == key.dotted());
            // What is missing has a variable of its own; the one that was set may be short for the key.
            let is_set = own.is_some_and(|own| variables::key(variable).is_some_and(|set| set.path == own.path));
            let variable = own.filter(|_| !is_set).map_or_else(|| variable.to_string(), Key::variable);
            match (&value, own.is_some(), place) {
                (_, false, _) => format!("\"{name}\": {}", json()?),
                (Value::String(text), true, _) => format!("{variable}={text}"),
                (Value::Array(_) | Value::Table(_), true, Place::DotEnv(_)) => format!("{variable}='{}'", json()?),
                (_, true, _) => format!("{variable}={}", json()?),
            }
        }
    };
    let comment = comment.map(|comment| comment.trim_end_matches([',', ';', ':'])).filter(|it| !it.is_empty());
    let comment = comment.map_or_else(String::new, |comment| format!("  # {comment}"));
    (text.chars().count() <= 2 * MOST_SHOWN).then(|| format!("for example {text}{comment}"))
}

/// A list of tables with one of them, and in that only what it needs.
fn short(value: Value, path: &[Step]) -> Value {
    let Value::Array(list) = value else { return value };
    let needed = needed(&[path, &[Step::Index(0)]].concat());
    let Some(Value::Table(first)) = list.first().filter(|_| !needed.is_empty()) else { return Value::Array(list) };
    let kept = first.iter().filter(|(name, _)| needed.contains(name));
    Value::Array(vec![Value::Table(kept.map(|(name, value)| (name.clone(), value.clone())).collect())])
}

/// What one of several tables lacks, when this is wrong with it, and what can stand there.
pub(super) fn lacking(path: &[Step], reason: &str) -> Option<(Vec<Step>, Value)> {
    path.last().filter(|last| matches!(last, Step::Index(_)))?;
    let (_, keys) = reason.split_once(": set ")?;
    let key = [path, &[Step::Key(keys.split([',', ' ']).next()?.to_owned())]].concat();
    let (value, _) = reference::shown(&key)?;
    Some((key, value))
}

/// What can stand in place of something wrong that cannot be left out, so that the rest of its table can be looked at.
pub(super) fn stand_in(path: &[Step]) -> Option<Value> {
    let (Step::Key(name), parent) = path.split_last()? else { return None };
    let (value, _) = reference::shown(path)?;
    let value = match (value, name.as_str(), parent.last()) {
        // No two have the same.
        (Value::String(text), "name", Some(Step::Index(index))) => Value::String(format!("{text}{index}")),
        (_, "address", Some(Step::Index(index))) => Value::String(format!("unix:{index}")),
        (Value::String(text), "site", Some(Step::Index(index))) => Value::String(format!("a{index}-{text}")),
        (value, ..) => value,
    };
    needed(parent).contains(name).then_some(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::layers::Layers;

    fn told(file: &str, text: &str) -> Vec<String> {
        let mistakes = Layers::of_text(text, Path::new(file)).unwrap().mistakes();
        mistakes
            .iter()
            .map(|mistake| format!("{} / {}", mistake.error(Path::new("")), mistake.hint.clone().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn a_mistake_does_not_hide_another_one() {
        let text = "[[listeners]]\naddress = \"8080\"\ndialect = \"luminati\"\nwrods = 1\n";
        let told = told("p.toml", text);
        let places: Vec<_> = told.iter().map(|told| told.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(
            places,
            ["configuration p.toml:2:11", "configuration p.toml:3:11", "configuration p.toml:4:1"],
            "{told:#?}"
        );
    }

    #[test]
    fn what_follows_from_a_mistake_is_none() {
        // Without its rate, which is wrong, the burst would mean nothing; without its name the source would be nobody.
        let text = "[limits]\nper_proxy = { rate = -1, burst = 3 }\n[[sources]]\nname = 3\nlocation = \"a\"\n";
        assert_eq!(told("p.toml", text).len(), 2);
    }

    #[test]
    fn a_list_is_no_table() {
        let told =
            told("p.toml", "[[gateway]]\nattempts = 3\n[health]\nfailures = 0\n[check]\ntarget = [\"https://a/\"]\n");
        assert!(
            told[0].contains("gateway: a list is not a table of keys / one pair of brackets: [gateway]"),
            "{told:#?}"
        );
        assert!(
            told[2].contains("check.target: a list is not a table of keys / the keys in it are body, "),
            "{told:#?}"
        );
        assert_eq!(told.len(), 3, "{told:#?}");
    }

    #[test]
    fn names_of_plugins_may_have_dots() {
        let text = "[plugins.settings.\"a.b\"]\nmemory = 1\non_fault = \"x\"\n";
        let told = told("p.toml", text);
        let places: Vec<_> = told.iter().map(|told| told.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(places, ["configuration p.toml:2:10", "configuration p.toml:3:12"], "{told:#?}");
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let text = "[[sources]]\nname = \"a\"\nlocation = \"b\"\nusername = \"u\"\npassword = 12345678\nheaders = { X-Key = 12345678 }\n[gateway]\nattempts = \"http://u:s3cret@h:1\"\n";
        let told = told("p.toml", text).join("\n");
        assert!(told.contains("this value is not a text") && told.contains("u:***@h:1"), "{told}");
        assert!(!told.contains("12345678") && !told.contains("s3cret"), "{told}");
    }

    #[test]
    fn an_example_is_written_as_the_file_is() {
        assert!(told("p.toml", "[gateway]\ndrain = \"x\"\n")[0].contains("for example drain = \"10s\"  # how long"));
        assert!(told("p.yaml", "gateway:\n  drain: x\n")[0].contains("for example drain: \"10s\""));
        assert!(told("p.json", "{\"gateway\": {\"drain\": \"x\"}}")[0].contains("for example \"drain\": \"10s\""));
    }
}
