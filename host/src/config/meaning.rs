//! Where it was said what a section's own check says is wrong.
//!
//! Sections tell their mistakes as people read them: `gateway.attempts must be …`, `source "own": weight …`, `limits.sites
//! "a.com": site: it is there twice`. All begin with a key, or with what is named and its name, and of one of several tables the key
//! in it comes next; this finds what is meant by that.

use toml::Value;

use super::said::{Held, Said, Step};

/// Lists whose elements have names, by what an element is called in messages.
const NAMED: [(&str, &str); 9] = [
    ("source", "sources"),
    ("sources", "sources"),
    ("listener", "listeners"),
    ("listeners", "listeners"),
    ("user", "users"),
    ("users", "users"),
    ("bans", "bans"),
    ("credentials", "credentials"),
    ("hook", "hooks"),
];

/// The steps to what a message is about, as deep as can be told; none when it tells nothing.
pub(super) fn place_of(message: &str, said: &Said) -> Vec<Step> {
    let word = message.split([' ', ':']).next().unwrap_or_default();
    let is_named = message.get(word.len()..).is_some_and(|rest| rest.starts_with(" \""));
    let found = if is_named { named(message, said) } else { None };
    let by_key = || Some((keys(word, said), message.get(word.len()..)?)).filter(|(path, _)| !path.is_empty());
    let Some((mut path, rest)) = found.or_else(by_key).or_else(|| named(message, said)) else { return Vec::new() };
    deepen(&mut path, rest, said);
    path
}

/// A key with dots, as far as it is there, and the number of an element. A name may have dots in it.
fn keys(dotted: &str, said: &Said) -> Vec<Step> {
    let mut path = Vec::new();
    let (mut here, mut rest) = (said, dotted);
    while let Held::Table(table) = &here.held {
        let after = |name: &str| match rest.strip_prefix(name)? {
            "" => Some(""),
            rest if rest.starts_with('[') => Some(rest),
            rest => rest.strip_prefix('.'),
        };
        let found = table.iter().filter_map(|(name, inner)| Some((name, inner, after(name)?)));
        let Some((name, inner, after)) = found.max_by_key(|(name, ..)| name.len()) else { break };
        path.push(Step::Key(name.clone()));
        (here, rest) = (inner, after);
    }
    let number = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.parse().ok());
    path.extend(number.map(Step::Index).filter(|step| here.step(step).is_some()));
    path
}

/// An element of a list, by its name, and the rest of the message.
fn named<'m>(message: &'m str, said: &Said) -> Option<(Vec<Step>, &'m str)> {
    let (before, name, rest) = quoted(message)?;
    let is_word = |word: &str| before.split_whitespace().any(|other| other == word);
    let (_, list) = NAMED.iter().find(|(word, _)| is_word(word))?;
    let mut path = vec![Step::Key((*list).to_owned())];
    let Held::List(elements) = &said.at(&path)?.held else { return None };
    let is_it = |element: &Said| ["name", "address"].iter().any(|key| text_of(element, key) == Some(&*name));
    let places = elements.iter().enumerate().rev().filter(|(_, element)| is_it(element));
    let mut places = places.map(|(index, _)| [&path[..], &[Step::Index(index)]].concat());
    // Of two with the same name it is the second one, unless what is said of it is in the other one alone.
    let second = places.next()?;
    let depth = |place: &Vec<Step>| {
        let mut place = place.clone();
        deepen(&mut place, rest, said);
        place.len()
    };
    let least = depth(&second);
    path = places.find(|place| depth(place) > least).unwrap_or(second);
    Some((path, rest))
}

/// The list that a place is in, and the numbers of all tables there that have the same name as the one that it is in; none when that
/// is the only one.
pub(super) fn of_one_name<'p>(path: &'p [Step], said: &Said) -> Option<(&'p [Step], Vec<usize>)> {
    let depth = path.iter().position(|step| matches!(step, Step::Index(_)))?;
    let (list, own) = (path.get(..depth)?, said.at(path.get(..=depth)?)?);
    let Held::List(elements) = &said.at(list)?.held else { return None };
    let name =
        |element: &Said| ["name", "address", "site"].iter().find_map(|key| text_of(element, key).map(str::to_owned));
    let wanted = name(own)?;
    let all = elements.iter().enumerate().filter(|(_, element)| name(element).as_ref() == Some(&wanted));
    let all: Vec<usize> = all.map(|(index, _)| index).collect();
    (all.len() > 1).then_some((list, all))
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
            let words = rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').filter(|it| !it.is_empty());
            // Of a section another key of it may be meant, which the message names somewhere.
            let most = if matches!(path.last(), Some(Step::Index(_))) { 1 } else { usize::MAX };
            if let Some(name) = words.take(most).find(|word| table.contains_key(*word)) {
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
