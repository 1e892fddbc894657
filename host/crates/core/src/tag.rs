//! What a member is labelled with.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A label such as `source:user`: 1 to 64 characters, no white space, no control character, no comma.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

/// The text cannot be a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a tag: {0:?} (1 to 64 characters, no white space, no comma)")]
pub struct NotATag(Box<str>);

impl Tag {
    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NotATag;

    fn from_str(text: &str) -> Result<Self, NotATag> {
        let sane = |c: char| !c.is_whitespace() && !c.is_control() && c != ',';
        if (1..=64).contains(&text.chars().count()) && text.chars().all(sane) {
            Ok(Self(text.into()))
        } else {
            Err(NotATag(text.chars().take(64).collect::<String>().into()))
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of tags, in alphabetical order, of at most [`Tags::MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(BTreeSet<Tag>);

impl Tags {
    /// How many tags a member has at the most; what comes after is left out.
    pub const MAX: usize = 32;

    /// Adds a tag. False when it was there, or when the set is full.
    pub fn insert(&mut self, tag: Tag) -> bool {
        self.0.len() < Self::MAX && self.0.insert(tag)
    }

    /// Adds what `other` has. True when that changed anything.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.0.len();
        for tag in &other.0 {
            self.insert(tag.clone());
        }
        self.0.len() != before
    }

    /// Whether the tag is there.
    #[must_use]
    pub fn contains(&self, tag: &str) -> bool {
        self.iter().any(|own| own.as_str() == tag)
    }

    /// The tags in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter()
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        let mut set = Self::default();
        for tag in tags {
            set.insert(tag);
        }
        set
    }
}

impl fmt::Display for Tags {
    /// The tags, divided by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, tag) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{tag}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_tells_whether_it_changed_anything() {
        let mut tags: Tags = ["source:a".parse().unwrap()].into_iter().collect();
        let other: Tags = ["source:a".parse().unwrap(), "eu".parse().unwrap()].into_iter().collect();
        assert!(tags.merge(&other));
        assert!(!tags.merge(&other));
        assert_eq!(tags.to_string(), "eu,source:a");
    }

    #[test]
    fn a_set_is_bounded() {
        let tags: Tags = (0..100).map(|n| format!("t{n}").parse().unwrap()).collect();
        assert_eq!(tags.iter().count(), Tags::MAX);
        assert!("".parse::<Tag>().is_err());
        assert!("a b".parse::<Tag>().is_err());
    }
}
