//! What is called by a name, and a name is written in several ways: a city, a state, a provider.
//!
//! Lists, databases and clients each write it in their own: what is compared are its letters and digits.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use crate::tag::{Tag, Tags};

/// The most letters and digits of a name: no tag has more.
const MAX: usize = 64;

/// Kinds whose names are numbers with signs between: `1.23.4.5` is not `12.3.4.5`.
const DIVIDED: [&str; 2] = ["ip", "gip"];

/// A name of a kind, such as that of a city. The tag `KIND:NAME` has it in any case, and however its words are divided: `New York`,
/// `new_york` and `newyork` are one city. Two are the same when their letters and digits are.
#[derive(Debug, Clone)]
pub struct Named {
    kind: &'static str,
    /// Its letters and digits, as [`folded`] makes them.
    folded: Box<str>,
    /// Another name that it has, in the same way.
    also: Option<&'static str>,
    /// With the words apart, as it was written.
    written: Box<str>,
}

impl Named {
    /// The kind of a city.
    pub const CITY: &'static str = "city";

    /// The kind of a state or province.
    pub const STATE: &'static str = "state";

    /// A name of this kind; none when it has no letters and digits, or more of them than a tag can have.
    #[must_use]
    pub fn new(kind: &'static str, name: &str) -> Option<Self> {
        let letters: String = folded(kind, name).take(MAX + 1).collect();
        let is_name = (1..=MAX).contains(&letters.chars().count());
        is_name.then(|| Self { kind, folded: letters.into(), also: None, written: name.into() })
    }

    /// The same, which is also called so: in letters and digits, lower case.
    #[must_use]
    pub fn or(self, also: Option<&'static str>) -> Self {
        Self { also, ..self }
    }

    /// What has the name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// What is compared: the same for all ways to write it.
    #[must_use]
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// The name as it was written.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Whether one of the tags has it.
    pub(super) fn is_on(&self, tags: &Tags) -> bool {
        tags.iter().any(|tag| self.is(tag))
    }

    fn is(&self, tag: &Tag) -> bool {
        // Most tags are of another kind: that is seen first.
        let Some((kind, name)) = tag.as_str().split_at_checked(self.kind.len()) else { return false };
        kind.eq_ignore_ascii_case(self.kind)
            && name.strip_prefix(':').is_some_and(|name| {
                let is_called = |this: &str| folded(self.kind, name).eq(this.chars());
                is_called(&self.folded) || self.also.is_some_and(is_called)
            })
    }

    fn key(&self) -> (&str, &str, Option<&str>) {
        (self.kind, &self.folded, self.also)
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Named {}

impl Ord for Named {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.written)
    }
}

/// The letters and digits of a name, in lower case; with a dash between its words where that makes a difference.
fn folded(kind: &str, name: &str) -> impl Iterator<Item = char> {
    let dash = DIVIDED.contains(&kind).then_some('-');
    let words = name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.enumerate().flat_map(move |(place, word)| {
        dash.filter(|_| place > 0).into_iter().chain(word.chars().flat_map(char::to_lowercase))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn is(kind: &'static str, name: &str, tag: &str) -> bool {
        let other: Tag = "fast".parse().unwrap();
        Named::new(kind, name).unwrap().is_on(&[other, tag.parse().unwrap()].into_iter().collect())
    }

    #[test]
    fn a_name_has_its_letters_however_words_are_divided() {
        for (asked, tag, expected) in [
            ("New York", "city:new-york", true),
            ("newyork", "city:new-york", true),
            ("new-york", "City:new_york", true),
            ("st_petersburg", "city:St-Petersburg", true),
            ("york", "city:new-york", false),
            ("newyork", "new-york", false),
            ("newyork", "citynewyork", false),
            ("newyork", "state:new-york", false),
        ] {
            assert_eq!(is(Named::CITY, asked, tag), expected, "{asked} {tag}");
        }
        assert!(is("isp", "verizon business", "isp:Verizon_Business"));
        assert!(is("zip", "sw1a1aa", "zip:SW1A_1AA"));
    }

    #[test]
    fn what_has_two_names_is_found_by_both() {
        let state = Named::new(Named::STATE, "NY").unwrap().or(Some("newyork"));
        for (tag, expected) in
            [("state:NY", true), ("state:New_York", true), ("state:york", false), ("city:new-york", false)]
        {
            assert_eq!(state.is_on(&std::iter::once(tag.parse().unwrap()).collect()), expected, "{tag}");
        }
        assert_ne!(state, Named::new(Named::STATE, "NY").unwrap());
    }

    #[test]
    fn the_numbers_of_an_address_stay_apart() {
        for (asked, tag, expected) in [
            ("1.23.4.5", "ip:1.23.4.5", true),
            ("1.23.4.5", "ip:1-23-4-5", true),
            ("1.23.4.5", "ip:12.3.4.5", false),
            ("2001:DB8::1", "ip:2001:db8::1", true),
        ] {
            assert_eq!(is("ip", asked, tag), expected, "{asked} {tag}");
        }
    }

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        let city = |name: &str| Named::new(Named::CITY, name).unwrap();
        assert_eq!(city("New York"), city("new_york"));
        assert_eq!(city("New York").cmp(&city("new_york")), Ordering::Equal);
        assert_ne!(city("New York"), city("York"));
        assert_ne!(city("New York"), Named::new(Named::STATE, "New York").unwrap());
    }

    #[test]
    fn what_no_tag_can_have_is_no_name() {
        for name in ["", "_-", &"x".repeat(65)] {
            assert_eq!(Named::new(Named::CITY, name), None, "{name}");
            assert_eq!(Named::new("ip", name), None, "{name}");
        }
        assert!(Named::new(Named::CITY, &"x ".repeat(64)).is_some());
    }
}
