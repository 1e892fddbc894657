//! Drift guard. A source that suddenly brings a tenth of what it used to, or mostly rejected lines, or
//! entries of another kind, has more likely changed its page, been taken over or begun to answer robots
//! with a riddle than it has changed its mind. Then the last list that was as usual stays in force, and
//! somebody is told.
//!
//! What is usual is the median of the last fetches, give or take a few median absolute deviations
//! (Hampel 1974): neither is moved by the outliers that they are there to find. The range is never
//! narrower than a floor, as a list that was the same ten times may change a little.
//!
//! Invariants: without a minimum of history nothing is odd; an odd fetch does not become part of what is
//! usual, unless several in a row agree with each other: then that is what is usual now. A list with
//! nothing in it never becomes usual.

mod memory;
mod range;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ingest::Ingested;
pub(crate) use memory::Memory;
use range::{Range, median};

/// Fetches that are remembered: a day of hourly ones.
const WINDOW: usize = 24;
/// Fetches before anything can be odd.
const ENOUGH: usize = 5;
/// Odd fetches in a row that agree: then the source has changed for good.
const PATIENCE: usize = 5;
/// A list may be a third or three times as long as usual, whatever the history.
const LENGTH_FLOOR: f64 = 1.1;
/// A quarter more of a list may be rejected than usual.
const REJECTED_FLOOR: f64 = 0.25;
/// The share of entries that have a field may move by this.
const FIELD_FLOOR: f64 = 0.4;

/// What follows when a source is not as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drift {
    /// Nothing, and nothing is remembered.
    Off,
    /// It is told, and the new list is used.
    Warn,
    /// It is told, and the last good list stays in force.
    #[default]
    Keep,
}

impl Drift {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Warn, Self::Keep];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Keep => "keep",
        }
    }
}

impl FromStr for Drift {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("drift {text:?} is none of {}", Self::ALL.map(Self::as_str).join(", "));
        Self::ALL.into_iter().find(|drift| drift.as_str() == text).ok_or_else(wrong)
    }
}

/// The fields whose shares are watched, in the order of [`Shape::fields`].
const WATCHED: [&str; 5] = ["a country", "a user name", "a name instead of an address", "an IPv6 address", "socks"];

/// A list in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shape {
    candidates: u64,
    /// The share of the entries that were rejected.
    rejected: f64,
    /// The shares of the candidates that have each of [`WATCHED`].
    fields: [f64; WATCHED.len()],
}

/// What a source was like, the last times.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct History {
    usual: Vec<Shape>,
    /// Since the last usual one.
    odd: Vec<Shape>,
}

/// How a fetch is not as usual.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Odd {
    Length { found: u64, usual: u64 },
    Rejected { found: f64, usual: f64 },
    Field { field: &'static str, found: f64, usual: f64 },
}

impl Shape {
    /// The shape of a list.
    pub(crate) fn of(ingested: &Ingested) -> Self {
        let records = ingested.candidates.records();
        let share = |part: usize, whole: u64| part as f64 / (whole.max(1)) as f64;
        let mut counts = [0_usize; WATCHED.len()];
        for record in records {
            let has = [
                record.country.is_some(),
                record.endpoint.credentials.is_some(),
                matches!(record.endpoint.host, proxywhirl_core::Host::Name(_)),
                matches!(record.endpoint.host, proxywhirl_core::Host::V6(_) | proxywhirl_core::Host::Zoned(_)),
                record.endpoint.scheme.as_str().starts_with("socks"),
            ];
            for (count, has) in counts.iter_mut().zip(has) {
                *count += usize::from(has);
            }
        }
        Self {
            candidates: records.len() as u64,
            rejected: ingested.rejected as f64 / ingested.entries.max(1) as f64,
            fields: counts.map(|count| share(count, records.len() as u64)),
        }
    }

    /// The shape of what no parser could read.
    pub(crate) const fn nothing() -> Self {
        Self { candidates: 0, rejected: 0.0, fields: [0.0; WATCHED.len()] }
    }
}

impl History {
    /// Judges a fetch and remembers it: how it is odd, if it is.
    pub(crate) fn judge(&mut self, shape: Shape) -> Option<Odd> {
        let odd = if self.usual.len() < ENOUGH { None } else { odd(&self.usual, &shape) };
        // Not even at the beginning: there must be a list that can stay in force.
        let is_empty = shape.candidates == 0;
        match odd {
            None if is_empty && self.usual.len() < ENOUGH => {}
            None => {
                self.odd.clear();
                remember(&mut self.usual, shape, WINDOW);
            }
            Some(_) => {
                remember(&mut self.odd, shape, PATIENCE);
                let agree = !is_empty && self.odd.len() == PATIENCE && odd_among(&self.odd).is_none();
                if agree {
                    self.usual = std::mem::take(&mut self.odd);
                    return None;
                }
            }
        }
        odd
    }
}

fn remember(shapes: &mut Vec<Shape>, shape: Shape, most: usize) {
    if shapes.len() >= most {
        shapes.remove(0);
    }
    shapes.push(shape);
}

/// How one of several is odd among them.
fn odd_among(shapes: &[Shape]) -> Option<Odd> {
    shapes.iter().find_map(|shape| odd(shapes, shape))
}

/// How a shape is odd among those that are usual.
fn odd(usual: &[Shape], shape: &Shape) -> Option<Odd> {
    let of = |value: &dyn Fn(&Shape) -> f64| -> Vec<f64> { usual.iter().map(value).collect() };
    // In logarithms: half and double are equally far.
    let length = |candidates: u64| (candidates as f64).ln_1p();
    let lengths = of(&|shape| length(shape.candidates));
    if shape.candidates == 0 || !Range::of(&lengths, LENGTH_FLOOR).contains(length(shape.candidates)) {
        let usual = median(&of(&|shape| shape.candidates as f64)).round() as u64;
        return Some(Odd::Length { found: shape.candidates, usual });
    }
    let rejected = Range::of(&of(&|shape| shape.rejected), REJECTED_FLOOR);
    // Fewer rejected lines than usual are nobody's loss.
    if shape.rejected > rejected.high {
        return Some(Odd::Rejected { found: shape.rejected, usual: rejected.middle });
    }
    for (place, (field, found)) in WATCHED.into_iter().zip(shape.fields).enumerate() {
        let shares = of(&|shape| shape.fields.get(place).copied().unwrap_or_default());
        let range = Range::of(&shares, FIELD_FLOOR);
        if !range.contains(found) {
            return Some(Odd::Field { field, found, usual: range.middle });
        }
    }
    None
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: &f64| (share * 100.0).round();
        match self {
            Self::Length { found, usual } => write!(f, "{found} well-formed entries, usually {usual}"),
            Self::Rejected { found, usual } => {
                write!(f, "{} % of the entries rejected, usually {} %", percent(found), percent(usual))
            }
            Self::Field { field, found, usual } => {
                write!(f, "{} % of the entries have {field}, usually {} %", percent(found), percent(usual))
            }
        }
    }
}

#[cfg(test)]
mod tests;
