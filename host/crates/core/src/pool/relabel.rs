//! What sources say of their members by tags, when they say something else than before.

use crate::tag::{Tag, Tags};

/// What a source says of all that it has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The tag by which its members are known, `source:NAME`.
    pub source: Tag,
    /// The tags that it gives them.
    pub gives: Tags,
    /// The tags that it gave them once, and gives no more.
    pub gave: Tags,
}

/// What all sources say, where one of them says something else than before. Empty when nothing has changed.
///
/// A tag that a source gives no more is taken from its members, unless another one of their sources gives it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relabelling(Vec<Said>);

impl Relabelling {
    /// What sources say: of all that there are, as a tag may be another one's too.
    #[must_use]
    pub fn new(said: Vec<Said>) -> Self {
        Self(said)
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tags of somebody who has these; none when they are right as they are.
    #[must_use]
    pub fn of(&self, tags: &Tags) -> Option<Tags> {
        let own: Vec<&Said> = self.0.iter().filter(|said| tags.contains(said.source.as_str())).collect();
        let is_gone = |tag: &Tag| own.iter().any(|said| said.gave.contains(tag.as_str()));
        let mut right: Tags = tags.iter().filter(|tag| !is_gone(tag)).cloned().collect();
        for said in &own {
            right.merge(&said.gives);
        }
        (right != *tags).then_some(right)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tags(words: &str) -> Tags {
        words.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    fn said(source: &str, gives: &str, gave: &str) -> Said {
        Said { source: source.parse().unwrap(), gives: tags(gives), gave: tags(gave) }
    }

    #[test]
    fn a_tag_goes_with_the_word_of_its_source_unless_another_one_gives_it() {
        let relabelling = Relabelling::new(vec![said("source:a", "cheap", "paid"), said("source:b", "paid", "")]);
        assert_eq!(relabelling.of(&tags("source:a paid fr")), Some(tags("source:a cheap fr")));
        assert_eq!(relabelling.of(&tags("source:a source:b paid")), Some(tags("source:a source:b cheap paid")));
        assert_eq!(relabelling.of(&tags("source:a cheap")), None);
        assert_eq!(relabelling.of(&tags("source:user paid")), None);
    }
}
