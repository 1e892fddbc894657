//! What a member is labelled with.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::symbol::Symbol;

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
///
/// Copies share their memory: most of a million members have the tags of one of some sources.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tags(Arc<[Tag]>);

impl Tags {
    /// How many tags a member has at the most; what comes after is left out.
    pub const MAX: usize = 32;

    /// Adds a tag. False when it was there, or when the set is full.
    pub fn insert(&mut self, tag: Tag) -> bool {
        let Err(place) = self.0.binary_search(&tag) else { return false };
        if self.0.len() >= Self::MAX {
            return false;
        }
        let (before, after) = self.0.split_at(place);
        self.0 = before.iter().cloned().chain([tag]).chain(after.iter().cloned()).collect();
        true
    }

    /// Adds what `other` has. True when that changed anything.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.0.len();
        if before == 0 {
            self.clone_from(other);
        } else {
            for tag in other.iter() {
                self.insert(tag.clone());
            }
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
        let mut tags: Vec<Tag> = tags.into_iter().fold(Vec::new(), |mut kept, tag| {
            // The first ones stay.
            if kept.len() < Self::MAX && !kept.contains(&tag) {
                kept.push(tag);
            }
            kept
        });
        tags.sort_unstable();
        Self(tags.into())
    }
}

/// The tags of members, and the symbols of these tags for plugins: in one place for all members that have the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// The tags.
    pub tags: Tags,
    /// Their symbols, in the same order.
    pub symbols: Box<[Symbol]>,
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
