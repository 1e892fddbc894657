//! Where it was said what a section's own check says is wrong.
//!
//! Sections tell their mistakes as people read them: `gateway.attempts must be …`, `source "own": weight …`, `limits.sites:
//! "a.com" is there twice`. All begin with a key, or with what is named and its name; this finds what is meant by that.

use toml::Value;

use super::said::{Held, Said, Step};

/// Lists whose elements have names, by what an element is called in messages.
const NAMED: [(&str, &str); 8] = [
    ("source", "sources"),
    ("sources", "sources"),
    ("listener", "listeners"),
    ("listeners", "listeners"),
    ("user", "users"),
    ("users", "users"),
    ("bans", "bans"),
    ("hook", "hooks"),
];

/// The steps to what a message is about, as deep as can be told; none when it tells nothing.
pub(super) fn place_of(message: &str, said: &Said) -> Vec<Step> {
    let word = message.split([' ', ':']).next().unwrap_or_default();
    let (mut path, rest) = match keys(word, said) {
        path if !path.is_empty() => (path, message.get(word.len()..).unwrap_or_default()),
        _ => match named(message, said) {
            Some(found) => found,
            None => return Vec::new(),
        },
    };
    deepen(&mut path, rest, said);
    path
}

/// A key with dots, as far as it is there. A name may have dots in it.
fn keys(dotted: &str, said: &Said) -> Vec<Step> {
    let mut path = Vec::new();
    let (mut here, mut rest) = (said, dotted);
    while let Held::Table(table) = &here.held {
        let after = |name: &str| match rest.strip_prefix(name)? {
            "" => Some(""),
            rest => rest.strip_prefix('.'),
        };
        let found = table.iter().filter_map(|(name, inner)| Some((name, inner, after(name)?)));
        let Some((name, inner, after)) = found.max_by_key(|(name, ..)| name.len()) else { break };
        path.push(Step::Key(name.clone()));
        (here, rest) = (inner, after);
    }
    path
}

/// An element of a list, by its name, and the rest of the message.
fn named<'m>(message: &'m str, said: &Said) -> Option<(Vec<Step>, &'m str)> {
    let (before, name, rest) = quoted(message)?;
    let is_word = |word: &str| before.split_whitespace().any(|other| other == word);
    let (_, list) = NAMED.iter().find(|(word, _)| is_word(word))?;
    let mut path = vec![Step::Key((*list).to_owned())];
    let Held::List(elements) = &said.at(&path)?.held else { return None };
    // Of two with the same name, the second one is too much.
    let is_it = |element: &Said| ["name", "address"].iter().any(|key| text_of(element, key) == Some(&*name));
    path.push(Step::Index(elements.iter().rposition(is_it)?));
    Some((path, rest))
}

/// Goes on to what is named in the rest of a message: a key of the table, or the value that is repeated.
fn deepen(path: &mut Vec<Step>, rest: &str, said: &Said) {
    let Some(here) = said.at(path) else { return };
    match &here.held {
        Held::One(_) => {}
        Held::List(elements) => {
            let Some((_, text, rest)) = quoted(rest) else { return };
            let is_it = |element: &Said| holds(element, &text).is_some();
            if let Some(index) = elements.iter().rposition(is_it) {
                path.push(Step::Index(index));
                deepen(path, rest, said);
            }
        }
        Held::Table(table) => {
            let mut words =
                rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').filter(|it| !it.is_empty());
            if let Some(name) = words.find(|word| table.contains_key(*word)) {
                path.push(Step::Key(name.to_owned()));
                let rest = rest.split_once(name).map_or("", |(_, rest)| rest);
                deepen(path, rest, said);
            } else if let Some(inner) = quoted(rest).and_then(|(_, text, _)| holds(here, &text)) {
                path.extend(inner);
            }
        }
    }
}

/// The steps to a text.
fn holds(said: &Said, text: &str) -> Option<Vec<Step>> {
    let within = |step: Step, inner: &Said| {
        let mut path = vec![step];
        path.extend(holds(inner, text)?);
        Some(path)
    };
    match &said.held {
        Held::One(Value::String(own)) => (own == text).then(Vec::new),
        Held::One(_) => None,
        Held::List(list) => list.iter().enumerate().rev().find_map(|(index, inner)| within(Step::Index(index), inner)),
        Held::Table(table) => table.iter().find_map(|(name, inner)| within(Step::Key(name.clone()), inner)),
    }
}

fn text_of<'s>(said: &'s Said, key: &str) -> Option<&'s str> {
    match &said.step(&Step::Key(key.to_owned()))?.held {
        Held::One(Value::String(text)) => Some(text),
        Held::One(_) | Held::List(_) | Held::Table(_) => None,
    }
}

/// The first text in quotes as `{:?}` writes it, with what stands before and after it.
fn quoted(message: &str) -> Option<(&str, String, &str)> {
    let (before, rest) = message.split_once('"')?;
    let mut text = String::new();
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((before, text, rest.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}
