//! What was said, and where: a tree of values of which each knows its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use toml::{Table, Value};

use super::environment::Place;

/// A step into a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an element of a list, counted from 0.
    Index(usize),
}

/// Where in a text; lines and columns are counted from 1, and 0 where nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Spot {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the file.
    File(Arc<Path>, Spot),
    /// In a variable.
    Variable(Arc<str>, Place),
}

impl Origin {
    /// With the column: what editors and terminals make a link of.
    #[must_use]
    pub fn exact(&self) -> String {
        match self {
            Self::File(_, spot @ Spot { line: 1.., .. }) => format!("{self}:{}", spot.column),
            Self::File(..) | Self::Variable(..) => self.to_string(),
        }
    }

    /// What sorts origins: the file from top to bottom, then variables.
    fn order(&self) -> (bool, Spot, &str) {
        match self {
            Self::File(_, spot) => (false, *spot, ""),
            Self::Variable(name, _) => (true, Spot::default(), name),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, Spot { line: 0, .. }) => write!(f, "{}", file.display()),
            Self::File(file, spot) => write!(f, "{}:{}", file.display(), spot.line),
            Self::Variable(name, Place::Process) => write!(f, "environment variable {name}"),
            Self::Variable(name, Place::DotEnv(file)) => write!(f, "variable {name} in {}", file.display()),
        }
    }
}

impl PartialOrd for Origin {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Origin {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// A value, and where it was said.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Where its key is; of an element of a list, where that is.
    pub key_at: Origin,
    /// Where the value is.
    pub at: Origin,
    /// The value.
    pub held: Held,
    /// Names of keys that were wrong, and taken out of it or replaced: what it lacks may be one of them.
    pub gaps: Vec<String>,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Held {
    /// A text, a number, true or false, a date.
    One(Value),
    /// A list.
    List(Vec<Said>),
    /// A table.
    Table(BTreeMap<String, Said>),
}

impl Said {
    /// A value of which only one place is known.
    #[must_use]
    pub fn new(held: Held, at: Origin) -> Self {
        Self { key_at: at.clone(), at, held, gaps: Vec::new() }
    }

    /// A value all of which was said at one place.
    #[must_use]
    pub fn of(value: Value, at: &Origin) -> Self {
        let held = match value {
            Value::Array(values) => Held::List(values.into_iter().map(|value| Self::of(value, at)).collect()),
            Value::Table(table) => {
                Held::Table(table.into_iter().map(|(name, value)| (name, Self::of(value, at))).collect())
            }
            one @ (Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => {
                Held::One(one)
            }
        };
        Self::new(held, at.clone())
    }

    /// The value alone.
    #[must_use]
    pub fn value(&self) -> Value {
        match &self.held {
            Held::One(value) => value.clone(),
            Held::List(values) => Value::Array(values.iter().map(Self::value).collect()),
            Held::Table(table) => {
                Value::Table(table.iter().map(|(name, said)| (name.clone(), said.value())).collect::<Table>())
            }
        }
    }

    /// What a step leads to.
    #[must_use]
    pub fn step(&self, step: &Step) -> Option<&Self> {
        match (&self.held, step) {
            (Held::Table(table), Step::Key(name)) => table.get(name),
            (Held::List(list), Step::Index(index)) => list.get(*index),
            (Held::Table(_), Step::Index(_)) | (Held::List(_), Step::Key(_)) | (Held::One(_), _) => None,
        }
    }

    /// What steps lead to.
    #[must_use]
    pub fn at(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, Self::step)
    }

    /// The value of a key, by the tables that it stands in and its own name.
    #[must_use]
    pub fn key(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |said, name| match &said.held {
            Held::Table(table) => table.get(name),
            Held::List(_) | Held::One(_) => None,
        })
    }

    /// Sets a key. Where something else stands in place of a table, nothing is set: that is a mistake by itself.
    pub fn put(&mut self, path: &[String], said: Self) {
        let (Some((first, rest)), Held::Table(table)) = (path.split_first(), &mut self.held) else { return };
        if rest.is_empty() {
            table.insert(first.clone(), said);
            return;
        }
        let empty = || Self::new(Held::Table(BTreeMap::new()), said.at.clone());
        table.entry(first.clone()).or_insert_with(empty).put(rest, said);
    }

    /// Puts something in place of what the steps lead to, and says whether there is a place for it.
    pub fn stand_in(&mut self, path: &[Step], value: Value) -> bool {
        let Some((step, rest)) = path.split_first() else { return false };
        match (&mut self.held, step) {
            (Held::Table(table), Step::Key(name)) if rest.is_empty() => {
                table.insert(name.clone(), Self::of(value, &self.at));
                self.gaps.push(name.clone());
                true
            }
            (Held::Table(table), Step::Key(name)) => {
                table.get_mut(name).is_some_and(|inner| inner.stand_in(rest, value))
            }
            (Held::List(list), Step::Index(index)) => {
                list.get_mut(*index).is_some_and(|inner| inner.stand_in(rest, value))
            }
            (Held::Table(_), Step::Index(_)) | (Held::List(_), Step::Key(_)) | (Held::One(_), _) => false,
        }
    }

    /// Gives a key of a table its present name, unless that one is said as well.
    pub fn rename(&mut self, table: &str, old: &str, new: &str) {
        let Held::Table(tables) = &mut self.held else { return };
        let Some(Held::Table(keys)) = tables.get_mut(table).map(|table| &mut table.held) else { return };
        if !keys.contains_key(new)
            && let Some(said) = keys.remove(old)
        {
            keys.insert(new.to_owned(), said);
        }
    }

    /// Takes out what the steps lead to, and says whether it was there.
    pub fn take(&mut self, path: &[Step]) -> bool {
        let Some((step, rest)) = path.split_first() else { return false };
        let inner = match (&mut self.held, step) {
            (Held::Table(table), Step::Key(name)) if rest.is_empty() => {
                self.gaps.push(name.clone());
                return table.remove(name).is_some();
            }
            (Held::List(list), Step::Index(index)) if rest.is_empty() && *index < list.len() => {
                list.remove(*index);
                return true;
            }
            (Held::Table(table), Step::Key(name)) => table.get_mut(name),
            (Held::List(list), Step::Index(index)) => list.get_mut(*index),
            (Held::Table(_), Step::Index(_)) | (Held::List(_), Step::Key(_)) | (Held::One(_), _) => None,
        };
        inner.is_some_and(|inner| inner.take(rest))
    }
}
